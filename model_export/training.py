"""Train a network: seeded, with a learning-rate schedule, light augmentation and early stopping."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import keras
import numpy as np
from rich.progress import Progress

from model_export.architectures import Network
from model_export.augmentation import augment
from model_export.datasets import Dataset, Split
from model_export.errors import BadData
from model_export.progress import bars, say

_WARM_UP = 0.05
_FINAL_RATE = 0.01
_LEAST_STEPS = 30
_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Budget:
    """How a network is trained."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    patience: int = 10
    """Epochs without a better validation loss after which training stops."""
    augmentation: str = "photo"
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came out of training, with the best weights in the network."""

    epochs: int
    best_epoch: int
    """The epoch with the lowest validation loss, whose weights were kept; counted from 1."""
    seconds: float
    history: dict[str, list[float]]
    metrics: dict[str, dict[str, float]]
    """Per split: ``accuracy``, ``loss`` (cross-entropy in nats) and ``images``."""


def seed(number: int) -> None:
    """Set the seeds of Python, NumPy and TensorFlow, which decide the first weights."""
    keras.utils.set_random_seed(number)


def train(network: Network, dataset: Dataset, budget: Budget) -> Outcome:
    """Fit the network in place and leave it with the weights of its best epoch on the validation split.

    The rate rises linearly over the first 5 % of the steps and falls to 1 % along a half cosine (Loshchilov and
    Hutter, "SGDR", 2017); the optimizer is AdamW (Loshchilov and Hutter 2019).

    Raises:
        BadData: Training diverged.
    """
    batches = Batches(dataset.splits["train"], budget)
    network.model.compile(
        optimizer=keras.optimizers.AdamW(_schedule(budget, len(batches)), weight_decay=budget.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    validation = dataset.splits["validation"]
    start = time.monotonic()
    with bars() as progress:
        history = network.model.fit(
            batches,
            epochs=budget.epochs,
            validation_data=(validation.images, validation.labels),
            validation_batch_size=_EVALUATION_BATCH,
            callbacks=[
                keras.callbacks.EarlyStopping("val_loss", patience=budget.patience, restore_best_weights=True),
                keras.callbacks.TerminateOnNaN(),
                Reporter(progress),
            ],
            verbose=0,
        ).history
    seconds = time.monotonic() - start
    metrics = {name: evaluate(network, split) for name, split in dataset.splits.items()}
    if not math.isfinite(metrics["validation"]["loss"]):
        raise BadData("training diverged: the loss is not a number; choose a smaller --learning-rate")
    return Outcome(len(history["loss"]), 1 + int(np.argmin(history["val_loss"])), seconds, history, metrics)


def evaluate(network: Network, split: Split) -> dict[str, float]:
    """Measure accuracy and cross-entropy of a trained network on one split."""
    result = network.model.evaluate(
        split.images, split.labels, batch_size=_EVALUATION_BATCH, verbose=0, return_dict=True
    )
    return {"accuracy": result["accuracy"], "loss": result["loss"], "images": len(split)}


def _schedule(budget: Budget, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    steps = budget.epochs * steps_per_epoch
    warm_up = max(1, round(_WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=budget.learning_rate / warm_up,
        decay_steps=max(1, steps - warm_up),
        alpha=_FINAL_RATE,
        warmup_target=budget.learning_rate,
        warmup_steps=warm_up,
    )


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented batches; epoch and batch decide the chances, so a run can be repeated.

    A small data set is gone through several times per epoch, so that each has some thirty steps at least: with fewer,
    the running statistics of batch normalisation lag behind the weights, and validation judges another network.
    """

    def __init__(self, split: Split, budget: Budget) -> None:
        super().__init__()
        self._split, self._budget = split, budget
        self._epoch = 0
        self._shuffle()

    def __len__(self) -> int:
        return max(_LEAST_STEPS, math.ceil(len(self._split) / self._budget.batch_size))

    def __getitem__(self, index: int):  # noqa: ANN204  # two arrays
        size = self._budget.batch_size
        chosen = self._order.take(range(index * size, (index + 1) * size), mode="wrap")
        random = np.random.default_rng((self._budget.seed, self._epoch, index))
        return augment(self._split.images[chosen], self._budget.augmentation, random), self._split.labels[chosen]

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        self._order = np.random.default_rng((self._budget.seed, self._epoch)).permutation(len(self._split))


class Reporter(keras.callbacks.Callback):
    """Show a bar with loss, accuracy and time left; leave one line per epoch."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._bars = progress

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._task = self._bars.add_task("train", total=self.params["epochs"] * self.params["steps"], detail="")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._bars.update(self._task, advance=1, detail=f"loss {logs['loss']:.3f} accuracy {logs['accuracy']:.3f}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        say(
            f"epoch {epoch + 1:>3} of {self.params['epochs']}: "
            f"loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.4f}; "
            f"validation loss {logs['val_loss']:.4f}, accuracy {logs['val_accuracy']:.4f}"
        )
