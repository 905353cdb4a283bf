"""The parts of :mod:`model_export.datasets`: sources, splits, leakage, decoding. Knows nothing about networks."""
