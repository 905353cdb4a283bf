"""Connections taken from the listening socket, and dealt evenly where several workers share it.

Left to themselves, whoever wakes up first takes all that have come: of sixteen connections at once, one of two workers
gets fifteen, and keeps them for as long as a proxy keeps its connections. So every worker tells the others how many it
has, in memory that they share, and leaves the next one to a worker that has fewer: for a moment only, because that one
may be stuck. A worker that is not held back takes all there are; libuv would take one in each turn of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import socket
from collections.abc import Callable, Sized
from multiprocessing import reduction
from typing import Any, Self

log = logging.getLogger("app")

_SLOTS = 256  # workers, and those that are about to end
_ABSENT = 2**31 - 1
_CLOSED = _ABSENT - 1  # not yet, or no more: none is left to it
_MOMENT_S = 0.001
_MOMENTS = 10
_AT_ONCE = 100
_NO_DESCRIPTORS_S = 0.1


class Places:
    """How many connections each worker has, in memory that all of them share; the supervisor deals the places out."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("connections")
        os.ftruncate(self._fd, 4 * _SLOTS)
        self._map()
        for slot in range(_SLOTS):
            self.counts[slot] = _ABSENT

    def _map(self) -> None:
        self.counts = memoryview(mmap.mmap(self._fd, 4 * _SLOTS)).cast("i")

    def take(self) -> Place:
        """Give a new worker its place."""
        slot = next((slot for slot in range(_SLOTS) if self.counts[slot] == _ABSENT), _SLOTS - 1)
        self.counts[slot] = _CLOSED
        return Place(self, slot)

    def __reduce__(self) -> tuple[Callable[[Any], Places], tuple[object]]:
        """Travel to a worker with the memory."""
        return self._arrive, (reduction.DupFd(self._fd),)

    @classmethod
    def _arrive(cls, descriptor: Any) -> Self:
        places = cls.__new__(cls)
        places._fd = descriptor.detach()
        places._map()
        return places


class Place:
    """One worker's own."""

    def __init__(self, places: Places, slot: int) -> None:
        self._places = places
        self._slot = slot

    def tell(self, connections: int) -> None:
        """Let the others know."""
        self._places.counts[self._slot] = connections

    def close(self) -> None:
        """Take no more connections; the place is kept."""
        self.tell(_CLOSED)

    def leave(self) -> None:
        """Be no worker any more; for the supervisor, who may give the place to another."""
        self.tell(_ABSENT)

    def may_have_more(self, connections: int) -> bool:
        """Tell whether no other worker has clearly fewer."""
        least = min(self._places.counts)
        return connections <= least + 1 + least // 16


class Acceptor:
    """Takes connections as one of several; stands in for the server that uvicorn would have made of the socket."""

    def __init__(
        self,
        listener: socket.socket,
        place: Place,
        connections: Sized,
        create_protocol: Callable[[], asyncio.Protocol],
        backlog: int,
    ) -> None:
        """Begin.

        Args:
            listener: Bound; shared with the others.
            place: Where to tell the others.
            connections: Those that are open.
            create_protocol: Makes what speaks on a new connection.
            backlog: How many may wait to be taken.
        """
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._place = place
        self._connections = connections
        self._create_protocol = create_protocol
        self._moments = _MOMENTS
        self._paused: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[Any]] = set()
        listener.setblocking(False)
        listener.listen(backlog)
        self.tell()
        self._resume()

    def tell(self) -> None:
        """Let the others know how many connections are open; to be called now and then, as they also end."""
        self._place.tell(self._count())

    def close(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._listener)
        if self._paused is not None:
            self._paused.cancel()
        self._place.close()

    async def wait_closed(self) -> None:
        """Do nothing: who closes connections sees them close."""

    def _count(self) -> int:
        return len(self._connections) + len(self._opening)

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._listener, self._take_all)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._paused = self._loop.call_later(seconds, self._resume)

    def _take_all(self) -> None:
        """Take what has come, or leave it to others, unless they have let it wait for too long."""
        for _ in range(_AT_ONCE):
            if self._place.may_have_more(self._count()):
                self._moments = _MOMENTS
            elif self._moments:
                self._moments -= 1
                self._pause(_MOMENT_S)
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # there are no more
            except OSError as error:
                log.error("a connection cannot be taken: %s", error.strerror)  # noqa: TRY400  # a line for the operator
                self._pause(_NO_DESCRIPTORS_S)
                return
            self._open(connection)

    def _open(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opening = self._loop.create_task(self._loop.connect_accepted_socket(self._create_protocol, connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        self.tell()
