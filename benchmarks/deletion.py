"""Do maps point at what matters?

The deletion test (Petsiuk, Das and Saenko, "RISE", 2018, in one step): a fifth of the grid's cells is replaced by the
image's mean colour, where the map of the winning class is highest; and, to judge that by, in random places, where the
image itself varies most (which takes no model), and where the map is lowest. A map means something if the first lowers
the winner's probability more. In brackets, 95 % intervals: of shares by Wilson (1927), of means by the bootstrap (Efron
1979).
"""

from __future__ import annotations

import numpy as np

from app.model import Model
from model_export.figures.metrics import interval

_SHARE = 0.2
_DRAWS = 5
_RESAMPLES = 2000


def maps_of(model: Model, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the maps of every class; ``[classes, branches, h, w]``, and the logits ``[classes]``."""
    outputs, pooled = model.run_with_maps(image[None])
    one = [maps[0] for maps in pooled]
    labels = range(len(model.metadata.labels))
    return np.stack([model.head.maps(model.metadata.branches, one, label) for label in labels]), outputs.logits[0]


def falls(model: Model, batch: np.ndarray) -> dict[str, np.ndarray]:
    """How far the winner's probability falls, ``[N]``, by which fifth is deleted; the first is the map's own."""
    random = np.random.default_rng(0)
    found: dict[str, list[float]] = {"the map's highest": [], "random": [], "most varied": [], "the map's lowest": []}
    for image in batch:
        maps, logits = maps_of(model, image)
        winner = int(logits.argmax())
        heat = maps[winner].sum(0)
        chosen = [heat, variance(image, heat.shape), -heat]
        orders = [np.argsort(-each, axis=None) for each in chosen]
        orders += [random.permutation(heat.size) for _ in range(_DRAWS)]
        changed = np.stack([image, *(without(image, order, heat.shape) for order in orders)])
        before, high, varied, low, *blind = model.run(changed).probabilities[:, winner]
        for name, after in zip(found, (high, np.mean(blind), varied, low), strict=True):
            found[name].append(float(before - after))
    return {name: np.array(each) for name, each in found.items()}


def variance(image: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Variance of the pixels in each cell, all channels added up; ``[h, w]``."""
    pixels = cells(image.shape, grid).ravel()
    count = np.bincount(pixels, minlength=grid[0] * grid[1])
    total = np.zeros(len(count))
    for channel in image.reshape(-1, image.shape[2]).T.astype(float):
        mean = np.bincount(pixels, channel) / count
        total += np.bincount(pixels, channel**2) / count - mean**2
    return total.reshape(grid)


def cells(shape: tuple[int, ...], grid: tuple[int, int]) -> np.ndarray:
    """Number of the cell of each pixel; ``[H, W]``."""
    rows, columns = (np.arange(size) * count // size for size, count in zip(shape, grid, strict=False))
    return rows[:, None] * grid[1] + columns


def without(image: np.ndarray, order: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Replace the first fifth of the grid's cells by the mean colour."""
    whole = np.isin(cells(image.shape, grid), order[: round(_SHARE * len(order))])
    return np.where(whole[..., None], image.mean((0, 1)).astype(np.uint8), image)


def bootstrap(values: np.ndarray) -> tuple[float, float, float]:
    """A mean, and the ends of its interval."""
    drawn = np.random.default_rng(0).choice(values, (_RESAMPLES, len(values))).mean(1)
    return float(values.mean()), *np.percentile(drawn, [2.5, 97.5])


def report(falls: dict[str, np.ndarray]) -> None:
    """Print how the probability changed, and for how many images the map's highest fifth mattered more."""
    print("  a fifth deleted       the probability falls by    the map's highest matters more for")
    first, *_ = falls.values()
    for name, fall in falls.items():
        mean, low, high = bootstrap(fall)
        line = f"    {name:<20}{mean:.3f} [{low:.3f}, {high:.3f}]"
        if fall is not first:
            share = float((first > fall).mean())
            least, most = interval(share, len(fall))
            line += f"        {100 * share:.1f} % [{100 * least:.1f}, {100 * most:.1f}]"
        print(line)
