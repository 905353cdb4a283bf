"""A PNG may have as many parts as encoders make, and not as many as it likes.

It may name one value, or one colour, that is transparent: exactly those pixels are, whatever bits they have.
"""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.errors import UndecodableImage
from app.images import Shape, decode
from tests import toys

GREY, COLOUR = 0, 2
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


def png(depth, kind, row, transparent=(), first=()):
    """One row of pixels, and what of them is transparent, if anything; other chunks may come first."""
    samples = np.asarray(row).reshape(len(row), -1)
    bits = "".join(f"{sample:0{depth}b}" for sample in samples.ravel())
    packed = bytes(int(bits[start : start + 8].ljust(8, "0"), 2) for start in range(0, len(bits), 8))
    header = struct.pack(">IIBBBBB", len(row), 1, depth, kind, 0, 0, 0)
    named = [(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))] if transparent else []
    chunks = [*first, (b"IHDR", header), *named, (b"IDAT", zlib.compress(b"\0" + packed)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


@pytest.mark.parametrize(
    ("depth", "row", "clear", "grey"),
    [
        (1, [0, 1], 1, [0, 255]),
        (2, [0, 1, 2, 3], 2, [0, 85, 170, 255]),
        (4, [0, 5, 6, 15], 5, [0, 85, 102, 255]),
        (8, [0, 5, 85, 255], 5, [0, 5, 85, 255]),
        (16, [0x1234, 0x1299, 0x3412, 0xFFFF], 0x1234, [18, 19, 52, 255]),
    ],
)
def test_a_grey_value_that_is_transparent(depth, row, clear, grey):
    data = png(depth, GREY, row, [clear])
    expected = [255 if value == clear else shown for value, shown in zip(row, grey, strict=True)]

    assert decode(data, Shape(1, len(row), 1)).ravel().tolist() == expected
    assert decode(data, Shape(1, len(row), 3))[0].tolist() == [[value] * 3 for value in expected]
    with_alpha = decode(data, Shape(1, len(row), 4))[0]
    assert with_alpha[:, :3].tolist() == [[value] * 3 for value in grey]
    assert with_alpha[:, 3].tolist() == [0 if value == clear else 255 for value in row]


@pytest.mark.parametrize("depth", [2, 4, 8])
@pytest.mark.parametrize("clear", [0, 1])
def test_bits_that_a_pixel_does_not_have_are_masked(depth, clear):
    """PNG specification, section 11.3.1.1: a decoder must not heed them; libpng does not either."""
    data = png(depth, GREY, [0, 1], [clear + 0xFFFF - (2**depth - 1)])

    assert decode(data, Shape(1, 2, 4))[0, :, 3].tolist() == [0 if value == clear else 255 for value in (0, 1)]


def test_a_transparent_value_within_a_value_range():
    data = png(16, GREY, [0, 500, 1000], [500])

    assert decode(data, Shape(1, 3, 1), value_range=(0, 1000)).ravel().tolist() == [0, 255, 255]


def test_a_colour_that_is_transparent():
    data = png(8, COLOUR, [(1, 2, 3), (3, 2, 1)], [1, 2, 3])

    assert decode(data, Shape(1, 2, 3))[0].tolist() == [[255] * 3, [3, 2, 1]]
    late = png(8, COLOUR, [(1, 2, 3), (3, 2, 1)], [1, 2, 3], [(b"tEXt", b"Title\0A chunk where the header should be")])
    np.testing.assert_array_equal(decode(late, Shape(1, 2, 3)), decode(data, Shape(1, 2, 3)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_transparent_colour_of_16_bits_is_refused(channels):
    """Else another one would be: of the pixels, Pillow keeps the upper 8 bits, and compares them with the lower."""
    data = png(16, COLOUR, [(0x1234,) * 3, (0x3412,) * 3], [0x1234] * 3)

    with pytest.raises(UndecodableImage, match="has 16 bits and a transparent colour; save it with alpha"):
        decode(data, Shape(1, 2, channels))


def test_nothing_is_transparent_where_nothing_is_named():
    assert decode(png(4, GREY, [0, 5, 15]), Shape(1, 3, 1)).ravel().tolist() == [0, 85, 255]
    assert decode(png(16, COLOUR, [(0x1234, 0x3412, 0xFFFF)]), Shape(1, 1, 3)).ravel().tolist() == [0x12, 0x34, 0xFF]
