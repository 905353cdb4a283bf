"""``train`` and ``publish``: their stages in order, from the arguments to what ``--json`` prints.

TensorFlow takes seconds to import. Stages that need it import it only when they begin, after every check that can run
without it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from model_export import datasets, files, places, publishing
from model_export.arguments import parse_again
from model_export.artifact import provenance, repeating, succession
from model_export.console import interrupts
from model_export.console.numbers import counted
from model_export.console.progress import say
from model_export.console.streams import quiet
from model_export.errors import BadData
from model_export.fitting.budget import Budget
from model_export.fitting.runs import Run
from model_export.reporting import printing, remarks, summary

if TYPE_CHECKING:
    from model_export.architectures import Network
    from model_export.artifact.published import Published
    from model_export.datasets import Dataset
    from model_export.training import Outcome


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in a new run folder, or resume an old one, and publish the result."""
    if arguments.resume is not None:
        return _resume(arguments)
    arguments.together = True  # recorded in the run; older runs do not have it
    arguments.surroundings = provenance.surroundings(arguments.weights)
    dataset = load(arguments)
    arguments.published_by, arguments.fingerprint = arguments.command_line, dataset.fingerprint()
    if not arguments.replace_anyway and (before := succession.find(arguments.output, arguments.name)):
        before.check_kind(dataset.labels, dataset.shape, succession.otherwise(arguments))  # accuracy comes later
    network = _build(arguments, dataset)  # wrong arguments fail here, and leave no run
    run = Run.create(arguments.runs, arguments.name, arguments)
    summary.keep_skipped((*dataset.skipped, *dataset.ignored), run.folder / "skipped.txt")
    with interrupts.resumable("train", "--resume", str(run.folder), data=arguments.data), run.locked():
        return _fit_and_export(arguments, run, dataset, network)


def _resume(now: argparse.Namespace) -> dict[str, Any]:
    run = Run.open(now.resume)
    arguments = _arguments_of(run, now)
    with interrupts.resumable("train", "--resume", str(run.folder), data=arguments.data), run.locked():
        if not (begun := bool(run.history())):
            _check_weights(arguments)
        dataset = _load_again(arguments)
        network = _build(arguments, dataset, run if begun else None)
        return _fit_and_export(arguments, run, dataset, network)


def publish(now: argparse.Namespace) -> dict[str, Any]:
    """Publish the best weights of a run so far, finished or not."""
    run = Run.open(now.run)
    run.best()
    files.check(run.folder)  # where its pictures are drawn
    arguments = _arguments_of(run, now)
    arguments.output, arguments.precision = now.output or arguments.output, now.precision or arguments.precision
    arguments.name, arguments.data_licence = now.name or arguments.name, now.data_licence or arguments.data_licence
    arguments.replace_anyway = now.replace_anyway
    places.outside(arguments.data, {"--output": arguments.output})
    dataset = _load_again(arguments)
    network = _build(arguments, dataset, run)
    from model_export import training  # noqa: PLC0415
    from model_export.artifact import published  # noqa: PLC0415

    remarks.say_network(arguments, network, run)
    outcome = training.recall(network, run)
    remarks.say_unfinished(arguments, outcome, run)
    found = None if now.data_licence else published.find(arguments, outcome)  # is written into a new one
    if found and found.is_newest():  # an older one is published again, to be the newest
        say(f"{run.folder} is published already, as {found.folder}; nothing new was published")
        return _result(found, run, dataset)
    return _export(arguments, run, dataset, network, outcome)


def _arguments_of(run: Run, now: argparse.Namespace) -> argparse.Namespace:
    """Read the arguments of a run, and add those of this command."""
    kept = run.arguments()
    repeating.check(kept, parse_again)
    return argparse.Namespace(**{**vars(kept), "json": now.json, "published_by": now.command_line})


def load(arguments: argparse.Namespace, *, training: bool = True) -> Dataset:
    """Load the data and report on it; with ``--fail-on-leakage``, stop if two splits share an image."""
    if training:
        places.check(arguments)
    dataset = datasets.load(
        arguments.data,
        size=arguments.size,
        channels=arguments.channels,
        value_range=arguments.value_range,
        labels=arguments.labels,
        groups=arguments.groups,
        seed=arguments.seed,
        together=arguments.together,
        cache=arguments.cache,
    )
    summary.say_dataset(dataset, training=training, weighted=arguments.class_weights)
    if dataset.leaks and arguments.fail_on_leakage:
        found = datasets.leaks_in_words(dataset.counts_of_leaks())
        raise BadData(f"{found}; remove one of each, and keep each group in one split")
    return dataset


def _load_again(arguments: argparse.Namespace) -> Dataset:
    """Load the data of a run, which must not have changed since its training."""
    dataset = load(arguments, training=False)
    if dataset.fingerprint() != arguments.fingerprint:
        raise BadData(
            f"{arguments.data} is not what {arguments.resume} was trained on: files, classes or splits have changed; "
            "restore them, or train again"
        )
    return dataset


def _check_weights(arguments: argparse.Namespace) -> None:
    """Check that a run that has no epoch yet begins with the initial weights that it was started with."""
    recorded = arguments.surroundings.get("weights_sha256")
    if provenance.initial(arguments.weights).get("weights_sha256") != recorded:
        raise BadData(
            f"{arguments.weights} has changed since {arguments.resume} was started with its weights; restore it, or "
            "train again"
        )


def _build(arguments: argparse.Namespace, dataset: Dataset, run: Run | None = None) -> Network:
    """Check that it can be published, and build the network: that of a run with finished epochs, or a new one."""
    publishing.check(arguments.output, arguments.name)
    with quiet():  # everything that needs TensorFlow, so that a missing package is found before training
        from model_export import architectures, training  # noqa: PLC0415
        from model_export.artifact import exporting  # noqa: F401, PLC0415

    training.seed(arguments.seed)
    return architectures.build(
        arguments.architecture,
        arguments.trunk,
        dataset.shape,
        len(dataset.labels),
        arguments.weights,
        run.best() if run else None,
    )


def _fit_and_export(arguments: argparse.Namespace, run: Run, dataset: Dataset, network: Network) -> dict[str, Any]:
    """Train the remaining epochs and publish the best weights, unless a finished run is published already."""
    from model_export import training  # noqa: PLC0415
    from model_export.artifact import published  # noqa: PLC0415
    from model_export.fitting import batches, device, footprint  # noqa: PLC0415

    budget, before = Budget.of(arguments), len(run.history())
    remarks.say_network(arguments, network, run)
    epoch = batches.described(len(dataset.splits["train"]), budget.batch_size)
    after = f"; it continues after epoch {before}" if before else ""
    say(f"{epoch}; at most {counted(budget.epochs, 'epoch')}, on {device.used()}{after}")
    if advice := device.advice():
        say(f"note: {advice}")
    if advice := footprint.advice(network.model, budget.batch_size):
        say(f"warning: {advice}")
    with footprint.enough():
        outcome = training.train(network, dataset, budget, run)
    remarks.say_outcome(outcome, budget)
    if outcome.epochs == before and (found := published.find(arguments, outcome)):
        say(f"{run.folder} is finished, and is published already: {found.folder}; nothing new was published")
        return _result(found, run, dataset)
    return _export(arguments, run, dataset, network, outcome)


def _export(
    arguments: argparse.Namespace, run: Run, dataset: Dataset, network: Network, outcome: Outcome
) -> dict[str, Any]:
    """Publish the weights that are in the network, and print the result."""
    from model_export.artifact import exporting  # noqa: PLC0415
    from model_export.fitting import footprint  # noqa: PLC0415

    with footprint.enough():
        published = exporting.export(arguments, run, network, dataset, outcome)
    remarks.say_if_guessing(published.metrics, dataset)
    remarks.say_held_out(published.held_out)
    if not arguments.json:
        printing.print_training(published, run.folder, arguments.data)
    elif published.change:
        say(published.change)
    if published.reduced is not None:
        remarks.say_speed(published.reduced)
    if before := published.displaced():
        remarks.say_default(published.folder.parent.name, before)
    return _result(published, run, dataset)


def _result(published: Published, run: Run, dataset: Dataset) -> dict[str, Any]:
    return {**published.document(), "run": str(run.folder), **datasets.troubles(dataset)}
