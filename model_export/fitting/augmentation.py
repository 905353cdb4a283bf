"""Light random changes to training images, different in every epoch, on the ``uint8`` batch.

They are applied before the graph, so the exported model knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_SHIFT = 0.08


def augment(batch: NDArray[np.uint8], kind: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """Change a batch ``uint8 [N, H, W, C]`` at random; the input is left as it is.

    Args:
        kind: One of :data:`KINDS`: ``none``; ``shift`` moves each image by up to 8 % of its size; ``photo`` also
            mirrors it; ``aerial`` also turns it, for images without an up and a down.
        random: The source of random numbers.
    """
    for step in KINDS[kind]:
        batch = step(batch, random)
    return batch


def _shift(batch: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    count, height, width = batch.shape[:3]
    dy, dx = round(_LARGEST_SHIFT * height), round(_LARGEST_SHIFT * width)
    padded = np.pad(batch, ((0, 0), (dy, dy), (dx, dx), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    down = random.integers(0, 2 * dy + 1, count)
    right = random.integers(0, 2 * dx + 1, count)
    return np.moveaxis(windows[np.arange(count), down, right], 1, -1)  # (N, C, H, W) -> (N, H, W, C)


def _mirror(batch: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    chosen = random.random(len(batch)) < 0.5
    mirrored = batch.copy(order="C")
    pixels = _pixels(mirrored)
    pixels[chosen] = pixels[chosen, :, ::-1]
    return mirrored


def _turn(batch: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    turns = random.integers(0, 4, len(batch))
    if batch.shape[1] != batch.shape[2]:
        turns = turns // 2 * 2  # half turns alone keep the shape
    turned = batch.copy(order="C")
    pixels = _pixels(turned)
    for quarter in np.unique(turns):
        chosen = turns == quarter
        pixels[chosen] = np.rot90(pixels[chosen], quarter, axes=(1, 2))
    return turned


def _pixels(batch: NDArray[np.uint8]) -> NDArray[np.void]:
    """View ``[N, H, W, C]`` as whole pixels ``[N, H, W]``, which NumPy moves faster than channel after channel."""
    return batch.view(f"V{batch.shape[-1]}")[..., 0]


KINDS: dict[str, tuple[Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]], ...]] = {
    "none": (),
    "shift": (_shift,),
    "photo": (_shift, _mirror),
    "aerial": (_shift, _mirror, _turn),
}
