"""How often a JPEG goes over its pixels: a bomb that no check of height and width finds.

A scan may refine as little as it likes and takes some tens of bytes, but a pass over all coefficients of the image, so
that two hundred kilobytes keep a decoder busy for a minute. The standard sets no limit; libtiff has one of a hundred.
"""

from __future__ import annotations

import re

from app.errors import TooManyPixels

_OF_THE_LARGEST = 20
"""Scans of an image as large as is allowed; encoders make up to ten, and eighteen of four colours."""
_START_OF_SCAN, _END = 0xDA, 0xD9
_START_OF_FRAME, _START_OF_IMAGE = 0xC0, 0xD8
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not what stands for a 0xFF of the data, or for a restart


def check(data: bytes, pixels: int, max_pixels: int) -> None:
    """Refuse a JPEG whose scans are more work than those of the largest image.

    Args:
        data: The whole file.
        pixels: Height times width.
        max_pixels: Those of the largest image.

    Raises:
        TooManyPixels: It goes over too many, all scans taken together.
    """
    most = _OF_THE_LARGEST * max_pixels // pixels
    # What lies in a thumbnail, or behind the end, counts at first, for that is what takes no time.
    if data.count(b"\xff\xda") > most and _goes_on(data, most):
        raise TooManyPixels(
            f"the JPEG goes over its {pixels:,} pixels more than {most} times, which takes too long; "
            "save it again, not progressive"
        )


def _goes_on(data: bytes, most: int) -> bool:
    """Tell whether there are more than so many scans."""
    position, scans = 2, 0
    while scans <= most and (found := _MARKER.search(data, position)):
        marker, position = data[found.end() - 1], found.end()
        if marker == _END:
            break
        scans += marker == _START_OF_SCAN
        # What stands below has no length, or none that libjpeg would heed where it awaits a restart.
        if marker >= _START_OF_FRAME and marker != _START_OF_IMAGE:
            position += int.from_bytes(data[position : position + 2], "big")
    return scans > most
