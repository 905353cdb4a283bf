"""JPEG files of a given size, with structure at every scale as photographs have it, the same at every run."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_SEED = 5


def jpeg(width: int, height: int, kilobytes: float) -> bytes:
    """Make an image and save it with the quality that comes nearest to that size."""
    image = _image(width, height)
    files = [_save(image, quality) for quality in range(20, 99, 3)]
    return min(files, key=lambda data: abs(len(data) - 1000 * kilobytes))


def _image(width: int, height: int) -> Image.Image:
    """Add up noise of halving sizes and strengths."""
    random = np.random.default_rng(_SEED)
    total = np.zeros((height, width, 3), np.float32)
    side = 2
    while side < min(width, height):
        noise = Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32) / side
        side *= 2
    total -= total.min()
    return Image.fromarray((255 * total / total.max()).astype(np.uint8))


def _save(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
