"""Statistics of the pooled features of the training images, with which the service recognises unfamiliar images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np

from app.familiarity import Familiarity
from app.statistics import Statistics
from model_export.artifact import gaussians
from model_export.console.progress import say
from model_export.figures import evaluation
from model_export.fitting.batches import InOrder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.model import Model
    from model_export.architectures import Network
    from model_export.data.decoding import Split
    from model_export.datasets import Dataset


Features = Callable[["Split"], dict[str, "NDArray[np.float32]"]]
"""Computes the pooled features of every image of a split, per branch ``[N, width]``."""


def of_network(network: Network) -> Features:
    """Compute the features with a trained network."""
    layer = network.model.get_layer
    pooled = keras.Model(network.model.input, {branch.name: layer(branch.name).output for branch in network.branches})

    def features(split: Split) -> dict[str, NDArray[np.float32]]:
        vectors = pooled.predict(InOrder(split), verbose=0)
        return {branch.name: vectors[branch.name] for branch in network.branches}

    return features


def of_graph(model: Model) -> Features:
    """Compute the features with a graph in another precision, as it will be served."""

    def features(split: Split) -> dict[str, NDArray[np.float32]]:
        batches = [found.features for found in evaluation.run(model, split)]
        of_branches = zip(model.metadata.branches, zip(*batches, strict=True), strict=True)
        return {branch.name: np.concatenate(vectors) for branch, vectors in of_branches}

    return features


def take(features: Features, dataset: Dataset) -> Statistics | None:
    """Fit the statistics to the training split of a data set, and calibrate them on its validation split.

    Returns:
        None, after a note, if the images are too few or too similar: an artifact need not have statistics.
    """
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    try:
        with np.errstate(all="ignore"):  # an overflow is found below
            pooled = features(train)
            found = gaussians.fit(pooled, train.labels, features(validation))
            Familiarity(found, [vectors.shape[1] for vectors in pooled.values()])
    except ValueError as error:
        say(
            f"note: no statistics of the features are kept ({error}), so the service will not say how familiar an "
            "image is; more images of each class would help"
        )
        return None
    return found
