"""What can be chosen; imports nothing slow."""

from __future__ import annotations

import os
import re
from pathlib import Path

ARCHITECTURES = (
    "channel-groups",
    "separable",
    "regions",
    "attention",
    "mixed",
    "gap",
    "gmp",
    "hybrid",
    "gem",
    "flatten-dense",
    "flatten-dense-dropout",
)
APPLICATIONS = (
    "densenet121",
    "densenet169",
    "densenet201",
    "efficientnetb0",
    "efficientnetb1",
    "efficientnetb2",
    "efficientnetb3",
    "efficientnetb4",
    "efficientnetb5",
    "efficientnetb6",
    "efficientnetb7",
    "efficientnetv2b0",
    "efficientnetv2b1",
    "efficientnetv2b2",
    "efficientnetv2b3",
    "efficientnetv2s",
    "efficientnetv2m",
    "efficientnetv2l",
    "inceptionresnetv2",
    "inceptionv3",
    "mobilenet",
    "mobilenetv2",
    "mobilenetv3small",
    "mobilenetv3large",
    "nasnetmobile",
    "nasnetlarge",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet50v2",
    "resnet101v2",
    "resnet152v2",
    "vgg16",
    "vgg19",
    "xception",
)
"""Without ConvNeXt, which tf2onnx cannot convert."""
OWN_TRUNKS = {"plain": 2, "batchnorm": 8}
"""Our own trunks, and how many times smaller than the image the feature map of each is."""
LEAST_SIDE = {"regions": 2, "mixed": 2}
"""Least height and width of the feature map for these architectures; 1 for all others."""
NORMALISING = ("flatten-dense", "flatten-dense-dropout")
"""Heads that normalise each feature over the images of a batch: of one alone, nothing is left to learn from."""
AUGMENTATIONS = ("none", "shift", "photo", "aerial")
PRECISIONS = ("float32", "float16", "int8")
DIGITS = "digits"
TFDS = "tfds:"
"""What the name of a data set of tensorflow-datasets begins with."""
TABLES = (".csv", ".jsonl")
MOST_CHANNELS = 200


def repository() -> Path:
    """Name the model repository that is used if none is named: that of the service."""
    return Path(os.environ.get("MULTIPOOL_MODELS_DIR") or "models")


def is_network(weights: str) -> bool:
    """Tell the file of a whole network, such as ``best.keras`` of a run, from one with the weights of a trunk."""
    return weights.endswith(".keras")


def too_small(architecture: str, trunk: str, height: int, width: int) -> str:
    """Say so if images are too small for one of our own trunks; otherwise return an empty text."""
    least = OWN_TRUNKS[trunk] * LEAST_SIDE.get(architecture, 1)
    if min(height, width) >= least:
        return ""
    advice = "" if trunk == "plain" else ", or --trunk plain"
    return (
        f"images of {height}×{width} are too small for {architecture!r} on the trunk {trunk!r}, which "
        f"needs {least}×{least}; choose a larger --size{advice}"
    )


def slug(text: str, otherwise: str) -> str:
    """Make a name of any text, from its letters a to z and digits; ``otherwise`` if it has none."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or otherwise
