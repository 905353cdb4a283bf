"""Draws a map over the image it explains, as a PNG with a legend, beside the image itself.

The colours are the middle of Crameri's diverging map "vik", which can be told apart with any kind of colour vision
(Crameri, Shephard and Heron, "The misuse of colour in science communication", 2020): blue speaks against the class,
brown for it. Each cell of the map is drawn in its colour, without smoothing; the image is visible as a relief so faint
that the colours still match the legend.
"""

from __future__ import annotations

import io
import math
import string
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin

if TYPE_CHECKING:
    from collections.abc import Sequence

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

_LONGEST_SIDE = 384
_MARGIN = 16
_BAR, _TICK = 14, 6
_RELIEF = 12  # levels, of 255, by which the image lightens or darkens the colours: visible, but not misleading
_FLAT = 127.5  # the grey that leaves colours as they are
_PAPER, _INK = (255, 255, 255), (32, 32, 32)
_LINE = 16
_SMALL, _LARGE = 12, 14  # sizes of the text
_LETTERS = frozenset(string.ascii_letters + string.digits + string.punctuation + " ©«°±·»‘’“”‹›⁄")
"""What Pillow's own font can draw, but for signs that decompose into these."""
_SPELLED = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "Æ": "Ae", "æ": "ae", "Œ": "Oe", "œ": "oe", "Þ": "Th", "þ": "th"}
    | dict(zip("ØøŁłĐđÐðı–—", "OoLlDdDdi--", strict=True))
)
"""Letters and dashes that Unicode does not decompose."""


def picture(maps: dict[str, Any], image: NDArray[np.uint8], labels: Sequence[str]) -> bytes:
    """Draw the branches of an :class:`app.schemas.Maps` together, below the sum of their contributions.

    Args:
        maps: Of one label.
        image: ``uint8 [H, W, C]``, as the model saw it.
        labels: All of the model, in its order.

    Returns:
        A PNG file, which also contains the sum as text, for people who cannot see it, with the label as it is.
    """
    together = maps["maps"].sum(0)
    largest = float(np.abs(together).max())
    height, width = image.shape[:2]
    factor = max(1, round(_LONGEST_SIDE / max(height, width)))
    size = (width * factor, height * factor)
    figures, terms = caption(maps)
    title = f"{drawable(maps['label'], labels)[:24]}: {figures}"
    scale = f"colour: logit per cell, {together.shape[0]} by {together.shape[1]} cells"
    ticks = (f"+{largest:.2g} for", "0", f"-{largest:.2g} against")
    small, large = ImageFont.load_default(_SMALL), ImageFont.load_default(_LARGE)
    legend = _BAR + _TICK + math.ceil(max(small.getlength(text) for text in ticks))
    inside = max(2 * size[0] + 2 * _MARGIN + legend, math.ceil(max(map(large.getlength, (title, scale)))))
    lines = [*_wrap(terms, inside), scale]
    top = 2 * _MARGIN + 8 + _LINE * len(lines)
    canvas = Image.new("RGB", (inside + 2 * _MARGIN, size[1] + top + _MARGIN), _PAPER)
    canvas.paste(seen(image, size), (_MARGIN, top))
    canvas.paste(blend(background(image, size), together, largest), (2 * _MARGIN + size[0], top))
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, _MARGIN // 2 + 2), title, _INK, large)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, 2 * _MARGIN + _LINE * number), line, _INK, small)
    _legend(canvas, pen, (3 * _MARGIN + 2 * size[0], top), size[1], ticks)
    said, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    said.add_itxt("Description", f"{maps['label']}: {' '.join([figures, *terms])}; {scale}")
    canvas.save(buffer, "PNG", pnginfo=said)
    return buffer.getvalue()


def drawable(label: str, labels: Sequence[str]) -> str:
    """Write a label in letters that can be drawn: without accents, or else as its number in ``labels``, from 0.

    The only font that comes with the service, Pillow's own, has few letters more than ASCII and draws a box for every
    other; a font of the machine would make pictures that differ from one machine to the next. A label is numbered as
    soon as one letter is missing, or if another would be drawn the same: it could be taken for another class.
    """
    plain = _plain(label)
    is_clear = plain and _LETTERS.issuperset(plain) and [_plain(other) for other in labels].count(plain) == 1
    return plain if is_clear else f"class {labels.index(label)}"


def _plain(label: str) -> str:
    apart = unicodedata.normalize("NFKD", label)
    return "".join(char for char in apart if not unicodedata.combining(char)).translate(_SPELLED).strip()


def caption(maps: dict[str, Any]) -> tuple[str, list[str]]:
    """Say the figures of the label, and the terms that add up to its logit: the bias, what is drawn, and the rest."""
    drawn = {branch["name"]: float(branch["contribution"]) for branch in maps["branches"]}
    terms = {"bias": float(maps["bias"]), **drawn}
    figures = f"probability {maps['probability']:.3f}, logit {_signed(maps['logit'])}"
    rest = float(maps["logit"]) - sum(terms.values())
    if round(rest, 2):
        terms["other branches"] = rest
        figures += f"; drawn: {', '.join(drawn)}"
    first, *more = [f"{_signed(value)} {name}" for name, value in terms.items()]
    return figures, [f"= {first}", *more]


def _signed(value: float) -> str:
    return f"{value:+z.2f}"


def _wrap(terms: list[str], width: int) -> list[str]:
    """Break the terms into lines of at most this many pixels."""
    font = ImageFont.load_default(_SMALL)
    lines = terms[:1]
    for term in terms[1:]:
        longer = f"{lines[-1]}   {term}"
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(term)
    return lines


def seen(image: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Show ``uint8 [H, W, C]`` pixel by pixel: in colour if there are three channels, else in grey."""
    drawn = Image.fromarray(image) if image.shape[2] == 3 else background(image, size)
    return drawn.resize(size, Image.Resampling.NEAREST)


def background(image: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Make a grey image from ``uint8 [H, W, C]`` with any number of channels, and raise its contrast."""
    grey = (
        Image.fromarray(image).convert("L") if image.shape[2] == 3 else Image.fromarray(image.mean(2).astype(np.uint8))
    )
    return ImageOps.autocontrast(grey, cutoff=1).resize(size, Image.Resampling.NEAREST)


def blend(grey: Image.Image, values: NDArray[np.float32], largest: float) -> Image.Image:
    """Draw each value as a cell in its colour, with a grey image as a faint relief on it."""
    relative = np.clip(values / (largest or 1), -1, 1).astype(np.float32)
    cells = np.asarray(Image.fromarray(relative).resize(grey.size, Image.Resampling.NEAREST))
    relief = _RELIEF * (np.asarray(grey, np.float32) / _FLAT - 1)
    return Image.fromarray(np.clip(colours(cells) + relief[..., None], 0, 255).round().astype(np.uint8))


def colours(relative: NDArray[Any]) -> NDArray[np.float64]:
    """Look up the colours of values from -1 to 1; returns ``[..., 3]``."""
    table = np.array(COLOURS, np.float32)
    places = np.linspace(-1, 1, len(table))
    return np.stack([np.interp(relative, places, channel) for channel in table.T], axis=-1)


def _legend(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, corner: tuple[int, int], height: int, ticks: tuple[str, ...]
) -> None:
    """Draw the scale: zero in the middle, both ends equally far from it."""
    left, top = corner
    ramp = colours(np.linspace(1, -1, height)[:, None].repeat(_BAR, 1))
    canvas.paste(Image.fromarray(ramp.round().astype(np.uint8)), corner)
    font = ImageFont.load_default(_SMALL)
    for place, text in zip((0.0, 0.5, 1.0), ticks, strict=True):
        anchor = "l" + "tmb"[int(place * 2)]
        pen.text((left + _BAR + _TICK, top + place * (height - 1)), text, _INK, font, anchor=anchor)
