"""What lies in the model repository's folder: ``<name>/<version>/model.onnx``."""

from __future__ import annotations

import errno
import glob
import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from app.errors import ModelNotFound, NothingToServe

FILE = "model.onnx"

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_NO_FOLDER = (os.strerror(errno.ENOENT), os.strerror(errno.ENOTDIR))
VERSION = re.compile(r"[1-9][0-9]{0,8}")
"""What a version's number looks like."""
_WITHDRAWN = ".withdrawn"
"""Ends the name of a version that was taken out of service on purpose: no mistake to warn of."""


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
        if _NAME.fullmatch(model.name)
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

    def look(self) -> list[Found]:
        """List every artifact that can be read, by name and version, and log which folders cannot."""
        found, unreadable = _survey(self.root)
        for folder, reason in unreadable.items():
            if folder not in self.unreadable:
                log.error("%s cannot be read: %s; nothing is loaded or removed there", folder, reason)
        for folder in self.unreadable:
            if folder not in unreadable:
                log.info("%s can be read again, or is gone", folder)
        self.unreadable = unreadable
        self.warn()
        return found

    def warn(self) -> None:
        """Log, once, what is passed over."""
        before, self._passed_over = self._passed_over, passed_over(self.root)
        for words in self._passed_over:
            if words not in before:
                log.warning("%s", words)

    def hides(self, found: Found) -> bool:
        """Tell whether nothing can be said of an artifact, because a folder above it could not be read."""
        return any(folder in found.path.parents for folder in self.unreadable)


def passed_over(root: Path) -> list[str]:
    """Say what below ``root`` would be a model or version but for its name, or for a link that leads nowhere.

    Each line ends with what to do.
    """
    names, versions = set(), set()
    for version in (path.parent for path in _matching(root, f"[!.]*/[!.]*/{FILE}") if os.path.exists(path)):
        if _NAME.fullmatch(version.parent.name) is None:
            names.add(version.parent.name)
        elif VERSION.fullmatch(version.name.removesuffix(_WITHDRAWN)) is None:
            versions.add(f"{version.parent.name}/{version.name}")
    return [
        *(
            f"passed over {name!r}: the name of a model has lower-case letters, digits, '-' and '_' only, and begins "
            "with a letter or digit; rename the folder"
            for name in sorted(names)
        ),
        *(
            f"passed over {name!r}: a version is a positive whole number, without zeros in front; rename the folder"
            for name in sorted(versions)
        ),
        *(
            f"passed over '{link.relative_to(root)}': it is a link, and what it leads to is not there (in a container: "
            "not mounted); put the folder itself here, or mount what the link leads to"
            for link in _broken_links(root)
        ),
    ]


def _broken_links(root: Path) -> list[Path]:
    """List the models, versions and files that are links to nothing: in a container, often to what is outside."""
    places = (path for place in ("[!.]*", "[!.]*/[!.]*", f"[!.]*/[!.]*/{FILE}") for path in _matching(root, place))
    return sorted(path for path in places if os.path.islink(path) and not os.path.exists(path))


def _matching(root: Path, pattern: str) -> list[Path]:
    """List what matches, links to nothing too, where folders can be read; ``root.glob`` raises where one cannot."""
    return [root / name for name in glob.glob(pattern, root_dir=root)]


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
    raise ModelNotFound(f"there is no model {reference!r}; there are {there}")
