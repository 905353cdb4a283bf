"""What lies in the model repository's folder: ``<name>/<version>/model.onnx``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from app.errors import ModelNotFound, NothingToServe

FILE = "model.onnx"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


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
        NothingToServe: The folder cannot be read, or holds no model.
    """
    try:
        found = sorted(
            Found(model.name, int(version.name), version / FILE)
            for model in root.iterdir()
            if model.is_dir() and _NAME.fullmatch(model.name)
            for version in model.iterdir()
            if version.is_dir() and _VERSION.fullmatch(version.name)
        )
    except OSError as error:
        raise NothingToServe(
            f"the model repository {str(root)!r} cannot be read: {error.strerror}; set MULTIPOOL_MODELS_DIR"
        ) from None
    if not found:
        words = f"; {why}" if (why := passed_over(root)) else ""
        raise NothingToServe(
            f"the model repository {str(root)!r} holds no <name>/<version>/{FILE}; publish one with "
            f"'python -m model_export train', or set MULTIPOOL_MODELS_DIR{words}"
        )
    return found


def passed_over(root: Path) -> str | None:
    """Say which folders below ``root`` would be models but for their names; None where there are none."""
    names = {path.parent.parent.name for path in root.glob(f"*/[1-9]*/{FILE}")}
    others = sorted(name for name in names if not name.startswith(".") and _NAME.fullmatch(name) is None)
    if not others:
        return None
    return (
        f"passed over {', '.join(map(repr, others))}: the name of a model has lower-case letters, digits, '-' and '_' "
        "only, and begins with a letter or digit; rename the folder"
    )


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
        raise ModelNotFound(f"there is no version {reference!r}; {name!r} has {numbers}")
    there = ", ".join(sorted({one.name for one in found})) or "none"
    raise ModelNotFound(f"there is no model {reference!r}; there are {there}")
