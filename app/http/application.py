"""FastAPI with our layers around it.

HEAD is answered wherever there is GET, and the OpenAPI document lists only what is really answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.paths import HEALTH
from app.problems import MEDIA_TYPE

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class Application(FastAPI):
    """FastAPI behind the layers of ours, which predictions pass straight through (see :mod:`app.routes.direct`).

    Its document lacks what FastAPI adds and these routes never give: a 422 for every path parameter, and errors in
    plain JSON.
    """

    around: Sequence[Callable[[ASGIApp], ASGIApp]] = ()
    """What is put around the application, the innermost first."""
    asks_for_keys = False

    def build_middleware_stack(self) -> ASGIApp:
        """Put our layers around FastAPI's."""
        app: ASGIApp = Head(super().build_middleware_stack())
        for layer in self.around:
            app = layer(app)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Skip FastAPI's own telemetry, which it would look for at each request.

        Traces come from :mod:`app.http.tracing`.
        """
        await Starlette.__call__(self, scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Describe the interface in OpenAPI 3.1."""
        document = super().openapi()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
                for response in operation["responses"].values():
                    if MEDIA_TYPE in response.get("content", {}):
                        response["content"].pop("application/json", None)
                if path in HEALTH and self.asks_for_keys:
                    operation["security"] = []
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        if self.asks_for_keys:
            document["components"]["securitySchemes"] = _SCHEMES
            document["security"] = [{name: []} for name in _SCHEMES]
        return document


class Head:
    """Answers HEAD as GET; the server leaves the body out (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
