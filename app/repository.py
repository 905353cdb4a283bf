"""Which models and versions are known, and which of them are served."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import (
    DeviceUnavailable,
    InvalidArtifact,
    InvalidSettings,
    ModelNotFound,
    MultipoolError,
    NothingToServe,
)
from app.registry.artifacts import Folder, Found, discover, select
from app.registry.loading import Loader
from app.registry.references import References
from app.registry.residency import Residency
from app.registry.versions import Entry, Version

if TYPE_CHECKING:
    from app.settings import Settings

log = logging.getLogger(__name__)


class Repository:
    """The models that are served.

    Every version is loaded once, so that what is served is known to work. Which of them stay in memory is decided in
    :mod:`app.registry.residency`.
    """

    def __init__(self, root: Path, *, default: str | None, loader: Loader, memory_bytes: int | None = None) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            root: Holds ``<name>/<version>/model.onnx``.
            default: Model, or ``name:version``, that answers when none is named; None is the first by name.
            loader: Opens the files.
            memory_bytes: Memory for models together; None sets no limit.
        """
        self.folder = Folder(root)
        self._default = default
        self.served = References(default=default)
        """What requests can name; replaced at every change."""
        self._loader = loader
        self._residency = Residency(loader, memory_bytes, wanted=lambda entry: not self.withdrawn(entry.name))
        self._entries: dict[tuple[str, int], Entry] = {}
        self._withdrawn: frozenset[str] = frozenset()
        self._lock = threading.Lock()  # guards what is known and served; requests only read
        self._stopped = False
        self.ready = False
        """Whether every model is loaded and warm."""
        self.reason = "the models are being loaded"
        """Why it is not ready."""

    @classmethod
    def of(cls, settings: Settings, loader: Loader, memory_bytes: int | None = None) -> Repository:
        """Make that of the folder, and with the default model, that an operator chose."""
        return cls(settings.models_dir, default=settings.default_model, loader=loader, memory_bytes=memory_bytes)

    # Start and stop

    def load(self, trusted: frozenset[str] | None = None) -> None:
        """Load and warm up every version, then become ready.

        Args:
            trusted: None at a first start, which insists that of every model, and of the default, a version can be
                served. For a process that goes on where others left off, digests of what those have loaded: other
                contents are tried first, and what cannot be served is refused and holds up nothing else.

        Raises:
            NothingToServe: There is no model, or none that can be served.
            InvalidArtifact: Of some model no version can be served; names a file and says why.
            InvalidSettings: The default model does not exist.
            DeviceUnavailable: The device asked for cannot be used.
        """
        try:
            self._load(trusted)
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

    def check(self) -> list[Found]:
        """Look at what can be seen without loading anything: that there are models, the default, and the device.

        Raises:
            NothingToServe, InvalidSettings, DeviceUnavailable: As :meth:`load`.
        """
        found = discover(self.folder.root)
        try:
            if self._default is not None:
                select(found, self._default)
        except ModelNotFound as error:
            raise InvalidSettings(f"MULTIPOOL_DEFAULT_MODEL: {error}") from None
        self._loader.check()
        return found

    def _load(self, trusted: frozenset[str] | None) -> None:
        found = self.check() if trusted is None else self.folder.look()
        self.folder.warn()
        highest = {one.name: one.number for one in found}
        # Highest versions last, so that they are the ones that stay when not all fit.
        order = sorted(found, key=lambda one: (highest[one.name] == one.number, one.number))
        for done, one in enumerate(order):
            if self._stopped:
                return
            self.reason = f"the models are being loaded: {done} of {len(found)} ready"
            self.admit(one, trusted)
        if trusted is None:
            self._insist(found)
        elif not any(self.served):
            raise NothingToServe(
                f"the model repository {str(self.folder.root)!r} holds nothing that can be served; "
                "publish a model, or mend what the log names"
            )

    def _insist(self, found: list[Found]) -> None:
        needed = {one.name: one for one in found}  # of each model the highest version
        if self._default is not None:
            needed[self._default] = select(found, self._default)
        for reference, one in needed.items():
            if reference not in self.served and (entry := self.entry(one)) is not None:
                raise InvalidArtifact(f"{one.path} cannot be served: {entry.refused}")

    # Changes; called from threads

    def admit(self, found: Found, trusted: frozenset[str] | None) -> Entry:
        """Load what lies there, and serve it if it is good; else note why not, and leave what is served as it is.

        Args:
            found: The file.
            trusted: What needs no trial, as for :meth:`app.registry.loading.Loader.open`.
        """
        entry = self.entry(found) or Entry(found)
        known = entry.refused
        try:
            self._residency.load(entry, trusted)
        except (InvalidArtifact, DeviceUnavailable) as error:
            if isinstance(error, DeviceUnavailable) and not self.ready:
                raise  # a running service goes on with what it has
            if str(error) != known:
                log.error("refused %s: %s", found.reference, error)  # noqa: TRY400  # a line for the operator
        else:
            log.info("loaded %s on %s%s", found.reference, entry.known().execution_provider, self._replacing(entry))
        with self._lock:
            self._entries[found.name, found.number] = entry
            self._publish()
        if self.withdrawn(entry.name):  # perhaps since it was loaded, when nobody knew of it
            self._residency.let_go(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Forget a version whose file is gone; requests that use it are answered all the same."""
        with self._lock:
            self._entries.pop((entry.name, entry.number), None)
            self._publish()
        self._residency.let_go(entry)
        left = f"; {self.served.find(entry.name).found.reference} answers now" if entry.name in self.served else ""
        log.info("removed %s%s", entry.found.reference, left)

    def _replacing(self, entry: Entry) -> str:
        """Say which version answered until now, if the new one takes over."""
        before = self.served.find(entry.name).number if entry.name in self.served else entry.number
        return f", instead of version {before}" if self.ready and before < entry.number else ""

    def withdraw(self, name: str) -> None:
        """Serve no version of a model until it is restored, and free them; nothing is left to do the second time.

        Raises:
            ModelNotFound: There is no such model.
        """
        if name in self._withdrawn and any(entry.name == name for entry in self.entries()):
            return
        self.served.versions(name)
        with self._lock:
            self._withdrawn |= {name}
            self._publish()
        for entry in self.entries():
            if entry.name == name:
                self._residency.let_go(entry)
        log.info("withdrew %s", name)

    def restore(self, name: str) -> None:
        """Serve a model again that was withdrawn."""
        with self._lock:
            self._withdrawn -= {name}
            self._publish()

    def _publish(self) -> None:
        """Have requests see the change."""
        known = [entry for entry in self.entries() if entry.card is not None and entry.name not in self._withdrawn]
        refused = {entry.found.reference: entry.refused for entry in self.entries() if entry.refused}
        before, self.served = self.served.answering, References(known, self._default, self._withdrawn, refused)
        if not self.ready or before == self.served.answering:
            return
        if not self.served.answering:
            log.warning(self.served.why_none_answers())
        elif self._default is None:
            log.warning(
                "requests that name no model are answered by %r from now on, instead of %r; "
                "set MULTIPOOL_DEFAULT_MODEL to have it stay",
                self.served.answering,
                before,
            )

    # Lookups

    def entries(self) -> Iterator[Entry]:
        """Go through all that was found, served or not, by name and version."""
        return (entry for _, entry in sorted(self._entries.items()))

    def trusted(self) -> frozenset[str]:
        """Collect the digests of what was loaded."""
        return frozenset(entry.card.sha256 for entry in self.entries() if entry.card is not None)

    def entry(self, found: Found) -> Entry | None:
        """Look up what became of an artifact."""
        return self._entries.get((found.name, found.number))

    def withdrawn(self, name: str) -> bool:
        """Tell whether a model was withdrawn."""
        return name in self._withdrawn

    async def acquire(self, reference: str | None) -> Version:
        """Look up a model to run, and load it if it is not in memory.

        Raises:
            ModelNotFound: There is no such model or version.
            NotReady: It had to be loaded again, and cannot be.
        """
        return await self._residency.acquire(self.served.resolve(reference))
