"""Sees to it that what is published while the service runs is served, and what is deleted is not."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app import starting
from app.errors import MultipoolError, NothingToServe
from app.registry.artifacts import Found, Stamp
from app.registry.versions import Entry
from app.repository import Repository

log = logging.getLogger(__name__)


class Watcher:
    """Looks at the model repository's folder again and again.

    A file is loaded once two looks in a row find it unchanged, and each content is tried once: a refused file is tried
    again only when it changes or an operator asks. A version whose file is gone is dropped, but only after anything new
    of that model has been loaded. If the whole folder is empty (say, a volume is not mounted), nothing is dropped.
    Trying a file may take a minute; meanwhile other models' versions can still be dropped, or loaded on request.
    """

    def __init__(self, repository: Repository, interval_s: float) -> None:
        self._repository = repository
        self._interval_s = interval_s
        self._last_look: dict[Found, Stamp | None] = {}
        self._gone: set[Found] = set()  # at the last look
        self._tried: dict[Found, Stamp | None] | None = None
        self._problem = ""
        self._loading: asyncio.Task[None] | None = None
        self._at_work: set[str] = set()  # models that are being loaded
        self._looking = threading.Condition()  # guards what was seen and what is at work; operators' requests look too

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                await self._try_to_look()
        finally:
            if self._loading is not None:
                self._loading.cancel()

    async def _try_to_look(self) -> None:
        problem, unexpected = "", None
        try:
            await self._look_on()
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

    async def _look_on(self) -> None:
        """Look, and load what is new; where that takes longer than to the next look, it goes on beside it."""
        if not self._repository.ready:
            await asyncio.to_thread(self._start_again)
            return
        new = await asyncio.to_thread(self._notice)
        if self._loading is None and new:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load, new))
        if self._loading is not None and (await asyncio.wait({self._loading}, timeout=self._interval_s))[0]:
            done, self._loading = self._loading, None
            done.result()

    def look(self, model: str) -> None:
        """Look at one model once, as an operator asks for it, and load or remove what has changed; blocks.

        What is new or gone is not looked at a second time before, and what was refused is tried again.

        Raises:
            NothingToServe: The folder is empty.
        """
        with self._turn(model):
            with self._looking:
                look = {found: stamp for found, stamp in self._survey().items() if found.name == model}
            for found, stamp in look.items():
                if self._repository.stopped:
                    return
                if self._is_new(found, stamp, again=True):
                    self._repository.admit(found, frozenset())
            with self._looking:
                for entry in self._missing(look):
                    if entry.name == model:
                        self._repository.remove(entry)

    def _notice(self) -> dict[Found, Stamp | None]:
        """Look at everything: remove what is gone, and return what is to be loaded, with the state of its file."""
        with self._looking:
            look = self._survey()
            settled = {found: stamp for found, stamp in look.items() if self._last_look.get(found) == stamp}
            new = {found: stamp for found, stamp in settled.items() if self._is_new(found, stamp)}
            busy = {found.name for found in new} | self._at_work
            missing = self._missing(look)
            for entry in missing:
                if entry.found in self._gone and entry.name not in busy:
                    self._repository.remove(entry)
            self._last_look, self._gone = look, {entry.found for entry in missing}
            return new

    def _load(self, new: dict[Found, Stamp | None]) -> None:
        for found, stamp in new.items():
            with self._turn(found.name):
                if self._repository.stopped:
                    return
                if found.stamp() == stamp and self._is_new(found, stamp):  # still: an operator may have asked for it
                    self._repository.admit(found, frozenset())

    @contextmanager
    def _turn(self, model: str) -> Iterator[None]:
        """Wait until nobody else loads this model, as the same file would be tried twice."""
        with self._looking:
            self._looking.wait_for(lambda: model not in self._at_work)
            self._at_work.add(model)
        try:
            yield
        finally:
            with self._looking:
                self._at_work.remove(model)
                self._looking.notify_all()

    def _survey(self) -> dict[Found, Stamp | None]:
        folder = self._repository.folder
        there = folder.look()
        if not there and not folder.unreadable:
            raise NothingToServe(f"the model repository {str(folder.root)!r} holds no file that can be read")
        return {found: found.stamp() for found in there}

    def _is_new(self, found: Found, stamp: Stamp | None, *, again: bool = False) -> bool:
        """Whether a file is to be tried; ``again`` although it was refused."""
        entry = self._repository.entry(found)
        return stamp is not None and (entry is None or entry.stamp != stamp or bool(again and entry.refused))

    def _missing(self, look: dict[Found, Stamp | None]) -> list[Entry]:
        """Versions that are known and not there; nothing can be said of those in folders that cannot be read."""
        hides = self._repository.folder.hides
        entries = list(self._repository.entries())
        return [entry for entry in entries if look.get(entry.found) is None and not hides(entry.found)]
