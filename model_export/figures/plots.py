"""Pictures of a training run: curves, confusion, reliability, selective classification, worst mistakes; PNG files."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from model_export.figures import metrics
from model_export.figures.selective import Selective
from model_export.figures.shortening import short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from model_export.data.split import Split
    from model_export.datasets import Dataset

CURVES, CONFUSION, RELIABILITY = "curves.png", "confusion.png", "reliability.png"
SELECTIVE, MISTAKES = "selective.png", "mistakes.png"

_DPI = 100
_MOST_LABELS = 30
_NUMBERED = "number of the class in labels, from 0"
_MOST_NUMBERS = 15
_MOST_MISTAKES = 24
_COLUMNS = 6


def draw(
    folder: Path,
    dataset: Dataset,
    history: list[dict[str, float]],
    before: dict[str, NDArray[np.float32]],
    after: dict[str, NDArray[np.float32]],
) -> int:
    """Draw all pictures of a training run; returns how many mistakes are shown.

    Args:
        folder: Where they go.
        history: The figures of every epoch.
        before: Per split, ``float32 [N, classes]``: logits as trained.
        after: The same, calibrated.
    """
    curves(history, folder / CURVES)
    answers(folder, dataset, before, after)
    return mistakes(dataset.splits["validation"], after["validation"], dataset.labels, folder / MISTAKES)


def answers(
    folder: Path, dataset: Dataset, before: dict[str, NDArray[np.float32]], after: dict[str, NDArray[np.float32]]
) -> None:
    """Draw what is answered on the validation images, how sure of it, and what leaving answers open brings."""
    labels, calibrated = dataset.splits["validation"].labels, after["validation"]
    confusion(calibrated, labels, dataset.labels, folder / CONFUSION)
    reliability(before["validation"], calibrated, labels, folder / RELIABILITY)
    selective(Selective.of(metrics.probabilities(calibrated), labels, dataset.groups("validation")), folder / SELECTIVE)


def curves(history: list[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy of every epoch, for training and validation, and where validation loss was lowest."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in history]
    best = 1 + int(np.nanargmin([row["val_loss"] for row in history]))  # NaN where training diverged
    for axes, name, title in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), ("Cross-entropy", "Accuracy"), strict=True
    ):
        axes.plot(epochs, [row[name] for row in history], label="training (augmented)", marker=".")
        axes.plot(epochs, [row[f"val_{name}"] for row in history], label="validation", marker=".")
        axes.axvline(best, color="grey", linestyle=":", label=f"lowest validation loss ({best})")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    _save(figure, path)


def confusion(logits: NDArray[np.float32], labels: NDArray[np.int64], names: tuple[str, ...], path: Path) -> None:
    """Draw how often each class was taken for each: counts, and shares of the true class."""
    counts = metrics.confusion(logits, labels)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(12.0, 2.4 + 0.42 * len(names))
    figure = Figure(figsize=(2 * side + 1, side), layout="constrained")
    left, right = figure.subplots(1, 2)
    _matrix(left, counts, "{:d}", "Validation images", names)
    _matrix(right, shares, "{:.2f}", "Share of the true class", names)
    _save(figure, path)


def reliability(before: NDArray[np.float32], after: NDArray[np.float32], labels: NDArray[np.int64], path: Path) -> None:
    """Draw how often the model was right against how sure it was, as trained and as published; once if they agree."""
    panels = [("as trained", before), ("as published", after)]
    if np.array_equal(before, after):
        panels = [("no temperature", after)]
    figure = Figure(figsize=(4.5 * len(panels), 4.2), layout="constrained")
    for axes, (title, logits) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        counts, confidence, right = metrics.reliability(logits, labels)
        filled = counts > 0
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as sure as right")
        axes.bar(
            (np.arange(metrics.BINS) + 0.5) / metrics.BINS,
            counts / counts.sum(),
            1 / metrics.BINS,
            alpha=0.25,
            label="share of images",
        )
        axes.plot(confidence[filled], right[filled], marker="o", label="share that is right")
        error = metrics.calibration_error(logits, labels)
        axes.set(title=f"{title}: calibration error {error:.4f}", xlabel="probability of the answer", ylim=(0, 1.03))
        axes.grid(alpha=0.3)
    figure.suptitle("Validation images", fontsize="medium")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    _save(figure, path)


def selective(found: Selective, path: Path) -> None:
    """Draw what each fixed ``min_confidence`` costs and brings, and the risk–coverage curve on which they lie."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    points = found.document()
    names = [f"{point['min_confidence']:g}" for point in points]
    labelled = len([point for point in points if point["images"]])  # a higher threshold never covers more
    coverage, accuracy = [point["coverage"] for point in points], [point["accuracy"] for point in points[:labelled]]
    intervals = [metrics.interval_of(point) for point in points[:labelled]]
    left.plot(names, coverage, marker="o", label="coverage: share of images with a label")
    left.plot(names[:labelled], accuracy, marker="o", label="accuracy: share of these labels that is right (95 %)")
    left.fill_between(names[:labelled], *zip(*intervals, strict=True), color="C1", alpha=0.25)
    left.set(title="Coverage and accuracy", xlabel="min_confidence", ylim=(-0.03, 1.03))
    right.plot(*found.curve(), color="grey")
    shades = colormaps["viridis"](np.linspace(0, 1, len(points)))
    for name, shade, share, of_right in zip(names, shades, coverage, accuracy, strict=False):
        right.plot(share, 1 - of_right, "o", color=shade, label=name)
    right.set(title=f"Risk–coverage curve: area {found.aurc():.4f}", xlabel="coverage", ylabel="risk: 1 − accuracy")
    right.set(xlim=(-0.03, 1.03))
    beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}  # anywhere within, it can cover the curve
    right.legend(title="min_confidence", fontsize="small", title_fontsize="small", **beside)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(
        "Validation images, which selected the epoch and the temperature: slightly too good", fontsize="medium"
    )
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
    _save(figure, path)


def mistakes(split: Split, logits: NDArray[np.float32], names: tuple[str, ...], path: Path) -> int:
    """Show the mistakes with the highest cross-entropy; returns how many are shown (without any, there is no file)."""
    losses = metrics.losses(logits, split.labels)
    wrong = np.flatnonzero(logits.argmax(1) != split.labels)
    worst = wrong[np.argsort(-losses[wrong])][:_MOST_MISTAKES]
    if not len(worst):
        path.unlink(missing_ok=True)  # drawn when the run was published before it was finished
        return 0
    chances, short = metrics.probabilities(logits), short_names(names)
    files = sorted({split.names[index].rpartition("/")[2] for index in worst})
    named = dict(zip(files, short_names(files, 26), strict=True))
    rows = math.ceil(len(worst) / _COLUMNS)
    figure = Figure(figsize=(2.3 * _COLUMNS, 2.8 * rows), layout="constrained")
    for axes in (grid := np.atleast_2d(figure.subplots(rows, _COLUMNS)).ravel()):
        axes.axis("off")
        axes.set_anchor("N")  # the layout places a title as if the image began at the top of its cell
    for axes, index in zip(grid, worst, strict=False):
        axes.imshow(_visible(split.images[index]), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        said, truth = logits[index].argmax(), split.labels[index]
        file = named[split.names[index].rpartition("/")[2]]
        lines = (f"{short[label]} {chances[index, label]:.2f}" for label in (said, truth))
        axes.set_title(_drawable("\ntruth: ".join(lines) + f"\n{file}"), fontsize=8)
    _save(figure, path)
    return len(worst)


def _matrix(axes: Axes, values: NDArray[np.float64], form: str, title: str, names: tuple[str, ...]) -> None:
    axes.imshow(values, cmap="Blues", vmin=0)
    axes.set(title=title, xlabel="answer", ylabel="truth")
    if len(names) <= _MOST_LABELS:
        short = [_drawable(name) for name in short_names(names)]
        axes.set_xticks(range(len(names)), short, rotation=90)
        axes.set_yticks(range(len(names)), short)
    else:
        axes.set(xlabel=f"answer: {_NUMBERED}", ylabel=f"truth: {_NUMBERED}")
    if len(names) > _MOST_NUMBERS:
        return
    for (row, column), value in np.ndenumerate(values):
        if value:
            colour = "white" if value > values.max() / 2 else "black"
            axes.text(column, row, form.format(value), ha="center", va="center", fontsize=7, color=colour)


def _visible(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make an image of one or three channels of ``uint8 [H, W, C]``: of many bands, the mean, spread over the greys."""
    if image.shape[-1] == 3:
        return np.asarray(image)
    grey = image.mean(-1)
    if image.shape[-1] > 1:
        low, high = grey.min(), max(grey.max(), grey.min() + 1)
        grey = (grey - low) * (255 / (high - low))
    return grey.astype(np.uint8)


def _drawable(text: str) -> str:
    text = text.encode(errors="replace").decode()  # the name of a file need not be UTF-8
    return text.replace("$", r"\$")  # else what stands between two of them is read as a formula


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # drawn as boxes
        figure.savefig(path, dpi=_DPI)
