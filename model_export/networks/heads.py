"""What is pooled, and how: the three four-branch networks, and the heads they are judged against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import keras
from keras import layers

from model_export.networks.pooling import AttentionWeighing, ChannelSlice, GeneralisedMeanWeighing, MixedWeighing

POOLINGS = ("average", "max", "average", "max")

_GROUP_WIDTH_OF_64 = 20
_DENSE_UNITS = 100


@dataclass(frozen=True)
class Source:
    """What one branch pools over: a feature map or a part of it, with its name and its description.

    ``pooling`` is ``max``, or a name for what is an average of ``tensor``: ``average`` itself, or ``attention``,
    ``generalised-mean`` and ``mixed``, whose weights are in the tensor already. With ``none``, ``tensor`` is a vector
    that layers have made of the map, and nothing is pooled.
    """

    name: str
    pooling: str
    words: str
    tensor: keras.KerasTensor
    region: tuple[float, float, float, float] = (0, 0, 1, 1)
    """Top, left, bottom and right of what is pooled, as fractions of the feature map."""


# Four branches


def channel_groups(features: keras.KerasTensor) -> list[Source]:
    """Four slices of the channels; the rest goes into the last."""
    channels = features.shape[-1]
    # The published network cuts its 64 channels at 20, 40 and 60; any other number is cut evenly.
    width = _GROUP_WIDTH_OF_64 if channels == 64 else channels // 4
    edges = (0, width, 2 * width, 3 * width, channels)
    return [
        Source(
            f"group_{i}",
            pooling,
            f"channels {start} to {stop - 1} of the trunk's {channels}",
            ChannelSlice(start, stop, name=f"slice_{i}")(features),
        )
        for i, ((start, stop), pooling) in enumerate(zip(pairwise(edges), POOLINGS, strict=True), start=1)
    ]


def separable(features: keras.KerasTensor) -> list[Source]:
    """Each branch its own separable convolution of 32 filters."""
    return [
        Source(
            f"separable_{i}",
            pooling,
            "its own 3×3 separable convolution of 32 filters over the whole feature map",
            layers.SeparableConv2D(32, 3, padding="same", activation="relu", name=f"convolution_{i}")(features),
        )
        for i, pooling in enumerate(POOLINGS, start=1)
    ]


def regions(features: keras.KerasTensor) -> list[Source]:
    """The four quadrants of the feature map; odd sizes are split at ``n // 2``."""
    return [
        Source(name, pooling, f"the {name.replace('_', ' ')} quadrant of the feature map", part, region)
        for (name, part, region), pooling in zip(_quadrants(features), POOLINGS, strict=True)
    ]


def attention(features: keras.KerasTensor) -> list[Source]:
    """Four branches, each with its own learned attention over the whole map."""
    return [
        Source(
            f"attention_{i}",
            "attention",
            "the whole feature map, each position weighed by its learned attention",
            AttentionWeighing(name=f"weighing_{i}")(features),
        )
        for i in (1, 2, 3, 4)
    ]


def mixed(features: keras.KerasTensor) -> list[Source]:
    """The four quadrants, each pooled by its own learned mix of average and maximum."""
    return [
        Source(
            name,
            "mixed",
            f"the {name.replace('_', ' ')} quadrant of the feature map, by a learned mix of average and maximum",
            MixedWeighing(name=f"weighing_{name}")(part),
            region,
        )
        for name, part, region in _quadrants(features)
    ]


# One or two branches over the whole map


def average(features: keras.KerasTensor) -> list[Source]:
    """Global average pooling (Lin, Chen and Yan 2014)."""
    return [Source("average", "average", "the whole feature map", features)]


def maximum(features: keras.KerasTensor) -> list[Source]:
    """Global max pooling."""
    return [Source("max", "max", "the whole feature map", features)]


def hybrid(features: keras.KerasTensor) -> list[Source]:
    """Average and maximum of the whole map, side by side."""
    return [*average(features), *maximum(features)]


def generalised_mean(features: keras.KerasTensor) -> list[Source]:
    """Generalised-mean pooling with a learned exponent."""
    words = "the whole feature map, by a generalised mean with a learned exponent"
    return [Source("gem", "generalised-mean", words, GeneralisedMeanWeighing(name="weighing")(features))]


# Dense layers on the flattened map: what global pooling replaces


def flatten_dense(features: keras.KerasTensor, dropout: float = 0) -> list[Source]:
    """Two dense layers of 100 with batch normalisation on the flattened map."""
    x = layers.Flatten(name="flattened")(features)
    for i in (1, 2):
        x = layers.Dense(_DENSE_UNITS, use_bias=False, name=f"hidden_{i}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm_hidden_{i}")(x)
        x = layers.ReLU(name=f"relu_hidden_{i}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout_hidden_{i}")(x)
    words = f"two dense layers of {_DENSE_UNITS} on the flattened feature map"
    return [Source("dense", "none", words, layers.Activation("linear", name="dense")(x))]


def flatten_dense_dropout(features: keras.KerasTensor) -> list[Source]:
    """The same with dropout of one half after each (Srivastava et al. 2014)."""
    return flatten_dense(features, dropout=0.5)


def _quadrants(
    features: keras.KerasTensor,
) -> list[tuple[str, keras.KerasTensor, tuple[float, float, float, float]]]:
    height, width = features.shape[1:3]
    middle, centre = height // 2, width // 2
    rows, columns = {"top": (0, middle), "bottom": (middle, height)}, {"left": (0, centre), "right": (centre, width)}
    quadrants = []
    for row, (top, bottom) in rows.items():
        for column, (left, right) in columns.items():
            name, cut = f"{row}_{column}", ((top, height - bottom), (left, width - right))
            part = layers.Cropping2D(cut, name=f"crop_{name}")(features)
            quadrants.append((name, part, (top / height, left / width, bottom / height, right / width)))
    return quadrants


HEADS: dict[str, Callable[[keras.KerasTensor], list[Source]]] = {
    "channel-groups": channel_groups,
    "separable": separable,
    "regions": regions,
    "attention": attention,
    "mixed": mixed,
    "gap": average,
    "gmp": maximum,
    "hybrid": hybrid,
    "gem": generalised_mean,
    "flatten-dense": flatten_dense,
    "flatten-dense-dropout": flatten_dense_dropout,
}
