"""The conclusions of a comparison, in words, as far as the figures support them."""

from __future__ import annotations

import math
import statistics
from itertools import combinations
from typing import TYPE_CHECKING

from scipy.stats import norm as normal
from scipy.stats import t as student

from model_export.console.numbers import counted

if TYPE_CHECKING:
    from model_export.comparison import Result

_ERROR = 0.05  # how often chance alone may look like a difference
_MARGIN = 0.01


def ranking(trained: list[Result], images: int) -> list[str]:
    """Say which architecture has the highest mean validation accuracy, and which others it is clearly better than."""
    names = list(dict.fromkeys(each.architecture for each in trained))
    means = {name: statistics.mean(_accuracies(trained, name)) for name in names}
    best = max(names, key=means.__getitem__)
    tied = [name for name in names if means[name] == means[best]]
    if len(tied) > 1:
        names_tied = ", ".join(f"`{name}`" for name in tied)
        lines = [f"{names_tied} share the highest mean validation accuracy, {means[best]:.4f}."]
    else:
        lines = [f"`{best}` has the highest mean validation accuracy, {means[best]:.4f}."]
    apart = _clearly_different(trained, names, images)
    for name in sorted((name for name in names if name != best), key=means.__getitem__, reverse=True):
        difference, low, high = paired(trained, best, name, images)
        if math.isinf(low):
            verdict = ""  # said already
        elif {best, name} in apart:
            verdict = ", clearly better"
        elif low > 0:
            verdict = f", which may be chance when {math.comb(len(names), 2)} pairs are compared"
        else:
            verdict = ", no clear difference with these seeds and images"
        lines.append(f"`{best}` against `{name}`: {_interval(difference, low, high)}{verdict}.")
    return lines


def pooling_against_dense(trained: list[Result], images: int) -> list[str]:
    """Judge the claim that global average pooling needs no dense layers, if both were trained.

    "At least as well" is taken as: no more than one point worse, with 95 % confidence.
    """
    names = {each.architecture for each in trained}
    lines = []
    for dense in ("flatten-dense-dropout", "flatten-dense"):
        if not {"gap", dense} <= names:
            continue
        difference, low, high = paired(trained, "gap", dense, images)
        if low > 0:
            verdict = "it validates better"
        elif high < 0:
            verdict = "it validates worse" + (", but by less than a point" if low >= -_MARGIN else "")
        elif low >= -_MARGIN:
            verdict = "it validates at least as well"
        else:
            side = "as well" if round(difference, 4) == 0 else "better" if difference > 0 else "worse"  # as it is said
            verdict = f"it validates {side} on average, but these seeds and images do not settle it"
        parameters = {each.architecture: each.parameters for each in trained}
        lines.append(
            f"Global average pooling against `{dense}`: {_interval(difference, low, high)}: {verdict}, with "
            f"{parameters[dense] - parameters['gap']:,} parameters fewer ({parameters['gap']:,} instead of "
            f"{parameters[dense]:,})."
        )
    return lines


def resolution(trained: list[Result], images: int) -> str:
    """Say by how much an accuracy on this number of images is off by chance alone.

    It is the standard error that the intervals contain too, see :func:`paired`: an accuracy of 1 is not certain.
    """
    alone = _worth(trained, images)
    error = math.sqrt(_variance(trained, images))
    grouped = (
        "" if alone == images else f", which are grouped and count like {counted(round(alone), 'independent one')}"
    )
    return (
        f"The validation split has {images:,} images{grouped}: by chance in their choice, each accuracy is off by "
        f"about {100 * error:.1f} points (one standard error). The intervals above, if there are any, contain that."
    )


def _clearly_different(trained: list[Result], names: list[str], images: int) -> set[frozenset[str]]:
    """Find the pairs of architectures that differ clearly, corrected for comparing all pairs.

    Each pair is tested at an equal part of the 5 %, and those that differ leave a larger part to the others (Holm, "A
    simple sequentially rejective multiple test procedure", 1979). All pairs count, not only those with the best one,
    because which one is the best was not known before.
    """
    left, found = set(map(frozenset, combinations(names, 2))), set()
    while clear := {pair for pair in left if _is_clear(*paired(trained, *pair, images, _ERROR / len(left)))}:
        left -= clear
        found |= clear
    return found


def _is_clear(_: float, low: float, high: float) -> bool:
    return low > 0 or high < 0


def paired(
    trained: list[Result], first: str, second: str, images: int, error: float = _ERROR
) -> tuple[float, float, float]:
    """Compare two architectures seed by seed: mean difference of validation accuracy, and its 95 % interval.

    Two things are left to chance. Over the seeds the interval is Student's, for paired differences, whose spread is
    never taken for less than one image: accuracies come in such steps, and a few that agree by accident prove nothing.
    Over the images it is that of two proportions with one success and one failure added to each (Agresti and Caffo,
    "Simple and effective confidence intervals for proportions and differences of proportions", 2000), as if each
    architecture were measured on images of its own; that they share them makes it wide, never narrow. Images that are
    grouped count for fewer; see :func:`model_export.figures.clustered.effective_images`. The two half-widths are
    independent and add up as squares. With one seed the interval is unbounded.

    Args:
        trained: The runs.
        first: Name of an architecture.
        second: Name of another.
        images: Number of validation images.
        error: Share of such intervals that may miss; smaller where several are looked at together.
    """
    accuracies = [_accuracies(trained, name) for name in (first, second)]
    differences = [a - b for a, b in zip(*accuracies, strict=True)]
    mean, count = statistics.mean(differences), len(differences)
    if count < 2:
        return mean, -math.inf, math.inf
    spread = max(statistics.stdev(differences), 1 / images)
    of_seeds = student.ppf(1 - error / 2, count - 1) * spread / math.sqrt(count)
    alone = _worth(trained, images)
    variance = sum(
        _variance([each for each in trained if each.architecture == name], alone) for name in (first, second)
    )
    of_images = normal.ppf(1 - error / 2) * math.sqrt(variance)
    half = math.hypot(of_seeds, of_images)
    return mean, max(-1.0, mean - half), min(1.0, mean + half)  # no accuracy is further from another


def _accuracies(trained: list[Result], name: str) -> list[float]:
    return [
        each.validation_accuracy for each in sorted(trained, key=lambda each: each.seed) if each.architecture == name
    ]


def _variance(trained: list[Result], images: float) -> float:
    """Compute the variance over the images of a mean accuracy, with one success and one failure added."""
    alone = _worth(trained, images)
    share = (statistics.mean(each.validation_accuracy for each in trained) * alone + 1) / (alone + 2)
    return share * (1 - share) / (alone + 2)


def _worth(trained: list[Result], images: float) -> float:
    """Say as how many images those of validation count in some runs: for fewer, if they are grouped.

    Runs from before groups were counted do not know it, so the others say it; ``images`` if none does.
    """
    known = [each.effective_images for each in trained if each.effective_images]
    return statistics.mean(known) if known else images


def _interval(difference: float, low: float, high: float) -> str:
    if math.isinf(low):
        return f"{100 * difference:+.2f} points with one seed, which says nothing of chance"
    return f"{100 * difference:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
