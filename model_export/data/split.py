"""One split of a data set: decoded images, and what is known of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Decoded images and their labels.

    Attributes:
        images: ``uint8 [N, H, W, C]``, perhaps mapped from a file.
        labels: ``int64 [N]``, positions in the data set's labels.
        names: of the files.
        digests: SHA-256 of the files, in hexadecimal.
        headers: sizes and modes from the file headers, each with the number of files.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    headers: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def pixel_digests(self) -> list[bytes]:
        """Digests of the decoded images, equal if all pixels are; they are kept, as all images are read for them."""
        return [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in self.images]
