"""``python -m model_export``: from a folder of images to a published model, stage by stage."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.errors import DeviceUnavailable, InvalidArtifact, MultipoolError
from app.metadata import Metadata, Recipe
from app.model import Model
from model_export.errors import BadData, MissingInput, ParityFailure
from model_export.quiet import quiet

# TensorFlow takes seconds to import, so the commands import it when they run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ARCHITECTURES = ("channel-groups", "separable", "regions")
TRUNKS = ("plain", "batchnorm")
AUGMENTATIONS = ("none", "shift", "photo", "aerial")

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (BadData, 65),
    (ParityFailure, 65),
    (InvalidArtifact, 65),
    (MissingInput, 66),
    (DeviceUnavailable, 69),
    (MultipoolError, 1),
    (OSError, 1),
)

_PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "pillow", "numpy")


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the stages in order: load, build, train, convert, verify, publish."""
    from model_export import datasets, publishing, report  # noqa: PLC0415
    from model_export.progress import say  # noqa: PLC0415

    with quiet():
        import keras  # noqa: PLC0415

        from model_export import architectures, conversion, training, verification  # noqa: PLC0415

    budget = training.Budget(
        arguments.epochs,
        arguments.batch_size,
        arguments.learning_rate,
        augmentation=arguments.augmentation or ("shift" if arguments.data == datasets.DIGITS else "photo"),
        seed=arguments.seed,
    )
    keras.utils.set_random_seed(arguments.seed)

    dataset = datasets.load(
        arguments.data,
        size=arguments.size,
        channels=arguments.channels,
        value_range=arguments.value_range,
        seed=arguments.seed,
    )
    say(
        f"{dataset.name}: {len(dataset.labels)} classes, images {'×'.join(map(str, dataset.shape))}, {dataset.counts()}"
    )
    for line in dataset.skipped:
        say(f"skipped {line}")
    if dataset.skipped:
        say(f"skipped {len(dataset.skipped)} unreadable files")

    try:
        network = architectures.build(arguments.architecture, arguments.trunk, dataset.shape, len(dataset.labels))
    except ValueError as error:
        raise BadData(str(error)) from None
    say(f"{arguments.architecture} on trunk {arguments.trunk}: {network.model.count_params():,} parameters")

    outcome = training.train(network, dataset, budget)
    say(f"trained {outcome.epochs} epochs in {outcome.seconds:.0f} s")

    document = Metadata(
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
            "epochs": outcome.epochs,
            "seconds": round(outcome.seconds),
            **{key: value for key, value in asdict(budget).items() if key != "epochs"},
            "packages": {name: version(name) for name in _installed()},
        },
        metrics=outcome.metrics,
    )
    with publishing.staging(arguments.output, arguments.name) as folder:
        staged = folder / publishing.FILE
        with quiet():
            converted = conversion.convert(network, document)
        conversion.save(converted, staged)
        differences = verification.verify(staged, conversion.outputs(network), dataset.sample)
        published = publishing.publish(folder)

    if not arguments.json:
        report.out.print(report.metrics_table(outcome.metrics), report.differences_table(differences))
        report.out.print(report.next_commands(published), markup=False)
    return {
        "published": str(published),
        "metrics": outcome.metrics,
        "differences": [asdict(difference) for difference in differences],
        "skipped": list(dataset.skipped),
    }


def inspect(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print all that a published model says about itself."""
    from model_export import report  # noqa: PLC0415

    path = _artifact(arguments.model)
    described = report.describe(path, Model.load(path.read_bytes(), device="cpu"))
    if not arguments.json:
        report.print_description(described)
    return described


def verify(arguments: argparse.Namespace) -> dict[str, Any]:
    """Check a published file with the server's loader, and measure it on a data set when one is given."""
    from model_export import report  # noqa: PLC0415
    from model_export.evaluation import evaluate  # noqa: PLC0415

    path = _artifact(arguments.model)
    model = Model.load(path.read_bytes(), device="cpu")
    model.warm_up((1, 2))
    metrics = evaluate(model, arguments.data) if arguments.data else {}
    if not arguments.json:
        report.out.print(f"{path} is a sound artifact", markup=False)
        if metrics:
            report.out.print(report.metrics_table(metrics))
    return {"file": str(path), "sha256": model.sha256, "metrics": metrics}


def _artifact(path: Path) -> Path:
    """Find the file: given itself, its version folder, or its model folder (then the highest version)."""
    versions = sorted((p for p in path.glob("*/model.onnx") if p.parent.name.isdecimal()), key=_version)
    for candidate in (path, path / "model.onnx", *versions[-1:]):
        if candidate.is_file():
            return candidate
    raise MissingInput(f"{path} is not a model; name a model.onnx, or a folder like models/digits-regions/1")


def _version(path: Path) -> int:
    return int(path.parent.name)


def _installed() -> list[str]:
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415

    found = []
    for name in _PACKAGES:
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 64, or 64x96 for height and width")
    return int(match[1]), int(match[2] or match[1])


def _name(text: str) -> str:
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a model name; use lower-case letters, digits, '-' and '_'")
    return text


def _channels(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 200:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of channels from 1 to 200")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="python -m model_export", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("train", help="train, convert, verify and publish a model", description=train.__doc__)
    command.set_defaults(run=train)
    command.add_argument(
        "data", metavar="DATA", help="folder train|validation|test/<class>/* or <class>/*, or 'digits' (built in)"
    )
    command.add_argument("--architecture", choices=ARCHITECTURES, default="regions")
    command.add_argument("--trunk", choices=TRUNKS, default="batchnorm")
    command.add_argument("--name", type=_name, help="model name; default: data set and architecture")
    command.add_argument("--output", type=Path, default=Path("models"), help="model repository (default: models)")
    command.add_argument("--size", type=_size, help="H or HxW; default: the size of the images, at most 128x128")
    command.add_argument("--channels", type=_channels, help="1 to 200; default: 3, and 1 for digits")
    command.add_argument(
        "--value-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="values of wide pixels that become 0 and 255",
    )
    command.add_argument("--epochs", type=_positive, default=30)
    command.add_argument("--batch-size", type=_positive, default=64)
    command.add_argument("--learning-rate", type=float, default=2e-3)
    command.add_argument(
        "--augmentation",
        choices=AUGMENTATIONS,
        help="random changes while training; default: photo, and shift for digits",
    )
    command.add_argument("--seed", type=int, default=0)

    command = commands.add_parser("verify", help="check a published model", description=verify.__doc__)
    command.set_defaults(run=verify)
    command.add_argument("model", type=Path, metavar="MODEL", help="model.onnx, or the folder it lies in")
    command.add_argument("data", nargs="?", metavar="DATA", help="data set to measure it on")

    command = commands.add_parser("inspect", help="print what a model says about itself", description=inspect.__doc__)
    command.set_defaults(run=inspect)
    command.add_argument("model", type=Path, metavar="MODEL", help="model.onnx, or the folder it lies in")

    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parsed = parser().parse_args(arguments)
    if parsed.command == "train":
        parsed.name = parsed.name or _default_name(parsed.data, parsed.architecture)
        parsed.value_range = tuple(parsed.value_range) if parsed.value_range else None
    try:
        result = parsed.run(parsed)
    except KeyboardInterrupt:
        print("interrupted; nothing was published", file=sys.stderr)
        return 130
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        print(f"error: {error}", file=sys.stderr)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    if parsed.json:
        print(json.dumps(result, indent=2))
    return 0


def _default_name(data: str, architecture: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", Path(data).resolve().name.lower()).strip("-")
    return f"{stem or 'model'}-{architecture}"


if __name__ == "__main__":
    sys.exit(main())
