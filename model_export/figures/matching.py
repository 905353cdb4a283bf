"""A data set, matched with the model that is measured on it: its splits, its groups, and its classes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from app.model import Model
from model_export import datasets
from model_export.console.numbers import counted
from model_export.data import grouping, sources
from model_export.errors import BadData
from model_export.figures import seen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.datasets import Dataset


@dataclass(frozen=True)
class Matched:
    """A data set that a model can be measured on."""

    dataset: Dataset
    parts: dict[str, NDArray[np.intp]]
    """Per split to measure, the positions of its images in the whole data set."""
    done: NDArray[np.str_]
    """What training did with each image of the whole data set, in words, ``[N]``."""
    known: bool
    """Whether it is the data set that the model was trained with, split as in training."""
    group_of: dict[str, int] = field(default_factory=dict)
    """If the images are grouped: the number of each one's group, by its name."""

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

    def seen(self) -> dict[str, str]:
        """Say what training did with the images of each split, with their numbers if it is not the same for all."""
        return {split: _in_words(self.done[part]) for split, part in self.parts.items()}

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
        return replace(self, parts=parts, group_of=self.group_of or other.group_of)


def _in_words(done: NDArray[np.str_]) -> str:
    words, counts = np.unique(done, return_counts=True)
    if len(words) == 1:
        return str(words[0])
    last = seen.SEEN["test"]
    ordered = sorted(zip(words, counts, strict=True), key=lambda one: one[0].startswith(last))
    return ", ".join(f"{word} {count:,}" for word, count in ordered)


def load(model: Model, data: str, labels: tuple[str, ...] | None = None, groups: str | None = None) -> Matched:
    """Load a data set at the input size of a model.

    The data set that the model was trained with is split as in training. Any other is measured as it is, and a folder
    without splits counts as one.

    Args:
        model: Which reads the images.
        data: As on the command line.
        labels: Names of the classes of a source that only numbers them.
        groups: See :func:`model_export.datasets.load`.

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
        groups=groups,
        measuring=True,
    )
    return match(model, dataset)


def match(model: Model, dataset: Dataset) -> Matched:
    """Split a data set as a model was trained with it, or as it was found."""
    record = model.metadata.training
    known = seen.cut_as_trained(dataset, record)
    if known is None:
        found = _as_found(dataset)
        done = np.full(sum(dataset.counts().values()), seen.UNKNOWN)
        return Matched(dataset, found, done, known=False, group_of=dataset.group_of)
    words, group_of = seen.words(record), dataset.group_of
    if not group_of and (pattern := record.get("group_pattern")):
        group_of = grouping.numbered(grouping.named(dataset.listed, pattern))
    done = np.empty(sum(dataset.counts().values()), f"U{max(map(len, words.values()))}")
    for split, part in known.items():
        done[part] = words[split]
    return Matched(dataset, known, done, known=True, group_of=group_of)


def positions(model: Model, matched: Matched, name: str = "the model") -> NDArray[np.int64]:
    """Find the class of every image in the whole data set, as its position in the model's labels, ``[N]``.

    Raises:
        BadData: The data set has classes that the model, which the message calls by ``name``, does not know.
    """
    labels, dataset = model.metadata.labels, matched.dataset
    unknown = [label for label in dataset.labels if label not in labels]
    if unknown:
        raise BadData(
            f"{name} does not know {len(unknown)} of the {counted(len(dataset.labels), 'class', 'classes')}: "
            f"{', '.join(map(repr, unknown))}; it knows {', '.join(labels)}; rename the classes, or name a folder with "
            "only those that the model knows (links are enough)"
        )
    return np.array([labels.index(label) for label in dataset.labels])[matched.labels()]


def _as_found(dataset: Dataset) -> dict[str, NDArray[np.intp]]:
    """Find the positions of the images of each split in the whole data set."""
    numbers = np.repeat(np.arange(len(dataset.splits)), list(dataset.counts().values()))
    return {name: np.flatnonzero(numbers == index) for index, name in enumerate(dataset.splits)}
