"""The commands by name, each from its arguments to what ``--json`` prints."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from app.errors import InvalidUsage
from model_export import datasets
from model_export.artifact import opening, provenance
from model_export.artifact.opening import open_model
from model_export.console import interrupts
from model_export.console.progress import say
from model_export.console.streams import quiet
from model_export.figures import answers, evaluation, matching
from model_export.figures.against import Against, Opponent
from model_export.fitting.budget import Budget
from model_export.reporting import description, printing, summary
from model_export.stages import load, publish, train

if TYPE_CHECKING:
    from pathlib import Path

    from app.model import Model
    from model_export.datasets import Dataset


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train several architectures with several seeds at the same budget, and write a report."""
    provenance.initial(arguments.weights)  # if the file is missing, it says so before the data is loaded
    dataset = load(arguments)
    with quiet():
        from model_export import comparison, report  # noqa: PLC0415
        from model_export.fitting import footprint  # noqa: PLC0415

    folder = arguments.report or comparison.new_folder(dataset.name)
    folder.mkdir(parents=True, exist_ok=True)
    named = shlex.quote(str(folder))
    say(f"report {folder}; after an interrupt, run the same command with --report {named} to continue")
    budget = Budget.of(arguments, keep="last")
    again = (*shlex.split(arguments.command_line), *(() if arguments.report else ("--report", str(folder))))
    with interrupts.resumable(*again, data=arguments.data), footprint.enough():
        trained = comparison.run(arguments, dataset, budget, folder)
        document = report.write(folder, arguments, dataset, budget, trained)
    if not arguments.json:
        printing.out.print((folder / "README.md").read_text(encoding="utf-8"))
        say(f"report {folder / 'README.md'}")
    return {"report": str(folder), **datasets.troubles(dataset), **document}


def inspect(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print the metadata of a published model."""
    path, model = open_model(arguments.model)
    described = description.describe(path, model)
    if not arguments.json:
        description.print_description(described)
    return described


def verify(arguments: argparse.Namespace) -> dict[str, Any]:
    """Check a published file with the service's loader, and measure it on a data set if one is given."""
    if arguments.output is not None:
        answers.check(arguments.output)
    path, model = open_model(arguments.model)
    other = None if arguments.against is None else _opponent(arguments.against, path, model)
    difference = evaluation.replay(model)
    measured, compared = evaluation.Measured({}, {}, ()), None
    read: list[Dataset] = []
    if arguments.data:
        measured, compared, read = _measure(arguments, model, other)
    if arguments.output is not None:
        answers.write(arguments.output, measured.answers, compared and compared.second.answers)
        say(f"{arguments.output}: a row for each of {sum(map(len, measured.answers.values())):,} images")
    if not arguments.json:
        printing.print_verification(path, model, difference, measured, compared)
    return {
        "file": str(path),
        "sha256": model.sha256,
        "probe_difference": difference,
        "metrics": measured.metrics,
        "seen_in_training": measured.seen,
        "classes_without_images": list(measured.missing),
        **datasets.troubles(*read),
        "labels": list(model.metadata.labels),
        "classes": {split: found.document() for split, found in measured.classes.items()},
        "confusion": {split: found.matrix.tolist() for split, found in measured.classes.items()},
        "selective": {split: found.document() for split, found in measured.selective.items()},
        "aurc": {split: found.aurc() for split, found in measured.selective.items()},
        **({} if compared is None else {"against": compared.document()}),
    }


def _opponent(given: Path, path: Path, model: Model) -> Opponent:
    """Open the model to measure another one against.

    Raises:
        InvalidUsage: They are the same.
    """
    other, opened = open_model(given)
    if opened.sha256 == model.sha256:
        raise InvalidUsage(f"--against {given} is {other}, the same model as {path}; name another version")
    return Opponent(opening.names(path, other), other, opened)


def _measure(
    arguments: argparse.Namespace, model: Model, other: Opponent | None
) -> tuple[evaluation.Measured, Against | None, list[Dataset]]:
    """Measure a model, and perhaps another one, on the same images; also returns the data as each of them read it."""
    matched = matching.load(model, arguments.data, arguments.labels, arguments.groups)
    if other is None:
        summary.say_dataset(matched.dataset, matched.counts())
        return evaluation.evaluate(model, matched), None, [matched.dataset]
    again = other.load(arguments.data, model, matched)
    matched = matched.split_as(again)
    summary.say_dataset(matched.dataset, matched.counts())
    summary.say_skipped(sorted({*again.dataset.skipped} - {*matched.dataset.skipped}), f"{other.names[1]} also ")
    measured = evaluation.evaluate(model, matched)
    compared = Against(other, measured, evaluation.evaluate(other.model, again))
    return measured, compared, [matched.dataset, again.dataset]


COMMANDS = {"train": train, "compare": compare, "publish": publish, "verify": verify, "inspect": inspect}
