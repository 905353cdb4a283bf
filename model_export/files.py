"""Files that are whole or as they were, even if the machine stops in between, and that one process writes at a time.

Also folders that are numbered, of which no two processes get the same.
"""

from __future__ import annotations

import csv
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def check(folder: Path) -> None:
    """Check that files can be written into a folder.

    Raises:
        OSError: They cannot; the error names the folder.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def numbered(home: Path) -> Path:
    """Make the next numbered folder in a folder, which is made too if it is missing."""
    home.mkdir(parents=True, exist_ok=True)
    last = max((int(path.name) for path in home.iterdir() if path.name.isdecimal()), default=0)
    for number in count(last + 1):
        with suppress(FileExistsError):  # another process took it
            (home / str(number)).mkdir()
            break
    return home / str(number)


def write(path: Path, content: bytes) -> None:
    """Write a file, or replace the one that is there."""
    with staged(path) as part:
        part.write_bytes(content)


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV, under the names of their columns; numbers so that reading them gives the same numbers."""
    with staged(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give the path to write a file to; it is renamed to ``path`` at the end, and removed if the block fails.

    Raises:
        OSError: It cannot be written; the error names ``path``.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        replace(part, path)
    except OSError as error:
        error.filename = str(path)  # of a disk that is full, the system does not say which file it was
        raise
    finally:
        part.unlink(missing_ok=True)


def replace(part: Path, path: Path) -> None:
    """Rename a finished file to another name on the same disk, and return when both have reached the disk."""
    sync(part)
    part.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a file, which is created if it is missing; the system releases it when the process ends.

    Some clusters have file systems without locks: there, every process goes on as if it held it.

    Yields:
        Whether the lock is held; false if another process holds it, and ``wait`` is false.
    """
    with path.open("ab") as file:
        held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            held = not isinstance(error, BlockingIOError)
        yield held
