"""``python -m model_export``: from images to a published model, stage by stage."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from app.errors import DeviceUnavailable, InvalidArtifact, MultipoolError
from app.interrupts import EXIT_CODE, noted
from model_export import interrupts, publishing
from model_export.arguments import parse
from model_export.errors import BadData, MissingInput, MissingPackage, ParityFailure, PrecisionFailure
from model_export.quiet import quiet

if TYPE_CHECKING:
    from model_export.architectures import Network
    from model_export.datasets import Dataset
    from model_export.exporting import Published
    from model_export.runs import Run

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (BadData, 65),
    (ParityFailure, 65),
    (PrecisionFailure, 65),
    (InvalidArtifact, 65),
    (MissingInput, 66),
    (DeviceUnavailable, 69),
    (MultipoolError, 1),
    (OSError, 1),
)

# The stages are imported where they run: TensorFlow takes seconds, and a wrong command line is to be said at once.


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in a run folder of its own, or go on in an old one, and publish what came out."""
    from model_export.provenance import surroundings  # noqa: PLC0415
    from model_export.runs import Run  # noqa: PLC0415

    if arguments.resume is not None:
        run = Run.open(arguments.resume)
        arguments = _again(run, arguments)
        with interrupts.resumable("train", "--resume", str(run.folder)):
            dataset = _load_again(arguments)
            return _fit_and_publish(arguments, run, dataset, _network(arguments, dataset, read=not run.history()))
    dataset = _load(arguments)
    arguments.published_by, arguments.fingerprint = arguments.command_line, dataset.fingerprint()
    arguments.surroundings = surroundings(arguments.weights)
    network = _network(arguments, dataset)  # what is wrong with the arguments shows here, and leaves no run
    run = Run.create(arguments.runs, arguments.name, arguments)
    with interrupts.resumable("train", "--resume", str(run.folder)):
        return _fit_and_publish(arguments, run, dataset, network)


def publish(arguments: argparse.Namespace) -> dict[str, Any]:
    """Publish the best weights of a run as they are, finished or not."""
    from model_export.runs import Run  # noqa: PLC0415

    run = Run.open(arguments.run)
    run.best()
    again = _again(run, arguments, precision=arguments.precision)
    again.output = arguments.output or again.output
    again.name, again.data_licence = arguments.name or again.name, arguments.data_licence or again.data_licence
    dataset = _load_again(again)
    return _fit_and_publish(again, run, dataset, _network(again, dataset, read=False), fit=False)


def _again(run: Run, now: argparse.Namespace, **changes: Any) -> argparse.Namespace:
    """Take up the arguments of a run, for what is asked of it now."""
    from model_export import repeating  # noqa: PLC0415

    kept = run.arguments()
    repeating.check(kept)
    return argparse.Namespace(**{**vars(kept), "json": now.json, "published_by": now.command_line, **changes})


def _load(arguments: argparse.Namespace) -> Dataset:
    """Load the data, say what it is like, and stop where the splits share images and that was not to be."""
    from model_export import datasets, report  # noqa: PLC0415

    dataset = datasets.load(
        arguments.data,
        size=arguments.size,
        channels=arguments.channels,
        value_range=arguments.value_range,
        labels=arguments.labels,
        seed=getattr(arguments, "seed", 0),
        cache=arguments.cache,
    )
    report.say_dataset(dataset)
    if dataset.leaks and arguments.fail_on_leakage:
        raise BadData(f"{len(dataset.leaks)} pairs of images are the same, or nearly so, in two splits; remove them")
    return dataset


def _load_again(arguments: argparse.Namespace) -> Dataset:
    """Load the data of a run, which must be what it was: figures of other images would not be those of its weights."""
    dataset = _load(arguments)
    if dataset.fingerprint() != arguments.fingerprint:
        raise BadData(
            f"{arguments.data} is not what {arguments.resume} was trained on: files, classes or splits have changed; "
            "restore them, or train again"
        )
    return dataset


def _network(arguments: argparse.Namespace, dataset: Dataset, *, read: bool = True) -> Network:
    """See that it could be published, and build the network; ``read`` its first weights from their file."""
    publishing.check(arguments.output, arguments.name)
    with quiet():
        from model_export import architectures, training  # noqa: PLC0415

    training.seed(arguments.seed)
    return architectures.build(
        arguments.architecture, arguments.trunk, dataset.shape, len(dataset.labels), arguments.weights, read=read
    )


def _fit_and_publish(
    arguments: argparse.Namespace, run: Run, dataset: Dataset, network: Network, *, fit: bool = True
) -> dict[str, Any]:
    with quiet():
        from model_export import batches, exporting, report, training  # noqa: PLC0415
    from model_export.progress import say  # noqa: PLC0415

    budget, count = training.budget(arguments), network.model.count_params()
    say(f"{arguments.architecture} on trunk {arguments.trunk}: {count:,} parameters; run {run.folder}")
    if fit:
        say(batches.described(len(dataset.splits["train"]), budget.batch_size))
        before = len(run.history())
        outcome = training.train(network, dataset, budget, run)
        if outcome.epochs == before and (published := exporting.already(arguments, run, outcome)):
            say(f"{run.folder} is finished, and is published already: {published.folder}; nothing new was published")
            return _said(published, run, dataset)
        report.say_outcome(outcome, budget)
    else:
        outcome = training.recall(network, run)
    published = exporting.export(arguments, run, network, dataset, budget, outcome)
    report.say_worth(published.metrics, dataset, arguments.trunk)
    report.say_held_out(len(dataset.splits["validation"]))
    if not arguments.json:
        report.print_training(published, run.folder)
    return _said(published, run, dataset)


def _said(published: Published, run: Run, dataset: Dataset) -> dict[str, Any]:
    return {
        **published.document(),
        "run": str(run.folder),
        "skipped": list(dataset.skipped),
        "leaks": [asdict(leak) for leak in dataset.leaks],
        "contradictions": [list(pair) for pair in dataset.contradictions],
    }


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train several architectures with several seeds at the same budget, and write a report."""
    dataset = _load(arguments)
    with quiet():
        from model_export import comparison, findings, training  # noqa: PLC0415
    from model_export.progress import say  # noqa: PLC0415

    folder = arguments.report or comparison.next_folder(dataset.name)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"report {folder}; after an interrupt, run the same command with --report {folder} to continue")
    budget = training.budget(arguments, keep="last")
    with interrupts.resumable(
        *shlex.split(arguments.command_line), *(() if arguments.report else ("--report", str(folder)))
    ):
        trained = comparison.run(arguments, dataset, budget, folder)
        document = findings.write(folder, arguments, dataset, budget, trained)
    if not arguments.json:
        print((folder / "README.md").read_text())
        say(f"report {folder / 'README.md'}")
    return {"report": str(folder), **document}


def inspect(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print all that a published model says about itself."""
    from model_export import description  # noqa: PLC0415
    from model_export.opening import open_model  # noqa: PLC0415

    path, model = open_model(arguments.model)
    described = description.describe(path, model)
    if not arguments.json:
        description.print_description(described)
    return described


def verify(arguments: argparse.Namespace) -> dict[str, Any]:
    """Check a published file with the service's loader, and measure it on a data set when one is given."""
    from model_export import report  # noqa: PLC0415
    from model_export.evaluation import Measured, evaluate, replay  # noqa: PLC0415
    from model_export.opening import open_model  # noqa: PLC0415

    path, model = open_model(arguments.model)
    difference = replay(model)
    measured = evaluate(model, arguments.data, arguments.labels) if arguments.data else Measured({}, {}, ())
    if not arguments.json:
        report.print_verification(path, model, difference, measured)
    return {
        "file": str(path),
        "sha256": model.sha256,
        "probe_difference": difference,
        "metrics": measured.metrics,
        "seen_in_training": measured.seen,
        "classes_without_images": list(measured.missing),
    }


COMMANDS = {"train": train, "compare": compare, "publish": publish, "verify": verify, "inspect": inspect}

_TRAINING = ("train", "compare", "publish")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of how Keras calls it
    # What they say of damaged files is said once, with the file's name, where the file is skipped.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"PIL\b")
    parsed = parse(arguments)
    try:
        if parsed.command in _TRAINING and find_spec("tensorflow") is None:
            raise MissingPackage("training needs TensorFlow, which is not installed; run 'make training' once")
        with noted():
            result = COMMANDS[parsed.command](parsed)
    except KeyboardInterrupt as interrupt:
        print(interrupts.words(interrupt, publishing=parsed.command in ("train", "publish")), file=sys.stderr)
        return EXIT_CODE
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        print(f"error: {error}", file=sys.stderr)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    return _print(result) if parsed.json else 0


def _print(result: dict[str, Any]) -> int:
    """Print a result as JSON; whoever reads it may have seen enough."""
    try:
        print(json.dumps(result, indent=2), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
