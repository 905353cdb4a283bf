"""The four-branch networks: one trunk, four pooled branches, one dense softmax head.

    image ─ scale ─ trunk ─┬─ branch 1 ─ average ─┐
                           ├─ branch 2 ─ max ─────┤
                           ├─ branch 3 ─ average ─┼─ concatenate ─ dense ─ softmax
                           └─ branch 4 ─ max ─────┘

Nothing stands between the pooled features and the head, so each logit is the sum of its bias and one
contribution per branch. Global average pooling instead of dense layers: Lin, Chen and Yan, "Network in
Network", 2014 (arXiv:1312.4400).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import keras
from keras import layers

from app.images import Shape
from app.metadata import Branch
from model_export.errors import BadData

POOLINGS = ("average", "max", "average", "max")

_GROUP_WIDTH_OF_64 = 20
_REDUCTION = {"plain": 2, "batchnorm": 8}  # how many times smaller than the image the feature map is


@dataclass(frozen=True)
class Network:
    """A Keras model from ``uint8 [batch, H, W, C]`` to logits, with its branches in order.

    The vector of pooled features of a branch is the output of the layer of the branch's name; the head is the
    layer ``logits``, the trunk's last feature map the output of ``feature_map``.
    """

    model: keras.Model
    branches: tuple[Branch, ...]
    feature_map: tuple[int, int, int]


@keras.saving.register_keras_serializable("multipool")
class ChannelSlice(layers.Layer):
    """Keep the channels ``start`` to ``stop`` (exclusive) of a feature map.

    Input shape: ``(N, H, W, C)``. Output shape: ``(N, H, W, stop - start)``.
    """

    def __init__(self, start: int, stop: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.start, self.stop = start, stop

    def call(self, inputs):  # noqa: ANN001, ANN201  # Keras tensors are untyped
        return inputs[..., self.start : self.stop]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.stop - self.start)

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "start": self.start, "stop": self.stop}


@dataclass(frozen=True)
class Source:
    """What one branch pools over: a part of the feature map, with its name and its description."""

    name: str
    words: str
    tensor: keras.KerasTensor


def build(architecture: str, trunk: str, shape: Shape, classes: int) -> Network:
    """Build a network by name.

    Args:
        architecture: One of :data:`ARCHITECTURES`.
        trunk: One of :data:`TRUNKS`.
        shape: Height, width and channels of the images.
        classes: Number of labels.

    Raises:
        BadData: The images are too small for the trunk to leave four quadrants.
    """
    image = keras.Input(tuple(shape), name="image", dtype="uint8")  # (N, H, W, C)
    scaled = layers.Rescaling(1 / 255, name="scale")(image)
    least = _REDUCTION[trunk] * (2 if architecture == "regions" else 1)
    if min(shape.height, shape.width) < least:
        advice = "" if trunk == "plain" else ", or --trunk plain"
        raise BadData(
            f"images of {shape.height}×{shape.width} are too small for {architecture!r} on the trunk {trunk!r}, which "
            f"needs {least}×{least}; choose a larger --size{advice}"
        )
    features = TRUNKS[trunk](scaled)
    return assemble(image, features, ARCHITECTURES[architecture](features), classes, architecture)


def assemble(
    image: keras.KerasTensor, features: keras.KerasTensor, sources: list[Source], classes: int, name: str
) -> Network:
    """Pool each source, concatenate, and put the head on top."""
    pooled, branches = [], []
    for source, pooling in zip(sources, POOLINGS, strict=True):
        pool = layers.GlobalAveragePooling2D if pooling == "average" else layers.GlobalMaxPooling2D
        vector = pool(name=source.name)(source.tensor)  # (N, width)
        pooled.append(vector)
        branches.append(Branch(name=source.name, pooling=pooling, source=source.words, width=vector.shape[-1]))
    joined = layers.Concatenate(name="pooled_features")(pooled)
    logits = layers.Dense(classes, name="logits")(joined)
    model = keras.Model(image, logits, name=name.replace("-", "_"))
    return Network(model, tuple(branches), tuple(features.shape[1:]))


# Trunks


def plain(image: keras.KerasTensor) -> keras.KerasTensor:
    """Conv 32 · Conv 64 · max-pool 2: the trunk of the textbook examples."""
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_1")(image)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_2")(x)
    return layers.MaxPooling2D(2, name="feature_map")(x)  # (N, H/2, W/2, 64)


def batchnorm(image: keras.KerasTensor) -> keras.KerasTensor:
    """Three blocks Conv · BatchNorm · ReLU · max-pool with 32, 32 and 64 filters."""
    x = image
    for block, (filters, name) in enumerate(((32, "pool_1"), (32, "pool_2"), (64, "feature_map")), start=1):
        x = _convolution(x, filters, f"{block}")
        x = layers.MaxPooling2D(2, name=name)(x)
    return x  # (N, H/8, W/8, 64)


def _convolution(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Conv · BatchNorm · ReLU (Ioffe and Szegedy 2015); the normalisation brings the bias.

    The momentum lets the running statistics follow within some ten steps, so that a small data set is judged by
    the network it has trained and not by one of many steps ago.
    """
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{name}")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"norm_{name}")(x)
    return layers.ReLU(name=f"relu_{name}")(x)


# Branches


def channel_groups(features: keras.KerasTensor) -> list[Source]:
    """Four slices of the channels; the rest goes into the last."""
    channels = features.shape[-1]
    # The published network cuts its 64 channels at 20, 40 and 60; any other number is cut evenly.
    width = _GROUP_WIDTH_OF_64 if channels == 64 else channels // 4
    edges = (0, width, 2 * width, 3 * width, channels)
    return [
        Source(
            f"group_{i}",
            f"channels {start} to {stop - 1} of the trunk's {channels}",
            ChannelSlice(start, stop, name=f"slice_{i}")(features),
        )
        for i, (start, stop) in enumerate(pairwise(edges), start=1)
    ]


def separable(features: keras.KerasTensor) -> list[Source]:
    """Each branch its own separable convolution of 32 filters."""
    return [
        Source(
            f"separable_{i}",
            "its own 3×3 separable convolution of 32 filters over the whole feature map",
            layers.SeparableConv2D(32, 3, padding="same", activation="relu", name=f"convolution_{i}")(features),
        )
        for i in (1, 2, 3, 4)
    ]


def regions(features: keras.KerasTensor) -> list[Source]:
    """The four quadrants of the feature map; odd sizes are split at ``n // 2``."""
    height, width = features.shape[1:3]
    middle, centre = height // 2, width // 2
    rows = {"top": (0, height - middle), "bottom": (middle, 0)}
    columns = {"left": (0, width - centre), "right": (centre, 0)}
    return [
        Source(
            f"{row}_{column}",
            f"the {row} {column} quadrant of the feature map",
            layers.Cropping2D((rows[row], columns[column]), name=f"crop_{row}_{column}")(features),
        )
        for row in rows
        for column in columns
    ]


TRUNKS: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {"plain": plain, "batchnorm": batchnorm}

ARCHITECTURES: dict[str, Callable[[keras.KerasTensor], list[Source]]] = {
    "channel-groups": channel_groups,
    "separable": separable,
    "regions": regions,
}
