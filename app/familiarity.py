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

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from app.statistics import Array, Part, Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOINT = "joint"
"""What the score of all branches together is called."""

_RANK = 32
_SAME = 1e-4  # of a value: by how much it may differ where the image is the same, in another batch
_BATCH = 1024  # images whose features are held in float64 at a time
_RIDGE = 0.01  # of a feature's own variance: what hardly varies within the classes must not decide alone
_LEVELS = (*np.linspace(1, 0.05, 20).round(2).tolist(), 0.02, 0.01, 0.005, 0.002, 0.001)


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


def fit(
    features: Mapping[str, NDArray[np.float32]], targets: NDArray[np.int64], held_out: Mapping[str, NDArray[np.float32]]
) -> Statistics:
    """Take the statistics of a trained network.

    Args:
        features: Per branch, by name and in the model's order, ``[N, width]``: what the network pools from the training
            images as they would be served, without augmentation.
        targets: ``[N]``, the class of each.
        held_out: The same of images that the network was not trained on, at least one, of whatever class.

    Raises:
        ValueError: The features do not vary within the classes, or are not finite.
    """
    _, classes = np.unique(targets, return_inverse=True)
    means = {name: _means(vectors, classes) for name, vectors in features.items()}
    covariances = [_covariance(vectors, classes, means[name]) for name, vectors in features.items()]
    variance = np.concatenate([covariance.diagonal() for covariance in covariances])
    if not variance.mean() > 0:
        raise ValueError("the training images of each class do not differ")
    scale = np.sqrt(variance + _RIDGE * variance.mean() + np.finfo(np.float32).tiny)
    scales = np.split(scale, np.cumsum([len(covariance) for covariance in covariances])[:-1])
    parts = [_part(covariance / np.outer(own, own)) for covariance, own in zip(covariances, scales, strict=True)]
    count = len(next(iter(held_out.values())))
    least = 1 / (count + 1)
    draft = Statistics(
        images=len(classes),
        held_out=count,
        means=Array.of(np.concatenate(list(means.values()), axis=1), "<f4"),
        scale=Array.of(scale, "<f4"),
        levels=(*(level for level in _LEVELS if level > least), float(f"{least:.4g}")),
        branches=dict(zip(features, parts, strict=True)),
    )
    return _calibrated(draft, [held_out[name] for name in features])


def _means(vectors: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average the features of each class; ``[classes, width]``."""
    numbers = np.arange(classes.max() + 1)
    sums = np.zeros((len(numbers), vectors.shape[1]))
    for rows in _batches(len(vectors)):
        sums += np.equal.outer(numbers, classes[rows]).astype(np.float64) @ vectors[rows].astype(np.float64)
    return sums / np.bincount(classes)[:, None]


def _covariance(
    vectors: NDArray[np.float32], classes: NDArray[np.int64], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the covariance around the means of the classes; ``[width, width]``."""
    total = np.zeros((vectors.shape[1],) * 2)
    for rows in _batches(len(vectors)):
        deviations = vectors[rows] - means[classes[rows]]
        total += deviations.T @ deviations
    return total / len(vectors)


def _batches(count: int) -> Iterator[slice]:
    """Divide so many rows into batches."""
    return (slice(start, start + _BATCH) for start in range(0, count, _BATCH))


def _part(covariance: NDArray[np.float64]) -> Part:
    """Keep the leading eigenvectors, and the average of the other eigenvalues."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1] + _RIDGE, vectors[:, ::-1]
    rank = min(_RANK, len(values))
    residual = float(values[rank:].mean() if rank < len(values) else values[-1])
    factor = vectors[:, :rank] * np.sqrt(np.maximum(1 / residual - 1 / values[:rank], 0))
    return Part(residual=residual, factor=Array.of(factor, "<f2"))


def _calibrated(draft: Statistics, held_out: list[NDArray[np.float32]]) -> Statistics:
    """Fill in what held-out images reach, computed from the very numbers that are stored."""
    widths = [vectors.shape[1] for vectors in held_out]
    batches = [[vectors[rows] for vectors in held_out] for rows in _batches(len(held_out[0]))]
    blank = (0.0,) * len(draft.levels)
    familiarity = Familiarity(_reached(draft, [blank] * len(widths), blank), widths)
    distances = np.concatenate([familiarity.distances(batch) for batch in batches])
    tables = [_quantiles(column, draft.levels) for column in distances.T]
    familiarity = Familiarity(_reached(draft, tables, blank), widths)
    shares = np.concatenate([familiarity.shares(batch) for batch in batches])
    return _reached(draft, tables, _quantiles(surprise(shares), draft.levels))


def _quantiles(values: NDArray[np.floating[Any]], levels: Sequence[float]) -> tuple[float, ...]:
    """Find the values which another image of the same kind reaches with the chances ``levels``.

    It is as likely to come before, between or behind these ``n`` values as any of them, so that it exceeds the ``k``-th
    with a chance of ``1 - k / (n + 1)`` (Weibull, "A statistical theory of the strength of materials", 1939). All
    are moved up a little, the lowest down: an image counts as one that is as far as its own copies among them.
    """
    found = np.quantile(values, 1 - np.array(levels), method="weibull")
    found += np.where(np.array(levels) < 1, _SAME, -_SAME) * (1 + found)
    return tuple(float(f"{value:.6g}") for value in found)


def _reached(draft: Statistics, tables: Sequence[tuple[float, ...]], joint: tuple[float, ...]) -> Statistics:
    branches = {
        name: part.model_copy(update={"distances": table})
        for (name, part), table in zip(draft.branches.items(), tables, strict=True)
    }
    return draft.model_copy(update={"branches": branches, "joint": joint})
