"""Initial weights from files: of a trunk alone, or of a network that was trained before."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import keras

from app.errors import MissingInput
from model_export.errors import BadData

_UNREADABLE = (ValueError, OSError, KeyError, TypeError, RuntimeError, UserWarning, zipfile.BadZipFile)


def is_network(path: str) -> bool:
    """Tell the file of a whole network, such as ``best.keras`` of a run, from one with the weights of a trunk."""
    return path.endswith(".keras")


def read_trunk(trunk: keras.Model, path: str) -> None:
    """Read the weights of a ``keras.applications`` network without its top into it.

    Raises:
        MissingInput: There is no such file.
        BadData: They do not fit.
    """
    _require(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns when it leaves layers as they are
            trunk.load_weights(path)
    except _UNREADABLE as error:
        raise BadData(f"--weights {path} does not fit {trunk.name} without its top: {_reason(error)}") from None


def read_network(trunk: keras.Model, path: str) -> None:
    """Read the weights of a trunk from a network that was trained with the same one; branches and head are not read.

    Args:
        trunk: From the images to the feature map.

    Raises:
        MissingInput: There is no such file.
        BadData: It is damaged, or its trunk or its channels are others.
    """
    _require(path)
    try:
        trained = keras.saving.load_model(path, compile=False)
    except _UNREADABLE as error:
        raise BadData(f"--weights {path} cannot be read: {_reason(error)}") from None
    # Or a network of keras.applications by itself.
    found = {layer.name: layer.get_weights() for layer in [trained, *trained.layers]}
    for layer in trunk.layers:
        wanted = [tuple(weight.shape) for weight in layer.weights]
        there = [weight.shape for weight in found.get(layer.name, [])]
        if wanted != there:
            raise BadData(
                f"--weights {path} does not fit: its layer {layer.name!r} has {_shapes(there)}, and here it has "
                f"{_shapes(wanted)}; choose the --trunk and --channels that it was trained with"
            )
        layer.set_weights(found.get(layer.name, []))


def _require(path: str) -> None:
    if not Path(path).is_file():
        raise MissingInput(f"--weights {path}: there is no such file; write none, imagenet or a file")


def _reason(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return "weights of " + ", ".join("×".join(map(str, shape)) for shape in shapes) if shapes else "no weights"
