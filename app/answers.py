"""From a model's outputs to response bodies.

They are plain dictionaries of NumPy values, which :mod:`orjson` writes as they are: floats in the shortest form that
reads back as the same float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app.batching import Answer
from app.errors import InvalidParameter
from app.model import Outputs
from app.repository import Repository, Version

if TYPE_CHECKING:
    from numpy.typing import NDArray


def prediction(
    version: Version, answer: Answer[Outputs], *, top: int | None, features: bool, explain: bool
) -> dict[str, Any]:
    """Fill a :class:`app.schemas.Prediction` from one row of a batch."""
    outputs, row = answer.result, answer.row
    metadata = version.model.metadata
    probabilities = outputs.probabilities[row]
    order = np.argsort(-probabilities, kind="stable")
    body: dict[str, Any] = {
        "model": version.name,
        "version": version.number,
        "label": metadata.labels[order[0]],
        "probability": probabilities[order[0]],
        "probabilities": {metadata.labels[index]: probabilities[index] for index in order[:top]},
    }
    if features:
        body["branches"] = [
            {"name": branch.name, "pooling": branch.pooling, "features": vectors[row]}
            for branch, vectors in zip(metadata.branches, outputs.features, strict=True)
        ]
    if explain:
        body["explanation"] = explanation(version, answer)
    return body


def explanation(version: Version, answer: Answer[Outputs]) -> dict[str, Any]:
    """Fill an :class:`app.schemas.Explanation` from one row of a batch.

    Raises:
        InvalidParameter: The artifact does not carry its head.
    """
    model, outputs, row = version.model, answer.result, answer.row
    if model.head is None:
        raise InvalidParameter(
            f"query parameter 'explain': model {version.name}:{version.number} carries no head to explain its logits "
            "with; export it again with this version"
        )
    contributions = model.head.contributions([vectors[row] for vectors in outputs.features])

    def by_label(values: NDArray[np.float32]) -> dict[str, np.float32]:
        return dict(zip(model.metadata.labels, values, strict=True))

    return {
        "bias": by_label(model.head.bias),
        "logits": by_label(outputs.logits[row]),
        "branches": [
            {"name": branch.name, "contributions": by_label(share)}
            for branch, share in zip(model.metadata.branches, contributions, strict=True)
        ],
    }


def summary(version: Version, repository: Repository) -> dict[str, Any]:
    """Fill a :class:`app.schemas.ModelSummary`."""
    model = version.model
    return {
        "name": version.name,
        "version": version.number,
        "versions": repository.versions(version.name),
        "labels": list(model.metadata.labels),
        "branches": [branch.model_dump() for branch in model.metadata.branches],
        "input": model.shape._asdict(),
        "ready": repository.ready,
        "execution_provider": model.execution_provider,
        "sha256": model.sha256,
    }


def detail(version: Version, repository: Repository) -> dict[str, Any]:
    """Fill a :class:`app.schemas.ModelDetail`: the summary, and everything in the metadata document."""
    return {**version.model.metadata.model_dump(mode="json"), **summary(version, repository)}
