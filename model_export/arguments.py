"""The command line, read and checked before any slow import."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys

from model_export import choices
from model_export.choices import DIGITS, OWN_TRUNKS, TFDS
from model_export.options import Parser, Raising, parser


def parse_again(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line that was written from what another one gave.

    Raises:
        InvalidUsage: It is wrong.
    """
    return parse(arguments, Raising)


def parse(arguments: list[str] | None, kind: type[Parser] = Parser) -> argparse.Namespace:
    """Parse the command line; on a usage error, say what is wrong and exit with code 2."""
    top = parser(kind)
    parsed, unknown = top.parse_known_args(arguments)
    own = top.commands[parsed.command]  # whose list of options helps
    if unknown:
        own.error(f"unrecognized arguments: {shlex.join(unknown)}")
    parsed.command_line = shlex.join(sys.argv[1:] if arguments is None else arguments)
    if parsed.command == "train" and parsed.data is None and parsed.resume is None:
        own.error("train needs either DATA or --resume RUN")
    if parsed.command == "train" and parsed.resume is not None:
        if parsed.data is not None:
            own.error("--resume uses the data of its run; leave out DATA, or leave out --resume to train anew")
        _check_resume(own, parsed)
    if parsed.command == "verify" and parsed.data is None:
        _check_without_data(own, parsed)
    if parsed.command in ("train", "compare") and parsed.data is not None:
        _complete(own, parsed)
    return parsed


def _check_without_data(own: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Refuse what ``verify`` does with a data set if there is none."""
    for name, why in (
        ("output", "it has a row for each image of DATA"),
        ("against", "models are compared on the images of DATA"),
        ("groups", "it groups the images of DATA"),
        ("labels", "it names the classes of DATA"),
    ):
        if getattr(parsed, name) is not None:
            own.error(f"argument --{name}: {why}; name a data set")


def _check_resume(own: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Refuse other options with ``--resume``: the run has its own, and ignoring them silently would mislead."""
    usual = vars(own.parse_args(["--resume", str(parsed.resume)]))
    asked = [name for name, value in usual.items() if name != "json" and getattr(parsed, name) != value]
    if asked:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in asked)
        own.error(
            f"--resume uses the options of its run; leave out {options}; "
            "publish RUN accepts --name, --output, --precision, --replace-anyway and --data-licence"
        )


def _complete(own: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Fill in defaults that depend on other options, and check options together."""
    if parsed.command == "train":
        parsed.name = parsed.name or default_name(parsed.data, parsed.architecture)
    parsed.augmentation = parsed.augmentation or ("shift" if parsed.data == DIGITS else "photo")
    if parsed.value_range is not None:
        parsed.value_range = tuple(parsed.value_range)
        low, high = parsed.value_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            own.error(f"argument --value-range: LOW {low:g} must be below HIGH {high:g}")
    for architecture in (parsed.architecture,) if parsed.command == "train" else parsed.architectures:
        _check_architecture(own, parsed, architecture)
    if parsed.trunk in OWN_TRUNKS and parsed.weights != "none" and not choices.is_network(parsed.weights):
        own.error(
            f"argument --weights: the trunk {parsed.trunk!r} takes its initial weights from best.keras of a run, not "
            f"from {parsed.weights!r}; or name a --trunk of keras.applications"
        )
    if parsed.freeze_epochs is None:
        from_start = parsed.weights == "none" or parsed.trunk in OWN_TRUNKS
        parsed.freeze_epochs = 0 if from_start else min(5, parsed.epochs // 2)
    if parsed.freeze_epochs and parsed.trunk in OWN_TRUNKS:
        own.error(f"argument --freeze-epochs: the trunk {parsed.trunk!r} is never frozen; leave it out")
    if parsed.freeze_epochs > parsed.epochs:
        own.error(
            f"argument --freeze-epochs: {parsed.freeze_epochs} is more than all {parsed.epochs} --epochs; freeze the "
            "trunk for fewer, or train for more"
        )


def _check_architecture(own: argparse.ArgumentParser, parsed: argparse.Namespace, architecture: str) -> None:
    """Refuse a size or a batch of which an architecture could learn nothing."""
    own_trunk = parsed.size is not None and parsed.trunk in OWN_TRUNKS
    if own_trunk and (reason := choices.too_small(architecture, parsed.trunk, *parsed.size)):
        own.error(f"argument --size: {reason}")
    if parsed.batch_size == 1 and architecture in choices.NORMALISING:
        own.error(
            f"argument --batch-size: {architecture!r} normalises over the images of a batch, so that it learns nothing "
            "from one alone; it needs at least 2, better 8"
        )


def default_name(data: str, architecture: str) -> str:
    """Name a model after its data set and its architecture."""
    path = os.path.realpath(data)  # Path.resolve raises an error for a link to itself until Python 3.13
    stem = data.removeprefix(TFDS) if data.startswith(TFDS) else re.sub(r"(?i)\.(npz|csv)$", "", os.path.basename(path))
    return f"{choices.slug(stem, 'model')}-{architecture}"
