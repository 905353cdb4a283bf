"""The command line of the service: its commands, their options, and its settings, which are not options."""

from __future__ import annotations

import argparse
import math
import shlex
from pathlib import Path
from typing import NoReturn

from app import __version__
from app.settings import PREFIX, Settings, written

TABLES = (".csv", ".jsonl", ".parquet")
"""Suffixes of the tables that predictions can be written to."""


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
    doctor = commands.add_parser("doctor", help="check everything the service depends on, and say what to do")
    predict = commands.add_parser(
        "predict",
        help="classify image files without a service",
        epilog="Exit code 65: at least one image cannot be used; the reason is printed, and all others are answered.",
        conflict_handler="resolve",  # what is an option of it replaces the setting of that name
    )
    for command in (top, serve, doctor, predict):
        _add_settings(command)
    doctor.add_argument("--json", action="store_true", help="print the findings as a JSON document")
    _add_predict(predict)
    return top


def _add_settings(command: argparse.ArgumentParser) -> None:
    for name in Settings.model_fields:
        option = f"--{name.replace('_', '-')}"
        command.add_argument(option, action=_Setting, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_predict(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    text = "image, or folder of images at any depth; -: paths are read from standard input"
    add("images", nargs="+", type=_image, metavar="IMAGE", help=text)
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


def _image(text: str) -> Path:
    path = Path(text)
    return path.absolute() if path == Path("-") and text != "-" else path  # as Path, ./- is -, which is standard input


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
