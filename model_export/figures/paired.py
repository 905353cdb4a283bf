"""Two models on the same images: which one is right more often, and whether that may be chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model_export.figures.metrics import QUANTILE

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Paired:
    """Which of two models is right, for each image of one split."""

    first: NDArray[np.bool_]
    """Whether the first one is, ``[N]``."""
    second: NDArray[np.bool_]
    """Whether the other one is, ``[N]``."""

    def only(self) -> tuple[int, int]:
        """Count the images that only the first model classifies correctly, and those that only the other one does."""
        return int((self.first & ~self.second).sum()), int((self.second & ~self.first).sum())

    def difference(self) -> float:
        """Compute the accuracy of the first model minus that of the other one."""
        gained, lost = self.only()
        return (gained - lost) / len(self.first)

    def interval(self) -> tuple[float, float]:
        """Compute the 95 % confidence interval of the difference.

        It is Wald's for paired shares, with half an image added to each of the four cells (Agresti and Min, "Simple
        improved confidence intervals for comparing matched proportions", 2005).
        """
        gained, lost = (count + 0.5 for count in self.only())
        images = len(self.first) + 2
        middle = (gained - lost) / images
        half = QUANTILE * math.sqrt(((gained + lost) / images - middle**2) / images)
        return max(-1.0, middle - half), min(1.0, middle + half)

    def p(self) -> float:
        """Compute how often chance makes two equally good models differ by as much or more (McNemar 1947, exact)."""
        from scipy.stats import binomtest  # noqa: PLC0415  # slow to import

        gained, lost = self.only()
        return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0

    def document(self) -> dict[str, Any]:
        """Convert the figures to JSON values."""
        gained, lost = self.only()
        return {
            "images": len(self.first),
            "accuracy": float(self.first.mean()),
            "accuracy_against": float(self.second.mean()),
            "only_right": gained,
            "only_right_against": lost,
            "difference": self.difference(),
            "difference_95": list(self.interval()),
            "p": self.p(),
        }
