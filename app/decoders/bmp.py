"""A limit on BMP files in run-length encoding, which Pillow reads in Python, pixel by pixel in the worst case.

It holds the interpreter lock meanwhile. Windows GDI documentation, "Bitmap Compression" and BITMAPINFOHEADER.
"""

from __future__ import annotations

from app.errors import TooManyPixels

_MOST = 4_000_000
"""Pixels, and bytes; read in about a second."""
_INFO_HEADER = 40  # bytes of the oldest header that tells of compression
_RUN_LENGTHS = (1, 2)  # BI_RLE8 and BI_RLE4


def check(data: bytes) -> None:
    """Refuse a BMP of more runs than can be read in no time, before Pillow reads it.

    Raises:
        TooManyPixels: It is run-length encoded and large.
    """
    header, width, height, compression = (
        int.from_bytes(data[at : at + 4], "little", signed=True) for at in (14, 18, 22, 30)
    )
    if header >= _INFO_HEADER and compression in _RUN_LENGTHS and max(abs(width * height), len(data)) > _MOST:
        raise TooManyPixels(
            f"the BMP file is compressed and has more than {_MOST:,} pixels or bytes; save it without compression"
        )
