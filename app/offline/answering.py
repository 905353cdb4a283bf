"""A model that classifies files on the disk, with the service's own code."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from app import ahead, answers, cores, devices, faults, images, memory
from app.batching import Answer
from app.budget import Budget
from app.devices import CPU
from app.errors import InvalidArtifact, InvalidRequest, MultipoolError, UndecodableImage
from app.offline import identity
from app.registry.artifacts import discover, select
from app.registry.loading import Loader
from app.registry.versions import Version

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.settings import Settings

    Decoded = NDArray[np.uint8] | MultipoolError

log = logging.getLogger(__name__)

_PART = 1 << 20

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
    if settings.device == "cuda":
        devices.require_cuda()
    loader = Loader.of(settings, cores.available())
    refused: list[InvalidArtifact] = []
    for one in candidates:
        try:
            model, _ = loader.open(one.path)
        except InvalidArtifact as error:
            refused.append(InvalidArtifact(f"{one.path} cannot be used: {error}"))
            continue
        for reason in refused:
            log.warning("%s; version %d answers", reason, one.number)
        if reference is None and settings.default_model is None and found[-1].name != one.name:
            log.warning("model %s answers, the first by name; --model chooses another", one.name)
        return Version(one.name, one.number, model)
    raise refused[0]


@dataclass(frozen=True)
class Offline:
    """A model that classifies files on the disk."""

    version: Version
    settings: Settings
    explain: bool = False
    room: Budget = field(default_factory=lambda: Budget(memory.available() // 2))
    """For the bytes of all files that are in memory at once."""

    def classify(
        self, files: Iterable[Path], *, top: int | None, features: bool, decode: Callable[[Path], Decoded] | None = None
    ) -> Iterator[Result]:
        """Classify in order: images are decoded in as many threads as there are cores, and run in batches in as many.

        On the CPU, batches of large images are small; a GPU runs two at once.

        Args:
            files: The images; read a little ahead.
            top: How many classes to name; None names all.
            features: Whether to name the pooled features.
            decode: Called in place of :meth:`decode`.

        Yields:
            The file's name, and its prediction or why there is none.

        Raises:
            MultipoolError: As :meth:`judging`.
        """
        model, size = self.version.model, self.settings.max_batch_size
        if model.execution_provider == CPU:
            size = memory.images_at_once(size, model.shape.height, model.shape.width, threads=ahead.threads())

        def answer(batch: list[tuple[Path, Decoded]]) -> list[Result]:
            good = [image for _, image in batch if not isinstance(image, MultipoolError)]
            filled = self._fill(good, top=top, features=features) if good else iter(())
            return [
                (identity.name(file), image if isinstance(image, MultipoolError) else next(filled))
                for file, image in batch
            ]

        # Closed here: after a failure the garbage collector might close them in a thread they wait for.
        with (
            closing(ahead.in_order(decode or self.decode, files, ahead=size)) as decoded,
            closing(ahead.in_order(answer, _batches(decoded, size), ahead=ahead.threads())) as answered,
        ):
            for _, results in answered:
                yield from results

    def _fill(self, batch: list[NDArray[np.uint8]], *, top: int | None, features: bool) -> Iterator[Prediction]:
        """Run the model, and fill a prediction for each image, in order."""
        with self.judging(len(batch)):
            outputs = faults.in_halves(self.version.model.run, np.stack(batch))
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

    def judging(self, images: int) -> AbstractContextManager[None]:
        """Say what to do if the block, which runs the model on a batch of so many images, fails.

        Raises:
            MultipoolError: The device or the model fails.
        """
        return faults.judging(partial(self._judge, images))

    def _judge(self, images: int, error: Exception) -> MultipoolError | None:
        if isinstance(error, MultipoolError):
            return None
        return MultipoolError(faults.advice(error, images, self.version.model.execution_provider))

    def decode(self, file: Path) -> Decoded:
        """Read a file as the model sees it, ``uint8 [H, W, C]``, or return why that cannot be done."""
        model = self.version.model
        try:
            with open(file, "rb", opener=_open) as opened, self._room_for(opened):
                return images.decode(
                    self._read(opened),
                    model.shape,
                    value_range=model.metadata.recipe.value_range,
                    max_pixels=self.settings.max_pixels,
                )
        except InvalidRequest as error:
            return type(error)(str(error))  # without its traceback, which holds the file's bytes
        except MemoryError:
            return UndecodableImage("there is not enough memory for it; free some, or make it smaller")
        except IsADirectoryError:
            return UndecodableImage("it is a link to a folder, which is not followed; name the folder itself")
        except OSError as error:
            return UndecodableImage(f"it cannot be read: {error.strerror}")

    def _room_for(self, opened: BinaryIO) -> AbstractContextManager[None]:
        """Wait until the file fits into memory beside the others; else the system would end the process.

        A pipe says no size, and is not waited for, as who writes to it may wait for another one to be read.
        """
        size = os.fstat(opened.fileno()).st_size
        if size > self.room.capacity:
            raise UndecodableImage(f"the file has {size:,} bytes, more than half of the memory; make it smaller")
        return self.room.take(size)

    def _read(self, opened: BinaryIO) -> bytes:
        # A file that grows meanwhile, or a pipe, may have as much as each thread can.
        most = max(os.fstat(opened.fileno()).st_size, self.room.capacity // ahead.threads())
        content = io.BytesIO()
        while part := opened.read(_PART):
            content.write(part)
            if content.tell() > most:
                raise UndecodableImage("it is endless, or has more bytes than there is memory for; name a file")
        return content.getvalue()


def _batches(decoded: Iterator[tuple[Path, Decoded]], size: int) -> Iterator[list[tuple[Path, Decoded]]]:
    """Take so many images at a time, and at the end those that are left."""
    while batch := list(islice(decoded, size)):
        yield batch


def _open(path: str, flags: int) -> int:
    """Open a file; where it is a pipe that nobody writes to, do not wait for someone who does."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor
