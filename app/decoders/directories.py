"""The directories of a TIFF, of which EXIF data are one too: TIFF revision 6.0, section 2.

In BigTIFF, numbers that were of 2 or 4 bytes have 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Directory(NamedTuple):
    """One of them."""

    entries: NDArray[Any]
    """Those that are there, each with ``tag``, ``type``, ``count`` and ``value``."""
    declared: int
    """How many should be."""
    start: int
    """Where the first of them begins."""
    following: int
    """Where the directory that follows begins; 0 for none."""


class Directories:
    """Reads them, one by one, with no object for each entry."""

    def __init__(self, data: bytes) -> None:
        """Read the header of a TIFF or of EXIF data, which begin with ``II`` or ``MM``."""
        self._data = data
        self.order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
        is_big = int.from_bytes(data[2:4], self.order) == 43
        self.width, self._short = (8, 8) if is_big else (4, 2)
        code = "<" if self.order == "little" else ">"
        fields = (("tag", "u2"), ("type", "u2"), ("count", f"u{self.width}"), ("value", f"u{self.width}"))
        self._entry = np.dtype([(name, code + kind) for name, kind in fields])
        self.first = int.from_bytes(data[self.width : 2 * self.width], self.order)
        """Where the first directory begins."""

    def read(self, start: int) -> Directory:
        """Read the directory that begins there."""
        count = int.from_bytes(self._data[start : start + self._short], self.order)
        start += self._short
        rest = memoryview(self._data)[start:]
        entries = np.frombuffer(rest, self._entry, min(count, len(rest) // self._entry.itemsize))
        end = start + count * self._entry.itemsize
        following = int.from_bytes(self._data[end : end + self.width], self.order)
        return Directory(entries, count, start, following)
