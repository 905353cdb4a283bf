"""Which versions are in memory: those used last, within a limit; all others wait on the disk."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from operator import attrgetter
from weakref import WeakSet

from app.errors import DeviceUnavailable, InvalidArtifact, NotReady
from app.registry.loading import Loader
from app.registry.versions import Entry, Version

log = logging.getLogger(__name__)


class Residency:
    """Loads versions, lets go of those used least recently where not all fit, and loads them again when asked for.

    A model that is let go of is freed when the last request that uses it is done.
    """

    def __init__(self, loader: Loader, memory_bytes: int | None, wanted: Callable[[Entry], bool]) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            loader: Opens the files.
            memory_bytes: Memory for models together; None sets no limit.
            wanted: Whether a version may be in memory at all; called when it has just been loaded.
        """
        self._loader = loader
        self._memory_bytes = memory_bytes
        self._wanted = wanted
        self._loaded: WeakSet[Entry] = WeakSet()  # of those that the repository knows; it may forget one
        self._clock = itertools.count(1)
        self._lock = threading.RLock()  # guards what is in memory; requests only read

    def load(self, entry: Entry, trusted: frozenset[str] | None) -> Version:
        """Load the file of a version that lies there now; blocks.

        Args:
            entry: Gets to know what it is, or why it is refused.
            trusted: What needs no trial, as for :meth:`app.registry.loading.Loader.open`.

        Raises:
            InvalidArtifact: It cannot be served; what is in memory of it stays there.
            DeviceUnavailable: The device cannot be used.
        """
        stamp = entry.found.stamp()
        try:
            model, memory_bytes = self._loader.open(entry.found.path, trusted)
        except (InvalidArtifact, DeviceUnavailable) as error:
            entry.refuse(error, stamp)
            raise
        version = Version(entry.name, entry.number, model)
        with self._lock:
            entry.accept(model, stamp, memory_bytes)
            entry.used = next(self._clock)
            if self._wanted(entry):
                entry.version = version
                self._loaded.add(entry)
                self._make_room(entry)
            else:
                self.let_go(entry)
        return version

    def let_go(self, entry: Entry) -> None:
        """Have a version in memory no more; requests that use it are answered all the same."""
        with self._lock:
            self._loaded.discard(entry)
            entry.version = None

    async def acquire(self, entry: Entry) -> Version:
        """Take a version for use, and load it if it is not in memory.

        Raises:
            NotReady: It had to be loaded again, and cannot be.
        """
        entry.used = next(self._clock)
        if (version := entry.version) is not None:
            return version
        if entry.loading is None:
            entry.loading = asyncio.create_task(asyncio.to_thread(self.load_again, entry))
            entry.loading.add_done_callback(lambda task: _forget(entry, task))
        return await asyncio.shield(entry.loading)

    def load_again(self, entry: Entry) -> Version:
        """Load what lies there now; bytes other than those that were served are tried first, as a new file is; blocks.

        Raises:
            NotReady: It cannot be loaded.
        """
        card = entry.known()
        unusable = NotReady(f"model {entry.reference} cannot be loaded; GET /models says why")
        if entry.refused and entry.found.stamp() == entry.stamp != card.stamp:
            raise unusable  # it was tried already
        try:
            version = self.load(entry, frozenset({card.sha256}))
        except (InvalidArtifact, DeviceUnavailable) as error:
            log.error("cannot load %s again: %s", entry.reference, error)  # noqa: TRY400  # for the operator
            raise unusable from None
        if version.model.sha256 != card.sha256:
            log.warning("loaded %s again from a file that was replaced", entry.reference)
        return version

    def _make_room(self, newest: Entry) -> None:
        """Let go of what was used least recently, until the rest fits."""
        if self._memory_bytes is None:
            return
        excess = sum(entry.memory_bytes for entry in self._loaded) - self._memory_bytes
        for entry in sorted({*self._loaded} - {newest}, key=attrgetter("used")):
            if excess <= 0:
                break
            self.let_go(entry)
            excess -= entry.memory_bytes
            if entry.is_lost:
                log.warning("let go of %s, which cannot be loaded again: %s", entry.reference, entry.refused)
            else:
                log.debug("let go of %s", entry.reference)


def _forget(entry: Entry, task: asyncio.Task[Version]) -> None:
    """Have the next request load it again, if need be; whoever asked for it may be gone."""
    entry.loading = None
    if not task.cancelled():
        task.exception()
