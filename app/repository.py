"""Which models and versions are known, and which of them are served."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from app.errors import DeviceUnavailable, InvalidArtifact, NotReady
from app.registry.artifacts import Folder, Found
from app.registry.loading import Loader
from app.registry.references import References
from app.registry.residency import Residency
from app.registry.versions import Entry, Version

log = logging.getLogger(__name__)


class Repository:
    """The models that are served.

    Every version is loaded once, so that what is served is known to work. :mod:`app.starting` loads what is there at
    the start, :mod:`app.watching` what comes and goes later. Which versions stay in memory is decided in
    :mod:`app.registry.residency`.
    """

    def __init__(
        self,
        root: Path,
        *,
        default: str | None,
        loader: Loader,
        memory_bytes: int | None = None,
        require_all: bool = True,
    ) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            root: Holds ``<name>/<version>/model.onnx``.
            default: Model, or ``name:version``, that answers when none is named; None is the first by name.
            loader: Opens the files.
            memory_bytes: Memory for models together; None sets no limit.
            require_all: Whether a model of which no version can be served makes the start fail.
        """
        self.folder = Folder(root)
        self.default = default
        self.loader = loader
        self.require_all = require_all
        self.served = References(default=default)
        """What requests can name; replaced as a whole at every change."""
        self.ready = False
        """Whether every model is loaded and warm."""
        self.reason = "the models are being loaded"
        """Why it is not ready."""
        self.stopped = False
        """Set when the service stops, or its device has failed: after the model that is being loaded, no other is."""
        self._residency = Residency(loader, memory_bytes, wanted=lambda entry: not self.is_unloaded(entry.name))
        self._entries: dict[tuple[str, int], Entry] = {}
        self._unloaded: frozenset[str] = frozenset()  # by name, until they are loaded again
        self._lock = threading.Lock()  # for changes of what is known and served; requests only read

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
            before = self._replaced(entry)
            instead = f", instead of version {before.number}" if before else ""
            log.info("loaded %s on %s%s", found.reference, entry.known().execution_provider, instead)
            if before and set(before.known().metadata.labels) != set(entry.known().metadata.labels):
                log.warning(
                    "%s has other classes than %s, which it takes over from; if that is not meant, rename the folder "
                    "of version %d, for example to '%d.withdrawn'",
                    *(found.reference, before.reference, found.number, found.number),
                )
        with self._lock:
            self._entries[found.name, found.number] = entry
            self._publish()
        if self.is_unloaded(entry.name):  # perhaps while it was being loaded, before it was known here
            self._residency.let_go(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Forget a version whose file is gone; requests that use it are answered all the same."""
        with self._lock:
            self._entries.pop((entry.name, entry.number), None)
            self._publish()
        self._residency.let_go(entry)
        highest = self.served.get(entry.name)
        left = f"; {highest.reference} answers now" if highest and highest.number < entry.number else ""
        log.info("removed %s%s", entry.reference, left)

    def _replaced(self, entry: Entry) -> Entry | None:
        """Find the version that answered until now, if the new one takes over."""
        before = self.served.get(entry.name)
        return before if self.ready and before and before.number < entry.number else None

    def unload(self, name: str, *, to_come: bool = False) -> None:
        """Serve no version of a model until it is loaded again, and free their memory; repeating it does nothing.

        Args:
            name: Of the model.
            to_come: Accept a model not known here, because another worker may have found it; it then stays unserved
                when found.

        Raises:
            ModelNotFound: There is no such model, and none is to come.
        """
        if name in self._unloaded and any(entry.name == name for entry in self.entries()):
            return
        if not to_come:
            self.served.versions(name)
        with self._lock:
            self._unloaded |= {name}
            self._publish()
        for entry in self.entries():
            if entry.name == name:
                self._residency.let_go(entry)
        log.info("unloaded %s", name)

    def serve_again(self, name: str) -> None:
        """Serve a model that was unloaded, with its highest version in memory; blocks.

        Raises:
            NotReady: That version has to be loaded again, and cannot be.
        """
        with self._lock:
            self._unloaded -= {name}
            self._publish()
        while (highest := self.served.get(name)) is not None and highest.version is None and not highest.refused:
            try:
                self._residency.load_again(highest)
            except NotReady:
                if not highest.is_lost:  # or else the next lower one takes its place
                    raise

    def _publish(self) -> None:
        """Have requests see the change."""
        known = [entry for entry in self.entries() if entry.card is not None and entry.name not in self._unloaded]
        refused = {entry.reference: entry.refused for entry in self.entries() if entry.refused}
        before, self.served = self.served.answering, References(known, self.default, self._unloaded, refused)
        if not self.ready or before == self.served.answering:
            return
        if not self.served.answering:
            log.warning(self.served.why_none_answers())
        elif self.default is None:
            instead = f", instead of {before!r}" if before else ""
            log.warning(
                "requests that name no model are answered by %r from now on%s; "
                "set MULTIPOOL_DEFAULT_MODEL to have it stay",
                self.served.answering,
                instead,
            )

    # Lookups

    def entries(self) -> Iterator[Entry]:
        """Go through all that was found, served or not, by name and version."""
        return (entry for _, entry in sorted(self._entries.items()))

    def trusted(self) -> frozenset[str]:
        """Collect the digests of what was loaded."""
        return frozenset(entry.card.sha256 for entry in self.entries() if entry.card is not None)

    def entry(self, found: Found) -> Entry | None:
        """Look up an artifact, served or refused; None if it has not been tried yet."""
        return self._entries.get((found.name, found.number))

    def is_to_come(self, name: str) -> bool:
        """Tell whether a model is in the folder that is not known here, and may be to another worker; blocks."""
        there = [(found, self.entry(found)) for found in self.folder.lists(name)]
        return any(entry is None or entry.stamp != found.stamp() for found, entry in there)

    def is_unloaded(self, name: str) -> bool:
        """Tell whether a model was unloaded by request."""
        return name in self._unloaded

    def answers(self, entry: Entry) -> bool:
        """Tell whether a version can answer when it is named: it was loaded once, and is neither lost nor unloaded."""
        return entry.card is not None and not entry.is_lost and not self.is_unloaded(entry.name)

    async def acquire(self, reference: str | None) -> Version:
        """Look up a model to run, and load it if it is not in memory.

        If no version is named and the highest proves to be lost when it has to be loaded, the next lower one is used.

        Raises:
            ModelNotFound: There is no such model or version.
            NotReady: It had to be loaded again, and cannot be.
        """
        failed: dict[Entry, NotReady] = {}
        while (entry := self.served.resolve(reference)) not in failed:
            try:
                return await self._residency.acquire(entry)
            except NotReady as error:
                failed[entry] = error
        raise failed[entry]
