"""The model card beside an artifact: what it is, how accurate, how well calibrated, how it was made, how to use it.

After Mitchell et al., "Model Cards for Model Reporting", 2019.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.images import Shape
from app.metadata import Metadata
from model_export.artifact.calibration import Calibration
from model_export.artifact.precision import Reduced
from model_export.console.numbers import counted
from model_export.figures import plots
from model_export.figures.metrics import accuracy

FILE = "README.md"
PLOTS = (plots.CURVES, plots.CONFUSION, plots.RELIABILITY)
"""Pictures that are published with the card; the worst mistakes are images of the data set and stay in the run."""


def card(name: str, version: int, document: Metadata, shape: Shape, published: tuple[str, ...]) -> str:
    """Write the card in Markdown.

    Args:
        name: of the model.
        version: of it.
        document: The metadata of the artifact.
        shape: Size of the images it reads.
        published: The pictures that are beside it.
    """
    parts = [
        f"# {name}",
        _what(document, shape),
        "## How good it is",
        _metrics(document),
        *_pictures(published, plots.CONFUSION, "Validation images: how often each class was taken for each"),
        "## How sure it is",
        _calibration(document),
        *_pictures(published, plots.RELIABILITY, "Validation images: how often it was right against how sure it was"),
        "## Where it comes from",
        _training(document),
        *_pictures(published, plots.CURVES, "Training"),
        "## That it is what was trained",
        _parity(document),
        "## Use",
        _use(name, version, document),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(document: Metadata, shape: Shape) -> str:
    branches = "\n".join(
        f"| `{branch.name}` | {branch.pooling} | {branch.width} | {branch.source} |" for branch in document.branches
    )
    parameters = f"{document.parameters:,} parameters, " if document.parameters else ""
    return (
        f"Classifies images of {shape.height}×{shape.width} with {shape.channels} channels (others are resized) into "
        f"{len(document.labels)} classes: {', '.join(document.labels)}.\n\n"
        f"Architecture `{document.architecture}` on the trunk `{document.trunk}`: {parameters}computing in "
        f"{document.precision}.\n\n| branch | pooling | width | pools over |\n| --- | --- | --- | --- |\n{branches}"
    )


def _metrics(document: Metadata) -> str:
    rows = "\n".join(
        f"| {split} | {figures['images']:,.0f} | {accuracy(split, figures)} | {figures['loss']:.4f} |"
        for split, figures in document.metrics.items()
    )
    text = (
        f"| split | images | accuracy (95 % interval) | cross-entropy |\n| --- | --- | --- | --- |\n{rows}\n\n"
        "The weights were learned from the training images; the validation images chose the epoch and the "
        "temperature, so that their figures are a little too good. The intervals (Wilson 1927) are about chance alone."
    )
    leaks = document.training.get("leaks", {})
    if any(leaks.values()):
        same = counted(leaks["exact"], "pair is", "pairs are")
        text += (
            f"\n\nOf the images, {same} the same and {leaks['near']} nearly the same in two "
            "splits: the figures are better than they would be without."
        )
    return text


def _calibration(document: Metadata) -> str:
    if not document.calibration:
        return ""
    found = Calibration(**document.calibration)
    trained, published = "as trained", "as published"
    if document.precision != "float32":  # the temperature was fitted before the numbers became smaller
        trained, published = f"{trained}, in float32", f"{published}, in {document.precision}"
    rows = "\n".join(f"| {split} | {before:.4f} | {found.after[split]:.4f} |" for split, before in found.before.items())
    bins = f"over {found.bins} bins"
    if found.folds:
        bins += f" (validation: each of {found.folds} folds with a temperature fitted to the others)"
    setting = found.setting()
    return (
        f"{setting[0].upper()}{setting[1:]}. Expected calibration error {bins}:\n\n"
        f"| split | {trained} | {published} |\n| --- | --- | --- |\n{rows}"
    )


def _training(document: Metadata) -> str:
    record, published = document.training, document.training["published"]
    counts = ", ".join(f"{count:,} {split}" for split, count in record["images"].items())
    skipped = f", {counted(record['skipped'], 'file')} left out" if record["skipped"] else ""
    low, high = document.recipe.value_range or (None, None)
    lines = [
        f"- data: {record['dataset']} ({counts}{skipped}); fingerprint `{record['fingerprint']}`",
        f"- pixel values of more than 8 bits: {low:g} became 0 and {high:g} became 255" if low is not None else "",
        f"- licence of the data: {record['licence'] or 'not given'}",
        f"- trained {record['date'][:10]}: {record['epochs']} of {counted(record['epochs_planned'], 'epoch')} in "
        f"{record['seconds']:,} s, the weights of epoch {record['best_epoch']} kept",
        f"- {_method(record)}",
        f"- command: `{record['command']}`",
        f"- with every option: `{record['repeat']}`",
        f"- {_versions(record)}",
        f"- published {published['date'][:10]} by `{published['command']}`: {_versions(published)}",
    ]
    return "\n".join(line for line in lines if line)


def _method(record: dict[str, Any]) -> str:
    """Describe how the weights were trained."""
    pretrained = f"the trunk began with {record['weights']} weights" if record["weights"] != "none" else ""
    digest = f" (SHA-256 `{record['weights_sha256']}`)" if "weights_sha256" in record else ""
    frozen = f" and was frozen for {counted(record['freeze_epochs'], 'epoch')}" if record["freeze_epochs"] else ""
    parts = [
        f"{record['optimizer']}, weight decay {record['weight_decay']:g}, batch {record['batch_size']}, "
        f"{record['steps_per_epoch']:,} steps an epoch; learning rate up to {record['learning_rate']:g}, reached after "
        f"{record['warm_up']:.0%} of the planned steps, then half a cosine down to {record['final_rate']:.0%} of it",
        f"augmentation {record['augmentation']}",
        f"running average of the weights {record['averaging']:g}"
        if record["averaging"]
        else "no average of the weights",
        "classes weighed by how rare they are" if record["class_weights"] else "classes not weighed",
        f"patience {counted(record['patience'], 'epoch')}",
        f"seed {record['seed']}",
        f"{pretrained}{digest}{frozen}",
    ]
    return "; ".join(part for part in parts if part)


def _versions(record: dict[str, Any]) -> str:
    return f"Python {record['python']}, " + ", ".join(
        f"{name} {version}" for name, version in record["packages"].items()
    )


def _parity(document: Metadata) -> str:
    if not document.parity:
        return ""
    largest = max(entry["largest"] for entry in document.parity)
    sizes = ", ".join(str(size) for size in sorted({entry["batch"] for entry in document.parity}))
    text = f"The largest difference between Keras and ONNX over all outputs at batch {sizes} is {largest:.1e}."
    if document.precision != "float32":
        share, typical = (
            max(entry[kind] / entry["scale"] for entry in document.parity) for kind in ("largest", "median")
        )
        text = (
            "Before its numbers became smaller, the graph answered like Keras. Now it is judged by its answers: "
            f"{Reduced(**document.training['precision']).judgement()}. Its outputs are rounded, and so differ from "
            f"those of Keras, at batch {sizes} by at most {share:.2%} of the largest value of each, and in the median "
            f"by at most {typical:.2%}."
        )
    if document.probe is not None:
        text += (
            f" The artifact carries {document.probe.shape[0]} small images with the probabilities they got; the "
            "service asks them again when it loads the model, and refuses it when one differs by more than "
            f"{document.probe.tolerance:g}."
        )
    return text


def _use(name: str, version: int, document: Metadata) -> str:
    return (
        f"    curl -F file=@IMAGE 'http://127.0.0.1:8000/predict?model={name}:{version}'\n"
        f"    .venv/bin/python -m model_export inspect models/{name}/{version}\n\n"
        "It always answers one of its classes, for whatever image: images of other kinds than those it was trained on "
        "get an answer too, and its probabilities mean nothing for them. Accuracy on other cameras, places or times "
        f"than those of {document.training['dataset']} is not known until it is measured: "
        f"`.venv/bin/python -m model_export verify models/{name}/{version} DATA`."
    )


def _pictures(published: tuple[str, ...], file: str, caption: str) -> list[str]:
    return [f"![{caption}]({file})"] if file in published else []


def write(folder: Path, name: str, document: Metadata, shape: Shape, version: int) -> None:
    """Write the card into a staged folder, with the pictures that are there."""
    published = tuple(file for file in PLOTS if (folder / file).is_file())
    (folder / FILE).write_text(card(name, version, document, shape, published))
