"""How the weights are updated: AdamW, a learning-rate schedule, a running average, class weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from model_export.data.split import Split

FINE_TUNING = 0.1
"""Share of the learning rate at which a pretrained trunk is fine-tuned."""

_WARM_UP = 0.05
_FINAL_RATE = 0.01
_AVERAGED = 20
"""The running average's time constant is at most a twentieth of all steps, so that nothing of the initial weights
remains in it."""


@keras.saving.register_keras_serializable("multipool")
class AdamW(keras.optimizers.AdamW):
    """AdamW that computes the learning rate once a step.

    Keras would follow the schedule anew for every weight that decays: in a network of 160 such weights, tracing the
    step then takes twice as long, and each step a little longer. The weights become the same, bit by bit.
    """

    _rate: Any = None

    @property
    def learning_rate(self) -> Any:
        """The rate of the step that is under way, or else of the next one."""
        return super().learning_rate if self._rate is None else self._rate

    def apply_gradients(self, grads_and_vars: Any) -> Any:
        """Change the weights, all at one rate."""
        self._rate = super().learning_rate
        try:
            return super().apply_gradients(grads_and_vars)
        finally:
            self._rate = None


def optimizer(rate: float, steps: int, weight_decay: float, averaging: float) -> keras.optimizers.Optimizer:
    """Make the optimizer for a number of steps: AdamW (Loshchilov and Hutter 2019) on the schedule, and the average.

    The average is that of Polyak and Juditsky 1992, but exponential: with the momentum ``averaging``, less where there
    are few steps, and 0 for none.
    """
    return AdamW(
        schedule(rate, steps),
        weight_decay=weight_decay,
        use_ema=averaging > 0,
        ema_momentum=min(averaging, max(0.0, 1 - _AVERAGED / steps)),
    )


def schedule(rate: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Rise to ``rate`` in the first twentieth of the steps, then fall to a hundredth of it along half a cosine.

    After Loshchilov and Hutter, "SGDR", 2017.
    """
    warm_up = max(1, round(_WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=rate / warm_up,
        decay_steps=max(1, steps - warm_up),
        alpha=_FINAL_RATE,
        warmup_target=rate,
        warmup_steps=warm_up,
    )


def described() -> dict[str, Any]:
    """List the settings that no command-line option changes, for the metadata."""
    return {"optimizer": "AdamW", "warm_up": _WARM_UP, "final_rate": _FINAL_RATE, "fine_tuning_rate": FINE_TUNING}


def class_weights(split: Split, classes: int) -> dict[int, float]:
    """Weight each class by images / (classes · images of the class), so that all classes count equally."""
    counts = np.bincount(split.labels, minlength=classes)
    return {index: len(split) / (classes * int(count)) for index, count in enumerate(counts)}
