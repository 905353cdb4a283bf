"""Do the images that come still look like those of the training set? One number per branch, over the latest ones.

The familiarity of images like those of the training set is spread evenly over 0 to 1, whatever the model. How far the
latest ones are from that is the Kolmogorov distance of their distribution from the even one: some 0.03 by chance over
a thousand images, 1 where all are unlike anything known, and at least 0.5 where all are the same, as from a camera that
has gone blind. (Rabanser, Günnemann and Lipton, "Failing Loudly", 2019, compare such tests of shift.)
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 1000
LEAST = 100
"""Images before which nothing is told."""


class Drift:
    """The familiarity of the latest images of one model; may be fed by several threads."""

    def __init__(self, names: Sequence[str], window: int = WINDOW) -> None:
        """Begin with no images.

        Args:
            names: Of the scores, in their order.
            window: How many images are looked at.
        """
        self._names = tuple(names)
        self._scores = np.zeros((window, len(self._names)), np.float32)
        self._seen = 0
        self._lock = threading.Lock()

    def observe(self, scores: NDArray[np.float32]) -> None:
        """Take in the scores of a batch, ``float32 [N, names]``; see :meth:`app.familiarity.Familiarity.score`."""
        window = len(self._scores)
        latest = scores[-window:]
        with self._lock:
            start = (self._seen + len(scores) - len(latest)) % window
            until = min(window, start + len(latest))
            self._scores[start:until] = latest[: until - start]
            self._scores[: len(latest) - (until - start)] = latest[until - start :]
            self._seen += len(scores)

    @property
    def images(self) -> int:
        """How many images the distances are of."""
        return min(self._seen, len(self._scores))

    def distances(self) -> dict[str, float]:
        """Compute the distance for each score, from 0 to 1; nothing while there are too few images."""
        with self._lock:
            count = self.images
            scores = np.sort(self._scores[:count], axis=0).astype(np.float64)
        if count < min(LEAST, len(self._scores)):
            return {}
        steps = np.arange(count + 1)[:, None] / count
        distances = np.maximum(np.abs(scores - steps[:-1]), np.abs(scores - steps[1:])).max(0)
        return dict(zip(self._names, distances.tolist(), strict=True))
