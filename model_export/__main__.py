"""``python -m model_export``: parses, runs one command, says what came out, and ends with an exit code."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from importlib.util import find_spec
from typing import Any

from app.errors import DeviceUnavailable, InvalidArtifact, InvalidUsage, MissingInput, MultipoolError
from app.interrupts import EXIT_CODE, noted
from model_export import interrupts
from model_export.arguments import parse
from model_export.errors import BadData, BadSuccessor, MissingPackage, ParityFailure, PrecisionFailure
from model_export.invocation import lacks

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (BadData, 65),
    (ParityFailure, 65),
    (PrecisionFailure, 65),
    (BadSuccessor, 65),
    (InvalidArtifact, 65),
    (MissingInput, 66),
    (DeviceUnavailable, 69),
    (InvalidUsage, 2),
    (MultipoolError, 1),
    (OSError, 1),
)

_TRAINING = ("train", "compare", "publish")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of how Keras calls it
    # What they say of damaged files is said once, with the file's name, where the file is skipped.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"PIL\b")
    parsed = parse(arguments)
    try:
        with noted():
            result = _run(parsed)
    except KeyboardInterrupt as interrupt:
        print(interrupts.words(interrupt, publishing=parsed.command in ("train", "publish")), file=sys.stderr)
        return EXIT_CODE
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        print(f"error: {error}", file=sys.stderr)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    return _print(result) if parsed.json else 0


def _run(parsed: argparse.Namespace) -> dict[str, Any]:
    """Run the command; what it takes is imported now, when a wrong command line has long been said."""
    if parsed.command in _TRAINING and find_spec("tensorflow") is None:
        raise MissingPackage(lacks("TensorFlow, which training needs"))
    try:
        from model_export.commands import COMMANDS  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        raise MissingPackage(lacks(package)) from None
    return COMMANDS[parsed.command](parsed)


def _print(result: dict[str, Any]) -> int:
    """Print a result as JSON; whoever reads it may have seen enough."""
    try:
        print(json.dumps(result, indent=2), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
