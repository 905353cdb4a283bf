"""``python -m app``: start the service, check whether it can start, or classify without it."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from app import errors, interrupts, streams
from app.errors import MultipoolError
from app.escaping import printable


def _lacks(package: str | None) -> NoReturn:
    sys.exit(
        f"error: {sys.executable} lacks {package}, which the service needs; run 'make serve' once, and use "
        ".venv/bin/python; or install the project with an extra, as in: pip install '.[cpu]'"
    )


if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to say of Ctrl-C: the imports take long
streams.complete()  # before libraries are imported that open files, which would take the number of a closed stream
try:
    from app.options import parser
    from app.settings import PREFIX, Settings
except ModuleNotFoundError as lacking:
    _lacks(lacking.name)
if find_spec("onnxruntime") is None:  # which of its packages is installed, the extras 'cpu' and 'cuda' decide
    _lacks("onnxruntime")

EXIT_CODES: tuple[tuple[type[MultipoolError], int], ...] = (
    (errors.InvalidArtifact, 65),
    (errors.InvalidRequest, 65),
    (errors.NothingToServe, 66),
    (errors.MissingInput, 66),
    (errors.ModelNotFound, 66),
    (errors.DeviceUnavailable, 69),
    (errors.InvalidSettings, 78),
    (errors.PortInUse, 1),
    (errors.CannotListen, 78),
    (errors.InvalidUsage, 2),
)


def _exit_code(error: MultipoolError) -> int:
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr: a terminal may lack a character
    parsed = parser().parse_args(arguments)
    ending = interrupts.SIGNAL_CODES if parsed.command == "predict" else (signal.SIGINT,)  # the service has its own way
    try:
        with interrupts.noted(*ending):
            code = _run(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        resumable = parsed.command == "predict" and parsed.output is not None
        _say(parsed, f"interrupted{'; run the same command again to continue' if resumable else ''}")
        return interrupts.SIGNAL_CODES[interrupts.signal_of(interrupt)]
    except BrokenPipeError:  # the reader has closed the pipe, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 128 + signal.SIGPIPE
    except MultipoolError as error:
        _say(parsed, f"error: {error}")
        return _exit_code(error)
    except OSError as error:
        full = error.errno == errno.ENOSPC and error.filename is None  # where standard output goes
        _say(parsed, f"error: {f'the result cannot be written: {error.strerror}' if full else error}")
        return 1
    return code


def _run(parsed: argparse.Namespace) -> int:
    if parsed.command == "doctor":
        from app import doctor  # noqa: PLC0415  # no command needs the imports of the others

        error = doctor.run(json=parsed.json)
        return 0 if error is None else _exit_code(error)
    settings = Settings.load()
    if parsed.command == "predict":
        from app.offline import predict  # noqa: PLC0415

        if parsed.min_confidence is not None:
            settings = settings.model_copy(update={"min_confidence": parsed.min_confidence})
        return predict.run(parsed, settings)
    from app.serving import serve  # noqa: PLC0415

    serve(settings)
    return 0


def _say(parsed: argparse.Namespace, text: str) -> None:
    """Print why the command ends; for the service, in its log format, even if other settings are invalid."""
    text = printable(text)
    if parsed.command in (None, "serve") and os.environ.get(f"{PREFIX}LOG_FORMAT") == "json":
        from app import logs  # noqa: PLC0415  # as above

        text = logs.as_json(logging.ERROR, text.removeprefix("error: "))
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
