"""One connection: how long each of its states may last, and how requests are refused and the connection is closed.

uvicorn waits without limit for the rest of a request. Here every state has a time limit: a header must be complete in
time, a body must keep arriving, and an answer must be read. A request that takes too long gets a problem (RFC 9457), if
HTTP still allows an answer, and the connection is closed.

If a client disconnects, the task of its request is cancelled, so that its images never reach the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.server.deadline import Deadline
from app.server.idle import Idle
from app.server.incoming import Incoming
from app.server.limits import Fault, Limits
from app.server.parser import Parser
from app.server.refusals import Refusals


class Connection(HttpToolsProtocol):
    """Enforces the time limits, which come from the application's state, where the lifespan puts them."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser: Parser = Parser(self)
        self._limits: Limits = app_state["limits"]
        self._refusals: Refusals = app_state["refusals"]
        self._idle: Idle = app_state["idle"]
        self._incoming = Incoming()
        self._deadline = Deadline(self.loop)
        self._write_deadline = Deadline(self.loop)
        self._running: tuple[RequestResponseCycle, asyncio.Task[None]] | None = None
        self._fault: Fault | None = None
        self._ending = False
        self._began = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept the connection, unless there are too many, and start the deadline for the header."""
        super().connection_made(transport)
        limits, refused = self._limits, self._refusals.connections
        if len(self.connections) - len(refused) <= limits.connections or self._idle.close_one():
            self._await_header()
            return
        self._refuse(Fault(503, f"{limits.connections} connections are open already; try again in a moment"))
        if len(refused) < limits.refused_connections:
            refused.add(self)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the work for a client that has disconnected."""
        self._unset_keepalive_if_required()
        self._deadline.clear()
        self.resume_writing()
        self._write_deadline.clear()
        self._idle.discard(self._give_way)
        self._refusals.connections.discard(self)
        self.pipeline.clear()
        self._cancel()
        super().connection_lost(exc)

    # Time

    def _await_header(self) -> None:
        self._deadline.set(self._limits.header_s, self._header_late)

    def _header_late(self) -> None:
        if self.flow.read_paused:  # the rest may be there; it is the service that is slow
            self._await_header()
        elif self._incoming.header_bytes:
            self._refuse(Fault(408, f"no complete header came within {self._limits.header_s:g} s"))
        else:
            self.transport.close()

    def _await_body(self) -> None:
        self._incoming.window_start = self._incoming.body_bytes
        self._deadline.set(self._limits.window_s, self._end_window)

    def _end_window(self) -> None:
        # While reading is paused, or the body was not asked for, it is the service that is slow.
        waits = self.flow.read_paused or self.cycle.waiting_for_100_continue
        if waits or self._incoming.in_window() >= self._limits.window_bytes:
            self._await_body()
        else:
            self._refuse(Fault(408, "the body stopped coming, or came too slowly; send it again"))

    def pause_writing(self) -> None:
        """Start the deadline for the client to read its answer."""
        super().pause_writing()
        if not self._write_deadline.is_set:
            self._write_deadline.set(self._limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Clear that deadline: the client is reading; when it has read its answer, its idle time begins."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._write_deadline.clear()
        if self.timeout_keep_alive_task is not None:
            self._be_idle()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; it is not idle while the client reads its answer."""
        if self.flow.write_paused:
            self._be_idle()
        else:
            self._unset_keepalive_if_required()
            self._close()

    def _be_idle(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if not self.flow.write_paused:
            self._idle.add(self._give_way)

    def _unset_keepalive_if_required(self) -> None:
        if self.timeout_keep_alive_task is not None:
            super()._unset_keepalive_if_required()
            self._idle.discard(self._give_way)

    def _give_way(self) -> None:
        """Close a connection that was answered, because another needs its place."""
        self._unset_keepalive_if_required()
        self._idle.discard(self._give_way)
        self.transport.close()
        self._write_deadline.set(self._limits.linger_s, self.transport.abort)

    def _close(self) -> None:
        """Close when the client has read its answer, or its time to do so is over."""
        self.transport.close()
        if not self._write_deadline.is_set:
            self._write_deadline.set(self._limits.write_s, self.transport.abort)

    def _discard_body(self, *, keep_alive: bool) -> None:
        """Read and discard the rest of a body that was answered early: its client reads the answer only after that."""
        self._idle.add(self._give_way)
        if keep_alive:
            self._deadline.set(self._limits.write_s, self._close)
        else:
            self._linger(self._limits.linger_s if self._ending else self._limits.write_s)

    def shutdown(self) -> None:
        """Close the connection, after the answer to its request; called once, when the service shuts down."""
        self._ending = True
        if self._fault is not None:
            return  # it closes by itself, soon
        if self._incoming.in_body and self.cycle.response_complete:
            self.cycle.keep_alive = False
            self._discard_body(keep_alive=False)
        else:
            super().shutdown()

    # Refusal

    def _refuse(self, fault: Fault) -> None:
        """Answer with a problem if the request has no answer yet, and close after the client had time to read it."""
        if self.transport.is_closing():
            return  # the answer before was the last one
        self._fault = fault
        self._deadline.clear()
        running = self._running[0] if self._running and not self._running[0].response_complete else None
        if running is not None and not (self._incoming.in_body and running is self.cycle):
            running.keep_alive = False  # the fault is in what was sent after this request; its answer is the last one
            return
        if not (self._incoming.in_body and self.cycle.response_started):
            self._write(fault, self._received(), close=True)
        self._cancel()
        self._linger(self._limits.linger_s)

    def _linger(self, seconds: float) -> None:
        """Say that no other answer comes, but read on: closing while data comes takes the answer from the client."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline.set(seconds, self.transport.abort)

    def _received(self) -> Mapping[str, Any]:
        """Describe the request that is being received, as far as it is known."""
        if self.scope is None or not (self._incoming.in_header or self._incoming.in_body):
            return {"client": self.client}
        # The parser knows the method as soon as the address has begun.
        return {"method": self.parser.get_method().decode() if self.url else "other", **self.scope}

    def _write(self, fault: Fault, scope: Mapping[str, Any], *, close: bool) -> None:
        seconds, common = self.loop.time() - self._began, self.server_state.default_headers
        self.transport.write(self._refusals.answer(fault, scope, common, seconds=seconds, close=close))

    def _cancel(self) -> None:
        """Cancel the task of a request that no client waits for."""
        if self._running is None:
            return
        cycle, task = self._running
        if not cycle.response_complete:
            cycle.disconnected = True
            cycle.scope["state"]["client_gone"] = True
            task.cancel()
