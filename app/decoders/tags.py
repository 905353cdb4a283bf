"""What the tags of a TIFF say and Pillow ignores.

The number of bands, their type, and whether the lowest value is white.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from app.errors import TooManyPixels, UndecodableImage, WrongChannels

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLES_PER_PIXEL, _SAMPLE_FORMAT = 258, 262, 277, 339
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_UNSIGNED, _SIGNED = 1, 2  # values of the tag SampleFormat
_WHITE_IS_ZERO = 0  # value of the tag PhotometricInterpretation
_UNREAD = "webp"
"""The compression that Pillow knows by name, while the libtiff within it cannot read it and would call it damaged."""
_BYTE = 8
_FULL = (1, 8, 16, 32, 64)
"""Bits of the types in which values are read."""
_TYPES: dict[tuple[int, int], np.dtype] = {(8, _SIGNED): np.dtype(np.int8), (32, _UNSIGNED): np.dtype(np.uint32)}
"""By bits and format, the grey values that Pillow takes for others of that size."""


def check(image: Image.Image, max_pixels: int, value_range: tuple[float, float] | None) -> None:
    """Refuse a TIFF of which Pillow would silently read the first band alone, or whose tiles are bombs.

    Raises:
        TooManyPixels, UndecodableImage, WrongChannels: See their texts.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]  # a TIFF image has it
    samples = tags.get(_SAMPLES_PER_PIXEL, 1)
    if image.info.get("compression") == _UNREAD:
        raise unread_compression(_UNREAD.upper())
    if tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_LENGTH, 0) > max_pixels:
        raise TooManyPixels(f"the TIFF has tiles of more than {max_pixels:,} pixels; save it in strips")
    if samples != len(image.getbands()):
        raise neither_grey_nor_colour(f"{samples} bands")
    if (bits := tags.get(_BITS_PER_SAMPLE, (1,))[0]) > _BYTE:
        check_bits(bits, value_range)


def unread_compression(name: str) -> UndecodableImage:
    """Refuse a TIFF whose pixels are packed in a way that is not read."""
    return UndecodableImage(f"TIFF compression {name} is not read; save it with LZW or deflate")


def check_bits(bits: int, value_range: tuple[float, float] | None) -> None:
    """Refuse values that do not fill the type in which they are read, unless it is known how large they may be.

    Raises:
        UndecodableImage: They are of so many bits.
    """
    if bits in _FULL or (bits > _BYTE and value_range is not None):
        return
    why = ", and no range of values is set for the model" if bits > _BYTE else ""
    raise UndecodableImage(f"the TIFF has pixels of {bits} bits{why}; save it with 8 or 16, over their full range")


def neither_grey_nor_colour(what: str) -> WrongChannels:
    """Refuse a TIFF that only models of other channels read."""
    return WrongChannels(
        f"the TIFF has {what} in a layout that is not grey or colour; "
        "send a grey or RGB image, or use a model that reads that many bands"
    )


class Stored(NamedTuple):
    """How the values of an image are stored, where Pillow leaves that out."""

    dtype: np.dtype | None = None
    """Their type if Pillow takes them for others of that size."""
    white_is_zero: bool = False
    """Whether the lowest value is white; of images of up to 8 bits, Pillow has turned them round itself."""


def stored(image: Image.Image) -> Stored:
    """Find out how the values of a grey TIFF are stored; of any other image, Pillow knows."""
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or len(image.getbands()) > 1:
        return Stored()
    kind = tags.get(_BITS_PER_SAMPLE, (1,))[0], tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0]
    return Stored(_TYPES.get(kind), tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
