"""Bytes become the same pixels everywhere, or a clear error."""

import io
import re
import subprocess
import sys
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app import images
from app.errors import (
    EmptyFile,
    InvalidRequest,
    TooManyPixels,
    UndecodableImage,
    UnsupportedMediaType,
    WrongChannels,
)
from app.images import Shape
from tests import toys
from tests.conftest import ROOT

RGB = Shape(8, 8, 3)
GREY = Shape(8, 8, 1)


def decode(data, shape=RGB, **options):
    return images.decode(data, shape, **options)


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from app import images
from app.errors import UndecodableImage
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000,) * 2)
try:
    images.decode(sys.stdin.buffer.read(), images.Shape(8, 8, 3))
except UndecodableImage as error:
    print(error)
"""


def test_want_of_memory_is_not_called_damage():
    """In a process of its own: one that has freed memory before may have enough."""
    data = toys.save(np.zeros((7000, 7000, 3), np.uint8), "PNG")

    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY], cwd=ROOT, input=data, capture_output=True, check=False)

    assert done.stderr == b""
    assert done.stdout == b"there is not enough memory to decode the PNG file; send a smaller one\n"


def colour(data, shape=RGB):
    """The colour of an image that has only one."""
    pixels = decode(data, shape)
    assert (pixels == pixels[0, 0]).all()
    return tuple(int(value) for value in pixels[0, 0])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_format_gives_the_same_grey(kind):
    pixels = decode(toys.save(Image.new("RGB", (20, 30), (120, 120, 120)), kind))

    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 120).max() <= 1


def test_an_image_of_the_right_size_is_returned_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)

    np.testing.assert_array_equal(decode(toys.save(image)), image)


def test_resizing_is_pillows_antialiased_bilinear():
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR))

    np.testing.assert_array_equal(decode(toys.save(image)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    """A file whose pixels were turned and whose EXIF data say so decodes like the upright one."""
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4, :4], upright[:4, 4:], upright[4:, :4] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation

    np.testing.assert_array_equal(decode(toys.save(np.ascontiguousarray(stored), exif=exif)), upright)


def test_broken_exif_data_are_as_good_as_none():
    data = toys.save(np.full((8, 8, 3), 77, np.uint8), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")

    assert colour(data) == (77, 77, 77)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0), id="cmyk"),
        pytest.param(Image.new("CMYK", (8, 8), (0, 0, 0, 128)), (127, 127, 127), id="cmyk-black"),
        pytest.param(Image.new("L", (8, 8), 99), (99, 99, 99), id="grey"),
        pytest.param(Image.new("1", (8, 8), 1), (255, 255, 255), id="one-bit"),
        pytest.param(Image.new("I;16", (8, 8), 32896), (128, 128, 128), id="sixteen-bit"),
        pytest.param(Image.new("I;16", (8, 8), 65535), (255, 255, 255), id="sixteen-bit-white"),
        pytest.param(Image.new("I;16", (8, 8), 257), (1, 1, 1), id="sixteen-bit-dark"),
    ],
)
def test_colour_modes_are_converted_not_clipped(image, expected):
    assert colour(toys.save(image, "TIFF")) == expected


def test_a_cmyk_jpeg_as_adobe_inverts_it():
    data = toys.save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)

    assert np.abs(np.array(colour(data)) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 10), (128, 132)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode, alpha, expected):
    value = (10, 10, 10, alpha) if mode == "RGBA" else (10, alpha)

    assert colour(toys.save(Image.new(mode, (8, 8), value))) == (expected,) * 3


def test_a_transparent_palette_colour_becomes_white():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])

    assert colour(toys.save(image)) == (200, 0, 0)
    assert colour(toys.save(image, transparency=1)) == (255, 255, 255)


def test_a_grey_model_gets_luminance():
    assert colour(toys.save(Image.new("RGB", (8, 8), (255, 0, 0))), GREY) == (76,)
    assert colour(toys.save(Image.new("I;16", (8, 8), 32896)), GREY) == (128,)


def test_modes_of_tiff_files_alone():
    data = io.BytesIO()
    pixels = np.broadcast_to(np.array([50, 128], np.uint8), (8, 8, 2))  # grey, multiplied by its alpha
    tifffile.imwrite(data, pixels, photometric="minisblack", planarconfig="contig", extrasamples=["assocalpha"])
    lab = toys.save(Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF")

    assert colour(data.getvalue()) == (177, 177, 177)
    assert colour(data.getvalue(), GREY) == (177,)
    assert colour(lab, GREY)[0] == pytest.approx(np.mean(colour(lab)), abs=2)


def test_a_four_channel_model_keeps_alpha():
    shape = Shape(8, 8, 4)

    assert colour(toys.save(Image.new("RGBA", (8, 8), (1, 2, 3, 4))), shape) == (1, 2, 3, 4)
    assert colour(toys.plain(9), shape) == (9, 9, 9, 255)


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (8, 8), (value, value, value)) for value in (40, 90, 200)]
    data = toys.save(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert colour(data) == (40, 40, 40)


def test_a_large_jpeg_is_decoded_at_a_smaller_scale_with_nearly_the_same_result():
    x, y = np.meshgrid(np.linspace(0, 6, 1600), np.linspace(0, 5, 1200))
    image = np.stack([127 + 120 * np.sin(x), 127 + 120 * np.cos(y), 127 + 120 * np.sin(x + y)], -1).astype(np.uint8)
    data = toys.save(image, "JPEG", quality=95)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
    with Image.open(io.BytesIO(data)) as scaled:
        scaled.draft(None, (128, 128))
        assert scaled.size == (200, 150)  # an eighth of 1600 by 1200
        expected = np.asarray(scaled.resize((64, 64), Image.Resampling.BILINEAR))
    found = decode(data, Shape(64, 64, 3))

    np.testing.assert_array_equal(found, expected)
    difference = np.abs(found.astype(int) - whole)
    assert difference.max() > 0

    assert difference.mean() < 1
    assert difference.max() <= 8


@pytest.mark.parametrize("media_type", [None, "", "application/octet-stream", "image/jpeg", "IMAGE/PNG; charset=x"])
def test_the_bytes_and_not_the_declared_type_decide(media_type):
    assert decode(toys.plain(50), media_type=media_type)[0, 0, 0] == 50


@pytest.mark.parametrize("media_type", ["text/plain", "application/pdf", "image/svg+xml", "image/heic"])
def test_other_declared_types_are_refused(media_type):
    with pytest.raises(UnsupportedMediaType, match="Content-Type: image/jpeg"):
        decode(toys.plain(50), media_type=media_type)


def test_an_empty_file():
    with pytest.raises(EmptyFile, match="the file is empty; use one with an image in it"):
        decode(b"", media_type="image/png")


@pytest.mark.parametrize(
    "data", [b"GIF89a", b"II*\x00" + b"\x00" * 40, b"RIFF\x04\x00\x00\x00WEBP", b"\x93NUMPY\x01\x00\x05\x00<a/>\n"]
)
def test_what_a_decoder_calls_it_is_not_told(data):
    with pytest.raises(UndecodableImage, match="is damaged or incomplete") as raised:
        decode(data)

    assert not re.search("Error|[<>]|object", str(raised.value))


def test_what_a_file_says_does_not_reach_a_terminal():
    header = b"{'descr': '0\x1b[2J,u1', 'fortran_order': False, 'shape': (1, 1, 3), }\n"
    with pytest.raises(UndecodableImage, match="is damaged or incomplete; save it again") as raised:
        decode(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)

    assert str(raised.value).isprintable()


@pytest.mark.parametrize("data", [b"hello", b"%PDF-1.7", b"RIFF\x04\x00\x00\x00WAVE", b"ftypmp42WEBP", b"\x00" * 100])
def test_bytes_that_are_no_image(data):
    with pytest.raises(UnsupportedMediaType, match="use JPEG, PNG"):
        decode(data)
    with pytest.raises(UndecodableImage, match="is not an image"):
        decode(data, media_type="image/jpeg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_file_cut_in_half(kind):
    data = toys.save(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), kind)

    with pytest.raises(UndecodableImage, match="damaged or incomplete"):
        decode(data[: len(data) // 2])


def test_too_many_pixels_are_refused_from_the_header():
    data = toys.plain(0, (2000, 1000))

    with pytest.raises(TooManyPixels, match="2000 × 1000"):
        decode(data, max_pixels=1_999_999)
    assert decode(data, max_pixels=2_000_000).shape == RGB


def test_a_bomb_is_refused_before_it_is_decoded():
    header = bytearray(toys.save(Image.new("L", (8, 8)), "BMP"))
    header[18:26] = (60_000).to_bytes(4, "little") * 2

    with pytest.raises(TooManyPixels):
        decode(bytes(header))


def tiled(size, tile):
    """A TIFF that claims tiles of any size."""
    data = io.BytesIO()
    tifffile.imwrite(data, np.zeros((*size, 3), np.uint8), tile=(16, 16), photometric="rgb")
    content = bytearray(data.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        for name in ("TileWidth", "TileLength"):
            tag = tiff.pages[0].tags[name]
            content[tag.valueoffset : tag.valueoffset + tag.valuebytecount] = tile.to_bytes(
                tag.valuebytecount, "little"
            )
    return bytes(content)


@pytest.mark.parametrize(
    ("channels", "said"),
    [(3, "tiles of more than 50,000,000 pixels; save it in strips"), (13, "the limit of 50,000,000")],
)
def test_a_small_tiff_with_huge_tiles_is_refused(channels, said):
    assert decode(tiled((32, 32), 16)).shape == RGB
    with pytest.raises(TooManyPixels, match=said):
        decode(tiled((32, 32), 20000), Shape(8, 8, channels))


@pytest.mark.parametrize("header", [b"{", b"{'descr': (", b"'''", b"(" * 200, b"{'descr': '<f8', 'shape': 5}"])
def test_a_broken_npy_header(header):
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header

    with pytest.raises(UndecodableImage):
        decode(data, Shape(8, 8, 13))


def test_a_transparent_colour_of_a_colour_image_becomes_white():
    image = Image.new("RGB", (8, 8), (77, 1, 2))

    assert colour(toys.save(image, transparency=(77, 1, 2))) == (255, 255, 255)
    assert colour(toys.save(Image.new("L", (8, 8), 77), transparency=77), GREY) == (255,)


def test_a_value_range_holds_for_colour_tiffs_too():
    data = io.BytesIO()
    tifffile.imwrite(data, np.full((8, 8, 3), 6000, np.uint16), photometric="rgb")

    assert decode(data.getvalue(), value_range=(0, 10_000))[0, 0].tolist() == [153, 153, 153]


def test_messages_name_no_object_and_no_path():
    data = toys.save(np.zeros((64, 64, 3), np.uint8), "TIFF")

    with pytest.raises(UndecodableImage) as caught:
        decode(data[:200])

    assert "<" not in str(caught.value)
    assert "/" not in str(caught.value)


def test_a_model_of_many_channels_refuses_a_photo():
    with pytest.raises(WrongChannels, match=r"reads 13 channels .* multi-band TIFF"):
        decode(toys.plain(1), Shape(8, 8, 13))


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"BM", b"GIF89a", b"II*\x00", b"\x93NUMPY\x01\x00"]),
)
@settings(max_examples=300)
def test_any_bytes_give_an_image_or_one_of_our_errors(tail, head):
    for shape in (RGB, GREY, Shape(4, 4, 5)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels = decode(head + tail, shape)
            except InvalidRequest as error:
                assert str(error)  # noqa: PT017  # any of several errors will do, or none
            else:
                assert pixels.shape == shape


@given(st.data())
@settings(max_examples=200)
def test_any_damage_to_an_image_gives_an_image_or_one_of_our_errors(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]))
    content = bytearray(toys.save(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert decode(bytes(content), max_pixels=100_000).shape == RGB
        except InvalidRequest as error:
            assert str(error)  # noqa: PT017  # any of several errors will do, or none


def test_hostile_files_give_an_image_or_one_of_our_errors(data):
    """Hundreds of broken, truncated, huge and odd files, read for a grey, a colour and a 13-band model."""
    files = [path for path in (data / "hostile").rglob("*") if path.is_file() and path.suffix != ".tsv"]
    assert len(files) > 700
    decoded = 0
    for path in files:
        for shape in (GREY, RGB, Shape(8, 8, 13)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    pixels = decode(path.read_bytes(), shape)
                except InvalidRequest as error:
                    assert len(str(error)) < 400  # noqa: PT017  # any of several errors will do, or none
                else:
                    assert pixels.shape == shape
                    decoded += 1
    assert decoded > 500


def test_large_images_wait_for_room_for_as_many_pixels_as_are_decoded():
    """A JPEG is decoded at half its size where that leaves twice what the model reads."""
    asked = []

    def room(pixels):
        asked.append(pixels)
        return nullcontext()

    for size, kind in (((1200, 1000), "PNG"), ((2400, 2400), "JPEG"), ((1000, 1000), "PNG")):
        decode(toys.save(Image.new("L", size), kind), Shape(600, 500, 1), room=room)

    assert asked == [1_200_000, 1_440_000]


def test_nothing_of_the_inside_is_told_of_a_damaged_file():
    with pytest.raises(UndecodableImage) as told:
        decode(b"\xff\xd8\xff" + b"no image", RGB)

    assert str(told.value) == "the JPEG file is damaged or incomplete; save it again"
