"""The numbered folder of a training run, from which it can be resumed, inspected and published again."""

from __future__ import annotations

import argparse
import csv
import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import MissingInput
from model_export import files
from model_export.console.numbers import counted
from model_export.errors import BadData, RunInUse
from model_export.fitting import arguments_file

if TYPE_CHECKING:
    import keras

ARGUMENTS = "args.yaml"
RESULTS = "results.csv"
BEST = "best.keras"

_MOST_NAMED = 10


@dataclass(frozen=True)
class Run:
    """A run's folder.

    ``args.yaml`` has the options, ``results.csv`` one line per finished epoch, ``best.keras`` the weights with the
    lowest validation loss, ``epoch-<n>.keras`` the last epoch with the state of its optimizer. An epoch is finished
    once it has its line. Until then, its weights are in ``best-<n>.keras`` if they are the best.
    """

    folder: Path

    @classmethod
    def create(cls, root: Path, name: str, arguments: argparse.Namespace) -> Run:
        """Make the next numbered folder ``<root>/<name>/<number>``."""
        run = cls(files.numbered(root / name))
        arguments_file.write(run.folder / ARGUMENTS, arguments)
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open an existing folder.

        Raises:
            MissingInput: It is not the folder of a run.
        """
        if not (folder / ARGUMENTS).is_file():
            there = _near(folder)
            named = f"one of {', '.join(map(str, there))}" if there else "one like runs/my-model/1"
            raise MissingInput(f"{folder} is not the folder of a training run; name {named}")
        return cls(folder)

    def arguments(self) -> argparse.Namespace:
        """Read the options of the run.

        Raises:
            BadData: The file is damaged.
        """
        kept = arguments_file.read(self.folder / ARGUMENTS)
        kept.resume = self.folder
        return kept

    def history(self) -> list[dict[str, float]]:
        """Read the figures of all finished epochs.

        Raises:
            BadData: The file is damaged.
        """
        path = self.folder / RESULTS
        return read_history(path) if path.is_file() else []

    def save_epoch(self, model: keras.Model, history: list[dict[str, float]]) -> None:
        """Save the state after an epoch, then its figures, which finish the epoch."""
        epoch = len(history)
        with files.staged(self._state(epoch)) as part:
            model.save(part)
        files.write_table(self.folder / RESULTS, history)
        self._settle(epoch)

    def save_best(self, model: keras.Model, epoch: int) -> None:
        """Save the weights of an epoch that has the lowest validation loss so far, before it is finished.

        Without the state of the optimizer, which is up to three times as large.
        """
        import keras  # noqa: PLC0415  # slow to import, and not needed to open a run

        # In this format, Keras leaves out the optimizer of a network that has none, and of no other.
        alone = keras.Model(model.input, model.output, name=model.name)
        with files.staged(self._candidate(epoch)) as part:
            alone.save(part)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Train in this folder, alone; begin by clearing up what an interrupt has left.

        Raises:
            RunInUse: Another process trains in it.
        """
        with files.locked(self.folder / ARGUMENTS, wait=False) as held:
            if not held:
                raise RunInUse(f"another process is training in {self.folder}; wait until it ends, or start a new run")
            self._settle(len(self.history()))
            yield

    def _settle(self, epochs: int) -> None:
        """Put the best weights in their place if their epoch is finished, or remove them; keep one state, the last."""
        for path in self.folder.glob("best-*.keras"):
            if path == self._candidate(epochs):
                files.replace(path, self.folder / BEST)
            else:
                path.unlink()
        for path in self.folder.glob("epoch-*.keras"):
            if path != self._state(epochs):
                path.unlink()

    def last_state(self) -> Path:
        """Find the saved state of the last finished epoch.

        Raises:
            BadData: It is missing.
        """
        state = self._state(len(self.history()))
        if not state.is_file():
            raise BadData(f"{state} is missing; this run cannot be resumed")
        return state

    def best(self) -> Path:
        """Find the weights of the finished epoch that has the lowest validation loss.

        Raises:
            MissingInput: No epoch has finished yet.
            BadData: They are missing.
        """
        epochs = len(self.history())
        if epochs == 0:
            raise MissingInput(f"{self.folder} has no weights: no epoch of it has finished; train it with --resume")
        for path in (self._candidate(epochs), self.folder / BEST):
            if path.is_file():
                return path
        raise BadData(
            f"{self.folder} has no {BEST}, although {counted(epochs, 'epoch has', 'epochs have')} finished: training "
            "diverged (then choose a smaller --learning-rate), or the file was removed; train again"
        )

    def digest(self) -> str:
        """Compute the SHA-256 of :meth:`best`, in hexadecimal; what is published from these weights names it."""
        with self.best().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @staticmethod
    def load(path: Path, *, compile: bool = False) -> keras.Model:
        """Load a saved network; with ``compile``, its optimizer too.

        Raises:
            BadData: The file is damaged.
        """
        import keras  # noqa: PLC0415  # slow to import, and not needed to open a run

        try:
            return keras.saving.load_model(path, compile=compile)
        except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BadData(f"{path} is damaged ({reason}); train again") from None

    def _state(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04}.keras"

    def _candidate(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:04}.keras"


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the figures of every epoch from a table.

    Raises:
        BadData: It is damaged.
    """
    try:
        with path.open(newline="") as file:
            rows = [
                {key: int(float(value)) if key == "epoch" else float(value) for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
    except (TypeError, ValueError, csv.Error) as error:
        raise BadData(f"{path} cannot be read: {error}") from None
    if any("val_loss" not in row for row in rows):
        raise BadData(f"{path} cannot be read: it has no column 'val_loss'")
    return rows


def _near(folder: Path) -> list[Path]:
    """Find the runs that may have been meant: in a folder, beside it, or else of other names; ten at most."""
    home, root = folder.parent, folder.parent.parent
    for place, below in ((folder, "*"), (home, "*"), (home, "*/*"), (root, "*/*")):
        # Not Path.glob, which fails if somebody removes a folder meanwhile.
        if found := [(place / name).parent for name in glob(f"{below}/{ARGUMENTS}", root_dir=place)]:
            return sorted(found, key=lambda path: (path.parent, path.name.zfill(9)))[:_MOST_NAMED]
    return []
