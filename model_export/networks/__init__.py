"""What :mod:`model_export.architectures` is made of: trunks, and heads on them. Knows nothing of images."""
