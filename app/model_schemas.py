"""Bodies about models, as the documentation describes them, and :mod:`app.catalogue` fills them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.schemas import Body, InputSize


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


class RefusedVersion(Body):
    """A version that is not served; or one whose file was replaced by a refused one, and is served as it was before."""

    name: str
    version: int
    reason: str


class Models(Body):
    """The models that are served, and what was refused."""

    default: str = Field(description="The model that answers when a request names none.")
    default_version: int | None = Field(description="The version of it that answers; null while it is not served.")
    models: list[ModelSummary]
    refused: list[RefusedVersion]
