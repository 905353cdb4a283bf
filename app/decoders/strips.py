"""A limit on the strips and tiles of a TIFF: Pillow and tifffile go through them one by one, in Python.

They hold the interpreter lock meanwhile, and take some hundred bytes for each, of which the file need have only a few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app.decoders.directories import Directories, Directory
from app.errors import UndecodableImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST = 50_000
"""More than rows in any image, or tiles of 32 by 32 in the largest; read in about a second."""
_OFFSETS = (273, 324)  # the tags StripOffsets and TileOffsets
_MOST_NUMBERS = 250_000
"""In all tags, of which Pillow and tifffile make an object each; a transfer function has 3 times 65,536."""
_MOST_ENTRIES = 100_000
"""Of 4,096 pages, 24 each; read in about a second."""
_BYTES, _RATIONALS = (1, 2, 6, 7), (5, 10)  # types; those of bytes are read as they are, however many
_SIZES = np.zeros(1 << 16)
_SIZES[:19] = 0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8
"""Bytes of a number of each type; 0 for what is none."""
_OF_PIXELS = (258, 273, 279, 320, 324, 325, 338, 339, 529, 532)
"""Tags that say where the pixels are and what their bytes mean: if one is lost, others are made up."""


def check(data: bytes, directories: int = 1) -> None:
    """Refuse a TIFF whose directories list more strips or tiles than encoders write, before Pillow reads it.

    Also refuses one whose first directory is cut off, which can happen because it may stand at the end of the file: the
    readers would silently leave out the rest.

    Args:
        data: The whole file.
        directories: How many of them are going to be read: one for each page.

    Raises:
        UndecodableImage: There are too many, or a tag holds too many numbers, or they are not in the file.
    """
    tiff = Directories(data)
    listed: dict[int, NDArray[Any]] = {}
    start = tiff.first
    while start not in listed and len(listed) < directories and (start or not listed):
        found = tiff.read(start)
        if not listed:
            _check_first(found, len(data), tiff.width)
        listed[start], start = found.entries, found.following
    entries = np.concatenate(list(listed.values()))
    numbers = entries["count"][~np.isin(entries["type"], _BYTES)].sum(dtype=float)
    fractions = entries["count"][np.isin(entries["type"], _RATIONALS)].sum(dtype=float)
    sizes = entries["count"] * _SIZES[entries["type"]]
    # Several tags may share one long value, which would be read once for each; Pillow reads one directory only, and
    # guards against this itself.
    shared = directories > 1 and sizes[sizes > tiff.width].sum() > len(data)
    if numbers > _MOST_NUMBERS or fractions > _MOST or len(entries) > _MOST_ENTRIES or shared:
        raise UndecodableImage("the TIFF file has a tag with too many numbers; save it again")


def _check_first(directory: Directory, size: int, width: int) -> None:
    """Check the directory of the image itself, in a file of this size."""
    entries = directory.entries
    check_number(int(entries["count"][np.isin(entries["tag"], _OFFSETS)].max(initial=0)))
    described = entries[np.isin(entries["tag"], _OF_PIXELS)]
    sizes = described["count"] * _SIZES[described["type"]]
    ends = described["value"] + sizes
    cut_off = directory.declared > len(entries)
    if cut_off or (ends[sizes > width] > size).any():  # what is smaller is in the directory itself
        raise UndecodableImage("the TIFF file is damaged or incomplete; save it again")


def check_number(parts: int) -> None:
    """Refuse a TIFF of so many strips or tiles.

    Raises:
        UndecodableImage: They are too many.
    """
    if parts > _MOST:
        raise UndecodableImage("the TIFF file has too many strips or tiles; save it again, with larger ones")
