"""A table of a measured data set, ``.csv`` or ``.jsonl``: a row for each image, so that mistakes can be looked at."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.errors import InvalidUsage, MissingInput
from model_export import files
from model_export.figures.metrics import losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = (
    "split",
    "file",
    "true_label",
    "predicted_label",
    "probability",
    "true_label_probability",
    "correct",
)


@dataclass(frozen=True)
class Answers:
    """The answers of a model for the images of one split."""

    names: tuple[str, ...]
    """Names of the files; for arrays, the split and the number of the image."""
    logits: NDArray[np.float32]
    """``[N, classes]``."""
    targets: NDArray[np.int64]
    """``[N]``, positions in the model's labels."""

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, split: str, labels: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """Yield the values of :data:`COLUMNS` for each image."""
        predicted = self.logits.argmax(1)
        chances, true_chances = (np.exp(-losses(self.logits, classes)) for classes in (predicted, self.targets))
        for name, true, answer, *both in zip(self.names, self.targets, predicted, chances, true_chances, strict=True):
            yield split, name, labels[true], labels[answer], *map(float, both), bool(true == answer)


def check(table: Path) -> None:
    """Check before measuring that a table can be written.

    Raises:
        MissingInput: Its folder does not exist.
        InvalidUsage: There is such a file already.
        OSError: The folder cannot be written.
    """
    if not table.parent.is_dir():
        raise MissingInput(f"there is no folder {table.parent} to write {table.name} into; make it first")
    if table.exists():
        raise InvalidUsage(f"{table} exists already; remove it, or name another --output")
    files.check(table.parent)


def write(table: Path, answers: dict[str, Answers], labels: tuple[str, ...]) -> None:
    """Write the images of all splits; the table appears complete or not at all."""
    rows = (row for split, answered in answers.items() for row in answered.rows(split, labels))
    with files.staged(table) as part:
        {".csv": _write_csv, ".jsonl": _write_jsonl}[table.suffix](part, rows)


def _write_csv(path: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    # The name of a file need not be UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _write_jsonl(path: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n")
