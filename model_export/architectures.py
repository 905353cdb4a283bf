"""The networks: one trunk, pooled branches, one dense softmax head.

    image ─ scale ─ trunk ─┬─ branch 1 ─ average ─┐
                           ├─ branch 2 ─ max ─────┤
                           ├─ branch 3 ─ average ─┼─ concatenate ─ dense ─ softmax
                           └─ branch 4 ─ max ─────┘

The head is directly on the pooled features, so each logit is the sum of its bias and one
contribution per branch. Global average pooling instead of dense layers: Lin, Chen and Yan, "Network in
Network", 2014 (arXiv:1312.4400).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers

from app.images import Shape
from app.metadata import Branch
from model_export.choices import LEAST_SIDE, is_network, too_small
from model_export.errors import BadData
from model_export.networks.heads import HEADS, Source
from model_export.networks.initial import Trained
from model_export.networks.trunks import TRUNKS, application


@dataclass(frozen=True)
class Network:
    """A Keras model from ``uint8 [batch, H, W, C]`` to logits, with its branches in order.

    The vector of pooled features of a branch is the output of the layer of the branch's name; the head is the
    layer ``logits``, the trunk's last feature map the output of ``feature_map``.
    """

    model: keras.Model
    branches: tuple[Branch, ...]
    feature_map: tuple[int, int, int]
    trunk: keras.Model | None = None
    """A trunk of ``keras.applications``, whose weights can be frozen; None for our own."""
    pretrained: bool = False
    """Whether the trunk keeps the statistics that its batch normalisation had at first."""

    @property
    def normalizations(self) -> list[layers.BatchNormalization]:
        """The batch normalisations whose statistics are taken over the training images."""
        inside = self.trunk.layers if self.trunk is not None and not self.pretrained else []
        return [layer for layer in [*self.model.layers, *inside] if isinstance(layer, layers.BatchNormalization)]


def build(
    architecture: str, trunk: str, shape: Shape, classes: int, weights: str = "none", saved: Path | None = None
) -> Network:
    """Build a network by name.

    Args:
        architecture: One of :data:`model_export.networks.heads.HEADS`.
        trunk: One of :data:`model_export.networks.trunks.TRUNKS`, or a network of ``keras.applications``.
        shape: Height, width and channels of the images.
        classes: Number of labels.
        weights: Where the initial weights of the trunk come from: ``none``, the ``.keras`` file of a network with the
            same trunk, or for ``keras.applications`` also ``imagenet`` or a file of weights without the top.
        saved: The file of this network in a run, whose weights will replace all others: a trunk of
            ``keras.applications`` has the layers that it has there, and no initial weights are read.

    Raises:
        BadData: The images are too small for the trunk, or for what the architecture cuts out of its feature map, or
            the weights do not fit.
        MissingInput: The weights cannot be read or downloaded.
    """
    image = keras.Input(tuple(shape), name="image", dtype="uint8")  # (N, H, W, C)
    whole = trained = None
    if saved is None and is_network(weights):
        trained = Trained.read(weights)
    elif saved is not None and trunk not in TRUNKS:
        trained = Trained.read(str(saved))
    if trunk in TRUNKS:
        if reason := too_small(architecture, trunk, shape.height, shape.width):
            raise BadData(reason)
        features = TRUNKS[trunk](layers.Rescaling(1 / 255, name="scale")(image))
    else:
        features, whole = application(layers.Rescaling(1.0, name="scale")(image), trunk, shape, weights, trained)
        height, width = features.shape[1:3]
        if min(height, width) < LEAST_SIDE.get(architecture, 1):
            raise BadData(
                f"the feature map of {trunk!r} is {height}×{width} for images of {shape.height}×{shape.width}, too "
                f"small for {architecture!r}; choose a larger --size"
            )
    if trained is not None:
        trained.copy(keras.Model(image, features))
    logits, branches = _head(HEADS[architecture](features), classes)
    model = keras.Model(image, logits, name=architecture.replace("-", "_"))
    pretrained = whole is not None and weights != "none"
    return Network(model, branches, tuple(features.shape[1:]), whole, pretrained)


def _head(sources: list[Source], classes: int) -> tuple[keras.KerasTensor, tuple[Branch, ...]]:
    """Pool each source, concatenate, and put the dense layer on top; returns the logits, and the branches."""
    pooled = [_pool(source) for source in sources]  # (N, width) each
    branches = tuple(
        Branch(name=one.name, pooling=one.pooling, source=one.words, width=vector.shape[-1], region=one.region)
        for one, vector in zip(sources, pooled, strict=True)
    )
    joined = layers.Concatenate(name="pooled_features")(pooled) if len(pooled) > 1 else pooled[0]
    return layers.Dense(classes, name="logits")(joined), branches


def _pool(source: Source) -> keras.KerasTensor:
    if source.pooling == "none":
        return source.tensor
    pool = layers.GlobalMaxPooling2D if source.pooling == "max" else layers.GlobalAveragePooling2D
    return pool(name=source.name)(source.tensor)
