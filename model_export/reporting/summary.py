"""The report on a data set: its size, its classes, skipped files and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from model_export import datasets
from model_export.console.numbers import counted
from model_export.console.progress import say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model_export.datasets import Dataset

_MOST_NAMED = 10
_MOST_KINDS = 6
_IMBALANCED = 3


def say_dataset(
    dataset: Dataset, counts: dict[str, NDArray[np.int64]] | None = None, *, training: bool = False
) -> None:
    """Report sizes, kinds of files, classes, skipped files, and images in two classes or splits.

    Args:
        dataset: What was loaded.
        counts: Images per split and class, if it is split differently from how it was loaded.
        training: Whether training options can still be chosen, and so are suggested.
    """
    groups = dataset.groups if counts is None else {}
    counts = counts or dataset.counts_of_classes()
    size = "×".join(str(side) for side in dataset.shape)
    sums = ", ".join(f"{numbers.sum():,} {split}" for split, numbers in counts.items())
    say(f"{dataset.name}: {counted(len(dataset.labels), 'class', 'classes')}, images {size}, {sums}")
    _say_kinds(dataset)
    if groups:
        say("groups: " + ", ".join(f"{number:,} {split}" for split, number in groups.items()))
    _say_classes(dataset.labels, counts, training=training)
    for line in dataset.notes:
        say(f"warning: {line}")
    say_skipped(dataset.skipped)
    if training and (advice := datasets.advice(dataset.skipped)):
        say(f"note: {advice}")
    _say_contradictions(dataset)
    _say_leaks(dataset, training=training)


def say_skipped(lines: Sequence[str], who: str = "") -> None:
    """Name the first skipped files, each with the reason, and say how many there are, and perhaps who skipped them."""
    _say_first([f"{who}skipped {line}" for line in lines])
    if lines:
        say(f"{who}skipped {counted(len(lines), 'file')} in all")


def _say_kinds(dataset: Dataset) -> None:
    kinds: Counter[str] = Counter()
    for split in dataset.splits.values():
        kinds.update(split.headers or {})
    named = ", ".join(f"{count:,} × {kind}" for kind, count in kinds.most_common(_MOST_KINDS))
    rest = f" and {len(kinds) - _MOST_KINDS} other kinds" if len(kinds) > _MOST_KINDS else ""
    if kinds:
        say(f"files: {named}{rest}")


def _say_first(lines: list[str]) -> None:
    """Print the first lines, and the number of the others."""
    for line in lines[:_MOST_NAMED]:
        say(line)
    if len(lines) > _MOST_NAMED:
        say(f"… and {len(lines) - _MOST_NAMED:,} more")


def _say_classes(labels: tuple[str, ...], counts: dict[str, NDArray[np.int64]], *, training: bool) -> None:
    for index, label in enumerate(labels):
        say(f"  {label}: " + ", ".join(f"{int(numbers[index]):,} {split}" for split, numbers in counts.items()))
    train = next(iter(counts.values()))
    if training and train.max() >= _IMBALANCED * train.min() > 0:
        say(
            f"warning: {labels[train.argmax()]!r} has {train.max() / train.min():.1f} times the images of "
            f"{labels[train.argmin()]!r}; --class-weights makes the classes count alike"
        )


def _say_contradictions(dataset: Dataset) -> None:
    count = len(dataset.contradictions)
    if not count:
        return
    say(
        f"warning: {counted(count, 'image is', 'images are')} in two classes, pixel by pixel, and any "
        "answer is wrong in one of them; keep each in one"
    )
    _say_first([f"  contradiction: {first} and {second}" for first, second in dataset.contradictions])


def _say_leaks(dataset: Dataset, *, training: bool) -> None:
    if not dataset.leaks:
        return
    kinds = Counter(leak.kind for leak in dataset.leaks)
    same = counted(kinds["exact"], "pair of images is", "pairs of images are")
    groups = f", and {counted(kinds['group'], 'group is', 'groups are')} in two" if kinds["group"] else ""
    stop = " (--fail-on-leakage stops here)" if training else ""
    say(
        f"warning: between splits, {same} the same and {kinds['near']:,} nearly so{groups}; "
        f"figures measured on them are too good{stop}"
    )
    _say_first([f"  {leak}" for leak in dataset.leaks])
