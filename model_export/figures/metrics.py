"""Figures from logits and labels, the same for Keras and for ONNX."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax, softmax

from model_export.console.numbers import counted
from model_export.figures.clustered import effective_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15

QUANTILE = 1.959964
"""Of the normal distribution: 95 % is within this many standard deviations."""


def figures(
    logits: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.intp] | None = None
) -> dict[str, float]:
    """Measure ``logits [N, classes]`` against ``labels [N]``.

    Args:
        groups: The number of each image's group, ``[N]``; None if they are not grouped.

    Returns:
        ``accuracy``, ``loss`` (cross-entropy in nats), ``ece`` (expected calibration error), ``images``; and the means
        of recall and F1 over the classes of which there are images, ``balanced_accuracy`` (Brodersen et al. 2010, as in
        scikit-learn) and ``macro_f1``. If the images are grouped, also what :func:`clustering` adds.
    """
    _, recall, f1 = by_class(confusion(logits, labels))
    right = logits.argmax(1) == labels
    return {
        "accuracy": float(right.mean()),
        "loss": float(losses(logits, labels).mean()),
        "ece": calibration_error(logits, labels),
        "images": len(labels),
        "balanced_accuracy": float(np.nanmean(recall)),
        "macro_f1": float(np.nanmean(f1)),
        **clustering(right, groups),
    }


def clustering(right: NDArray[np.bool_], groups: NDArray[np.intp] | None) -> dict[str, float]:
    """Count the ``groups`` of images of which some are right, and compute the ``effective_images`` of that share.

    Nothing is said if they are not grouped; see :func:`model_export.figures.clustered.effective_images`.
    """
    if groups is None:
        return {}
    return {"groups": len(np.unique(groups)), "effective_images": effective_images(right, groups)}


def interval(share: float, images: float) -> tuple[float, float]:
    """Compute the 95 % confidence interval of a share of a number of images (Wilson 1927)."""
    within = QUANTILE**2 / images
    middle = (share + within / 2) / (1 + within)
    half = math.sqrt(within * share * (1 - share) + within**2 / 4) / (1 + within)
    return middle - half, middle + half


def interval_of(figures: dict[str, float]) -> tuple[float, float]:
    """Compute the 95 % confidence interval of an accuracy: for images of new groups, if they are grouped."""
    return interval(figures["accuracy"], figures.get("effective_images", figures["images"]))


def in_groups(figures: dict[str, float]) -> str:
    """Say after a number of images of how many groups they are; an empty text if they are not grouped."""
    return f" in {counted(round(figures['groups']), 'group')}" if "groups" in figures else ""


def worth(figures: dict[str, float], split: str) -> str:
    """Say how many independent images those of a split are worth; an empty text if they are not grouped."""
    if "groups" not in figures:
        return ""
    images = counted(round(figures["images"]), "image")
    alone = counted(round(figures["effective_images"]), "independent one")
    return f"the {images} of {split},{in_groups(figures)}, count like {alone}"


def majority_baseline(labels: NDArray[np.int64]) -> float:
    """Compute the accuracy of always naming the most frequent class, as scikit-learn's ``DummyClassifier`` does."""
    return float(np.bincount(labels).max() / len(labels))


def accuracy(figures: dict[str, float], *, learned: bool) -> str:
    """Write an accuracy with its 95 % interval, or without: images that were learned from are no random sample."""
    if learned:
        return f"{figures['accuracy']:.4f}"
    low, high = interval_of(figures)
    return f"{figures['accuracy']:.4f} ({low:.3f}–{high:.3f})"


def losses(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the cross-entropy of every image in nats, ``[N]``."""
    return -log_softmax(logits.astype(float), axis=1)[np.arange(len(labels)), labels]


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the classes, ``[N, classes]``."""
    return softmax(logits.astype(float), axis=1)


def reliability(
    logits: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Sort the images by the probability of their most probable class into 15 bins of equal width.

    Returns:
        Per bin: images, mean probability and accuracy (both 0 without images).
    """
    chances = probabilities(logits)
    confidence, right = chances.max(1), chances.argmax(1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = np.maximum(counts, 1)
    return (
        counts,
        np.bincount(bins, confidence, minlength=BINS) / filled,
        np.bincount(bins, right, minlength=BINS) / filled,
    )


def calibration_error(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Expected calibration error over 15 bins (Guo et al., "On calibration of modern neural networks", 2017)."""
    counts, confidence, right = reliability(logits, labels)
    return float((counts * np.abs(confidence - right)).sum() / counts.sum())


def confusion(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count ``[true class, predicted class]``."""
    classes = logits.shape[1]
    return np.bincount(labels * classes + logits.argmax(1), minlength=classes**2).reshape(classes, classes)


def by_class(matrix: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute precision, recall and F1 of each class, ``[classes]``, from the counts ``[true class, predicted class]``.

    They are those of scikit-learn's ``classification_report``, but NaN if undefined: a class that was never predicted
    has no precision, and one without images has no recall and no F1.
    """
    right, images, predicted = matrix.diagonal().astype(float), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore"):  # 0 / 0
        recall = right / images
        return right / predicted, recall, np.where(images > 0, 2 * right / (images + predicted), np.nan)
