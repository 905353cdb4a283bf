"""Tables of predictions: CSV, JSON Lines or Parquet, written so that an interrupt costs nothing.

While images are being classified, a journal beside the table takes one line of JSON for each. When all are done the
table is made of it, appears by rename, and the journal goes. A run that finds a journal goes on after it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from app.errors import InvalidUsage, MultipoolError
from app.versions import Version

_PLAIN = ("file", "model", "version", "label", "probability", "uncertain", "familiarity", "error")
_ROWS = 1024

Row = dict[str, Any]


@dataclass
class Journal:
    """What is done so far, and where the rest goes."""

    table: Path
    version: Version
    features: bool
    path: Path
    file: BinaryIO
    done: set[str]

    def write(self, name: str, result: Row | MultipoolError) -> None:
        """Note one image."""
        row = {"error": str(result)} if isinstance(result, MultipoolError) else _flat(result)
        self.file.write(orjson.dumps({"file": name, **row}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")

    def rows(self) -> Iterator[Row]:
        """Go through what was noted, with every plain column."""
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                yield {**dict.fromkeys(_PLAIN), **orjson.loads(line)}


@contextmanager
def open_journal(table: Path, version: Version, *, features: bool) -> Iterator[Journal]:
    """Begin a journal, or go on with one.

    Raises:
        InvalidUsage: The table exists, its format cannot be written, or the journal belongs to something else.
    """
    if table.exists():
        raise InvalidUsage(f"{table} exists already; remove it, or name another --output")
    if table.suffix == ".parquet" and not _has_pyarrow():
        raise InvalidUsage("writing Parquet takes pyarrow: pip install pyarrow, or name an --output of .csv or .jsonl")
    path = table.with_name(f".{table.name}.journal")
    head = {"model": version.name, "version": version.number, "sha256": version.model.sha256, "features": features}
    with path.open("a+b") as file:
        yield Journal(table, version, features, path, file, _read(file, path, head))


def _has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401, PLC0415  # an extra
    except ImportError:
        return False
    return True


def _read(file: BinaryIO, path: Path, head: Row) -> set[str]:
    """Read what is done, and cut off a last line that was not finished."""
    file.seek(0)
    lines = [line for line in file if line.endswith(b"\n")]
    if lines and orjson.loads(lines[0]) != head:
        raise InvalidUsage(f"{path} was begun with another model or other options; remove it to begin anew")
    file.truncate(sum(map(len, lines)))
    if not lines:
        file.write(orjson.dumps(head) + b"\n")
    return {orjson.loads(line)["file"] for line in lines[1:]}


def _flat(result: Row) -> Row:
    row = {key: result[key] for key in ("model", "version", "label", "probability")}
    row["uncertain"] = result.get("uncertain")
    row["familiarity"] = result.get("familiarity", {}).get("joint")
    row["probabilities"] = result["probabilities"]
    row["features"] = {branch["name"]: branch["features"] for branch in result.get("branches", ())}
    return row


def finish(journal: Journal) -> tuple[int, int]:
    """Make the table of the journal; returns how many rows it has, and how many of them are errors."""
    part = journal.table.with_name(f".{journal.table.name}.part")
    {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}[journal.table.suffix](journal, part)
    failed = [row["error"] is not None for row in journal.rows()]
    part.replace(journal.table)
    journal.path.unlink()
    return len(failed), sum(failed)


def _write_jsonl(journal: Journal, part: Path) -> None:
    with part.open("wb") as file:
        for row in journal.rows():
            file.write(orjson.dumps(row) + b"\n")


def _write_csv(journal: Journal, part: Path) -> None:
    """One column for each probability and each feature."""
    metadata = journal.version.model.metadata
    labels, branches = metadata.labels, metadata.branches if journal.features else ()
    header = [*_PLAIN, *(f"probability_{label}" for label in labels)]
    header += [f"{branch.output}_{i}" for branch in branches for i in range(branch.width)]
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in journal.rows():
            values = [row[name] for name in _PLAIN]
            if row["error"] is None:
                values += [row["probabilities"][label] for label in labels]
                values += [value for branch in branches for value in row["features"][branch.name]]
            writer.writerow(values)


def _write_parquet(journal: Journal, part: Path) -> None:
    """One column for each probability, one list for each branch."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, and slow to import
    from pyarrow import parquet  # noqa: PLC0415

    metadata = journal.version.model.metadata
    labels, branches = metadata.labels, metadata.branches if journal.features else ()
    types = (pa.string(), pa.string(), pa.int64(), pa.string(), pa.float32(), pa.bool_(), pa.float32(), pa.string())
    schema = pa.schema(
        [
            *zip(_PLAIN, types, strict=True),
            *((f"probability_{label}", pa.float32()) for label in labels),
            *((branch.output, pa.list_(pa.float32())) for branch in branches),
        ]
    )

    def record(row: Row) -> Row:
        probabilities = {f"probability_{name}": value for name, value in row.pop("probabilities", {}).items()}
        features = row.pop("features", {})
        return {**row, **probabilities, **{branch.output: features.get(branch.name) for branch in branches}}

    rows = map(record, journal.rows())
    with parquet.ParquetWriter(part, schema) as writer:
        while chunk := list(islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))
