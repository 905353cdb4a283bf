"""Draws a map over the image it explains, as a PNG with a legend.

The colours are the middle of Crameri's diverging map "vik", which is perceptually uniform and can be told apart with
any kind of colour vision (Crameri, Shephard and Heron, "The misuse of colour in science communication", 2020): blue
speaks against the class, brown for it, and where there is nothing to say the image shows, in grey.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOURS = (
    (2, 58, 123),
    (4, 79, 136),
    (18, 100, 150),
    (48, 125, 166),
    (86, 151, 184),
    (127, 177, 202),
    (167, 202, 218),
    (207, 224, 232),
    (236, 229, 225),
    (235, 209, 194),
    (225, 184, 160),
    (215, 159, 127),
    (205, 136, 97),
    (195, 114, 67),
    (184, 90, 39),
    (162, 61, 12),
    (135, 36, 6),
)
"""From most negative to most positive, evenly spaced."""

_LONGEST_SIDE = 448
_MARGIN = 16
_BAR = 14
_LEGEND = 96
_DARKEST = 0.4  # the image is drawn in the lighter greys, on which both ends of the colours stand out
_STRONGEST = 0.9
_PAPER, _INK = (255, 255, 255), (32, 32, 32)


def draw(image: NDArray[np.uint8], values: NDArray[np.float32], title: str, largest: float) -> bytes:
    """Draw.

    Args:
        image: ``uint8 [H, W, C]``, as the model saw it.
        values: ``float32 [h, w]``, over the whole image.
        title: One line above it.
        largest: Value that takes the strongest colour; several drawings can so be compared.

    Returns:
        A PNG file.
    """
    height, width = image.shape[:2]
    factor = max(1, round(_LONGEST_SIDE / max(height, width)))
    size = (width * factor, height * factor)
    picture = blend(background(image, size), values, largest)
    top = 2 * _MARGIN + 8
    canvas = Image.new("RGB", (size[0] + _LEGEND + 2 * _MARGIN, size[1] + top + _MARGIN), _PAPER)
    canvas.paste(picture, (_MARGIN, top))
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, _MARGIN // 2 + 2), title, _INK, ImageFont.load_default(14))
    _legend(canvas, pen, (size[0] + 2 * _MARGIN, top), size[1], largest)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def picture(maps: dict[str, Any], image: NDArray[np.uint8]) -> bytes:
    """Draw the branches of an :class:`app.schemas.Maps` together; returns a PNG file."""
    together = maps["maps"].sum(0)
    share = sum(float(branch["contribution"]) for branch in maps["branches"])
    name = maps["branches"][0]["name"] if len(maps["branches"]) == 1 else "all branches"
    return draw(image, together, f"{maps['label'][:24]}  {name} {share:+.2f}", float(np.abs(together).max()))


def background(image: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Make an image in light greys of ``uint8 [H, W, C]``, of whatever number of channels, with its contrast raised."""
    grey = (
        Image.fromarray(image).convert("L") if image.shape[2] == 3 else Image.fromarray(image.mean(2).astype(np.uint8))
    )
    raised = ImageOps.autocontrast(grey, cutoff=1).point(lambda value: 255 * _DARKEST + (1 - _DARKEST) * value)
    return raised.resize(size, Image.Resampling.NEAREST)


def blend(grey: Image.Image, values: NDArray[np.float32], largest: float) -> Image.Image:
    """Lay the colours of the values over a grey image, the stronger the more they cover."""
    enlarged = Image.fromarray(values.astype(np.float32)).resize(grey.size, Image.Resampling.BILINEAR)
    relative = np.clip(np.asarray(enlarged) / (largest or 1), -1, 1)
    cover = (_STRONGEST * np.abs(relative))[..., None]
    mixed = np.asarray(grey)[..., None] * (1 - cover) + colours(relative) * cover
    return Image.fromarray(mixed.astype(np.uint8))


def colours(relative: NDArray[Any]) -> NDArray[np.float64]:
    """Look up the colours of values from -1 to 1; returns ``[..., 3]``."""
    table = np.array(COLOURS, np.float32)
    places = np.linspace(-1, 1, len(table))
    return np.stack([np.interp(relative, places, channel) for channel in table.T], axis=-1)


def _legend(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, corner: tuple[int, int], height: int, largest: float
) -> None:
    """Draw the scale: zero in the middle, both ends equally far from it."""
    left, top = corner
    ramp = np.linspace(1, -1, height, dtype=np.float32)[:, None].repeat(_BAR, 1)
    canvas.paste(blend(Image.new("L", (_BAR, height), 225), ramp, 1), corner)
    font = ImageFont.load_default(12)
    for place, text in ((0.0, f"+{largest:.2g} for"), (0.5, "0"), (1.0, f"-{largest:.2g} against")):
        pen.text((left + _BAR + 6, top + place * (height - 1)), text, _INK, font, anchor="l" + "tmb"[int(place * 2)])
