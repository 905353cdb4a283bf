"""From a trained network to a published file: all stages in order in :mod:`.exporting`, and a module for each."""
