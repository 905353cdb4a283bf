"""How this program is called: the interpreter, named so that a command can be pasted where it is printed."""

from __future__ import annotations

import sys
from pathlib import Path

from app import interpreter

_ENVIRONMENT, _PYTHON = Path(".venv"), Path("bin", "python")  # as the Makefile makes it


def program() -> str:
    """Name this program as it can be called again from this folder."""
    return f"{interpreter.command()} -m model_export"


def recorded() -> str:
    """Name this program for what is published: by no path that only this machine has."""
    return f"{interpreter.command() if interpreter.is_here() else 'python'} -m model_export"


def lacks(package: str) -> str:
    """Say which interpreter lacks a package that a command needs, and what to do."""
    other = (_ENVIRONMENT / _PYTHON).exists() and _ENVIRONMENT.resolve() != Path(sys.prefix).resolve()
    use = f", and use {_ENVIRONMENT / _PYTHON}" if other else ""
    return f"{interpreter.command()} has no {package}; run 'make training' once{use}"
