"""What a comparison shows, in words that go no further than the figures."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from scipy.stats import t as student

if TYPE_CHECKING:
    from model_export.comparison import Trained

_CONFIDENCE = 0.95
_MARGIN = 0.01


def ranking(trained: list[Trained]) -> list[str]:
    """Say which validated best, and which of the others can be told apart from it."""
    names = list(dict.fromkeys(each.architecture for each in trained))
    means = {name: statistics.mean(_accuracies(trained, name)) for name in names}
    best = max(names, key=means.__getitem__)
    tied = [name for name in names if means[name] == means[best]]
    if len(tied) > 1:
        names_tied = ", ".join(f"`{name}`" for name in tied)
        lines = [f"{names_tied} share the highest mean validation accuracy, {means[best]:.4f}."]
    else:
        lines = [f"`{best}` has the highest mean validation accuracy, {means[best]:.4f}."]
    for name in sorted(set(names) - {best}, key=means.__getitem__, reverse=True):
        difference, low, high = paired(trained, best, name)
        verdict = "clearly better" if low > 0 else "not to be told apart with these seeds"
        lines.append(f"`{best}` against `{name}`: {_interval(difference, low, high)}, {verdict}.")
    return lines


def pooling_against_dense(trained: list[Trained]) -> list[str]:
    """Judge the claim that global average pooling does without dense layers, where both were trained.

    "At least as well" is taken as: no more than one point worse, with 95 % confidence.
    """
    names = {each.architecture for each in trained}
    lines = []
    for dense in ("flatten-dense-dropout", "flatten-dense"):
        if not {"gap", dense} <= names:
            continue
        difference, low, high = paired(trained, "gap", dense)
        if low > 0:
            verdict = "it validates better"
        elif low >= -_MARGIN:
            verdict = "it validates at least as well"
        elif high < 0:
            verdict = "it validates worse"
        else:
            verdict = (
                f"it validates {'better' if difference > 0 else 'worse'} on average, but these seeds do not settle it"
            )
        parameters = {each.architecture: each.parameters for each in trained}
        lines.append(
            f"Global average pooling against `{dense}`: {_interval(difference, low, high)}: {verdict}, with "
            f"{parameters[dense] - parameters['gap']:,} parameters fewer ({parameters['gap']:,} instead of "
            f"{parameters[dense]:,})."
        )
    return lines


def resolution(trained: list[Trained], images: int) -> str:
    """Say how far chance alone moves an accuracy measured on so many images (binomial standard error)."""
    accuracy = statistics.mean(each.validation_accuracy for each in trained)
    error = math.sqrt(accuracy * (1 - accuracy) / images)
    return (
        f"The validation split has {images:,} images: another {images:,} would move each accuracy by about "
        f"{100 * error:.1f} points. Intervals over seeds, where there are any above, do not contain that."
    )


def paired(trained: list[Trained], first: str, second: str) -> tuple[float, float, float]:
    """Compare two architectures seed by seed: mean difference of validation accuracy, and its 95 % interval.

    The interval is Student's, for paired differences; with one seed it is unbounded.
    """
    differences = [a - b for a, b in zip(_accuracies(trained, first), _accuracies(trained, second), strict=True)]
    mean, count = statistics.mean(differences), len(differences)
    if count < 2:
        return mean, -math.inf, math.inf
    quantile = student.ppf((1 + _CONFIDENCE) / 2, count - 1)
    half = float(quantile) * statistics.stdev(differences) / math.sqrt(count)
    return mean, mean - half, mean + half


def _accuracies(trained: list[Trained], name: str) -> list[float]:
    return [
        each.validation_accuracy for each in sorted(trained, key=lambda each: each.seed) if each.architecture == name
    ]


def _interval(difference: float, low: float, high: float) -> str:
    if math.isinf(low):
        return f"{100 * difference:+.2f} points with one seed, which says nothing of chance"
    return f"{100 * difference:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
