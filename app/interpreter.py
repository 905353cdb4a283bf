"""How the interpreter that runs is called: outside its environment, a bare ``python`` may be another, or none."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def command() -> str:
    """Write it as a shell takes it, relative where it lies below the current folder."""
    path, here = Path(sys.executable or "python"), Path(os.path.abspath("."))
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
