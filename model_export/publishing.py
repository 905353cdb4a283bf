"""Staging, and publishing a verified artifact by one rename."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.artifacts import FILE


@contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """Make a hidden folder beside the published versions, so that publishing is a rename; remove what is left of it."""
    home = repository / name
    home.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # it holds versions, or another run is staging in it
            home.rmdir()


def check(repository: Path, name: str) -> None:
    """See that a model of this name can be published here, before hours go into it.

    Raises:
        OSError: It cannot.
    """
    with staging(repository, name):
        pass


def versions(home: Path) -> list[int]:
    """List the versions in a model's folder."""
    return sorted(int(path.name) for path in home.iterdir() if path.name.isdecimal())


def publish(folder: Path) -> Path:
    """Rename a staged folder to the next version of its model; returns the published folder.

    A version appears whole or not at all, and never replaces another: renaming onto a folder with content fails, and
    then the next number is tried.
    """
    folder.chmod(0o755)
    (folder / FILE).chmod(0o644)
    version = 1 + max(versions(folder.parent), default=0)
    while True:
        target = folder.parent / str(version)
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            version += 1
            continue
        _sync(folder.parent)
        return target


def _sync(folder: Path) -> None:
    """See that the rename has reached the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
