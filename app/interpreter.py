"""How the interpreter that runs is called: outside its environment, a bare ``python`` may be another, or none."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def command() -> str:
    """Write it as a shell takes it, relative where it lies below the current folder."""
    path = Path(sys.executable or "python")
    return shlex.quote(os.path.relpath(path) if is_here() else str(path))


def is_here() -> bool:
    """Tell whether it lies below the current folder."""
    return Path(sys.executable or "python").is_relative_to(os.path.abspath("."))
