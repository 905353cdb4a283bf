"""What lies in the model repository's folder: ``<name>/<version>/model.onnx``."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path
from typing import NamedTuple

from app.errors import ModelNotFound, NothingToServe
from app.registry.layout import FILE, NAME, VERSION
from app.registry.misplaced import passed_over

log = logging.getLogger(__name__)

_RARITY = 100
"""After a search for misplaced files, none is made for this many times as long as it took."""
_NO_FOLDER = (os.strerror(errno.ENOENT), os.strerror(errno.ENOTDIR))


class Stamp(NamedTuple):
    """What tells one content of a file from another without reading it."""

    modified_ns: int
    size: int
    inode: int


class Found(NamedTuple):
    """An artifact on the disk."""

    name: str
    number: int
    path: Path

    @property
    def reference(self) -> str:
        """How requests name it."""
        return f"{self.name}:{self.number}"

    def stamp(self) -> Stamp | None:
        """Look at the file, if it is there."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return Stamp(status.st_mtime_ns, status.st_size, status.st_ino)


def discover(root: Path) -> list[Found]:
    """List every artifact below ``root``, by name and version; what is named otherwise is not ours.

    Raises:
        NothingToServe: It, or a folder in it, cannot be read, or it holds no model.
    """
    found, unreadable = _survey(root)
    for folder, reason in unreadable.items():
        instead = "set MULTIPOOL_MODELS_DIR" if folder == root else "move it away"
        advice = instead if reason in _NO_FOLDER else f"let the service's user read it, or {instead}"
        raise NothingToServe(f"the model repository's folder {str(folder)!r} cannot be read: {reason}; {advice}")
    if not found:
        raise NothingToServe(
            f"the model repository {str(root)!r} holds no <name>/<version>/{FILE}; publish one with "
            + "; ".join(["'python -m model_export train', or set MULTIPOOL_MODELS_DIR", *passed_over(root)])
        )
    return found


def _survey(root: Path) -> tuple[list[Found], dict[Path, str]]:
    """List every artifact that can be seen, and each folder that cannot be read, with the reason."""
    unreadable: dict[Path, str] = {}
    try:
        os.listdir(root)
    except OSError as error:
        return [], {root: str(error.strerror)}
    found = [
        Found(model.name, int(version.name), version / FILE)
        for model in _listed(root, unreadable)
        if NAME.fullmatch(model.name)
        for version in _listed(model, unreadable)
        if VERSION.fullmatch(version.name) and _holds_a_file(version, unreadable)  # else it is still to come
    ]
    return sorted(found), unreadable


def _listed(folder: Path, unreadable: dict[Path, str]) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []  # it is just being deleted, or is a file
    except OSError as error:
        unreadable[folder] = str(error.strerror)
        return []


def _holds_a_file(version: Path, unreadable: dict[Path, str]) -> bool:
    try:
        return (version / FILE).is_file()
    except OSError as error:
        unreadable[version] = str(error.strerror)
        return False


class Folder:
    """The model repository's folder, looked at repeatedly; a part that cannot be read does not affect the others."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unreadable: dict[Path, str] = {}
        """Folders that could not be read at the last look, and why."""
        self._passed_over: list[str] = []
        self._warn_again_at = 0.0

    def look(self) -> list[Found]:
        """List every artifact that can be read, by name and version, and log which folders cannot."""
        found, unreadable = _survey(self.root)
        before, self.unreadable = self.unreadable, unreadable  # first, so that what is said is true by then
        for folder, reason in unreadable.items():
            if folder not in before:
                log.error("%s cannot be read: %s; nothing is loaded or removed there", folder, reason)
        for folder in before:
            if folder not in unreadable:
                log.info("%s can be read again, or is gone", folder)
        self.warn()
        return found

    def lists(self, name: str) -> list[Found]:
        """List what can be read of one model now; changes nothing."""
        return [found for found in _survey(self.root)[0] if found.name == name]

    def warn(self) -> None:
        """Log, once, what is passed over; in large repositories not at every look, as it takes longer than the rest."""
        if time.monotonic() < self._warn_again_at:
            return
        began = time.thread_time()
        before, self._passed_over = self._passed_over, passed_over(self.root)
        self._warn_again_at = time.monotonic() + _RARITY * (time.thread_time() - began)
        for words in self._passed_over:
            if words not in before:
                log.warning("%s", words)

    def hides(self, found: Found) -> bool:
        """Tell whether nothing can be said of an artifact, because a folder above it could not be read."""
        return any(folder in found.path.parents for folder in self.unreadable)


def select(found: list[Found], reference: str) -> Found:
    """Pick ``name:version``, or by ``name`` alone its highest version, from what was discovered.

    Raises:
        ModelNotFound: There is no such model or version; says which there are.
    """
    fitting = [one for one in found if reference in (one.name, one.reference)]
    if fitting:
        return fitting[-1]
    name = reference.partition(":")[0]
    numbers = [one.number for one in found if one.name == name]
    if numbers:
        raise ModelNotFound(f"there is no version {reference!r}; {name!r} has {', '.join(map(str, numbers))}")
    there = ", ".join(sorted({one.name for one in found})) or "none"
    meant = reference.replace("/", ":")
    if any(one.reference == meant for one in found):
        raise ModelNotFound(f"there is no model {reference!r}; write {meant!r}")
    elsewhere = "; for the models of another folder, set MULTIPOOL_MODELS_DIR" if os.path.exists(reference) else ""
    raise ModelNotFound(f"there is no model {reference!r}; there are {there}{elsewhere}")
