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
AGAINST = ("predicted_label_against", "probability_against", "correct_against")
"""Further columns, for another model."""


@dataclass(frozen=True)
class Answers:
    """The answers of a model for the images of one split."""

    names: tuple[str, ...]
    """Names of the files; for arrays, the split and the number of the image."""
    logits: NDArray[np.float32]
    """``[N, classes]``."""
    targets: NDArray[np.int64]
    """``[N]``, positions in the labels."""
    labels: tuple[str, ...]
    """Of the model."""
    groups: NDArray[np.intp] | None = None
    """The number of each image's group, ``[N]``; None if they are not grouped."""

    def __len__(self) -> int:
        return len(self.targets)

    def correct(self) -> NDArray[np.bool_]:
        """Whether the most probable class is the true one, ``[N]``."""
        return self.logits.argmax(1) == self.targets

    def rows(self, split: str) -> Iterator[tuple[Any, ...]]:
        """Yield the values of :data:`COLUMNS` for each image."""
        chances = np.exp(-losses(self.logits, self.targets))
        rows = zip(self.names, self.targets, chances, self.predictions(), strict=True)
        for name, true, chance, (label, probability, correct) in rows:
            yield split, name, self.labels[true], label, probability, float(chance), correct

    def predictions(self) -> Iterator[tuple[str, float, bool]]:
        """Yield the values of :data:`AGAINST` for each image: predicted class, its probability, whether it is right."""
        predicted = self.logits.argmax(1)
        chances = np.exp(-losses(self.logits, predicted))
        for label, chance, correct in zip(predicted, chances, self.correct(), strict=True):
            yield self.labels[label], float(chance), bool(correct)


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


def write(table: Path, answers: dict[str, Answers], against: dict[str, Answers] | None = None) -> None:
    """Write the images of all splits; the table appears complete or not at all.

    Args:
        table: The file.
        answers: Per split.
        against: Those of another model for the same images.
    """
    columns = COLUMNS if against is None else (*COLUMNS, *AGAINST)
    rows = (row for split, each in answers.items() for row in _rows(split, each, against and against[split]))
    with files.staged(table) as part:
        {".csv": _write_csv, ".jsonl": _write_jsonl}[table.suffix](part, columns, rows)


def _rows(split: str, answers: Answers, against: Answers | None) -> Iterator[tuple[Any, ...]]:
    if against is None:
        return answers.rows(split)
    return ((*row, *other) for row, other in zip(answers.rows(split), against.predictions(), strict=True))


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    # The name of a file need not be UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _write_jsonl(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")
