"""Bodies, as the documentation describes them: one image in, and what :mod:`app.answers` fills."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.decoders.formats import MEDIA_TYPES
from app.http.uploads import PART

BINARY = {"type": "string", "format": "binary"}
IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "required": [PART], "properties": {PART: BINARY}}},
            **{media_type: {"schema": BINARY} for media_type in (*MEDIA_TYPES, "application/octet-stream")},
        },
    }
}
"""What a route takes that reads one image."""

_Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Body):
    """An error (RFC 9457)."""

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
    features: list[float] | _Base64 = Field(
        description="Numbers; with `features=base64`, their bytes as little-endian float32."
    )


class BranchContributions(_Body):
    """One branch's share of every logit."""

    name: str
    contributions: dict[str, float]
    alone: str = Field(description="The label that this branch would give alone, with the bias.")
    without: str = Field(description="The label that the other branches would give, with the bias.")


class Explanation(_Body):
    """Where the logits come from: for each label, bias and contributions sum to the logit."""

    bias: dict[str, float]
    logits: dict[str, float]
    branches: list[BranchContributions]
    agreement: list[str] = Field(description="The branches that alone would give the most probable label.")


class BranchShare(_Body):
    """One branch's share of one logit."""

    name: str
    contribution: float


class InputSize(_Body):
    """Size of the images a model reads."""

    height: int
    width: int
    channels: int


class Grid(_Body):
    """Number of cells of a map."""

    height: int
    width: int


class Maps(_Body):
    """Where in the image the logit of one label comes from: the values of a map sum to the branch's contribution."""

    model: str
    version: int
    sha256: str = Field(description="SHA-256 of the model's file.")
    input: InputSize = Field(description="The image as the model saw it.")
    grid: Grid = Field(description="Number of cells of each map.")
    label: str
    probability: float
    logit: float
    bias: float
    branches: list[BranchShare]
    maps: list[list[list[float]]] = Field(
        description="`[branches, h, w]` over the whole image, 0 where a branch does not look."
    )


class Familiarity(_Body):
    """Does the model know this kind of image? Shares of images held out in training that are at least as unusual."""

    joint: float = Field(description="Of all branches together, from 0 to 1; near 0: unlike the training images.")
    branches: dict[str, float] = Field(description="Of each branch alone.")


class Prediction(_Body):
    """The answer for one image."""

    model: str
    version: int
    label: str | None = Field(description="The most probable class; null below `min_confidence`.")
    probability: float
    probabilities: dict[str, float] = Field(description="Most probable first.")
    uncertain: bool | None = Field(
        None, description="Whether the probability is below `min_confidence`; absent where that is 0."
    )
    familiarity: Familiarity | None = Field(None, description="Absent where the artifact carries no statistics.")
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


class ModelSummary(BaseModel):
    """One model that is served."""

    name: str
    version: int
    versions: list[int]
    labels: list[str]
    branches: list[Branch]
    input: InputSize
    ready: bool
    loaded: bool = Field(description="Whether it is in memory; if not, the next request that names it loads it.")
    execution_provider: str = Field(description="The ONNX Runtime execution provider that really runs it.")
    sha256: str


class FeatureStatistics(BaseModel):
    """What familiarity is compared with: images held out in training."""

    model_config = ConfigDict(extra="allow")

    images: int = Field(description="Training images that the statistics were taken from.")
    held_out: int = Field(description="Held-out images. Familiarity is never below 1 / (this + 1).")
    levels: list[float] = Field(
        description="Shares of the held-out images, descending; the last is the lowest familiarity there is."
    )


class ModelDetail(ModelSummary):
    """One model with everything in its artifact's metadata, including fields that a newer exporter added."""

    model_config = ConfigDict(extra="allow")

    format: int
    architecture: str
    trunk: str
    feature_map: list[int] | None
    parameters: int | None
    recipe: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    statistics: FeatureStatistics | None = Field(description="Null where answers say nothing of familiarity.")


class RefusedVersion(_Body):
    """A version that is not served; or one whose file was replaced by a refused one, and is served as it was before."""

    name: str
    version: int
    reason: str


class Models(_Body):
    """The models that are served, and what was refused."""

    default: str = Field(description="The model that answers when a request names none.")
    default_version: int | None = Field(description="The version of it that answers; null while it is not served.")
    models: list[ModelSummary]
    refused: list[RefusedVersion]


class Health(_Body):
    """Whether the service is alive or ready."""

    status: str
