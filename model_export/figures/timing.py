"""Timing of loaded artifacts, comparable even on a busy machine."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from app import memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.model import Model

_AT_ONCE = 32
_ROUNDS = 15
_WARM_UP = 2


def batch(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take the 32 first images, ``[32, H, W, C]``, or fewer large ones; if they are fewer, some more than once."""
    size = memory.images_at_once(_AT_ONCE, *images.shape[1:3])
    return np.asarray(images[np.arange(size) % len(images)])


def medians(models: Sequence[Model], batch: NDArray[np.uint8]) -> list[float]:
    """Measure the median seconds of one batch for each model, in turns, so that other load affects all equally."""
    seconds: list[list[float]] = [[] for _ in models]
    for turn in range(_ROUNDS + _WARM_UP):
        for model, taken in zip(models, seconds, strict=True):
            start = time.perf_counter()
            model.run(batch)
            if turn >= _WARM_UP:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]
