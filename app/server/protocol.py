"""HTTP as uvicorn speaks it, with the limits on time and size that it lacks.

uvicorn with httptools waits for ever for the rest of a request, and takes a header of any size. Here every state of a
connection has an end: a header has to be complete in time, a body has to keep coming, an answer has to be fetched, and
neither a header nor the framing of a body may grow at will. What breaks a limit is answered with a problem (RFC 9457)
where HTTP still allows an answer, and the connection is closed.

A client that leaves takes its request with it: the task that would have answered is cancelled, so that its images are
dropped before they reach the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.server.cycle import Cycle
from app.server.idle import Idle
from app.server.limits import Fault, Limits
from app.server.parser import Parser
from app.server.refusals import Refusals

_FULL = Fault(503, "as many images as allowed are in progress; try again in a moment")


class Protocol(HttpToolsProtocol):
    """One connection. Its limits come from the application's state, where the lifespan puts them."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser: Parser = Parser(self)
        self._limits: Limits = app_state.get("limits") or Limits()
        self._refusals: Refusals = app_state.get("refusals") or Refusals()
        self._idle: Idle = app_state.get("idle") or Idle()
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._running: tuple[RequestResponseCycle, asyncio.Task[None]] | None = None
        self._fault: Fault | None = None
        self._in_header, self._in_body = True, False
        self._header_bytes = 0
        self._body_received = 0  # with its framing
        self._body_bytes = 0
        self._window_start = 0
        self._began = self.loop.time()
        self._begun = 0  # requests, in what was received at once

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Count the connection; from now on the header is awaited."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections and not self._idle.close_one():
            self._refuse(Fault(503, f"{self._limits.connections} connections are open already; try again in a moment"))
            transport.abort()
        else:
            self._set_deadline(self._limits.header_s, self._header_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the work for a client that is gone."""
        self._unset_keepalive_if_required()
        self._clear_deadline()
        self.resume_writing()
        self.pipeline.clear()
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Have the bytes parsed, and see that a request still under way stays within its limits."""
        if self._fault is not None:
            return
        was_in_body, scope, self._begun = self._in_body, self.scope, 0
        super().data_received(data)
        if self._fault is not None or self.transport.is_closing():
            return
        same = self.scope is scope  # no other request began in these bytes
        if self._in_body:
            self._body_received += len(data) if was_in_body and same else 0
            if self._limits.outweighs(self._body_received, self._body_bytes):
                self._refuse(Fault(400, "the chunks of the body are too small, or carry too much beside it"))
            elif self._deadline is None:
                self._start_window()
        elif self._in_header or (same and not was_in_body and self.cycle.response_complete):
            self._header_bytes += len(data) if same else 1
            if self._header_bytes > self._limits.header_bytes:
                self._refuse(Fault(431, f"the header exceeds {self._limits.header_bytes:,} bytes"))
            elif self._deadline is None:
                self._set_deadline(self._limits.header_s, self._header_late)

    # Time

    def _set_deadline(self, seconds: float, callback: Callable[[], object]) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, callback)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _header_late(self) -> None:
        if self._header_bytes:
            self._refuse(Fault(408, f"no complete header came within {self._limits.header_s:g} s"))
        else:
            self.transport.close()

    def _start_window(self) -> None:
        self._window_start = self._body_bytes
        self._set_deadline(self._limits.window_s, self._end_window)

    def _end_window(self) -> None:
        # While reading is paused, it is the service that is slow.
        if self.flow.read_paused or self._body_bytes - self._window_start >= self._limits.window_bytes:
            self._start_window()
        else:
            self._refuse(Fault(408, "the body stopped coming, or came too slowly; send it again"))

    def pause_writing(self) -> None:
        """Give the client a time to fetch its answer."""
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(self._limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the answer is being fetched."""
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, with what was not fetched if need be."""
        self._unset_keepalive_if_required()
        super().timeout_keep_alive_handler()
        self.loop.call_later(self._limits.linger_s, self.transport.abort)

    def _be_idle(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._idle.add(self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        if self.timeout_keep_alive_task is not None:
            super()._unset_keepalive_if_required()
            self._idle.discard(self.timeout_keep_alive_handler)

    # Parser callbacks

    def on_message_begin(self) -> None:
        """Await the header of the next request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._in_header = True
        self._began = self.loop.time()
        self._body_received = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Keep a part of the address."""
        super().on_url(url)
        if len(self.url) > self._limits.url_bytes:
            self._stop(Fault(414, f"the address exceeds {self._limits.url_bytes:,} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the header; trailers are read over."""
        if self._in_body:
            return
        name = name.lower()
        self.headers.append((name, value))
        self.expect_100_continue |= name == b"expect" and value.lower() == b"100-continue"
        if len(self.headers) > self._limits.header_fields:
            self._stop(Fault(431, f"the header has more than {self._limits.header_fields} fields"))

    def on_headers_complete(self) -> None:
        """Start on the request, if its header is as it should be."""
        if self.parser.makes_offer():
            return
        version = self.parser.get_http_version()
        self.expect_100_continue &= version == "1.1"  # HTTP/1.0 knows no interim answers
        fault = self._limits.fault(version, self.headers)
        if fault is not None:
            self._stop(fault)
        self._begun += 1
        if max(self._begun, len(self.pipeline)) > self._limits.pipelined:
            self._stop(Fault(503, f"more than {self._limits.pipelined} requests came at once; await an answer first"))
        self._start(version)
        self._in_header, self._in_body = False, True
        self._header_bytes = 0
        self._clear_deadline()

    def _start(self, version: str) -> None:
        """Start on the request, or have it wait for the one before."""
        url = httptools.parse_url(self.url)
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = self.root_path + unquote(url.path.decode("ascii"))
        scope["raw_path"] = self.root_path.encode("ascii") + url.path
        scope["query_string"] = url.query or b""
        before, self.cycle = (
            self.cycle,
            Cycle(
                scope=scope,
                transport=self.transport,
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=self.access_log,
                default_headers=self.server_state.default_headers,
                message_event=asyncio.Event(),
                expect_100_continue=self.expect_100_continue,
                keep_alive=version != "1.0" and self.parser.should_keep_alive(),
                on_response=self.on_response_complete,
            ),
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing more of this request."""
        if self.parser.makes_offer():
            return
        self._in_body = False
        self._clear_deadline()
        super().on_message_complete()
        if self.cycle.response_complete:
            self._be_idle()

    def on_response_complete(self) -> None:
        """Go on with the next request, or await one; of a body that was answered before its end, read over the rest."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())  # reading goes on when no other waits
            return
        self.flow.resume_reading()
        if self._in_body and self.cycle.response_complete:
            self._set_deadline(self._limits.linger_s, self.transport.close)
        elif not (self._in_header and self._header_bytes):  # of the next request, which has a deadline of its own
            self._be_idle()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cycle.scope
        if scope["method"] == "POST" and scope["path"] in self._limits.admitted and self._limits.is_full():
            # The application would say the same, at twice the cost, and when it is least affordable.
            self._shed(cycle)
            return
        # As in uvicorn, which does not keep hold of the task.
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._running = cycle, task

    # Refusal

    def _shed(self, cycle: RequestResponseCycle) -> None:
        draining = (b"connection", b"close") in self.server_state.default_headers
        close = draining or not cycle.keep_alive or self.flow.write_paused  # who does not read gets no more
        self._write(_FULL, cycle.scope, close=close)
        cycle.response_started = cycle.response_complete = True
        if close:
            self.transport.close()
        self.on_response_complete()

    def _stop(self, fault: Fault) -> None:
        """Have the parser stop, whereupon uvicorn calls :meth:`send_400_response`."""
        self._fault = fault
        raise ValueError(fault.detail)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words say less
        """Answer what the parser cannot read."""
        self._refuse(self._fault or Fault(400, self.parser.fault))

    def _refuse(self, fault: Fault) -> None:
        """Answer with a problem if the request has no answer yet, and close once the client had time to read it."""
        self._fault = fault
        self._clear_deadline()
        running = self._running[0] if self._running and not self._running[0].response_complete else None
        if running is not None and not (self._in_body and running is self.cycle):
            running.keep_alive = False  # the fault is in what was sent after it, and is dropped with the connection
            return
        if not (self._in_body and self.cycle.response_started):
            self._write(fault, self._received(), close=True)
        self._cancel()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(self._limits.linger_s, self.transport.abort)

    def _received(self) -> Mapping[str, Any]:
        """Give the request that is coming in, as far as it has come."""
        if self.scope is None or not (self._in_header or self._in_body):
            return {"client": self.client}
        # The parser knows the method once the address has begun.
        return {"method": self.parser.get_method().decode() if self.url else "other", **self.scope}

    def _write(self, fault: Fault, scope: Mapping[str, Any], *, close: bool) -> None:
        seconds, common = self.loop.time() - self._began, self.server_state.default_headers
        self.transport.write(self._refusals.answer(fault, scope, common, seconds=seconds, close=close))

    def _cancel(self) -> None:
        """End the task of a request that nobody waits for."""
        if self._running is None:
            return
        cycle, task = self._running
        if not cycle.response_complete:
            cycle.disconnected = True
            cycle.scope["state"]["client_gone"] = True
            task.cancel()
