"""A data set before anything is decoded."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.decoders import formats
from app.errors import InvalidRequest
from model_export.choices import MOST_CHANNELS
from model_export.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_SIDE = 128
"""Images are trained on at most this high and wide, if no size is asked for."""

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
"""What a split may be called, in small letters, and its name here."""

_LEAST_SIDE, _ENLARGED = 16, 32
_FEW_CHANNELS = (1, 3, 4)
_BEGINNING = 16
"""Bytes in which every format is recognised."""


@dataclass(frozen=True)
class File:
    """One labelled image before it is decoded."""

    name: str
    label: int
    read: Callable[[], bytes]
    stamp: str = ""
    """Changes when the content does; see :func:`stamp_of`."""
    size: int = 0
    """In bytes; 0 if it is not known before reading."""
    group: str = ""
    """Images of the same group go into the same split; empty if nothing is grouped."""


@dataclass(frozen=True)
class Listing:
    """Labelled files per split; all in ``train`` where the source has no splits."""

    name: str
    labels: tuple[str, ...]
    files: dict[str, list[File]]
    size: tuple[int, int] | None = None
    """Height and width to train on by default; None: the median size of the images."""
    channels: int | None = None
    """Channels by default; None: what the files have."""
    skipped: tuple[str, ...] = ()
    """Files that are of no class or cannot be read, each with the reason."""
    ignored: tuple[str, ...] = ()
    """Files beside the images that nobody would take for images, each with the reason."""
    notes: tuple[str, ...] = ()
    """What may be a mistake in the layout of the data."""


def stamp_of(path: Path) -> str:
    """Describe the state of a file: another content gives another stamp.

    Size and modification time are not enough, because archives may give all files the same time. The time of the last
    change is added, which cannot be set.
    """
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def why_no_image(path: Path) -> str:
    """Say why a file cannot be read as an image; empty if its name ends, or its content begins, like one.

    Such files, as annotations beside the images, take no part in anything. One that is empty or damaged, but has the
    name of an image, does: decoding skips it.

    Raises:
        OSError: It cannot be opened.
    """
    if path.suffix.lower() in formats.SUFFIXES:
        return ""
    try:
        with path.open("rb") as file:
            formats.recognise(file.read(_BEGINNING), None)
    except InvalidRequest as error:
        return str(error)
    return ""


def of_arrays(split: str, images: NDArray[Any], numbers: NDArray[np.integer[Any]], stamp: str = "") -> list[File]:
    """List the rows of an array ``[N, H, W]`` or ``[N, H, W, C]`` as ``.npy`` files."""

    def npy(index: int) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, images[index])
        return buffer.getvalue()

    return [
        File(f"{split}-{index}", int(number), lambda index=index: npy(index), stamp)
        for index, number in enumerate(numbers)
    ]


def size_of_arrays(images: NDArray[Any]) -> tuple[tuple[int, int], int]:
    """Choose height, width and channels for arrays; small ones are enlarged to what the trunk needs.

    Raises:
        BadData: The array does not hold images, or their channels come first, as in PyTorch.
    """
    if images.ndim not in (3, 4):
        raise BadData(f"images of shape {list(images.shape)} cannot be used; store [N, H, W] or [N, H, W, C]")
    if _channels_come_first(images.shape):
        raise BadData(
            f"images of shape {list(images.shape)} look like [N, C, H, W], but are read as [N, H, W, C]; store "
            "them so, as by x.transpose(0, 2, 3, 1)"
        )
    height, width = (min(LARGEST_SIDE, side) if side >= _LEAST_SIDE else _ENLARGED for side in images.shape[1:3])
    return (height, width), images.shape[3] if images.ndim == 4 else 1


def _channels_come_first(shape: tuple[int, ...]) -> bool:
    """Tell whether arrays can only be meant as ``[N, C, H, W]``: squares, or of more channels than are read.

    A few lines of a scanner with many bands, such as ``[N, 4, 200, 13]``, are images as they are.
    """
    if len(shape) != 4 or shape[1] not in _FEW_CHANNELS or shape[3] <= max(_FEW_CHANNELS):
        return False
    return shape[2] == shape[3] or shape[3] > MOST_CHANNELS


def name_classes(numbers: NDArray[Any], labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """Name the classes 0, 1, … after their numbers, or as given.

    Raises:
        BadData: There are more classes than names, or only one class, or a number is left out.
    """
    count = int(numbers.max()) + 1 if len(numbers) else 0
    if count < (2 if labels is None else 1) or numbers.min() < 0:
        raise BadData("the labels must be the numbers 0, 1, … of at least two classes")
    if labels is None:
        found = np.unique(numbers)
        if len(found) < count:  # which may be billions
            missing = int(np.flatnonzero(found != np.arange(len(found)))[0])
            raise BadData(f"the labels go up to {count - 1}, but no image has {missing}; number the classes 0, 1, 2, …")
        return tuple(str(number) for number in range(count))
    if len(labels) < count:
        raise BadData(f"--labels names {len(labels)} classes, but there are {count}")
    return labels


def clean(name: str) -> str:
    """Normalise the name of a class: to Unicode NFC (macOS uses NFD), without outer spaces."""
    return unicodedata.normalize("NFC", name).strip()


def check_names(names: Iterable[str]) -> None:
    """Check that the names of classes, normalised by :func:`clean`, can be printed.

    Raises:
        BadData: One cannot be printed.
    """
    for name in names:
        if not name or not name.isprintable():  # names that are not UTF-8 are not printable either
            raise BadData(f"the class {name!r} has a name that cannot be printed; rename it")
