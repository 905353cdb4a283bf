"""What :mod:`model_export.datasets` is made of: sources, splits, leakage, decoding. Knows nothing of networks."""
