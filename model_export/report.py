"""The report of a comparison: table, curves and conclusions."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from app.model import Model
from app.registry.layout import FILE
from model_export.console.invocation import recorded
from model_export.console.numbers import counted
from model_export.figures.timing import batch, medians
from model_export.fitting.runs import read_history
from model_export.reporting import conclusions

if TYPE_CHECKING:
    from model_export.comparison import Result
    from model_export.datasets import Dataset
    from model_export.fitting.budget import Budget

CURVES = "curves.png"

_COLOURS = 10  # then Matplotlib begins again with the first
_STYLES = "-", "--", ":"


def write(
    folder: Path, arguments: argparse.Namespace, dataset: Dataset, budget: Budget, trained: list[Result]
) -> dict[str, Any]:
    """Write ``README.md`` and ``curves.png`` into the report folder; returns the table as JSON values.

    Raises:
        BadData: The figures of the epochs are damaged.
    """
    rows = table(trained, _cost(folder, arguments.architectures, dataset))
    _draw(folder, arguments.architectures, arguments.seeds)
    images = len(dataset.splits["validation"])
    words = [*conclusions.ranking(trained, images), *conclusions.pooling_against_dense(trained, images)]
    words.append(conclusions.resolution(trained, images))
    (folder / "README.md").write_text(_page(arguments, dataset, budget, rows, words), encoding="utf-8")
    return {"table": rows, "conclusions": words}


def table(trained: list[Result], cost: dict[str, float]) -> list[dict[str, Any]]:
    """Gather one row per architecture: means and standard deviations over the seeds."""
    rows = []
    for name in dict.fromkeys(each.architecture for each in trained):
        of_name = [each for each in trained if each.architecture == name]
        gaps = [each.train_accuracy - each.validation_accuracy for each in of_name]
        rows.append(
            {
                "architecture": name,
                "parameters": of_name[0].parameters,
                "train_accuracy": _spread([each.train_accuracy for each in of_name]),
                "validation_accuracy": _spread([each.validation_accuracy for each in of_name]),
                "train_loss": _spread([each.train_loss for each in of_name]),
                "validation_loss": _spread([each.validation_loss for each in of_name]),
                "gap": _spread(gaps),
                "seconds_per_epoch": statistics.median(each.seconds_per_epoch for each in of_name),
                "inference_ms_per_image": cost[name],
            }
        )
    return rows


def _spread(values: list[float]) -> tuple[float, float | None]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def _cost(folder: Path, names: tuple[str, ...], dataset: Dataset) -> dict[str, float]:
    """Time each architecture's artifact on the CPU, all in turns; milliseconds per image in batches."""
    models = [Model.load((folder / name / FILE).read_bytes(), device="cpu") for name in names]
    images = batch(dataset.splits["validation"].images)
    seconds = medians(models, images)
    return {name: 1000 * each / len(images) for name, each in zip(names, seconds, strict=True)}


def _draw(folder: Path, names: tuple[str, ...], seeds: int) -> None:
    """Draw training and validation accuracy and loss of every architecture: the mean, and the range of the seeds."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    titles = {"accuracy": "training accuracy", "val_accuracy": "validation accuracy"}
    titles |= {"loss": "training loss", "val_loss": "validation loss"}
    histories = {name: [read_history(folder / name / f"seed-{seed}.csv") for seed in range(seeds)] for name in names}
    for axes, (column, title) in zip(figure.subplots(2, 2).ravel(), titles.items(), strict=True):
        for number, (name, runs) in enumerate(histories.items()):
            values = np.array([[row[column] for row in run] for run in runs])  # (seeds, epochs)
            epochs = np.arange(1, values.shape[1] + 1)
            colour, style = f"C{number}", _STYLES[number // _COLOURS % len(_STYLES)]
            axes.plot(epochs, values.mean(0), label=name, marker=".", color=colour, linestyle=style)
            axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    figure.axes[1].legend(fontsize="small")
    figure.savefig(folder / CURVES, dpi=100)


def _page(
    arguments: argparse.Namespace,
    dataset: Dataset,
    budget: Budget,
    rows: list[dict[str, Any]],
    words: list[str],
) -> str:
    counts = ", ".join(f"{count:,} {name}" for name, count in dataset.counts().items())
    size = "×".join(map(str, dataset.shape))
    seeds, spread, curves = "seed 0", "", ""
    if arguments.seeds > 1:
        seeds = f"seeds 0 to {arguments.seeds - 1}, each with the same split and its own first weights and order"
        spread, curves = ", mean ± standard deviation over the seeds", ": mean and range of the seeds"
    return "\n".join(
        [
            f"# Comparison on {dataset.name}",
            "",
            f"{counts} images of {size}; trunk `{arguments.trunk}`, {counted(budget.epochs, 'epoch')}, "
            f"batch {budget.batch_size}, learning rate {budget.learning_rate:g}, weight decay {budget.weight_decay:g}, "
            f"augmentation {budget.augmentation}, averaging {budget.averaging:g}; "
            f"{seeds}. Measured with the weights of the last epoch{spread}; train − "
            "validation is the difference of the accuracies; ms per image is ONNX Runtime on this CPU in batches.",
            "",
            *_markdown(rows),
            "",
            f"![Training curves{curves}]({CURVES})",
            "",
            "## Conclusion",
            "",
            *(f"- {line}" for line in words),
            "",
            f"    {recorded(arguments.command_line)}",
            "",
        ]
    )


def _markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Write the table in Markdown, line by line."""
    return [
        "| architecture | parameters | train accuracy | validation accuracy | train loss | validation loss "
        "| train − validation | s per epoch | ms per image |",
        "| --- " * 9 + "|",
        *(
            f"| `{row['architecture']}` | {row['parameters']:,} | {_pm(row['train_accuracy'])} "
            f"| {_pm(row['validation_accuracy'])} | {_pm(row['train_loss'])} | {_pm(row['validation_loss'])} "
            f"| {_pm(row['gap'])} | {row['seconds_per_epoch']:.1f} | {row['inference_ms_per_image']:.3f} |"
            for row in rows
        ),
    ]


def _pm(spread: tuple[float, float | None]) -> str:
    mean, deviation = spread
    return f"{mean:.4f}" if deviation is None else f"{mean:.4f} ± {deviation:.4f}"
