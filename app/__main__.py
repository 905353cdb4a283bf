"""``python -m app``: start the service, check whether it can start, or classify without it."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import math
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from app import __version__, errors, interrupts, streams
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
    from app.settings import PREFIX, Settings, written
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

TABLES = (".csv", ".jsonl", ".parquet")
"""Suffixes of the tables that predictions can be written to."""


def _exit_code(error: MultipoolError) -> int:
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def settings_table() -> list[tuple[str, str, str]]:
    """List every setting: its name in the environment, its default, its meaning."""
    return [
        (PREFIX + name.upper(), written(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong without the list of all options before it, as the parser of the export stage does."""

    def error(self, message: str) -> NoReturn:
        if self.usage is not None:  # it is short, and shows how settings are given
            super().error(message)
        self.exit(2, f"{self.prog}: error: {message} (all options: {self.prog} --help)\n")


class _Setting(argparse.Action):
    """An option that is not there, because it is a setting."""

    def __call__(self, _parser: object, _namespace: object, value: object, option: str | None = None) -> NoReturn:
        setting = f"{PREFIX}{self.dest.upper()}={shlex.quote(str(value or '...'))}"
        parser().error(f"{option} is a setting, not an option; write {setting} before the command")


def _add_settings(command: argparse.ArgumentParser) -> None:
    for name in Settings.model_fields:
        option = f"--{name.replace('_', '-')}"
        command.add_argument(option, action=_Setting, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    settings = "\n".join(f"  {name} [{default}]\n      {meaning}" for name, default, meaning in settings_table())
    top = _Parser(
        prog="python -m app",
        usage=f"[{PREFIX}PORT=8000 ...] %(prog)s [-h] [--version] [COMMAND] ...",
        description="Serve multi-pool image classifiers over HTTP.",
        epilog=f"settings, read from the environment [default]:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # else an option of a command, as --model, might be short for settings
    )
    top.add_argument("--version", action="version", version=f"multipool {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", prog=top.prog)
    serve = commands.add_parser("serve", help="serve the models over HTTP (the default)", allow_abbrev=False)
    for takes_none in (top, serve):
        _add_settings(takes_none)
    doctor = commands.add_parser("doctor", help="check everything the service depends on, and say what to do")
    doctor.add_argument("--json", action="store_true", help="print the findings as a JSON document")
    epilog = "Exit code 65: at least one image cannot be used; the reason is printed, and all others are answered."
    _add_predict(commands.add_parser("predict", help="classify image files without a service", epilog=epilog))
    return top


def _add_predict(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    text = "image, or folder of images at any depth; -: paths are read from standard input"
    add("images", nargs="+", type=Path, metavar="IMAGE", help=text)
    add("--model", metavar="NAME[:VERSION]", help="default: MULTIPOOL_DEFAULT_MODEL, or the first by name")
    add("--json", action="store_true", help="print JSON, as the service would answer")
    add("--explain", type=Path, metavar="OUT.png", help="draw where in the image its label comes from; one image only")
    add("--label", metavar="CLASS", help="with --explain: the class to explain; default: the most probable one")
    add("--branch", metavar="NAME", help="with --explain: the branch to show; default: all of them together")
    add(
        "--output", type=_table, metavar="TABLE", help="write a table instead: .csv, .jsonl or .parquet; can be resumed"
    )
    add("--top", type=_positive, metavar="K", help="with --json: only the K most probable classes")
    text = "below this probability, name no label; default: MULTIPOOL_MIN_CONFIDENCE"
    add("--min-confidence", type=_probability, metavar="P", help=text)
    text = "with --json or --output: leave out the pooled features, which are most of a table"
    add("--no-features", dest="features", action="store_false", help=text)
    text = "with --json: add each branch's contribution to every logit; with --output: to that of the label"
    add("--contributions", action="store_true", help=text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _table(text: str) -> Path:
    path = Path(text)
    if path.suffix not in TABLES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a table; its name must end in {', '.join(TABLES)}")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr: a terminal may lack a character
    parsed = parser().parse_args(arguments)
    try:
        with interrupts.noted(signal.SIGINT):
            code = _run(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        resumable = parsed.command == "predict" and parsed.output is not None
        _say(parsed, f"interrupted{'; run the same command again to continue' if resumable else ''}")
        return interrupts.EXIT_CODES[signal.SIGINT]
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
