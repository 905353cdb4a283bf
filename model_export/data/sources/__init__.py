"""Where images come from. Nothing is decoded here: each source lists labelled files and how to read their bytes."""

from __future__ import annotations

from pathlib import Path

from app.errors import InvalidUsage, MissingInput
from model_export.choices import DIGITS, TFDS
from model_export.data.sources.listing import Listing


def find(data: str, labels: tuple[str, ...] | None = None, *, measuring: bool = False) -> Listing:
    """List a data set.

    Args:
        data: ``digits``, ``tfds:NAME``, a ``.npz`` file, a folder of IDX files, a ``.csv`` table of images, or a folder
            of class folders.
        labels: Names of the classes of a source that only numbers them.
        measuring: For measuring only: a folder may lack classes, and the training split.

    Raises:
        MissingInput: There is no such data set, or no image in it.
        BadData: It cannot be trained on.
        InvalidUsage: It names its classes itself.
    """
    # Imported when needed: some are slow, and one needs an extra package.
    from model_export.data.sources import arrays, digits, folder, idx, table, tfds  # noqa: PLC0415

    path = Path(data)
    if not data:  # as a path, this would be the current folder
        raise MissingInput("DATA is empty; name a folder of images, or the built-in data set 'digits'")
    if numbered(data):
        return (arrays if _is_npz(path) else idx).listing(path, labels)
    if labels is not None:
        raise InvalidUsage("--labels names the classes of a .npz or IDX file; this data set names its own")
    if data == DIGITS:
        return digits.listing()
    if data.startswith(TFDS):
        return tfds.listing(data.removeprefix(TFDS))
    if path.suffix.lower() == ".csv" and not path.is_dir():
        return table.listing(path, measuring=measuring)
    return folder.listing(path, measuring=measuring)


def holds(data: str, place: Path) -> bool:
    """Tell whether a folder, which need not exist yet, is read as part of a data set."""
    from model_export.data.sources import layout  # noqa: PLC0415

    path = Path(data)
    if not data or data == DIGITS or data.startswith(TFDS) or not path.is_dir() or numbered(data):
        return False
    return layout.holds(path, place)


def numbered(data: str) -> bool:
    """Tell whether a source may only number its classes."""
    from model_export.data.sources import idx  # noqa: PLC0415

    return _is_npz(Path(data)) or idx.present(Path(data))


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz"
