"""Statistics of the pooled features of the training images, with which the service recognises unfamiliar images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from app.familiarity import Familiarity
from app.statistics import Statistics
from model_export.artifact import gaussians
from model_export.console.progress import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.datasets import Dataset


def take(features: Mapping[str, Mapping[str, NDArray[np.float32]]], dataset: Dataset) -> Statistics | None:
    """Fit the statistics to the training split of a data set, and calibrate them on its validation split.

    Args:
        features: Per split, the pooled features of its images, per branch ``[N, width]``, in the model's order.
        dataset: The data set.

    Returns:
        None, after a note, if the images are too few or too similar: an artifact need not have statistics.
    """
    try:
        with np.errstate(all="ignore"):  # an overflow is found below
            found = gaussians.fit(features["train"], dataset.splits["train"].labels, features["validation"])
            Familiarity(found, [vectors.shape[1] for vectors in features["train"].values()])
    except ValueError as error:
        say(
            f"note: no statistics of the features are kept ({error}), so the service will not say how familiar an "
            "image is; more images of each class would help"
        )
        return None
    return found
