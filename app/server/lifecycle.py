"""uvicorn's server with a graceful shutdown.

After SIGTERM, it keeps serving for a short time (as a "lame duck"). It reports that it is not ready, so that a load
balancer stops using it, and closes each connection with its next answer, so that no client sends a request into a
connection that is being closed. Then it accepts no more connections, finishes its requests, and ends, all within a
bounded time. SIGINT, which a person sends, skips the lame duck.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from app.errors import CannotListen
from app.server import listening
from app.server.accepting import Acceptor, Place
from app.server.refusals import CLOSE
from app.service import Service

_LAST_RESORT_S = 3
_FAILED_S = 1
_LAST_REQUESTS_S = 0.1

log = logging.getLogger("app")


class Server(uvicorn.Server):
    """Serves one process."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        place: Place,
        lame_duck_s: float,
        on_started: Callable[[Service], Awaitable[None]],
    ) -> None:
        """Prepare.

        Args:
            config: uvicorn's own.
            place: Its place among the workers that accept connections from the same socket.
            lame_duck_s: How long to keep serving after SIGTERM.
            on_started: Called before the first connection is accepted.
        """
        super().__init__(config)
        self._lame_duck_s = lame_duck_s
        self._on_started = on_started
        self._place = place
        self._lame = self._failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and accept connections."""
        (listener,) = sockets or []
        await super().startup([])  # the socket is accepted from here
        try:
            listening.listen(listener, self.config.backlog)
        except CannotListen:
            await self.lifespan.shutdown()
            raise
        await self._on_started(self.lifespan.state["service"])
        self._acceptor = Acceptor(listener, self._place, self.server_state.connections, self._create_protocol)
        self.servers = [self._acceptor]  # type: ignore[list-item]  # has the two methods that uvicorn calls

    def _create_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # as in uvicorn
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def on_tick(self, counter: int) -> bool:
        """Run ten times a second."""
        self._acceptor.tell()
        return await super().on_tick(counter)

    def fail(self) -> None:
        """Stop because the service has failed; soon, because waiting would not help."""
        self.config.timeout_graceful_shutdown = _FAILED_S
        self._failed = self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop being ready at once; the shutdown follows."""
        self._lame = sig == signal.SIGTERM
        if self.started:
            self.lifespan.state["service"].draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down gracefully, within a bounded time."""
        if self._lame and self._lame_duck_s and self.lifespan.state["service"].repository.ready:
            await self._be_a_lame_duck()
        limit = (self.config.timeout_graceful_shutdown or 0) + _LAST_RESORT_S
        last_resort = threading.Timer(limit, self._give_up)
        last_resort.daemon = True
        with suppress(RuntimeError):  # no thread can be started any more: the requests in progress are finished anyway
            last_resort.start()
        await self._close_with_each_answer()
        self._acceptor.close()
        # Connections just accepted may have a request on its way. Many short sleeps, not one long one: each turn of the
        # event loop reads what arrived while the machine held this process up.
        for _ in range(10):
            await asyncio.sleep(_LAST_REQUESTS_S / 10)
        await super().shutdown(sockets)
        if self.force_exit:  # after a second Ctrl-C, uvicorn leaves this out and would log a traceback
            await self.lifespan.shutdown()

    async def _be_a_lame_duck(self) -> None:
        log.info("draining for %g s", self._lame_duck_s)
        await self._close_with_each_answer()
        end = asyncio.get_running_loop().time() + self._lame_duck_s
        while self._lame and asyncio.get_running_loop().time() < end:
            await self.on_tick(0)
            await asyncio.sleep(0.1)

    async def _close_with_each_answer(self) -> None:
        if CLOSE not in self.config.encoded_headers:
            self.config.encoded_headers.append(CLOSE)
            await self.on_tick(0)  # applies the headers

    def _give_up(self) -> None:
        """Exit although a thread hangs in a model or a decoder; nothing else could end it."""
        log.error("a thread did not end in time; leaving it behind")
        os._exit(int(self._failed))
