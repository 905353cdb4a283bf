"""What an artifact is, how it was made, and the images with which the service checks its answers."""

from __future__ import annotations

import argparse
import hashlib
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from app.errors import MissingInput
from app.metadata import Metadata, Recipe
from app.probe import Probe, enlarge
from model_export.artifact import repeating
from model_export.console.invocation import readable, recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from model_export.architectures import Network
    from model_export.datasets import Dataset
    from model_export.training import Outcome

TOLERANCES = {"float32": 0.01, "float16": 0.03, "int8": 0.1}
"""By how much a probability of the golden probe may differ on another device, for each precision."""

_MODULES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "PIL", "numpy")
_PROBES = 4
_PROBE_SIDE = 16


def surroundings(weights: str = "none") -> dict[str, Any]:
    """Record the date, the versions of the packages, and the initial weights."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": _packages(),
        **initial(weights),
    }


@cache
def _packages() -> dict[str, str]:
    """Find the versions of the packages that matter, in the metadata of all that are installed."""
    distributions = packages_distributions()
    return {(name := distributions[module][0]): version(name) for module in _MODULES}


def initial(weights: str) -> dict[str, str]:
    """Record the digest of the file with the initial weights, if they come from one.

    Raises:
        MissingInput: There is no such file.
    """
    if weights in ("none", "imagenet"):
        return {}
    file = Path(weights)
    if not file.is_file():
        raise MissingInput(f"--weights {weights}: there is no such file")
    return {"weights_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def document(network: Network, dataset: Dataset, architecture: str, arguments: argparse.Namespace) -> Metadata:
    """Record what a network reads, computes and answers, for the metadata of its artifact."""
    return Metadata(
        architecture=architecture,
        labels=dataset.labels,
        branches=network.branches,
        recipe=Recipe(value_range=arguments.value_range),
        trunk=arguments.trunk,
        feature_map=network.feature_map,
        parameters=network.model.count_params(),
    )


def training_record(
    arguments: argparse.Namespace, dataset: Dataset, method: dict[str, Any], outcome: Outcome
) -> dict[str, Any]:
    """Record the data, all that shaped the weights, the SHA-256 of their file in the run, and the command lines.

    The weights may be older than the published version, and made with other packages: ``date``, ``python`` and
    ``packages`` are those of the training, and ``published`` holds those of the publishing.
    """
    leaks = dataset.counts_of_leaks()
    return {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "licence": readable(arguments.data_licence),
        "images": dataset.counts(),
        "skipped": len(dataset.skipped),
        "leaks": {kind: leaks[kind] for kind in ("exact", "near", *(("group",) if dataset.group_of else ()))},
        **({"groups": dataset.counts_of_groups(), "group_pattern": arguments.groups} if dataset.group_of else {}),
        **method,
        "epochs_planned": method["epochs"],
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "seconds": round(outcome.seconds),
        "checkpoint_sha256": outcome.checkpoint,
        "weights": arguments.weights if arguments.weights in ("none", "imagenet") else "file",
        "command": recorded(arguments.command_line),
        "repeat": repeating.command(arguments, dataset.shape),
        **arguments.surroundings,
        "published": {"command": recorded(arguments.published_by), **surroundings()},
    }


def probe(dataset: Dataset, answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]], precision: str) -> Probe:
    """Make the golden probe: small images with the probabilities that they get at full size.

    Args:
        answer: From ``uint8 [4, H, W, C]`` to probabilities ``[4, classes]``.
        precision: Determines how much the probabilities may differ on another device.
    """
    images = _probe_images(dataset)
    probabilities = answer(enlarge(images, dataset.shape.height, dataset.shape.width))
    return Probe.of(images, np.asarray(probabilities), TOLERANCES[precision])


def _probe_images(dataset: Dataset) -> NDArray[np.uint8]:
    """Take three held-out images, reduced to 16×16, and noise: ``uint8 [4, h, w, C]``."""
    split = dataset.splits.get("test", dataset.splits["validation"])
    height, width = (min(_PROBE_SIDE, side) for side in dataset.shape[:2])
    chosen = np.linspace(0, len(split) - 1, _PROBES - 1).astype(int)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, dataset.shape.channels), np.uint8)
    return np.stack([*(_reduce(split.images[index], height, width) for index in chosen), noise])


def _reduce(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    planes = (Image.fromarray(np.ascontiguousarray(image[..., channel])) for channel in range(image.shape[-1]))
    return np.stack([np.asarray(plane.resize((width, height), Image.Resampling.BOX)) for plane in planes], -1)
