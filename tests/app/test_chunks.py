"""A PNG may have as many parts as encoders make, and not as many as it likes."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.errors import UndecodableImage
from app.images import Shape, decode
from tests import toys

SHAPE = Shape(8, 8, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (12_000, 8, 3), np.uint8)


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rows(pixels):
    """Write a PNG with a chunk for each row, as some encoders do."""
    height, width, _ = pixels.shape
    packer = zlib.compressobj()
    body = [packer.compress(b"\0" + row.tobytes()) + packer.flush(zlib.Z_FULL_FLUSH) for row in pixels]
    body[-1] += packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(b"IDAT", data) for data in body) + chunk(b"IEND")


def test_a_chunk_for_each_row_is_read():
    data = rows(PIXELS[:10_000])

    np.testing.assert_array_equal(
        decode(data, SHAPE), decode(toys.save(Image.fromarray(PIXELS[:10_000]), "PNG"), SHAPE)
    )


@pytest.mark.parametrize("kind", [b"abCd", b"tEXt", b"IDAT"])
def test_a_file_of_nothing_but_chunks_is_refused(kind):
    image = toys.save(Image.fromarray(PIXELS[:8]), "PNG")
    end = image.index(b"IDAT") - 4
    data = image[:end] + chunk(kind) * 50_000 + image[end:]

    with pytest.raises(UndecodableImage, match="the PNG file has too many parts; save it again"):
        decode(data, SHAPE)


def test_what_lies_behind_the_end_does_not_count():
    image = toys.save(Image.fromarray(PIXELS[:8]), "PNG")

    np.testing.assert_array_equal(decode(image + bytes(1_000_000), SHAPE), decode(image, SHAPE))
