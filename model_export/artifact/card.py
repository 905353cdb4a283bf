"""The model card beside an artifact: what it is, how accurate and how well calibrated, how it was made, how to use it.

After Mitchell et al., "Model Cards for Model Reporting", 2019.
"""

from __future__ import annotations

from pathlib import Path

from app.images import Shape
from app.metadata import Metadata
from model_export.artifact import making
from model_export.artifact.calibration import Calibration
from model_export.artifact.precision import Reduced
from model_export.console.numbers import counted
from model_export.datasets import leaks_in_words
from model_export.figures import classes, plots
from model_export.figures.metrics import accuracy, worth
from model_export.figures.seen import least
from model_export.verification import Difference

FILE = "README.md"
PLOTS = (plots.CURVES, plots.CONFUSION, plots.RELIABILITY, plots.SELECTIVE)
"""Plots that are published with the card; the worst mistakes are images of the data set and stay in the run."""

_UNUSUAL = "An answer's `familiarity` is near 0 if the image is unlike those of the training data. "


def card(name: str, version: int, document: Metadata, shape: Shape, published: tuple[str, ...]) -> str:
    """Write the card in Markdown.

    Args:
        name: Name of the model.
        version: Its version.
        document: The metadata of the artifact.
        shape: Size of its input.
        published: The plots beside the card.
    """
    parts = [
        f"# {name}",
        _what(document, shape),
        "## Accuracy",
        _metrics(document),
        _classes(document),
        *_pictures(published, plots.CONFUSION, "Confusion matrix of the validation images"),
        "## Calibration",
        _calibration(document),
        *_pictures(published, plots.RELIABILITY, "Reliability diagram of the validation images"),
        *_pictures(published, plots.SELECTIVE, "Coverage and accuracy of the validation images by min_confidence"),
        "## Training",
        making.described(document),
        *_pictures(published, plots.CURVES, "Learning curves"),
        "## Verification",
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
    labels = ", ".join(map(classes.escaped, document.labels))
    return (
        f"Classifies images into {len(document.labels)} classes: {labels}. Its input has "
        f"{shape.height}×{shape.width} pixels and {counted(shape.channels, 'channel')}; the service resizes images to "
        f"it.\n\nArchitecture `{document.architecture}`, trunk `{document.trunk}`, {parameters}"
        f"{document.precision}.\n\n| branch | pooling | width | pools over |\n| --- | --- | --- | --- |\n{branches}"
    )


def _metrics(document: Metadata) -> str:
    rows = "\n".join(
        f"| {split} | {found['images']:,.0f} | {accuracy(found, learned=split == 'train')} | {found['loss']:.4f} |"
        for split, found in document.metrics.items()
    )
    text = (
        f"| split | images | accuracy (95 % interval) | cross-entropy |\n| --- | --- | --- | --- |\n{rows}\n\n"
        "The weights were fitted to the training images. The validation images selected the epoch and the temperature, "
        "so their figures are slightly too good. The intervals (Wilson 1927) cover chance in the choice of images only."
    )
    if alone := worth(document.metrics["validation"], "validation"):
        text += (
            f" They are for new groups, as images of a group resemble each other: {alone} (Saha, Miller and Wang 2016)."
        )
    if document.training["weights"] == "file":
        text += (
            "\n\nThe initial weights of the trunk come from a file: images of the other splits may be among those that "
            "it had learned from."
        )
    leaks = document.training.get("leaks", {})
    if any(leaks.values()):
        text += f"\n\nLeakage: {leaks_in_words(leaks)}, so the figures are better than they would be without them."
    return text


def _classes(document: Metadata) -> str:
    """List the figures of each class for the split of which the model has seen least."""
    if not document.classes:
        return ""
    split, figures = least(document.classes)
    return "\n\n".join(classes.markdown(split, figures, document.metrics[split]))


def _calibration(document: Metadata) -> str:
    if not document.calibration:
        return ""
    found = Calibration(**document.calibration)
    trained, published = "as trained", "as published"
    if document.precision != "float32":  # the temperature was fitted before the precision was reduced
        trained, published = f"{trained}, in float32", f"{published}, in {document.precision}"
    rows = "\n".join(f"| {split} | {before:.4f} | {found.after[split]:.4f} |" for split, before in found.before.items())
    bins = f"over {found.bins} bins"
    if found.folds:
        bins += f" (validation: cross-fitted in {found.folds} folds)"
    setting = found.setting()
    return (
        f"{setting[0].upper()}{setting[1:]}. Expected calibration error {bins}:\n\n"
        f"| split | {trained} | {published} |\n| --- | --- | --- |\n{rows}"
    )


def _parity(document: Metadata) -> str:
    if not document.parity:
        return ""
    parity = [Difference(**entry) for entry in document.parity]
    largest = max(each.largest for each in parity)
    sizes = ", ".join(str(size) for size in sorted({each.batch for each in parity}))
    text = f"Over all outputs at batch {sizes}, Keras and ONNX differ by at most {largest:.1e}."
    if document.precision != "float32":
        share = max(each.share for each in parity)
        typical = max(each.median_share for each in parity)
        text = (
            "Before its precision was reduced, the graph gave the same answers as Keras. The reduced graph is judged "
            f"by its accuracy: {Reduced(**document.training['precision']).judgement()}. At batch {sizes}, its outputs "
            f"differ from those of Keras by at most {share:.2%} of the largest value of each, in the median by at most "
            f"{typical:.2%}."
        )
    if document.probe is not None:
        text += (
            f" The file contains {counted(document.probe.shape[0], 'small image')} with the probabilities that they "
            "got. The service classifies them again when it loads the model, and refuses it if a probability differs "
            f"by more than {document.probe.tolerance:g}."
        )
    return text


def _use(name: str, version: int, document: Metadata) -> str:
    return (
        f"    curl -F file=@IMAGE 'http://127.0.0.1:8000/predict?model={name}:{version}'\n"
        f"    .venv/bin/python -m model_export inspect {name}:{version}\n\n"
        "Any image gets one of these classes, even if it shows something else; its probabilities mean nothing then. "
        f"{_UNUSUAL if document.statistics else ''}Images from other cameras, places or times than those of "
        f"{classes.escaped(document.training['dataset'])} may be classified less accurately. Measure it: "
        f"`.venv/bin/python -m model_export verify {name}:{version} DATA`."
    )


def _pictures(published: tuple[str, ...], file: str, caption: str) -> list[str]:
    return [f"![{caption}]({file})"] if file in published else []


def write(folder: Path, name: str, document: Metadata, shape: Shape, version: int) -> None:
    """Write the card into a staged folder, with the pictures that are there."""
    published = tuple(file for file in PLOTS if (folder / file).is_file())
    (folder / FILE).write_text(card(name, version, document, shape, published), encoding="utf-8")
