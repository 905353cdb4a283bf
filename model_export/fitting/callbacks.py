"""What happens at the end of every epoch: the best weights are kept, the run's folder is written, a line is printed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import keras
import numpy as np
from rich.progress import Progress

from model_export.console.numbers import lasting
from model_export.console.progress import say

if TYPE_CHECKING:
    from model_export.fitting.runs import Run

Logs = dict[str, float] | None

_SECONDS_BETWEEN_LINES = 60.0


class KeepBest(keras.callbacks.Callback):
    """Keep the weights with the lowest validation loss, and stop training when it no longer falls.

    The weights are read at the end of validation, when the averaged ones are still in the model
    (``keras.callbacks.SwapEMAWeights`` must come after this callback). Training is not stopped before ``may_stop`` is
    set. With ``last``, the weights of the last epoch are kept instead, and training is not stopped early.
    """

    def __init__(self, patience: int, run: Run | None, *, last: bool = False) -> None:
        super().__init__()
        self._patience, self._run, self._last = patience, run, last
        self.weights: list[object] | None = None
        self.loss = math.inf
        self.may_stop = False
        self._wait = 0
        self._diverged = False

    def resume(self, history: list[dict[str, float]], weights: list[object], frozen: int) -> None:
        """Continue after epochs with these figures, the best of which had these weights.

        Those before ``frozen`` do not count towards the patience.
        """
        losses = [row["val_loss"] for row in history]
        best = int(np.nanargmin(losses))
        self.loss, self.weights = losses[best], weights
        self._wait = min(len(losses) - 1 - best, max(0, len(losses) - frozen))
        self._diverged = not math.isfinite(history[-1]["loss"])

    @property
    def over(self) -> bool:
        """Whether training has diverged, or the validation loss has not fallen for as many epochs as allowed."""
        return self._diverged or (self._wait >= self._patience and not self._last)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch + 1

    def on_test_end(self, logs: Logs = None) -> None:
        if logs["loss"] < self.loss or self._last:
            self.loss, self._wait, self.weights = logs["loss"], 0, self.model.get_weights()
            if self._run is not None:
                self._run.save_best(self.model, self._epoch)
        elif self.may_stop:
            self._wait += 1

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._diverged = not math.isfinite(logs["loss"])
        if self.over:
            self.model.stop_training = True


class SeedEpochs(keras.callbacks.Callback):
    """Let seed and epoch decide what dropout leaves out, so that a resumed run continues as if never interrupted.

    Keras saves the state of its random layers with neither weights nor optimizer.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        states = [variable for variable in self.model.variables if variable.name == "seed_generator_state"]
        for index, state in enumerate(states):
            state.assign(np.random.SeedSequence((self._seed, epoch, index)).generate_state(2))


class Journal(keras.callbacks.Callback):
    """After every epoch, add a line to the run's results and save what resuming it needs."""

    def __init__(self, history: list[dict[str, float]], run: Run | None) -> None:
        super().__init__()
        self.history, self._run = history, run

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        rate = float(self.model.optimizer.learning_rate)
        seconds = round(time.monotonic() - self._start, 2)
        self.history.append({"epoch": epoch + 1, "seconds": seconds, "learning_rate": rate, **figures})
        if self._run is not None:
            self._run.save_epoch(self.model, self.history)


class Reporter(keras.callbacks.Callback):
    """Show a bar with loss, accuracy and time left, and print a line per epoch; without bars, also one every minute."""

    def __init__(self, progress: Progress, epochs: int, first: int, title: str = "") -> None:
        super().__init__()
        self._bars, self._epochs, self._first, self._title = progress, epochs, first, title
        self._task = None
        self._start: float | None = None
        self._said = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch
        if self._start is None:
            self._start = time.monotonic()

    def on_train_begin(self, logs: Logs = None) -> None:
        if self._task is None:
            steps = self.params["steps"]
            start = self._first * steps
            title = self._title or "train"
            self._task = self._bars.add_task(title, total=self._epochs * steps, completed=start, detail="")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._bars.update(self._task, advance=1, detail=f"loss {logs['loss']:.3f} accuracy {logs['accuracy']:.3f}")
        if self._bars.disable and time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._say(f"{_figures(logs)} after {batch + 1:,} of {self.params['steps']:,} steps")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        validated = f"validation loss {logs['val_loss']:.4f}, accuracy {logs['val_accuracy']:.4f}"
        self._say(f"{_figures(logs)}; {validated}{self._left(epoch + 1)}")

    def _say(self, text: str) -> None:
        title = f"{self._title} " if self._title else ""
        say(f"{title}epoch {self._epoch + 1:>3} of {self._epochs}: {text}")
        self._said = time.monotonic()

    def _left(self, done: int) -> str:
        """Estimate, after the first epoch of this process, how long the others will take."""
        if done != self._first + 1 or done == self._epochs:
            return ""
        of_several = " in this training" if self._title else ""
        return f"; about {lasting((self._epochs - done) * (time.monotonic() - self._start))} to go{of_several}"


def _figures(logs: Logs) -> str:
    return f"loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.4f}"
