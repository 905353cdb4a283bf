"""From a file of the model repository to a model that is loaded, checked and warm."""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app import devices, faults, memory
from app.errors import BusyProcess, DeviceUnavailable, HarmfulArtifact, InvalidArtifact, UnreadableArtifact
from app.model import Model
from app.registry.trials import Trials
from app.sessions import Device

if TYPE_CHECKING:
    from app.settings import Settings

log = logging.getLogger(__name__)

_TRIAL_S = 60
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_LESS_MEMORY = "free memory of the GPU (nvidia-smi shows what uses it), or lower MULTIPOOL_MAX_BATCH_SIZE"
_SAID_ERROR = re.compile(r"^error: (.*)$", re.MULTILINE)


class Loader:
    """Opens artifacts on the device that the service runs on."""

    def __init__(self, *, device: Literal["auto", "cuda", "cpu"], threads: int, max_batch_size: int) -> None:
        self.device = device
        """What the operator asked for."""
        self._chosen: Device | None = None
        self._threads = threads
        self._max_batch_size = max_batch_size
        # A model's size is measured by how the process grows, so one loads at a time; trials run outside the lock.
        self._one_at_a_time = threading.Lock()
        self._trials = Trials()

    @classmethod
    def of(cls, settings: Settings, threads: int) -> Loader:
        """Make one for the device and the batches that an operator chose."""
        return cls(device=settings.device, threads=threads, max_batch_size=settings.max_batch_size)

    def open(self, path: Path, trusted: frozenset[str] | None = None) -> tuple[Model, int]:
        """Load a file and warm the model up.

        Args:
            path: The artifact.
            trusted: Digests (SHA-256, hexadecimal) of contents that were loaded before. Any other is first loaded in a
                process of its own, bounded in time and memory: a file that hangs or crashes ONNX Runtime, or eats all
                memory, then does no harm here. With None, everything is trusted.

        Returns:
            The model, and about how many bytes of memory it takes.

        Raises:
            InvalidArtifact: It cannot be served; says why. :class:`app.errors.UnreadableArtifact`, where that may pass;
                :class:`app.errors.HarmfulArtifact`, where loading it without a trial would do harm.
            DeviceUnavailable: The device cannot be used.
            Draining: It had to be tried, and :meth:`stop` was called.
        """
        try:
            data = path.read_bytes()
            if trusted is not None and hashlib.sha256(data).hexdigest() not in trusted:
                self._try(data)
            with self._one_at_a_time:
                memory.give_back()  # what was freed would hide what is taken
                before = memory.resident()
                model = self._load(data, path)
                taken = memory.resident() - before
        except OSError as error:
            kind = BusyProcess if error.errno in _EXHAUSTED else UnreadableArtifact
            raise kind(f"it cannot be read: {error.strerror}") from None
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            # Its metadata is of the right form, but nothing can be computed from it.
            raise InvalidArtifact(f"its metadata cannot be used: {type(error).__name__}: {error}") from None
        # What the process has grown by, within bounds: something else may have made it grow or shrink at the same time.
        smallest = 2 * len(data) + 1_000_000
        return model, min(max(smallest, taken), 8 * smallest + 64_000_000)

    def stop(self) -> None:
        """End the trials that are on, and begin no more."""
        self._trials.stop()

    def _load(self, data: bytes, path: Path) -> Model:
        device = self._choose_device()
        try:
            return self._warm(data, device)
        except DeviceUnavailable as error:
            if self.device != "auto":
                advice = f"; {_LESS_MEMORY}" if faults.is_out_of_memory(error) else ""
                raise DeviceUnavailable(f"{path} does not run on CUDA: {error}{advice}") from None
            log.warning("device auto: running %s on the CPU, because %s", path, error)
            return self._warm(data, "cpu")

    def _warm(self, data: bytes, device: Device) -> Model:
        model = Model.load(data, device, self._threads, self._max_batch_size)
        try:
            model.warm_up(model.batch_sizes)
        except InvalidArtifact as error:
            if device == "cpu":
                raise
            self._warm(data, "cpu")  # raises again when it is the file and not the device that is wrong
            raise DeviceUnavailable(f"CUDA cannot be used: {error}") from None
        return model

    def _choose_device(self) -> Device:
        if self._chosen is None:
            reason = devices.why_no_cuda() if self.device == "auto" else None
            if reason is not None:
                log.info("device auto: running on the CPU, because %s", reason)
            self._chosen = "cuda" if self.device != "cpu" and reason is None else "cpu"
        return self._chosen

    def _try(self, data: bytes) -> None:
        try:
            code, said = self._trials.run(data, self._max_batch_size, _TRIAL_S)
        except subprocess.TimeoutExpired:
            raise HarmfulArtifact(f"it was not loaded and run within {_TRIAL_S} s") from None
        if -code in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group, as at a stop
            raise BusyProcess("it was not loaded: a signal has ended the process that tried it")
        if code != 0:
            error = _SAID_ERROR.search(said)
            raise InvalidArtifact(error[1]) if error else HarmfulArtifact(f"loading it ends the process ({code})")
