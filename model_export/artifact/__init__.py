"""From a trained network to a published file: the stages in order, in :mod:`.exporting`, and each by itself."""
