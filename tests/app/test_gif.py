"""A GIF may have as many blocks as encoders make, and not as many as it likes."""

import struct

import numpy as np
import pytest
from PIL import Image

from app.errors import UndecodableImage
from app.images import Shape, decode
from tests import toys

SHAPE = Shape(8, 8, 3)
IMAGE = toys.save(Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)), "GIF")
HEADER = 13 + (3 << ((IMAGE[10] & 7) + 1))


def with_blocks(blocks):
    """Put something in front of the first frame."""
    return IMAGE[:HEADER] + blocks + IMAGE[HEADER:]


def test_large_comments_and_many_control_blocks_are_read():
    comment = b"!\xfe" + (b"\xff" + b"a" * 255) * 40_000 + b"\0"
    control = b"!\xf9\x04" + struct.pack("<BHB", 0, 10, 0) + b"\0"

    np.testing.assert_array_equal(decode(with_blocks(comment + control * 100), SHAPE), decode(IMAGE, SHAPE))


def test_as_many_blocks_as_are_allowed_are_read():
    """A base of 10,000, and one for each 64 bytes."""
    large = b"!\xfe" + (b"\xff" + b"\x01" * 255) * 300 + b"\0"
    for small in (b"!\xfe\0" * 10_000, b"!\xfe" + b"\x01a" * 10_000 + b"\0"):
        np.testing.assert_array_equal(decode(with_blocks(large + small), SHAPE), decode(IMAGE, SHAPE))


def test_stray_bytes_between_blocks_are_read_over_as_pillow_does():
    comment = b"!\xfe" + (b"\xff" + b"a" * 255) * 1000 + b"\0"

    np.testing.assert_array_equal(decode(with_blocks(comment + bytes(100) + comment), SHAPE), decode(IMAGE, SHAPE))


@pytest.mark.parametrize(
    "blocks",
    [
        b"!\xfe" + b"\x01a" * 8_000_000 + b"\0",
        b"!\xfe\x01a\0" * 3_000_000,
        b"!\xfe\0" * 5_000_000,
        bytes(16_000_000),
    ],
)
def test_a_file_of_nothing_but_blocks_is_refused(blocks):
    """Pillow would hold the interpreter lock for seconds."""
    with pytest.raises(UndecodableImage, match="the GIF file has too many parts; save it again"):
        decode(with_blocks(blocks), SHAPE)


@pytest.mark.parametrize("length", [13, 14, 100, 70_000])
def test_a_file_that_ends_too_early_is_refused_however_long(length):
    data = with_blocks(b"!\xfe" + (b"\xff" + b"a" * 255) * 1000)[:length]

    with pytest.raises(UndecodableImage):
        decode(data, SHAPE)
