"""The shortest way from a request to its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import MultipoolError
from app.http import failures

Endpoint = Callable[[Request], Awaitable[Response]]


class Direct:
    """Calls the endpoints that are called most with nothing in between; all else goes to the application.

    FastAPI's stack (eight layers, routing, dependencies, stacks of contexts) takes longer than uvicorn does for the
    whole request. The endpoints are FastAPI's routes all the same, which describe them in the OpenAPI document and
    answer other methods.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
        """Put it before an application.

        Args:
            app: Takes what is not in the table.
            endpoints: By method and path.
        """
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope.get("method", ""), scope.get("path", "")))
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive))
        except MultipoolError as error:
            response = failures.of(error, scope)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, this request alone has failed
            response = failures.unexpected(error, scope)
        await response(scope, receive, send)
