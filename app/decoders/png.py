"""What has to be checked and corrected where Pillow reads a PNG.

It reads the chunks one by one, in Python, and holds the interpreter lock meanwhile. The transparent value or
colour that a file names, it compares with pixels of another number of bits.

PNG specification (Third Edition), section 5: a chunk is length, type, data and checksum, twelve bytes at least. Section
11.3.1.1: the chunk tRNS names what is transparent with as many bits as the pixels are stored with, and all others are
masked.
"""

from __future__ import annotations

from PIL import Image

from app.decoders.formats import UNCHECKED_BYTES
from app.errors import UndecodableImage

_SIGNATURE_BYTES = 8
_BASE_LIMIT = 10_000
_BYTES_PER_MORE = 1024
"""For each of so many bytes, one more chunk is allowed; encoders make chunks of 8 kB or more, or one for each row."""
_HEADER, _DEPTH = b"IHDR", 12
"""The chunk that says how many bits a sample has, and how many bytes after the beginning of its name."""


def check(data: bytes) -> None:
    """Refuse a PNG with more chunks than encoders make, before Pillow reads it.

    Raises:
        UndecodableImage: There are too many.
    """
    if len(data) <= UNCHECKED_BYTES:
        return
    position, left = _SIGNATURE_BYTES, _BASE_LIMIT + len(data) // _BYTES_PER_MORE
    while position < len(data) and data[position + 4 : position + 8] != b"IEND":  # what follows is not read
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        left -= 1
        if left < 0:
            raise UndecodableImage("the PNG file has too many parts; save it again")


def correct_transparency(image: Image.Image, data: bytes) -> None:
    """Bring the transparent value of a PNG that was loaded to the 8 bits that Pillow brings its pixels to.

    Raises:
        UndecodableImage: It is a colour of 16 bits; of the pixels, Pillow keeps 8 alone.
    """
    if "transparency" not in image.info:
        return
    depth = data[data.index(_HEADER) + _DEPTH]
    if image.mode == "L":  # of the 16 bits that are there, the lowest count, as many as a pixel has
        image.info["transparency"] = image.info["transparency"] % 2**depth * (255 // (2**depth - 1))
    if image.mode == "RGB" and depth > 8:
        raise UndecodableImage("the PNG file has 16 bits and a transparent colour; save it with alpha, or with 8 bits")
