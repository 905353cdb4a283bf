"""Batch normalisation for averaged weights: statistics of their own, measured before every validation.

The running statistics of batch normalisation belong to the weights that were trained. The average of the weights is
another network, whose layers get other inputs: with those statistics it is far worse than it is. So they are measured
anew, as Izmailov et al. do ("Averaging weights leads to wider optima and better generalization", 2018), as means over
batches of equal weight (Wu and Johnson, "Rethinking 'batch' in BatchNorm", 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from model_export.fitting.batches import EVALUATION_BATCH, Shuffled

if TYPE_CHECKING:
    from model_export.data.decoding import Split

_BATCHES = 5


class MeasureStatistics(keras.callbacks.Callback):
    """Measure mean and variance of every batch normalisation on 1,280 training images, with the weights to validate.

    ``keras.callbacks.SwapEMAWeights`` must come before this callback, so that these are the averaged ones. Training
    itself does not use the statistics.
    """

    def __init__(
        self, layers: Sequence[keras.layers.BatchNormalization], split: Split, augmentation: str, seed: int
    ) -> None:
        super().__init__()
        self._layers = layers
        self._batches = Shuffled(split, EVALUATION_BATCH, augmentation, seed)
        self._pass = tf.function(lambda images: self.model(images, training=True))  # half as fast layer by layer
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, _: object = None) -> None:
        self._epoch = epoch

    def on_test_begin(self, _: object = None) -> None:
        momenta = [layer.momentum for layer in self._layers]
        running = [variable for layer in self._layers for variable in (layer.moving_mean, layer.moving_variance)]
        measured = []
        for layer in self._layers:
            layer.momentum = 0  # the running statistics are then those of the latest batch
        for step in range(_BATCHES if self._layers else 0):
            images, _labels = self._batches[self._epoch * self._batches.steps + step]
            self._pass(images)
            measured.append([variable.numpy() for variable in running])
        for variable, values in zip(running, zip(*measured, strict=True), strict=True):
            variable.assign(np.mean(values, axis=0))
        for layer, momentum in zip(self._layers, momenta, strict=True):
            layer.momentum = momentum
