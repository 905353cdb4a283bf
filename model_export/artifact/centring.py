"""The head in its symmetric form, which gives each contribution one meaning.

Softmax ignores what is added to all logits equally: one vector added to every column of the head's kernel changes no
probability, but every contribution. Of all such heads the centred one is published, whose weights sum to zero over the
classes (the symmetric multinomial model of Friedman, Hastie and Tibshirani, "Regularization paths for generalized
linear models via coordinate descent", 2010): a contribution then says how much a branch speaks for a class compared
with the average class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_export import conversion

if TYPE_CHECKING:
    from model_export.architectures import Network


def centre(network: Network) -> None:
    """Subtract the mean over the classes from each row of the head's kernel, and from its bias.

    If the logits are not sums of contributions (:func:`model_export.conversion.adds_up`), nothing is changed.
    """
    if not conversion.adds_up(network):
        return
    head = network.model.get_layer("logits")
    exact = [weight.astype(np.float64) for weight in head.get_weights()]  # in float32, the sums would not be zero
    head.set_weights([weight - weight.mean(-1, keepdims=True) for weight in exact])
