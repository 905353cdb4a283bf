"""EXIF data turn an image, whatever else is in them, and cost nothing."""

import io
import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from app.decoders.exif import hidden
from app.errors import UndecodableImage
from app.images import Shape, decode
from tests import toys

SHAPE = Shape(8, 4, 3)
UPRIGHT = np.zeros((8, 4, 3), np.uint8)
UPRIGHT[:4] = 255
STORED = np.ascontiguousarray(np.rot90(UPRIGHT))  # what orientation 6 turns clockwise
ORIENTATION = (0x0112, 3, 1, 6)
UNWRITABLE = {
    "altitude below the sea": (0x8825, [(6, 10, 1, struct.pack("2i", -12, 1))]),
    "altitude reference in words": (0x8825, [(5, 2, 2, b"0\0")]),
    "version in words": (0x8825, [(0, 2, 4, b"2.2\0")]),
    "resolution below zero": (0x011A, struct.pack("2i", -1, 0)),
}
"""By what Pillow cannot write again: a tag, and the directory it leads to or its fraction."""


def directory(entries, start, order):
    """A directory that begins there, and behind it what does not fit into it."""
    table, rest = struct.pack(f"{order}H", len(entries)), b""
    for tag, kind, count, value in entries:
        if isinstance(value, bytes) and len(value) > 4:
            table += struct.pack(f"{order}HHII", tag, kind, count, start + 6 + 12 * len(entries) + len(rest))
            rest += value
        elif isinstance(value, bytes):
            table += struct.pack(f"{order}HHI", tag, kind, count) + value.ljust(4, b"\0")
        else:
            table += struct.pack(f"{order}HHI{'H2x' if kind == 3 else 'I'}", tag, kind, count, value)
    return table + bytes(4) + rest


def exif(*entries, order="<"):
    return struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8) + directory(entries, 8, order)


def exif_with(tag, what):
    if isinstance(what, bytes):
        return exif((tag, 10, 1, what), ORIENTATION)
    length = len(exif(ORIENTATION, (tag, 4, 1, 0)))
    return exif(ORIENTATION, (tag, 4, 1, length)) + directory(what, length, "<")


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def segment(data, marker=0xE1):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(*segments):
    data = toys.save(STORED, "JPEG", quality=100, subsampling=0)
    return data[:2] + b"".join(segments) + data[2:]


def png(*chunks):
    data = toys.save(STORED)
    return data[:33] + b"".join(chunks) + data[33:]


def written(kind, data):
    """An image of a format with these EXIF data."""
    if kind == "JPEG":
        return jpeg(segment(b"Exif\0\0" + data))
    if kind == "PNG":
        return png(chunk(b"eXIf", data))
    return toys.save(STORED, "WEBP", lossless=True, exif=b"Exif\0\0" + data)


def is_upright(data):
    return np.abs(decode(data, SHAPE).astype(int) - UPRIGHT).max() < 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("case", UNWRITABLE)
def test_data_that_pillow_cannot_write_again_turn_an_image_all_the_same(case, kind):
    data = written(kind, exif_with(*UNWRITABLE[case]))

    with pytest.raises(Exception, match=r"."), Image.open(io.BytesIO(data)) as image:
        image.getexif().tobytes()
    assert is_upright(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_is_read_in_either_order_and_type(order, kind):
    assert is_upright(written(kind, exif(ORIENTATION, order=order)))
    assert is_upright(written(kind, exif((0x0112, 4, 1, 6), order=order)))


@pytest.mark.parametrize(
    "entry",
    [
        (0x0112, 3, 1, 0),
        (0x0112, 3, 1, 9),
        (0x0112, 2, 2, b"6\0"),
        (0x0112, 4, 2, 6),
        (0x0112, 5, 1, struct.pack("2I", 6, 0)),
        (0x0112, 3, 0, 6),
    ],
)
def test_an_orientation_that_is_none_turns_nothing(entry):
    data = written("PNG", exif(entry))

    np.testing.assert_array_equal(
        decode(data, Shape(4, 8, 3)), STORED, err_msg="an image of 8 by 4 pixels is returned as it is stored"
    )


@pytest.mark.parametrize(
    "entries",
    [
        [(0x0112, 3, 3, struct.pack("<3H", 6, 1, 1))],
        [(0x0112, 5, 1, struct.pack("2I", 12, 2))],
        [(0x0112, 11, 1, struct.pack("<f", 6))],
        [(0x0112, 99, 1, 1), (0x0112, 3, 1, 6)],
    ],
)
def test_an_orientation_that_is_written_oddly_counts_as_for_pillow(entries):
    data = written("PNG", exif(*entries))

    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x0112] == 6
    assert is_upright(data)


@pytest.mark.parametrize("cut", range(1, 22, 4))
def test_data_that_are_cut_off_turn_nothing(cut):
    np.testing.assert_array_equal(decode(written("PNG", exif(ORIENTATION)[:cut]), Shape(4, 8, 3)), STORED)


def test_data_that_are_something_else_turn_nothing():
    data = exif(ORIENTATION)

    assert is_upright(written("PNG", data[:2] + b"\0*" + data[4:]))  # as some cameras begin them
    assert not is_upright(written("PNG", data[:2] + b"\1*" + data[4:]))


def test_the_data_of_several_segments_are_one():
    data = exif((0x010E, 2, 10, b"a picture\0"), ORIENTATION)
    parts = [segment(b"Exif\0\0" + part) for part in (data[:12], data[12:])]

    assert is_upright(jpeg(segment(b"a comment", 0xFE), *parts))


def test_only_those_in_front_of_the_pixels_count():
    """Behind them may be a preview, as cameras write it, with data of its own."""
    second = jpeg(segment(b"Exif\0\0" + exif(ORIENTATION)))

    assert not is_upright(jpeg() + second)


@pytest.mark.parametrize("filler", [b"", b"\xff", segment(exif(ORIENTATION), 0xFE)])
def test_those_of_another_file_behind_it_do_not_count(filler):
    """As telephones put a film behind a photograph; wherever the header of the photograph has a filler or a comment."""
    data = jpeg(filler) + b"film" + (b"\xff\xe1\xff\xffExif\0\0" + exif(ORIENTATION)) * 1000

    assert hidden(data, "JPEG")[1] == b""
    assert not is_upright(data)


def test_a_text_that_is_called_exif_is_none():
    for data in (chunk(b"zTXt", b"exif\0\0" + zlib.compress(b"hello")), chunk(b"tEXt", b"exif\0hello")):
        np.testing.assert_array_equal(decode(png(data), Shape(4, 8, 3)), STORED)


def test_data_that_imagemagick_wrote_as_text():
    text = f"\nexif\n{40:8}\n{(b'Exif' + bytes(2) + exif(ORIENTATION)).hex()}\n".encode()

    assert is_upright(png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))))
    assert not is_upright(png(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nnone\n")))


def test_the_orientation_in_xmp_counts_where_exif_data_name_none():
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    in_jpeg = segment(b"http://ns.adobe.com/xap/1.0/\0" + packet)
    in_png = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)

    assert is_upright(jpeg(in_jpeg))
    assert is_upright(png(in_png))
    assert not is_upright(jpeg(in_jpeg, segment(b"Exif\0\0" + exif((0x0112, 3, 1, 1)))))


def test_an_orientation_of_none_is_one_for_xmp_too():
    packet = b'<rdf:Description tiff:Orientation="6"/>'

    assert not is_upright(
        jpeg(segment(b"http://ns.adobe.com/xap/1.0/\0" + packet), segment(b"Exif\0\0" + exif((0x0112, 3, 1, 0))))
    )


@pytest.mark.parametrize("orientation", [None, 1, 6])
@pytest.mark.parametrize("packet", [b'"6"', b">6<", b">6 <"])
def test_a_tiff_is_turned_once(packet, orientation):
    """By its tag, which programs set to 1 when they turn the pixels, while what XMP data say may be left as it was."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700] = b"<x tiff:Orientation=" + packet if packet.startswith(b'"') else b"<tiff:Orientation" + packet
    if orientation is not None:
        tags[0x0112] = orientation
    data = toys.save(STORED, "TIFF", tiffinfo=tags)

    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decode(data, Shape(*expected.shape)), expected)


def tiff_that_leads_to(tag, entries):
    """A TIFF whose directory, written anew at its end, leads to another one."""
    data = toys.save(STORED, "TIFF")
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    table = [data[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    end = len(data) + 2 + 12 * (count + 1) + 4
    table.append(struct.pack("<HHII", tag, 4, 1, end))
    first = struct.pack("<H", count + 1) + b"".join(sorted(table, key=lambda one: struct.unpack("<H", one[:2])))
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + first + bytes(4) + directory(entries, end, "<")


FRACTIONS = struct.pack("2I", 6, 1) * 5000
MANY = exif((0x0112, 5, 5000, FRACTIONS), (0x011A, 5, 5000, FRACTIONS), (0x0128, 5, 5000, FRACTIONS))
"""Pillow takes microseconds for each, with the interpreter's lock: a minute for those that fit into a request."""
COSTLY = {
    "JPEG": jpeg(*(segment(b"Exif\0\0" + MANY[at : at + 60_000]) for at in range(0, len(MANY), 60_000))),
    "PNG": written("PNG", MANY),
    "WEBP": written("WEBP", MANY),
    "text": png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n1\n" + MANY.hex().encode()))),
    "TIFF": tiff_that_leads_to(0x8769, [(0x9999, 5, 5000, FRACTIONS)]),
    "TIFF, GPS": tiff_that_leads_to(0x8825, [(2, 5, 5000, FRACTIONS)]),
}
_PARTS = [segment(b"Exif\0\0" + MANY[at : at + 60_000]) for at in range(0, len(MANY), 60_000)]
COSTLY |= {
    f"JPEG behind {name}": jpeg(segment(b"a comment", 0xFE), between, *_PARTS)
    for name, between in [
        ("a filler", b"\xff"),
        ("junk", b"junk"),
        ("a restart", b"\xff\xd0"),
        ("a segment without length", b"\xff\xe2\0\0"),
        ("an extension", b"\xff\xc8"),
    ]
}


@pytest.mark.parametrize("case", COSTLY)
def test_numbers_of_which_there_are_many_are_never_read(case, monkeypatch):
    made = []
    original = TiffImagePlugin.IFDRational.__init__

    def counted(*args):
        made.append(args)
        original(*args)

    monkeypatch.setattr(TiffImagePlugin.IFDRational, "__init__", counted)
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(COSTLY[case])) as image:
        with suppress(OSError):  # it is not a file for libjpeg, but by then it has cost its time
            image.load()
        dict(image.getexif())
    assert len(made) >= 5000  # as Pillow would

    made.clear()
    with suppress(UndecodableImage):
        decode(COSTLY[case], SHAPE)
    assert len(made) < 10
