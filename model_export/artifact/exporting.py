"""From trained weights to a published model: centre, calibrate, measure, draw, convert, verify, reduce, publish."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.model import Model
from app.registry.layout import FILE
from model_export import conversion, publishing, training, verification
from model_export.artifact import calibration, card, centring, feature_statistics, precision, provenance, succession
from model_export.artifact.published import Published
from model_export.console.progress import say
from model_export.console.streams import quiet
from model_export.errors import PrecisionFailure
from model_export.figures import evaluation, plots
from model_export.figures.classes import Classes
from model_export.figures.metrics import confusion, figures, majority_baseline
from model_export.fitting.budget import Budget

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from app.metadata import Metadata
    from model_export.architectures import Network
    from model_export.artifact.calibration import OutOfFold
    from model_export.datasets import Dataset
    from model_export.figures.classes import Figures
    from model_export.fitting.runs import Run
    from model_export.training import Outcome
    from model_export.verification import Difference


def export(arguments: argparse.Namespace, run: Run, network: Network, dataset: Dataset, outcome: Outcome) -> Published:
    """Publish the network as the next version of its model, if it passes every check.

    Raises:
        ParityFailure: The converted model does not answer like Keras.
        BadSuccessor: It is of another kind than the version that it would replace, or clearly worse.
        PrecisionFailure: It loses too much accuracy in the chosen precision.
        OSError: A disk is full, or a folder cannot be written.
    """
    centring.centre(network)
    say("measuring the trained network on all images")
    trained, features = training.answers(network, dataset.splits)
    statistics = feature_statistics.take(features, dataset) if arguments.precision == "float32" else None
    del features  # they take much memory
    labels = {name: split.labels for name, split in dataset.splits.items()}
    fitted, calibrated, out_of_fold = calibration.calibrate(network, trained, labels, dataset.groups("validation"))
    mistakes = plots.draw(run.folder, dataset, outcome.history, trained, calibrated)
    method = training.described(Budget.of(arguments), dataset)
    document = _with(
        provenance.document(network, dataset, arguments.architecture, arguments),
        training=provenance.training_record(arguments, dataset, method, outcome),
        metrics=_measure(calibrated, dataset),
        classes=_by_class(calibrated, dataset),
        calibration=asdict(fitted),
        statistics=statistics,
    )
    with publishing.staging(arguments.output, arguments.name) as folder:
        for name in card.PLOTS:
            shutil.copyfile(run.folder / name, folder / name)
        proto, document = _convert(network, dataset, document, folder / FILE)
        if arguments.precision != "float32":
            try:
                proto, document, answers = _reduce(proto, document, network, dataset, arguments.precision, out_of_fold)
            except PrecisionFailure as error:
                whole = succession.again(arguments, run, "--precision float32")
                raise PrecisionFailure(f"{error}; nothing was published: {whole} publishes it as it is") from None
            plots.answers(folder, dataset, trained, answers)
        conversion.set_metadata(proto, document)
        conversion.save(proto, folder / FILE)
        Model.load((folder / FILE).read_bytes(), device="cpu").warm_up(verification.batches(dataset.shape))
        write_card = partial(card.write, folder, arguments.name, document, dataset.shape)
        change = _succeed(arguments, run, document, dataset)
        return Published.of(publishing.publish(folder, write_card), document, mistakes, change)


def _succeed(arguments: argparse.Namespace, run: Run, document: Metadata, dataset: Dataset) -> str:
    """Check that it may replace the previous version, if there is one; returns the change of accuracy in words."""
    before = succession.find(arguments.output, arguments.name)
    if before is None:
        return ""
    if not arguments.replace_anyway:
        otherwise = succession.otherwise(arguments, run)
        before.check_kind(document.labels, dataset.shape, otherwise)
        before.check_accuracy(document, majority_baseline(dataset.splits["validation"].labels), otherwise)
    return before.change(document)


def _convert(network: Network, dataset: Dataset, document: Metadata, staged: Path) -> tuple[onnx.ModelProto, Metadata]:
    """Convert the network, and check that the service's own loader gets the same answers from the file as Keras."""
    say("converting it to ONNX, and comparing the answers of the file with those of Keras")
    reference = conversion.outputs(network)
    with quiet():
        proto = conversion.convert(network, document)
    conversion.save(proto, staged)
    differences = verification.verify(staged, reference, dataset.sample)
    probe = provenance.probe(dataset, lambda batch: reference.predict_on_batch(batch)["probabilities"], "float32")
    return proto, _with(document, parity=_parity(differences), probe=probe)


def _reduce(
    proto: onnx.ModelProto,
    document: Metadata,
    network: Network,
    dataset: Dataset,
    kind: str,
    out_of_fold: OutOfFold,
) -> tuple[onnx.ModelProto, Metadata, dict[str, NDArray[np.float32]]]:
    """Convert a verified graph to a smaller precision, and measure everything again with it.

    It is judged by its accuracy, not by its differences from Keras.

    Returns:
        The graph, its metadata, and the logits per split with which it is measured.
    """
    say(f"converting it to {kind}, and measuring that on all images")
    with quiet():
        proto, reduced = precision.reduce(proto, kind, dataset)
    model = Model.load(conversion.stamped(proto), device="cpu")
    differences = verification.compare(model, conversion.outputs(network), dataset.sample)
    found = {name: evaluation.answers(model, split) for name, split in dataset.splits.items()}
    answers = out_of_fold({name: logits for name, (logits, _) in found.items()})
    metrics = _measure(answers, dataset)
    document = _with(
        document,
        precision=kind,
        parity=_parity(differences),
        probe=provenance.probe(dataset, lambda batch: model.run(batch).probabilities, kind),
        training={**document.training, "precision": asdict(reduced)},
        metrics=metrics,
        statistics=feature_statistics.take({name: features for name, (_, features) in found.items()}, dataset),
        classes=_by_class(answers, dataset),
        calibration={**document.calibration, "after": {name: each["ece"] for name, each in metrics.items()}},
    )
    return proto, document, answers


def _with(document: Metadata, **found: Any) -> Metadata:
    return document.model_copy(update=found)


def _measure(logits: dict[str, NDArray[np.float32]], dataset: Dataset) -> dict[str, dict[str, float]]:
    return {name: figures(logits[name], split.labels, dataset.groups(name)) for name, split in dataset.splits.items()}


def _by_class(logits: dict[str, NDArray[np.float32]], dataset: Dataset) -> dict[str, Figures]:
    return {
        name: Classes(dataset.labels, confusion(logits[name], split.labels)).document(digits=4)
        for name, split in dataset.splits.items()
        if name != "train"
    }


def _parity(differences: list[Difference]) -> tuple[dict[str, Any], ...]:
    return tuple(asdict(difference) for difference in differences)
