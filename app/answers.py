"""From a model's outputs to response bodies.

They are plain dictionaries of NumPy values, which :mod:`orjson` writes as they are: floats in the shortest form that
reads back as the same float32.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from app.batching import Answer
from app.errors import InvalidParameter
from app.explanation import votes
from app.model import Model
from app.outputs import Explained, Outputs
from app.registry.versions import Card, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Features = bool | Literal["base64"]
"""Whether an answer holds the pooled features, and whether not as numbers but as the base64 of their bytes."""


def prediction(
    version: Version,
    answer: Answer[Outputs],
    *,
    top: int | None,
    features: Features,
    explain: bool,
    min_confidence: float,
) -> dict[str, Any]:
    """Fill a :class:`app.schemas.Prediction` from one row of a batch."""
    outputs, row = answer.result, answer.row
    metadata = version.model.metadata
    probabilities = list(outputs.probabilities[row])  # float32 scalars, which are written in their shortest form
    order = sorted(range(len(probabilities)), key=outputs.probabilities[row].tolist().__getitem__, reverse=True)
    body: dict[str, Any] = {
        "model": version.name,
        "version": version.number,
        "label": metadata.labels[order[0]],
        "probability": probabilities[order[0]],
        "probabilities": {metadata.labels[index]: probabilities[index] for index in order[:top]},
    }
    if min_confidence:
        body["uncertain"] = bool(probabilities[order[0]] < min_confidence)
        if body["uncertain"]:
            body["label"] = None
    if outputs.familiarity is not None:
        joint, *each = outputs.familiarity[row]
        names = (branch.name for branch in metadata.branches)
        body["familiarity"] = {"joint": joint, "branches": dict(zip(names, each, strict=True))}
    if features:
        pooled: list[Any] = [vectors[row] for vectors in outputs.features]
        if features == "base64":
            pooled = [b64encode(vector.astype("<f4").tobytes()).decode() for vector in pooled]
        body["branches"] = [
            {"name": branch.name, "pooling": branch.pooling, "features": vector}
            for branch, vector in zip(metadata.branches, pooled, strict=True)
        ]
    if explain:
        body["explanation"] = explanation(version, outputs, row)
    return body


def explanation(version: Version, outputs: Outputs, row: int) -> dict[str, Any]:
    """Fill an :class:`app.schemas.Explanation` from one row of a batch.

    Raises:
        InvalidParameter: The artifact carries no head.
    """
    labels, branches = version.model.metadata.labels, version.model.metadata.branches
    head = version.model.require_head()
    contributions = head.contributions([vectors[row] for vectors in outputs.features])
    voted = votes(head.bias, contributions)
    winner = outputs.winner(row)
    alone, without = ([labels[index] for index in chosen] for chosen in (voted.alone, voted.without))

    def by_label(values: NDArray[np.float32]) -> dict[str, np.float32]:
        return dict(zip(labels, values, strict=True))

    return {
        "bias": by_label(head.bias),
        "logits": by_label(outputs.logits[row]),
        "branches": [
            {"name": branch.name, "contributions": by_label(share), "alone": own, "without": others}
            for branch, share, own, others in zip(branches, contributions, alone, without, strict=True)
        ],
        "agreement": [branch.name for branch, own in zip(branches, voted.alone, strict=True) if own == winner],
    }


class Asked(NamedTuple):
    """What of an image is to be explained."""

    label: int | None
    """None for the most probable one."""
    branches: Sequence[int]

    @classmethod
    def of(cls, model: Model | Card, *, label: str | None, branch: str | None) -> Asked:
        """Look up a label, or None for the most probable one, and a branch, or None for all; it need not be loaded.

        Raises:
            InvalidParameter: The model has no such label or branch, or carries no maps.
        """
        model.require_maps()
        labels, names = model.metadata.labels, [one.name for one in model.metadata.branches]
        index = None if label is None else _position("label", label, labels)
        return cls(index, range(len(names)) if branch is None else [_position("branch", branch, names)])


def maps(version: Version, explained: Explained, asked: Asked) -> dict[str, Any]:
    """Fill an :class:`app.schemas.Maps` for one image.

    Raises:
        InvalidParameter: The artifact carries no head.
    """
    outputs, pooled = explained
    labels, branches = version.model.metadata.labels, version.model.metadata.branches
    head = version.model.require_head()
    index = outputs.winner(0) if asked.label is None else asked.label
    chosen = list(asked.branches)
    contributions = head.contributions([vectors[0] for vectors in outputs.features])
    found = head.maps(branches, [one[0] for one in pooled], index)[chosen]
    return {
        "model": version.name,
        "version": version.number,
        "sha256": version.model.sha256,
        "input": version.model.shape._asdict(),
        "grid": {"height": found.shape[1], "width": found.shape[2]},
        "label": labels[index],
        "probability": outputs.probabilities[0, index],
        "logit": outputs.logits[0, index],
        "bias": head.bias[index],
        "branches": [{"name": branches[i].name, "contribution": contributions[i, index]} for i in chosen],
        "maps": found,
    }


def _position(parameter: str, value: str, among: Sequence[str]) -> int:
    if value not in among:
        there = ", ".join(among)
        raise InvalidParameter(f"query parameter {parameter!r}: there is no {value[:80]!r}; there are {there}")
    return among.index(value)
