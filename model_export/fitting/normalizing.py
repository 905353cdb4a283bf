"""Batch normalisation for averaged weights: statistics of their own, measured before every validation.

The running statistics of batch normalisation belong to the weights that were trained. The average of the weights is
another network, whose layers get other inputs: measured with those statistics, it looks far worse than it is. So they
are measured anew, as Izmailov et al. do ("Averaging weights leads to wider optima and better generalization", 2018),
over batches of equal weight (Wu and Johnson, "Rethinking 'batch' in BatchNorm", 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from model_export.fitting.batches import Shuffled, evaluation_batch, steps

if TYPE_CHECKING:
    from model_export.data.split import Split

_MOST = 1280
_LEAST = 256


class MeasureStatistics(keras.callbacks.Callback):
    """Measure mean and variance of every batch normalisation on training images, with the weights to validate.

    On as many images as an epoch learns from, but at least 256 and at most 1,280: in small batches of large images,
    1,280 would take several times as long as the epoch itself. Batches are never smaller than those of training: in
    one of a single image, what comes from a dense layer is normalised to the same, whatever the image shows.

    ``keras.callbacks.SwapEMAWeights`` must come before this callback, so that these are the averaged ones. Training
    itself does not use the statistics.
    """

    def __init__(
        self,
        layers: Sequence[keras.layers.BatchNormalization],
        split: Split,
        augmentation: str,
        seed: int,
        batch_size: int,
    ) -> None:
        super().__init__()
        images = min(_MOST, max(_LEAST, steps(len(split), batch_size) * batch_size))
        at_once = max(evaluation_batch(split), batch_size)
        self._layers = layers
        self._batches = Shuffled(split, at_once, augmentation, seed)
        self._count = math.ceil(images / at_once) if layers else 0
        self._pass = tf.function(lambda images: self.model(images, training=True))  # half as fast layer by layer
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, _: object = None) -> None:
        self._epoch = epoch

    def on_test_begin(self, _: object = None) -> None:
        momenta = [layer.momentum for layer in self._layers]
        measured = []
        for layer in self._layers:
            layer.momentum = 0  # the running statistics are then those of the latest batch
        for step in range(self._count):
            images, _labels = self._batches[self._epoch * self._batches.steps + step]
            self._pass(images)
            measured.append([(layer.moving_mean.numpy(), layer.moving_variance.numpy()) for layer in self._layers])
        for layer, of_batches in zip(self._layers, zip(*measured, strict=True), strict=True):
            means, variances = np.array(of_batches, np.float64).swapaxes(0, 1)  # [batches, channels] each
            layer.moving_mean.assign(means.mean(0))
            layer.moving_variance.assign(variances.mean(0) + means.var(0))  # of all the images together
        for layer, momentum in zip(self._layers, momenta, strict=True):
            layer.momentum = momentum
