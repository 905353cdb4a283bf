"""The command line that repeats a run: it names every option that shapes the model, and so depends on no default."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from model_export.choices import ARCHITECTURES, AUGMENTATIONS, PRECISIONS
from model_export.console.invocation import recorded
from model_export.errors import BadData
from model_export.fitting.runs import ARGUMENTS

if TYPE_CHECKING:
    from app.images import Shape

SHAPING = (
    "architecture",
    "size",
    "channels",
    "value_range",
    "labels",
    "groups",
    "trunk",
    "weights",
    "freeze_epochs",
    "epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "augmentation",
    "averaging",
    "class_weights",
    "patience",
    "seed",
    "precision",
)
"""The options of ``train`` that shape the model. All others are names, places and texts."""

_BEFORE = {"weight_decay": 1e-3, "replace_anyway": False, "together": False, "groups": None}
"""Values from before these options existed: in older runs, ``args.yaml`` does not have them."""


def command(arguments: argparse.Namespace, shape: Shape) -> str:
    """Write the complete command line of a training run on images of this shape."""
    given = {**vars(arguments), "size": (shape.height, shape.width), "channels": shape.channels}
    words = ["train", given["data"]]
    for name in SHAPING:
        words += _words(name, given[name])
    return recorded(shlex.join([*words, "--name", given["name"]]))


def check(arguments: argparse.Namespace) -> None:
    """Check that a run has all options that shape the model, as defaults may differ between versions.

    Options that did not exist when it began are filled in.

    Raises:
        BadData: One is missing or unknown.
    """
    for name, value in _BEFORE.items():
        vars(arguments).setdefault(name, value)
    missing = [name for name in ("data", "name", "fingerprint", "surroundings", *SHAPING) if name not in arguments]
    if missing:
        raise BadData(
            f"{arguments.resume / ARGUMENTS} does not say {', '.join(missing)}: another version wrote it; "
            "add what the run was trained with"
        )
    for name, known in (("architecture", ARCHITECTURES), ("augmentation", AUGMENTATIONS), ("precision", PRECISIONS)):
        if getattr(arguments, name) not in known:
            raise BadData(f"{arguments.resume / ARGUMENTS} names an unknown {name}, {getattr(arguments, name)!r}")


def _words(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if name == "value_range":  # without exponents: with a minus, Python 3.11 takes them for options
        return [option, *(np.format_float_positional(bound, trim="-") for bound in value)]
    if name == "size":
        value = "{}x{}".format(*value)
    text = ",".join(value) if name == "labels" else str(value)
    return [f"{option}={text}"] if text.startswith("-") else [option, text]  # else it would be taken for an option
