"""Layers that weigh a feature map so that its plain average is another way of pooling.

Attention, generalised mean and a mix of average and maximum are all written as an average over a weighted map. What a
branch pools is then always the average or the maximum of one map, and the map can be looked at.
"""

from __future__ import annotations

import math

import keras
from keras import layers, ops

_SMALLEST = 1e-6
_GEM_START = math.log(math.expm1(2))  # 1 + softplus of it is 3, where Radenović et al. start


@keras.saving.register_keras_serializable("multipool")
class ChannelSlice(layers.Layer):
    """Keep the channels ``start`` to ``stop`` (exclusive) of a feature map.

    Input shape: ``(N, H, W, C)``. Output shape: ``(N, H, W, stop - start)``.
    """

    def __init__(self, start: int, stop: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.start, self.stop = start, stop

    def call(self, inputs):  # noqa: ANN001, ANN201  # Keras tensors are untyped
        return inputs[..., self.start : self.stop]

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "start": self.start, "stop": self.stop}


@keras.saving.register_keras_serializable("multipool")
class AttentionWeighing(layers.Layer):
    """Multiply each position by its learned attention (a softmax over all positions) times their number.

    Pooling by learned attention: Ilse, Tomczak and Welling, "Attention-based deep multiple instance learning", 2018.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1], 1), initializer="glorot_uniform", name="kernel")

    def call(self, inputs):  # noqa: ANN001, ANN201
        scores = ops.matmul(inputs, self.kernel)  # (N, H, W, 1)
        powers = ops.exp(scores - ops.max(scores, axis=(1, 2), keepdims=True))
        attention = powers / ops.sum(powers, axis=(1, 2), keepdims=True)
        return inputs * attention * (inputs.shape[1] * inputs.shape[2])


@keras.saving.register_keras_serializable("multipool")
class GeneralisedMeanWeighing(layers.Layer):
    """Weigh so that the average is the generalised mean ``g = (mean of x^p)^(1/p)`` with a learned ``p``.

    The average of ``x^p / g^(p - 1)`` is ``g``. Radenović, Tolias and Chum, "Fine-tuning CNN image retrieval", 2018.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        del input_shape
        start = keras.initializers.Constant(_GEM_START)
        self.exponent = self.add_weight(shape=(), initializer=start, name="exponent")

    def call(self, inputs):  # noqa: ANN001, ANN201
        p = 1 + ops.softplus(self.exponent)
        positive = ops.maximum(inputs, _SMALLEST)
        largest = ops.max(positive, axis=(1, 2), keepdims=True)
        powers = ops.power(positive / largest, p)  # at most 1: no overflow
        mean = ops.mean(powers, axis=(1, 2), keepdims=True)
        return largest * powers / ops.power(mean, (p - 1) / p)


@keras.saving.register_keras_serializable("multipool")
class MixedWeighing(layers.Layer):
    """Weigh so that the average is ``a · average + (1 - a) · maximum`` with a learned ``a``.

    Lee, Gallagher and Tu, "Generalizing pooling functions in convolutional neural networks", 2016.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        del input_shape
        self.share = self.add_weight(shape=(), initializer="zeros", name="share")

    def call(self, inputs):  # noqa: ANN001, ANN201
        share = ops.sigmoid(self.share)
        largest = ops.cast(inputs >= ops.max(inputs, axis=(1, 2), keepdims=True), inputs.dtype)
        alone = largest / ops.sum(largest, axis=(1, 2), keepdims=True) * (inputs.shape[1] * inputs.shape[2])
        return inputs * (share + (1 - share) * alone)
