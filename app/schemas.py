"""Response bodies, as the documentation describes them; :mod:`app.answers` fills them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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
