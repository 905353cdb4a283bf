"""The parts of :mod:`model_export.training`: batches, augmentation, optimizers, and the folder of each run."""
