"""Batches for training and for measuring, taken from arrays in memory or on disk."""

from __future__ import annotations

import math

import keras
import numpy as np

from app import memory
from model_export.data.split import Split
from model_export.fitting.augmentation import augment

_LEAST_STEPS = 30
_AT_ONCE = 256


def steps(images: int, batch_size: int) -> int:
    """Count the batches of one epoch of training.

    An epoch has at least 30 steps, so a small data set is repeated in each. Otherwise validating and saving would take
    longer than training, and patience would be over after a few steps; and without averaged weights, the running
    statistics of batch normalisation would lag behind the weights that are validated.
    """
    return max(_LEAST_STEPS, math.ceil(images / batch_size))


def described(images: int, batch_size: int) -> str:
    """Say how many steps an epoch has, and how often it repeats the images."""
    count = steps(images, batch_size)
    times = count * batch_size / images
    often = f", {times:.1f} times through the images" if times >= 1.1 else ""
    return f"an epoch is {count:,} steps of {batch_size} images{often}"


def evaluation_batch(split: Split) -> int:
    """Count the images that are measured at once: 256, or fewer large ones.

    ``--batch-size`` is for training alone: whoever lowers it for large images must not run out of memory when the model
    is measured afterwards.
    """
    return memory.images_at_once(_AT_ONCE, *split.images.shape[1:3])


class Shuffled(keras.utils.PyDataset):
    """Endless shuffled, augmented batches; the random numbers depend on seed, epoch and step, so runs can be resumed.

    Keras fetches batches of the next epoch before it reports the end of this one, so epochs are counted here.
    """

    num_batches = None

    def __init__(self, split: Split, batch_size: int, augmentation: str, seed: int, first_epoch: int = 0) -> None:
        super().__init__()
        self._split, self._size, self._augmentation, self._seed = split, batch_size, augmentation, seed
        self._first_epoch = first_epoch
        self._ordered: tuple[int, np.ndarray] = (-1, np.empty(0))
        self.steps = steps(len(split), batch_size)
        """Batches of one epoch."""

    def __getitem__(self, index: int):  # noqa: ANN204  # two arrays
        epoch, step = divmod(index, self.steps)
        epoch += self._first_epoch
        order = self._order(epoch)
        chosen = order.take(range(step * self._size, (step + 1) * self._size), mode="wrap")
        random = np.random.default_rng((self._seed, epoch, step))
        return augment(self._split.images[chosen], self._augmentation, random), self._split.labels[chosen]

    def _order(self, epoch: int) -> np.ndarray:
        known, order = self._ordered
        if known != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._split))
            self._ordered = epoch, order
        return order


class InOrder(keras.utils.PyDataset):
    """The images of a split in their order, with one batch in memory at a time."""

    def __init__(self, split: Split) -> None:
        super().__init__()
        self._split, self._size = split, evaluation_batch(split)

    def __len__(self) -> int:
        return math.ceil(len(self._split) / self._size)

    def __getitem__(self, index: int):  # noqa: ANN204  # two arrays
        chosen = slice(index * self._size, (index + 1) * self._size)
        return np.asarray(self._split.images[chosen]), self._split.labels[chosen]
