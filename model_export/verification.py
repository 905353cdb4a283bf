"""Checks that a converted model gives the same answers as the trained one, in the service's own loader."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from app import images, memory
from app.model import Model
from model_export.errors import ParityFailure

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

TOLERANCE = 1e-4

_BATCHES = (1, 7, 32)


@dataclass(frozen=True)
class Difference:
    """The absolute differences between Keras and ONNX in one output at one batch size."""

    output: str
    batch: int
    largest: float
    scale: float = 1.0
    """The largest absolute value of that output, at least 1: rounding errors grow with it."""
    median: float | None = None
    """The median of the differences; None in older artifacts."""

    @property
    def share(self) -> float:
        """The largest difference, as a share of the scale."""
        return self.largest / self.scale

    @property
    def median_share(self) -> float | None:
        """The median difference, as a share of the scale; None in older artifacts."""
        return None if self.median is None else self.median / self.scale


def verify(path: Path, reference: keras.Model, sample: tuple[bytes, ...]) -> list[Difference]:
    """Compare a staged artifact with the Keras model it was made from, at batch 1, 7 and 32, or fewer large images.

    Image bytes go in: they are decoded by :mod:`app.images` and classified by :class:`app.model.Model`, as a request
    would be. The sample is filled up with noise, which activates parts of the network that real images may not.

    Args:
        path: The staged ``model.onnx``.
        reference: From ``uint8 [N, H, W, C]`` to a dictionary of all named outputs.
        sample: Encoded images.

    Raises:
        ParityFailure: An output differs by more than 1e-4 (of its largest value, where that is more than 1), or the
            most probable class differs.
        InvalidArtifact: The server would refuse the file.
    """
    differences = compare(Model.load(path.read_bytes(), device="cpu"), reference, sample, same_class=True)
    _judge(differences)
    return differences


def compare(
    model: Model, reference: keras.Model, sample: tuple[bytes, ...], *, same_class: bool = False
) -> list[Difference]:
    """Measure the differences without judging them; with ``same_class``, the most probable class must be the same.

    Without it, the sample is repeated where it is too small: rounding is as coarse as images of its kind need, and what
    it does to noise says nothing.

    Raises:
        ParityFailure: It is not the same.
    """
    value_range = model.metadata.recipe.value_range
    sizes = batches(model.shape)
    missing = max(_BATCHES) - len(sample)
    more = noise(model.shape, missing) if same_class or not sample else islice(cycle(sample), max(0, missing))
    encoded = [*sample, *more]
    decoded = np.stack([images.decode(data, model.shape, value_range=value_range) for data in encoded])  # (N, H, W, C)
    windows = [_window(decoded, size) for size in sizes]
    return [difference for batch in windows for difference in _compare(model, reference, batch, same_class=same_class)]


def batches(shape: images.Shape) -> list[int]:
    """List the batch sizes at which images of this size are compared: one, and at least one larger one."""
    largest = max(2, memory.images_at_once(max(_BATCHES), shape.height, shape.width))
    return sorted({min(size, largest) for size in _BATCHES})


def noise(shape: images.Shape, count: int) -> list[bytes]:
    """Make encoded random images that a model of this shape reads."""
    random = np.random.default_rng(0)
    return [_encode(random.integers(0, 256, shape, np.uint8)) for _ in range(count)]


def _encode(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    if image.shape[-1] in (1, 3):
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "PNG")
    else:
        np.save(buffer, image)
    return buffer.getvalue()


def _window(decoded: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Take images from the middle, so that no batch size sees only the first class."""
    start = (len(decoded) - size) // 2
    return decoded[start : start + size]


def _compare(model: Model, reference: keras.Model, batch: NDArray[np.uint8], *, same_class: bool) -> list[Difference]:
    expected = reference.predict_on_batch(batch)  # called directly, it would keep what every layer makes
    answered = everything(model, batch)
    if same_class and not np.array_equal(expected["probabilities"].argmax(1), answered["probabilities"].argmax(1)):
        raise ParityFailure(f"Keras and ONNX disagree about the most probable class at batch {len(batch)}")
    return [_difference(name, expected[name], value) for name, value in answered.items()]


def _difference(output: str, expected: NDArray[np.float32], answered: NDArray[np.float32]) -> Difference:
    apart = np.abs(expected - answered)
    scale = max(1.0, float(np.abs(expected).max()))
    return Difference(output, len(expected), float(apart.max()), scale, float(np.median(apart)))


def everything(model: Model, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Compute every output, by its name in the graph."""
    outputs, maps = model.run_with_maps(batch) if model.has_maps else (model.run(batch), ())
    branches = model.metadata.branches
    return {
        "probabilities": outputs.probabilities,
        "logits": outputs.logits,
        **{branch.output: vector for branch, vector in zip(branches, outputs.features, strict=True)},
        **{branch.maps_output: pooled for branch, pooled in zip(branches, maps, strict=False)},
    }


def _judge(differences: list[Difference]) -> None:
    worst = max(differences, key=lambda d: math.inf if math.isnan(d.largest) else d.share)
    if not worst.largest <= TOLERANCE * worst.scale:  # written so that NaN fails too
        raise ParityFailure(
            f"Keras and ONNX differ by {worst.largest:.2g} in {worst.output!r} at batch {worst.batch}, "
            f"more than {TOLERANCE * worst.scale:.2g}; nothing was published"
        )
