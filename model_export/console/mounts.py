"""What docker-compose.yml shows a training: this folder, and what is mounted beside it by the command that runs it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def in_compose() -> bool:
    """Tell whether docker-compose.yml runs this; the interpreter is then called by nobody outside."""
    return os.environ.get("MODEL_EXPORT_IN") == "compose"


def mount_option(data: str) -> str:
    """Write the option that mounts what a data set lies in, with a space; empty if that is there anyway.

    Where it lies outside cannot be seen from here, so the option names ``FOLDER`` instead.
    """
    path = Path(os.path.abspath(data))
    home = next(folder for folder in (path, *path.parents) if os.path.ismount(folder))
    there = not in_compose() or home in (Path("/"), Path.cwd(), Path.home())
    return "" if there else f"-v {shlex.quote(f'FOLDER:{home}:ro')} "


def why_missing(data: Path) -> str:
    """Say why a data set that is there outside may be missing here, to be appended to a message; empty if it is not."""
    if not in_compose():
        return ""
    if not data.exists():
        option = "-v /path/photos:/photos:ro"
        return (
            "; a container sees only the project's folder, by paths from there, and what is mounted: "
            f"docker compose run --rm {option} model_export … /photos"
        )
    if data.is_dir() and os.path.ismount(data) and not any(data.iterdir()):
        return "; it is empty: Docker mounts an empty folder if the one outside does not exist"
    return ""


def who() -> str:
    """Name the user who lacks a permission, to be appended to a message; outside of a container, it is the caller."""
    return f" for user {os.geteuid()}, who owns the project's folder" if in_compose() else ""
