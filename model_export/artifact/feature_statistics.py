"""What the pooled features of the training images look like, for the service to tell unfamiliar images by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np

from app.familiarity import Familiarity
from app.statistics import Statistics
from model_export.artifact import gaussians
from model_export.console.progress import say
from model_export.fitting.batches import InOrder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.model import Model
    from model_export.architectures import Network
    from model_export.data.decoding import Split
    from model_export.datasets import Dataset


Features = Callable[["Split"], dict[str, "NDArray[np.float32]"]]
"""Computes per branch what is pooled from every image of a split, ``[N, width]``."""

_BATCH = 32


def of_network(network: Network) -> Features:
    """Take the features of a trained network."""
    layer = network.model.get_layer
    pooled = keras.Model(network.model.input, {branch.name: layer(branch.name).output for branch in network.branches})

    def features(split: Split) -> dict[str, NDArray[np.float32]]:
        vectors = pooled.predict(InOrder(split), verbose=0)
        return {branch.name: vectors[branch.name] for branch in network.branches}

    return features


def of_graph(model: Model) -> Features:
    """Take those of a graph that computes in another precision, as it will be served."""

    def features(split: Split) -> dict[str, NDArray[np.float32]]:
        starts = range(0, len(split), _BATCH)
        batches = [model.run(np.asarray(split.images[start : start + _BATCH])).features for start in starts]
        of_branches = zip(model.metadata.branches, zip(*batches, strict=True), strict=True)
        return {branch.name: np.concatenate(vectors) for branch, vectors in of_branches}

    return features


def take(features: Features, dataset: Dataset) -> Statistics | None:
    """Fit to the features of a data set's training split, and calibrate on those of its validation split.

    Returns:
        None, after a note, where the images are too few or too much alike: an artifact can do without.
    """
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    try:
        with np.errstate(all="ignore"):  # what overflows is found below
            pooled = features(train)
            found = gaussians.fit(pooled, train.labels, features(validation))
            Familiarity(found, [vectors.shape[1] for vectors in pooled.values()])
    except ValueError as error:
        say(
            f"note: no statistics of the features are kept ({error}), so the service will not say how familiar an "
            "image is; more images of each class would bring them"
        )
        return None
    return found
