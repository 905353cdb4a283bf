"""The command line that repeats a run: it names every option that shapes the model, and so depends on no default."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import InvalidUsage
from model_export.console.invocation import recorded
from model_export.console.numbers import in_full
from model_export.errors import BadData
from model_export.fitting.runs import ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

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

_KINDS = {
    "data": str,
    "name": str,
    "output": Path,
    "fail_on_leakage": bool,
    "data_licence": str,
    "command_line": str,
    "fingerprint": str,
    "surroundings": dict,
}
"""What else a run needs, and as what."""

_BEFORE = {"weight_decay": 1e-3, "replace_anyway": False, "together": False, "groups": None}
"""Values from before these options existed: in older runs, ``args.yaml`` does not have them."""


def command(arguments: argparse.Namespace, shape: Shape) -> str:
    """Write the complete command line of a training run on images of this shape."""
    given = {**vars(arguments), "size": (shape.height, shape.width), "channels": shape.channels}
    return recorded(shlex.join(["train", given["data"], *_options(given), "--name", given["name"]]))


def check(arguments: argparse.Namespace, parse: Callable[[list[str]], argparse.Namespace]) -> None:
    """Check that a run has all options that shape the model, as defaults may differ between versions.

    Options that did not exist when it began are filled in.

    Args:
        arguments: Of the run.
        parse: Parses a command line, or raises :class:`InvalidUsage`.

    Raises:
        BadData: One is missing, or has a value that the command line does not accept.
    """
    for name, value in _BEFORE.items():
        vars(arguments).setdefault(name, value)
    missing = [name for name in (*_KINDS, "cache", *SHAPING) if name not in arguments]
    if missing:
        raise BadData(
            f"{arguments.resume / ARGUMENTS} does not say {', '.join(missing)}: another version wrote it; "
            "add what the run was trained with"
        )
    if reason := _damage(vars(arguments), parse):
        raise BadData(f"{arguments.resume / ARGUMENTS} cannot be read: {reason}; restore it, or train again")


def _damage(given: dict[str, Any], parse: Callable[[list[str]], argparse.Namespace]) -> str:
    """Say what the command line that asks for these options would not accept; an empty text if it accepts all."""
    wrong = [name for name, kind in _KINDS.items() if not isinstance(given[name], kind)]
    if not wrong:
        try:
            words = ["train", *_options(given), "--name", given["name"], "--", given["data"]]
            again = vars(parse(words))
        except (InvalidUsage, TypeError, ValueError) as error:
            return str(error)
        wrong = [name for name in SHAPING if again[name] != given[name]]
    return " and ".join(f"{name} cannot be {given[name]!r}" for name in wrong)


def _options(given: dict[str, Any]) -> list[str]:
    return [word for name in SHAPING for word in _words(name, given[name])]


def _words(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if name == "value_range":  # without exponents: with a minus, Python 3.11 takes them for options
        return [option, *map(in_full, value)]
    if name == "size":
        value = "x".join(map(str, value))
    text = ",".join(map(str, value)) if name == "labels" else str(value)
    return [f"{option}={text}"] if text.startswith("-") else [option, text]  # else it would be taken for an option
