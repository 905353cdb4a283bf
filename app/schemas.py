"""Response bodies: their schema for the documentation, and the functions that fill them.

Predictions are filled as plain dictionaries of NumPy values, which :mod:`orjson` writes as they are: features in the
shortest form that reads back as the same float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from app.batching import Answer
from app.model import Outputs
from app.repository import Repository, Version


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
    """One model with all that its artifact says about itself."""

    architecture: str
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


def prediction(version: Version, answer: Answer[Outputs], top: int | None, features: bool) -> dict[str, Any]:
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
    return body


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
