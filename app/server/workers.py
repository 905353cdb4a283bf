"""Several processes that share one listening socket: started, replaced when they die, renewed one by one on SIGHUP.

A worker says on its pipe (:mod:`app.server.link`) that it takes connections, or why it cannot, and what it counts. One
that dies is replaced at once; one that dies before it ever served, ever more slowly. The first one insists that
everything is as it should be; later ones go on as a running service does, which serves what it can. Where none serves
and the next one says why it cannot, the service ends and says so: a socket that nobody answers would leave its clients
hanging.

The workers are forked from a process that has imported everything and started nothing, so that a new one is up in a
fraction of a second and shares most of its memory with the others.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

from app.errors import MultipoolError
from app.metrics import Snapshot, add_up, without_gauges
from app.server.accepting import Place, Places
from app.server.link import Counts, Loaded, Ready
from app.service import Order

log = logging.getLogger("app")

_SLOWEST_RESTART_S = 30.0
_LONGEST_TURN_S = 0.5


@dataclass(eq=False)
class Worker:
    """One process, as the supervisor sees it."""

    process: BaseProcess
    pipe: Connection
    place: Place
    ready: bool = False
    retired: bool = False
    silent: bool = False
    """Its end of the pipe is closed."""
    counted: Snapshot = field(default_factory=dict)
    """What it reported last."""


class Supervisor:
    """Keeps the workers running."""

    def __init__(self, target: Callable[..., None], arguments: tuple[object, ...], count: int, limit_s: float) -> None:
        """Prepare; nothing is started yet.

        Args:
            target: What a worker does; gets a pipe, speaks on it as :mod:`app.server.link` does, or says the error that
                keeps it from starting, and ends when the pipe does; its place among those that take connections; and
                the digests of what workers before it have loaded, None for the first.
            arguments: What else it gets.
            count: How many workers there are to be.
            limit_s: How long a worker may take to end when told to.
        """
        self._target = target
        self._arguments = arguments
        self._count = count
        self._limit_s = limit_s
        self._context = _context(target.__module__)
        self._places = Places()
        self._workers: list[Worker] = []
        self._orders: dict[str, Order] = {}  # the last one for each model
        self._began = time.time()
        self._counted_before: Snapshot = {}  # by workers that have ended
        self._trusted: frozenset[str] | None = None
        self._died = 0
        self._failures = 0
        self._restart_at = 0.0
        self._stop_signal: int | None = None
        self._renewing: list[Worker] = []
        self._bell, self._ringer = socket.socketpair()

    def run(self) -> None:
        """Keep the workers running until told to stop.

        Raises:
            MultipoolError: The first one could not start, or none serves any more and the next one cannot start.
        """
        self._ringer.setblocking(False)
        signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_renew)
        try:
            first = self._start()
            if first is None:
                raise MultipoolError("no worker could be started; what is wrong is above")
            while self._stop_signal is None and not first.ready:
                self._turn(first)
            while self._stop_signal is None:
                self._fill()
                self._turn(None)
        finally:
            self._end()

    def _on_stop(self, number: int, _: object) -> None:
        self._stop_signal = number

    def _on_renew(self, *_: object) -> None:
        self._renewing = [worker for worker in self._workers if not worker.retired]
        log.info("renewing %d workers", len(self._renewing))
        self._restart_at = 0.0  # what kept one from starting may have been mended

    def _start(self) -> Worker | None:
        ours, theirs = self._context.Pipe()
        place = self._places.take()
        process = self._context.Process(target=self._target, args=(theirs, place, self._trusted, *self._arguments))
        try:
            process.start()
        except (OSError, EOFError) as error:  # no memory, or what workers are forked from is just dying
            log.error("no worker could be started: %s", error)  # noqa: TRY400  # a line for the operator
            ours.close()
            place.leave()
            self._restart_at = time.monotonic() + _LONGEST_TURN_S
            return None
        finally:
            theirs.close()
        worker = Worker(process, ours, place)
        self._workers.append(worker)
        return worker

    def _fill(self) -> None:
        """Start what is missing; while renewing, one more, and send an old one off once the new one is ready."""
        current = [worker for worker in self._workers if not worker.retired]
        self._renewing = [worker for worker in self._renewing if worker in current]
        wanted = self._count + bool(self._renewing)
        if self._renewing and len(current) == wanted and all(worker.ready for worker in current):
            self._retire(self._renewing.pop(0))
        elif len(current) < wanted and time.monotonic() >= self._restart_at:
            for _ in range(wanted - len(current)):
                if self._start() is None:
                    return

    def _retire(self, worker: Worker) -> None:
        worker.retired = True
        worker.process.terminate()

    def _turn(self, first: Worker | None) -> None:
        """Wait for something to happen, and take note of it; what keeps the first worker from starting is raised."""
        pipes = {worker.pipe: worker for worker in self._workers if not worker.silent}
        ends = {worker.process.sentinel: worker for worker in self._workers}
        for happened in wait([self._bell, *pipes, *ends], timeout=_LONGEST_TURN_S):
            if happened is self._bell:
                self._bell.recv(64)
            elif isinstance(happened, Connection):
                self._hear(pipes[happened])
            elif isinstance(happened, int):
                worker = ends[happened]
                while not worker.silent and worker.pipe.poll():
                    self._hear(worker)
                self._bury(worker, first)

    def _hear(self, worker: Worker) -> None:
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            worker.silent = True
            return
        if isinstance(said, Ready):
            worker.ready = True
            self._failures = 0
            self._tell(worker, self._others(worker))  # its totals are not to begin at nothing
            for order in self._orders.values():
                self._tell(worker, order)
            log.info("worker %d is ready", worker.process.pid)
        elif isinstance(said, Loaded):
            self._trusted = (self._trusted or frozenset()) | said.trusted
        elif isinstance(said, Counts):
            worker.counted = said.snapshot
            self._tell(worker, self._others(worker))
        elif isinstance(said, Order):
            self._orders[said.model] = said  # for those too that are yet to come
            for each in self._workers:  # also who sent it: all hear all orders in one order, so that the last one holds
                if each.ready:
                    self._tell(each, said)
        elif not any(other.ready for other in self._workers):
            raise said
        else:
            log.error("worker %s cannot start: %s", worker.process.pid, said)

    def _others(self, worker: Worker) -> Counts:
        """Add up what all but one have counted, how many serve and have died, and when the service was started."""
        alive = sum(one.ready and not one.retired for one in self._workers)
        ours: Snapshot = {
            "workers_alive": {(): [float(alive)]},
            "worker_restarts": {(): [float(self._died)]},
            "process_start_time_seconds": {(): [self._began]},
        }
        others = [other.counted for other in self._workers if other is not worker]
        return Counts(add_up([ours, self._counted_before, *others]))

    def _tell(self, worker: Worker, message: Counts | Order) -> None:
        with suppress(OSError):
            worker.pipe.send(message)

    def _bury(self, worker: Worker, first: Worker | None) -> None:
        """Forget a worker that has ended; :meth:`_fill` starts another."""
        self._workers.remove(worker)
        worker.pipe.close()
        worker.place.leave()
        worker.process.join()
        self._counted_before = add_up([self._counted_before, without_gauges(worker.counted)])
        if worker.retired:
            log.info("worker %s ended", worker.process.pid)
            return
        log.error("worker %s died (%s); another takes its place", worker.process.pid, worker.process.exitcode)
        if worker is first:
            raise MultipoolError("the service could not start; what it says is above")
        self._died += 1
        if not worker.ready:
            self._failures += 1
            pause = min(2.0**self._failures, _SLOWEST_RESTART_S)
            self._restart_at = time.monotonic() + pause
            if self._renewing:
                old = len(self._renewing)
                log.error("%d workers are not renewed and go on as they are; the next try is in %g s", old, pause)

    def _end(self) -> None:
        """Tell all to end; who does not in time is killed."""
        signal.set_wakeup_fd(-1)
        for worker in self._workers:
            if worker.process.pid is not None and worker.process.is_alive():
                # One that does not serve yet has nothing to finish.
                os.kill(worker.process.pid, (self._stop_signal or signal.SIGTERM) if worker.ready else signal.SIGKILL)
        deadline = time.monotonic() + self._limit_s
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._bell.close()
        self._ringer.close()


def _context(module: str) -> ForkServerContext | SpawnContext:
    """Choose how processes are made: forked from one that has imported ``module``, or anew where that cannot be."""
    try:
        tempfile.gettempdir()  # the process to fork from is spoken to by a socket that lies in a folder
    except FileNotFoundError:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context
