"""uvicorn's server with an orderly end.

Told to stop by SIGTERM, it goes on serving for a short time (a "lame duck"): not ready any more, so that a load
balancer takes it out, and closing each connection with the answer it gives, so that no client sends a request into a
connection that is being closed. Then it takes no more connections, finishes what it has begun, and ends, all of it
within a bounded time. SIGINT, which a person sends, leaves out the lame duck.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from app.server.accepting import Acceptor, Place
from app.service import Service

_LAST_RESORT_S = 3
_FAILED_S = 1
_LAST_REQUESTS_S = 0.1
_CLOSE = (b"connection", b"close")

log = logging.getLogger("app")


class Server(uvicorn.Server):
    """Serves one process."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        place: Place,
        lame_duck_s: float,
        on_started: Callable[[Service], None] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            config: uvicorn's own.
            place: Among the workers that take connections from the same socket.
            lame_duck_s: How long to go on after SIGTERM.
            on_started: Called once connections are taken.
        """
        super().__init__(config)
        self._lame_duck_s = lame_duck_s
        self._on_started = on_started
        self._place = place
        self._lame = self._failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and take connections."""
        (listener,) = sockets or []
        await super().startup([])  # the socket is ours
        self._acceptor = Acceptor(
            listener, self._place, self.server_state.connections, self._create_protocol, self.config.backlog
        )
        self.servers = [self._acceptor]  # type: ignore[list-item]  # does what uvicorn asks of it
        if self.started:
            self._on_started(self.lifespan.state["service"])

    def _create_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # as in uvicorn
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def on_tick(self, counter: int) -> bool:
        """Do what is done ten times a second."""
        self._acceptor.tell()
        return await super().on_tick(counter)

    def fail(self) -> None:
        """Stop because the service is of no more use; soon, since nothing better is to come of waiting."""
        self.config.timeout_graceful_shutdown = _FAILED_S
        self._failed = self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop being ready at once; everything else follows."""
        self._lame = sig == signal.SIGTERM
        if self.started:
            self.lifespan.state["service"].draining.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order, or else in time."""
        if self._lame and self._lame_duck_s and self.lifespan.state["service"].repository.ready:
            await self._be_a_lame_duck()
        limit = (self.config.timeout_graceful_shutdown or 0) + _LAST_RESORT_S
        last_resort = threading.Timer(limit, self._give_up)
        last_resort.daemon = True
        last_resort.start()
        self._acceptor.close()
        await self._close_with_each_answer()
        await asyncio.sleep(_LAST_REQUESTS_S)  # those of connections that were just taken are on their way
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
        if _CLOSE not in self.config.encoded_headers:
            self.config.encoded_headers.append(_CLOSE)
            await self.on_tick(0)  # which has requests use them

    def _give_up(self) -> None:
        """End although a thread hangs in a model or a decoder, which nothing else can end."""
        log.error("a thread did not end in time; leaving it behind")
        os._exit(int(self._failed))
