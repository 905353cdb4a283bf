"""Pixels of any type and number of channels brought to 8 bits, and to another size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops

from app.decoders.tags import Stored
from app.errors import UndecodableImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOOKED_UP = 2  # bytes of an integer of which every value fits into a table
_AT_ONCE = 1_000_000  # values in float64 at a time: a file of less than a megabyte may hold hundreds of millions


def to_uint8(array: NDArray[Any], value_range: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Map pixel values onto 0..255 linearly, clipping what lies outside ``value_range``.

    Raises:
        UndecodableImage: Signed or floating-point values without a ``value_range``, or values that are not finite.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if value_range is None:
        if array.dtype.kind != "u":
            raise UndecodableImage(
                f"pixels of type {array.dtype} have no natural range, and none is set for the model; "
                "send 8- or 16-bit unsigned values"
            )
        value_range = (0, np.iinfo(array.dtype).max)
    low, high = value_range
    if array.dtype.itemsize <= _LOOKED_UP and array.dtype.kind in "ui":
        unsigned = np.dtype(f"u{array.dtype.itemsize}")
        every = np.arange(np.iinfo(unsigned).max + 1, dtype=unsigned)
        table = _scale(every.view(array.dtype), low, high)
        pixels: NDArray[np.uint8] = table[array.view(unsigned)]
        return pixels
    result = np.empty(array.shape, np.uint8)
    rows = max(1, _AT_ONCE // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        part = array[start : start + rows]
        if not np.isfinite(part).all():
            raise UndecodableImage("the image holds values that are not finite; replace them before sending")
        result[start : start + rows] = _scale(part, low, high)
    return result


def grey(image: Image.Image, value_range: tuple[float, float] | None, stored: Stored) -> Image.Image:
    """Bring a grey image to 8 bits, with alpha if it names a transparent value.

    Args:
        image: Of whole or floating-point numbers.
        value_range: As above.
        stored: How its values are stored.
    """
    values = np.asarray(image)
    if stored.dtype is not None:
        values = values.view(stored.dtype)
    scaled = Image.fromarray(to_uint8(values, value_range))
    if stored.white_is_zero:
        scaled = ImageChops.invert(scaled)
    if (clear := image.info.get("transparency")) is not None:
        scaled.putalpha(Image.fromarray(values != clear))
    return scaled


def _scale(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bring ``uint8 [h, w, C]`` to another height and width, band by band, with the filter that every image gets."""
    if image.shape[:2] == (height, width):
        return image
    planes = (Image.fromarray(np.ascontiguousarray(image[:, :, c])) for c in range(image.shape[2]))
    resized = [np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(resized, axis=-1)  # (H, W, C)
