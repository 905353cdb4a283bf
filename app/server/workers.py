"""Several processes that share one listening socket: started, replaced when they die, renewed one by one on SIGHUP.

Each worker reports over its pipe (:mod:`app.server.link`) that it accepts connections, or why it cannot; what it has
for the others is passed on by :mod:`app.server.relay`. A worker that dies is replaced at once, or after a growing pause
if it never served. The first worker refuses to start if anything is wrong; later ones serve what they can, as a running
service does. If no worker serves and the next one cannot start, the service ends with that error, because clients of a
socket that nobody answers would hang.
"""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait

from app.errors import MultipoolError
from app.orders import Order
from app.server.accepting import Places
from app.server.link import Counts, Loaded, Ready
from app.server.relay import Relay
from app.server.terminal import Terminal
from app.server.worker import Worker, context, start

log = logging.getLogger("app")

_QUICKEST_RESTART_S = 2.0
_SLOWEST_RESTART_S = 30.0
_LONGEST_TURN_S = 0.5


class Supervisor:
    """Keeps the workers running."""

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[object, ...],
        count: int,
        limit_s: float,
        terminal: Terminal,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            target: What a worker runs. It gets a pipe, on which it reports as :mod:`app.server.link` does, or sends the
                error that keeps it from starting, and it ends when the pipe is closed; its place among the workers that
                accept connections; and the digests of the models that earlier workers have loaded, None for the first.
            arguments: Further arguments of the target.
            count: Number of workers.
            limit_s: How long a worker may take to end when told to.
            terminal: That at which the service was started, if at one.
        """
        self._target = target
        self._arguments = arguments
        self._count = count
        self._limit_s = limit_s
        self._context = context(target.__module__)
        self._places = Places()
        self._workers: list[Worker] = []
        self._first: Worker | None = None  # as long as the service cannot start without it
        self._relay = Relay(self._workers)
        self._pause_s = _QUICKEST_RESTART_S  # after the next worker that cannot start
        self._restart_at = 0.0
        self._stop_signals: list[int] = []
        self._asked_to_renew = self._renewal_due = False
        self._terminal = terminal
        self._renewing: list[Worker] = []
        self._bell, self._ringer = socket.socketpair()

    def run(self) -> None:
        """Keep the workers running until told to stop.

        Raises:
            MultipoolError: The first worker could not start, or none serves any more and the next one cannot start.
        """
        self._ringer.setblocking(False)
        signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hang_up)
        if self._terminal.is_closed():  # before
            self._on_hang_up()
        try:
            self._first = self._start()
            if self._first is None:
                raise MultipoolError("no worker could be started; the reason is in the log line above")
            while not (self._stop_signals or self._first.ready):
                self._turn()
            self._first = None
            while not self._stop_signals:
                self._fill()
                self._turn()
                self._give_up_what_hangs()
        finally:
            self._end()

    def _on_stop(self, number: int, _: object) -> None:
        self._stop_signals.append(number)

    def _on_hang_up(self, *_: object) -> None:
        if self._terminal.is_closed():
            self._stop_signals.append(signal.SIGTERM)
        else:
            self._asked_to_renew = True  # only noted: the signal may come between any two steps of _fill

    def _start(self) -> Worker | None:
        place = self._places.take()
        try:
            worker = start(self._context, self._target, place, (self._relay.trusted, *self._arguments))
        except (OSError, EOFError) as error:  # no memory, or the forkserver is just dying
            log.error("no worker could be started: %s", error)  # noqa: TRY400  # a line for the operator
            place.leave()
            self._restart_at = time.monotonic() + _LONGEST_TURN_S
            return None
        self._workers.append(worker)
        return worker

    def _fill(self) -> None:
        """Start missing workers; while renewing, start one more, and retire an old one when the new one is ready."""
        current = [worker for worker in self._workers if not worker.retired]
        self._renewing = [worker for worker in self._renewing if worker in current]
        if self._asked_to_renew:
            self._asked_to_renew, self._renewal_due = False, True
            self._restart_at = 0.0  # what kept one from starting may have been mended
        # A renewal asked for during another one follows it, once, however often it was asked for.
        if self._renewal_due and not self._renewing:
            self._renewal_due = False
            self._renewing = list(current)
            log.info("renewing %d workers", len(current))
        wanted = self._count + bool(self._renewing)
        if self._renewing and len(current) == wanted and all(worker.ready for worker in current):
            self._retire(self._renewing.pop(0), signal.SIGTERM)
        elif len(current) < wanted and time.monotonic() >= self._restart_at:
            for _ in range(wanted - len(current)):
                if self._start() is None:
                    return

    def _retire(self, worker: Worker, number: int) -> None:
        worker.retired, worker.ends_by = True, time.monotonic() + self._limit_s
        worker.signal(number)

    def _give_up_what_hangs(self) -> None:
        """Kill the workers that were retired and have not ended in time: they would keep their memory for ever."""
        for worker in self._workers:
            if worker.ends_by < time.monotonic() and not worker.hung:
                worker.give_up(f"it was told to end {self._limit_s:g} s ago")

    def _turn(self) -> None:
        """Wait for something to happen, and act on it; an error that keeps the first worker from starting is raised."""
        pipes = {worker.pipe: worker for worker in self._workers}
        for happened in wait([self._bell, *pipes], timeout=_LONGEST_TURN_S):
            if isinstance(happened, Connection):
                self._hear(pipes[happened])
            else:
                self._bell.recv(64)

    def _hear(self, worker: Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if isinstance(message, Ready):
            worker.ready = True
            self._pause_s = _QUICKEST_RESTART_S
            self._relay.welcome(worker)
            log.info("worker %d is ready", worker.process.pid)
        elif isinstance(message, Loaded | Counts | Order):
            self._relay.hear(worker, message)
        elif self._stop_signals or any(other.ready for other in self._workers):
            log.error("worker %s %s: %s", worker.process.pid, "failed" if worker.ready else "cannot start", message)
        else:
            raise message

    def _bury(self, worker: Worker) -> None:
        """Forget a worker that has ended; :meth:`_fill` starts another."""
        self._workers.remove(worker)
        worker.pipe.close()
        worker.place.leave()
        worker.process.join()
        self._relay.forget(worker)
        if worker.retired:
            log.info("worker %s ended", worker.process.pid)
            return
        died = f"worker {worker.process.pid} died ({worker.how_it_ended()})"
        if worker is self._first:
            log.error("%s", died)
            raise MultipoolError("the service could not start; the reason is in the log lines above")
        if worker.ready:
            log.error("%s; another takes its place", died)
            return
        pause = self._pause_s
        self._pause_s = min(2 * pause, _SLOWEST_RESTART_S)
        self._restart_at = time.monotonic() + pause
        old = len(self._renewing)
        kept = f"; {old} workers are not renewed and go on as they are" if old else ""
        log.error("%s before it was ready%s; the next try is in %g s", died, kept, pause)

    def _end(self) -> None:
        """Tell all workers to end, and pass on further signals, such as a second Ctrl-C; kill those that take long."""
        deadline = time.monotonic() + self._limit_s
        self._stop_signals = self._stop_signals or [signal.SIGTERM]
        passed_on = 0
        while self._workers and time.monotonic() < deadline:
            new = self._stop_signals[passed_on:]
            passed_on += len(new)
            for worker in self._workers:
                for number in new:
                    # A worker that does not serve yet has nothing to finish.
                    self._retire(worker, number if worker.ready else signal.SIGKILL)
            self._turn()
        signal.set_wakeup_fd(-1)
        for worker in self._workers:
            worker.signal(signal.SIGKILL)
            worker.process.join()
        self._bell.close()
        self._ringer.close()
