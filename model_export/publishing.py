"""Staging, and publishing a verified artifact by one rename."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import MultipoolError
from app.registry.layout import FILE, VERSION
from model_export import files

STAGING = ".staging-"
HIGHEST = ".highest"
"""Beside the versions of a model: the highest number ever used; the service ignores this file."""


@contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """Make a hidden folder beside the published versions, so that publishing is a rename; remove what is left over.

    Who stages shares the repository's lock, which the system releases when the process ends. So whoever gets it alone
    knows that nobody stages, and removes what killed processes left in the model's folder, and the folder if it is
    empty. Some file systems, such as NFS, lock no folders: there, nothing is removed.
    """
    home = repository / name
    _make(repository)
    handle = os.open(repository, os.O_RDONLY)
    try:
        if _is_alone(handle):
            for left in home.glob(f"{STAGING}*"):
                shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        _make(home)
        folder = home / Path(tempfile.mkdtemp(prefix=STAGING, dir=home)).name  # in Python 3.12, it became absolute
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if _is_alone(handle):
                with suppress(OSError):  # it has versions
                    home.rmdir()
    finally:
        os.close(handle)


def _make(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(folder.stat().st_mode | 0o555)  # the service may run as another user, whatever the umask is


def _is_alone(handle: int) -> bool:
    """Take the lock alone, if nobody else has it and there are locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def check(repository: Path, name: str) -> None:
    """Check before training that a model of this name can be published here.

    Raises:
        OSError: The folder cannot be written.
    """
    with staging(repository, name):
        pass


def versions(home: Path) -> list[int]:
    """List the versions in a model's folder."""
    return sorted(int(path.name) for path in home.iterdir() if VERSION.fullmatch(path.name))


def highest(home: Path) -> int:
    """Find the highest number that a version of a model has or had; 0 if there was none.

    A version that was withdrawn by renaming it, as to ``2.withdrawn``, counts, even if nothing is recorded.
    """
    names = [path.name.partition(".")[0] for path in home.iterdir()]
    with suppress(OSError, UnicodeDecodeError):  # nothing is recorded, or it cannot be read
        names.append((home / HIGHEST).read_text().strip())
    return max((int(name) for name in names if VERSION.fullmatch(name)), default=0)


def publish(folder: Path, describe: Callable[[int], None] = lambda _: None) -> Path:
    """Rename a staged folder to the next version of its model; returns the published folder.

    ``describe`` gets the number before the rename, and may write it into the folder.

    A version appears complete or not at all, and never replaces another: renaming onto a folder with content fails, and
    then the next number is tried. A number is not used again after its version was removed, because a client may still
    ask for it and mean the old one. So it is recorded before it is taken; a failure in between skips a number.

    Raises:
        MultipoolError: There is no higher number that the service would read.
    """
    folder.chmod(0o755)
    (folder / FILE).chmod(0o644)
    while True:
        number = 1 + highest(folder.parent)
        if not VERSION.fullmatch(str(number)):
            raise MultipoolError(f"no version can follow {number - 1} in {folder.parent}; publish under another --name")
        target = folder.parent / str(number)
        _note(number, folder)
        describe(number)
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            continue
        files.sync(folder.parent)
        return target


def _note(number: int, folder: Path) -> None:
    """Record a number as used, by rename; if this fails, its file is removed with the staged folder."""
    staged = folder / HIGHEST
    staged.write_text(f"{number}\n")
    staged.chmod(0o644)
    files.replace(staged, folder.parent / HIGHEST)
