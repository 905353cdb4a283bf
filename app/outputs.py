"""What a model says about a batch of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Outputs:
    """What a model says about a batch; row ``i`` belongs to image ``i``.

    Attributes:
        probabilities: ``float32 [N, classes]``.
        logits: ``float32 [N, classes]``.
        features: per branch, in the model's order, ``float32 [N, width]``.
        familiarity: ``float32 [N, 1 + branches]``, see :class:`app.familiarity.Familiarity`; None where the artifact
            carries no statistics.
    """

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    features: tuple[NDArray[np.float32], ...]
    familiarity: NDArray[np.float32] | None = None

    def winner(self, row: int) -> int:
        """Find the most probable class of one image."""
        # As a list: NumPy's argmax lets go of the interpreter lock, and a thread at work makes the event loop wait.
        probabilities: list[float] = self.probabilities[row].tolist()
        return probabilities.index(max(probabilities))

    def row(self, index: int) -> Outputs:
        """Copy what belongs to one image, as a batch of one."""
        rows = slice(index, index + 1)
        return Outputs(
            self.probabilities[rows].copy(),
            self.logits[rows].copy(),
            tuple(vectors[rows].copy() for vectors in self.features),
            None if self.familiarity is None else self.familiarity[rows].copy(),
        )


Explained = tuple[Outputs, tuple["NDArray[np.float32]", ...]]
"""Outputs, and per branch what it pools, ``float32 [N, h, w, width]``."""


def join(first: Outputs, second: Outputs) -> Outputs:
    """Put two batches together again."""
    familiarity = None
    if first.familiarity is not None and second.familiarity is not None:
        familiarity = np.concatenate([first.familiarity, second.familiarity])
    return Outputs(
        np.concatenate([first.probabilities, second.probabilities]),
        np.concatenate([first.logits, second.logits]),
        tuple(np.concatenate(pair) for pair in zip(first.features, second.features, strict=True)),
        familiarity,
    )
