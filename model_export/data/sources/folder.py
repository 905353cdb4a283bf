"""A folder of images: ``<class>/*``, or ``train|validation|test/<class>/*`` (or ``val``, ``training``, …)."""

from __future__ import annotations

from pathlib import Path

from app.decoders import formats
from app.decoders.formats import UNREAD_SUFFIXES
from app.errors import MissingInput
from model_export.console import mounts
from model_export.console.numbers import shortened
from model_export.data.sources import layout
from model_export.data.sources.layout import Classes
from model_export.data.sources.listing import File, Listing, check_names, stamp_of, why_no_image
from model_export.errors import BadData


def listing(root: Path, *, measuring: bool = False) -> Listing:
    """List a folder ``<class>/*`` or ``train|validation|test/<class>/*``, in capitals or not.

    Args:
        root: The folder.
        measuring: For measuring only: one class is enough, and ``train`` may be missing.

    Raises:
        MissingInput: There is no such folder, or no image in it.
        BadData: Fewer than two classes, or two folders for one split; or the classes are splits.
    """
    if not root.is_dir():
        wrong = "is not a folder" if root.exists() else "does not exist"
        raise MissingInput(
            f"{root} {wrong}; name a folder, a .csv table, a .npz file, tfds:NAME or 'digits'{mounts.why_missing(root)}"
        )
    folders = layout.split_folders(root)
    notes = layout.left_out(root, folders)
    folders = folders or {"train": root}
    if "train" not in folders and not measuring:
        raise BadData(f"{root} has {', '.join(path.name for path in folders.values())} but no folder 'train'")
    classes = {split: layout.classes(folder) for split, folder in folders.items()}
    labels = _labels(classes if measuring else {"train": classes["train"]}, folders)
    if len(labels) == 1 and not measuring:
        deeper = layout.several_folders_in(classes["train"][labels[0]][0])
        meant = f"; did you mean {deeper}, which has folders?" if deeper else ""
        raise BadData(f"{folders['train']} has one class, {labels[0]!r}; a classifier needs at least two{meant}")
    if not measuring:
        layout.check_classes(folders["train"], classes["train"])
    found = {split: _class_files(root, folders[split], of_split, labels) for split, of_split in classes.items()}
    files = {split: readable for split, (readable, _, _) in found.items()}
    inside = [line for _, lines, _ in found.values() for line in lines]
    ignored = [line for _, _, lines in found.values() for line in lines]
    if not any(files.values()):
        why = f"; skipped {shortened(inside + ignored)}" if inside + ignored else ""
        raise MissingInput(f"{root} has no image in any class folder{why}")
    if measuring:
        files = {split: members for split, members in files.items() if members}
    skipped = _stray(root, {root, *folders.values()}) + inside
    notes += layout.merged(classes, labels) + layout.deeper(root, folders, files, labels)
    told = {"skipped": tuple(skipped), "ignored": tuple(ignored), "notes": tuple(notes)}
    return Listing(root.resolve().name, labels, files, **told)


def _labels(classes: dict[str, Classes], folders: dict[str, Path]) -> tuple[str, ...]:
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


def _class_files(
    root: Path, folder: Path, classes: Classes, labels: tuple[str, ...]
) -> tuple[list[File], list[str], list[str]]:
    """List the images of one split, class by class; what cannot be read, as links and closed folders; other files."""
    unknown = set(classes) - set(labels)
    if unknown:
        raise BadData(f"{folder} has classes that 'train' does not have: {shortened(map(repr, sorted(unknown)))}")
    files, skipped, ignored = [], [], []
    errors: list[OSError] = []
    for index, label in enumerate(labels):
        for path in (path for home in classes.get(label, []) for path in layout.visible(home, errors.append)):
            try:
                if path.is_file():
                    name, size = str(path.relative_to(root)), path.stat().st_size
                    if why := why_no_image(path):
                        (skipped if path.suffix.lower() in UNREAD_SUFFIXES else ignored).append(f"{name}: {why}")
                    else:
                        files.append(File(name, index, path.read_bytes, stamp_of(path), size))
                elif path.is_symlink():
                    why = "a link to a folder, which is not followed" if path.is_dir() else "broken link"
                    skipped.append(f"{path.relative_to(root)}: {why}")
            except OSError as error:  # in a folder that can be listed, but not opened
                errors.append(error)
    skipped += [f"{Path(error.filename).relative_to(root)}: it cannot be read: {error.strerror}" for error in errors]
    return files, skipped, ignored


def _stray(root: Path, folders: set[Path]) -> list[str]:
    """Name the images that are in no class folder."""
    return [
        f"{path.relative_to(root)}: it is next to the class folders, not in one of them"
        for folder in sorted(folders)
        for path in sorted(folder.iterdir())
        if path.is_file() and not layout.hidden(path.name) and formats.begins_an_image(path)
    ]
