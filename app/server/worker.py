"""One worker process, as its supervisor sees it: started, told something, signalled.

The workers are forked from a process that has imported everything and started nothing (Python's "forkserver"), so a new
one is up in a fraction of a second and shares most of its memory with the others. If the forkserver dies, for example
by a signal to the whole process group, :mod:`multiprocessing` takes all workers for dead. So a worker counts as dead
only when its end of the pipe is closed, which the kernel does when the process ends.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

from app.metrics import Snapshot
from app.server.accepting import Place
from app.server.link import Counts
from app.service import Order


@dataclass(eq=False)
class Worker:
    """One process, as the supervisor sees it."""

    process: BaseProcess
    pipe: Connection
    place: Place
    ready: bool = False
    retired: bool = False
    """It was told to end."""
    counted: Snapshot = field(default_factory=dict)
    """Its latest report."""

    def tell(self, message: Counts | Order) -> None:
        """Send a message, unless the worker has just ended."""
        with suppress(OSError):
            self.pipe.send(message)

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
