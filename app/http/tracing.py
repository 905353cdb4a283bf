"""OpenTelemetry traces: a span for each request, with its stages as children. Off unless installed and configured.

Configured as everywhere, by ``OTEL_EXPORTER_OTLP_ENDPOINT`` and its kin; a caller's ``traceparent`` is taken up (W3C
Trace Context).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.paths import route_of

log = logging.getLogger(__name__)

_STAGE = re.compile(r"(\w+);dur=([0-9.]+)")
_LAST_SPANS_S = 3
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wanted() -> bool:
    """Tell whether the environment names somewhere to send traces to, and does not switch them off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in _ENDPOINTS)


class Tracing:
    """Makes a span of each request."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        # Imported only here: nobody else pays for it, and it need not be installed.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        name = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "multipool")}
        provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._provider = provider
        self._tracer = provider.get_tracer("multipool")
        self._propagator = TraceContextTextMapPropagator()
        self._kind, self._error = SpanKind.SERVER, StatusCode.ERROR
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, self._last(send))
            return
        start, status, timing = time.time_ns(), 0, ""

        async def watching(message: Message) -> None:
            nonlocal status, timing
            if message["type"] == "http.response.start":
                status = message["status"]
                timing = Headers(raw=message["headers"]).get("server-timing", "")
            await send(message)

        try:
            await self._app(scope, receive, watching)
        finally:
            self._record(scope, status, timing, start)

    def _last(self, send: Send) -> Send:
        """Send off what spans are left, before the application says that it has come to its end."""

        async def sending(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                sending_off = threading.Thread(target=self._provider.shutdown, daemon=True)
                sending_off.start()
                await asyncio.to_thread(sending_off.join, _LAST_SPANS_S)  # a collector may be out of reach
            await send(message)

        return sending

    def _record(self, scope: Scope, status: int, timing: str, start: int) -> None:
        method, route = scope["method"], route_of(scope, self._routes)
        span = self._tracer.start_span(
            f"{method} {route}",
            context=self._propagator.extract(dict(Headers(scope=scope))),
            kind=self._kind,
            start_time=start,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "multipool.request_id": scope.get("state", {}).get("request_id", ""),
            },
        )
        if status >= 500 or status == 0:
            span.set_status(self._error)
        self._record_stages(span, timing, start)
        span.end()

    def _record_stages(self, span: Any, timing: str, start: int) -> None:
        """Lay the stages that the answer tells of one after the other, as they happen."""
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415  # as above

        context = set_span_in_context(span)
        for name, milliseconds in _STAGE.findall(timing):
            if name != "total":
                end = start + int(1e6 * float(milliseconds))
                self._tracer.start_span(name, context=context, start_time=start).end(end)
                start = end


def layer(app: ASGIApp, routes: Sequence[BaseRoute]) -> ASGIApp:
    """Put tracing around an application, where its packages are installed."""
    try:
        return Tracing(app, routes)
    except ImportError as error:
        log.warning("no traces: %s; install the extra 'traces'", error)
        return app
