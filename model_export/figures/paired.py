"""Two models on the same images: which one is right more often, and whether that may be chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model_export.figures.clustered import effective_groups, effective_images, sign_flips, standard_error
from model_export.figures.metrics import QUANTILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEWEST = 8
"""Groups that show by themselves how much they differ."""


def p_value(p: float) -> str:
    """Write a p-value: p = 0.434, p < 0.001."""
    return f"p = {p:.3g}" if p >= 0.001 else "p < 0.001"


@dataclass(frozen=True)
class Paired:
    """Which of two models is right, for each image of one split."""

    first: NDArray[np.bool_]
    """Whether the first one is, ``[N]``."""
    second: NDArray[np.bool_]
    """Whether the other one is, ``[N]``."""
    groups: NDArray[np.intp] | None = None
    """The number of each image's group, ``[N]``; None if they are not grouped."""

    def of(self, chosen: NDArray[np.bool_]) -> Paired:
        """Take only some of the images, those for which ``chosen``, ``[N]``, is true."""
        groups = None if self.groups is None else self.groups[chosen]
        return Paired(self.first[chosen], self.second[chosen], groups)

    def only(self) -> tuple[int, int]:
        """Count the images that only the first model classifies correctly, and those that only the other one does."""
        return int((self.first & ~self.second).sum()), int((self.second & ~self.first).sum())

    def by_group(self) -> NDArray[np.int64]:
        """Count, by group, the images that only the first model classifies correctly, minus those of the other one."""
        _, group = np.unique(self.groups, return_inverse=True)
        return np.bincount(group, self._apart()).astype(np.int64)

    def grouped(self) -> dict[str, int]:
        """Count the groups, and those in which either model is right on more images; empty if there are none."""
        if self.groups is None:
            return {}
        found = self.by_group()
        first, second = int((found > 0).sum()), int((found < 0).sum())
        return {"groups": len(found), "groups_better": first, "groups_better_against": second}

    def _apart(self) -> NDArray[np.int64]:
        return self.first.astype(np.int64) - self.second

    def difference(self) -> float:
        """Compute the accuracy of the first model minus that of the other one."""
        gained, lost = self.only()
        return (gained - lost) / len(self.first)

    def interval(self) -> tuple[float, float]:
        """Compute the 95 % confidence interval of the difference.

        It is Wald's for paired shares, with half an image added to each of the four cells (Agresti and Min, "Simple
        improved confidence intervals for comparing matched proportions", 2005). Images that are grouped count for
        fewer; see :func:`model_export.figures.clustered.effective_images`. That is cautious, so it is only a limit if
        the images that only one model classifies correctly come from enough groups. The interval is then Student's,
        with the standard error of groups and as many degrees of freedom as :func:`effective_groups` but one; but it is
        not narrower than that of images without groups, because groups may agree by accident.
        """
        if self.groups is None:
            return self._wald(len(self.first))
        cautious = self._wald(effective_images(self._apart(), self.groups))
        count = effective_groups(self.first != self.second, self.groups)
        if count < _FEWEST:
            return cautious
        from scipy.stats import t as student  # noqa: PLC0415  # slow to import

        half = student.ppf(0.975, count - 1) * standard_error(self._apart(), self.groups)
        middle, (low, high) = self.difference(), self._wald(len(self.first))
        return max(cautious[0], min(low, middle - half)), min(cautious[1], max(high, middle + half))

    def _wald(self, worth: float) -> tuple[float, float]:
        gained, lost = (count * worth / len(self.first) + 0.5 for count in self.only())
        images = worth + 2
        middle = (gained - lost) / images
        half = QUANTILE * math.sqrt(((gained + lost) / images - middle**2) / images)
        return max(-1.0, middle - half), min(1.0, middle + half)

    def p(self) -> float:
        """Compute how often chance makes two equally good models differ by as much or more (McNemar 1947, exact).

        If the images are grouped, chance is in the groups; see :func:`model_export.figures.clustered.sign_flips`.
        """
        if self.groups is not None:
            return sign_flips(self.by_group())
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
            **self.grouped(),
        }
