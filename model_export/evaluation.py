"""Measure a published artifact on a data set, through the server's own loader."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from app.model import Model
from model_export import datasets, report, sources
from model_export.errors import BadData
from model_export.metrics import figures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.decoding import Split

_BATCH = 32


def evaluate(
    model: Model, data: str, labels: tuple[str, ...] | None = None
) -> tuple[dict[str, dict[str, float]], tuple[str, ...]]:
    """Measure accuracy and cross-entropy on every split of a data set; a folder without splits counts as one.

    Its classes are those of the model by their names, in whatever order; some may be missing.

    Returns:
        The figures per split, and the classes of which there is no image.

    Raises:
        BadData: The data set has classes that the model does not know.
        MissingInput: There is no such data set.
    """
    metadata = model.metadata
    dataset = datasets.load(
        data,
        size=(model.shape.height, model.shape.width),
        channels=model.shape.channels,
        value_range=metadata.recipe.value_range,
        labels=labels or (metadata.labels if sources.numbered(data) else None),
        measuring=True,
    )
    report.say_dataset(dataset)
    unknown = [label for label in dataset.labels if label not in metadata.labels]
    if unknown:
        raise BadData(
            f"the model knows no class {', '.join(map(repr, unknown))}, only {', '.join(metadata.labels)}; "
            "give the classes the names that the model knows, or leave out what it does not"
        )
    positions = np.array([metadata.labels.index(label) for label in dataset.labels])
    splits = {name: replace(split, labels=positions[split.labels]) for name, split in dataset.splits.items()}
    seen = np.unique(np.concatenate([split.labels for split in splits.values()]))
    missing = tuple(label for index, label in enumerate(metadata.labels) if index not in seen)
    return {name: measure(model, split) for name, split in splits.items()}, missing


def replay(model: Model) -> float | None:
    """Ask the golden probe again; returns the largest difference, None where the artifact carries no probe."""
    probe = model.metadata.probe
    if probe is None:
        return None
    return probe.replay(lambda batch: model.run(batch).probabilities, model.shape.height, model.shape.width)


def measure(model: Model, split: Split) -> dict[str, float]:
    """Measure a loaded artifact on one split."""
    return figures(logits(model, split), split.labels)


def logits(model: Model, split: Split) -> NDArray[np.float32]:
    """Compute ``float32 [N, classes]`` for every image of a split, a batch at a time."""
    starts = range(0, len(split), _BATCH)
    return np.concatenate([model.run(np.asarray(split.images[start : start + _BATCH])).logits for start in starts])
