"""The command that starts this program, in a form that can be copied from the output and run."""

from __future__ import annotations

import sys
from pathlib import Path

from app import interpreter

_ENVIRONMENT, _PYTHON = Path(".venv"), Path("bin", "python")  # as the Makefile makes it


def program() -> str:
    """Name this program as it is called from this folder."""
    return f"{interpreter.command()} -m model_export"


def recorded(command: str) -> str:
    """Write a command line of this program for published files, without a path that exists only on this machine."""
    return f"{interpreter.command() if interpreter.is_here() else 'python'} -m model_export {readable(command)}"


def readable(text: str) -> str:
    """Write a text that need not be UTF-8, such as a path, with all its other bytes escaped."""
    return text.encode(errors="backslashreplace").decode()


def lacks(package: str) -> str:
    """Say which interpreter lacks a package, and what to do."""
    other = (_ENVIRONMENT / _PYTHON).exists() and _ENVIRONMENT.resolve() != Path(sys.prefix).resolve()
    use = f", and use {_ENVIRONMENT / _PYTHON}" if other else ""
    return f"{interpreter.command()} has no {package}; run 'make training' once{use}"
