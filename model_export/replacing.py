"""Writes files by rename, so that they are whole or as they were, even where the machine stops in between."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write a file, in place of the one that may be there."""
    staged = path.with_name(f".{path.name}.part")
    staged.write_bytes(content)
    replace(staged, path)


def replace(staged: Path, path: Path) -> None:
    """Rename a file that is finished to another name on the same disk, where it has arrived by then."""
    sync(staged)
    staged.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """See that a file, or what was renamed within a folder, has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
