"""What the header of a file says is what its decoded image has, upright."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from app.images import Shape
from model_export import datasets
from model_export.data import survey
from model_export.errors import BadData
from tests import toys


@pytest.mark.parametrize("orientation", [None, *range(1, 9), 77])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_photos_have_the_size_that_they_are_looked_at_in(kind, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    data = toys.save(Image.new("RGB", (60, 40)), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        width, height = ImageOps.exif_transpose(image).size

    found = survey.header(data)

    assert (found.height, found.width, found.channels) == (height, width, 3)
    assert found.mode == ("TIFF uint8 × 3" if kind == "TIFF" else f"{kind} RGB")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_whose_exif_data_is_broken_is_as_it_lies(kind):
    data = toys.save(Image.new("RGB", (60, 40)), kind, exif=b"Exif\0\0garbage")

    assert survey.header(data)[:3] == (40, 60, 3)


def tiff(*shape, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros(shape, np.uint16), photometric="minisblack", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (tiff(40, 60), (40, 60, 3, "TIFF uint16 × 1")),  # grey and colour with transparency are read as colour
        (tiff(40, 60, 4, planarconfig="contig"), (40, 60, 3, "TIFF uint16 × 4")),
        (tiff(40, 60, 5, planarconfig="contig"), (40, 60, 5, "TIFF uint16 × 5")),
        (tiff(5, 40, 60, planarconfig="separate"), (40, 60, 5, "TIFF uint16 × 5")),
        (tiff(5, 40, 60), (40, 60, 5, "TIFF uint16 × 5")),  # a page for each band
        (tiff(40, 60, 5, planarconfig="contig", extratags=[(0x0112, 3, 1, 6, True)]), (40, 60, 5, "TIFF uint16 × 5")),
    ],
)
def test_bands_are_counted_wherever_they_lie_and_are_not_turned(data, header):
    assert survey.header(data) == header


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize(("shape", "channels"), [((40, 60), 1), ((40, 60, 5), 5)])
def test_arrays_of_either_version(version, shape, channels):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros(shape, np.uint8), version)

    assert survey.header(buffer.getvalue()) == (40, 60, channels, f"NPY uint8 × {channels}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "NPY"])
def test_half_a_header_is_none(kind):
    image = np.zeros((40, 60, 3), np.uint8)
    buffer = io.BytesIO()
    if kind == "NPY":
        np.save(buffer, image)
    data = buffer.getvalue() or toys.save(image, kind)

    assert survey.header(data[:15]) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"nothing", "the file is not an image of an accepted type; use JPEG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "the file is HEIC, which is not read; save or export it as JPEG"),
        (toys.plain(0)[:20], "the PNG file is damaged or incomplete; save it again"),
    ],
)
def test_where_no_file_can_be_read_the_reason_is_given(folder, data, reason):
    for path in folder.rglob("*.png"):
        path.write_bytes(data)

    with pytest.raises(BadData, match=rf"none of 40 files looked at can be read; bright/00\.png: {reason}"):
        datasets.load(str(folder))


def test_a_data_set_is_as_large_as_most_of_its_images(folder):
    for index in range(19):
        (folder / "dark" / f"{index:02}.png").write_bytes(toys.plain(index, (64, 48)))
    (folder / "bright" / "00.png").write_bytes(b"nothing")
    for index in range(1, 9):
        (folder / "bright" / f"{index:02}.png").write_bytes(toys.plain(index + 100, (64, 48)))

    assert datasets.load(str(folder)).shape == Shape(48, 64, 3)
