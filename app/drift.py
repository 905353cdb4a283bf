"""Do the latest images of each model still look like those of the training set?

A tenth of the images held out in training score a familiarity of at most 0.1. Drift is how much larger this share is
among the latest images: about 0 for images like those held out, 0.9 if all are strange, and below 0 if they are more
familiar than most (an easy class alone, for example), which is no reason to wake anybody. Only the strangest tenth
counts: a different mix of well-known classes moves the rest of the distribution as far as a fault does (measured
in docs/explanations.md). A frozen camera may show something familiar, so repeated images are reported separately. They
are told by a logit: of very strange images that differ, all scores may be the lowest there is.

How much drift chance allows: between ``n`` images and ``m`` others of the same kind, the one-sided Kolmogorov distance,
and so the difference of any such share, is above ``sqrt(ln(1 / p) / 2 * (1 / n + 1 / m))`` with a probability of about
``p`` (Smirnov, "Table for estimating the goodness of fit of empirical distributions", 1948). Rabanser, Günnemann and
Lipton, "Failing Loudly", 2019, compare such tests.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 1000
MIN_IMAGES = 100
"""With fewer images, there is no summary."""

_STRANGE = 0.1
_CHANCE = 0.001
_STEPS = 1000
"""Logits that differ by less than one part in so many are the same: the last digits depend on the batch."""


class Summary(NamedTuple):
    """What the latest images of one model are like."""

    images: int
    drift: dict[str, float]
    """For each score, how much larger the share of strange images is than among those held out, from -0.1 to 0.9."""
    held_out: int
    """How many images they are compared with."""
    repeated: float
    """The largest share of them that got the same logit, from 0 to 1."""


class Drift:
    """The familiarity of the latest images of one model; may be fed by several threads."""

    def __init__(self, names: Sequence[str], held_out: int, window: int = WINDOW) -> None:
        """Begin with no images.

        Args:
            names: Of the scores, in their order.
            held_out: How many images the scores were calibrated with.
            window: How many images are looked at.
        """
        self._names = tuple(names)
        self._held_out = held_out
        self._latest = np.zeros((window, len(self._names) + 1), np.float32)  # scores, and a logit
        self._seen = 0
        self._lock = threading.Lock()

    def observe(self, scores: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Take in a batch.

        Args:
            scores: ``float32 [N, names]``; see :meth:`app.familiarity.Familiarity.score`.
            logits: ``float32 [N]``, those of one class, whichever: images that differ get different ones.
        """
        window = len(self._latest)
        latest = np.concatenate([scores, logits[:, None]], axis=1)[-window:]
        with self._lock:
            start = (self._seen + len(scores) - len(latest)) % window
            until = min(window, start + len(latest))
            self._latest[start:until] = latest[: until - start]
            self._latest[: len(latest) - (until - start)] = latest[until - start :]
            self._seen += len(scores)

    def summary(self) -> Summary | None:
        """Summarise the latest images; None while there are too few."""
        with self._lock:
            count = min(self._seen, len(self._latest))
            latest = self._latest[:count].copy()
        if count < min(MIN_IMAGES, len(self._latest)):
            return None
        strange = max(_STRANGE, 1 / (self._held_out + 1))  # below which no score of so few held-out images can be
        excess = (latest[:, :-1] <= 1.001 * strange).mean(0) - strange
        steps = np.rint(np.arcsinh(latest[:, -1]) * _STEPS)  # of large logits the logarithm, with their sign
        return Summary(
            images=count,
            drift=dict(zip(self._names, excess.tolist(), strict=True)),
            held_out=self._held_out,
            repeated=float(np.unique(steps, return_counts=True)[1].max() / count),
        )


def chance(held_out: float, images: float) -> float:
    """Bound what drift does by chance, in all but one of a thousand times."""
    return math.sqrt(math.log(1 / _CHANCE) / 2 * (1 / held_out + 1 / images))
