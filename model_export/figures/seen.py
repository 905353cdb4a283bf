"""Which images of a data set a published model has seen in training: on them, its figures are too good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from model_export.data import grouping
from model_export.data.splitting import copies, split
from model_export.datasets import fingerprint
from model_export.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.datasets import Dataset

SEEN = {"train": "learned from", "validation": "tuned on", "test": "not seen"}
"""What training did with the images of each split; those of validation chose the epoch and the temperature."""
UNKNOWN = "not known"


def words(record: dict[str, Any]) -> dict[str, str]:
    """Say what training did with the images of each split, according to a training record.

    Initial weights from a file may be those of a network that was trained on any of the images.
    """
    if record.get("weights") != "file":
        return SEEN
    return {**SEEN, "test": "not seen, unless by the network that its initial weights come from"}


def least(by_split: Mapping[str, Any]) -> tuple[str, Any]:
    """Name the split of which a model has seen least, the last one, and what was found there.

    Training learns from the first, and tunes on the second; what comes last is nearest to what new images show.
    """
    return list(by_split.items())[-1]


def learned_from(words: str) -> bool:
    """Whether these words say that the model has learned from some of the images."""
    return SEEN["train"] in words


def equally_new(first: NDArray[np.str_], second: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Find the images on which two models can be compared fairly, as far as it is known.

    Neither has learned from them, and neither alone was tuned on them.

    Args:
        first: What the training of one model did with each image, in words, ``[N]``.
        second: The same of the other model.

    Returns:
        ``[N]``.
    """
    learned = (first == SEEN["train"]) | (second == SEEN["train"])
    known = (first != UNKNOWN) & (second != UNKNOWN)
    tuned_alone = (first == SEEN["validation"]) != (second == SEEN["validation"])
    return ~learned & ~(known & tuned_alone)


def cut_as_trained(dataset: Dataset, record: dict[str, Any]) -> dict[str, NDArray[np.intp]] | None:
    """Split a measured data set as in training, if it is the one that the model was trained with.

    Args:
        dataset: Loaded to be measured.
        record: The training record of the artifact.

    Returns:
        Per split, the positions of its images in the whole data set; None if files, classes or splits differ, or the
        record is incomplete.
    """
    if not {"fingerprint", "seed"} <= record.keys():
        return None
    listed, pattern = dataset.listed, record.get("group_pattern")
    if pattern or not record.get("groups"):  # a table may have got its groups since
        listed = grouping.without(listed)
    try:
        return _cut(replace(dataset, listed=grouping.named(listed, pattern) if pattern else listed), record)
    except BadData:  # its groups cannot be those of the training
        return None


def _cut(dataset: Dataset, record: dict[str, Any]) -> dict[str, NDArray[np.intp]] | None:
    digests = [digest for one in dataset.splits.values() for digest in one.digests]
    names = [name for one in dataset.splits.values() for name in one.names]
    places = {name: place for place, name in enumerate(names)}  # unreadable files have none
    same = copies(dataset.listed)
    for each in (same, {}) if same else ({},):  # older versions did not keep copies together
        files = split(dataset.listed, dataset.labels, record["seed"], each)
        kept = {name: [file for file in members if file.name in places] for name, members in files.items()}
        found = fingerprint(
            (name, dataset.labels[file.label], digests[places[file.name]])
            for name, members in kept.items()
            for file in members
        )
        if found == record["fingerprint"]:
            return {name: np.array([places[file.name] for file in members], np.intp) for name, members in kept.items()}
    return None
