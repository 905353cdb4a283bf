"""From trained weights to a published model: calibrate, measure, draw, convert, verify, reduce, publish."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from app.metadata import Metadata, Recipe
from app.model import Model
from model_export import (
    calibration,
    card,
    conversion,
    plots,
    precision,
    provenance,
    publishing,
    statistics,
    training,
    verification,
)
from model_export.evaluation import measure
from model_export.metrics import figures
from model_export.quiet import quiet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model_export.architectures import Network
    from model_export.calibration import Calibration
    from model_export.datasets import Dataset
    from model_export.precision import Reduced
    from model_export.runs import Run
    from model_export.training import Budget, Outcome
    from model_export.verification import Difference


@dataclass(frozen=True)
class Published:
    """What was published, and what was measured on the way."""

    folder: Path
    metrics: dict[str, dict[str, float]]
    differences: list[Difference]
    calibration: Calibration
    reduced: Reduced | None
    mistakes: int
    """Images on the contact sheet of the run."""


def export(
    arguments: argparse.Namespace, run: Run, network: Network, dataset: Dataset, budget: Budget, outcome: Outcome
) -> Published:
    """Publish the network as the next version of its model; nothing appears unless every check has passed.

    Raises:
        ParityFailure: The converted model does not answer like Keras.
        PrecisionFailure: It loses too much in the precision asked for.
        OSError: A disk is full, or a folder cannot be written.
    """
    labels = {name: split.labels for name, split in dataset.splits.items()}
    trained = {name: training.logits(network, split) for name, split in dataset.splits.items()}
    calibrated, logits = calibration.calibrate(network, trained, labels)
    mistakes = _draw(run.folder, dataset, outcome, trained, logits)
    document = _document(arguments, network, dataset, budget, outcome)
    document = document.model_copy(
        update={
            "metrics": {name: figures(logits[name], labels[name]) for name in logits},
            "calibration": calibrated.document(),
            "statistics": statistics.take(network, dataset),
        }
    )
    with publishing.staging(arguments.output, arguments.name) as folder:
        document, differences, reduced = _stage(arguments, folder / publishing.FILE, network, dataset, document)
        for name in card.PLOTS:
            shutil.copyfile(run.folder / name, folder / name)
        card.write(folder, arguments.name, document, dataset.shape)
        published = publishing.publish(folder)
    return Published(published, document.metrics, differences, calibrated, reduced, mistakes)


def _stage(
    arguments: argparse.Namespace, staged: Path, network: Network, dataset: Dataset, document: Metadata
) -> tuple[Metadata, list[Difference], Reduced | None]:
    """Write the artifact, and see that it answers like Keras through the service's own loader."""
    reference, images = conversion.outputs(network), provenance.probe_images(dataset)

    def keras_answer(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return reference(batch, training=False)["probabilities"]

    with quiet():
        proto = conversion.convert(network, document)
    conversion.save(proto, staged)
    differences = verification.verify(staged, reference, dataset.sample)
    found = {"parity": tuple(asdict(difference) for difference in differences)}
    if arguments.precision == "float32":
        found["probe"] = provenance.probe(images, dataset, keras_answer, arguments.precision)
        document = document.model_copy(update=found)
        return document, differences, _finish(proto, document, staged)
    with quiet():
        proto, reduced = precision.reduce(proto, arguments.precision, dataset)
    model = Model.load(conversion.stamped(proto), device="cpu")
    found["probe"] = provenance.probe(
        images, dataset, lambda batch: model.run(batch).probabilities, arguments.precision
    )
    # What the published graph differs by: the precision is judged by its accuracy, not by this.
    differences = verification.compare(model, reference, dataset.sample)
    found |= {"parity": tuple(asdict(difference) for difference in differences)}
    found |= {"precision": arguments.precision, "training": {**document.training, "precision": reduced.document()}}
    found["metrics"] = {name: measure(model, split) for name, split in dataset.splits.items()}
    document = document.model_copy(update=found)
    _finish(proto, document, staged)
    return document, differences, reduced


def _finish(proto: onnx.ModelProto, document: Metadata, staged: Path) -> None:
    """Write the file with its last document, and load it as the service will."""
    conversion.describe(proto, document)
    conversion.save(proto, staged)
    Model.load(staged.read_bytes(), device="cpu").warm_up(verification.BATCHES)


def _document(
    arguments: argparse.Namespace, network: Network, dataset: Dataset, budget: Budget, outcome: Outcome
) -> Metadata:
    return Metadata(
        architecture=arguments.architecture,
        labels=dataset.labels,
        branches=network.branches,
        recipe=Recipe(value_range=arguments.value_range),
        trunk=arguments.trunk,
        feature_map=network.feature_map,
        parameters=network.model.count_params(),
        training=provenance.training_record(arguments, dataset, training.described(budget, dataset), outcome),
    )


def _draw(
    folder: Path,
    dataset: Dataset,
    outcome: Outcome,
    trained: dict[str, NDArray[np.float32]],
    logits: dict[str, NDArray[np.float32]],
) -> int:
    """Draw the pictures of the run."""
    split, found = dataset.splits["validation"], logits["validation"]
    plots.curves(outcome.history, folder / plots.CURVES)
    plots.confusion(found, split.labels, dataset.labels, folder / plots.CONFUSION)
    plots.reliability(trained["validation"], found, split.labels, folder / plots.RELIABILITY)
    return plots.mistakes(split, found, dataset.labels, folder / plots.MISTAKES)
