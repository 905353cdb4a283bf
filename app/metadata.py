"""What an artifact says about itself: one JSON document inside the ONNX file.

It is stored under the key ``multipool`` of the file's ``metadata_props``. Height, width and
channels are not in it: they are read from the graph's own signature and so cannot disagree with it.
"""

import math
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.digest import UNSTAMPED
from app.errors import InvalidArtifact
from app.probe import Probe
from app.statistics import FORMAT, Statistics

KEY = "multipool"
RECIPE = "draft-bilinear-1"


class _Document(BaseModel):
    # Unknown keys are kept: an older server shows what a newer exporter wrote.
    model_config = ConfigDict(frozen=True, extra="allow")


class Branch(_Document):
    """One pooling path over the trunk."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    pooling: str
    """``max``, or a name for an average of its maps, such as ``average``; ``none`` where layers make its vector."""
    source: str
    """What it pools over, in words."""
    width: int = Field(ge=1)
    """Length of its vector of pooled features."""
    region: tuple[float, float, float, float] = (0, 0, 1, 1)
    """Top, left, bottom and right of the part of the image that it pools over, as fractions of height and width."""

    @field_validator("region")
    @classmethod
    def _lies_in_the_image(cls, value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        top, left, bottom, right = value
        if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise ValueError("region must be top, left, bottom and right, as fractions from 0 to 1")
        return value

    @property
    def output(self) -> str:
        """Name of the graph output that carries this branch's pooled features."""
        return f"features_{self.name}"

    @property
    def maps_output(self) -> str:
        """Name of the graph output that carries the feature maps which this branch pools."""
        return f"maps_{self.name}"


class Recipe(_Document):
    """The procedure from bytes to ``uint8 [H, W, C]``, carried out by :mod:`app.images`."""

    id: str = RECIPE
    value_range: tuple[float, float] | None = None
    """Pixel values of more than 8 bits that become 0 and 255; none: the full range of their type."""
    description: str = (
        "first frame; EXIF orientation applied; alpha over white; JPEG decoded at the smallest DCT scale that is "
        "at least twice the input size; resized with Pillow's antialiased bilinear filter, aspect ratio not kept"
    )

    @field_validator("value_range")
    @classmethod
    def _is_a_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not (math.isfinite(value[0]) and math.isfinite(value[1]) and value[0] < value[1]):
            raise ValueError("value_range must be two finite numbers, the lower first")
        return value


class Metadata(_Document):
    """Everything an artifact says about itself."""

    format: Literal[1] = 1
    digest: str = UNSTAMPED
    """See :mod:`app.digest`."""
    architecture: str
    labels: tuple[str, ...] = Field(min_length=2)
    """Class names; the index is the position in ``logits`` and ``probabilities``."""
    branches: tuple[Branch, ...] = Field(min_length=1)
    recipe: Recipe
    trunk: str = ""
    """Name of the shared convolutions."""
    feature_map: tuple[int, int, int] | None = None
    """Height, width and channels of the trunk's last feature map."""
    parameters: int | None = None
    """Weights of the whole network, as Keras counts them."""
    training: dict[str, Any] = {}
    """Data set, counts per split, seed, epochs, package versions."""
    metrics: dict[str, dict[str, float]] = {}
    """Figures per split, e.g. ``{"validation": {"accuracy": 0.97, "loss": 0.1, "images": 2000}}``."""
    classes: dict[str, dict[str, dict[str, float | None]]] = {}
    """Per split that was not learned from, and class: ``precision``, ``recall``, ``f1``, ``images`` and how often it
    was ``predicted``; null where there is nothing to divide by."""
    statistics: Statistics | None = None
    """Of the pooled features of the training images: what :mod:`app.familiarity` needs."""
    precision: str = "float32"
    """In which numbers the graph computes: ``float32``, ``float16`` or ``int8``."""
    calibration: dict[str, Any] = {}
    """The temperature that was folded into the head, and the expected calibration error before and after."""
    parity: tuple[dict[str, Any], ...] = ()
    """The largest difference between Keras and ONNX per ``output`` and ``batch``."""
    probe: Probe | None = None
    """Images with known answers, which :meth:`app.model.Model.warm_up` asks again."""

    @field_validator("statistics", mode="before")
    @classmethod
    def _is_of_a_known_format(cls, value: Any) -> Any:
        return None if isinstance(value, dict) and value.get("format") != FORMAT else value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (("labels", self.labels), ("branches", tuple(b.name for b in self.branches))):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} are not unique")
        return self

    def described(self) -> dict[str, Any]:
        """Say all that a reader can make sense of, as JSON values."""
        document = self.model_dump(mode="json", exclude={"statistics", "probe"})
        return {
            **document,
            "statistics": self.statistics and self.statistics.described(),
            "probe": self.probe and self.probe.described(),
        }

    def dumps(self) -> str:
        """Serialise to the JSON text stored in the artifact."""
        return self.model_dump_json()

    @classmethod
    def loads(cls, text: str) -> Self:
        """Read the JSON text stored in an artifact.

        Raises:
            InvalidArtifact: It is not such a document, or asks for a recipe this version does not know.
        """
        try:
            metadata = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "document"
            raise InvalidArtifact(f"its metadata is invalid: {where}: {first['msg']}") from None
        if metadata.recipe.id != RECIPE:
            raise InvalidArtifact(
                f"it was trained with the image recipe {metadata.recipe.id!r}, but this version carries out "
                f"{RECIPE!r}; export the model again with this version"
            )
        return metadata
