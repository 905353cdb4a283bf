"""Answers as NumPy arrays in one ``.npz`` file: a third of the size of JSON, and nothing to parse."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from app import problems
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.classification import Classified
    from app.registry.versions import Version


def write(version: Version, classified: Sequence[Classified], *, features: bool) -> bytes:
    """Write the answers for several images; row ``i`` belongs to image ``i``.

    Returns:
        An ``.npz`` file with ``labels`` and ``errors`` (the problem's code, empty where there was none) as text,
        ``probabilities`` and ``logits`` ``float32 [N, classes]``, and, with ``features``, ``features_<branch>``
        ``float32 [N, width]``. The rows of an image that could not be used are NaN.
    """
    metadata = version.model.metadata
    rows = [None if isinstance(one, InvalidRequest) else one.result.row(one.row) for one in classified]
    codes = [problems.kind_of(one).code if isinstance(one, InvalidRequest) else "" for one in classified]
    arrays: dict[str, Any] = {"labels": np.array(metadata.labels), "errors": np.array(codes)}
    arrays["probabilities"] = _stack([row and row.probabilities for row in rows], len(metadata.labels))
    arrays["logits"] = _stack([row and row.logits for row in rows], len(metadata.labels))
    if features:
        for index, branch in enumerate(metadata.branches):
            arrays[branch.output] = _stack([row and row.features[index] for row in rows], branch.width)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _stack(rows: Sequence[Any], width: int) -> Any:
    missing = np.full((1, width), np.nan, np.float32)
    return np.concatenate([missing if row is None else row for row in rows])
