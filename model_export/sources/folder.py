"""A folder of images: ``<class>/*``, or ``train|validation|test/<class>/*``."""

from __future__ import annotations

from pathlib import Path

from model_export.errors import BadData, MissingInput
from model_export.sources.listing import File, Listing, check_names

_SPLIT_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


def listing(root: Path, *, measuring: bool = False) -> Listing:
    """List a folder ``<class>/*`` or ``train|validation|test/<class>/*``.

    Args:
        root: The folder.
        measuring: Nothing is to be trained: one class is enough, some may be empty, and ``train`` may be missing.

    Raises:
        MissingInput: There is no such folder, or no image in it.
        BadData: Fewer than two classes, or an empty one.
    """
    if not root.is_dir():
        raise MissingInput(f"{root} is not a folder; name a folder of images, or the built-in data set 'digits'")
    folders = _split_folders(root) or {"train": root}
    if "train" not in folders and not measuring:
        raise BadData(f"{root} has {', '.join(folders)} but no folder 'train'")
    labels = _labels(list(folders.values()) if measuring else [folders["train"]])
    if len(labels) == 1 and not measuring:
        raise BadData(f"{folders['train']} has one class, {labels[0]!r}; a classifier needs at least two")
    files = {split: _class_files(root, folder, labels) for split, folder in folders.items()}
    if not any(files.values()):
        raise MissingInput(f"{root} has no image in any class folder")
    if measuring:
        return Listing(root.resolve().name, labels, {split: members for split, members in files.items() if members})
    for split, members in files.items():
        empty = sorted(set(range(len(labels))) - {file.label for file in members})
        if empty:
            raise BadData(f"no image in {folders[split] / labels[empty[0]]}; add some, or remove the class")
    return Listing(root.resolve().name, labels, files)


def _labels(folders: list[Path]) -> tuple[str, ...]:
    """Name the classes after the folders in these, in order."""
    labels = sorted({path.name for folder in folders for path in _subfolders(folder)})
    if not labels:
        raise MissingInput(f"{folders[0]} has no folder; put the images of each class into a folder of its name")
    check_names(labels)
    return tuple(labels)


def _class_files(root: Path, folder: Path, labels: tuple[str, ...]) -> list[File]:
    """List the files of one split, class by class."""
    unknown = {path.name for path in _subfolders(folder)} - set(labels)
    if unknown:
        raise BadData(f"{folder} has classes that 'train' has not: {', '.join(sorted(unknown))}")
    return [
        File(str(path.relative_to(root)), index, path.read_bytes, _stamp(path))
        for index, label in enumerate(labels)
        for path in _files(folder / label)
    ]


def _split_folders(root: Path) -> dict[str, Path]:
    """Find folders named after splits that hold class folders; a class may be named ``train`` too."""
    found = [path for path in _subfolders(root) if path.name in _SPLIT_FOLDERS and _subfolders(path)]
    folders = {_SPLIT_FOLDERS[path.name]: path for path in found}
    if len(folders) < len(found):
        raise BadData(f"{root} has both 'val' and 'validation'; keep one of them")
    return folders


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _stamp(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"
