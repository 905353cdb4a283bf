"""Arrays in one ``.npz`` file: ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``, … as Keras keeps MNIST."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.errors import MissingInput
from model_export.console import mounts
from model_export.console.numbers import shortened
from model_export.data.sources.listing import (
    SPLIT_NAMES,
    Listing,
    check_names,
    clean,
    name_classes,
    of_arrays,
    size_of_arrays,
    stamp_of,
)
from model_export.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DAMAGED = (
    *(OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(ValueError, TypeError, IndexError, OverflowError, MemoryError, SyntaxError, tokenize.TokenError),
)
"""What zipfile raises (first line), and NumPy and the parser of Python with which it reads headers (second)."""
_SUFFIXES = {"": "train", **{f"_{name}": split for name, split in SPLIT_NAMES.items()}}
"""What follows ``x`` and ``y`` in the names of two arrays, and their split."""


def listing(path: Path, labels: tuple[str, ...] | None = None) -> Listing:
    """List the images of a ``.npz`` file; ``y`` holds one number or one name per image.

    Raises:
        MissingInput: There is no such file.
        BadData: It does not hold images with one label each, or a split twice.
    """
    arrays = _read(path)
    splits = _splits(path, arrays)
    (images, targets), stamp = splits["train"], stamp_of(path)
    if targets.dtype.kind in "US":
        labels = labels or tuple(str(name) for name in np.unique(targets))
        check_names(labels)
        if len(labels) == 1:
            raise BadData(f"y in {path} names one class, {labels[0]!r}; a classifier needs at least two")
        numbers = {split: _positions(part, labels) for split, (_, part) in splits.items()}
    else:
        numbers = {split: part for split, (_, part) in splits.items()}
        if any(part.dtype.kind == "U" for part in numbers.values()):
            raise BadData(f"y in {path} holds numbers for training, and names in another split")
        labels = name_classes(np.concatenate(list(numbers.values())), labels)
    size, channels = size_of_arrays(images)
    files = {split: of_arrays(split, part, numbers[split], stamp) for split, (part, _) in splits.items()}
    return Listing(path.stem, labels, files, size, channels, notes=_left_out(path, arrays))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingInput(f"{path} is not a file{mounts.why_missing(path)}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except _DAMAGED as error:
        raise BadData(f"{path} cannot be read as .npz ({error}); write it with numpy.savez") from None


def _splits(path: Path, arrays: dict[str, Any]) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Find the images and the labels of each split."""
    found, names = {}, {}
    for suffix, split in _SUFFIXES.items():
        images, targets = arrays.get(f"x{suffix}"), arrays.get(f"y{suffix}")
        if isinstance(images, np.ndarray) and isinstance(targets, np.ndarray):  # else bytes, or nothing
            if split in found:
                raise BadData(f"{path} has both x{names[split]} and x{suffix}; keep one of them")
            found[split], names[split] = (images, _one_label_each(images, targets, path)), suffix
    if "train" not in found:
        arrays_there = ", ".join(arrays) or "nothing"
        raise BadData(f"{path} has neither x and y, nor x_train and y_train; it holds {arrays_there}")
    return found


def _left_out(path: Path, arrays: dict[str, Any]) -> tuple[str, ...]:
    """Name the arrays that are not read."""
    pairs = {f"x{suffix}": f"y{suffix}" for suffix in _SUFFIXES if {f"x{suffix}", f"y{suffix}"} <= arrays.keys()}
    others = shortened(repr(name) for name in arrays if name not in {*pairs, *pairs.values()})
    note = f"left out {others} of {path.name}: only x with y is read, also as x_train, x_validation and x_test"
    return (note,) if others else ()


def _one_label_each(images: NDArray[Any], targets: NDArray[Any], path: Path) -> NDArray[Any]:
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise BadData(
            f"y in {path} has the shape {list(targets.shape)}: one label per image, [N], is needed. Several labels per "
            "image are out of scope; turn one-hot rows into numbers with y.argmax(1)"
        )
    if images.shape[:1] != targets.shape:
        raise BadData(f"{path} has {len(images) if images.ndim else 'no'} images but {len(targets)} labels")
    if targets.dtype.kind not in "iuUS":
        raise BadData(f"y in {path} is of type {targets.dtype}; it must hold whole numbers or names")
    names = _decoded(targets, path) if targets.dtype.kind == "S" else targets
    return np.array([clean(str(name)) for name in names], np.str_) if names.dtype.kind == "U" else names


def _decoded(names: NDArray[Any], path: Path) -> NDArray[Any]:
    try:
        return np.char.decode(names, "utf-8")
    except UnicodeDecodeError:
        raise BadData(f"y in {path} holds names that are not UTF-8") from None


def _positions(names: NDArray[Any], labels: tuple[str, ...]) -> NDArray[np.int64]:
    unknown = sorted({str(name) for name in names} - set(labels))
    if unknown:
        raise BadData(f"the classes are {', '.join(labels)}, but y also has {', '.join(unknown)}")
    positions = {label: index for index, label in enumerate(labels)}
    return np.array([positions[str(name)] for name in names], np.int64)
