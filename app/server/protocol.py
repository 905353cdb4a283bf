"""HTTP/1.1 as uvicorn reads it, with the limits on size and framing that it lacks.

uvicorn with httptools accepts a header of any size, any number of pipelined requests, and a body in chunks of one byte.
Here a request that exceeds a limit gets a problem (RFC 9457) as its answer, and the connection is closed.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http.paths import PREDICTIONS
from app.server.connection import Connection
from app.server.cycle import Cycle
from app.server.limits import Fault
from app.server.refusals import CLOSE

_FULL = Fault(503, "as many images as allowed are in progress; try again in a moment")

_EMPTY_BYTES = 4  # of empty lines, which begin no request (RFC 9112, section 2.2); whoever sends more is not idle


class Protocol(Connection):
    """Parses the requests of one connection, and runs them one after the other."""

    _begun = 0  # requests that began in the bytes received last

    def data_received(self, data: bytes) -> None:
        """Parse the bytes, and check that a request that is still incomplete stays within its limits."""
        if self._fault is not None:
            return
        incoming = self._incoming
        was_in_body, scope, self._begun = incoming.in_body, self.scope, 0
        super().data_received(data)
        if self._fault is not None or self.transport.is_closing():
            return
        same = self.scope is scope  # no other request began in these bytes
        if incoming.in_body:
            incoming.received_bytes += len(data) if was_in_body and same else 0
            if incoming.is_mostly_framing():
                self._refuse(Fault(400, "the chunks of the body are too small, or carry too much beside it"))
            elif not self._deadline.is_set:
                self._await_body()
        elif incoming.in_header or (same and not was_in_body and self.cycle.response_complete):
            incoming.header_bytes += len(data) if same else 1
            if incoming.header_bytes > self._limits.header_bytes:
                self._refuse(Fault(431, f"the header exceeds {self._limits.header_bytes:,} bytes"))
            elif incoming.header_bytes <= _EMPTY_BYTES and not (incoming.in_header or data.strip(b"\r\n")):
                self._be_idle()
            elif not self._deadline.is_set:
                self._await_header()

    # Parser callbacks

    def on_message_begin(self) -> None:
        """Prepare for the header of the next request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._incoming.begin()
        self._began = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Store a part of the address."""
        super().on_url(url)
        if len(self.url) > self._limits.url_bytes:
            self._stop(Fault(414, f"the address exceeds {self._limits.url_bytes:,} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a field of the header; trailers are ignored."""
        if self._incoming.in_body:
            return
        name = name.lower()
        self.headers.append((name, value))
        self.expect_100_continue |= name == b"expect" and value.strip().lower() == b"100-continue"
        if len(self.headers) > self._limits.header_fields:
            self._stop(Fault(431, f"the header has more than {self._limits.header_fields} fields"))

    def on_headers_complete(self) -> None:
        """Start the request, if its header is valid."""
        if self.parser.makes_offer():
            return
        version = self.parser.get_http_version()
        self.expect_100_continue &= version == "1.1"  # HTTP/1.0 has no interim responses
        fault = self._limits.fault(version, self.headers)
        if fault is not None:
            self._stop(fault)
        self._begun += 1
        if max(self._begun, len(self.pipeline)) > self._limits.pipelined:
            self._stop(Fault(503, f"more than {self._limits.pipelined} requests came at once; await an answer first"))
        self._deadline.clear()
        self._start(version)

    def _start(self, version: str) -> None:
        """Start the request, or queue it behind the one before."""
        url = httptools.parse_url(self.url)
        path = url.path or b"/"  # RFC 9110, section 4.2.3: http://host is http://host/
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = self.root_path + unquote(path.decode("ascii"))
        scope["raw_path"] = self.root_path.encode("ascii") + path
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
        self._incoming.end_header()
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self._incoming.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Clear the deadline: the request is complete."""
        if self.parser.makes_offer():
            return
        self._incoming.in_body = False
        self._deadline.clear()
        super().on_message_complete()
        if self.cycle.response_complete:
            (self._be_idle if self.cycle.keep_alive else self._close)()

    def on_response_complete(self) -> None:
        """Start the next request, or wait for one; discard what is still to come of a body that was answered early."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._close()
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())  # reading resumes when no other waits
            return
        self.flow.resume_reading()
        if self._incoming.in_body and self.cycle.response_complete:
            self._discard_body(keep_alive=self.cycle.keep_alive)
        elif not self._incoming.in_header:  # of the next request, which has a deadline of its own
            self._be_idle()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.transport.is_closing():
            return  # the answer before was the last one
        scope = cycle.scope
        if scope["method"] == "POST" and scope["path"] in PREDICTIONS and self._limits.is_full():
            # The application would answer the same at twice the cost, just when the load is highest.
            self._shed(cycle)
            return
        # As in uvicorn, but the task is kept, so that it can be cancelled.
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._running = cycle, task

    # Refusal

    def _shed(self, cycle: RequestResponseCycle) -> None:
        draining = CLOSE in self.server_state.default_headers
        close = draining or not cycle.keep_alive or self.flow.write_paused  # it does not read, and gets no more
        self._write(_FULL, cycle.scope, close=close)
        cycle.keep_alive = not close
        cycle.response_started = cycle.response_complete = True
        if close and not cycle.more_body:
            self.transport.close()
        self.on_response_complete()

    def _stop(self, fault: Fault) -> None:
        """Stop the parser; uvicorn then calls :meth:`send_400_response`."""
        self._fault = fault
        raise ValueError(fault.detail)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text says less
        """Refuse what the parser cannot read."""
        self._refuse(self._fault or Fault(400, self.parser.fault))
