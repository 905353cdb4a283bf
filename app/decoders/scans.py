"""What a JPEG has in front of its pixels, and how often it goes over them: bombs that height and width do not tell of.

Pillow reads what stands in front piece by piece, in Python, so that a file of nothing else would hold up everyone.
A scan may refine as little as it likes and takes some tens of bytes, but a pass over all coefficients of the image, so
that tens of kilobytes keep a decoder busy for a minute. The standard sets no limit; libtiff has one of a hundred.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from app.errors import TooManyPixels, UndecodableImage

_OF_THE_LARGEST = 20
"""Scans of an image as large as is allowed; encoders make up to ten, and eighteen of four colours."""
_OF_ANY = 1000
"""Scans of an image however small."""
_SEGMENTS = 10_000
"""Parts beside the scans; of 64 kB each, as those of large metadata are, they would be 640 MB."""
_FILLERS = 64 * 1024
"""Bytes between parts, which mean nothing; encoders write none."""
_SHORT = 64 * 1024
"""Bytes of a file that takes no time to read, whatever it holds."""
_START_OF_SCAN, _END = 0xDA, 0xD9
# Those below, which libjpeg passes over where it awaits a restart, have none that counts either.
_WITHOUT_LENGTH = frozenset((*range(0xC0), 0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not what stands for a 0xFF of the data, or for a restart


def check_header(data: bytes) -> None:
    """Refuse a JPEG with more in front of its pixels than encoders write, before Pillow reads it.

    Raises:
        UndecodableImage: There are too many parts, or too many bytes between them.
    """
    if len(data) <= _SHORT:
        return
    parts, fillers, end = 0, 0, 2
    for start, following, marker in _markers(data, 2, within=_FILLERS + 2):
        parts, fillers, end = parts + 1, fillers + start - end, following
        if marker == _START_OF_SCAN or parts > _SEGMENTS or fillers > _FILLERS:
            break
    else:
        fillers += len(data) - end
    if parts > _SEGMENTS or fillers > _FILLERS:
        raise UndecodableImage("the JPEG file has too much in front of its pixels; save it again")


def check(data: bytes, pixels: int, max_pixels: int) -> None:
    """Refuse a JPEG whose scans are more work than those of the largest image.

    Args:
        data: The whole file.
        pixels: Height times width.
        max_pixels: Those of the largest image.

    Raises:
        TooManyPixels: It goes over too many, all scans taken together.
    """
    most = min(_OF_THE_LARGEST * max_pixels // pixels, _OF_ANY)
    # What lies in a thumbnail, or behind the end, counts at first, for that is what takes no time.
    if data.count(b"\xff\xda") > most and _goes_on(data, most):
        raise TooManyPixels(
            f"the JPEG goes over its {pixels:,} pixels more than {most} times, which takes too long; "
            "save it again, not progressive"
        )


def _goes_on(data: bytes, most: int) -> bool:
    """Tell whether there are more than so many scans, or too much between them."""
    scans = others = 0
    for _, _, marker in _markers(data, 2):
        if marker == _END:
            break
        if marker == _START_OF_SCAN:
            scans += 1
        else:
            others += 1
        if scans > most or others > _SEGMENTS:
            return True
    return False


def _markers(data: bytes, position: int, within: int = sys.maxsize) -> Iterator[tuple[int, int, int]]:
    """Go through the markers: where each begins, where what belongs to it ends, and what it is.

    The last one is that after which ``within`` bytes hold no other.
    """
    while found := _MARKER.search(data, position, min(position + within, len(data))):
        marker, position = data[found.end() - 1], found.end()
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
        yield found.start(), position, marker
