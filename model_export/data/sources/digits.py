"""Handwritten digits, 8×8 (Alpaydin and Kaynak 1998; UCI), as they come with scikit-learn."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from model_export.data.sources.listing import File, Listing


def listing() -> Listing:
    """List the 1,797 digits as PNG files."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  # slow to import

    data = load_digits()

    def png(index: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.rint(data.images[index] * (255 / 16)).astype(np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()

    files = [
        File(f"digit-{index}.png", int(label), lambda index=index: png(index))
        for index, label in enumerate(data.target)
    ]
    labels = tuple(str(label) for label in range(10))
    return Listing("scikit-learn digits", labels, {"train": files}, size=(32, 32), channels=1)
