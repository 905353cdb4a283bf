"""Why an image got its logits: the exact share of each branch, because there is no layer between pools and head.

For class ``c`` and branch ``b`` with pooled features ``v_b`` and the head's rows ``w_b`` for them, the contribution is
``v_b · w_b[:, c]``, and ``logit_c = bias_c + Σ_b contribution_b,c``. A contribution is in turn the sum of a map over
the image: with average pooling, every position gets its own value times the weight, divided by the number of positions;
with max pooling, the position of the maximum gets all of it, in equal parts if there are several. No sampling and no
gradients are involved (Zhou et al., "Learning Deep Features for Discriminative Localization", 2016; Lin, Chen and Yan,
"Network in Network", 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.metadata import Branch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KERNEL = "head_kernel"
BIAS = "head_bias"
"""Names of the graph outputs that carry the head; an artifact without them cannot be explained."""

_UNEXPLAINED = "either layers stand between its pools and its logits, or it must be exported again"
NO_HEAD = f"the model carries no head, so its logits cannot be explained: {_UNEXPLAINED}"
NO_MAPS = f"the model carries no maps of what its branches pool, so it cannot be explained: {_UNEXPLAINED}"

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Head:
    """The dense layer from the concatenated pooled features to the logits.

    Attributes:
        kernel: ``float32 [features, classes]``, the rows of the branches one after the other.
        bias: ``float32 [classes]``.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]

    def contributions(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute each branch's share of every logit of one image.

        Args:
            features: Per branch, in the model's order, ``float32 [width]``.

        Returns:
            ``float32 [branches, classes]``; with the bias they sum to the logits, to float32 precision.
        """
        blocks = self._blocks([len(vector) for vector in features])
        shares = [np.dot(vector, block) for vector, block in zip(features, blocks, strict=True)]
        return np.stack(shares)  # (branches, classes)

    def maps(self, branches: Sequence[Branch], maps: Sequence[NDArray[np.float32]], label: int) -> NDArray[np.float32]:
        """Compute where in the image the contributions to one logit come from.

        Args:
            branches: As the artifact describes them.
            maps: Per branch, what it pools from one image, ``float32 [h, w, width]``.
            label: Position of the class.

        Returns:
            ``float32 [branches, H, W]`` over the trunk's whole feature map, 0 outside a branch's region; summed over a
            map they give the branch's contribution, to float32 precision.
        """
        grid = grid_of(branches[0], maps[0].shape)
        blocks = self._blocks([branch.width for branch in branches])
        result = np.zeros((len(branches), *grid), np.float32)
        for branch, pooled, block, whole in zip(branches, maps, blocks, result, strict=True):
            top, left, bottom, right = branch.region
            rows = slice(round(top * grid[0]), round(bottom * grid[0]))
            columns = slice(round(left * grid[1]), round(right * grid[1]))
            # Not ``@``: it warns of invalid values that OpenBLAS's AVX-512 kernel computed beside the result.
            whole[rows, columns] = np.dot(spread(branch.pooling, pooled), block[:, label])
        return result

    def explains(self, features: Sequence[NDArray[np.float32]], logits: NDArray[np.float32]) -> bool:
        """Whether bias and contributions really sum to the logits of one image, ``[classes]``."""
        pooled = np.concatenate(features)
        if self.kernel.shape != (len(pooled), len(logits)) or self.bias.shape != logits.shape:
            return False
        # The rounding error of float32 grows with the size of the terms, which may cancel out in the sum.
        scale = 1 + np.abs(self.bias) + np.abs(pooled) @ np.abs(self.kernel)
        difference = np.abs(self.bias + self.contributions(features).sum(0) - logits)
        return bool((difference <= _TOLERANCE * scale).all())

    def _blocks(self, widths: Sequence[int]) -> list[NDArray[np.float32]]:
        return np.split(self.kernel, np.cumsum(widths)[:-1])


def spread(pooling: str, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute what each position contributes to the pooled features.

    Args:
        pooling: ``max``, or any name for an average of the map: ``average`` itself, or pooling whose weights the map
            already contains, such as attention and generalised means.
        pooled: ``float32 [h, w, width]``.

    Returns:
        ``float32 [h, w, width]``; the sum over all positions is the vector of pooled features.
    """
    if pooling != "max":
        return pooled / np.float32(pooled.shape[0] * pooled.shape[1])
    largest = pooled == pooled.max((0, 1))
    shares: NDArray[np.float32] = np.where(largest, pooled / largest.sum((0, 1), dtype=np.float32), np.float32(0))
    return shares


def grid_of(branch: Branch, shape: tuple[int, ...]) -> tuple[int, int]:
    """Compute height and width of the trunk's feature map from those of the part that a branch pools."""
    top, left, bottom, right = branch.region
    return round(shape[0] / (bottom - top)), round(shape[1] / (right - left))


def maps_add_up(
    branches: Sequence[Branch], maps: Sequence[NDArray[np.float32]], features: Sequence[NDArray[np.float32]]
) -> bool:
    """Whether the maps of one image lie on one grid, and each really pools to its branch's features."""
    grid = grid_of(branches[0], maps[0].shape)
    for branch, pooled, vector in zip(branches, maps, features, strict=True):
        if pooled.ndim != 3 or pooled.shape[2] != len(vector) or grid_of(branch, pooled.shape) != grid:
            return False
        scale = 1 + np.abs(pooled).max()
        if not (np.abs(spread(branch.pooling, pooled).sum((0, 1)) - vector) <= _TOLERANCE * scale).all():
            return False
    return True


@dataclass(frozen=True)
class Votes:
    """The class that each branch alone would choose for one image, as positions of classes.

    Attributes:
        alone: Per branch, the class it would choose without the others: the one of the largest bias plus contribution.
        without: Per branch, the class that all others would choose.
    """

    alone: NDArray[np.intp]
    without: NDArray[np.intp]


def votes(bias: NDArray[np.float32], contributions: NDArray[np.float32]) -> Votes:
    """Find the choice of each branch alone, and of all but each, from ``[classes]`` and ``[branches, classes]``."""
    return Votes((bias + contributions).argmax(1), (bias + contributions.sum(0) - contributions).argmax(1))
