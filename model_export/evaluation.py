"""Measure a published artifact on a data set, through the server's own loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.model import Model
from model_export import datasets, report, sources
from model_export.errors import BadData
from model_export.metrics import figures

if TYPE_CHECKING:
    from model_export.decoding import Split

_BATCH = 32


def evaluate(model: Model, data: str, labels: tuple[str, ...] | None = None) -> dict[str, dict[str, float]]:
    """Measure accuracy and cross-entropy on every split of a data set; a folder without splits counts as one.

    Raises:
        BadData: The data set has other classes than the model.
        MissingInput: There is no such data set.
    """
    metadata = model.metadata
    dataset = datasets.load(
        data,
        size=(model.shape.height, model.shape.width),
        channels=model.shape.channels,
        value_range=metadata.recipe.value_range,
        labels=labels or (metadata.labels if sources.numbered(data) else None),
        whole=True,
    )
    report.say_dataset(dataset)
    if dataset.labels != metadata.labels:
        raise BadData(
            f"the data set has the classes {', '.join(dataset.labels)}; the model knows {', '.join(metadata.labels)}"
        )
    return {name: measure(model, split) for name, split in dataset.splits.items()}


def replay(model: Model) -> float | None:
    """Ask the golden probe again; returns the largest difference, None where the artifact carries no probe."""
    probe = model.metadata.probe
    if probe is None:
        return None
    return probe.replay(lambda batch: model.run(batch).probabilities, model.shape.height, model.shape.width)


def measure(model: Model, split: Split) -> dict[str, float]:
    """Measure a loaded artifact on one split, a batch at a time."""
    starts = range(0, len(split), _BATCH)
    logits = [model.run(np.asarray(split.images[start : start + _BATCH])).logits for start in starts]
    return figures(np.concatenate(logits), split.labels)
