"""From trained weights to a published model: centre, calibrate, measure, draw, convert, verify, reduce, publish."""

from __future__ import annotations

import argparse
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from app.artifacts import FILE, discover
from app.errors import InvalidArtifact, NothingToServe
from app.metadata import Metadata, Recipe
from app.model import Model
from model_export import (
    calibration,
    card,
    centring,
    conversion,
    evaluation,
    plots,
    precision,
    provenance,
    publishing,
    statistics,
    training,
    verification,
)
from model_export.calibration import Calibration, Judge
from model_export.metrics import figures
from model_export.precision import Reduced
from model_export.quiet import quiet
from model_export.verification import Difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.architectures import Network
    from model_export.datasets import Dataset
    from model_export.runs import Run
    from model_export.training import Budget, Outcome


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

    def document(self) -> dict[str, Any]:
        """Write it as JSON values."""
        return {
            "published": str(self.folder),
            "metrics": self.metrics,
            "differences": [asdict(difference) for difference in self.differences],
            "calibration": self.calibration.document(),
            "precision": self.reduced and self.reduced.document(),
        }


def export(
    arguments: argparse.Namespace, run: Run, network: Network, dataset: Dataset, budget: Budget, outcome: Outcome
) -> Published:
    """Publish the network as the next version of its model; nothing appears unless every check has passed.

    Raises:
        ParityFailure: The converted model does not answer like Keras.
        PrecisionFailure: It loses too much in the precision asked for.
        OSError: A disk is full, or a folder cannot be written.
    """
    centring.centre(network)
    labels = {name: split.labels for name, split in dataset.splits.items()}
    trained = {name: training.logits(network, split) for name, split in dataset.splits.items()}
    calibrated, judge = calibration.calibrate(network, trained, labels)
    logits = judge({name: values / np.float32(calibrated.temperature) for name, values in trained.items()})
    mistakes = _draw(run.folder, dataset, outcome, trained, logits)
    record = provenance.training_record(arguments, dataset, training.described(budget, dataset), outcome, run.digest())
    document = _document(arguments, network, dataset, record)
    document = document.model_copy(
        update={
            "metrics": {name: figures(logits[name], labels[name]) for name in logits},
            "calibration": calibrated.document(),
            "statistics": statistics.take(network, dataset),
        }
    )
    with publishing.staging(arguments.output, arguments.name) as folder:
        document, answers = _stage(arguments, folder / FILE, network, dataset, document, judge)
        for name in card.PLOTS:
            shutil.copyfile(run.folder / name, folder / name)
        if answers is not None:
            _draw_answers(folder, dataset, trained, answers)
        card.write(folder, arguments.name, document, dataset.shape)
        return _published(publishing.publish(folder), document, mistakes)


def already(arguments: argparse.Namespace, run: Run, outcome: Outcome) -> Published | None:
    """Find the highest version that was published from the run as it is now, with the same name and precision.

    Every version says which checkpoint it was made from, after how many epochs; one that is damaged does not count.
    """
    wanted = run.digest(), outcome.epochs, arguments.precision
    with suppress(NothingToServe):
        for found in reversed(discover(arguments.output)):
            if found.name == arguments.name and (document := _read(found.path)) is not None:
                record = document.training
                if (record.get("checkpoint_sha256"), record.get("epochs"), document.precision) == wanted:
                    return _published(found.path.parent, document)
    return None


def _read(path: Path) -> Metadata | None:
    with suppress(OSError, InvalidArtifact):
        return Model.load(path.read_bytes(), device="cpu").metadata
    return None


def _published(folder: Path, document: Metadata, mistakes: int = 0) -> Published:
    """Take what is to be said of a published version from what it says of itself."""
    reduced = document.training.get("precision")
    return Published(
        folder,
        document.metrics,
        [Difference(**entry) for entry in document.parity],
        Calibration(**document.calibration),
        reduced and Reduced(**reduced),
        mistakes,
    )


def _stage(
    arguments: argparse.Namespace,
    staged: Path,
    network: Network,
    dataset: Dataset,
    document: Metadata,
    judge: Judge,
) -> tuple[Metadata, dict[str, NDArray[np.float32]] | None]:
    """Write the artifact, and see that it answers like Keras through the service's own loader.

    Returns:
        What it says of itself in the end; in a smaller precision, also the logits per split that it is judged by.
    """
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
        return _finish(proto, document.model_copy(update=found), staged), None
    with quiet():
        proto, reduced = precision.reduce(proto, arguments.precision, dataset)
    model = Model.load(conversion.stamped(proto), device="cpu")
    found["probe"] = provenance.probe(
        images, dataset, lambda batch: model.run(batch).probabilities, arguments.precision
    )
    # All that is said is measured again with what is published. It is judged by its accuracy, not by the differences.
    differences = verification.compare(model, reference, dataset.sample)
    found |= {"parity": tuple(asdict(difference) for difference in differences)}
    found |= {"precision": arguments.precision, "training": {**document.training, "precision": reduced.document()}}
    answers = judge({name: evaluation.logits(model, split) for name, split in dataset.splits.items()})
    metrics = {name: figures(answers[name], split.labels) for name, split in dataset.splits.items()}
    found["metrics"] = metrics
    found["calibration"] = {**document.calibration, "after": {name: each["ece"] for name, each in metrics.items()}}
    return _finish(proto, document.model_copy(update=found), staged), answers


def _finish(proto: onnx.ModelProto, document: Metadata, staged: Path) -> Metadata:
    """Write the file with its last document, and load it as the service will; returns the document."""
    conversion.describe(proto, document)
    conversion.save(proto, staged)
    Model.load(staged.read_bytes(), device="cpu").warm_up(verification.BATCHES)
    return document


def _document(arguments: argparse.Namespace, network: Network, dataset: Dataset, record: dict[str, Any]) -> Metadata:
    return Metadata(
        architecture=arguments.architecture,
        labels=dataset.labels,
        branches=network.branches,
        recipe=Recipe(value_range=arguments.value_range),
        trunk=arguments.trunk,
        feature_map=network.feature_map,
        parameters=network.model.count_params(),
        training=record,
    )


def _draw(
    folder: Path,
    dataset: Dataset,
    outcome: Outcome,
    trained: dict[str, NDArray[np.float32]],
    logits: dict[str, NDArray[np.float32]],
) -> int:
    """Draw the pictures of the run."""
    plots.curves(outcome.history, folder / plots.CURVES)
    _draw_answers(folder, dataset, trained, logits)
    return plots.mistakes(dataset.splits["validation"], logits["validation"], dataset.labels, folder / plots.MISTAKES)


def _draw_answers(
    folder: Path, dataset: Dataset, trained: dict[str, NDArray[np.float32]], logits: dict[str, NDArray[np.float32]]
) -> None:
    """Draw what is answered on the validation images, and how sure of it before and after the calibration."""
    labels, found = dataset.splits["validation"].labels, logits["validation"]
    plots.confusion(found, labels, dataset.labels, folder / plots.CONFUSION)
    plots.reliability(trained["validation"], found, labels, folder / plots.RELIABILITY)
