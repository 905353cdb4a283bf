"""Images that belong together, such as all of one patient, place or video, go into the same split.

Else a model is measured on patients, places or videos that it has learned from, and the figures are too good for new
ones (Kapoor and Narayanan, "Leakage and the reproducibility crisis in machine-learning-based science", 2023).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from model_export.console.numbers import shortened
from model_export.data.leakage import Leak
from model_export.data.sources.listing import File
from model_export.errors import BadData

FRACTION = 0.1
"""What of each class is cut off for a split."""
_NAMED = 3

Cluster = list[File]
"""Files that go into the same split."""
_Row = Counter[int]
"""Images of a cluster by class."""


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
        raise BadData(
            f"--groups '{pattern}' finds nothing in {shortened(map(repr, lost), _NAMED)}; it must find something in "
            "the path of every image"
        )
    return {name: [replace(file, group=groups[file.name]) for file in members] for name, members in files.items()}


def without(files: dict[str, list[File]]) -> dict[str, list[File]]:
    """Take files out of their groups."""
    return {name: [replace(file, group="") for file in members] for name, members in files.items()}


def _group(expression: re.Pattern[str], name: str) -> str:
    match = expression.search(name)
    if match is None:
        return ""
    return "/".join(part or "" for part in match.groups()) if match.re.groups else match[0]


def counts(files: dict[str, list[File]]) -> dict[str, int]:
    """Count the groups per split; empty if nothing is grouped."""
    found = {name: {file.group for file in members} for name, members in files.items()}
    return {} if "" in set().union(*found.values()) else {name: len(groups) for name, groups in found.items()}


def numbered(files: dict[str, list[File]]) -> dict[str, int]:
    """Number the groups: the name of each file to the number of its group; empty if nothing is grouped."""
    if not counts(files):
        return {}
    members = [file for of_split in files.values() for file in of_split]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(file.group for file in members))}
    return {file.name: numbers[file.group] for file in members}


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
    rows = [Counter(file.label for file in cluster) for cluster in found]
    there, images = Counter[int](), Counter[int]()  # clusters and images of each class
    for row in rows:
        there.update(row.keys())
        images.update(row)
    few = [f"{label!r} ({there[index]})" for index, label in enumerate(labels) if there[index] <= len(cut)]
    if few:
        raise BadData(
            f"in too few groups: {shortened(few, _NAMED)}; each class needs {len(cut) + 1}, one for each split. Add "
            "groups, or split the images yourself"
        )
    target = {index: max(1, round(FRACTION * number)) for index, number in images.items()}
    rest, parts = dict(enumerate(rows)), {}
    for left, name in zip(range(len(cut), 0, -1), cut, strict=True):
        chosen = _choose(rest, target, left, labels)
        rest = {index: row for index, row in rest.items() if index not in chosen}
        parts[name] = [file for index in chosen for file in found[index]]
    return parts, [file for index in rest for file in found[index]]


def _choose(rows: dict[int, _Row], target: dict[int, int], left: int, labels: tuple[str, ...]) -> dict[int, None]:
    """Choose the clusters of one split, in the order in which they are chosen.

    Args:
        rows: Images by class, of each cluster that may be chosen.
        target: How many images of each class are wanted.
        left: In how many clusters each class must remain, for the splits that follow.
        labels: The classes.
    """
    chosen: dict[int, None] = {}
    have: _Row = Counter()
    clusters: dict[int, list[int]] = {}  # by class
    for index, row in rows.items():
        for label in row:
            clusters.setdefault(label, []).append(index)
    remaining = {label: len(members) for label, members in clusters.items()}

    def possible(index: int) -> bool:
        return index not in chosen and all(remaining[label] > left for label in rows[index])

    def choose(index: int) -> None:
        chosen[index] = None
        have.update(rows[index])
        for label in rows[index]:
            remaining[label] -= 1

    for index, row in rows.items():
        if all(have[label] + number <= target[label] for label, number in row.items()) and possible(index):
            choose(index)
    while lacking := [label for label in target if not have[label]]:
        label = min(lacking, key=lambda label: (remaining[label], label))  # the rarest first
        candidates = [index for index in clusters[label] if possible(index)]
        if not candidates:
            raise BadData(
                f"no way was found to give every split every class without dividing a group: {labels[label]!r} is in "
                "too few; try another --seed, add groups, or split the images yourself"
            )
        choose(min(candidates, key=lambda index: rows[index].total()))
    return chosen
