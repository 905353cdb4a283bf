"""A JPEG may go over its pixels as often as encoders make it, and not as often as it likes."""

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from app.decoders import jpeg
from app.errors import TooManyPixels, UndecodableImage
from app.images import Shape, decode
from tests import toys

SHAPE = Shape(8, 8, 3)
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
PIXELS = 100 * 100


def read(data, max_pixels=PIXELS):
    return decode(data, SHAPE, media_type="image/jpeg", max_pixels=max_pixels)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"progressive": True, "subsampling": 0, "quality": 100}]
)
def test_what_encoders_make_is_read_at_the_largest_size(options):
    assert read(toys.save(IMAGE, "JPEG", **options)).shape == (8, 8, 3)


def test_what_encoders_make_of_four_colours_is_read_at_the_largest_size():
    data = toys.save(IMAGE.convert("CMYK"), "JPEG", progressive=True)

    assert data.count(b"\xff\xda") == 18
    assert read(data).shape == (8, 8, 3)


def test_the_first_of_several_pictures_alone_counts():
    """Cameras put a preview of full size behind the photograph (CIPA DC-007, MPO)."""
    data = toys.save(IMAGE, "MPO", save_all=True, append_images=[IMAGE] * 3, progressive=True)

    assert data.count(b"\xff\xda") > 20
    assert read(data).shape == (8, 8, 3)


def test_the_smaller_the_image_the_more_scans_it_may_have():
    data = toys.scans(IMAGE, 50)

    with pytest.raises(TooManyPixels, match=r"goes over its 10,000 pixels more than 20 times.*save it again"):
        read(data)
    assert read(data, max_pixels=4 * PIXELS).shape == (8, 8, 3)


@pytest.mark.parametrize("trick", [b"\xff\x01", b"\xff\xff", b"\xff\xfe\x00\x06\xff\xd9\xff\xd9", b"\xff\x02\x7f\x00"])
def test_scans_cannot_be_hidden(trick):
    """Behind a marker without length, a filler, an end of the image in a comment, or the length of a reserved marker.

    libjpeg pays no heed to that length where it awaits a restart: it looks for the next marker.
    """
    data = toys.scans(Image.new("RGB", IMAGE.size), 50)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 1)
    data = data[:second] + trick + data[second:]

    with pytest.raises(TooManyPixels):
        read(data)


@pytest.mark.parametrize("piece", [b"\xff", b"\0", b"\xff\xe1\x00\x02", b"\xff\xd9"])
def test_what_stands_in_front_of_the_pixels_is_bounded(piece):
    """Pillow would read it piece by piece, a million of them in seconds."""
    data = toys.save(IMAGE, "JPEG")
    second = 4 + int.from_bytes(data[4:6], "big")

    with pytest.raises(UndecodableImage, match="too much in front of its pixels; save it again"):
        read(data[:second] + piece * 100_000 + data[second:])


@pytest.mark.parametrize("piece", [b"\xff", b"\0", b"\xff\xe1\x00\x02"])
def test_a_little_in_front_of_the_pixels_does_no_harm(piece):
    data = toys.save(IMAGE, "JPEG")
    second = 4 + int.from_bytes(data[4:6], "big")

    assert read(data[:second] + piece * 1000 + data[second:]).shape == (8, 8, 3)


def test_the_markers_without_length_are_those_that_pillow_takes_for_such():
    """What it read one by one, and was skipped as a part of something else, would not be counted."""
    bare = {code & 0xFF for code, (_, _, handler) in JpegImagePlugin.MARKER.items() if handler is None}

    assert bare - {*range(0xD0, 0xD8)} == jpeg._WITHOUT_LENGTH - {*range(0xC0)}


def test_nothing_but_fillers_is_no_image():
    with pytest.raises(UndecodableImage, match="too much"):
        read(b"\xff\xd8\xff" + b"\xff" * 100_000)


def test_what_stands_between_scans_is_bounded():
    data = toys.save(IMAGE, "JPEG", progressive=True, comment=b"\xff\xda" * 20)
    last = data.rindex(b"\xff\xda")

    assert read(data).shape == (8, 8, 3)
    with pytest.raises(TooManyPixels):
        read(data[:last] + b"\xff\x01" * 20_000 + data[last:])


@pytest.mark.parametrize("place", ["comment", "behind the end"])
def test_what_only_looks_like_a_scan_does_not_count(place):
    """As of a thumbnail, or of the film that a telephone puts behind its photograph."""
    many = b"\xff\xda\x00\x02" * 1000
    data = toys.save(IMAGE, "JPEG", comment=many) if place == "comment" else toys.save(IMAGE, "JPEG") + many

    assert read(data).shape == (8, 8, 3)
