"""Which models and versions exist on disk, are loaded, and are served."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app import devices
from app.errors import (
    DeviceUnavailable,
    InvalidArtifact,
    InvalidSettings,
    ModelNotFound,
    MultipoolError,
    NothingToServe,
)
from app.model import Device, Model

log = logging.getLogger(__name__)

FILE = "model.onnx"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Version:
    """One version of a model, loaded and warm."""

    name: str
    number: int
    model: Model


def discover(root: Path) -> list[tuple[str, int, Path]]:
    """List name, version and file of every artifact below ``root``; whatever is named otherwise is not ours.

    Raises:
        NothingToServe: The folder cannot be read, or holds no model.
    """
    try:
        found = sorted(
            (model.name, int(version.name), version / FILE)
            for model in root.iterdir()
            if model.is_dir() and _NAME.fullmatch(model.name)
            for version in model.iterdir()
            if version.is_dir() and _VERSION.fullmatch(version.name)
        )
    except OSError as error:
        raise NothingToServe(
            f"the model repository {str(root)!r} cannot be read: {error.strerror}; set MULTIPOOL_MODELS_DIR"
        ) from None
    if not found:
        raise NothingToServe(
            f"the model repository {str(root)!r} holds no <name>/<version>/{FILE}; publish one with "
            "'python -m model_export train', or set MULTIPOOL_MODELS_DIR"
        )
    return found


class Repository:
    """The models that are served. Loading fills it; from then on it does not change."""

    def __init__(
        self,
        root: Path,
        *,
        default: str | None,
        device: Literal["auto", "cuda", "cpu"],
        threads: int,
        max_batch_size: int,
    ) -> None:
        self._root = root
        self._default = default
        self._device = device
        self._threads = threads
        self._warm_up_sizes = sorted({1, max_batch_size})
        self._models: dict[str, dict[int, Version]] = {}
        self._stopped = False
        self.ready = False
        """Whether every model is loaded and warm."""
        self.reason = "the models are being loaded"
        """Why it is not ready."""

    def load(self) -> None:
        """Load and warm up every version, then become ready.

        Raises:
            NothingToServe: There is no model.
            InvalidArtifact: A file is not a multi-pool model, or is damaged; names it and says why.
            InvalidSettings: The default model does not exist.
            DeviceUnavailable: The device asked for cannot be used.
        """
        try:
            self._load()
        except MultipoolError as error:
            self.reason = str(error)
            raise
        except Exception:
            self.reason = "the models could not be loaded; the service's log says why"
            raise
        self.ready = not self._stopped

    def stop(self) -> None:
        """Have a load that is under way end after the model it is at."""
        self._stopped = True

    def check(self) -> list[tuple[str, int, Path]]:
        """Look at what can be seen without loading anything: that there are models, the default, and the device.

        Returns:
            Name, version and file of what there is to load.

        Raises:
            NothingToServe, InvalidSettings, DeviceUnavailable: As :meth:`load`.
        """
        found = discover(self._root)
        known = {name for name, _, _ in found} | {f"{name}:{number}" for name, number, _ in found}
        if self._default is not None and self._default not in known:
            names = ", ".join(sorted({name for name, _, _ in found}))
            raise InvalidSettings(
                f"MULTIPOOL_DEFAULT_MODEL = {self._default!r}: there is no such model; there are {names}"
            )
        if self._device == "cuda" and (reason := devices.why_no_cuda()) is not None:
            raise DeviceUnavailable(f"CUDA cannot be used: {reason}")
        return found

    def _load(self) -> None:
        found = self.check()
        device = self._choose_device()
        for done, (name, number, path) in enumerate(found):
            if self._stopped:
                return
            self.reason = f"the models are being loaded: {done} of {len(found)} ready"
            self._models.setdefault(name, {})[number] = Version(name, number, self._open(path, device))
            log.info("loaded %s:%d on %s", name, number, self._models[name][number].model.execution_provider)

    def _choose_device(self) -> Device:
        if self._device != "auto":
            return self._device
        reason = devices.why_no_cuda()
        if reason is None:
            return "cuda"
        log.info("device auto: running on the CPU, because %s", reason)
        return "cpu"

    def _open(self, path: Path, device: Device) -> Model:
        try:
            model = self._load_file(path, device)
            model.warm_up(self._warm_up_sizes)
        except OSError as error:
            raise InvalidArtifact(f"{path} cannot be read: {error.strerror}") from None
        except InvalidArtifact as error:
            raise InvalidArtifact(f"{path} cannot be served: {error}") from None
        return model

    def _load_file(self, path: Path, device: Device) -> Model:
        data = path.read_bytes()
        try:
            return Model.load(data, device, self._threads)
        except DeviceUnavailable as error:
            if self._device != "auto":
                raise
            log.warning("device auto: running %s on the CPU, because %s", path, error)
            return Model.load(data, "cpu", self._threads)

    @property
    def default(self) -> str:
        """Name of the model that answers when none is named."""
        return self._default.partition(":")[0] if self._default else min(self._models)

    def __iter__(self) -> Iterator[Version]:
        """Go through the highest version of every model, by name."""
        return (versions[max(versions)] for _, versions in sorted(self._models.items()))

    def versions(self, name: str) -> list[int]:
        """List the versions of a model, lowest first.

        Raises:
            ModelNotFound: There is no such model.
        """
        if name not in self._models:
            raise ModelNotFound(f"there is no model {name[:80]!r}; GET /models lists those there are")
        return sorted(self._models[name])

    def find(self, name: str, number: int | None = None) -> Version:
        """Look up a version of a model, by default the highest.

        Raises:
            ModelNotFound: There is no such model or version.
        """
        versions = self.versions(name)
        if number is None:
            number = versions[-1]
        if number not in versions:
            raise ModelNotFound(f"model {name!r} has no version {number}; it has {versions}")
        return self._models[name][number]

    def resolve(self, reference: str | None) -> Version:
        """Look up ``name``, ``name:version``, or the default model for None.

        Raises:
            ModelNotFound: There is no such model or version.
        """
        if reference is None:
            reference = self._default or self.default
        name, colon, version = reference.partition(":")
        if colon and not _VERSION.fullmatch(version):
            raise ModelNotFound(f"model {name[:80]!r} has no version {version[:20]!r}; versions are positive integers")
        return self.find(name, int(version) if colon else None)
