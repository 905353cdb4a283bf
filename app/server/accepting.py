"""Connections accepted from the listening socket, and distributed evenly among the workers that share it.

Otherwise the worker that wakes up first accepts all waiting connections: of sixteen at once, one of two workers gets
fifteen, and keeps them for as long as a proxy keeps its connections. So every worker publishes in shared memory how
many it has, and leaves the next one to a worker that has fewer, but only for a moment, because that one may be stuck.
A worker that need not wait accepts all there are; libuv would accept one in each iteration of the event loop.
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

_SLOTS = 256  # workers, including those that are about to end
_ABSENT = 2**31 - 1
_CLOSED = _ABSENT - 1  # accepts none, yet or any more, so nobody waits for it
_MOMENT_S = 0.001
_MOMENTS = 10
_AT_ONCE = 100
_NO_DESCRIPTORS_S = 0.1


class Places:
    """How many connections each worker has, in memory that all of them share; the supervisor assigns the places."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("connections")
        os.ftruncate(self._fd, 4 * _SLOTS)
        self._map()
        for slot in range(_SLOTS):
            self.counts[slot] = _ABSENT

    def _map(self) -> None:
        self.counts = memoryview(mmap.mmap(self._fd, 4 * _SLOTS)).cast("i")

    def take(self) -> Place:
        """Assign a place to a new worker."""
        slot = next((slot for slot in range(_SLOTS) if self.counts[slot] == _ABSENT), _SLOTS - 1)
        self.counts[slot] = _CLOSED
        return Place(self, slot)

    def __reduce__(self) -> tuple[Callable[[Any], Places], tuple[object]]:
        """Pickle for a worker process, with the shared memory."""
        return self._arrive, (reduction.DupFd(self._fd),)

    @classmethod
    def _arrive(cls, descriptor: Any) -> Self:
        places = cls.__new__(cls)
        places._fd = descriptor.detach()
        places._map()
        return places


class Place:
    """The place of one worker."""

    def __init__(self, places: Places, slot: int) -> None:
        self._places = places
        self._slot = slot

    def tell(self, connections: int) -> None:
        """Publish the number of connections."""
        self._places.counts[self._slot] = connections

    def close(self) -> None:
        """Accept no more connections; the place stays assigned."""
        self.tell(_CLOSED)

    def leave(self) -> None:
        """Free the place for another worker; called by the supervisor."""
        self.tell(_ABSENT)

    def may_have_more(self, connections: int) -> bool:
        """Whether no other worker has clearly fewer connections."""
        least = min(self._places.counts)
        return connections <= least + 1 + least // 16


class Acceptor:
    """Accepts connections as one of several workers, in place of the asyncio server that uvicorn would create."""

    def __init__(
        self,
        listener: socket.socket,
        place: Place,
        connections: Sized,
        create_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        """Start accepting.

        Args:
            listener: Listens, and is shared with the other workers.
            place: Where to publish the number of connections.
            connections: Those that are open.
            create_protocol: Makes the protocol of a new connection.
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
        self.tell()
        self._resume()

    def tell(self) -> None:
        """Publish how many connections are open; to be called regularly, because they also end."""
        self._place.tell(self._count())

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._listener)
        if self._paused is not None:
            self._paused.cancel()
        self._place.close()

    async def wait_closed(self) -> None:
        """Do nothing: the connections are closed elsewhere."""

    def _count(self) -> int:
        return len(self._connections) + len(self._opening)

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._listener, self._take_all)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._paused = self._loop.call_later(seconds, self._resume)

    def _take_all(self) -> None:
        """Accept the waiting connections, or leave them to others, unless they have waited too long for those."""
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
                log.error("a connection cannot be accepted: %s", error.strerror)  # noqa: TRY400  # a line for the operator
                self._pause(_NO_DESCRIPTORS_S)
                return
            self._open(connection)

    def _open(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opening = self._loop.create_task(self._loop.connect_accepted_socket(self._create_protocol, connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        self.tell()
