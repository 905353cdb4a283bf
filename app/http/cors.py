"""Which pages may call the service from a browser (Fetch Standard, "CORS protocol")."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import problems
from app.http import failures

_EXPOSED = ("Retry-After", "Server-Timing", "X-Request-ID")


class Cors(CORSMiddleware):
    """Starlette's, but what it refuses is answered with a problem, as everything else is."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        """Put it before an application.

        Args:
            app: Takes what is no preflight.
            origins: Those whose pages may call; ``*`` for all.
        """
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, and have all other answers say who may read them."""
        try:
            await super().__call__(scope, receive, send)
        except _Refused as refused:
            response = failures.response(problems.of_status(400), str(refused), scope, refused.headers)
            await response(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Say what a page may send, or refuse."""
        response = super().preflight_response(request_headers)
        if response.status_code != 200:
            raise _Refused(response)
        return response


class _Refused(Exception):
    def __init__(self, response: Response) -> None:
        what = bytes(response.body).decode().removeprefix("Disallowed CORS ")
        super().__init__(f"pages may not ask for this: {what} not allowed; MULTIPOOL_CORS_ORIGINS lists the origins")
        self.headers = {
            name: value for name, value in response.headers.items() if name not in ("content-type", "content-length")
        }


def headers(origins: Collection[str], origin: str) -> dict[str, str]:
    """Give what :class:`Cors` would put into an answer to a page of ``origin``, for answers that do not come by it."""
    if not origins:
        return {}
    allowed = "*" if "*" in origins else origin if origin in origins else None
    if allowed is None:
        return {"Vary": "Origin"}
    exposed = ", ".join(_EXPOSED)
    return {"Access-Control-Allow-Origin": allowed, "Access-Control-Expose-Headers": exposed, "Vary": "Origin"}
