"""Sees to it that what is published while the service runs is served, and what is deleted is not."""

from __future__ import annotations

import asyncio
import logging
import threading

from app import starting
from app.errors import MultipoolError, NothingToServe
from app.registry.artifacts import Found, Stamp
from app.repository import Repository

log = logging.getLogger(__name__)


class Watcher:
    """Looks at the model repository's folder again and again.

    A file is read once it has not changed from one look to the next, and tried once per content: one that was refused
    is tried again when it has changed, or when an operator asks for it. A version is forgotten when its file is gone;
    when everything is gone, because a volume is not mounted for instance, what is loaded is served as before.
    """

    def __init__(self, repository: Repository, interval_s: float) -> None:
        self._repository = repository
        self._interval_s = interval_s
        self._last_look: dict[Found, Stamp | None] = {}
        self._gone: set[Found] = set()  # at the last look
        self._tried: dict[Found, Stamp | None] | None = None
        self._problem = ""
        self._looking = threading.Lock()  # operators' requests look too

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            problem, unexpected = "", None
            try:
                await asyncio.to_thread(self.look if self._repository.ready else self._start_again)
            except Exception as error:  # noqa: BLE001  # whatever went wrong, the next look may go well
                problem = str(error) or repr(error)
                unexpected = None if isinstance(error, MultipoolError | OSError) else error
            if problem and problem != self._problem:
                log.error("nothing is loaded or removed: %s", problem, exc_info=unexpected)
            elif self._problem and not problem:
                log.info("versions are loaded and removed again")
            self._problem = problem

    def _start_again(self) -> None:
        """Load everything, which could not be served at the start: once, and whenever the folder has changed since."""
        look = {found: found.stamp() for found in self._repository.folder.look()}
        settled, self._last_look = look == self._last_look, look
        if settled and look != self._tried:
            self._tried = look
            starting.load(self._repository)

    def look(self, model: str | None = None) -> None:
        """Look once, and load or remove what has changed.

        Args:
            model: Look at this one alone, as an operator asks for it: do not wait for another look at what is new or
                gone, and try again what was refused.

        Raises:
            NothingToServe: The folder is empty.
        """
        with self._looking:
            self._look(model)

    def _look(self, model: str | None) -> None:
        folder = self._repository.folder
        there = folder.look()
        if not there and not folder.unreadable:
            raise NothingToServe(f"the model repository {str(folder.root)!r} holds no file that can be read")
        look = {found: found.stamp() for found in there if model in (None, found.name)}
        for found, stamp in look.items():
            if self._repository.stopped:
                return
            entry = self._repository.entry(found)
            tried = entry is not None and entry.stamp == stamp and not (model and entry.refused)
            if stamp is None or tried:
                continue
            if model or self._last_look.get(found) == stamp:
                self._repository.admit(found, frozenset())
        gone = set()
        for entry in list(self._repository.entries()):
            if look.get(entry.found) is not None or folder.hides(entry.found) or model not in (None, entry.name):
                continue
            gone.add(entry.found)
            if model or entry.found in self._gone:
                self._repository.remove(entry)
        if model is None:
            self._last_look, self._gone = look, gone
