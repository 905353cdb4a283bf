"""Bodies, as the documentation describes them: one image in, and what :mod:`app.answers` fills."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.decoders.formats import MEDIA_TYPES
from app.upload import PART

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


class Body(BaseModel):
    """A body that has the fields that are described, and no others."""

    model_config = ConfigDict(extra="forbid")


class Problem(Body):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What was wrong, and what to do.")
    code: str = Field(description="The kind of problem, for programs.")
    request_id: str = Field(description="Names this request in the service's log.")
    error: str = Field(description="The same text as `detail`.")


class BranchFeatures(Body):
    """What one branch pooled from the image."""

    name: str
    pooling: str
    features: list[float] | _Base64 = Field(
        description="Numbers; with `features=base64`, their bytes as little-endian float32."
    )


class BranchContributions(Body):
    """One branch's share of every logit."""

    name: str
    contributions: dict[str, float]
    alone: str = Field(description="The label that this branch would give alone, with the bias.")
    without: str = Field(description="The label that the other branches would give, with the bias.")


class Explanation(Body):
    """Where the logits come from: for each label, bias and contributions sum to the logit."""

    bias: dict[str, float]
    logits: dict[str, float]
    branches: list[BranchContributions]
    agreement: list[str] = Field(description="The branches that alone would give the most probable label.")


class BranchShare(Body):
    """One branch's share of one logit."""

    name: str
    contribution: float


class InputSize(Body):
    """Size of the images a model reads."""

    height: int
    width: int
    channels: int


class Grid(Body):
    """Number of cells of a map."""

    height: int
    width: int


class Maps(Body):
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


class Familiarity(Body):
    """Does the model know this kind of image? Shares of images held out in training that are at least as unusual."""

    joint: float = Field(description="Of all branches together, from 0 to 1; near 0: unlike the training images.")
    branches: dict[str, float] = Field(description="Of each branch alone.")


class Prediction(Body):
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


class FileProblem(Body):
    """The error of one file of several."""

    filename: str | None
    error: Problem


class BatchPrediction(Body):
    """The answers for several files, in the order they were sent."""

    model: str
    version: int
    results: list[FilePrediction | FileProblem]


class Health(Body):
    """Whether the service is alive or ready."""

    status: str
