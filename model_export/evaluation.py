"""Measure a published artifact on a data set, through the server's own loader."""

from __future__ import annotations

import numpy as np

from app.model import Model
from model_export import datasets, report
from model_export.datasets import Split
from model_export.errors import BadData

_BATCH = 32


def evaluate(model: Model, data: str) -> dict[str, dict[str, float]]:
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
        whole=True,
    )
    report.say_dataset(dataset)
    if dataset.labels != metadata.labels:
        raise BadData(
            f"the data set has the classes {', '.join(dataset.labels)}; the model knows {', '.join(metadata.labels)}"
        )
    return {name: _measure(model, split) for name, split in dataset.splits.items()}


def _measure(model: Model, split: Split) -> dict[str, float]:
    batches = [split.images[start : start + _BATCH] for start in range(0, len(split), _BATCH)]
    probabilities = np.concatenate([model.run(batch).probabilities for batch in batches])  # (N, classes)
    of_truth = probabilities[np.arange(len(split)), split.labels]
    return {
        "accuracy": float((probabilities.argmax(1) == split.labels).mean()),
        "loss": float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()),
        "images": len(split),
    }
