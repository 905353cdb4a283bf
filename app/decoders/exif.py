"""Which way up an image is, by its EXIF data, which Pillow does not get to see.

It makes an object of each number in them, in Python, however many there are, and holds the interpreter lock meanwhile;
and to turn an image it writes all of them again, which fails for those that it cannot write.

CIPA DC-008, Exif 2.32: section 4.5 (structure), 4.6 (tags), 4.7 (the segment of a JPEG). In PNG and WebP, Pillow hands
them over unread.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from PIL import Image

from app.decoders.directories import Directories

_NAME = b"Exif\0\0"
_NAMES = re.compile(rb"(?:Exif\0\0){1,2}")
_SEGMENT = re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL)
_APP1, _START_OF_SCAN = 0xE1, 0xDA
_WITH_LENGTH = frozenset((*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE)) - {0xC8}
_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4  # types
_OTHER_DIRECTORIES = (34665, 34853, 40965)  # the tags that lead to those of EXIF, GPS and interoperability
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_TURNS = {
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
        image: A TIFF is upright already.
        exif: What was hidden of its file.
    """
    turn = _TURNS.get(_orientation(exif or _unread(image.info)) or _in_xmp(image.info))
    return image if turn is None else image.transpose(turn)


def _segments(data: bytes) -> list[int]:
    """Find where the segments with EXIF data begin, however Pillow might come upon them."""
    starts: list[int] = []
    start = 2
    while data[start : start + 1] == b"\xff" and len(data) > start + 3 and data[start + 1] in _WITH_LENGTH:
        if data[start + 1] == _START_OF_SCAN:
            return starts
        if data[start + 1] == _APP1 and data.startswith(_NAME, start + 4):
            starts.append(start)
        start += 2 + max(2, _length(data, start))
    return [found.start() for found in _SEGMENT.finditer(data)]  # it is not as encoders write it


def _length(data: bytes, start: int) -> int:
    """Length of the segment that begins there, its own two bytes included."""
    return int.from_bytes(data[start + 2 : start + 4], "big")


def _unread(info: Mapping[Any, Any]) -> bytes:
    """Take the EXIF data that Pillow found in a PNG or WebP."""
    if (exif := info.get("exif")) is not None:
        return bytes(exif)
    try:
        return bytes.fromhex("".join(info.get("Raw profile type exif", "").split("\n")[3:]))  # ImageMagick's way
    except ValueError:
        return b""


def _orientation(exif: bytes) -> int:
    """Read the orientation from EXIF data; 0 if they do not say."""
    if (name := _NAMES.match(exif)) is not None:
        exif = exif[name.end() :]
    if not exif.startswith((b"II", b"MM")):
        return 0
    directories = Directories(exif)
    entries, _, first, _ = directories.read(directories.first)
    for number in (entries["tag"] == _ORIENTATION).nonzero()[0].tolist()[:1]:
        size = {_SHORT: 2, _LONG: 4}.get(int(entries["type"][number]), 0)
        if size * int(entries["count"][number]) <= directories.width:
            value = first + (number + 1) * entries.itemsize - directories.width
            return int.from_bytes(exif[value : value + size], directories.order)
    return 0


def _in_xmp(info: Mapping[Any, Any]) -> int:
    """Find the orientation in XMP data (ISO 16684-1), where there is none in EXIF data; 0 if they do not say."""
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    found = _IN_XMP.search(xmp.encode() if isinstance(xmp, str) else xmp)
    return int(found[1]) if found else 0
