"""A golden probe: a few small images in the artifact, with the probabilities they got when it was verified.

Replayed when a model is loaded, it tells whether this device, driver and version of ONNX Runtime compute what was
verified at export, before the first request.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.errors import InvalidArtifact

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_LARGEST_BYTES = 4_000_000

Count = Annotated[int, Field(ge=1, le=64)]
Size = Annotated[int, Field(ge=1)]


class Probe(BaseModel):
    """Images of a few pixels, enlarged to the input size by repeating them, and what they were answered with."""

    model_config = ConfigDict(frozen=True, extra="allow")

    shape: tuple[Count, Size, Size, Size]
    """Images, height, width and channels of what is stored."""
    pixels: str
    """``uint8``, compressed (zlib, RFC 1950) and in base64 (RFC 4648)."""
    probabilities: tuple[tuple[float, ...], ...]
    """Per image, one per class."""
    tolerance: float = Field(gt=0, le=1)
    """Largest difference of a probability that still counts as the same."""

    @model_validator(mode="after")
    def _answers_every_image(self) -> Self:
        if len(self.probabilities) != self.shape[0]:
            raise ValueError("a golden probe needs one row of probabilities for each of its images")
        return self

    @classmethod
    def of(cls, images: NDArray[np.uint8], probabilities: NDArray[np.float32], tolerance: float) -> Probe:
        """Write down ``uint8 [n, h, w, C]`` and ``float32 [n, classes]``."""
        pixels = base64.b64encode(zlib.compress(np.ascontiguousarray(images).tobytes(), 9)).decode()
        answers = tuple(tuple(float(f"{value:.6g}") for value in row) for row in probabilities)
        return cls(shape=images.shape, pixels=pixels, probabilities=answers, tolerance=tolerance)

    def batch(self, height: int, width: int) -> NDArray[np.uint8]:
        """Enlarge the images to ``uint8 [n, height, width, C]``.

        Raises:
            InvalidArtifact: The pixels are damaged.
        """
        count, rows, columns, channels = self.shape
        try:
            inflated = zlib.decompressobj().decompress(base64.b64decode(self.pixels, validate=True), _LARGEST_BYTES)
            images = np.frombuffer(inflated, np.uint8).reshape(count, rows, columns, channels)
        except (ValueError, zlib.error):
            raise InvalidArtifact("the pixels of its golden probe are damaged; export it again") from None
        return enlarge(images, height, width)

    def replay(self, answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]], height: int, width: int) -> float:
        """Ask again; ``answer`` gives ``float32 [n, classes]`` for ``uint8 [n, height, width, C]``.

        Returns:
            The largest difference.

        Raises:
            InvalidArtifact: It is more than the tolerance.
        """
        difference = float(np.abs(answer(self.batch(height, width)) - np.array(self.probabilities)).max())
        if not difference <= self.tolerance:  # written so that NaN fails too
            raise InvalidArtifact(
                f"its golden probe is answered with probabilities that differ by {difference:.2g} from those it was "
                f"verified with, more than {self.tolerance:g}; this device or ONNX Runtime does not compute the same"
            )
        return difference

    def described(self) -> dict[str, Any]:
        """Say it without the pixels, which mean nothing to a reader."""
        return self.model_dump(mode="json", exclude={"pixels"})


def enlarge(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Repeat the pixels of ``[n, h, w, C]`` so that they fill ``[n, height, width, C]``."""
    rows = np.arange(height) * images.shape[1] // height
    columns = np.arange(width) * images.shape[2] // width
    return images[:, rows][:, :, columns]
