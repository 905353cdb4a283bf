"""``python -m model_export``: from a folder of images to a published model, stage by stage."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import DeviceUnavailable, InvalidArtifact, MultipoolError
from app.metadata import Metadata, Recipe
from app.model import Model
from model_export.arguments import parse
from model_export.errors import BadData, MissingInput, ParityFailure
from model_export.quiet import quiet

if TYPE_CHECKING:
    from model_export.architectures import Network
    from model_export.datasets import Dataset
    from model_export.training import Budget, Outcome

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (BadData, 65),
    (ParityFailure, 65),
    (InvalidArtifact, 65),
    (MissingInput, 66),
    (DeviceUnavailable, 69),
    (MultipoolError, 1),
    (OSError, 1),
)

_MODULES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "PIL", "numpy")


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the stages in order: load, build, train, convert, verify, publish."""
    from model_export import datasets, publishing, report  # noqa: PLC0415  # the next ones take seconds to import
    from model_export.progress import say  # noqa: PLC0415

    dataset = datasets.load(
        arguments.data,
        size=arguments.size,
        channels=arguments.channels,
        value_range=arguments.value_range,
        seed=arguments.seed,
    )
    report.say_dataset(dataset)

    with quiet():
        from model_export import architectures, conversion, training, verification  # noqa: PLC0415

    training.seed(arguments.seed)
    network = architectures.build(arguments.architecture, arguments.trunk, dataset.shape, len(dataset.labels))
    say(f"{arguments.architecture} on trunk {arguments.trunk}: {network.model.count_params():,} parameters")

    budget = training.Budget(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        augmentation=arguments.augmentation,
        seed=arguments.seed,
    )
    with publishing.staging(arguments.output, arguments.name) as folder:
        outcome = training.train(network, dataset, budget)
        report.say_outcome(outcome, budget, dataset)
        document = _document(arguments, dataset, network, budget, outcome)
        staged = folder / publishing.FILE
        with quiet():
            converted = conversion.convert(network, document)
        conversion.save(converted, staged)
        differences = verification.verify(staged, conversion.outputs(network), dataset.sample)
        published = publishing.publish(folder)

    if not arguments.json:
        report.print_training(outcome.metrics, differences, published)
    return {
        "published": str(published),
        "metrics": outcome.metrics,
        "differences": [asdict(difference) for difference in differences],
        "skipped": list(dataset.skipped),
    }


def _document(
    arguments: argparse.Namespace, dataset: Dataset, network: Network, budget: Budget, outcome: Outcome
) -> Metadata:
    """Write down what the artifact will say about itself."""
    distributions = packages_distributions()
    return Metadata(
        architecture=arguments.architecture,
        labels=dataset.labels,
        branches=network.branches,
        recipe=Recipe(value_range=arguments.value_range),
        trunk=arguments.trunk,
        feature_map=network.feature_map,
        parameters=network.model.count_params(),
        training={
            "dataset": dataset.name,
            "images": dataset.counts(),
            "skipped": len(dataset.skipped),
            **asdict(budget),
            "epochs": outcome.epochs,
            "best_epoch": outcome.best_epoch,
            "seconds": round(outcome.seconds),
            "packages": {(name := distributions[module][0]): version(name) for module in _MODULES},
        },
        metrics=outcome.metrics,
    )


def inspect(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print all that a published model says about itself."""
    from model_export import report  # noqa: PLC0415

    path, model = _load(arguments.model)
    described = report.describe(path, model)
    if not arguments.json:
        report.print_description(described)
    return described


def verify(arguments: argparse.Namespace) -> dict[str, Any]:
    """Check a published file with the service's loader, and measure it on a data set when one is given."""
    from model_export import report  # noqa: PLC0415
    from model_export.evaluation import evaluate  # noqa: PLC0415

    path, model = _load(arguments.model)
    metrics = evaluate(model, arguments.data) if arguments.data else {}
    if not arguments.json:
        report.print_verification(path, metrics)
    return {"file": str(path), "sha256": model.sha256, "metrics": metrics}


def _load(given: Path) -> tuple[Path, Model]:
    """Find an artifact, load it as the service does, and run it."""
    path = _artifact(given)
    try:
        model = Model.load(path.read_bytes(), device="cpu")
        model.warm_up((1, 2))
    except InvalidArtifact as error:
        raise InvalidArtifact(f"{path} is not a sound artifact: {error}") from None
    return path, model


def _artifact(path: Path) -> Path:
    """Find the file: given itself, its version folder, or its model folder (then the highest version)."""
    versions = {int(p.parent.name): p for p in path.glob("*/model.onnx") if p.parent.name.isdecimal()}
    for candidate in (path, path / "model.onnx", *(versions[number] for number in sorted(versions)[-1:])):
        if candidate.is_file():
            return candidate
    raise MissingInput(f"{path} is not a model; name a model.onnx, or a folder like models/digits-regions/1")


COMMANDS = {"train": train, "verify": verify, "inspect": inspect}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
    parsed = parse(arguments)
    try:
        result = COMMANDS[parsed.command](parsed)
    except KeyboardInterrupt:
        print("interrupted; nothing was published", file=sys.stderr)
        return 130
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        print(f"error: {error}", file=sys.stderr)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    if parsed.json:
        print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
