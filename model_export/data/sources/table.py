"""A table of images: a ``.csv`` file with the columns ``file`` and ``label``, and perhaps ``split`` and ``group``."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

from app.errors import MissingInput
from model_export.console import mounts
from model_export.console.numbers import shortened
from model_export.data.sources.listing import SPLIT_NAMES, File, Listing, check_names, clean, stamp_of, why_no_image
from model_export.errors import BadData

_NEEDED = ("file", "label")
_COLUMNS = (*_NEEDED, "split", "group")
_SEPARATORS = (",", ";", "\t")
_MOST_NAMED = 3


@dataclass(frozen=True)
class _Row:
    """One image, as the table has it."""

    line: int
    file: str
    label: str
    split: str
    group: str


def listing(path: Path, *, measuring: bool = False) -> Listing:
    """List the images that a table names.

    Paths are relative to the folder of the table. Without a column ``split`` all images are in ``train``. The order of
    the rows has no effect, and columns may be separated by commas, semicolons or tabs.

    Args:
        path: The table, in UTF-8, with the names of the columns in its first line.
        measuring: For measuring only: one class is enough, and ``train`` may be missing.

    Raises:
        MissingInput: There is no such file, or it names no image.
        BadData: It is no such table, or names files that do not exist; the message names the first lines.
    """
    rows, notes = _read(path)
    labels = tuple(sorted({row.label for row in rows if measuring or row.split == "train"}))
    check_names(labels)
    if not measuring:
        _check_classes(path, rows, labels)
    numbers = {label: number for number, label in enumerate(labels)}
    rows = sorted(rows, key=lambda row: row.file)
    files: dict[str, list[File]] = {row.split: [] for row in rows}
    lost: dict[int, str] = {}
    skipped: list[str] = []
    for row in rows:
        file = path.parent / row.file
        try:
            if not file.is_file():
                lost[row.line] = f"{row.file}: {'it is no file' if file.exists() else 'no such file'}"
                continue
            size, stamp = file.stat().st_size, stamp_of(file)
        except OSError as error:  # a folder that may not be entered; a name that is too long
            lost[row.line] = f"{row.file!r}: {error.strerror}"
            continue
        try:
            why = why_no_image(file)
        except OSError as error:
            why = f"it cannot be read: {error.strerror}"
        if why:
            skipped.append(f"{row.file}: {why}")
            continue
        files[row.split].append(File(row.file, numbers[row.label], file.read_bytes, stamp, size, row.group))
    if lost:
        slashes = ", with / between folders" if any("\\" in row.file for row in rows if row.line in lost) else ""
        lines = [f"line {line}: {reason}" for line, reason in sorted(lost.items())]
        raise _bad(path, lines, f"; paths are relative to {path.parent}{slashes}")
    if not any(files.values()):
        raise MissingInput(f"{path} names no image; skipped {shortened(skipped)}")
    if measuring:
        files = {split: members for split, members in files.items() if members}
    return Listing(path.resolve().stem, labels, files, skipped=tuple(skipped), notes=tuple(notes))


def _check_classes(path: Path, rows: list[_Row], labels: tuple[str, ...]) -> None:
    if not labels:
        raise BadData(f"{path} has no row whose split is 'train'")
    if len(labels) == 1:
        raise BadData(f"{path} has one class, {labels[0]!r}; a classifier needs at least two")
    known = set(labels)
    if unknown := [f"line {row.line}: {row.label!r}" for row in rows if row.label not in known]:
        raise _bad(path, unknown, ": no row with the split 'train' has this label")


def _read(path: Path) -> tuple[list[_Row], list[str]]:
    """Read the rows, and say which columns are not read."""
    reader, header = _open(path)
    columns = [name.strip().lower() for name in header]
    doubled = [name for name in _COLUMNS if columns.count(name) > 1]
    if doubled:
        raise BadData(f"{path} has two columns {doubled[0]!r}; keep one of them")
    rows: list[_Row] = []
    wrong: list[str] = []
    try:
        for cells in reader:
            if not any(cells):  # an empty line
                continue
            if len(cells) != len(columns):
                wrong.append(f"line {reader.line_num}: {len(cells)} cells, but the first line has {len(columns)}")
                continue
            row, reason = _row(reader.line_num, dict(zip(columns, cells, strict=True)))
            wrong += [f"line {row.line}: {reason}"] if reason else []
            rows.append(row)
    except csv.Error as error:
        raise BadData(f"{path}: line {reader.line_num}: {error}; write it as CSV") from None
    wrong += _repeated(rows)
    if wrong:
        raise _bad(path, wrong)
    if not rows:
        raise BadData(f"{path} has no rows below the names of its columns")
    others = [repr(name.strip()) for name in header if name.strip().lower() not in _COLUMNS]
    known = ", ".join(_COLUMNS)
    return rows, [f"{path.name}: only the columns {known} are read, not {', '.join(others)}"] if others else []


def _open(path: Path) -> tuple[csv.reader, list[str]]:
    """Open a table and read the names of its columns."""
    if not path.is_file():
        why = mounts.why_missing(path)
        raise MissingInput(f"{path} is not a file; name a table with the columns file and label{why}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(
            f"{path} is not UTF-8 (byte {error.start:,}); save it as CSV in UTF-8, in Excel 'CSV UTF-8'"
        ) from None
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        try:
            header = next(reader, [])
        except csv.Error:
            continue
        if set(_NEEDED) <= {name.strip().lower() for name in header}:
            return reader, header
    first = text.partition("\n")[0].strip()
    raise BadData(f"{path} needs the columns 'file' and 'label', named in its first line, which is {first[:200]!r}")


def _row(line: int, cells: dict[str, str]) -> tuple[_Row, str]:
    """Make a row, and say what is wrong with it, if anything is."""
    split = cells.get("split", "train").strip()
    name = SPLIT_NAMES.get(split.lower())
    row = _Row(line, cells["file"].strip(), clean(cells["label"]), name or "train", cells.get("group", "").strip())
    if not row.file or not row.label:
        return row, f"the {'label' if row.file else 'file'} is empty"
    if name is None:
        return row, f"the split is {split!r}; it can be train (or training), validation (val, valid) or test (testing)"
    if "group" in cells and not row.group:
        return row, "the group is empty; give an image that belongs to no other a group of its own"
    return row, ""


def _repeated(rows: list[_Row]) -> list[str]:
    """Name the files that are listed twice: an image has one class and is in one split."""
    first: dict[str, int] = {}
    twice = []
    for row in rows:
        before = first.setdefault(os.path.normpath(row.file), row.line)
        if before != row.line:
            twice.append(f"line {row.line}: {row.file} is in line {before} already")
    return twice


def _bad(path: Path, lines: list[str], advice: str = "") -> BadData:
    more = f"; and {len(lines) - _MOST_NAMED:,} more" if len(lines) > _MOST_NAMED else ""
    return BadData(f"{path}: {'; '.join(lines[:_MOST_NAMED])}{more}{advice}")
