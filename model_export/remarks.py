"""What is said on the way, on standard error: what the data are, how training went, what to beware of."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from app.drift import WINDOW, chance
from model_export.counting import counted
from model_export.progress import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.architectures import Network
    from model_export.datasets import Dataset
    from model_export.precision import Reduced
    from model_export.runs import Run
    from model_export.training import Budget, Outcome

_MOST_NAMED = 10
_MOST_KINDS = 6
_IMBALANCED = 3
_FEW = 100


def say_dataset(
    dataset: Dataset, counts: dict[str, NDArray[np.int64]] | None = None, *, training: bool = False
) -> None:
    """Say what was loaded: sizes, kinds, classes, what was left out, and what is in two classes or splits.

    Args:
        dataset: What was loaded.
        counts: Images per split and class, where it is cut otherwise than it was loaded.
        training: The options of training can still be chosen, so that they are worth naming.
    """
    counts = counts or dataset.counts_of_classes()
    size = "×".join(str(side) for side in dataset.shape)
    sums = ", ".join(f"{numbers.sum():,} {split}" for split, numbers in counts.items())
    say(f"{dataset.name}: {counted(len(dataset.labels), 'class', 'classes')}, images {size}, {sums}")
    _say_kinds(dataset)
    _say_classes(dataset.labels, counts, training=training)
    for line in dataset.notes:
        say(f"warning: {line}")
    _say_first([f"skipped {line}" for line in dataset.skipped])
    if dataset.skipped:
        say(f"skipped {counted(len(dataset.skipped), 'file')} in all")
    _say_contradictions(dataset)
    _say_leaks(dataset, training=training)


def _say_kinds(dataset: Dataset) -> None:
    kinds: Counter[str] = Counter()
    for split in dataset.splits.values():
        kinds.update(split.headers or {})
    named = ", ".join(f"{count:,} × {kind}" for kind, count in kinds.most_common(_MOST_KINDS))
    rest = f" and {len(kinds) - _MOST_KINDS} other kinds" if len(kinds) > _MOST_KINDS else ""
    if kinds:
        say(f"files: {named}{rest}")


def _say_first(lines: list[str]) -> None:
    """Say the first lines, and how many there are besides."""
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
    stop = " (--fail-on-leakage stops here)" if training else ""
    say(
        f"warning: between splits, {same} the same and {kinds['near']:,} nearly so; "
        f"figures measured on them are too good{stop}"
    )
    _say_first([f"  {leak.kind}: {leak.first} and {leak.second}" for leak in dataset.leaks])


def say_network(arguments: argparse.Namespace, network: Network, run: Run) -> None:
    """Say what is trained, and where its run is kept."""
    count = network.model.count_params()
    say(f"{arguments.architecture} on trunk {arguments.trunk}: {count:,} parameters; run {run.folder}")


def say_outcome(outcome: Outcome, budget: Budget) -> None:
    """Say how training ended and which weights were kept."""
    early = f", stopped early after {budget.patience} without a better one" if outcome.epochs < budget.epochs else ""
    say(
        f"trained {counted(outcome.epochs, 'epoch')} in {outcome.seconds:.0f} s{early}; "
        f"kept the weights of epoch {outcome.best_epoch}, with the lowest validation loss"
    )


def say_worth(metrics: dict[str, dict[str, float]], dataset: Dataset, trunk: str) -> None:
    """Warn when the model is no better than guessing."""
    validation = dataset.splits["validation"].labels
    guess = np.bincount(validation).max() / len(validation)
    if metrics["validation"]["accuracy"] <= guess:
        advice = "" if trunk == "plain" else ", or --trunk plain for a small data set"
        say(
            f"warning: on the validation images the model is no better than always naming one class ({guess:.2f}); "
            f"it needs more images or more epochs{advice}"
        )


def say_default(name: str, before: str) -> None:
    """Warn when requests that name no model are answered by another one from now on."""
    say(
        f"warning: {name!r} is the first model by name now: a service answers requests without model= by it, no longer "
        f"by {before!r}; to have that stay, start it with MULTIPOOL_DEFAULT_MODEL={before}"
    )


def say_speed(reduced: Reduced) -> None:
    """Warn where a smaller precision is slower, which it was not chosen for."""
    if reduced.speed < 1:
        advice = "; float16 is for GPUs" if reduced.precision == "float16" else ""
        say(
            f"warning: on this CPU, {reduced.precision} is slower than float32, {reduced.speed:g} times as fast at "
            f"batch 32{advice}"
        )


def say_held_out(images: int) -> None:
    """Say what little can be told of strange images where few were held out to compare them with."""
    if images < _FEW:
        least, by_chance = 1 / (images + 1), chance(images, WINDOW)
        told = f"of up to {by_chance:.2f} may be chance" if by_chance < 1 - least else "cannot be told from chance"
        say(
            f"note: with {counted(images, 'validation image')}, familiarity is never below {least:.2g}, and feature "
            f"drift {told}; with {_FEW}, it can be {1 / (_FEW + 1):.2g}, and drift above "
            f"{chance(_FEW, WINDOW):.2f} is more than chance"
        )
