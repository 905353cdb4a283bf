"""How much memory a step of training takes, and what to do if there is less."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import keras
import tensorflow as tf

from app import memory
from model_export.errors import OutOfMemory
from model_export.fitting import device

_FLOAT32 = 4
_OF_FILES = errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE
"""For which TensorFlow raises the same error as for want of memory."""


def step(network: keras.Model, images: int) -> int:
    """Estimate the bytes that a step of training takes with so many images.

    The outputs of all layers are kept until their gradients are known; the largest one is then there three times, with
    its gradient and the one before it. With ten networks, measured by hand, a step took between 0.71 and 1.05 times as
    much.
    """
    values = list(_values(network))
    return images * (sum(values) + 2 * max(values)) * _FLOAT32


def _values(layer: keras.Layer) -> Iterator[int]:
    """Count the values that each layer gives for an image."""
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            yield from _values(inner)
    else:
        yield from (prod(output.shape[1:]) for output in keras.tree.flatten(layer.output))


def advice(network: keras.Model, batch_size: int, available: int | None = None) -> str:
    """Say that steps of this size do not fit into the memory of the CPU; empty if they may, or there is a GPU.

    Where memory ends, Linux kills the process, or TensorFlow crashes: neither can be reported when it happens.
    """
    available = memory.available() if available is None else available
    needed = step(network, batch_size)
    if needed <= available or device.has_gpu():
        return ""
    return (
        f"a step of {batch_size:,} images takes about {needed / 1e9:,.1f} GB of memory, and there are "
        f"{available / 1e9:,.1f} GB; the training may be killed, or crash: choose a smaller --batch-size or --size"
    )


@contextmanager
def enough() -> Iterator[None]:
    """Turn the out-of-memory errors of TensorFlow and NumPy into one that says what to do.

    Raises:
        OutOfMemory: It was one of them.
        OSError: A disk is full, or too many files are open.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        for number in _OF_FILES:
            if (why := os.strerror(number)) in str(error):
                raise OSError(number, why) from error
        raise OutOfMemory(
            f"there is not enough memory on {device.used()}: free some, or train again with a smaller --batch-size or "
            "--size"
        ) from error
