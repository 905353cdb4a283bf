"""Where a command writes: not inside its data set, where a new folder is a class the next time."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from app.errors import InvalidUsage
from model_export.data import sources

COMPARISONS = Path("comparisons")
"""Where reports are numbered if no folder is named for one."""


def check(arguments: argparse.Namespace) -> None:
    """Check that the folders in which ``train`` or ``compare`` writes are not read as part of the data.

    Raises:
        InvalidUsage: Some are; says which options choose them.
    """
    if arguments.command == "train":
        places = {"--runs": arguments.runs, "--output": arguments.output}
    else:
        places = {"--report": arguments.report or COMPARISONS}
    outside(arguments.data, places | ({"--cache": arguments.cache} if arguments.cache else {}))


def outside(data: str, places: Mapping[str, Path]) -> None:
    """Check that no folder, each by the option that chooses it, is inside a data set.

    Raises:
        InvalidUsage: Some are.
    """
    inside = [f"{option} {place}" for option, place in places.items() if sources.holds(data, place)]
    if inside:
        are = "is" if len(inside) == 1 else "are"
        raise InvalidUsage(
            f"{' and '.join(inside)} {are} inside DATA, {data}, where each new folder is read as a class, or as part "
            "of one; name one outside of it"
        )
