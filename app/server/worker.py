"""One worker process, as its supervisor sees it: started, told something, signalled.

The workers are forked from a process that has imported everything and started nothing (Python's "forkserver"), so a new
one is up in a fraction of a second and shares most of its memory with the others. If the forkserver dies, for example
by a signal to the whole process group, :mod:`multiprocessing` takes all workers for dead. So a worker counts as dead
only when its end of the pipe is closed, which the kernel does when the process ends.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import select
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

from app.metrics import Snapshot
from app.orders import Order
from app.server.accepting import Place
from app.server.link import Counts

log = logging.getLogger("app")

_HANGS_S = 5.0


@dataclass(eq=False)
class Worker:
    """One process, as the supervisor sees it."""

    process: BaseProcess
    pipe: Connection
    place: Place
    ready: bool = False
    retired: bool = False
    """It was told to end."""
    ends_by: float = math.inf
    """When it must have ended then, by the monotonic clock."""
    hung: bool = False
    """It was killed because it did nothing that it was told."""
    counted: Snapshot = field(default_factory=dict)
    """Its latest report."""

    def how_it_ended(self) -> str:
        """Say it in words; the kernel kills with signal 9 when memory runs out, and :meth:`tell` what hangs."""
        if self.process.exitcode != -signal.SIGKILL:
            return str(self.process.exitcode)
        return "-9: killed because it hung" if self.hung else "-9: killed, perhaps for want of memory"

    def tell(self, message: Counts | Order) -> None:
        """Send a message, unless the worker has just ended; one that has read none for long hangs, and is killed."""
        room = select.poll()  # unlike select(), also where more than 1024 files are open
        room.register(self.pipe, select.POLLOUT)
        if not room.poll(1000 * _HANGS_S):  # sending would wait without end
            self.give_up("it reads nothing that it is told")
            return
        with suppress(OSError):
            self.pipe.send(message)

    def give_up(self, why: str) -> None:
        """Kill it, because it hangs."""
        log.error("worker %s hangs: %s", self.process.pid, why)
        self.hung = True
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal, unless the worker has just ended."""
        if self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


def context(module: str) -> ForkServerContext | SpawnContext:
    """Choose how processes are made: forked from one that has imported ``module``, or spawned where that cannot be."""
    try:
        tempfile.gettempdir()  # the forkserver is reached by a socket in a temporary folder
    except FileNotFoundError:
        return multiprocessing.get_context("spawn")
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload([module])
    return chosen


def start(
    processes: ForkServerContext | SpawnContext,
    target: Callable[..., None],
    place: Place,
    arguments: tuple[object, ...],
) -> Worker:
    """Start a process that runs ``target`` with its end of a pipe, its place, and the arguments.

    Raises:
        OSError, EOFError: It cannot be started.
    """
    ours, theirs = processes.Pipe()
    process = processes.Process(target=target, args=(theirs, place, *arguments))
    try:
        process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Worker(process, ours, place)
