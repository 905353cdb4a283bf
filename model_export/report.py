"""What the commands print: tables for people, one JSON document for scripts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from app.drift import WINDOW, chance
from app.model import Model
from model_export import publishing
from model_export.interrupts import program
from model_export.metrics import accuracy
from model_export.progress import say
from model_export.seen import UNKNOWN

if TYPE_CHECKING:
    from model_export.calibration import Calibration
    from model_export.datasets import Dataset
    from model_export.evaluation import Measured
    from model_export.exporting import Published
    from model_export.training import Budget, Outcome
    from model_export.verification import Difference

_MOST_NAMED = 10
_MOST_KINDS = 6
_IMBALANCED = 3
_FEW = 100

out = Console(highlight=False, soft_wrap=True)


def say_dataset(dataset: Dataset) -> None:
    """Say what was loaded: sizes, kinds, classes, what was left out, and what is in two classes or splits."""
    size = "×".join(str(side) for side in dataset.shape)
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.counts().items())
    say(f"{dataset.name}: {len(dataset.labels)} classes, images {size}, {counts}")
    _say_kinds(dataset)
    _say_classes(dataset)
    for line in dataset.notes:
        say(f"warning: {line}")
    for line in dataset.skipped[:_MOST_NAMED]:
        say(f"skipped {line}")
    if dataset.skipped:
        say(f"skipped {len(dataset.skipped)} file{'s' if len(dataset.skipped) > 1 else ''} in all")
    _say_contradictions(dataset)
    _say_leaks(dataset)


def _say_kinds(dataset: Dataset) -> None:
    kinds: Counter[str] = Counter()
    for split in dataset.splits.values():
        kinds.update(split.headers or {})
    named = ", ".join(f"{count:,} × {kind}" for kind, count in kinds.most_common(_MOST_KINDS))
    rest = f" and {len(kinds) - _MOST_KINDS} other kinds" if len(kinds) > _MOST_KINDS else ""
    if kinds:
        say(f"files: {named}{rest}")


def _say_classes(dataset: Dataset) -> None:
    counts = dataset.counts_of_classes()
    for index, label in enumerate(dataset.labels):
        say(f"  {label}: " + ", ".join(f"{int(numbers[index]):,} {split}" for split, numbers in counts.items()))
    train = next(iter(counts.values()))
    if train.max() >= _IMBALANCED * train.min() > 0:
        say(
            f"warning: {dataset.labels[train.argmax()]!r} has {train.max() / train.min():.1f} times the images of "
            f"{dataset.labels[train.argmin()]!r}; --class-weights makes the classes count alike"
        )


def _say_contradictions(dataset: Dataset) -> None:
    count = len(dataset.contradictions)
    if not count:
        return
    say(
        f"warning: {count:,} {'images are' if count > 1 else 'image is'} in two classes, pixel by pixel, which no "
        "model can learn; keep each in one"
    )
    for first, second in dataset.contradictions[:_MOST_NAMED]:
        say(f"  contradiction: {first} and {second}")


def _say_leaks(dataset: Dataset) -> None:
    if not dataset.leaks:
        return
    kinds = Counter(leak.kind for leak in dataset.leaks)
    say(
        f"warning: between splits, {kinds['exact']:,} pairs of images are the same and {kinds['near']:,} nearly so; "
        "figures measured on them are too good (--fail-on-leakage stops here)"
    )
    for leak in dataset.leaks[:_MOST_NAMED]:
        say(f"  {leak.kind}: {leak.first} and {leak.second}")


def say_outcome(outcome: Outcome, budget: Budget) -> None:
    """Say how training ended and which weights were kept."""
    early = f", stopped early after {budget.patience} without a better one" if outcome.epochs < budget.epochs else ""
    say(
        f"trained {outcome.epochs} epochs in {outcome.seconds:.0f} s{early}; "
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


def say_held_out(images: int) -> None:
    """Say what little can be told of strange images where few were held out to compare them with."""
    if images < _FEW:
        say(
            f"note: with {images} validation images, familiarity is never below {1 / (images + 1):.2g}, and feature "
            f"drift of up to {chance(images, WINDOW):.2f} may be chance; with {_FEW}, {1 / (_FEW + 1):.2g} and "
            f"{chance(_FEW, WINDOW):.2f}"
        )


def print_training(published: Published, run: Path) -> None:
    """Print what came out of a training run, and what can be done next."""
    reduced, found = published.reduced, published.calibration
    out.print(metrics_table(published.metrics))
    if reduced is None:
        out.print(differences_table(published.differences))
    else:
        out.print(roundings_table(published.differences, reduced.precision))
        out.print(
            f"{reduced.precision} rounds, so such differences are to be expected; it is judged by what it answers:"
        )
        out.print(f"{reduced.judgement()}; {reduced.speed:g} times as fast on this CPU at batch 32")
        out.print(reduced.resolution(round(published.metrics["validation"]["images"])))
    out.print(_calibration(found, "" if reduced is None else f", in {reduced.precision}"))
    worst = "mistake" if published.mistakes == 1 else f"{published.mistakes} worst mistakes"
    sheet = f", the {worst}" if published.mistakes else ""
    out.print(f"run {run}: results.csv, curves, confusion, reliability{sheet}", markup=False)
    out.print(next_commands(published.folder), markup=False)


def _calibration(found: Calibration, precision: str) -> str:
    before, after = found.before["validation"], found.after["validation"]
    if found.temperature == 1:
        reduced = f", {after:.4f}{precision}" if precision else ""
        return (
            f"calibration error of the validation images {before:.4f}{reduced}; no temperature lowers it: none is set"
        )
    return (
        f"temperature {found.temperature:g}; calibration error of the validation images "
        f"{before:.4f} as trained, {after:.4f} calibrated{precision} (cross-fitted in {found.folds} folds)"
    )


def print_verification(
    path: Path,
    model: Model,
    difference: float | None,
    measured: Measured,
) -> None:
    """Print what came out of checking a published file."""
    out.print(f"{path} is valid", markup=False)
    if difference is not None:
        tolerance = model.metadata.probe.tolerance
        out.print(f"golden probe: largest difference {difference:.1e}, {tolerance:g} is allowed")
    if measured.metrics:
        out.print(metrics_table(measured.metrics))
        out.print(_what_was_seen(measured, model))
    if missing := measured.missing:
        out.print(
            f"not measured: {len(missing)} of {len(model.metadata.labels)} classes, of which there are no images: "
            + ", ".join(missing),
            markup=False,
        )


def _what_was_seen(measured: Measured, model: Model) -> str:
    if UNKNOWN not in measured.seen.values():
        words = ", ".join(f"{split} {done}" for split, done in measured.seen.items())
        seed = model.metadata.training["seed"]
        return f"the data set that the model was trained with, split as then (seed {seed}): {words}"
    whole = "; it is measured as one split" if set(measured.seen) == {"all"} else ""
    return (
        f"not the data set that the model was trained with, or changed since{whole}. If it contains images that the "
        "model was trained on, the figures are too good"
    )


def differences_table(differences: list[Difference]) -> Table:
    """Show the largest difference between Keras and ONNX per output and batch size."""
    return _by_output("Keras and ONNX: largest difference", [(d, f"{d.largest:.1e}") for d in differences])


def roundings_table(differences: list[Difference], precision: str) -> Table:
    """Show the same of a smaller precision, where a number alone says nothing: against the output's largest value."""
    title = f"Keras and {precision}: largest difference, in % of the output's largest value"
    return _by_output(title, [(d, f"{100 * d.largest / d.scale:.2g} %") for d in differences])


def _by_output(title: str, cells: list[tuple[Difference, str]]) -> Table:
    sizes = sorted({difference.batch for difference, _ in cells})
    table = Table("output", *(f"batch {size}" for size in sizes), title=title)
    for name in dict.fromkeys(difference.output for difference, _ in cells):
        table.add_row(name, *(text for difference, text in cells if difference.output == name))
    return table


def metrics_table(metrics: dict[str, dict[str, float]]) -> Table:
    """Show accuracy and loss per split."""
    table = Table("split", "images", Column("accuracy (95 %)", no_wrap=True), "cross-entropy", "calibration error")
    for split, figures in metrics.items():
        error = f"{figures['ece']:.4f}" if "ece" in figures else ""
        row = f"{figures['images']:,.0f}", accuracy(split, figures), f"{figures['loss']:.4f}", error
        table.add_row(split, *row)
    return table


def next_commands(published: Path) -> str:
    """Name the commands that follow a training run."""
    name, repository, version = published.parent.name, published.parent.parent, int(published.name)
    newest, back = "", ""
    if before := [number for number in publishing.versions(published.parent) if number < version]:
        newest = f", the newest version of {name}: from now on it answers"
        back = f"\n  go back   rm -r {published}, or ask for ?model={name}:{max(before)}"
    return (
        f"published {published}{newest}\n"
        f"  inspect   {program()} inspect {published}\n"
        f"  verify    {program()} verify {published} DATA\n"
        f"  serve     MULTIPOOL_MODELS_DIR={repository} make serve\n"
        f"  ask       curl -F file=@IMAGE 'http://127.0.0.1:8000/predict?model={name}'{back}"
    )
