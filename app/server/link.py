"""A worker's end of the pipe to its supervisor: orders and counts, in both directions."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import NamedTuple

from app.errors import MultipoolError
from app.metrics import Snapshot
from app.service import Order, Service

_REPORT_S = 1.0


class Ready(NamedTuple):
    """The worker takes connections."""


class Loaded(NamedTuple):
    """Digests of what the worker has loaded, which a worker to come need not try first."""

    trusted: frozenset[str]


class Counts(NamedTuple):
    """What a worker has counted; or, on the way back, what the others have."""

    snapshot: Snapshot


class Link:
    """Speaks with the supervisor for one worker."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._service: Service | None = None
        self._lock = threading.Lock()
        self._orders: SimpleQueue[Order] = SimpleQueue()

    def start(self, service: Service) -> asyncio.Task[None]:
        """Say that the worker is ready, listen from now on, and report again and again."""
        self._service = service
        service.tell_others = self.send
        for work in (self._listen, self._obey):
            threading.Thread(target=work, args=(service,), daemon=True).start()
        self.send(Loaded(service.repository.trusted()))
        self.send(Ready())
        return asyncio.create_task(self._report(service))

    def end(self) -> None:
        """Report for the last time, once the last request is answered."""
        if self._service is not None:
            self.send(Counts(self._service.metrics.snapshot()))

    def send(self, message: Ready | Loaded | Counts | Order | MultipoolError) -> None:
        """Say something, if there is someone to hear it."""
        with self._lock, suppress(OSError):
            self._pipe.send(message)

    def _listen(self, service: Service) -> None:
        """Hear what the supervisor says; stop when it is gone, however it went."""
        with suppress(OSError, EOFError):
            while True:
                said = self._pipe.recv()
                if isinstance(said, Counts):
                    service.metrics.others = said.snapshot
                else:
                    self._orders.put(said)
        os.kill(os.getpid(), signal.SIGTERM)

    def _obey(self, service: Service) -> None:
        """Do what operators want, one order after the other, so that the last one holds."""
        while True:
            service.obey(self._orders.get())

    async def _report(self, service: Service) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            await asyncio.to_thread(self.send, Loaded(service.repository.trusted()))
            await asyncio.to_thread(self.send, Counts(service.metrics.snapshot()))
