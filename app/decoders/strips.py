"""A limit on the strips and tiles of a TIFF: Pillow and tifffile go through them one by one, in Python.

They hold the interpreter lock meanwhile, and take some hundred bytes for each, of which the file need have only a few.
TIFF revision 6.0, section 2 (header and directory); in BigTIFF, numbers that were of 2 or 4 bytes have 8.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from app.errors import UndecodableImage

_MOST = 50_000
"""More than rows in any image, or tiles of 32 by 32 in the largest; read in about a second."""
_OFFSETS = (273, 324)  # the tags StripOffsets and TileOffsets
_MOST_NUMBERS = 200_000
"""In one tag, of which Pillow and tifffile make an object each; a transfer function has 3 times 65,536."""
_BYTES, _RATIONALS = (1, 2, 6, 7), (5, 10)  # types; those of bytes are read as they are, however many
_SIZES = np.zeros(1 << 16)
_SIZES[:19] = 0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8
"""Bytes of a number of each type; 0 for what is none."""
_OF_PIXELS = (258, 273, 279, 320, 324, 325, 338, 339, 529, 532)
"""Tags that say where the pixels are and what their bytes mean: if one is lost, others are made up."""


def check(data: bytes) -> None:
    """Refuse a TIFF whose first directory lists more strips or tiles than encoders write, before Pillow reads it.

    Also one that is cut off in the directory, which may be the end of the file: they leave out what is missing.

    Raises:
        UndecodableImage: There are too many, or a tag holds too many numbers, or they are not in the file.
    """
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    is_big = int.from_bytes(data[2:4], order) == 43
    width, short = (8, 8) if is_big else (4, 2)
    first = int.from_bytes(data[width : 2 * width], order)
    count = int.from_bytes(data[first : first + short], order)
    code = "<" if order == "little" else ">"
    entry = np.dtype(
        [("tag", f"{code}u2"), ("type", f"{code}u2"), ("count", f"{code}u{width}"), ("value", f"{code}u{width}")]
    )
    listed = memoryview(data)[first + short :]
    entries = np.frombuffer(listed, entry, min(count, len(listed) // entry.itemsize))
    check_number(int(entries["count"][np.isin(entries["tag"], _OFFSETS)].max(initial=0)))
    numbers = entries["count"][~np.isin(entries["type"], _BYTES)].max(initial=0)
    if numbers > _MOST_NUMBERS or entries["count"][np.isin(entries["type"], _RATIONALS)].max(initial=0) > _MOST:
        raise UndecodableImage("the TIFF file has a tag with too many numbers; save it again")
    described = entries[np.isin(entries["tag"], _OF_PIXELS)]
    sizes = described["count"] * _SIZES[described["type"]]
    ends = described["value"] + sizes
    if count > len(entries) or (ends[sizes > width] > len(data)).any():  # what is smaller is in the directory itself
        raise UndecodableImage("the TIFF file is damaged or incomplete; save it again")


def check_number(parts: int) -> None:
    """Refuse a TIFF of so many strips or tiles.

    Raises:
        UndecodableImage: They are too many.
    """
    if parts > _MOST:
        raise UndecodableImage("the TIFF file has too many strips or tiles; save it again, with larger ones")
