"""The command that starts this program, in a form that can be copied from the output and run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from app import interpreter
from model_export.console import mounts

_ENVIRONMENT, _PYTHON = Path(".venv"), Path("bin", "python")  # as the Makefile makes it


def program(data: str = "") -> str:
    """Name this program as it is called from this folder, for a command that reads a data set."""
    if mounts.in_compose():
        return f"docker compose run --rm {mounts.mount_option(data)}model_export"
    return f"{interpreter.command()} -m model_export"


def called() -> str:
    """Name it as in texts that are the same everywhere, whichever interpreter runs."""
    return program() if mounts.in_compose() else "python -m model_export"


def serving(repository: Path | None) -> str:
    """Write the command that serves a model repository; None for the default one, ``models`` in this folder."""
    if repository is None:
        return "docker compose up" if mounts.in_compose() else "make serve"
    folder = shlex.quote(str(repository))
    if not mounts.in_compose():
        return f"MULTIPOOL_MODELS_DIR={folder} make serve"
    here = "" if repository.is_absolute() else '"$PWD"/'  # Docker takes no relative path
    mount = f"-v {here}{folder}:/others:ro -e MULTIPOOL_MODELS_DIR=/others"
    return f"docker compose run --rm --service-ports {mount} multipool"


def recorded(command: str) -> str:
    """Write a command line of this program for published files, without a path that exists only on this machine."""
    return f"{interpreter.command() if interpreter.is_here() else 'python'} -m model_export {readable(command)}"


def readable(text: str) -> str:
    """Write a text that need not be UTF-8, such as a path, with all its other bytes escaped."""
    return text.encode(errors="backslashreplace").decode()


def installing(package: str) -> str:
    """Say how to add a package; what is installed in a container is gone with it."""
    if mounts.in_compose():
        return f"add {package} to the stage 'training' of the Dockerfile, and --build after 'run'"
    return f"{interpreter.command()} -m pip install {package}"


def lacks(package: str) -> str:
    """Say which interpreter lacks a package, and what to do."""
    other = (_ENVIRONMENT / _PYTHON).exists() and _ENVIRONMENT.resolve() != Path(sys.prefix).resolve()
    use = f", and use {_ENVIRONMENT / _PYTHON}" if other else ""
    return f"{interpreter.command()} has no {package}; run 'make training' once{use}"
