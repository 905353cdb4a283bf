"""A worker's end of the pipe to its supervisor: orders and counters, in both directions."""

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
    """The worker accepts connections."""


class Loaded(NamedTuple):
    """Digests of the models that the worker has loaded, which later workers need not try first."""

    trusted: frozenset[str]


class Counts(NamedTuple):
    """A worker's counters; or, from the supervisor, the sum of all others'."""

    snapshot: Snapshot


class Link:
    """Exchanges messages with the supervisor, for one worker."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._service: Service | None = None
        self._lock = threading.Lock()
        self._orders: SimpleQueue[Order] = SimpleQueue()

    def start(self, service: Service) -> asyncio.Task[None]:
        """Report that the worker is ready, start to listen, and report the counters regularly."""
        self._service = service
        service.tell_others = self.send
        for work in (self._listen, self._obey):
            threading.Thread(target=work, args=(service,), daemon=True).start()
        self.send(Loaded(service.repository.trusted()))
        self.send(Ready())
        return asyncio.create_task(self._report(service))

    def end(self) -> None:
        """Report the counters a last time, after the last request."""
        if self._service is not None:
            self.send(Counts(self._service.metrics.snapshot()))

    def send(self, message: Ready | Loaded | Counts | Order | MultipoolError) -> None:
        """Send a message, if the supervisor still exists."""
        with self._lock, suppress(OSError):
            self._pipe.send(message)

    def _listen(self, service: Service) -> None:
        """Receive messages; if the supervisor has ended in any way, stop the worker."""
        with suppress(OSError, EOFError):
            while True:
                said = self._pipe.recv()
                if isinstance(said, Counts):
                    service.metrics.others = said.snapshot
                else:
                    self._orders.put(said)
        os.kill(os.getpid(), signal.SIGTERM)

    def _obey(self, service: Service) -> None:
        """Carry out the operators' orders one after the other, so that the last one holds."""
        while True:
            service.obey(self._orders.get())

    async def _report(self, service: Service) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            await asyncio.to_thread(self.send, Loaded(service.repository.trusted()))
            with suppress(OSError):  # there may be no file descriptor left to look at the process with
                await asyncio.to_thread(self.send, Counts(service.metrics.snapshot()))
