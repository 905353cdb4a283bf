"""The statistics behind familiarity: fitted to training images, calibrated on held-out ones.

:mod:`app.familiarity` describes the method and uses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.familiarity import Familiarity, surprise
from app.statistics import Array, Part, Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RANK = 32
_SAME = 1e-4  # relative difference between the values of the same image in two batches
_BATCH = 1024  # images whose features are held in float64 at a time
_RIDGE = 0.01  # of the mean variance: a feature that hardly varies within the classes must not dominate
_LEVELS = (*np.linspace(1, 0.05, 20).round(2).tolist(), 0.02, 0.01, 0.005, 0.002, 0.001)


def fit(
    features: Mapping[str, NDArray[np.float32]], targets: NDArray[np.int64], held_out: Mapping[str, NDArray[np.float32]]
) -> Statistics:
    """Compute the statistics of a trained network.

    Args:
        features: Per branch, by name and in the model's order, ``[N, width]``: the pooled features of the training
            images without augmentation.
        targets: ``[N]``, the class of each.
        held_out: The same for at least one image that the network was not trained on; its class does not matter.

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
    """Fill in the quantiles of the held-out images, computed with the rounded numbers that are stored."""
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
    """Find the values that another image of the same kind exceeds with the probabilities ``levels``.

    Such an image exceeds the ``k``-th smallest of ``n`` values with the probability ``1 - k / (n + 1)`` (Weibull, "A
    statistical theory of the strength of materials", 1939). All values are moved up a little, and the lowest down, so
    that rounding does not separate an image from a copy of it.
    """
    found = np.quantile(values, 1 - np.array(levels), method="weibull")
    # By the size: the squared distance of an image near a class can be below 0, as the factors are rounded.
    found += np.where(np.array(levels) < 1, _SAME, -_SAME) * (1 + np.abs(found))
    return tuple(float(f"{value:.6g}") for value in found)


def _reached(draft: Statistics, tables: Sequence[tuple[float, ...]], joint: tuple[float, ...]) -> Statistics:
    branches = {
        name: part.model_copy(update={"distances": table})
        for (name, part), table in zip(draft.branches.items(), tables, strict=True)
    }
    return draft.model_copy(update={"branches": branches, "joint": joint})
