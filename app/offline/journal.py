"""The journal of an unfinished table, so that an interrupted run can continue.

While images are being classified, a journal beside the table gets one line of JSON for each. A run that finds a journal
continues after it, but only with the same model, options and folders. Images that could not be used, or have changed
since, are tried again.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from app.errors import InvalidUsage, MissingInput, MultipoolError
from app.offline import identity
from app.registry.versions import Version

Row = dict[str, Any]


class Line(NamedTuple):
    """Where in the journal the latest line of an image is."""

    offset: int
    stamp: str
    """Stamp of the file that was read; empty if there is an error instead of an answer."""


class Options(NamedTuple):
    """What determines the contents of a table, besides the model."""

    features: bool
    contributions: bool
    min_confidence: float
    folders: list[str]


@dataclass
class Journal:
    """The lines of one table, by the absolute paths of its images."""

    table: Path
    version: Version
    options: Options
    path: Path
    file: BinaryIO
    lines: dict[str, Line]

    def has(self, image: Path) -> bool:
        """Whether there is an answer for the image as it is now."""
        line = self.lines.get(identity.key(image))
        return line is not None and line.stamp != "" and line.stamp == identity.stamp(image)

    def knows(self, image: Path) -> bool:
        """Whether the image was tried before."""
        return identity.key(image) in self.lines

    def write(self, image: Path, read: str, result: Row | MultipoolError) -> None:
        """Write the result for one image, with the stamp that it had before it was read."""
        if isinstance(result, MultipoolError):
            read, row = "", {"error": str(result)}
        else:
            row = _flat(result)
        path = identity.key(image)
        self.lines[path] = Line(self.file.tell(), read)
        noted = {"path": path, "stamp": read, **row}
        self.file.write(orjson.dumps(noted, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")

    def rows(self, images: Iterable[Path]) -> Iterator[Row]:
        """Read the rows of these images."""
        for image in images:
            self.file.seek(self.lines[identity.key(image)].offset)
            row = orjson.loads(self.file.readline())
            del row["path"], row["stamp"]
            yield {"file": identity.name(image), **row}


@contextmanager
def open_journal(table: Path, version: Version, options: Options) -> Iterator[Journal]:
    """Begin a journal, or continue one.

    Raises:
        MissingInput: The folder of the table does not exist.
        InvalidUsage: The table exists, the journal was started with other options, or another run is writing it.
    """
    if not table.parent.is_dir():
        raise MissingInput(f"there is no folder {table.parent} to write {table.name} into")
    if table.exists():
        raise InvalidUsage(
            f"{table} exists already, and a finished table is never changed; remove it, or name another --output"
        )
    path = table.with_name(f".{table.name}.journal")
    head = {"model": version.name, "version": version.number, "sha256": version.model.sha256, **options._asdict()}
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidUsage(f"{table} is being written by another run; name another --output") from None
        except OSError:  # a file system without locks, as some clusters have: go on as if it were held
            pass
        file.seek(0)
        first = file.readline()
        was = {"contributions": False, **_parse(first)}  # missing in the journals of older versions
        if first.endswith(b"\n") and (differences := _differences(was, head)):
            raise InvalidUsage(
                f"{table} was started with {', '.join(differences)}; "
                f"continue it as it was started, or remove {path} to start again"
            )
        yield Journal(table, version, options, path, file, _read(file, head))


def _differences(was: Row, head: Row) -> list[str]:
    """List what differs, with the old and the new value."""
    told = [key for key in head if was.get(key) != head[key]]
    if {"model", "version"} & set(told):
        told = [key for key in told if key != "sha256"]  # follows from them, but for a copy under another name
    return [f"{key} {_said(was.get(key))} (now {_said(head[key])})" for key in told]


def _said(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _read(file: BinaryIO, head: Row) -> dict[str, Line]:
    """Find the lines of all images, and cut off an unfinished last one."""
    lines, end = {}, 0
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            break
        row = _parse(line)
        if end and "path" in row:
            lines[row["path"]] = Line(end, row["stamp"])
        end += len(line)
    file.truncate(end)
    file.seek(end)
    if not end:
        file.write(orjson.dumps(head) + b"\n")
    return lines


def _parse(line: bytes) -> Row:
    """Read a line; a damaged one is empty, so its image is tried again."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return row if isinstance(row, dict) else {}


def _flat(result: Row) -> Row:
    row = {key: result[key] for key in ("model", "version", "label", "probability")}
    row["uncertain"] = result.get("uncertain")
    row["familiarity"] = result.get("familiarity", {}).get("joint")
    row["probabilities"] = result["probabilities"]
    row["features"] = {branch["name"]: branch["features"] for branch in result.get("branches", ())}
    if "explanation" in result:
        first = next(iter(result["probabilities"]))  # the most probable class, even if it is not named
        row["bias"] = result["explanation"]["bias"][first]
        row["contributions"] = {
            branch["name"]: branch["contributions"][first] for branch in result["explanation"]["branches"]
        }
    return row
