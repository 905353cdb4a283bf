"""Readers of the values of options: each refuses what an option does not accept, and says why; imports nothing slow."""

from __future__ import annotations

import argparse
import math
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from app.escaping import printable
from app.registry.layout import NAME
from model_export.choices import APPLICATIONS, ARCHITECTURES, MOST_CHANNELS, OWN_TRUNKS, TABLES


def architectures(text: str) -> tuple[str, ...]:
    """Read names separated by commas."""
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in ARCHITECTURES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(ARCHITECTURES)}")
    return names


def labels(text: str) -> tuple[str, ...]:
    """Read class names separated by commas."""
    names = tuple(unicodedata.normalize("NFC", name).strip() for name in text.split(","))
    if len(set(names)) != len(names) or not all(names) or len(names) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} must be at least two different names, separated by commas")
    if strange := [name for name in names if not name.isprintable()]:
        raise argparse.ArgumentTypeError(f"the name {strange[0]!r} cannot be printed; choose another")
    return names


def pattern(text: str) -> str:
    """Read a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from None
    if text != (escaped := printable(text)):  # the metadata cannot have bytes that are not UTF-8
        raise argparse.ArgumentTypeError(f"{text!r} cannot be printed; write {escaped}")
    return text


def trunk(text: str) -> str:
    """Read the name of a trunk."""
    name = text.lower()
    if name not in (*OWN_TRUNKS, *APPLICATIONS):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither {', '.join(OWN_TRUNKS)} nor a network of keras.applications "
            f"({', '.join(APPLICATIONS)})"
        )
    return name


def size(text: str) -> tuple[int, int]:
    """Read ``H`` or ``HxW``."""
    match = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size up to 9999; write 64, or 64x96 for height and width")
    return int(match[1]), int(match[2] or match[1])


def folder(text: str) -> Path:
    """Read the name of a folder, which need not exist yet."""
    path = Path(text)
    for each in (path, *path.parents):
        if os.path.exists(each) and not os.path.isdir(each):  # unlike those of Path, they never raise
            raise argparse.ArgumentTypeError(f"{str(each)!r} is a file; name a folder")
    return path


def name(text: str) -> str:
    """Read the name of a model."""
    if NAME.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a model name; use lower-case letters, digits, '-' and '_'")
    return text


def channels(text: str) -> int:
    """Read a number of channels."""
    number = positive(text)
    if number > MOST_CHANNELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of channels from 1 to {MOST_CHANNELS}")
    return number


def table(text: str) -> Path:
    """Read the name of a table; its ending determines the format."""
    path = Path(text)
    if path.suffix not in TABLES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a table; its name must end in {' or '.join(TABLES)}")
    return path


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def whole(text: str) -> int:
    """Read a whole number of at least 0."""
    if re.fullmatch(r"\d{1,9}", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


def between(low: float, high: float, what: str) -> Callable[[str], float]:
    """Make a reader of numbers from ``low`` to below ``high``."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number < high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what}")
        return number

    return read


rate = between(1e-12, 1, "learning rate between 0 and 1")
decay = between(0, 1, "weight decay from 0 to below 1")
share = between(0, 1, "number from 0 to below 1")
