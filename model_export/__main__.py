"""``python -m model_export``: runs one command and ends with an exit code."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
from importlib.util import find_spec
from typing import Any

from app.errors import InvalidArtifact, InvalidUsage, MissingInput, MultipoolError
from app.escaping import printable
from app.interrupts import SIGNAL_CODES, noted, signal_of
from app.streams import complete
from model_export.arguments import parse
from model_export.console import interrupts, mounts, streams
from model_export.console.invocation import lacks
from model_export.errors import BadData, BadSuccessor, MissingPackage, OutOfMemory, ParityFailure, PrecisionFailure

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (BadData, 65),
    (ParityFailure, 65),
    (PrecisionFailure, 65),
    (BadSuccessor, 65),
    (InvalidArtifact, 65),
    (MissingInput, 66),
    (InvalidUsage, 2),
    (MultipoolError, 1),
    (OSError, 1),
)

_TRAINING = ("train", "compare", "publish")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    complete()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of how Keras calls it
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr: a terminal may lack a character
    parsed = parse(arguments)
    try:
        with noted(*SIGNAL_CODES):
            result = _run(parsed)
    except KeyboardInterrupt as interrupt:
        _say(interrupts.words(interrupt, publishing=parsed.command in ("train", "publish")))
        return SIGNAL_CODES[signal_of(interrupt)]
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        may_pass = isinstance(error, OSError | OutOfMemory)  # a full disk can be emptied
        notes = getattr(error, "__notes__", []) if may_pass else []
        _say("; ".join([f"error: {_reason(error)}", *notes]))
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    return _end(result if parsed.json else None)


def _run(parsed: argparse.Namespace) -> dict[str, Any]:
    """Run the command; slow imports come now, so that a wrong command line is rejected without them."""
    if parsed.command in _TRAINING and find_spec("tensorflow") is None:
        raise MissingPackage(lacks("TensorFlow, which training needs"))
    try:
        from model_export.commands import COMMANDS  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        raise MissingPackage(lacks(package)) from None
    return COMMANDS[parsed.command](parsed)


def _reason(error: BaseException) -> str:
    """Say what went wrong; if the system says so, with the file but without its number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    file = error.filename2 or error.filename  # where to, if it was copied
    why = error.strerror + (mounts.who() if isinstance(error, PermissionError) else "")
    return f"{file}: {why}" if file else why


def _say(text: str) -> None:
    """Print why it ends, if somebody still reads the output."""
    try:
        print(printable(text), file=sys.stderr)
    except BrokenPipeError:
        streams.discard(sys.stderr)


def _end(result: dict[str, Any] | None) -> int:
    """Print a result as JSON; returns the exit code, another one if the reader has closed the output."""
    from model_export.reporting.printing import out  # noqa: PLC0415  # the command has imported it

    try:
        if result is not None:
            print(json.dumps(result, indent=2), flush=True)
    except OSError as error:
        streams.discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return streams.UNREAD
        _say(f"error: the result cannot be written: {error.strerror}")
        return 1
    return streams.UNREAD if out.closed else 0


if __name__ == "__main__":
    sys.exit(main())
