"""Train several architectures with several seeds and the same budget, and record the results."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from app.registry.layout import FILE
from model_export import architectures, choices, conversion, files, places, training
from model_export.artifact import provenance
from model_export.console.numbers import counted
from model_export.console.progress import say
from model_export.console.streams import quiet
from model_export.errors import BadData
from model_export.fitting import footprint

if TYPE_CHECKING:
    from model_export.datasets import Dataset
    from model_export.fitting.budget import Budget

RUNS = "runs.csv"
COMMON = "common.json"
_LOCK = ".lock"  # others may add to the report


@dataclass(frozen=True)
class Result:
    """One architecture trained with one seed, measured with the weights of its last epoch."""

    architecture: str
    seed: int
    parameters: int
    train_accuracy: float
    train_loss: float
    validation_accuracy: float
    validation_loss: float
    seconds_per_epoch: float
    """Median, as the first one compiles the network."""
    effective_images: float = 0.0
    """How many independent images the validation images are worth for the accuracy, if they are grouped; else 0."""


def run(arguments: argparse.Namespace, dataset: Dataset, budget: Budget, folder: Path) -> list[Result]:
    """Train each architecture with each seed; what the folder already has is not trained again.

    The folder gets ``<architecture>/seed-<n>.csv`` with the figures of every epoch, TensorBoard's event files beside
    it, ``<architecture>/model.onnx`` of the first seed for timing, and a line in ``runs.csv`` for each.

    Raises:
        BadData: The folder has runs with other data or another budget, which cannot be compared with these, or its
            files are damaged.
    """
    with files.locked(folder / _LOCK, wait=True):
        _check_same(folder, arguments, dataset, budget)
    # All architectures for each seed, so that an unfinished comparison has the same seeds for each.
    pairs = [(name, seed) for seed in range(arguments.seeds) for name in arguments.architectures]
    done = _done(folder)
    say(
        f"{counted(len(pairs), 'training')} (architectures: {len(arguments.architectures)}, seeds: {arguments.seeds}) "
        f"of {counted(budget.epochs, 'epoch')} each; {sum(pair in done for pair in pairs)} done before"
    )
    for architecture, seed in pairs:
        if (architecture, seed) in _done(folder):  # read again: another process may have trained it meanwhile
            continue
        one = _train(arguments, architecture, dataset, replace(budget, seed=seed), folder / architecture)
        with files.locked(folder / _LOCK, wait=True):
            done = {**_done(folder), (architecture, seed): one}
            files.write_table(folder / RUNS, list(map(asdict, done.values())))
    done = _done(folder)
    return [done[pair] for pair in pairs]


def _check_same(folder: Path, arguments: argparse.Namespace, dataset: Dataset, budget: Budget) -> None:
    """Record what all runs of a folder have in common, or check that it is the same."""
    common = {**asdict(budget), "trunk": arguments.trunk, "weights": arguments.weights, "size": [*dataset.shape]}
    common |= provenance.initial(arguments.weights)
    common |= {"value range": arguments.value_range and [*arguments.value_range], "data": dataset.fingerprint()}
    path = folder / COMMON
    if not path.is_file():
        files.write(path, json.dumps(common, indent=2).encode())
        return
    try:
        found = dict(json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise BadData(f"{path} cannot be read: {error}; compare into another --report") from None
    other = [name for name in common if common[name] != found.get(name)]
    if other:
        raise BadData(f"the runs in {folder} had another {', '.join(other)}; compare into another --report")


def read(folder: Path) -> list[Result]:
    """Read the finished runs of a report folder.

    Raises:
        BadData: The file is damaged.
    """
    path = folder / RUNS
    if not path.is_file():
        return []
    kinds = {field.name: {"str": str, "int": int, "float": float}[field.type] for field in fields(Result)}
    try:
        with path.open(newline="") as file:
            rows = ({"effective_images": "0", **row} for row in csv.DictReader(file))  # older reports lack it
            return [Result(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in rows]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BadData(
            f"{path} cannot be read: {error}; remove the incomplete lines; their runs are then trained again"
        ) from None


def _done(folder: Path) -> dict[tuple[str, int], Result]:
    """Read the finished runs by architecture and seed."""
    return {(each.architecture, each.seed): each for each in read(folder)}


def new_folder(dataset: str) -> Path:
    """Make the next numbered folder ``comparisons/<data set>/<number>``."""
    return files.numbered(places.COMPARISONS / choices.slug(dataset, "data"))


def _train(arguments: argparse.Namespace, architecture: str, dataset: Dataset, budget: Budget, folder: Path) -> Result:
    keras.backend.clear_session()
    training.seed(budget.seed)
    network = architectures.build(architecture, arguments.trunk, dataset.shape, len(dataset.labels), arguments.weights)
    folder.mkdir(parents=True, exist_ok=True)
    events = folder / f"seed-{budget.seed}"
    shutil.rmtree(events, ignore_errors=True)  # of a training that was interrupted; TensorBoard would draw both
    board = keras.callbacks.TensorBoard(events, write_graph=False)
    title = f"{architecture} seed {budget.seed}"
    if advice := footprint.advice(network.model, budget.batch_size):
        say(f"warning: {title}: {advice}")
    outcome = training.train(network, dataset, budget, title=title, callbacks=[board])
    with files.locked(folder.parent / _LOCK, wait=True):  # another process may have trained it, too
        files.write_table(folder / f"seed-{budget.seed}.csv", outcome.history)
        if not (folder / FILE).exists():
            with quiet():
                proto = conversion.convert(network, provenance.document(network, dataset, architecture, arguments))
            conversion.save(proto, folder / FILE)
    train, validation = (
        training.evaluate(network, dataset.splits[name], dataset.groups(name)) for name in ("train", "validation")
    )
    say(f"{title}: train accuracy {train['accuracy']:.4f}, validation accuracy {validation['accuracy']:.4f}")
    return Result(
        architecture,
        budget.seed,
        network.model.count_params(),
        train["accuracy"],
        train["loss"],
        validation["accuracy"],
        validation["loss"],
        statistics.median(row["seconds"] for row in outcome.history),
        validation.get("effective_images", 0.0),
    )
