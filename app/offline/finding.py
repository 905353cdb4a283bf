"""Which images are meant: those named, listed on standard input, or in a folder."""

from __future__ import annotations

import os
import re
import stat
import sys
from itertools import chain
from pathlib import Path

from app.decoders import formats
from app.decoders.formats import SUFFIXES, UNREAD_SUFFIXES
from app.errors import MissingInput

_LISTED = Path("-")


def find(named: list[Path]) -> list[Path]:
    """List the named images, also from standard input, and the images at any depth in the named folders.

    Raises:
        MissingInput: There is no such file or folder, or no image in it. What a list names may have gone since: it gets
            an error of its own.
    """
    files: list[Path] = []
    for path in chain.from_iterable(_listed() if path == _LISTED else [path] for path in named):
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:  # it may be in a folder that cannot be opened, and gets an error of its own
            if isinstance(error, FileNotFoundError | NotADirectoryError) and path in named:
                raise MissingInput(f"{path} does not exist; name an image, or a folder of images") from None
            is_folder = False
        found = _images_in(path) if is_folder else [path]
        if not found:
            raise MissingInput(f"{path} holds no image; images end in {', '.join(sorted(SUFFIXES))}")
        files += found
    return files


def _listed() -> list[Path]:
    """Read paths from standard input, one per line or, as of ``find -print0``, each ended by a zero byte."""
    data = sys.stdin.buffer.read()
    parts = data.split(b"\0") if b"\0" in data else re.split(rb"\r?\n", data)
    paths = [Path(os.fsdecode(path)) for path in parts if path]
    if not paths:
        raise MissingInput("standard input names no image; write one path per line, as find does")
    return paths


def _images_in(folder: Path) -> list[Path]:
    """List the images in a folder, hidden ones excepted, and the folders in it that cannot be read, or are links.

    Such a folder is then reported like an image that cannot be read, instead of being left out.
    """
    found: list[Path] = []
    errors: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in names if _is_image(path := Path(root, name))]
        found += [path for name in folders if (path := Path(root, name)).is_symlink()]  # which os.walk does not follow
    return sorted([*found, *(Path(error.filename) for error in errors)])


def _is_image(path: Path) -> bool:
    """Tell whether a path is an image: by its suffix or, if there is none, by its first bytes; hidden files are not."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError:  # a broken link, or in a folder that cannot be opened: it gets an error of its own
        is_file = True
    if path.name.startswith(".") or not is_file:
        return False
    if path.suffix:
        return path.suffix.lower() in SUFFIXES | UNREAD_SUFFIXES
    return formats.begins_an_image(path)
