"""Limits on the segments and scans of a JPEG: it can be a bomb although its height and width are small.

Pillow reads the segments before the pixels one by one, in Python, and holds the interpreter lock meanwhile. A scan of
a progressive JPEG takes a few tens of bytes in the file, but a pass over all coefficients of the image, so that a file
of tens of kilobytes can keep a decoder busy for a minute. The standard sets no limit; libtiff's is 100 scans.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from app.decoders.formats import UNCHECKED_BYTES
from app.errors import TooManyPixels, UndecodableImage

_MAX_SCANS_OF_LARGEST = 20
"""Scans of an image with as many pixels as allowed; encoders make up to 10, and 18 for four colours."""
_MAX_SCANS = 1000
"""Scans of an image of any size."""
_MAX_SEGMENTS = 10_000
"""Segments other than scans; of 64 kB each, as in large metadata, they would be 640 MB."""
_MAX_FILL_BYTES = 64 * 1024
"""Bytes between segments, which mean nothing; encoders write none."""
_FIRST_MARKER_BYTES = 2
_START_OF_SCAN, _END = 0xDA, 0xD9
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Nor do those below 0xC0 have one that counts: libjpeg skips them where it expects a restart.
_WITHOUT_LENGTH = frozenset((*range(0xC0), 0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not what stands for a 0xFF of the data, or for a restart


def check(data: bytes) -> None:
    """Refuse a JPEG with more before its pixels than encoders write, before Pillow reads it.

    Raises:
        UndecodableImage: There are too many segments, or too many bytes between them.
    """
    if len(data) <= UNCHECKED_BYTES:
        return
    segments, fill_bytes, end = 0, 0, _FIRST_MARKER_BYTES
    for start, following, marker in _markers(data, within=_MAX_FILL_BYTES + 2):
        segments, fill_bytes, end = segments + 1, fill_bytes + start - end, following
        if marker == _START_OF_SCAN or segments > _MAX_SEGMENTS or fill_bytes > _MAX_FILL_BYTES:
            break
    else:
        fill_bytes += len(data) - end
    if segments > _MAX_SEGMENTS or fill_bytes > _MAX_FILL_BYTES:
        raise UndecodableImage("the JPEG file has too much in front of its pixels; save it again")


def check_scans(data: bytes, pixels: int, max_pixels: int) -> None:
    """Refuse a JPEG whose scans are more work than those of the largest image.

    Args:
        data: The whole file.
        pixels: Height times width.
        max_pixels: Those of the largest image.

    Raises:
        TooManyPixels: Its scans together go over too many pixels.
    """
    most = min(passes(max_pixels) // pixels, _MAX_SCANS)
    # Counting bytes is quick, but it also counts what is in a thumbnail or behind the end.
    if data.count(b"\xff\xda") > most and _has_more_scans(data, most):
        raise TooManyPixels(
            f"the JPEG goes over its {pixels:,} pixels more than {most} times, which takes too long; "
            "save it again, not progressive"
        )


def work(data: bytes) -> tuple[int, int]:
    """Read the height times width of a JPEG without a thumbnail, 0 if it does not say, and count its scans.

    Raises:
        UndecodableImage: As :func:`check`.
    """
    check(data)
    for start, _, marker in _markers(data):
        if marker in _STARTS_OF_FRAME:  # length, precision, height, width
            height, width = data[start + 5 : start + 7], data[start + 7 : start + 9]
            return int.from_bytes(height, "big") * int.from_bytes(width, "big"), data.count(b"\xff\xda")
    return 0, 0


def passes(pixels: int) -> int:
    """Compute how many pixels all scans together may go over, if an image may have so many."""
    return _MAX_SCANS_OF_LARGEST * pixels


def _has_more_scans(data: bytes, most: int) -> bool:
    """Tell whether there are more than ``most`` scans, or too many other segments."""
    scans = others = 0
    for _, _, marker in _markers(data):
        if marker == _END:
            break
        if marker == _START_OF_SCAN:
            scans += 1
        else:
            others += 1
        if scans > most or others > _MAX_SEGMENTS:
            return True
    return False


def _markers(data: bytes, within: int = sys.maxsize) -> Iterator[tuple[int, int, int]]:
    """Yield of each marker after the first one, with which a JPEG begins: its start, its segment's end, and its code.

    Stops where the next ``within`` bytes hold no marker.
    """
    position = _FIRST_MARKER_BYTES
    while found := _MARKER.search(data, position, min(position + within, len(data))):
        marker, position = data[found.end() - 1], found.end()
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
        yield found.start(), position, marker
