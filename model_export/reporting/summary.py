"""The report on a data set: its size, its classes, skipped files and warnings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from app.escaping import printable
from model_export import files
from model_export.console.numbers import counted, shortened
from model_export.console.progress import say
from model_export.datasets import leaks_in_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model_export.datasets import Dataset

_MOST_NAMED = 10
_MOST_KINDS = 6
_IMBALANCED = 3
_FEW_TO_LEARN_FROM = 10


def say_dataset(
    dataset: Dataset,
    counts: dict[str, NDArray[np.int64]] | None = None,
    *,
    training: bool = False,
    weighted: bool = False,
) -> None:
    """Report sizes, kinds of files, classes, skipped files, and images in two classes or splits.

    Args:
        dataset: What was loaded.
        counts: Images per split and class, if it is split differently from how it was loaded.
        training: Whether training options can still be chosen, and so are suggested.
        weighted: Whether class weights have been chosen.
    """
    groups = dataset.counts_of_groups() if counts is None else {}
    counts = counts or dataset.counts_of_classes()
    size = "×".join(str(side) for side in dataset.shape)
    sums = ", ".join(f"{numbers.sum():,} {split}" for split, numbers in counts.items())
    say(f"{dataset.name}: {counted(len(dataset.labels), 'class', 'classes')}, images {size}, {sums}")
    _say_kinds(dataset)
    if groups:
        say("groups: " + ", ".join(f"{number:,} {split}" for split, number in groups.items()))
    _say_classes(dataset.labels, counts, suggesting=training and not weighted)
    for line in dataset.notes:
        say(f"warning: {line}")
    say_skipped(dataset.skipped)
    _say_ignored(dataset.ignored)
    if training and (advice := dataset.advice()):
        say(f"note: {advice}")
    _say_contradictions(dataset)
    _say_leaks(dataset, training=training)


def say_skipped(lines: Sequence[str], who: str = "") -> None:
    """Name the first skipped files, each with the reason, and say how many there are, and perhaps who skipped them."""
    _say_first((f"{who}skipped {line}" for line in sorted(lines)), len(lines))
    if lines:
        say(f"{who}skipped {counted(len(lines), 'file')} in all")


def keep_skipped(lines: Sequence[str], path: Path) -> None:
    """Write them all into a file, one a line, if there are any; and say where, if not all were named."""
    if lines:
        files.write(path, "".join(f"{printable(line)}\n" for line in sorted(lines)).encode())
    if len(lines) > _MOST_NAMED:
        say(f"{path} names all {len(lines):,} skipped files")


def _say_ignored(lines: Sequence[str]) -> None:
    """Count the files that are no images by the endings of their names."""
    kinds = Counter(Path(line.partition(": ")[0]).suffix or "without an ending" for line in lines)
    named = shortened(f"{count:,} {kind}" for kind, count in kinds.most_common())
    if lines:
        say(f"left out {counted(len(lines), 'file')} beside the images: {named}")


def _say_kinds(dataset: Dataset) -> None:
    kinds: Counter[str] = Counter()
    for split in dataset.splits.values():
        kinds.update(split.headers)
    modes: Counter[str] = Counter()
    sizes: set[tuple[int, ...]] = set()
    for kind, count in kinds.items():
        size, _, mode = kind.partition(" ")
        modes[mode or kind] += count
        if mode:  # else the header could not be read
            sizes.add(tuple(map(int, size.split("×"))))
    range_of_sizes = ""
    if len(sizes) > _MOST_KINDS:  # as of photos; named with each size, a rare mode would be lost among them
        kinds = modes
        least, most = ("×".join(map(str, end(sizes, key=math.prod))) for end in (min, max))
        range_of_sizes = f"; {len(sizes):,} sizes (height × width), {least} to {most}"
    named = ", ".join(f"{count:,} × {kind}" for kind, count in kinds.most_common(_MOST_KINDS))
    others = len(kinds) - _MOST_KINDS
    rest = f" and {counted(others, 'other kind')}" if others > 0 else ""
    if kinds:
        say(f"files: {named}{rest}{range_of_sizes}")


def _say_first(lines: Iterable[str], count: int) -> None:
    """Print the first of so many lines, and the number of the others."""
    for line in islice(lines, _MOST_NAMED):
        say(line)
    if count > _MOST_NAMED:
        say(f"… and {count - _MOST_NAMED:,} more")


def _say_classes(labels: tuple[str, ...], counts: dict[str, NDArray[np.int64]], *, suggesting: bool) -> None:
    for index, label in enumerate(labels):
        say(f"  {label}: " + ", ".join(f"{int(numbers[index]):,} {split}" for split, numbers in counts.items()))
    train = next(iter(counts.values()))
    least = int(train.min())
    if suggesting and train.max() >= _IMBALANCED * least > 0:
        add = f", which has {least} to learn from: add some" if least < _FEW_TO_LEARN_FROM else ""
        say(
            f"warning: {labels[train.argmax()]!r} has {train.max() / least:.1f} times the images of "
            f"{labels[train.argmin()]!r}{add}; --class-weights makes the classes count alike"
        )


def _say_contradictions(dataset: Dataset) -> None:
    count = len(dataset.contradictions)
    if not count:
        return
    say(
        f"warning: {counted(count, 'image is', 'images are')} in two classes, pixel by pixel, and any "
        "answer is wrong in one of them; keep each in one"
    )
    _say_first((f"  contradiction: {first} and {second}" for first, second in dataset.contradictions), count)


def _say_leaks(dataset: Dataset, *, training: bool) -> None:
    if not dataset.leaks:
        return
    found = leaks_in_words(dataset.counts_of_leaks())
    stop = " (--fail-on-leakage stops here)" if training else ""
    say(f"warning: {found}; figures measured on them are too good{stop}")
    _say_first((f"  {leak}" for leak in dataset.leaks), len(dataset.leaks))
