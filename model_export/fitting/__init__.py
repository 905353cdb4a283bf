"""What :mod:`model_export.training` is made of: batches, augmentation, optimizers, and the folder of each run."""
