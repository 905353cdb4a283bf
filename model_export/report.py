"""What the commands print: tables for people, one JSON document for scripts."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from app.model import Model
from model_export.progress import say

if TYPE_CHECKING:
    from model_export.datasets import Dataset
    from model_export.training import Budget, Outcome
    from model_export.verification import Difference

_DENSE_UNITS = 500

out = Console(highlight=False, soft_wrap=True)


def say_dataset(dataset: Dataset) -> None:
    """Say what was loaded, and name what could not be."""
    size = "×".join(str(side) for side in dataset.shape)
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.counts().items())
    say(f"{dataset.name}: {len(dataset.labels)} classes, images {size}, {counts}")
    for line in dataset.skipped:
        say(f"skipped {line}")
    if dataset.skipped:
        say(f"skipped {len(dataset.skipped)} unreadable files in all")


def say_outcome(outcome: Outcome, budget: Budget, dataset: Dataset) -> None:
    """Say how training ended, which weights were kept, and whether they are worth anything."""
    early = f", stopped early after {budget.patience} without a better one" if outcome.epochs < budget.epochs else ""
    say(
        f"trained {outcome.epochs} epochs in {outcome.seconds:.0f} s{early}; "
        f"kept the weights of epoch {outcome.best_epoch}, with the lowest validation loss"
    )
    validation = dataset.splits["validation"].labels
    guess = np.bincount(validation).max() / len(validation)
    if outcome.metrics["validation"]["accuracy"] <= guess:
        say(
            f"warning: on the validation images the model is no better than always naming one class ({guess:.2f}); "
            "it needs more images or more epochs, or --trunk plain for a small data set"
        )


def print_training(metrics: dict[str, dict[str, float]], differences: list[Difference], published: Path) -> None:
    """Print what came out of a training run, and what can be done next."""
    out.print(metrics_table(metrics), differences_table(differences))
    out.print(next_commands(published), markup=False)


def print_verification(path: Path, metrics: dict[str, dict[str, float]]) -> None:
    """Print what came out of checking a published file."""
    out.print(f"{path} is a sound artifact", markup=False)
    if metrics:
        out.print(metrics_table(metrics))


def differences_table(differences: list[Difference]) -> Table:
    """Show the largest difference between Keras and ONNX per output and batch size."""
    sizes = sorted({d.batch for d in differences})
    table = Table("output", *(f"batch {size}" for size in sizes), title="Keras and ONNX: largest difference")
    for name in dict.fromkeys(d.output for d in differences):
        table.add_row(name, *(f"{d.largest:.1e}" for d in differences if d.output == name))
    return table


def metrics_table(metrics: dict[str, dict[str, float]]) -> Table:
    """Show accuracy and loss per split."""
    table = Table("split", "images", "accuracy", "cross-entropy")
    for split, figures in metrics.items():
        table.add_row(split, f"{figures['images']:,.0f}", f"{figures['accuracy']:.4f}", f"{figures['loss']:.4f}")
    return table


def next_commands(published: Path) -> str:
    """Name the commands that follow a training run."""
    name, repository = published.parent.name, published.parent.parent
    inside = Path(sys.executable).is_relative_to(Path.cwd())
    python = os.path.relpath(sys.executable) if inside else sys.executable
    return (
        f"published {published}\n"
        f"  inspect   {python} -m model_export inspect {published}\n"
        f"  serve     MULTIPOOL_MODELS_DIR={repository} make serve\n"
        f"  ask       curl -F file=@IMAGE 'http://127.0.0.1:8000/predict?model={name}'"
    )


def describe(path: Path, model: Model) -> dict[str, Any]:
    """Collect all that a published artifact says about itself, and how its head compares with a dense one."""
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": model.sha256,
        "input": model.shape._asdict(),
        "metadata": model.metadata.model_dump(mode="json"),
        "head": head(model),
    }


def head(model: Model) -> dict[str, int]:
    """Count what global pooling saves: the head's weights against dense layers on the flattened feature map.

    The comparison is that of Lin, Chen and Yan 2014: a map of 7×7×64 pooled globally leaves 64 numbers, while a
    dense layer of 500 on the flattened map takes 7·7·64·500 = 1,568,000 weights.
    """
    metadata = model.metadata
    pooled = sum(branch.width for branch in metadata.branches)
    counts = {"pooled_features": pooled, "head_weights": pooled * len(metadata.labels)}
    if metadata.feature_map is not None:
        flattened = math.prod(metadata.feature_map)
        counts |= {"flattened_features": flattened, "dense_weights": flattened * _DENSE_UNITS}
    return counts


def print_description(described: dict[str, Any]) -> None:
    """Print a description as a page for people."""
    metadata, size, counts = described["metadata"], described["input"], described["head"]
    out.print(f"{described['file']}  {described['bytes']:,} bytes", markup=False)
    out.print(f"sha256 {described['sha256']}")
    out.print(f"architecture {metadata['architecture']}, trunk {metadata['trunk']}, recipe {metadata['recipe']['id']}")
    out.print(f"image uint8 [batch, {size['height']}, {size['width']}, {size['channels']}]", markup=False)
    out.print(f"labels {', '.join(metadata['labels'])}", markup=False)
    branches = Table("branch", "pooling", "width", "pools over")
    for branch in metadata["branches"]:
        branches.add_row(branch["name"], branch["pooling"], str(branch["width"]), branch["source"])
    out.print(branches)
    if metadata["metrics"]:
        out.print(metrics_table(metadata["metrics"]))
    for key, value in metadata["training"].items():
        out.print(f"{key}: {_words(value)}", markup=False)
    _print_head(metadata, counts)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def _print_head(metadata: dict[str, Any], counts: dict[str, int]) -> None:
    classes = len(metadata["labels"])
    out.print(
        f"head: {counts['pooled_features']:,} pooled features × {classes} classes = {counts['head_weights']:,} weights"
        + (f", of {metadata['parameters']:,} parameters in all" if metadata["parameters"] else "")
    )
    if "dense_weights" in counts:
        height, width, channels = metadata["feature_map"]
        out.print(
            f"without pooling: a dense layer of {_DENSE_UNITS} on the flattened {height}×{width}×{channels} feature "
            f"map ({counts['flattened_features']:,} numbers) would need {counts['dense_weights']:,} weights"
        )
