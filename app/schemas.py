"""Response bodies: their schema for the documentation, and the functions that fill them.

Predictions are filled as plain dictionaries of NumPy values, which :mod:`orjson` writes as they are: features in the
shortest form that reads back as the same float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from app.batching import Answer
from app.errors import InvalidParameter
from app.model import Outputs
from app.repository import Repository, Version

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Body):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What was wrong, and what to do.")
    code: str = Field(description="The kind of problem, for programs.")
    request_id: str = Field(description="Names this request in the service's log.")
    error: str = Field(description="The same text as `detail`.")


class BranchFeatures(_Body):
    """What one branch pooled from the image."""

    name: str
    pooling: str
    features: list[float]


class BranchContributions(_Body):
    """One branch's share of every logit."""

    name: str
    contributions: dict[str, float]


class Explanation(_Body):
    """Where the logits come from: for each label, bias and contributions sum to the logit."""

    bias: dict[str, float]
    logits: dict[str, float]
    branches: list[BranchContributions]


class Prediction(_Body):
    """The answer for one image."""

    model: str
    version: int
    label: str = Field(description="The most probable class.")
    probability: float
    probabilities: dict[str, float] = Field(description="Most probable first.")
    branches: list[BranchFeatures] | None = Field(
        None, description="The pooled features of every branch, in the model's order; absent with `features=false`."
    )
    explanation: Explanation | None = Field(None, description="Only with `explain=true`.")


class FilePrediction(Prediction):
    """The answer for one file of several."""

    filename: str | None


class FileProblem(_Body):
    """The error of one file of several."""

    filename: str | None
    error: Problem


class BatchPrediction(_Body):
    """The answers for several files, in the order they were sent."""

    model: str
    version: int
    results: list[FilePrediction | FileProblem]


class Branch(BaseModel):
    """One pooling path of a model."""

    model_config = ConfigDict(extra="allow")

    name: str
    pooling: str
    source: str
    width: int


class InputSize(_Body):
    """Size of the images a model reads."""

    height: int
    width: int
    channels: int


class ModelSummary(BaseModel):
    """One model that is served."""

    name: str
    version: int
    versions: list[int]
    labels: list[str]
    branches: list[Branch]
    input: InputSize
    ready: bool
    execution_provider: str = Field(description="The ONNX Runtime execution provider that really runs it.")
    sha256: str


class ModelDetail(ModelSummary):
    """One model with all that its artifact says about itself, also what a newer exporter wrote."""

    model_config = ConfigDict(extra="allow")

    format: int
    architecture: str
    trunk: str
    feature_map: list[int] | None
    parameters: int | None
    recipe: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, dict[str, float]]


class Models(_Body):
    """The models that are served."""

    default: str
    models: list[ModelSummary]


class Health(_Body):
    """A word on how the service is."""

    status: str


def prediction(
    version: Version, answer: Answer[Outputs], *, top: int | None, features: bool, explain: bool
) -> dict[str, Any]:
    """Fill a :class:`Prediction` from one row of a batch."""
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
    """Fill an :class:`Explanation` from one row of a batch.

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
    """Fill a :class:`ModelSummary`."""
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
    """Fill a :class:`ModelDetail`: the summary, and everything in the metadata document."""
    return {**version.model.metadata.model_dump(mode="json"), **summary(version, repository)}
