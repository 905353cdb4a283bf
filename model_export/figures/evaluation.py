"""Measure a published artifact on a data set, with the service's own loader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from app import ahead, memory
from app.model import Model
from model_export.datasets import numbers_of
from model_export.figures.answers import Answers
from model_export.figures.classes import Classes
from model_export.figures.matching import Matched, positions
from model_export.figures.metrics import confusion, figures
from model_export.figures.selective import Selective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.data.split import Split

_AT_ONCE = 32


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
    done: dict[str, NDArray[np.str_]] = field(default_factory=dict)
    """Per split, what training did with each image, in words, ``[N]``."""


def evaluate(model: Model, matched: Matched) -> Measured:
    """Measure a model on every split; classes are matched to those of the model by name, and some may be missing.

    Raises:
        BadData: The data set has classes that the model does not know.
    """
    labels, dataset = model.metadata.labels, matched.dataset
    targets = positions(model, matched)
    answers, chances = _joined([outputs(model, split) for split in dataset.splits.values()])
    names, there = matched.names(), targets[np.concatenate(list(matched.parts.values()))]
    files = {name: tuple(names[place] for place in part) for name, part in matched.parts.items()}
    answered = {
        name: Answers(files[name], answers[part], targets[part], labels, numbers_of(files[name], matched.group_of))
        for name, part in matched.parts.items()
    }
    return Measured(
        {name: figures(each.logits, each.targets, each.groups) for name, each in answered.items()},
        matched.seen(),
        tuple(label for index, label in enumerate(labels) if index not in there),
        {name: Classes(labels, confusion(each.logits, each.targets)) for name, each in answered.items()},
        {
            name: Selective.of(chances[part], targets[part], answered[name].groups)
            for name, part in matched.parts.items()
        },
        answered,
        {name: matched.done[part] for name, part in matched.parts.items()},
    )


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


def answers(model: Model, split: Split) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Compute for every image of a split the logits ``[N, classes]``, and each branch's features ``[N, width]``."""
    batches = [(found.logits, *found.features) for found in run(model, split)]
    logits, *features = map(np.concatenate, zip(*batches, strict=True))
    return logits, dict(zip((branch.name for branch in model.metadata.branches), features, strict=True))


def run(model: Model, split: Split) -> Iterator[Any]:
    """Run a model on every image of a split, on all cores; yields the service's outputs in order, batch by batch."""
    size = memory.images_at_once(_AT_ONCE, *split.images.shape[1:3], threads=ahead.threads())

    def run_from(start: int) -> Any:
        return model.run(np.asarray(split.images[start : start + size]))

    with closing(ahead.in_order(run_from, range(0, len(split), size), ahead=2 * ahead.threads())) as found:
        for _, answered in found:
            yield answered


def _joined(
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)
