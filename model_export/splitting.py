"""Sees that every class has enough images, and cuts what has no validation split, class by class."""

from __future__ import annotations

from collections import Counter

import numpy as np

from model_export.errors import BadData
from model_export.sources.listing import File

SPLITS = ("train", "validation", "test")

_FRACTION = 0.1
_SMALLEST_CLASS = 3
_MOST_NAMED = 10


def check(files: dict[str, list[File]], labels: tuple[str, ...]) -> None:
    """See that every class has images in every split, and enough where one is to be cut.

    Raises:
        BadData: Some have not; says which, all at once.
    """
    cut = "validation" not in files
    lacking = []
    for name, members in files.items():
        counts = Counter(file.label for file in members)
        least = _SMALLEST_CLASS if cut and name == "train" else 1
        where = f" in {name!r}" if len(files) > 1 else ""
        lacking += [_few(label, counts[index]) + where for index, label in enumerate(labels) if counts[index] < least]
    if lacking:
        each = f"at least {_SMALLEST_CLASS} images, one of them to validate with and one to test" if cut else "an image"
        where = "" if cut else " in every split"
        raise BadData(
            f"{_listed(lacking)}; each class needs {each}{where}. Add images, or remove the folders of "
            f"{'that class' if len(lacking) == 1 else 'those classes'}"
        )


def _few(label: str, count: int) -> str:
    return f"class {label!r} has {('no image', '1 image')[count] if count < 2 else f'{count} images'}"


def _listed(parts: list[str]) -> str:
    if len(parts) > _MOST_NAMED:
        parts = [*parts[:_MOST_NAMED], f"{len(parts) - _MOST_NAMED} more have too few"]
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def split(files: dict[str, list[File]], labels: tuple[str, ...], seed: int) -> dict[str, list[File]]:
    """Cut off validation (and test, where nothing was split) from each class, seeded."""
    if "validation" in files or "train" not in files:
        return {name: files[name] for name in SPLITS if name in files}
    cut = ("validation",) if "test" in files else ("validation", "test")
    random = np.random.default_rng(seed)
    parts: dict[str, list[File]] = {**files, "train": [], **{name: [] for name in cut}}
    for index in range(len(labels)):
        members = [file for file in files["train"] if file.label == index]
        members = [members[i] for i in random.permutation(len(members))]
        part = max(1, round(_FRACTION * len(members)))
        for name in cut:
            parts[name] = parts[name] + members[:part]
            members = members[part:]
        parts["train"] += members
    return {name: parts[name] for name in SPLITS}
