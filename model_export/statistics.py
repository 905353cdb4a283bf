"""What the pooled features of the training images look like, for the service to tell unfamiliar images by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np

from app import familiarity
from app.statistics import Statistics
from model_export.batches import InOrder
from model_export.progress import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_export.architectures import Network
    from model_export.datasets import Dataset
    from model_export.decoding import Split


def take(network: Network, dataset: Dataset) -> Statistics | None:
    """Fit to the training split of a trained network's data set, and calibrate on its validation split.

    Returns:
        None, after a note, where the images are too few or too much alike: an artifact can do without.
    """
    layer = network.model.get_layer
    pooled = keras.Model(network.model.input, {branch.name: layer(branch.name).output for branch in network.branches})

    def features(split: Split) -> dict[str, NDArray[np.float32]]:
        vectors = pooled.predict(InOrder(split), verbose=0)
        return {branch.name: vectors[branch.name] for branch in network.branches}

    train, validation = dataset.splits["train"], dataset.splits["validation"]
    try:
        with np.errstate(all="ignore"):  # what overflows is found below
            found = familiarity.fit(features(train), train.labels, features(validation))
            familiarity.Familiarity(found, [branch.width for branch in network.branches])
    except ValueError as error:
        say(
            f"note: no statistics of the features are kept ({error}), so the service will not say how familiar an "
            "image is; more images of each class would bring them"
        )
        return None
    return found
