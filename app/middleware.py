"""Around every request: its id, one line in the log, the API key."""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import problems
from app.errors import Unauthorized

log = logging.getLogger("app.access")

_SANE_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")
_CLIENT_CLOSED = 499  # only ever logged: there is no one left to answer
_OPEN_PATHS = frozenset({"/livez", "/readyz"})


class RequestContext:
    """Gives each request an id, returns it as ``X-Request-ID``, and logs the request when it is answered.

    What no one else has caught ends here, so that even that answer carries the id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _SANE_ID.fullmatch(asked) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        start, status = time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_CLOSED
        except Exception:
            log.exception("%s %s failed", scope["method"], _printable(scope), extra={"request_id": request_id})
            if status:
                raise  # too late for another answer; the server cuts the connection
            await problems.internal(scope)(scope, receive, send_with_id)
        finally:
            level = logging.DEBUG if scope["path"] in _OPEN_PATHS else logging.INFO
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": _printable(scope),
                "status": status,
                "duration_ms": round(1000 * (time.monotonic() - start), 1),
            }
            log.log(level, "%(method)s %(path)s %(status)d %(duration_ms).1f ms", fields, extra=fields)


def _printable(scope: Scope) -> str:
    """Cut the path, and escape what could forge a line of the log."""
    return str(scope["path"])[:200].encode("unicode_escape").decode()


class ApiKey:
    """Lets a request through when it carries one of the keys; health checks need none."""

    def __init__(self, app: ASGIApp, keys: tuple[bytes, ...]) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN_PATHS or self._knows(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        error = Unauthorized("send an API key, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        await problems.of(error, scope)(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        text = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        given = text.encode("latin-1")  # the bytes as they were sent
        # Every key is compared, each in constant time, so that the time taken tells nothing.
        return sum(hmac.compare_digest(given, key) for key in self._keys) > 0
