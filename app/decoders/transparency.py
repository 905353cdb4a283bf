"""The transparent value or colour that a PNG names, where Pillow compares it with pixels of another number of bits.

PNG specification (Third Edition), section 11.3.1.1: the chunk tRNS names it with as many bits as the pixels are stored
with, and all others are masked.
"""

from __future__ import annotations

from PIL import Image

from app.errors import UndecodableImage

_HEADER, _DEPTH = b"IHDR", 12
"""The chunk that says how many bits a sample has, and how many bytes after the beginning of its name."""


def correct(image: Image.Image, data: bytes) -> None:
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
