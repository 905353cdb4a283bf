"""A model that classifies files on the disk, with the service's own code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from app import answers, cores, faults, images
from app.ahead import in_order
from app.batching import Answer
from app.errors import InvalidArtifact, InvalidRequest, MultipoolError, UndecodableImage
from app.offline import journal
from app.registry.artifacts import discover, select
from app.registry.loading import Loader
from app.registry.versions import Version

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.outputs import Outputs
    from app.settings import Settings

log = logging.getLogger(__name__)

Batch = TypeVar("Batch", bound=Sized)
Ran = TypeVar("Ran")
Prediction = dict[str, Any]
Result = tuple[str, Prediction | MultipoolError]
"""A file's name, and its prediction or why there is none."""


def open_version(settings: Settings, reference: str | None) -> Version:
    """Load one model, ``name`` or ``name:version``; None for the default.

    Without a version, the highest one that can be used is loaded, as when the service starts.

    Raises:
        NothingToServe, ModelNotFound, InvalidArtifact, DeviceUnavailable: See their texts.
    """
    found = discover(settings.models_dir)
    asked = (settings.default_model or found[0].name) if reference is None else reference
    chosen = select(found, asked)
    candidates = [chosen] if asked == chosen.reference else [one for one in reversed(found) if one.name == chosen.name]
    loader = Loader.of(settings, cores.available())
    loader.check()
    refused: list[InvalidArtifact] = []
    for one in candidates:
        try:
            model, _ = loader.open(one.path)
        except InvalidArtifact as error:
            refused.append(InvalidArtifact(f"{one.path} cannot be used: {error}"))
            continue
        for reason in refused:
            log.warning("%s; version %d answers", reason, one.number)
        return Version(one.name, one.number, model)
    raise refused[0]


@dataclass(frozen=True)
class Offline:
    """A model that classifies files on the disk."""

    version: Version
    settings: Settings
    explain: bool = False

    def classify(self, files: Iterable[Path], *, top: int | None, features: bool) -> Iterator[Result]:
        """Classify in batches, in order; while one runs, the next is decoded, and at most two are in memory.

        Yields:
            The file's name, and its prediction or why there is none.

        Raises:
            MultipoolError: As :meth:`run`.
        """
        size = self.settings.max_batch_size
        decoded = in_order(self.decode, files, ahead=size)
        while batch := list(islice(decoded, size)):
            good = [image for _, image in batch if not isinstance(image, MultipoolError)]
            answered = self._answer(good, top=top, features=features) if good else iter(())
            for file, image in batch:
                yield journal.name(file), image if isinstance(image, MultipoolError) else next(answered)

    def _answer(self, batch: list[NDArray[np.uint8]], *, top: int | None, features: bool) -> Iterator[Prediction]:
        """Run the model, and fill a prediction for each image, in order."""
        outputs = self.run(self._in_halves, batch)
        return (
            answers.prediction(
                self.version,
                Answer(outputs, row, decoded_s=0, queued_s=0, ran_s=0),
                top=top,
                features=features,
                explain=self.explain,
                min_confidence=self.settings.min_confidence,
            )
            for row in range(len(batch))
        )

    def _in_halves(self, batch: list[NDArray[np.uint8]]) -> Outputs:
        return faults.in_halves(self.version.model.run, np.stack(batch))

    def run(self, run: Callable[[Batch], Ran], batch: Batch) -> Ran:
        """Run the model on a batch, as an array ``uint8 [N, H, W, C]`` or a list of images.

        Raises:
            MultipoolError: The device or the model fails; says what to do.
        """

        def judge(error: Exception) -> MultipoolError | None:
            if isinstance(error, MultipoolError):
                return None
            return MultipoolError(faults.advice(error, len(batch), self.version.model.execution_provider))

        return faults.judged(run, batch, judge)

    def decode(self, file: Path) -> NDArray[np.uint8] | MultipoolError:
        """Read a file as the model sees it, ``uint8 [H, W, C]``, or return why that cannot be done."""
        model = self.version.model
        try:
            return images.decode(
                file.read_bytes(),
                model.shape,
                value_range=model.metadata.recipe.value_range,
                max_pixels=self.settings.max_pixels,
            )
        except InvalidRequest as error:
            return error
        except IsADirectoryError:
            return UndecodableImage("it is a link to a folder, which is not followed; name the folder itself")
        except OSError as error:
            return UndecodableImage(f"it cannot be read: {error.strerror}")
