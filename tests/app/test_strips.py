"""A TIFF has as many strips and tiles as encoders write, not as many as it likes."""

import io
import struct
import time

import numpy as np
import pytest
import tifffile

from app.errors import UndecodableImage
from app.images import Shape, decode


def tiff(rows, listed, *, order="<", big=False, bands=1, compression=1):
    """A TIFF of one column and one row per strip, with so many places of strips, which are all the same."""
    short, number = ("Q", "Q") if big else ("H", "I")
    header = struct.pack(f"{order}2sH", b"II" if order == "<" else b"MM", 43 if big else 42)
    header += struct.pack(f"{order}HHQ", 8, 0, 16) if big else struct.pack(f"{order}I", 8)
    places, lengths = struct.pack(f"{order}I", 8) * listed, struct.pack(f"{order}I", 2) * listed
    tags = {256: (1, 1), 257: (1, rows), 258: (1, 8), 259: (1, compression), 262: (1, 1), 277: (1, bands), 278: (1, 1)}
    end = len(header) + struct.calcsize(f"={short}{number}") + (len(tags) + 2) * struct.calcsize(f"=HH2{number}")
    tags |= {273: (listed, end), 279: (listed, end + len(places))}
    entries = [struct.pack(f"{order}HH2{number}", tag, 4, *tags[tag]) for tag in sorted(tags)]
    directory = [struct.pack(f"{order}{short}", len(tags)), *entries, struct.pack(f"{order}{number}", 0)]
    return b"".join([header, *directory, places, lengths])


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True), (">", True)])
def test_a_file_that_lists_too_many_is_refused(order, big):
    with pytest.raises(UndecodableImage, match="too many strips or tiles; save it again, with larger ones"):
        decode(tiff(60_000, 60_000, order=order, big=big), Shape(8, 8, 3))


def test_a_file_of_many_is_read():
    assert decode(tiff(5000, 5000), Shape(8, 8, 3)).shape == (8, 8, 3)


def test_strips_that_are_not_listed_are_not_made_up_without_end():
    """A model of many channels would get an image of tens of millions of empty rows from two hundred bytes."""
    with pytest.raises(UndecodableImage, match="too many strips or tiles"):
        decode(tiff(40_000_000, 2, bands=2, compression=8), Shape(8, 8, 2))


@pytest.mark.parametrize("options", [{"rowsperstrip": 1}, {"tile": (16, 16)}])
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("channels", [1, 3, 13])
def test_what_encoders_make_is_read(channels, compression, options):
    image = np.full((600, 100, channels), 7, np.uint8)
    buffer = io.BytesIO()
    layout = {
        "photometric": "rgb" if channels == 3 else "minisblack",
        "planarconfig": "contig" if channels > 1 else None,
    }
    tifffile.imwrite(buffer, image if channels > 1 else image[..., 0], compression=compression, **layout, **options)

    assert (decode(buffer.getvalue(), Shape(8, 8, channels)) == 7).all()


@pytest.mark.parametrize(("tag", "kind", "count"), [(282, 5, 200_000), (338, 3, 300_000)])
def test_a_tag_of_millions_of_numbers_is_refused(tag, kind, count):
    """As a resolution, or kinds of bands, of which there are few; Pillow makes an object of each number."""
    tags = {256: (4, 8), 257: (4, 8), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 279: (4, 64)}
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items()]
    entries.append(struct.pack("<HHII", tag, kind, count, 8))
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + b"\0" * 4 + b"\1\0\0\0" * 400_000

    with pytest.raises(UndecodableImage, match="too many numbers"):
        decode(data, Shape(8, 8, 1))


@pytest.mark.parametrize(
    ("tag", "kind", "count", "size"),
    [(282, 5, 20_000, 8), (273, 4, 50_000, 4), *((270, kind, 200_000, 1) for kind in (1, 2, 6, 7))],
)
def test_pages_that_share_one_long_tag_are_refused(tag, kind, count, size):
    """It would be read again for each page: in all, what a file thousands of times as large may hold."""
    tags = {256: (4, 8), 257: (4, 8), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 278: (4, 8), 279: (4, 64)}
    data = bytearray(b"II*\0\x08\0\0\0")
    for page in range(2000):
        listed = {name: (as_kind, 1, value) for name, (as_kind, value) in tags.items()}
        listed |= {tag: (kind, count, 8)} if page else {}
        entries = [struct.pack("<HHII", name, *listed[name]) for name in sorted(listed)]
        following = len(data) + 2 + 12 * len(entries) + 4
        data += struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following if page < 1999 else 0)
    data += b"\1\0\0\0" * max(0, count * size - len(data))
    start = time.process_time()

    with pytest.raises(UndecodableImage, match="too many numbers"):
        decode(bytes(data), Shape(8, 8, 2000))

    assert time.process_time() - start < 0.5
    assert decode(bytes(data), Shape(8, 8, 3)).shape == (8, 8, 3)  # which reads the first page alone


def test_tags_that_share_one_long_text_are_refused():
    tags = {256: (4, 8), 257: (4, 8), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 279: (4, 64)}
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items()]
    entries += 4000 * [struct.pack("<HHII", 305, 2, 390_000, 8)]
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries)
    start = time.process_time()

    with pytest.raises(UndecodableImage, match="too many numbers"):
        decode(data.ljust(390_010, b"\0"), Shape(8, 8, 13))

    assert time.process_time() - start < 0.5


def test_pages_of_too_many_tags_are_refused():
    """Of one byte each, they are no long ones; a page has up to 65,535 of them, and the next one as many."""
    tags = {256: (4, 8), 257: (4, 8), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 279: (4, 64)}
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items())
    entries += b"".join(struct.pack("<HHII", 40_000 + number % 10_000, 1, 1, 0) for number in range(60_000))
    count, second = len(entries) // 12, 8 + 2 + len(entries) + 4
    first = b"II*\0" + struct.pack("<IH", 8, count) + entries + struct.pack("<I", second)

    with pytest.raises(UndecodableImage, match="too many numbers"):
        decode(first + struct.pack("<H", count) + entries + b"\0" * 4, Shape(8, 8, 13))


@pytest.mark.parametrize("kind", [1, 7])
def test_a_long_tag_of_bytes_does_no_harm(kind):
    """As the profile of a printer, of half a megabyte, of the type UNDEFINED."""
    tags = {256: (4, 8), 257: (4, 8), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 279: (4, 64)}
    entries = [struct.pack("<HHII", tag, as_kind, 1, value) for tag, (as_kind, value) in tags.items()]
    entries.append(struct.pack("<HHII", 34_675, kind, 500_000, 200))
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries)

    assert decode(data.ljust(500_200, b"\1"), Shape(8, 8, 1)).shape == (8, 8, 1)


@pytest.mark.parametrize("tag", [258, 273, 279, 320, 324, 325, 338, 339, 529, 532])
def test_a_tag_about_the_pixels_that_is_cut_off_is_not_made_up(tag):
    tags = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8)}
    tags |= {279: (4, 1, 64), tag: (4, 4, 300)}
    entries = b"".join(struct.pack("<HHII", name, *tags[name]) for name in sorted(tags))
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries

    with pytest.raises(UndecodableImage, match="damaged or incomplete; save it again"):
        decode(data.ljust(300 + 4 * 4 - 1, b"\0"), Shape(8, 8, 1))
