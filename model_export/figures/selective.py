"""Selective classification: how many images still get a label if unsure answers are left open, and how many are right.

El-Yaniv and Wiener, "On the foundations of noise-free selective classification", 2010; Geifman and El-Yaniv, "Selective
classification for deep neural networks", 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Column, Table

from model_export.figures.metrics import accuracy, clustering

if TYPE_CHECKING:
    from numpy.typing import NDArray

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Values of ``min_confidence``: always the same, because one chosen for these images would look better than it is."""

Point = dict[str, float | None]
"""At one ``min_confidence``: ``images`` that get a label; ``coverage``, their share; ``accuracy``, the share of these
labels that is right, None if there are none; and what :func:`model_export.figures.metrics.clustering` says of these
images."""


@dataclass(frozen=True)
class Selective:
    """The answers for the images of one split, as the service compares them with ``min_confidence``."""

    confidence: NDArray[np.float32]
    """Probability of the most probable class, ``[N]``."""
    right: NDArray[np.bool_]
    """Whether that class is the true one, ``[N]``."""
    groups: NDArray[np.intp] | None = None
    """The number of each image's group, ``[N]``; None if they are not grouped."""

    @classmethod
    def of(
        cls, probabilities: NDArray[np.floating], labels: NDArray[np.int64], groups: NDArray[np.intp] | None = None
    ) -> Selective:
        """Take it from ``probabilities [N, classes]``, the true ``labels [N]`` and perhaps the groups."""
        return cls(probabilities.max(1).astype(np.float32), probabilities.argmax(1) == labels, groups)

    def document(self) -> list[Point]:
        """List the figures at the fixed thresholds."""
        return [self._at(least) for least in THRESHOLDS]

    def _at(self, least: float) -> Point:
        covered = self.confidence >= least  # in float32, as in the service
        images = int(covered.sum())
        grouped = self.groups is not None and images > 0
        return {
            "min_confidence": least,
            "coverage": images / len(covered),
            "accuracy": float(self.right[covered].mean()) if images else None,
            "images": images,
            **(clustering(self.right[covered], self.groups[covered]) if grouped else {}),
        }

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute coverage and risk (the share of wrong labels) with each confidence as threshold, highest first."""
        _, place = np.unique(-self.confidence, return_inverse=True)
        covered, wrong = np.bincount(place).cumsum(), np.bincount(place, ~self.right).cumsum()
        return covered / len(place), wrong / covered

    def aurc(self) -> float:
        """Compute the area under the risk–coverage curve.

        It is the mean over all images of the risk with the confidence of that image as threshold (Geifman et al.,
        "Bias-reduced uncertainty estimation for deep neural classifiers", 2019).
        """
        coverage, risk = self.curve()
        return float(np.diff(coverage, prepend=0) @ risk)


def lines(split: str, found: Selective) -> Iterator[Table | str]:
    """Describe a split: a table of the fixed thresholds, and what its columns mean."""
    table = Table(
        "min_confidence",
        "images with a label",
        "coverage",
        Column("accuracy (95 %)", no_wrap=True),
        title=f"{split}: coverage and accuracy by min_confidence",
    )
    for point in found.document():
        right = accuracy(point, learned=split == "train") if point["images"] else "–"
        table.add_row(f"{point['min_confidence']:g}", f"{point['images']:,}", f"{point['coverage']:.4f}", right)
    yield table
    yield (
        "coverage: share of images that get a label; accuracy: share of these labels that is right; "
        f"area under the risk–coverage curve {found.aurc():.4f}"
    )
