"""Tables of predictions (CSV, JSON Lines, Parquet), made from a finished journal (:mod:`app.offline.journal`)."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import orjson

from app import interpreter
from app.errors import InvalidUsage
from app.offline.journal import Journal, Row

_PLAIN = ("file", "model", "version", "label", "probability", "uncertain", "familiarity", "error")
_ROWS = 1024


def check(table: Path) -> None:
    """Check that its format can be written.

    Raises:
        InvalidUsage: The format needs a package that is not installed.
    """
    if table.suffix != ".parquet":
        return
    try:
        import pyarrow  # noqa: F401, PLC0415  # an extra
    except ImportError:  # or it is there, and a library of it is not
        raise InvalidUsage(
            f"writing Parquet needs pyarrow: {interpreter.command()} -m pip install pyarrow, or name an --output of "
            ".csv or .jsonl"
        ) from None


def finish(journal: Journal, images: Sequence[Path]) -> None:
    """Make the table, a row for each image in this order; it appears by rename, and the journal is deleted."""
    part = journal.table.with_name(f".{journal.table.name}.part")
    write = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}[journal.table.suffix]
    write(journal, ({**dict.fromkeys(_PLAIN), **row} for row in journal.rows(images)), part)
    with part.open("rb") as file:
        os.fsync(file.fileno())  # the journal is not needed once the table has reached the disk
    part.replace(journal.table)
    journal.path.unlink()


def _shares(journal: Journal) -> list[str]:
    """Name the columns that add up to the logit of the most probable class, if the table has them."""
    branches = journal.version.model.metadata.branches
    return ["bias", *(f"contribution_{branch.name}" for branch in branches)] if journal.options.contributions else []


def _write_jsonl(_: Journal, rows: Iterator[Row], part: Path) -> None:
    with part.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row) + b"\n")


def _write_csv(journal: Journal, rows: Iterator[Row], part: Path) -> None:
    """One column for each probability, each contribution and each feature."""
    metadata = journal.version.model.metadata
    labels, branches = metadata.labels, metadata.branches if journal.options.features else ()
    header = [*_PLAIN, *(f"probability_{label}" for label in labels), *_shares(journal)]
    header += [f"{branch.output}_{i}" for branch in branches for i in range(branch.width)]
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            values = [row[name] for name in _PLAIN]
            if row["error"] is None:
                values += [row["probabilities"][label] for label in labels]
                if journal.options.contributions:
                    values += [row["bias"], *row["contributions"].values()]
                values += [value for branch in branches for value in row["features"][branch.name]]
            writer.writerow(values + [None] * (len(header) - len(values)))  # for an unusable image, the rest is empty


def _write_parquet(journal: Journal, rows: Iterator[Row], part: Path) -> None:
    """One column for each probability and each contribution, one list of features for each branch."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, and slow to import
    from pyarrow import parquet  # noqa: PLC0415

    metadata = journal.version.model.metadata
    labels, branches = metadata.labels, metadata.branches if journal.options.features else ()
    types = (pa.string(), pa.string(), pa.int64(), pa.string(), pa.float32(), pa.bool_(), pa.float32(), pa.string())
    schema = pa.schema(
        [
            *zip(_PLAIN, types, strict=True),
            *((f"probability_{label}", pa.float32()) for label in labels),
            *((name, pa.float32()) for name in _shares(journal)),
            *((branch.output, pa.list_(pa.float32())) for branch in branches),
        ]
    )

    def record(row: Row) -> Row:
        probabilities = {f"probability_{name}": value for name, value in row.pop("probabilities", {}).items()}
        shares = {f"contribution_{name}": value for name, value in row.pop("contributions", {}).items()}
        features = row.pop("features", {})
        return row | probabilities | shares | {branch.output: features.get(branch.name) for branch in branches}

    records = map(record, rows)
    with parquet.ParquetWriter(part, schema) as writer:
        while chunk := list(islice(records, _ROWS)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))
