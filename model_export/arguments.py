"""The command line: what can be asked for, checked before anything is imported that takes long."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

ARCHITECTURES = ("channel-groups", "separable", "regions")
TRUNKS = ("plain", "batchnorm")
AUGMENTATIONS = ("none", "shift", "photo", "aerial")
DIGITS = "digits"

_MODEL_HELP = "model.onnx, or the folder it lies in"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; on a usage error, say what is wrong and exit with code 2."""
    top = parser()
    parsed = top.parse_args(arguments)
    if parsed.command == "train":
        parsed.name = parsed.name or default_name(parsed.data, parsed.architecture)
        parsed.augmentation = parsed.augmentation or ("shift" if parsed.data == DIGITS else "photo")
        if parsed.value_range is not None:
            parsed.value_range = tuple(parsed.value_range)
            low, high = parsed.value_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                top.error(f"argument --value-range: LOW {low:g} must be below HIGH {high:g}")
    return parsed


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="python -m model_export", description="From a folder of images to a published model."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add, name, text in (
        (_add_train, "train", "load, train, convert, verify and publish a model"),
        (_add_verify, "verify", "check a published file with the service's loader, and measure it on a data set"),
        (_add_inspect, "inspect", "print all that a published model says about itself"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        add(command)
        command.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return top


def _add_train(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("data", metavar="DATA", help="folder train|validation|test/<class>/* or <class>/*, or 'digits' (built in)")
    add("--architecture", choices=ARCHITECTURES, default="regions", help="what is pooled (default: regions)")
    add("--trunk", choices=TRUNKS, default="batchnorm", help="shared convolutions (default: batchnorm)")
    add("--name", type=_name, help="model name; default: data set and architecture")
    add("--output", type=Path, default=Path("models"), help="model repository (default: models)")
    add("--size", type=_size, help="H or HxW; default: the median size of the images, at most 128x128; digits 32")
    add("--channels", type=_channels, help="1 to 200; default: 3, and 1 for digits")
    text = "pixel values of more than 8 bits that become 0 and 255; default: the full range of their type"
    add("--value-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help=text)
    add("--epochs", type=_positive, default=30, help="at most; the best one is kept (default: %(default)s)")
    add("--batch-size", type=_positive, default=64, help="default: %(default)s")
    add("--learning-rate", type=_rate, default=2e-3, help="the highest of the schedule (default: %(default)s)")
    text = "random changes: none, shift, photo (also mirror), aerial (also turn); default: photo, and shift for digits"
    add("--augmentation", choices=AUGMENTATIONS, help=text)
    add("--seed", type=_seed, default=0, help="decides split, first weights and chances (default: %(default)s)")


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="MODEL", help=_MODEL_HELP)
    command.add_argument("data", nargs="?", metavar="DATA", help="data set to measure it on")


def _add_inspect(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="MODEL", help=_MODEL_HELP)


def default_name(data: str, architecture: str) -> str:
    """Name a model after its data set and its architecture."""
    stem = re.sub(r"[^a-z0-9]+", "-", Path(data).resolve().name.lower()).strip("-")
    return f"{stem or 'model'}-{architecture}"


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size up to 9999; write 64, or 64x96 for height and width")
    return int(match[1]), int(match[2] or match[1])


def _name(text: str) -> str:
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a model name; use lower-case letters, digits, '-' and '_'")
    return text


def _channels(text: str) -> int:
    number = _positive(text)
    if number > 200:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of channels from 1 to 200")
    return number


def _positive(text: str) -> int:
    if re.fullmatch(r"[1-9]\d*", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _seed(text: str) -> int:
    if re.fullmatch(r"\d{1,9}", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate between 0 and 1")
    return rate
