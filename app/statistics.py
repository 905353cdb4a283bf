"""What an artifact keeps of the features of its training images, as part of its metadata document.

Fitted by the export stage, used by :mod:`app.familiarity`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT: Final = 2
"""Statistics of any other format are left unused."""

Size = Annotated[int, Field(ge=1)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Array(_Document):
    """Numbers in a JSON document, in base64 (RFC 4648)."""

    shape: tuple[Size, ...]
    dtype: Literal["<f2", "<f4"]
    """In the notation of NumPy's array interface."""
    data: str

    @classmethod
    def of(cls, values: NDArray[Any], dtype: Literal["<f2", "<f4"]) -> Array:
        """Write an array down."""
        data = base64.b64encode(values.astype(dtype).tobytes()).decode()
        return cls(shape=values.shape, dtype=dtype, data=data)

    def read(self, *shape: int | None) -> NDArray[np.float64]:
        """Read it back.

        Args:
            shape: What it has to be; None where any size will do.

        Raises:
            ValueError: It is another, or not all numbers are finite.
        """
        if len(shape) != len(self.shape) or any(
            wanted not in (None, found) for wanted, found in zip(shape, self.shape, strict=True)
        ):
            raise ValueError(f"an array has the shape {list(self.shape)}, which does not fit the branches")
        data = base64.b64decode(self.data, validate=True)
        values = np.frombuffer(data, self.dtype).reshape(self.shape).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("an array holds numbers that are not finite")
        return values


class Part(_Document):
    """The covariance of some of the features, and how far held-out images lie.

    The inverse of the covariance of the standardised features is ``identity / residual - factor @ factor.T``.
    """

    residual: float = Field(gt=0, allow_inf_nan=False)
    factor: Array
    """``[features, rank]``."""
    distances: tuple[FiniteFloat, ...] = ()
    """Squared distances which the shares ``levels`` of the held-out images reach; ascending."""


class Statistics(_Document):
    """Where the training images lie in the space of the pooled features, and how far other such images do."""

    format: Literal[2] = FORMAT
    images: int
    """Training images that they were taken from."""
    held_out: Size
    """Other images, with which the distances were calibrated."""
    means: Array
    """``[classes, features]``, the branches one after the other."""
    scale: Array
    """``[features]``: standard deviation within the classes."""
    levels: tuple[float, ...] = Field(min_length=2)
    """Shares of the held-out images, descending from 1."""
    branches: dict[str, Part]
    """By name, in the model's order."""
    joint: tuple[FiniteFloat, ...] = ()
    """Surprise over all branches, see :mod:`app.familiarity`, which the same shares reach; ascending."""

    def described(self) -> dict[str, Any]:
        """Say it without the arrays, which mean nothing to a reader."""
        hidden: Any = {"means": True, "scale": True, "branches": {"__all__": {"factor"}}}
        return self.model_dump(mode="json", exclude=hidden)
