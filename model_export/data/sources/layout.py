"""How a folder of images is laid out: which folders in it are splits, which are classes, and what may be a mistake."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from model_export.console.numbers import shortened
from model_export.data.sources.listing import SPLIT_NAMES, File, clean
from model_export.errors import BadData

_OF_SYSTEMS = frozenset({"__macosx", "thumbs.db", "desktop.ini"})  # in archives of macOS; in folders of Windows

Classes = dict[str, list[Path]]
"""By name, the folders of each class of one split: names that look the same are one class."""


def split_folders(root: Path) -> dict[str, Path]:
    """Find folders named after splits that hold class folders; a class may be named ``train`` too."""
    folders: dict[str, Path] = {}
    for path in subfolders(root):
        split = SPLIT_NAMES.get(path.name.lower())
        if split is None or not subfolders(path):
            continue
        if split in folders:
            raise BadData(f"{root} has both {folders[split].name!r} and {path.name!r}; keep one of them")
        folders[split] = path
    return folders


def holds(root: Path, place: Path) -> bool:
    """Tell whether a folder, which need not exist yet, is in a class or would be one, perhaps by a link."""
    there = Path(os.path.realpath(place))
    for folder in split_folders(root).values() or [root]:
        for home in (Path(os.path.realpath(path)) for path in (folder, *subfolders(folder))):
            if there.is_relative_to(home) and not any(map(hidden, there.relative_to(home).parts)):
                return True
    return False


def left_out(root: Path, splits: dict[str, Path]) -> list[str]:
    """Name the folders beside those of the splits, which are not read."""
    others = shortened(repr(path.name) for path in subfolders(root) if splits and path not in splits.values())
    there = ", ".join(path.name for path in splits.values())
    note = f"left out {others}: next to {there}, only train, validation and test with class folders are read"
    return [note] if others else []


def classes(folder: Path) -> Classes:
    """Find the classes of one split."""
    found: Classes = {}
    for path in subfolders(folder):
        found.setdefault(clean(path.name), []).append(path)
    return found


def check_classes(folder: Path, found: Classes) -> None:
    """Check that the classes are not splits with names of their own, as in ``training_set`` and ``test_set``.

    Raises:
        BadData: They are called so, and have the same folders in them; says how to rename them.
    """
    inside = {label: home for label, homes in found.items() if (home := several_folders_in(homes[0]))}
    names = {label: [path.name for path in subfolders(home)] for label, home in inside.items()}
    splits = {label: _split_in(label) for label in inside}
    for label in (label for label in inside if splits[label] == "train"):
        others = [other for other in inside if splits[other] not in (None, "train") and names[other] == names[label]]
        if others:
            renamed = " and ".join(f"{inside[one]} to {folder / str(splits[one])}" for one in (label, *others))
            raise BadData(
                f"{shortened(map(repr, (label, *others)))} in {folder} have the same folders in them, "
                f"{shortened(map(repr, names[label]))}: they are splits, not classes; rename {renamed}"
            )


def _split_in(label: str) -> str | None:
    """Name the split that is a word in the name of a class."""
    return next((SPLIT_NAMES[word] for word in re.findall("[a-z]+", label.lower()) if word in SPLIT_NAMES), None)


def merged(classes: dict[str, Classes], labels: tuple[str, ...]) -> list[str]:
    """Name the classes that consist of several folders."""
    notes = []
    for label in labels:
        alike = max(len(of_split.get(label, [])) for of_split in classes.values())  # splits may write it in two ways
        if alike > 1:
            notes.append(f"class {label!r} has {alike} folders, whose names look the same")
    return notes


def deeper(root: Path, folders: dict[str, Path], files: dict[str, list[File]], labels: tuple[str, ...]) -> list[str]:
    """Name the sub-folders whose images count towards their class."""
    inside = [Counter[str]() for _ in labels]
    for split, members in files.items():
        depth = 1 + len(folders[split].relative_to(root).parts)
        for file in members:
            parts = Path(file.name).parts[depth:]
            if len(parts) > 1:
                inside[file.label][parts[0]] += 1
    advice = "move them up to the other classes"
    if len(inside[0]) > 1 and len({frozenset(counts) for counts in inside}) == 1:  # as of splits, moved up they mix
        advice = "call the folders that they are in train, validation and test"
    return [
        f"class {label!r} includes the files in its sub-folders {shortened(map(repr, sorted(counts)))} "
        f"(files: {counts.total():,}); if those are classes, {advice}"
        for label, counts in zip(labels, inside, strict=True)
        if counts
    ]


def several_folders_in(home: Path) -> Path | None:
    """Find the folder that has several folders, below those that archives wrap around it."""
    try:
        while len(inside := subfolders(home)) == 1:
            (home,) = inside
    except PermissionError:  # whoever lists its files says so
        return None
    return home if inside else None


def subfolders(root: Path) -> list[Path]:
    """List the folders in a folder that are not hidden."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not hidden(path.name))


def visible(folder: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    """List what is in a folder at any depth and not hidden; ``on_error`` gets each folder that cannot be read."""
    found: list[Path] = []
    for home, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not hidden(name)]
        found += [Path(home, name) for name in (*folders, *names) if not hidden(name)]
    return sorted(found)


def hidden(name: str) -> bool:
    """Tell whether a file or folder is passed over: names begin with a dot, or are those of systems."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS
