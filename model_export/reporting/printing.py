"""What the commands print for people at the end, on standard output: tables, and the commands to use next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Column, Table

from app.model import Model
from model_export import choices, publishing
from model_export.console import mounts
from model_export.console.invocation import program, serving
from model_export.console.numbers import counted
from model_export.console.progress import Output
from model_export.figures import against, classes, selective
from model_export.figures.metrics import accuracy, in_groups, worth
from model_export.figures.seen import UNKNOWN, learned_from, least

if TYPE_CHECKING:
    from model_export.artifact.calibration import Calibration
    from model_export.artifact.published import Published
    from model_export.figures.against import Against
    from model_export.figures.evaluation import Measured
    from model_export.verification import Difference

_FEW = 200
"""With fewer validation images, one of them is more than half a point of accuracy."""

out = Output(markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_training(published: Published, run: Path, data: str) -> None:
    """Print the result of a training run, and the commands to use next."""
    reduced, found = published.reduced, published.calibration
    print_metrics(published.metrics)
    if published.classes and (weak := classes.weakest(*least(published.classes))):
        out.print(weak)
    if reduced is None:
        out.print(differences_table(published.differences))
    else:
        out.print(roundings_table(published.differences, reduced.precision))
        out.print(f"{reduced.precision} rounds, so such differences are normal; it is judged by its answers, below")
    out.print(found.setting())
    in_precision = "" if reduced is None else f" in {reduced.precision}"
    out.print(_calibration(found, in_precision, published.metrics.get("validation", {})))
    worst = "1 mistake" if published.mistakes == 1 else f"the {published.mistakes} worst mistakes"
    sheet = f", {worst} among the validation images" if published.mistakes else ""
    out.print(f"run {run}: results.csv, curves, confusion, reliability, selective{sheet}")
    if reduced is not None:  # the verdict comes last
        speed = f"{reduced.speed:.2f} times as fast on this CPU in batches"
        out.print(f"{reduced.precision} is accurate enough: {reduced.judgement()}; {speed}")
        out.print(reduced.resolution(round(published.metrics["validation"]["images"])))
    out.print(next_commands(published.folder, data, published.change))


def _calibration(found: Calibration, precision: str, validation: dict[str, float]) -> str:
    before, after = found.before["validation"], found.after["validation"]
    folds = f" (cross-fitted in {found.folds} folds)" if found.folds else ""
    errors = f"{before:.4f} as trained, {after:.4f} as published{precision}" if after != before else f"{before:.4f}"
    few = f"; with {counted(found.images, 'image')}{in_groups(validation)}, these are rough guesses"
    if validation.get("effective_images", found.images) >= _FEW:
        few = ""
    return f"calibration error of the validation images: {errors}{folds}{few}"


def print_verification(
    path: Path,
    model: Model,
    difference: float | None,
    measured: Measured,
    compared: Against | None = None,
) -> None:
    """Print the result of checking a published file."""
    out.print(f"{path} is valid")
    if difference is not None:
        tolerance = model.metadata.probe.tolerance
        out.print(f"golden probe: largest difference {difference:.1e}, {tolerance:g} is allowed")
    if measured.metrics:
        learned = {split for split, words in measured.seen.items() if learned_from(words)}
        print_metrics(measured.metrics, learned)
        split, found = least(measured.classes)
        for line in classes.lines(split, found.document(), measured.metrics[split], found.mistakes()):
            out.print(line)
        for line in selective.lines(split, measured.selective[split]):
            out.print(line)
        out.print(_what_was_seen(measured, model))
    if missing := measured.missing:
        out.print(
            f"not measured: {len(missing)} of {len(model.metadata.labels)} classes, which have no images: "
            + ", ".join(missing),
        )
    if compared is not None:
        for line in against.lines(compared):
            out.print(line)


def _what_was_seen(measured: Measured, model: Model) -> str:
    grouped = any("groups" in figures for figures in measured.metrics.values())
    if UNKNOWN not in measured.seen.values():
        words = ", ".join(f"{split} {done}" for split, done in measured.seen.items())
        record = model.metadata.training
        said = f"the data set that the model was trained with, split as then (seed {record['seed']}): {words}"
        few = ". The intervals count images, not groups, as the groups are not known any more: they are too narrow"
        return said + few if "groups" in record and not grouped else said
    whole = "; it is measured as one split" if set(measured.seen) == {"all"} else ""
    pattern = None if grouped else model.metadata.training.get("group_pattern")
    alike = f". If these images are of groups too, name them: --groups {shlex.quote(pattern)}" if pattern else ""
    return (
        f"not the data set that the model was trained with, or changed since{whole}. If it contains images that the "
        f"model was trained on, the figures are too good{alike}"
    )


def differences_table(differences: list[Difference]) -> Table:
    """Show the largest difference between Keras and ONNX per output and batch size."""
    return _by_output("Keras and ONNX: largest difference", [(d, f"{d.largest:.1e}") for d in differences])


def roundings_table(differences: list[Difference], precision: str) -> Table:
    """Show the same for a smaller precision, relative to the largest value of the output."""
    title = f"Keras and {precision}: largest difference, in % of the output's largest value (median in brackets)"
    return _by_output(title, [(d, f"{100 * d.share:.2g}{_typical(d)}") for d in differences])


def _typical(difference: Difference) -> str:
    return "" if difference.median_share is None else f" ({100 * difference.median_share:.2g})"


def _by_output(title: str, cells: list[tuple[Difference, str]]) -> Table:
    sizes = dict.fromkeys(difference.batch for difference, _ in cells)
    table = Table(Column("output", no_wrap=True), *(f"batch {size}" for size in sizes), title=title)
    for name in dict.fromkeys(difference.output for difference, _ in cells):
        table.add_row(name, *(text for difference, text in cells if difference.output == name))
    return table


def print_metrics(metrics: dict[str, dict[str, float]], learned: Collection[str] = ("train",)) -> None:
    """Print accuracy and loss per split; ``learned`` are those that the model has learned from.

    If the images are grouped, also say how many independent images the last split is worth, the one the model has seen
    least of.
    """
    table = Table("split", "images", Column("accuracy (95 %)", no_wrap=True), "cross-entropy", "calibration error")
    for split, figures in metrics.items():
        error = f"{figures['ece']:.4f}" if "ece" in figures else ""
        row = f"{figures['images']:,.0f}", accuracy(figures, learned=split in learned), f"{figures['loss']:.4f}", error
        table.add_row(split, *row)
    out.print(table)
    split, figures = least(metrics)
    if alone := worth(figures, split):
        out.print(f"the 95 % intervals are for new groups: {alone}")


def next_commands(published: Path, data: str, change: str = "") -> str:
    """List the commands to use after a training run, and say how the accuracy of its model changed.

    Args:
        published: The folder of the new version.
        data: The data set, as on the command line.
        change: In words; see :meth:`model_export.artifact.succession.Predecessor.change`.
    """
    name, version = published.parent.name, int(published.name)
    folder, repository = shlex.quote(str(published)), published.parent.parent
    served = repository == choices.repository() == Path("models")  # else the setting may be this command's
    newest, against, back = "", "", ""
    if before := [number for number in publishing.versions(published.parent) if number < version]:
        newest = f", the newest version of {name}: from now on it answers"
        against = f" --against {shlex.quote(str(published.parent / str(max(before))))}"
        back = f"\n  go back   mv {folder} {folder}.withdrawn, or ask for ?model={name}:{max(before)}"
    return (
        f"published {published}{newest}{change and f'; {change}'}\n"
        f"  inspect   {program()} inspect {folder}\n"
        f"  verify    {program(data)} verify {folder} {shlex.quote(data)}{against}\n"
        f"  serve     {serving(None if served else repository)}\n"
        f"  ask       curl -F file=@IMAGE {shlex.quote(f'http://{_address()}/predict?model={name}')}{back}"
    )


def _address() -> str:
    """Name the address at which a service that is started here answers."""
    if mounts.in_compose():  # which publishes at ADDRESS:PORT, or at a PORT of all addresses
        host, _, port = os.environ.get("PUBLISH", "").rpartition(":")
        return f"{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{port or '8000'}"  # noqa: S104  # asks only
    host, port = os.environ.get("MULTIPOOL_HOST") or "127.0.0.1", os.environ.get("MULTIPOOL_PORT") or "8000"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
