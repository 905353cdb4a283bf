"""The metadata of a published model: as a page for people, as one JSON document for scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from app.explanation import Head
from app.model import Model
from model_export.artifact.calibration import Calibration
from model_export.artifact.making import scaling
from model_export.console.numbers import counted
from model_export.figures import classes
from model_export.figures.seen import least
from model_export.reporting.printing import out, print_metrics
from model_export.verification import Difference

_DENSE_UNITS = 500
_ROUNDING = 1e-5


def describe(path: Path, model: Model) -> dict[str, Any]:
    """Collect the metadata of a published artifact, and compare its head with dense layers."""
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": model.sha256,
        "input": model.shape._asdict(),
        "metadata": model.metadata.described(),
        "head": head(model),
    }


def head(model: Model) -> dict[str, Any]:
    """Say whether the head is centred, and compare its number of weights with that of dense layers.

    The comparison is that of Lin, Chen and Yan 2014: a map of 7×7×64 pooled globally leaves 64 numbers, while a
    dense layer of 500 on the flattened map takes 7·7·64·500 = 1,568,000 weights.
    """
    metadata = model.metadata
    pooled = sum(branch.width for branch in metadata.branches)
    counts: dict[str, Any] = {"pooled_features": pooled, "head_weights": pooled * len(metadata.labels)}
    if model.head is not None:
        counts["centred"] = centred(model.head)
    if metadata.feature_map is not None:
        flattened = math.prod(metadata.feature_map)
        counts |= {"flattened_features": flattened, "dense_weights": flattened * _DENSE_UNITS}
    return counts


def centred(head: Head) -> bool:
    """Whether weights and bias sum to zero over the classes, up to rounding (:mod:`model_export.artifact.centring`)."""
    weights = np.vstack([head.kernel, head.bias])
    return bool(np.abs(weights.sum(1, dtype=float)).max() <= _ROUNDING * np.abs(weights).sum(1).max())


def print_description(described: dict[str, Any]) -> None:
    """Print a description as a page for people."""
    metadata, size, counts = described["metadata"], described["input"], described["head"]
    out.print(f"{described['file']}  {described['bytes']:,} bytes")
    out.print(f"sha256 {described['sha256']}")
    out.print(f"architecture {metadata['architecture']}, trunk {metadata['trunk']}, recipe {metadata['recipe']['id']}")
    out.print(f"image uint8 [batch, {size['height']}, {size['width']}, {size['channels']}]")
    out.print(f"labels {', '.join(metadata['labels'])}")
    out.print(f"images are read so: {metadata['recipe']['description']}")
    if scaled := scaling(metadata["recipe"]["value_range"]):
        out.print(scaled)
    branches = Table("branch", "pooling", "width", "pools over")
    for branch in metadata["branches"]:
        branches.add_row(branch["name"], branch["pooling"], str(branch["width"]), branch["source"])
    out.print(branches)
    if metadata["metrics"]:
        print_metrics(metadata["metrics"])
    if metadata["classes"]:
        split, figures = least(metadata["classes"])
        for line in classes.lines(split, figures, metadata["metrics"][split]):
            out.print(line)
    _print_checks(metadata)
    for line in _lines(metadata["training"]):
        out.print(line)
    _print_head(metadata, counts)


def _print_checks(metadata: dict[str, Any]) -> None:
    """Print what was verified, calibration, parity, golden probe, and what familiarity compares with."""
    out.print(f"computes in {metadata['precision']}")
    if metadata["calibration"]:
        found = Calibration(**metadata["calibration"])
        errors = ", ".join(f"{split} {found.before[split]:.4f} → {after:.4f}" for split, after in found.after.items())
        folds = f"; validation cross-fitted in {found.folds} folds" if found.folds else ""
        out.print(f"{found.setting()}; calibration error {errors}{folds}")
    if metadata["parity"]:
        _print_parity([Difference(**entry) for entry in metadata["parity"]], metadata["precision"])
    if probe := metadata["probe"]:
        out.print(f"golden probe: {probe['shape'][0]} images, a probability may differ by {probe['tolerance']:g}")
    if statistics := metadata["statistics"]:
        out.print(f"familiarity: compared with {counted(statistics['held_out'], 'held-out image')}")


def _print_parity(parity: list[Difference], precision: str) -> None:
    sizes = ", ".join(str(size) for size in sorted({each.batch for each in parity}))
    if precision == "float32":
        worst = max(parity, key=lambda each: each.largest)
        most, judged = f"{worst.largest:.1e}", ""
    else:
        worst = max(parity, key=lambda each: each.share)
        most = f"{worst.share:.2%} of the largest value"
        medians = [each.median_share for each in parity if each.median_share is not None]
        judged = f", in the median by at most {max(medians):.2%}" if medians else ""
        judged += f"; {precision} rounds, and is judged by its accuracy, below"
    out.print(f"Keras and ONNX differ by at most {most} ({worst.output}), all outputs, batch {sizes}{judged}")


def _lines(record: dict[str, Any], within: str = "") -> Iterator[str]:
    """Write a record line by line, ``name: value``; nested parts with both names, empty values not at all."""
    for key, value in record.items():
        if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
            yield from _lines(value, f"{within}{key} ")
        elif value not in (None, "", [], {}):
            yield f"{within}{key}: {_words(value)}"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def _print_head(metadata: dict[str, Any], counts: dict[str, int]) -> None:
    classes = len(metadata["labels"])
    out.print(
        f"head: {counts['pooled_features']:,} pooled features × {classes} classes = {counts['head_weights']:,} weights"
        + (f", of {metadata['parameters']:,} parameters in all" if metadata["parameters"] else "")
        + ("; centred: contributions sum to zero over the classes" if counts.get("centred") else "")
    )
    if "dense_weights" in counts:
        height, width, channels = metadata["feature_map"]
        out.print(
            f"without pooling: a dense layer of {_DENSE_UNITS} on the flattened {height}×{width}×{channels} feature "
            f"map ({counts['flattened_features']:,} numbers) would need {counts['dense_weights']:,} weights"
        )
