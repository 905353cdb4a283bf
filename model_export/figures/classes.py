"""How well a model recognises each class, and which classes it confuses.

The figures are those of scikit-learn's ``classification_report``; see :func:`model_export.figures.metrics.by_class`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Column, Table

from model_export.console.numbers import counted
from model_export.figures.metrics import by_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

Figures = dict[str, dict[str, float | None]]
"""By class: ``precision``, ``recall`` and ``f1``, None if undefined; ``images`` of it, and how often it was
``predicted``."""
Mistake = tuple[int, str, str]
"""Number of images, their class, and the predicted class."""

_COLUMNS = ("class", "images", "precision", "recall", "F1")
_MARKDOWN = re.compile(r"([\\`*_|<>\[\]&~$])")
_MOST_CLASSES = 20
_MOST_MISTAKES = _MOST_WEAK = 3


@dataclass(frozen=True)
class Classes:
    """How the images of one split were classified."""

    labels: tuple[str, ...]
    matrix: NDArray[np.int64]
    """Images by ``[true class, predicted class]``, both in the order of the labels."""

    def document(self, digits: int | None = None) -> Figures:
        """Convert the figures of every class to JSON values, rounded to a number of digits."""
        columns = [
            *([_number(value, digits) for value in values] for values in by_class(self.matrix)),
            self.matrix.sum(1).tolist(),
            self.matrix.sum(0).tolist(),
        ]
        names = ("precision", "recall", "f1", "images", "predicted")
        return {
            label: dict(zip(names, row, strict=True))
            for label, row in zip(self.labels, zip(*columns, strict=True), strict=True)
        }

    def mistakes(self) -> list[Mistake]:
        """Find the three most frequent mistakes."""
        wrong = np.where(np.eye(len(self.labels), dtype=bool), 0, self.matrix)
        order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_MISTAKES]
        found = zip(*np.unravel_index(order, wrong.shape), strict=True)
        return [(int(wrong[i, j]), self.labels[i], self.labels[j]) for i, j in found if wrong[i, j]]


def lines(
    split: str, figures: Figures, overall: dict[str, float], mistakes: Sequence[Mistake] = ()
) -> Iterator[Table | str]:
    """Describe a split: a table of its classes, their means, its most frequent mistakes.

    With more than twenty classes, those with the lowest recall are shown; classes without images are omitted.

    Args:
        split: Its name.
        figures: Of each class.
        overall: Of the split; see :func:`model_export.figures.metrics.figures`.
        mistakes: See :meth:`Classes.mistakes`.
    """
    title, rows, rest = _shown(split, figures)
    table = Table(Column(_COLUMNS[0], overflow="fold"), *_COLUMNS[1:], title=title)  # cut off, two may be the same
    for row in rows:
        table.add_row(*row)
    yield table
    if rest:
        yield rest
    yield _means(overall)
    if mistakes:
        named = "; ".join(f"{true} taken for {predicted} ({count:,})" for count, true, predicted in mistakes)
        yield f"most frequent mistakes: {named}"


def weakest(split: str, figures: Figures) -> str:
    """Name the classes whose images are recognised least, three at most; empty if all images are."""
    found = [(each["recall"] or 0.0, label, each["images"]) for label, each in figures.items() if each["images"]]
    weak = [one for one in sorted(found)[:_MOST_WEAK] if one[0] < 1]
    named = ", ".join(f"{label} {recall:.4f} ({counted(round(images), 'image')})" for recall, label, images in weak)
    return named and f"lowest recall in {split}: {named}"


def markdown(split: str, figures: Figures, overall: dict[str, float]) -> Iterator[str]:
    """Describe a split as :func:`lines` does, in Markdown: a title, a table, the means."""
    title, rows, rest = _shown(split, figures)
    yield f"{title[0].upper()}{title[1:]}:"
    rows = [[escaped(label), *cells] for label, *cells in rows]
    yield "\n".join(f"| {' | '.join(row)} |" for row in (_COLUMNS, ["---"] * len(_COLUMNS), *rows))
    means = _means(overall)
    yield f"{rest}. {means[0].upper()}{means[1:]}." if rest else f"{means[0].upper()}{means[1:]}."


def _shown(split: str, figures: Figures) -> tuple[str, list[list[str]], str]:
    """Choose the classes to show; returns a title, their rows, and what to say of those left out."""
    known = [(label, each) for label, each in figures.items() if each["images"]]
    shown, title = known, f"{split}: each class"
    if len(known) > _MOST_CLASSES:
        shown = sorted(known, key=lambda item: item[1]["recall"])[:_MOST_CLASSES]
        title = f"{split}: the {_MOST_CLASSES} classes with the lowest recall"
    rows = [
        [label, f"{each['images']:,.0f}", *(_cell(each[name]) for name in ("precision", "recall", "f1"))]
        for label, each in shown
    ]
    more = len(known) - len(shown)
    return title, rows, f"… and {more:,} more, with a recall of at least {shown[-1][1]['recall']:.4f}" if more else ""


def _means(overall: dict[str, float]) -> str:
    return f"balanced accuracy (mean recall) {overall['balanced_accuracy']:.4f}, macro F1 {overall['macro_f1']:.4f}"


def escaped(name: str) -> str:
    """Write a name in Markdown as it is, whatever characters it has."""
    return _MARKDOWN.sub(r"\\\1", name)


def _number(value: float, digits: int | None) -> float | None:
    if math.isnan(value):
        return None
    return float(value) if digits is None else round(float(value), digits)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
