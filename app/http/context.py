"""Around every request: its id, one line in the log, one count."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping, Sequence
from random import getrandbits
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Draining
from app.escaping import printable
from app.http import failures, fields
from app.http.paths import HEALTH, route_of
from app.metrics import Metrics

log = logging.getLogger("app.access")

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_SANE_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")
_CLIENT_CLOSED = 499  # only ever logged: there is no one left to answer


def choose_id(asked: str) -> str:
    """Take the id that a client gave its request, if it is sane, or make one."""
    return asked if _SANE_ID.fullmatch(asked) else f"{getrandbits(128):032x}"


class RequestContext:
    """Gives each request an id, returns it as ``X-Request-ID``, and logs and counts the request when it is answered.

    An error that the other layers raise is answered here, so that even that answer carries the id.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = choose_id(fields.first(scope, b"x-request-id") or "")
        scope.setdefault("state", {})["request_id"] = request_id
        start, status = time.monotonic(), 0
        self._metrics.in_flight += 1

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), _NO_SNIFFING]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_CLOSED
        except asyncio.CancelledError:
            # The client is gone, as the protocol notes, or the time for shutting down is over.
            if scope["state"].get("client_gone"):
                status = _CLIENT_CLOSED
            elif not status:
                await failures.of(Draining("the service is shutting down"), scope)(scope, receive, send_with_id)
        except Exception as error:
            response = failures.unexpected(error, scope)
            if status:
                raise  # too late for another answer; the server cuts the connection
            await response(scope, receive, send_with_id)
        finally:
            self._conclude(scope, status, time.monotonic() - start)

    def _conclude(self, scope: Scope, status: int, seconds: float) -> None:
        """Count and log a request that has come to its end."""
        if (fault := scope["state"].get("fault")) is not None:
            status = fault.status  # the protocol has answered
        self._metrics.in_flight -= 1
        self._metrics.count_request(
            route_of(scope, self._routes), scope["method"], status, seconds, scope["state"].get("problem")
        )
        _log(scope, status, seconds)


def client_of(scope: Mapping[str, Any]) -> str:
    """Give the address that a request came from, a proxy's perhaps."""
    return str((scope.get("client") or ("",))[0])


def _log(scope: Scope, status: int, seconds: float) -> None:
    level = logging.DEBUG if scope["path"] in HEALTH else logging.INFO
    if not log.isEnabledFor(level):
        return
    state = scope["state"]
    said = {
        "request_id": state["request_id"],
        "client": client_of(scope),
        "method": scope["method"],
        "path": printable(scope["path"][:200]).replace(" ", r"\x20"),  # or it could look like other parts of the line
        "status": status,
        "duration_ms": round(1000 * seconds, 1),
    }
    message = "%(method)s %(path)s %(status)d %(duration_ms).1f ms %(client)s"
    for name, part in (("key", " key %(key)s"), ("model", " %(model)s")):
        if name in state:
            said[name] = state[name]
            message += part
    if "problem" in state:
        said["code"], said["detail"] = state["problem"], printable(state["detail"][:300])
        message += ": %(detail)s"
    log.log(level, message, said, extra=said)
