"""Does the model know this kind of image? How far its pooled features lie from those of the training images.

For each branch one Gaussian per class, with a covariance that all classes share; the distance of an image is the
Mahalanobis distance to the nearest class (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution
Samples and Adversarial Attacks", 2018). The covariance keeps its leading eigenvectors and one residual variance
(Tipping and Bishop, "Probabilistic Principal Component Analysis", 1999), so that the statistics grow with the number of
features and not with its square. What is told is not the distance but the share of held-out images that lie at least as
far away: spread evenly over 0 to 1 for images like those of the training set, near 0 for others.

The branches' shares are joined by Fisher's method ("Statistical Methods for Research Workers", 1932): the sum of their
negative logarithms, the surprise, is compared with that of the held-out images, because branches are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from app.errors import InvalidArtifact
from app.statistics import Part, Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.metadata import Metadata

JOINT = "joint"
"""What the score of all branches together is called."""


class Familiarity:
    """Scores images against the statistics of one model; what can be computed beforehand is."""

    def __init__(self, statistics: Statistics, widths: Sequence[int]) -> None:
        """Prepare.

        Args:
            statistics: As the artifact carries them.
            widths: Number of features of each branch, in the model's order.

        Raises:
            ValueError: The statistics do not fit the branches, or are damaged.
        """
        if len(statistics.branches) != len(widths):
            raise ValueError("there must be one part for each branch")
        means, scale = statistics.means.read(None, sum(widths)), statistics.scale.read(sum(widths))
        if not (scale > 0).all():
            raise ValueError("the scale must be positive")
        self._centre = means.mean(0).astype(np.float32)
        self._levels = np.array(statistics.levels)
        if not (self._levels[0] <= 1 and self._levels[-1] > 0 and (np.diff(self._levels) <= 0).all()):
            raise ValueError("the levels must descend from 1, and stay above 0")
        self._joint = _table(statistics.joint, statistics.levels)
        self._chain([_table(part.distances, statistics.levels) for part in statistics.branches.values()])
        edges = pairwise(np.cumsum([0, *widths]).tolist())
        spans = [slice(start, stop) for start, stop in edges]
        self._prepare(list(statistics.branches.values()), spans, (means - means.mean(0)) / scale, 1 / scale)

    @classmethod
    def of(cls, metadata: Metadata) -> Familiarity | None:
        """Prepare what the artifact carries; None where it carries no statistics.

        Raises:
            InvalidArtifact: They are not those of its branches, or are damaged.
        """
        if metadata.statistics is None:
            return None
        if list(metadata.statistics.branches) != [branch.name for branch in metadata.branches]:
            raise InvalidArtifact("its statistics are not those of its branches; export it again")
        try:
            with np.errstate(over="raise", invalid="raise"):  # else it would score images with numbers that are none
                return cls(metadata.statistics, [branch.width for branch in metadata.branches])
        except (ArithmeticError, ValueError) as error:
            raise InvalidArtifact(f"its statistics are damaged: {error}; export it again") from None

    def _prepare(
        self, parts: list[Part], spans: list[slice], means: NDArray[np.float64], inverse: NDArray[np.float64]
    ) -> None:
        """Write the distance to class ``c``, ``(x - m_c)ᵀ P (x - m_c)``, as ``xᵀPx - 2 (P m_c)ᵀx + m_cᵀ P m_c``.

        The quadratic term is ``Σ (x / s)² / residual - Σ (factorᵀ x)²``. All branches share one matrix product: its
        first columns are the factors, its last ones ``-2 P m_c``; rows that a branch does not look at are zero.
        """
        factors, linears, constants, squares = [], [], [], []
        for part, span in zip(parts, spans, strict=True):
            stored = part.factor.read(span.stop - span.start, None)  # (width, rank)
            factor, own = np.zeros((len(inverse), stored.shape[1])), np.zeros_like(inverse)
            factor[span], own[span] = stored, 1
            projected = (means * own) / part.residual - (means @ factor) @ factor.T  # (classes, D): P m_c
            factors.append(factor * inverse[:, None])
            linears.append(-2 * (projected * inverse).T)
            constants.append((projected * means).sum(1))
            squares.append(own * inverse**2 / part.residual)
        self._starts = np.cumsum([0, *(factor.shape[1] for factor in factors[:-1])])
        self._rank = sum(factor.shape[1] for factor in factors)
        self._matrix = np.concatenate([*factors, *linears], axis=1).astype(np.float32)
        self._constants = np.stack(constants).astype(np.float32)  # (branches, classes)
        self._squares = np.stack(squares, axis=1).astype(np.float32)  # (D, branches)

    def _chain(self, tables: list[NDArray[np.float64]]) -> None:
        """Lay the branches' tables one after the other, so that one interpolation serves them all."""
        self._lowest = np.array([table[0] for table in tables])
        self._highest = np.array([table[-1] for table in tables])
        lengths = self._highest - self._lowest + 1  # a gap of 1, in which nothing is looked up
        self._shift = np.cumsum(lengths) - lengths - self._lowest
        self._chained = np.concatenate([table + shift for table, shift in zip(tables, self._shift, strict=True)])
        self._chained_levels = np.tile(self._levels, len(tables))

    def distances(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute each branch's squared distance to the nearest class.

        Args:
            features: Per branch, in the model's order, ``float32 [N, width]``.

        Returns:
            ``float32 [N, branches]``.
        """
        centred = np.concatenate(features, axis=1) - self._centre  # (N, D)
        product = centred @ self._matrix
        projected, linear = product[:, : self._rank], product[:, self._rank :]
        quadratic = (centred * centred) @ self._squares - np.add.reduceat(projected * projected, self._starts, axis=1)
        of_classes = linear.reshape(-1, *self._constants.shape) + self._constants
        nearest: NDArray[np.float32] = quadratic + of_classes.min(-1)
        return nearest

    def shares(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Compute for each branch the share of held-out images that lie at least as far away, ``[N, branches]``."""
        inside = np.minimum(np.maximum(self.distances(features), self._lowest), self._highest)
        shares: NDArray[np.float64] = np.interp(inside + self._shift, self._chained, self._chained_levels)
        return shares

    def score(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute the shares for all branches together and for each; ``float32 [N, 1 + branches]``."""
        shares = self.shares(features)
        scores = np.empty((shares.shape[0], 1 + shares.shape[1]), np.float32)
        scores[:, 0] = np.interp(surprise(shares), self._joint, self._levels)
        scores[:, 1:] = shares
        return scores


def surprise(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join the shares of the branches, ``[N, branches]``, by Fisher's method; ``[N]``, the larger the stranger."""
    joined: NDArray[np.float64] = -np.log(shares).sum(1)
    return joined


def _table(values: Sequence[float], levels: Sequence[float]) -> NDArray[np.float64]:
    table = np.array(values)
    if len(table) != len(levels) or not (np.diff(table) >= 0).all():
        raise ValueError("there must be an ascending value for each level")
    return table
