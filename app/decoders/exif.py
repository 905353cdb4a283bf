"""Which way up an image is, by its EXIF data, which Pillow does not get to see.

Pillow would turn every number in them into a Python object, however many there are, holding the interpreter lock
meanwhile; and to turn the image it writes them all out again, which fails for those that it cannot write.

CIPA DC-008, Exif 2.32: section 4.5 (structure), 4.6 (tags), 4.7 (the segment of a JPEG). In PNG and WebP, Pillow hands
them over unread.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping
from typing import Any

from PIL import Image

from app.decoders.directories import Directories

_NAME = b"Exif\0\0"
_NAMES = re.compile(rb"(?:Exif\0\0){1,2}")
_BEGINNINGS = b"II*\0", b"MM\0*", b"MM*\0", b"II\0*"  # the latter two are wrong, and read all the same
_APP1, _NO_MORE = b"\xe1", (b"\xda", b"")  # the latter: what begins the pixels, and the end of the file
_WITH_LENGTH = frozenset(bytes([code]) for code in (*range(0xC0, 0xC8), *range(0xC9, 0xD0), *range(0xDB, 0xF0), 0xFE))
_ORIENTATION = 0x0112
_NUMBERS = {3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
"""By type, how a number is stored; a fraction is two of them."""
_OTHER_DIRECTORIES = (34665, 34853, 40965)  # the tags that lead to those of EXIF, GPS and interoperability
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_TURNS: dict[float, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its orientation; 1 is upright."""


def hidden(data: bytes, kind: str) -> tuple[io.BytesIO, bytes]:
    """Hide from Pillow what it would read of a JPEG's EXIF data, and of the directories that a TIFF leads to.

    Returns:
        The file as Pillow is to read it, copied only if there is something to hide; and the EXIF data of a JPEG.
    """
    file, exif = io.BytesIO(data), b""
    if kind == "JPEG":
        starts = _segments(data)
        for start in starts:
            file.seek(start + 4)
            file.write(_NAME.lower())
        exif = b"".join(data[start + 4 + len(_NAME) : start + 2 + _length(data, start)] for start in starts)
    if kind == "TIFF":
        directories = Directories(data)
        entries, _, first, _ = directories.read(directories.first)
        for number, tag in enumerate(entries["tag"].tolist()):
            if tag in _OTHER_DIRECTORIES:
                file.seek(first + number * entries.itemsize + 2)
                file.write(b"\0\0")  # a type that is none
    file.seek(0)
    return file, exif


def upright(image: Image.Image, exif: bytes) -> Image.Image:
    """Turn an image that was loaded; one whose orientation cannot be read stays as it is.

    Args:
        image: What Pillow makes of a TIFF is upright already.
        exif: What was hidden of its file.
    """
    if image.format == "TIFF":
        return image
    orientation = _orientation(exif or _unread(image.info))
    turn = _TURNS.get(_in_xmp(image.info) if orientation is None else orientation)
    return image if turn is None else image.transpose(turn)


def _segments(data: bytes) -> list[int]:
    """Find where the segments with EXIF data begin, in the way in which Pillow comes upon them."""
    starts: list[int] = []
    start = 2
    while (start := data.find(b"\xff", start)) >= 0 and (marker := data[start + 1 : start + 2]) not in _NO_MORE:
        if marker == b"\xff":  # a filler; what counts is the last of them
            start += 1
        elif marker not in _WITH_LENGTH:
            start += 2
        else:
            if marker == _APP1 and data.startswith(_NAME, start + 4):
                starts.append(start)
            start += 2 + max(2, _length(data, start))
    return starts


def _length(data: bytes, start: int) -> int:
    """Length of the segment that begins there, its own two bytes included."""
    return int.from_bytes(data[start + 2 : start + 4], "big")


def _unread(info: Mapping[Any, Any]) -> bytes:
    """Take the EXIF data that Pillow found in a PNG or WebP."""
    if (exif := info.get("exif")) is not None:
        return exif if isinstance(exif, bytes) else b""  # a text may be called so
    lines = info.get("Raw profile type exif", "").split("\n", 3)  # ImageMagick's way: a name, a length, and digits
    try:
        return bytes.fromhex(lines[3]) if len(lines) > 3 else b""
    except ValueError:
        return b""


def _orientation(exif: bytes) -> float | None:
    """Read the orientation from EXIF data; None if they do not say."""
    if (name := _NAMES.match(exif)) is not None:
        exif = exif[name.end() :]
    if not exif.startswith(_BEGINNINGS):
        return None
    directories = Directories(exif)
    entries, _, first, _ = directories.read(directories.first)
    for number in (entries["tag"] == _ORIENTATION).nonzero()[0].tolist():
        kind, count = int(entries["type"][number]), int(entries["count"][number])
        if kind not in _NUMBERS or not count:
            continue
        form = ("<" if directories.order == "little" else ">") + _NUMBERS[kind]
        place = first + (number + 1) * entries.itemsize - directories.width
        if struct.calcsize(form) * count > directories.width:  # then it is elsewhere, and this says where
            place = int(entries["value"][number])
        if place + struct.calcsize(form) * count <= len(exif):
            value, *below = struct.unpack_from(form, exif, place)
            return float(value) if not below else value / below[0] if below[0] else 0.0
    return None


def _in_xmp(info: Mapping[Any, Any]) -> int:
    """Find the orientation in XMP data (ISO 16684-1), where there is none in EXIF data; 0 if they do not say."""
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    found = _IN_XMP.search(xmp.encode() if isinstance(xmp, str) else xmp)
    return int(found[1]) if found else 0
