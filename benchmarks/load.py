"""A load generator on raw sockets: cheap enough to leave the cores to the service, strict enough to notice anything.

*Closed*: so many connections, each asking again when it has its answer. *Open*: so many requests a second whether or
not answers come, as the world does it; a request's time then counts from when it was due.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import uvloop

_PATIENCE_S = 30


@dataclass
class Outcome:
    """The results of many requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """Requests without an answer, by the kind of error."""
    seconds: dict[int, list[float]] = field(default_factory=dict)
    """How long each answer took, by status."""
    longest_gap_s: float = 0
    """Longest time without a 200."""
    started: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)
    """Time of the last 200."""

    def add(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        self.seconds.setdefault(status, []).append(seconds)
        if status == 200:
            now = time.monotonic()
            self.longest_gap_s, self.last = max(self.longest_gap_s, now - self.last), now

    def percentile(self, status: int, share: float) -> float:
        """Seconds within which that share of the answers with this status came."""
        found = sorted(self.seconds.get(status, [0.0]))
        return found[min(len(found) - 1, int(share * len(found)))]

    def __str__(self) -> str:
        """Sum up in a line."""
        return ", ".join(f"{count:,} × {what}" for what, count in [*self.statuses.items(), *self.failures.items()])


def post(path: str, image: bytes, host: str = "127.0.0.1") -> bytes:
    """Write a request that sends one image as its raw body."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
    return f"{head}Content-Length: {len(image)}\r\n\r\n".encode() + image


class Connection:
    """One connection, opened when first used and again when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; returns the status and the body of the answer.

        Raises:
            OSError, EOFError, TimeoutError: There was no answer.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._ask(request)
        except BaseException:
            self.close()
            raise

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        """Close it, if it is open."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


Judge = Callable[[int, bytes], None]


def _accept(status: int, body: bytes) -> None:
    """Find nothing wrong."""


async def _one(connection: Connection, request: bytes, outcome: Outcome, judge: Judge, due: float | None) -> None:
    start = time.monotonic() if due is None else due
    try:
        status, body = await connection.ask(request)
    except (OSError, EOFError, TimeoutError) as error:
        outcome.failures[type(error).__name__] += 1
        return
    outcome.add(status, time.monotonic() - start)
    judge(status, body)


async def _closed(
    port: int, request: bytes, connections: int, go_on: Callable[[Outcome], bool], judge: Judge
) -> Outcome:
    outcome = Outcome()

    async def loop() -> None:
        connection = Connection(port)
        while go_on(outcome):
            await _one(connection, request, outcome, judge, None)
        connection.close()

    await asyncio.gather(*(loop() for _ in range(connections)))
    return outcome


async def _open(port: int, request: bytes, per_second: float, seconds: float) -> Outcome:
    outcome = Outcome()
    idle: list[Connection] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        await _one(connection, request, outcome, _accept, due)
        idle.append(connection)

    start = time.monotonic()
    for index in range(int(per_second * seconds)):
        due = start + index / per_second
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        elif index % 16 == 0:
            await asyncio.sleep(0)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return outcome


def closed(
    port: int,
    request: bytes,
    connections: int,
    go_on: Callable[[Outcome], bool],
    judge: Judge = _accept,
) -> Outcome:
    """Send requests over a number of connections for as long as ``go_on`` says; ``judge`` looks at every answer."""
    return uvloop.run(_closed(port, request, connections, go_on, judge))


def open_loop(port: int, request: bytes, per_second: float, seconds: float) -> Outcome:
    """Send requests at a constant rate, whether they are answered or not, and wait for the answers."""
    return uvloop.run(_open(port, request, per_second, seconds))
