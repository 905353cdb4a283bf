"""A BMP in run-length encoding is read as long as that takes no time."""

import struct
import time

import pytest

from app.errors import TooManyPixels
from app.images import Shape, decode


def bmp(side, row, *, bits=8, padding=b""):
    """A square BMP of grey colours of which every row is made of the same runs."""
    palette = b"".join(bytes((level, level, level, 0)) for level in range(0, 256, 256 >> bits))
    pixels = (row + b"\0\0") * side + padding + b"\0\1"
    begin = 54 + len(palette)
    header = struct.pack("<2sIII", b"BM", begin + len(pixels), 0, begin)
    compression = {8: 1, 4: 2}[bits]
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, bits, compression, len(pixels), 0, 0, 1 << bits, 0)
    return header + info + palette + pixels


@pytest.mark.parametrize("bits", [8, 4])
def test_a_screenshot_is_read(bits):
    row = b"\xfa\x11" * 8

    assert (decode(bmp(2000, row, bits=bits), Shape(8, 8, 3)) == (17 if bits == 8 else 16)).all()


@pytest.mark.parametrize(
    "data", [bmp(7000, b"\1\1"), bmp(7000, b"\xfa\x11" * 28, bits=4), bmp(100, b"\x64\1", padding=b"\1\1" * 2_000_000)]
)
def test_a_file_that_would_keep_pillow_busy_is_refused(data):
    """With rows that end after a pixel, a file of thirty kilobytes took many seconds."""
    start = time.process_time()

    with pytest.raises(TooManyPixels, match=r"is compressed and has more than 4,000,000 .* save it without"):
        decode(data, Shape(8, 8, 3))
    assert time.process_time() - start < 1
