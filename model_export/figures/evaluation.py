"""Measure a published artifact on a data set, with the service's own loader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from app.model import Model
from model_export import datasets
from model_export.data import sources
from model_export.errors import BadData
from model_export.figures import seen
from model_export.figures.answers import Answers
from model_export.figures.classes import Classes
from model_export.figures.metrics import confusion, figures
from model_export.figures.selective import Selective

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
    """Per split, what training did with its images, in words; see :mod:`model_export.figures.seen`."""
    missing: tuple[str, ...]
    """Classes without images."""
    classes: dict[str, Classes] = field(default_factory=dict)
    """Per split, the confusion matrix and the figures of each class."""
    selective: dict[str, Selective] = field(default_factory=dict)
    """Per split, what ``min_confidence`` costs and brings."""
    answers: dict[str, Answers] = field(default_factory=dict)
    """Per split, the answer for each image."""


@dataclass(frozen=True)
class Matched:
    """A data set that a model can be measured on."""

    dataset: Dataset
    parts: dict[str, NDArray[np.intp]]
    """Per split to measure, the positions of its images in the whole data set."""
    seen: dict[str, str]
    """Per split, what training did with its images, in words."""
    known: bool
    """Whether it is the data set that the model was trained with, split as in training."""

    def names(self) -> list[str]:
        """List the name of every image in the whole data set."""
        return [name for split in self.dataset.splits.values() for name in split.names]

    def labels(self) -> NDArray[np.int64]:
        """Find the class of every image in the whole data set, ``[N]``."""
        return np.concatenate([split.labels for split in self.dataset.splits.values()])

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Count the images per split and class."""
        labels, classes = self.labels(), len(self.dataset.labels)
        return {name: np.bincount(labels[part], minlength=classes) for name, part in self.parts.items()}

    def split_as(self, other: Matched) -> Matched:
        """Split the images as those of another are, in the same order; what only one of them has is in no split.

        Raises:
            BadData: A split has no image then.
        """
        places, names = {name: place for place, name in enumerate(self.names())}, other.names()
        parts = {
            split: np.array([places[names[place]] for place in part if names[place] in places], np.intp)
            for split, part in other.parts.items()
        }
        for split, part in parts.items():
            if not len(part):
                raise BadData(f"there is no image in the split {split!r} that both models can read")
        return replace(self, parts=parts, seen={split: self._seen(part) for split, part in parts.items()})

    def _seen(self, part: NDArray[np.intp]) -> str:
        """Say what training did with some images, with their numbers if they are of several splits."""
        if not self.known:
            return seen.UNKNOWN
        counts = {self.seen[split]: int(np.isin(part, own).sum()) for split, own in self.parts.items()}
        done = [(word, count) for word, count in counts.items() if count]
        return done[0][0] if len(done) == 1 else ", ".join(f"{word} {count:,}" for word, count in done)


def load(model: Model, data: str, labels: tuple[str, ...] | None = None) -> Matched:
    """Load a data set at the input size of a model.

    The data set that the model was trained with is split as in training. Any other is measured as it is, and a folder
    without splits counts as one.

    Raises:
        MissingInput: There is no such data set.
        BadData: No image of a split can be read.
    """
    dataset = datasets.load(
        data,
        size=(model.shape.height, model.shape.width),
        channels=model.shape.channels,
        value_range=model.metadata.recipe.value_range,
        labels=labels or (model.metadata.labels if sources.numbered(data) else None),
        measuring=True,
    )
    return match(model, dataset)


def match(model: Model, dataset: Dataset) -> Matched:
    """Split a data set as a model was trained with it, or as it was found."""
    record = model.metadata.training
    known = seen.cut_as_trained(dataset, record)
    if known is None:
        found = _as_found(dataset)
        return Matched(dataset, found, dict.fromkeys(found, seen.UNKNOWN), known=False)
    words = seen.words(record)
    return Matched(dataset, known, {split: words[split] for split in known}, known=True)


def evaluate(model: Model, matched: Matched) -> Measured:
    """Measure a model on every split; classes are matched to those of the model by name, and some may be missing.

    Raises:
        BadData: The data set has classes that the model does not know.
    """
    labels, dataset = model.metadata.labels, matched.dataset
    targets = positions(model, matched)
    answers, chances = _joined([outputs(model, split) for split in dataset.splits.values()])
    names, there = matched.names(), targets[np.concatenate(list(matched.parts.values()))]
    answered = {
        name: Answers(tuple(names[place] for place in part), answers[part], targets[part], labels)
        for name, part in matched.parts.items()
    }
    return Measured(
        {name: figures(each.logits, each.targets) for name, each in answered.items()},
        matched.seen,
        tuple(label for index, label in enumerate(labels) if index not in there),
        {name: Classes(labels, confusion(each.logits, each.targets)) for name, each in answered.items()},
        {name: Selective.of(chances[part], targets[part]) for name, part in matched.parts.items()},
        answered,
    )


def positions(model: Model, matched: Matched, name: str = "the model") -> NDArray[np.int64]:
    """Find the class of every image in the whole data set, as its position in the model's labels, ``[N]``.

    Raises:
        BadData: The data set has classes that the model, which the message calls by ``name``, does not know.
    """
    labels, dataset = model.metadata.labels, matched.dataset
    unknown = [label for label in dataset.labels if label not in labels]
    if unknown:
        none = "no class" if len(unknown) == 1 else "none of the classes"
        raise BadData(
            f"{name} knows {none} {', '.join(map(repr, unknown))}, only {', '.join(labels)}; "
            "rename the classes, or name a folder with only those that the model knows (links are enough)"
        )
    return np.array([labels.index(label) for label in dataset.labels])[matched.labels()]


def _as_found(dataset: Dataset) -> dict[str, NDArray[np.intp]]:
    """Find the positions of the images of each split in the whole data set."""
    numbers = np.repeat(np.arange(len(dataset.splits)), list(dataset.counts().values()))
    return {name: np.flatnonzero(numbers == index) for index, name in enumerate(dataset.splits)}


def replay(model: Model) -> float | None:
    """Check the golden probe again; returns the largest difference, None if the artifact has no probe."""
    probe = model.metadata.probe
    if probe is None:
        return None
    return probe.replay(lambda batch: model.run(batch).probabilities, model.shape.height, model.shape.width)


def logits(model: Model, split: Split) -> NDArray[np.float32]:
    """Compute ``float32 [N, classes]`` for every image of a split, a batch at a time."""
    return outputs(model, split)[0]


def outputs(model: Model, split: Split) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute logits and probabilities, each ``float32 [N, classes]``, for every image of a split."""
    return _joined([(found.logits, found.probabilities) for found in run(model, split)])


def run(model: Model, split: Split) -> Iterator[Any]:
    """Run a model on every image of a split; yields the service's outputs, a batch at a time."""
    for start in range(0, len(split), _BATCH):
        yield model.run(np.asarray(split.images[start : start + _BATCH]))


def _joined(
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)
