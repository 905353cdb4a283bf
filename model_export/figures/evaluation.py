"""Measure a published artifact on a data set, through the server's own loader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from app.model import Model
from model_export import datasets
from model_export.data import sources
from model_export.errors import BadData
from model_export.figures import seen, summary
from model_export.figures.answers import Answers
from model_export.figures.classes import Classes
from model_export.figures.metrics import confusion, figures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.data.decoding import Split
    from model_export.datasets import Dataset

_BATCH = 32


@dataclass(frozen=True)
class Measured:
    """How well an artifact does on a data set."""

    metrics: dict[str, dict[str, float]]
    """The figures per split."""
    seen: dict[str, str]
    """Per split, whether training has seen its images, in words; see :mod:`model_export.figures.seen`."""
    missing: tuple[str, ...]
    """Classes of which there is no image."""
    classes: dict[str, Classes] = field(default_factory=dict)
    """Per split, what is right of each class, and what is taken for what."""
    answers: dict[str, Answers] = field(default_factory=dict)
    """Per split, what was answered for each image."""


def evaluate(model: Model, data: str, labels: tuple[str, ...] | None = None) -> Measured:
    """Measure a model on every split of a data set.

    The data that the model was trained with are cut as they were then; all others are taken as they lie, and a folder
    without splits counts as one. Their classes are those of the model by their names, in whatever order; some may be
    missing.

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
    known = seen.cut_as_trained(dataset, metadata.training)
    parts = _as_they_lie(dataset) if known is None else known
    labels_of_images = np.concatenate([split.labels for split in dataset.splits.values()])
    counts = {name: np.bincount(labels_of_images[part], minlength=len(dataset.labels)) for name, part in parts.items()}
    summary.say_dataset(dataset, counts)
    unknown = [label for label in dataset.labels if label not in metadata.labels]
    if unknown:
        none = "no class" if len(unknown) == 1 else "none of the classes"
        raise BadData(
            f"the model knows {none} {', '.join(map(repr, unknown))}, only {', '.join(metadata.labels)}; "
            "rename the classes, or name a folder with those alone that the model knows (links are enough)"
        )
    positions = np.array([metadata.labels.index(label) for label in dataset.labels])
    targets = positions[labels_of_images]
    answers = np.concatenate([logits(model, split) for split in dataset.splits.values()])
    names = [name for split in dataset.splits.values() for name in split.names]
    answered = {
        name: Answers(tuple(names[place] for place in part), answers[part], targets[part])
        for name, part in parts.items()
    }
    return Measured(
        {name: figures(each.logits, each.targets) for name, each in answered.items()},
        {name: seen.UNKNOWN if known is None else seen.SEEN[name] for name in parts},
        tuple(label for index, label in enumerate(metadata.labels) if index not in targets),
        {name: Classes(metadata.labels, confusion(each.logits, each.targets)) for name, each in answered.items()},
        answered,
    )


def _as_they_lie(dataset: Dataset) -> dict[str, NDArray[np.intp]]:
    """Find the positions of each split's images, counted through all of the data set."""
    numbers = np.repeat(np.arange(len(dataset.splits)), list(dataset.counts().values()))
    return {name: np.flatnonzero(numbers == index) for index, name in enumerate(dataset.splits)}


def replay(model: Model) -> float | None:
    """Ask the golden probe again; returns the largest difference, None where the artifact carries no probe."""
    probe = model.metadata.probe
    if probe is None:
        return None
    return probe.replay(lambda batch: model.run(batch).probabilities, model.shape.height, model.shape.width)


def logits(model: Model, split: Split) -> NDArray[np.float32]:
    """Compute ``float32 [N, classes]`` for every image of a split, a batch at a time."""
    starts = range(0, len(split), _BATCH)
    return np.concatenate([model.run(np.asarray(split.images[start : start + _BATCH])).logits for start in starts])
