"""Answers that the server gives without the application: written, counted and logged in one place.

Under overload most answers come from here, so few steps are taken.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app import problems
from app.http import cors
from app.http.context import choose_id, client_of
from app.http.paths import PREDICTIONS
from app.metrics import Metrics
from app.server.limits import Fault

log = logging.getLogger("app.access")

CLOSE = (b"connection", b"close")
"""The header of an answer that is the last one of its connection."""


class Refusals:
    """Writes refusals as problems (RFC 9457)."""

    def __init__(self, metrics: Metrics, origins: Collection[str]) -> None:
        """Prepare.

        Args:
            metrics: Counts the refusals.
            origins: Origins whose pages may read the answers.
        """
        self._metrics = metrics
        self._origins = origins
        self.connections: set[object] = set()
        """Connections that were refused because there are too many, and may still read that."""

    def answer(
        self,
        fault: Fault,
        scope: Mapping[str, Any],
        common: Iterable[tuple[bytes, bytes]],
        *,
        seconds: float,
        close: bool,
    ) -> bytes:
        """Write the refusal of a request as an HTTP/1.1 response.

        Args:
            fault: What is wrong with it.
            scope: The request as an ASGI scope, as far as it was read.
            common: Headers of every answer.
            seconds: Time since the request began.
            close: Whether the connection is closed afterwards.
        """
        asked = dict(scope.get("headers", ()))
        kind = problems.of_status(fault.status)
        request_id = self._record(fault, scope, asked, kind.code, seconds)
        content = orjson.dumps(problems.body(kind, fault.detail, request_id))
        headers = {
            "content-type": problems.MEDIA_TYPE,
            "content-length": len(content),
            "x-request-id": request_id,
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
            **kind.headers,
        }
        if b"origin" in asked:
            headers |= cors.headers(self._origins, asked[b"origin"].decode("latin-1"))
        if close:
            headers["connection"] = "close"
        lines = b"".join([b"%b: %b\r\n" % pair for pair in common if pair != CLOSE])
        lines += "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode()
        body = b"" if scope.get("method") == "HEAD" else content  # RFC 9110, section 9.3.2
        return b"%b%b\r\n%b" % (STATUS_LINE[fault.status], lines, body)

    def _record(
        self, fault: Fault, scope: Mapping[str, Any], asked: Mapping[bytes, bytes], code: str, seconds: float
    ) -> str:
        """Count and log a refusal, or leave that to the application if it has the request; returns the request's id."""
        state = scope.get("state", {})
        if (known := state.get("request_id")) is not None:  # it does so when it is cancelled
            state.update(fault=fault, problem=code, detail=fault.detail)
            return str(known)
        request_id = choose_id(asked.get(b"x-request-id", b"").decode("latin-1"))
        route = path if (path := scope.get("path")) in PREDICTIONS else "other"
        self._metrics.count_request(route, scope.get("method", "other"), fault.status, seconds, code)
        _log(fault, client_of(scope), request_id)
        return request_id


def _log(fault: Fault, client: str, request_id: str) -> None:
    level = logging.DEBUG if fault.status == 503 else logging.INFO  # thousands a second; the metrics count them
    fields = {"request_id": request_id, "client": client, "status": fault.status}
    log.log(level, "refused %s with %d: %s", client, fault.status, fault.detail, extra=fields)
