"""A folder of images: ``<class>/*``, or ``train|validation|test/<class>/*`` (or ``val``, or ``valid``)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from app.decoders import formats
from app.errors import MissingInput
from model_export.console import mounts
from model_export.console.numbers import shortened
from model_export.data.sources.listing import SPLIT_NAMES, File, Listing, check_names, clean, stamp_of, why_no_image
from model_export.errors import BadData

_OF_SYSTEMS = frozenset({"__macosx", "thumbs.db", "desktop.ini"})  # in archives of macOS; in folders of Windows

_Classes = dict[str, list[Path]]
"""By name, the folders of each class of one split: names that look the same are one class."""


def listing(root: Path, *, measuring: bool = False) -> Listing:
    """List a folder ``<class>/*`` or ``train|validation|test/<class>/*``, in capitals or not.

    Args:
        root: The folder.
        measuring: For measuring only: one class is enough, and ``train`` may be missing.

    Raises:
        MissingInput: There is no such folder, or no image in it.
        BadData: Fewer than two classes, or two folders for one split.
    """
    if not root.is_dir():
        wrong = "is not a folder" if root.exists() else "does not exist"
        raise MissingInput(
            f"{root} {wrong}; name a folder, a .csv table, a .npz file, tfds:NAME or 'digits'{mounts.why_missing(root)}"
        )
    folders = _split_folders(root)
    notes = _left_out(root, folders)
    folders = folders or {"train": root}
    if "train" not in folders and not measuring:
        raise BadData(f"{root} has {', '.join(path.name for path in folders.values())} but no folder 'train'")
    classes = {split: _classes(folder) for split, folder in folders.items()}
    labels = _labels(classes if measuring else {"train": classes["train"]}, folders)
    if len(labels) == 1 and not measuring:
        deeper = _several_folders_in(classes["train"][labels[0]][0])
        meant = f"; did you mean {deeper}, which has folders?" if deeper else ""
        raise BadData(f"{folders['train']} has one class, {labels[0]!r}; a classifier needs at least two{meant}")
    found = {split: _class_files(root, folders[split], of_split, labels) for split, of_split in classes.items()}
    files = {split: readable for split, (readable, _) in found.items()}
    inside = [line for _, lines in found.values() for line in lines]
    if not any(files.values()):
        why = f"; skipped {shortened(inside)}" if inside else ""
        raise MissingInput(f"{root} has no image in any class folder{why}")
    if measuring:
        files = {split: members for split, members in files.items() if members}
    skipped = _stray(root, {root, *folders.values()}) + inside
    notes += _merged(classes, labels) + _deeper(root, folders, files, labels)
    return Listing(root.resolve().name, labels, files, skipped=tuple(skipped), notes=tuple(notes))


def _split_folders(root: Path) -> dict[str, Path]:
    """Find folders named after splits that hold class folders; a class may be named ``train`` too."""
    folders: dict[str, Path] = {}
    for path in _subfolders(root):
        split = SPLIT_NAMES.get(path.name.lower())
        if split is None or not _subfolders(path):
            continue
        if split in folders:
            raise BadData(f"{root} has both {folders[split].name!r} and {path.name!r}; keep one of them")
        folders[split] = path
    return folders


def _left_out(root: Path, splits: dict[str, Path]) -> list[str]:
    """Name the folders beside those of the splits, which are not read."""
    others = shortened(repr(path.name) for path in _subfolders(root) if splits and path not in splits.values())
    there = ", ".join(path.name for path in splits.values())
    note = f"left out {others}: next to {there}, only train, validation and test with class folders are read"
    return [note] if others else []


def _classes(folder: Path) -> _Classes:
    found: _Classes = {}
    for path in _subfolders(folder):
        found.setdefault(clean(path.name), []).append(path)
    return found


def _labels(classes: dict[str, _Classes], folders: dict[str, Path]) -> tuple[str, ...]:
    """Name the classes after the folders of these splits, in order."""
    labels = sorted({label for of_split in classes.values() for label in of_split})
    if not labels:
        first = next(iter(folders.values()))
        why = mounts.why_missing(first)
        raise MissingInput(
            f"{first} has no folders; name the folder that has a folder of images for each class, or list the images "
            f"in a .csv table with the columns file and label{why}"
        )
    check_names(labels)
    return tuple(labels)


def _class_files(root: Path, folder: Path, classes: _Classes, labels: tuple[str, ...]) -> tuple[list[File], list[str]]:
    """List the images of one split, class by class, and what is not read: other files, links, and closed folders."""
    unknown = set(classes) - set(labels)
    if unknown:
        raise BadData(f"{folder} has classes that 'train' does not have: {shortened(map(repr, sorted(unknown)))}")
    files, skipped = [], []
    errors: list[OSError] = []
    for index, label in enumerate(labels):
        for path in (path for home in classes.get(label, []) for path in _visible(home, errors.append)):
            try:
                if path.is_file():
                    name, size = str(path.relative_to(root)), path.stat().st_size
                    if why := why_no_image(path):
                        skipped.append(f"{name}: {why}")
                    else:
                        files.append(File(name, index, path.read_bytes, stamp_of(path), size))
                elif path.is_symlink():
                    why = "a link to a folder, which is not followed" if path.is_dir() else "broken link"
                    skipped.append(f"{path.relative_to(root)}: {why}")
            except OSError as error:  # in a folder that can be listed, but not opened
                errors.append(error)
    skipped += [f"{Path(error.filename).relative_to(root)}: it cannot be read: {error.strerror}" for error in errors]
    return files, skipped


def _stray(root: Path, folders: set[Path]) -> list[str]:
    """Name the images that are in no class folder."""
    return [
        f"{path.relative_to(root)}: it is next to the class folders, not in one of them"
        for folder in sorted(folders)
        for path in sorted(folder.iterdir())
        if path.is_file() and not _hidden(path.name) and formats.begins_an_image(path)
    ]


def _merged(classes: dict[str, _Classes], labels: tuple[str, ...]) -> list[str]:
    """Name the classes that consist of several folders."""
    notes = []
    for label in labels:
        alike = max(len(of_split.get(label, [])) for of_split in classes.values())  # splits may write it in two ways
        if alike > 1:
            notes.append(f"class {label!r} has {alike} folders, whose names look the same")
    return notes


def _deeper(root: Path, folders: dict[str, Path], files: dict[str, list[File]], labels: tuple[str, ...]) -> list[str]:
    """Name the sub-folders whose images count towards their class."""
    inside = [Counter[str]() for _ in labels]
    for split, members in files.items():
        depth = 1 + len(folders[split].relative_to(root).parts)
        for file in members:
            parts = Path(file.name).parts[depth:]
            if len(parts) > 1:
                inside[file.label][parts[0]] += 1
    return [
        f"class {label!r} includes the files in its sub-folders {shortened(map(repr, sorted(counts)))} "
        f"(files: {counts.total():,}); if those are classes, move them up to the other classes"
        for label, counts in zip(labels, inside, strict=True)
        if counts
    ]


def _several_folders_in(home: Path) -> Path | None:
    """Find the folder that has several folders, below those that archives wrap around it."""
    while len(inside := _subfolders(home)) == 1:
        (home,) = inside
    return home if inside else None


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not _hidden(path.name))


def _visible(folder: Path, on_error: Callable[[OSError], None] = lambda _: None) -> list[Path]:
    """List what is in a folder at any depth and not hidden; ``on_error`` gets each folder that cannot be read."""
    found: list[Path] = []
    for home, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not _hidden(name)]
        found += [Path(home, name) for name in (*folders, *names) if not _hidden(name)]
    return sorted(found)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_SYSTEMS
