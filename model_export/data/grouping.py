"""Images that belong together, such as all of one patient, place or video, go into the same split.

Else a model is measured on patients, places or videos that it has learned from, and the figures are too good for new
ones (Kapoor and Narayanan, "Leakage and the reproducibility crisis in machine-learning-based science", 2023).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from model_export.data.leakage import Leak
from model_export.data.sources.listing import File
from model_export.errors import BadData

_FRACTION = 0.1
_MOST_NAMED = 3

Cluster = list[File]
"""Files that go into the same split."""


def named(files: dict[str, list[File]], pattern: str) -> dict[str, list[File]]:
    """Group files by what a regular expression finds in their names: its groups, or else all that it matches.

    Raises:
        BadData: Some names do not match, or the files are grouped already.
    """
    if any(file.group for members in files.values() for file in members):
        raise BadData("the table has a column 'group' already; leave out --groups, or remove that column")
    expression = re.compile(pattern)
    groups = {file.name: _group(expression, file.name) for members in files.values() for file in members}
    if lost := [name for name, group in groups.items() if not group]:
        more = f" and {len(lost) - _MOST_NAMED:,} more" if len(lost) > _MOST_NAMED else ""
        raise BadData(
            f"--groups {pattern!r} finds nothing in {', '.join(map(repr, lost[:_MOST_NAMED]))}{more}; it must find "
            "something in the path of every image"
        )
    return {name: [replace(file, group=groups[file.name]) for file in members] for name, members in files.items()}


def _group(expression: re.Pattern[str], name: str) -> str:
    match = expression.search(name)
    if match is None:
        return ""
    return "/".join(part or "" for part in match.groups()) if match.re.groups else match[0]


def counts(files: dict[str, list[File]]) -> dict[str, int]:
    """Count the groups per split; empty if nothing is grouped."""
    found = {name: {file.group for file in members} for name, members in files.items()}
    return {} if "" in set().union(*found.values()) else {name: len(groups) for name, groups in found.items()}


def shared(files: dict[str, list[File]]) -> list[Leak]:
    """Find the groups that are in two splits, each with the first image of it in both."""
    first: dict[str, dict[str, str]] = {}
    for name, members in files.items():
        of_split = first.setdefault(name, {})
        for file in members:
            of_split.setdefault(file.group, file.name)
    return [
        Leak("group", first[one][group], first[other][group], group)
        for one, other in combinations(first, 2)
        for group in first[one]
        if group and group in first[other]
    ]


def clusters(files: Sequence[File], same: Mapping[str, str]) -> list[Cluster]:
    """Bring together the files of each group, and groups with copies of the same file; in the order of the files.

    Args:
        files: All files to be split.
        same: The copies: name to digest.
    """
    linked = DisjointSet([file.group for file in files])
    first: dict[tuple[int, str], str] = {}
    for file in files:
        if digest := same.get(file.name):
            linked.merge(file.group, first.setdefault((file.label, digest), file.group))
    found: dict[str, Cluster] = {}
    for file in files:
        found.setdefault(linked[file.group], []).append(file)
    return list(found.values())


def split(
    found: list[Cluster], labels: tuple[str, ...], cut: tuple[str, ...], seed: int
) -> tuple[dict[str, list[File]], list[File]]:
    """Cut splits off, each a tenth of every class, or as near to it as whole clusters allow.

    In seeded order, each cluster is taken that makes no class larger than its tenth. A class that has none then gets
    the smallest cluster that has it. Every class is in every split, which scikit-learn's ``StratifiedGroupKFold`` does
    not see to.

    Returns:
        The splits that were cut off, and what is left for training.

    Raises:
        BadData: Some classes are in too few clusters, or in too few that can be taken.
    """
    random = np.random.default_rng(seed)
    found = [found[index] for index in random.permutation(len(found))]
    table = np.zeros((len(found), len(labels)), np.int64)  # images of each cluster by class
    for row, cluster in enumerate(found):
        np.add.at(table[row], [file.label for file in cluster], 1)
    few = [
        f"{label!r} ({number})" for label, number in zip(labels, (table > 0).sum(0), strict=True) if number <= len(cut)
    ]
    if few:
        raise BadData(
            f"in too few groups: {', '.join(few)}; each class needs {len(cut) + 1}, one for each split. Add groups, "
            "or split the images yourself"
        )
    target = np.maximum(1, np.round(_FRACTION * table.sum(0))).astype(np.int64)
    free = np.ones(len(found), bool)
    parts = {}
    for left, name in zip(range(len(cut), 0, -1), cut, strict=True):
        chosen = _choose(table, free, target, left, labels)
        free[chosen] = False
        parts[name] = [file for index in chosen for file in found[index]]
    return parts, [file for index in np.flatnonzero(free) for file in found[index]]


def _choose(
    table: NDArray[np.int64], free: NDArray[np.bool_], target: NDArray[np.int64], left: int, labels: tuple[str, ...]
) -> list[int]:
    """Choose the clusters of one split.

    Args:
        table: Images ``[clusters, classes]``.
        free: Which clusters may still be chosen, ``[clusters]``.
        target: How many images of each class are wanted, ``[classes]``.
        left: In how many clusters each class must remain, for the splits that follow.
        labels: The classes.
    """
    have, free, chosen = np.zeros_like(target), free.copy(), []

    def possible(index: int) -> bool:
        there = table[index] > 0
        return bool(free[index] and (remaining[there] > left).all())

    remaining = (table[free] > 0).sum(0)
    for index in np.flatnonzero(free).tolist():
        row = table[index]
        if possible(index) and (have + row <= target)[row > 0].all():
            have, remaining, free[index] = have + row, remaining - (row > 0), False
            chosen.append(index)
    while len(lacking := np.flatnonzero(have == 0)):
        label = lacking[remaining[lacking].argmin()]  # the rarest first
        candidates = [index for index in np.flatnonzero(table[:, label]).tolist() if possible(index)]
        if not candidates:
            raise BadData(
                f"the groups of {labels[label]!r} cannot be divided so that every split has every class; split the "
                "images yourself"
            )
        index = min(candidates, key=lambda index: int(table[index].sum()))
        have, remaining, free[index] = have + table[index], remaining - (table[index] > 0), False
        chosen.append(index)
    return chosen
