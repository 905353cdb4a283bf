"""Initial weights from files: of a trunk alone, or of a network that was trained before."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
from keras.layers import Normalization, Rescaling

from app.errors import MissingInput
from model_export.errors import BadData

_UNREADABLE = (ValueError, OSError, KeyError, TypeError, RuntimeError, UserWarning, zipfile.BadZipFile)


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


@dataclass(frozen=True)
class Trained:
    """A network that was trained before, whose trunk another one takes over; branches and head are not."""

    path: str
    model: keras.Model

    @classmethod
    def read(cls, path: str) -> Trained:
        """Read it from its file.

        Raises:
            MissingInput: There is no such file.
            BadData: It is damaged.
        """
        _require(path)
        try:
            return cls(path, keras.saving.load_model(path, compile=False))
        except _UNREADABLE as error:
            raise BadData(f"{path} cannot be read: {_reason(error)}") from None

    def application(self, made: keras.Model) -> keras.Model:
        """Take over a trunk of ``keras.applications``, for images of another size too.

        Args:
            made: What Keras makes by that name for images of this size, without initial weights.

        Raises:
            BadData: It is another network.
        """
        # By its weights, as some have the size of their images in their name. It may also be the whole network.
        parts = [part for part in (self.model, *self.model.layers) if isinstance(part, keras.Model)]
        own = next((part for part in parts if _shapes(part) == _shapes(made)), None)
        if own is None:
            raise BadData(
                f"{self.path} does not fit: its trunk is not {made.name}; choose the --trunk it was trained with"
            )
        made = _scaling_alike(made, own)
        made.set_weights(own.get_weights())
        for layer in made.layers:
            if isinstance(layer, Normalization):
                layer.finalize_state()  # it computes with what it has derived from its weights
        return made

    def copy(self, trunk: keras.Model) -> None:
        """Copy the weights of a trunk of our own, or of what is around one of ``keras.applications``.

        Args:
            trunk: From the images to the feature map.

        Raises:
            BadData: Its trunk or its channels are others.
        """
        own = {layer.name: layer for layer in self.model.layers}
        for layer in trunk.layers:
            if not layer.weights or isinstance(layer, keras.Model):
                continue
            wanted, there = _shapes(layer), _shapes(own.get(layer.name))
            if wanted != there:
                raise BadData(
                    f"{self.path} does not fit: its layer {layer.name!r} has {_words(there)}, and here it has "
                    f"{_words(wanted)}; choose the --trunk and --channels that it was trained with"
                )
            layer.set_weights(own[layer.name].get_weights())


def _scaling_alike(made: keras.Model, own: keras.Model) -> keras.Model:
    """Scale the normalised input as ``own`` does: Keras lets EfficientNet do so only with imagenet weights."""
    scaling = None
    for layer, after in pairwise(own.layers):
        if isinstance(layer, Normalization) and isinstance(after, Rescaling):
            scaling = after.get_config()
    if scaling is None:
        return made

    def call(layer: keras.layers.Layer, *inputs: Any, **options: Any) -> Any:
        called = layer(*inputs, **options)
        return Rescaling.from_config(scaling)(called) if isinstance(layer, Normalization) else called

    return keras.models.clone_model(made, call_function=call)


def _require(path: str) -> None:
    if not Path(path).is_file():
        raise MissingInput(f"--weights {path}: there is no such file")


def _reason(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _shapes(layer: keras.layers.Layer | None) -> list[tuple[int, ...]]:
    return [] if layer is None else [tuple(weight.shape) for weight in layer.weights]


def _words(shapes: list[tuple[int, ...]]) -> str:
    return "weights of " + ", ".join("×".join(map(str, shape)) for shape in shapes) if shapes else "no weights"
