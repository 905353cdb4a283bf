"""The shared convolutions: two small ones of our own, and any network of ``keras.applications``."""

from __future__ import annotations

import sys
from collections.abc import Callable

import keras
from keras import layers

from app.errors import MissingInput
from app.images import Shape
from model_export.errors import BadData
from model_export.networks.initial import Trained, read_trunk

FEATURE_MAP = "feature_map"
"""Name of the layer whose output the branches share."""


def plain(image: keras.KerasTensor) -> keras.KerasTensor:
    """Conv 32 · Conv 64 · max-pool 2: the trunk of the textbook examples."""
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_1")(image)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_2")(x)
    return layers.MaxPooling2D(2, name=FEATURE_MAP)(x)  # (N, H/2, W/2, 64)


def batchnorm(image: keras.KerasTensor) -> keras.KerasTensor:
    """Three blocks Conv · BatchNorm · ReLU · max-pool with 32, 32 and 64 filters."""
    x = image
    for block, (filters, name) in enumerate(((32, "pool_1"), (32, "pool_2"), (64, FEATURE_MAP)), start=1):
        x = _convolution(x, filters, f"{block}")
        x = layers.MaxPooling2D(2, name=name)(x)
    return x  # (N, H/8, W/8, 64)


def _convolution(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Conv · BatchNorm · ReLU (Ioffe and Szegedy 2015); the normalisation has the bias.

    With this momentum, the running statistics follow the weights within about ten steps. Averaged weights get others
    (:mod:`model_export.fitting.normalizing`).
    """
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{name}")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"norm_{name}")(x)
    return layers.ReLU(name=f"relu_{name}")(x)


TRUNKS: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {"plain": plain, "batchnorm": batchnorm}


def applications() -> dict[str, Callable[..., keras.Model]]:
    """Find the networks of ``keras.applications`` by their names in lower case."""
    return {name.lower(): make for name, make in vars(keras.applications).items() if name[0].isupper()}


def application(
    image: keras.KerasTensor, name: str, shape: Shape, weights: str, trained: Trained | None = None
) -> tuple[keras.KerasTensor, keras.Model]:
    """Put a network of ``keras.applications``, without its classifier, on an image of 0 to 255.

    The input scaling of the network is inside the graph. It reads three channels: grey is repeated, and any other
    number is reduced to three by a learned 1×1 convolution.

    Args:
        image: ``float32 [N, H, W, C]`` of 0 to 255.
        weights: ``none``, ``imagenet`` (downloaded by Keras), a file of weights without the top, or the ``.keras`` file
            of a network with this trunk.
        trained: A network with this trunk, from which it is taken; no weights are read then.

    Returns:
        Its last feature map, and the network itself.

    Raises:
        MissingInput: The weights cannot be read or downloaded.
        BadData: The weights do not fit, or the images are too small for this network.
    """
    make = applications()[name]
    imagenet = "imagenet" if weights == "imagenet" and trained is None else None
    trunk = _make(make, (shape.height, shape.width, 3), imagenet)
    if trained is not None:
        trunk = trained.application(trunk)
    elif weights not in ("none", "imagenet"):
        read_trunk(trunk, weights)
    prepared = sys.modules[make.__module__].preprocess_input(_three_channels(image, shape.channels))
    # The pretrained statistics of batch normalisation do not change, not even in fine-tuning.
    features = trunk(prepared, training=None if weights == "none" else False)
    return layers.Activation("linear", name=FEATURE_MAP)(features), trunk


def _make(make: Callable[..., keras.Model], shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    try:
        return make(include_top=False, weights=weights, input_shape=shape)
    except ValueError as error:
        raise BadData(f"{make.__name__} cannot read images of this size: {str(error).strip()}") from None
    except Exception as error:
        if weights is None:
            raise
        raise MissingInput(
            f"the weights of {make.__name__} could not be downloaded ({error}); give a file with --weights, or none"
        ) from None


def _three_channels(image: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    if channels == 3:
        return image
    if channels == 1:
        return layers.Concatenate(name="grey_to_rgb")([image] * 3)
    scaled = layers.Rescaling(1 / 255, name="to_unit")(image)
    rgb = layers.Conv2D(3, 1, activation="sigmoid", name="to_rgb")(scaled)
    return layers.Rescaling(255, name="to_bytes")(rgb)
