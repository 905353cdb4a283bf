"""Temperature scaling: probabilities that mean what they say.

Guo et al., "On calibration of modern neural networks", 2017.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize_scalar

from model_export.metrics import BINS, calibration_error, losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.architectures import Network

_LOWEST, _HIGHEST = 0.25, 10.0


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, and the expected calibration error of each split before and after dividing by it."""

    temperature: float
    images: int
    """Validation images that it was fitted to."""
    before: dict[str, float]
    after: dict[str, float]
    bins: int = BINS

    def document(self) -> dict[str, Any]:
        """Write it as JSON values, for the metadata."""
        return asdict(self)


def calibrate(
    network: Network, logits: dict[str, NDArray[np.float32]], labels: dict[str, NDArray[np.int64]]
) -> tuple[Calibration, dict[str, NDArray[np.float32]]]:
    """Fit the temperature on the validation split and fold it into the network's head.

    Divided by the temperature, the head's kernel and bias give logits, contributions and probabilities that stay
    consistent with each other; which class is the most probable never changes.

    Args:
        logits: Per split, ``float32 [N, classes]``, of the network as it is.
        labels: Per split, ``[N]``.

    Returns:
        What was fitted, and the logits of the calibrated network.
    """
    temperature = _helpful(fit(logits["validation"], labels["validation"]), logits["validation"], labels["validation"])
    head = network.model.get_layer("logits")
    head.set_weights([weight / temperature for weight in head.get_weights()])
    scaled = {split: (values / temperature).astype(np.float32) for split, values in logits.items()}
    before, after = (
        {split: calibration_error(values, labels[split]) for split, values in part.items()} for part in (logits, scaled)
    )
    return Calibration(temperature, len(labels["validation"]), before, after), scaled


def _helpful(temperature: float, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Take the temperature only if it lowers the calibration error: of few images, it is a guess that may not."""
    scaled = (logits / temperature).astype(np.float32)
    return temperature if calibration_error(scaled, labels) < calibration_error(logits, labels) else 1.0


def fit(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Find the temperature with the lowest cross-entropy, between 0.25 and 10.

    1 where nothing was mistaken: then any temperature near 0 would do, and none is known.
    """
    if (logits.argmax(1) == labels).all():
        return 1.0
    found = minimize_scalar(
        lambda power: losses(logits / np.exp(power), labels).mean(),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
    )
    return round(float(np.exp(found.x)), 4)
