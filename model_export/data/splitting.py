"""Checks that every class has enough images, and splits what has no validation split, class by class."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from app.ahead import in_order
from model_export.console.numbers import counted, shortened
from model_export.data import grouping
from model_export.data.sources.listing import File
from model_export.errors import BadData

SPLITS = ("train", "validation", "test")

_SMALLEST_CLASS = 3
_MOST_NAMED = 10
_AHEAD = 64

_Group = list[File]
"""Files with the same bytes."""


def check(files: dict[str, list[File]], labels: tuple[str, ...], skipped: Iterable[str] = ()) -> None:
    """Check that every class has images in every split, and enough of them to split.

    Args:
        files: As they were found, per split.
        labels: The classes.
        skipped: What is missing because it cannot be opened, each with the reason.

    Raises:
        BadData: Some classes have not; the message names them, and what is missing of them.
    """
    cut = "validation" not in files
    least = {name: _SMALLEST_CLASS if cut and name == "train" else 1 for name in files}
    counts = {name: Counter(file.label for file in members) for name, members in files.items()}
    named = [name for name in SPLITS if name in files]
    where = [[name for name in named if counts[name][index] < least[name]] for index in range(len(labels))]
    short = {label: index for index, label in enumerate(labels) if where[index]}
    if not short:
        return
    few = [f"{label!r} (in {', '.join(where[index])})" for label, index in short.items()]
    needed = "one in every split"
    if cut and "test" in files:
        needed = f"at least {_SMALLEST_CLASS} in train, one of them to validate with, and one in test"
    elif cut:
        few = [f"{label!r} ({counts['train'][index]:,})" for label, index in short.items()]
        needed = f"at least {_SMALLEST_CLASS}, one of them to validate with and one to test"
    missing = [line for line in skipped if any(f"/{label}{end}" in f"/{line}" for label in short for end in "/:")]
    raise BadData(
        f"{counted(len(short), 'class has', 'classes have')} too few images: {shortened(few, _MOST_NAMED)}; each class "
        f"needs {needed}. Add images, or remove {'that class' if len(short) == 1 else 'those classes'}"
        + "".join(f"; skipped {line}" for line in missing[:_MOST_NAMED])
    )


def split(
    files: dict[str, list[File]], labels: tuple[str, ...], seed: int, same: Mapping[str, str]
) -> dict[str, list[File]]:
    """Cut off validation (and test, where nothing was split) from each class, seeded.

    Args:
        files: As they were found, per split.
        labels: The classes.
        seed: Determines which files go where.
        same: The copies, which stay together; see :func:`copies`. If empty, every file is treated as different.

    Raises:
        BadData: The files are grouped, and the groups of a class are too few.
    """
    cut = _to_cut(files)
    if not cut:
        return {name: files[name] for name in SPLITS if name in files}
    if grouping.counts(files):
        taken, rest = grouping.split(grouping.clusters(files["train"], same), labels, cut, seed)
        together = {**files, **taken, "train": rest}
        return {name: together[name] for name in SPLITS}
    random = np.random.default_rng(seed)
    parts: dict[str, list[File]] = {**files, "train": [], **{name: [] for name in cut}}
    for index in range(len(labels)):
        members = [file for file in files["train"] if file.label == index]
        members = [members[i] for i in random.permutation(len(members))]
        part = max(1, round(grouping.FRACTION * len(members)))
        groups = _together(members, same)
        if len(groups) <= len(cut):  # too few that differ: not even one for each split
            groups = [[file] for file in members]
        for left, name in zip(range(len(cut), 0, -1), cut, strict=True):
            taken, groups = _take(groups, part, len(groups) - left)
            parts[name] = parts[name] + _files(taken)
        parts["train"] += _files(groups)
    return {name: parts[name] for name in SPLITS}


def copies(files: dict[str, list[File]]) -> dict[str, str]:
    """Find the files with the same bytes as another of their class, if they are to be split: name to digest.

    Only those of the same size are read.
    """
    sizes = Counter((file.label, file.size) for file in files["train"]) if _to_cut(files) else Counter()
    suspects = [file for file in files.get("train", ()) if sizes[file.label, file.size] > 1]
    digests = [(file, found) for file, found in in_order(_digest, suspects, _AHEAD) if found]
    counts = Counter((file.label, found) for file, found in digests)
    return {file.name: found for file, found in digests if counts[file.label, found] > 1}


def _to_cut(files: dict[str, list[File]]) -> tuple[str, ...]:
    """Name the splits that are cut off the training images."""
    if "validation" in files or "train" not in files:
        return ()
    return ("validation",) if "test" in files else ("validation", "test")


def _digest(file: File) -> str:
    try:
        return hashlib.sha256(file.read()).hexdigest()
    except OSError:  # decoding skips it, with the reason
        return ""


def _together(files: list[File], same: Mapping[str, str]) -> list[_Group]:
    """Put copies into one group, in the order of the first of each."""
    groups: dict[str, _Group] = {}
    for file in files:
        groups.setdefault(same.get(file.name, f"only {file.name}"), []).append(file)
    return list(groups.values())


def _take(groups: list[_Group], files: int, most: int) -> tuple[list[_Group], list[_Group]]:
    """Take the first groups that fit into a number of files, or else the smallest; returns them and the rest.

    Args:
        groups: All groups.
        files: How many are wanted.
        most: How many groups may be taken, so that enough remain.
    """
    taken, rest, count = [], [], 0
    for group in groups:
        if len(taken) < most and count + len(group) <= files:
            taken.append(group)
            count += len(group)
        else:
            rest.append(group)
    if not taken and rest:
        taken = [rest.pop(rest.index(min(rest, key=len)))]
    return taken, rest


def _files(groups: list[_Group]) -> list[File]:
    return [file for group in groups for file in group]
