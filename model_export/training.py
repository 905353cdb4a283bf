"""Train a network: seeded, with a learning-rate schedule, light augmentation, averaged weights and early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from model_export.architectures import Network
from model_export.console.progress import bars
from model_export.data.split import Split
from model_export.datasets import Dataset
from model_export.errors import BadData
from model_export.figures.metrics import figures
from model_export.fitting import optimizing
from model_export.fitting.batches import InOrder, Shuffled, steps
from model_export.fitting.budget import Budget
from model_export.fitting.callbacks import Journal, KeepBest, Reporter, SeedEpochs
from model_export.fitting.normalizing import MeasureStatistics
from model_export.fitting.runs import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def described(budget: Budget, dataset: Dataset) -> dict[str, Any]:
    """List what shapes the weights besides data, network and versions, as JSON values."""
    count = steps(len(dataset.splits["train"]), budget.batch_size)
    return {**asdict(budget), "steps_per_epoch": count, **optimizing.described()}


@dataclass(frozen=True)
class Outcome:
    """The result of training; the kept weights are in the network."""

    history: list[dict[str, float]]
    """Per epoch: ``seconds``, ``learning_rate``, ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``."""
    checkpoint: str = ""
    """SHA-256 of the file in the run's folder that has these weights; empty without a run."""

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss; counted from 1."""
        return 1 + int(np.nanargmin([row["val_loss"] for row in self.history]))

    @property
    def diverged(self) -> bool:
        """Whether training ended because the loss was no longer a number."""
        return not math.isfinite(self.history[-1]["loss"])

    @property
    def seconds(self) -> float:
        """How long the epochs took."""
        return sum(row["seconds"] for row in self.history)


def seed(number: int) -> None:
    """Set the seeds of Python, NumPy and TensorFlow, which determine the initial weights."""
    keras.utils.set_random_seed(number)


def train(
    network: Network,
    dataset: Dataset,
    budget: Budget,
    run: Run | None = None,
    *,
    title: str = "",
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Outcome:
    """Train the network in place; it ends with the weights that the budget says are kept.

    :mod:`model_export.fitting.optimizing` describes the optimizer. The weights that are validated and kept are a
    running average of the trained ones. A pretrained trunk is first frozen, then fine-tuned at a tenth of the rate.

    Args:
        run: Where every epoch is saved; training continues after the epochs that it already has.
        title: What the progress is called.
        callbacks: Further ones of Keras.

    Raises:
        BadData: Training diverged, or the state of the run is missing.
    """
    history = run.history() if run is not None else []
    best = KeepBest(budget.patience, run, last=budget.keep == "last")
    if history and run is not None:
        saved = run.load(run.best())
        best.resume(history, saved.get_weights(), frozen=budget.freeze_epochs)
    with bars() as progress:
        reporter = Reporter(progress, budget.epochs, len(history), title)
        watching = [SeedEpochs(budget.seed), best, Journal(history, run), reporter, *callbacks]
        if len(history) < budget.freeze_epochs and not best.over:
            _fit(network, dataset, budget, (0, len(history), budget.freeze_epochs), watching, run)
        if len(history) < budget.epochs and not best.over:
            best.may_stop = True
            if len(history) == budget.freeze_epochs > 0:
                network.model.set_weights(best.weights)
            _fit(network, dataset, budget, (budget.freeze_epochs, len(history), budget.epochs), watching, run)
    if best.weights is None or not math.isfinite(best.loss):
        raise BadData("training diverged: the loss is not a number; choose a smaller --learning-rate")
    network.model.set_weights(best.weights)
    return Outcome(history, run.digest() if run is not None else "")


def recall(network: Network, run: Run) -> Outcome:
    """Load the best weights of a run into a network, without training.

    Raises:
        MissingInput: No epoch of it has finished.
        BadData: A file of the run is damaged or missing.
    """
    history = run.history()
    network.model.set_weights(run.load(run.best()).get_weights())
    outcome = Outcome(history, run.digest())
    if len(run.history()) > outcome.epochs:  # one has finished meanwhile
        return recall(network, run)
    return outcome


def _fit(
    network: Network,
    dataset: Dataset,
    budget: Budget,
    epochs: tuple[int, int, int],
    watching: list[keras.callbacks.Callback],
    run: Run | None,
) -> None:
    """Train a phase, in which the same layers are trainable: (first epoch of the phase, next epoch, end)."""
    start, first, stop = epochs
    train = dataset.splits["train"]
    batches = Shuffled(train, budget.batch_size, budget.augmentation, budget.seed, first_epoch=first)
    _compile(network, budget, frozen=start < budget.freeze_epochs, total=(stop - start) * batches.steps)
    if run is not None and first > start:
        _restore(network.model, run)
    measuring = MeasureStatistics(network.normalizations, train, budget.augmentation, budget.seed, budget.batch_size)
    averaging = [keras.callbacks.SwapEMAWeights(), measuring] if budget.averaging else []
    network.model.fit(
        batches,
        steps_per_epoch=batches.steps,
        shuffle=False,  # they are shuffled already
        initial_epoch=first,
        epochs=stop,
        validation_data=InOrder(dataset.splits["validation"]),
        class_weight=optimizing.class_weights(train, len(dataset.labels)) if budget.class_weights else None,
        callbacks=[keras.callbacks.TerminateOnNaN(), *watching, *averaging],
        verbose=0,
    )


def _compile(network: Network, budget: Budget, *, frozen: bool, total: int) -> None:
    rate = budget.learning_rate
    if network.trunk is not None:
        network.trunk.trainable = not frozen
        rate *= 1 if frozen or not budget.freeze_epochs else optimizing.FINE_TUNING
    # What has its variables before the first step is traced: else TensorFlow traces it a second time.
    network.model.compile(
        optimizer=optimizing.optimizer(rate, total, budget.weight_decay, budget.averaging),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    network.model.optimizer.build(network.model.trainable_variables)


def _restore(model: keras.Model, run: Run) -> None:
    """Restore weights and optimizer from the last finished epoch."""
    saved = run.load(run.last_state(), compile=True)
    model.set_weights(saved.get_weights())
    for variable, value in zip(model.optimizer.variables, saved.optimizer.variables, strict=True):
        variable.assign(value)


def logits(network: Network, split: Split) -> np.ndarray:
    """Compute ``float32 [N, classes]`` for every image of a split."""
    return np.asarray(network.model.predict(InOrder(split), verbose=0))


def answers(
    network: Network, splits: Mapping[str, Split]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, NDArray[np.float32]]]]:
    """Compute, per split, the logits ``[N, classes]``, and the pooled features of each branch ``[N, width]``."""
    layer, names = network.model.get_layer, [branch.name for branch in network.branches]
    pooled = {name: layer(name).output for name in names}
    both = keras.Model(network.model.input, {"logits": network.model.output, **pooled})
    found = {split: both.predict(InOrder(images), verbose=0) for split, images in splits.items()}
    logits = {split: each["logits"] for split, each in found.items()}
    return logits, {split: {name: each[name] for name in names} for split, each in found.items()}


def evaluate(network: Network, split: Split, groups: NDArray[np.intp] | None = None) -> dict[str, float]:
    """Measure a trained network on one split; see :func:`model_export.figures.metrics.figures`."""
    return figures(logits(network, split), split.labels, groups)
