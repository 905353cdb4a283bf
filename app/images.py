"""From bytes to ``uint8 [H, W, C]``: the only preprocessing there is.

Training, verification and serving all call :func:`decode`, so they cannot disagree. Whoever changes what it
returns must change ``app.metadata.RECIPE`` and export the models again.

Pillow opens an image lazily: what is checked before ``load`` comes from the header alone, so an image of too
many pixels is refused before any of them is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

# Imported so that these formats are registered before the first request, and no others need to be.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from app.decoders import bands, bmp, exif, formats, gif, jpeg, png, quiet, scaling, strips, tags
from app.errors import InvalidRequest, TooManyPixels, UndecodableImage, WrongChannels

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PIXELS = 50_000_000
_LARGE = 1_000_000  # smaller images need not wait for room

quiet.hush()
Image.preinit()  # or the first image would import what it needs, which fails where no file can be opened

Room = Callable[[int], AbstractContextManager[None]]

_PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_TAKEN_FOR_ANOTHER = b"MM\0+"  # a big-endian BigTIFF, whose header Pillow reads as that of a TIFF
_WHITE = (255, 255, 255, 255)
_CHECKS = {"JPEG": jpeg.check, "PNG": png.check, "GIF": gif.check, "BMP": bmp.check}
"""By format, what Pillow's reader needs checked first; TIFF, which has two readers, is checked before the choice."""
_FIRST_TO = {"La": "LA", "LAB": "RGB"}
"""Modes, of TIFF files alone, that Pillow converts to one other only."""


class Shape(NamedTuple):
    """Size of the images a model reads."""

    height: int
    width: int
    channels: int


def decode(
    data: bytes,
    shape: Shape,
    *,
    media_type: str | None = None,
    value_range: tuple[float, float] | None = None,
    max_pixels: int = MAX_PIXELS,
    room: Room = lambda _: nullcontext(),
) -> NDArray[np.uint8]:
    """Decode one image and bring it to the size a model reads.

    Args:
        data: The bytes of a JPEG, PNG, WebP, BMP, GIF or TIFF file (first frame), or of a ``.npy`` array
            ``[H, W, C]``, which all models read. Models of 1 and 3 channels read all of the files, as grey and as
            colour. All other models, and those with a ``value_range`` unless the file is grey, read TIFF band by band
            as stored. Of the other formats, those other models read none, except that 4 channels (RGBA) read all.
        shape: Height, width and channels to return.
        media_type: What the sender declared; None or ``application/octet-stream`` when unknown.
        value_range: Values of more than 8 bits that become 0 and 255; None for the full range of their type.
        max_pixels: Largest height times width that is decoded.
        room: Waited for, with the number of pixels, before a large image is decoded.

    Returns:
        ``uint8 [H, W, C]``, perhaps read-only.

    Raises:
        EmptyFile, UnsupportedMediaType, UndecodableImage, TooManyPixels, WrongChannels: see their texts.
    """
    kind = formats.recognise(data, media_type)
    try:
        return _read(data, kind, shape, value_range, max_pixels, room=room)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooManyPixels(f"the image has more pixels than the limit of {max_pixels:,}; send a smaller one") from None
    except InvalidRequest:
        raise
    except MemoryError:
        raise UndecodableImage(f"there is not enough memory to decode the {kind} file; send a smaller one") from None
    except Exception as error:  # noqa: BLE001  # a damaged file can make a decoder fail in any way
        raise UndecodableImage(f"the {kind} file is damaged or incomplete{_reason(error)}; save it again") from None


def _read(
    data: bytes, kind: str, shape: Shape, value_range: tuple[float, float] | None, max_pixels: int, *, room: Room
) -> NDArray[np.uint8]:
    """Choose who reads the file: NumPy, tifffile or Pillow."""
    if kind == "NPY":
        array = bands.read_npy(data, shape.channels, value_range, max_pixels)
        return scaling.resize(array, shape.height, shape.width)
    if kind == "TIFF":
        strips.check(data)
    # Of several samples of more than 8 bits, Pillow keeps 8.
    exactly = value_range is not None and kind == "TIFF" and not bands.is_grey(data, shape.channels)
    if kind == "TIFF" and (shape.channels not in (1, 3) or exactly):
        with room(max_pixels):  # what a TIFF file takes is known only to who reads it
            array = bands.read_tiff(data, shape.channels, value_range, max_pixels)
        return scaling.resize(array, shape.height, shape.width)
    if shape.channels not in _PILLOW_MODES:
        raise WrongChannels(
            f"the model reads {shape.channels} channels and a {kind} file cannot carry them; "
            "send a multi-band TIFF or a .npy array [H, W, C]"
        )
    return _decode_with_pillow(data, kind, shape, value_range, max_pixels, room=room)


def _decode_with_pillow(
    data: bytes, kind: str, shape: Shape, value_range: tuple[float, float] | None, max_pixels: int, *, room: Room
) -> NDArray[np.uint8]:
    mode = _PILLOW_MODES[shape.channels]
    if kind in _CHECKS:
        _CHECKS[kind](data)
    file, hidden = exif.hidden(data, kind)
    with _open(file, data, kind) as image:
        if image.width * image.height > max_pixels:
            raise TooManyPixels(
                f"the image has {image.width} × {image.height} pixels, more than the limit of {max_pixels:,}; "
                "send a smaller one"
            )
        if kind == "TIFF":
            tags.check(image, max_pixels, value_range)
        if kind == "JPEG":
            jpeg.check_scans(data, image.width * image.height, max_pixels)
        # The smallest DCT scale that still leaves at least twice the model's size in both directions,
        # whichever way the image is turned: for a 12-megapixel photo a fraction of the decoding time.
        side = 2 * max(shape.height, shape.width)
        image.draft(None, (side, side))
        size = image.width * image.height
        with room(size) if size > _LARGE else nullcontext():
            image.load()
            if kind == "PNG":
                png.correct_transparency(image, data)
            pixels = _to_mode(exif.upright(image, hidden), mode, value_range, tags.stored(image))
            pixels = pixels.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    return np.asarray(pixels).reshape(shape)  # (H, W, C)


def _open(file: io.BytesIO, data: bytes, kind: str) -> Image.Image:
    """Open a file with Pillow; a TIFF that it does not know may be a sound one of many bands."""
    try:
        if not data.startswith(_TAKEN_FOR_ANOTHER):
            return Image.open(file, formats=(kind,))
    except UnidentifiedImageError:
        if kind != "TIFF":
            raise
    raise bands.unread(data)


def _to_mode(
    image: Image.Image, mode: str, value_range: tuple[float, float] | None, stored: tags.Stored
) -> Image.Image:
    """Convert to ``L``, ``RGB`` or ``RGBA``: 16 bits are scaled, not clipped; alpha is laid over white."""
    if stored.dtype is not None or image.mode.startswith(("I", "F")):
        image = scaling.grey(image, value_range, stored)
    if image.mode in _FIRST_TO:
        image = image.convert(_FIRST_TO[image.mode])
    if image.has_transparency_data and mode != "RGBA":
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image if image.mode == mode else image.convert(mode)


def _reason(error: BaseException) -> str:
    """First line of what the decoder said, in brackets, unless it tells of objects or paths or steers a terminal."""
    text = str(error).partition("\n")[0]
    return f" ({text[:120]})" if text and text.isprintable() and "<" not in text and "/" not in text else ""
