"""Temperature scaling, for probabilities that match the accuracy.

Guo et al., "On calibration of modern neural networks", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_export.console.numbers import counted
from model_export.figures.metrics import BINS, calibration_error, losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.architectures import Network

_LOWEST, _HIGHEST = 0.25, 10.0
FOLDS = 5
_SEED = 0


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, and the expected calibration error of each split before and after dividing by it."""

    temperature: float
    images: int
    """Number of validation images that it was fitted to."""
    before: dict[str, float]
    after: dict[str, float]
    bins: int = BINS
    folds: int = 0
    """Parts in which the validation images were cross-fitted; 0 if the temperature is 1, and in old artifacts."""

    def setting(self) -> str:
        """Describe the temperature, or say that there is none."""
        if self.temperature == 1:
            return "no temperature is set, because none lowers the cross-entropy of images that it was not fitted to"
        fitted = f"fitted to {counted(self.images, 'validation image')}"
        limit = ""
        if self.temperature <= 1.001 * _LOWEST:
            limit = ", the lowest allowed; the network is much too unsure: train longer, or on more images"
        elif self.temperature >= 0.999 * _HIGHEST:
            limit = ", the highest allowed; the network is much too sure of its answers"
        return f"a temperature of {self.temperature:g}, {fitted}, is folded into the head{limit}"


@dataclass(frozen=True)
class OutOfFold:
    """Turns the logits of the calibrated network into those with which its validation images are measured.

    On the images to which it was fitted, a temperature looks better than it is. So each validation image is measured
    with the temperature that was fitted without its fold.
    """

    factors: NDArray[np.float32]
    """For each validation image, the published temperature divided by that of its fold, ``[N, 1]``."""

    def __call__(self, logits: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Correct the logits of the validation split; those of each split are ``float32 [N, classes]``."""
        return {**logits, "validation": logits["validation"] * self.factors}


def calibrate(
    network: Network,
    logits: dict[str, NDArray[np.float32]],
    labels: dict[str, NDArray[np.int64]],
    groups: NDArray[np.intp] | None = None,
) -> tuple[Calibration, dict[str, NDArray[np.float32]], OutOfFold]:
    """Fit the temperature on the validation split and fold it into the network's head.

    Divided by the temperature, the head's kernel and bias give logits, contributions and probabilities that stay
    consistent with each other; the most probable class never changes. The temperature is 1 if temperatures do not lower
    the cross-entropy of images that they were not fitted to: with few images, a temperature is a guess.

    Args:
        logits: Per split, ``float32 [N, classes]``, of the network as it is.
        labels: Per split, ``[N]``.
        groups: The number of the group of each validation image, ``[N]``; None if they are not grouped.

    Returns:
        The temperature with its calibration errors; the logits per split with which the calibrated network is measured;
        and the correction that gives such logits for any graph converted from it.
    """
    known, right = logits["validation"], labels["validation"]
    temperature, others = fit(known, right), cross_fit(known, right, groups)
    folds = min(FOLDS, len(right if groups is None else np.unique(groups)))
    if not losses(known / others, right).mean() < losses(known, right).mean():
        temperature, others, folds = 1.0, np.ones_like(others), 0
    head = network.model.get_layer("logits")
    head.set_weights([weight / temperature for weight in head.get_weights()])
    out_of_fold = OutOfFold(np.float32(temperature) / others)
    calibrated = out_of_fold({split: values / np.float32(temperature) for split, values in logits.items()})
    before, after = (
        {split: calibration_error(values, labels[split]) for split, values in part.items()}
        for part in (logits, calibrated)
    )
    return Calibration(temperature, len(right), before, after, folds=folds), calibrated, out_of_fold


def cross_fit(
    logits: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.intp] | None = None
) -> NDArray[np.float32]:
    """Fit a temperature for each image to the images of the other folds, ``float32 [N, 1]``.

    The folds are drawn by a fixed seed (Stone, "Cross-validatory choice and assessment of statistical predictions",
    1974). Images of a group are in the same fold: else a temperature that knows other images of a patient would be
    judged as if it were for new ones.
    """
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    folds = (np.random.default_rng(_SEED).permutation(1 + units.max()) % FOLDS)[units]
    temperatures = np.ones((len(labels), 1), np.float32)
    for fold in np.unique(folds):
        temperatures[folds == fold] = fit(logits[folds != fold], labels[folds != fold])
    return temperatures


def fit(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Find the temperature with the lowest cross-entropy, between 0.25 and 10.

    It is 1 if no image was misclassified, or there is none: the cross-entropy then has no minimum above 0.
    """
    if (logits.argmax(1) == labels).all():
        return 1.0
    from scipy.optimize import minimize_scalar  # noqa: PLC0415  # slow to import, and inspect fits nothing

    found = minimize_scalar(
        lambda power: losses(logits / np.exp(power), labels).mean(),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
    )
    return round(float(np.exp(found.x)), 4)
