"""Which file is which: its name as text, the path that no other file has, and what tells its content from another."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def name(file: Path) -> str:
    """Write a file's name as text, even if it is not UTF-8."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def key(file: Path) -> str:
    """Write a file's absolute path as text that no other file has, in whichever ways it is named.

    A name that is not UTF-8, or has a backslash, is written as Python writes bytes: as text alone, two might be alike.
    """
    path = os.fsencode(_absolute(file))
    text = path.decode("utf-8", "backslashreplace")
    return repr(path) if "\\" in text else text


def _absolute(file: Path) -> str:
    """Make a path absolute; behind a link to a folder, ``..`` is the folder that holds what the link leads to."""
    path = os.sep + os.path.join(os.getcwd(), file).lstrip(os.sep)  # // at the beginning is / on Linux
    if ".." not in file.parts:
        return os.path.abspath(path)
    done = os.sep
    for part in Path(path).parts[1:]:
        if part == ".." and os.path.isdir(done):  # else there is nothing behind it, whatever the text says
            done = os.path.dirname(os.path.realpath(done) if os.path.islink(done) else done)
        else:
            done = os.path.join(done, part)
    return done


def stamp(image: Path) -> str:
    """Identify the content of a file without reading it; empty if there is no file."""
    try:
        status = image.stat()
    except OSError:
        return ""
    # The time of the last change cannot be set, as archives do with the others.
    return f"{status.st_mtime_ns}:{status.st_size}:{status.st_ctime_ns}"


def folders(named: Iterable[Path]) -> list[str]:
    """List the named folders, and the folders of the named files."""
    return sorted({key(one if os.path.isdir(one) else one.parent) for one in named})
