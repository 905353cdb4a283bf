"""A worker's end of the pipe to its supervisor: orders and counters, in both directions."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import NamedTuple

from app.errors import MultipoolError
from app.metrics import Snapshot
from app.orders import Order
from app.service import Service

_REPORT_S = 1.0


class Ready(NamedTuple):
    """The worker accepts connections as soon as it has been told what was ordered, and then what was counted."""


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
        self._latest: dict[str, Order] = {}  # for each model

    async def start(self, service: Service) -> None:
        """Report that the worker is ready, catch up with the others, then listen, and report the counters regularly."""
        self._service = service
        service.orders.tell_others = self.pass_on
        service.metrics.told = service.metrics.snapshot()
        self.send(Loaded(service.repository.trusted()))
        self.send(Ready())
        await asyncio.to_thread(self._catch_up, service)
        for work in (self._listen, self._obey):
            threading.Thread(target=work, args=(service,), daemon=True).start()
        self._reporting = asyncio.create_task(self._report(service))  # held, or it might be collected

    def end(self) -> None:
        """Report the counters a last time, after the last request."""
        if self._service is not None:
            self.send(Counts(self._service.metrics.snapshot()))

    def send(self, message: Ready | Loaded | Counts | Order | MultipoolError) -> None:
        """Send a message, if the supervisor still exists."""
        with self._lock, suppress(OSError):
            self._pipe.send(message)

    def pass_on(self, order: Order) -> None:
        """Tell the others of an order that was carried out here; it comes back in its turn."""
        given = order._replace(given_s=time.monotonic())
        self._latest[order.model] = given
        self.send(given)

    def _catch_up(self, service: Service) -> None:
        """Receive what was ordered and counted before; loads, which may take minutes, are carried out later."""
        with suppress(OSError, EOFError):  # the supervisor has ended, as is found out again soon
            while isinstance(said := self._pipe.recv(), Order):
                (service.orders.obey if said.action == "unload" else self.note)(said)
            service.metrics.others = said.snapshot

    def _listen(self, service: Service) -> None:
        """Receive messages; if the supervisor has ended in any way, stop the worker."""
        with suppress(OSError, EOFError):
            while True:
                said = self._pipe.recv()
                if isinstance(said, Counts):
                    service.metrics.others = said.snapshot
                else:
                    self.note(said)
        os.kill(os.getpid(), signal.SIGTERM)

    def note(self, order: Order) -> None:
        """Have an order carried out in its turn, instead of those for the same model that were given before it."""
        if order.given_s < self._latest.get(order.model, order).given_s:
            return
        self._latest[order.model] = order
        self._orders.put(order)

    def _obey(self, service: Service) -> None:
        """Carry out the operators' orders one after the other, so that the last one holds."""
        while True:
            order = self._orders.get()
            if self._is_latest(order):  # else a later one replaces it; a load may take minutes
                service.orders.obey(order, partial(self._is_latest, order))

    def _is_latest(self, order: Order) -> bool:
        return self._latest[order.model] is order

    async def _report(self, service: Service) -> None:
        while True:
            with suppress(OSError):  # there may be no file descriptor left to look at the process with
                counted = service.metrics.snapshot()
                await asyncio.to_thread(self.send, Counts(counted))
                service.metrics.told = counted
            await asyncio.sleep(_REPORT_S)
            await asyncio.to_thread(self.send, Loaded(service.repository.trusted()))
