"""Cuts what has no validation split, class by class."""

from __future__ import annotations

import numpy as np

from model_export.errors import BadData
from model_export.sources.listing import File

SPLITS = ("train", "validation", "test")

_FRACTION = 0.1
_SMALLEST_CLASS = 3


def split(files: dict[str, list[File]], labels: tuple[str, ...], seed: int) -> dict[str, list[File]]:
    """Cut off validation (and test, where nothing was split) from each class, seeded.

    Raises:
        BadData: A class is too small to be cut.
    """
    if "validation" in files or "train" not in files:
        return {name: files[name] for name in SPLITS if name in files}
    cut = ("validation",) if "test" in files else ("validation", "test")
    random = np.random.default_rng(seed)
    parts: dict[str, list[File]] = {**files, "train": [], **{name: [] for name in cut}}
    for index, label in enumerate(labels):
        members = [file for file in files["train"] if file.label == index]
        if 0 < len(members) < _SMALLEST_CLASS:  # one without images may be measured, and is not trained on
            raise BadData(f"class {label!r} has {len(members)} images; at least {_SMALLEST_CLASS} are needed to split")
        members = [members[i] for i in random.permutation(len(members))]
        part = max(1, round(_FRACTION * len(members)))
        for name in cut:
            parts[name] = parts[name] + members[:part]
            members = members[part:]
        parts["train"] += members
    return {name: parts[name] for name in SPLITS}
