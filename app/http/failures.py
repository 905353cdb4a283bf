"""Requests that fail, answered with problems (RFC 9457), and how the OpenAPI document says so."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app import errors, problems
from app.escaping import printable
from app.schemas import Problem

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("app.access")


def response(kind: problems.Kind, detail: str, scope: Scope, headers: dict[str, str] | None = None) -> Response:
    """Write a problem as a response, and leave its code and detail where the request is counted and logged."""
    scope.setdefault("state", {}).update(problem=kind.code, detail=detail)
    return Response(
        orjson.dumps(problems.body(kind, detail, scope["state"].get("request_id", ""))),
        kind.status,
        {**kind.headers, **(headers or {}), "Cache-Control": "no-store"},
        problems.MEDIA_TYPE,
    )


def of(error: Exception, scope: Scope, headers: dict[str, str] | None = None) -> Response:
    """Answer an error of ours."""
    return response(problems.kind_of(error), str(error), scope, headers)


def unexpected(error: Exception, scope: Scope) -> Response:
    """Answer a request that failed as it never should; the log gets the traceback, the caller nothing of it."""
    log.error(
        "%s %s failed",
        scope["method"],
        printable(scope["path"][:200]),
        extra={"request_id": scope["state"]["request_id"]},
        exc_info=error,
    )
    return response(problems.INTERNAL, "something went wrong inside the service; its log says more", scope)


def handle(app: FastAPI) -> None:
    """Have every error of the routes answered with a problem: ours from the table, others by :class:`Failures`."""
    app.add_exception_handler(errors.MultipoolError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Failures)


class Failures:
    """Answers an unexpected error with a problem; FastAPI's own layer, around this one, would do so in plain text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watching(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watching)
        except ClientDisconnect:
            raise
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await unexpected(error, scope)(scope, receive, send)


def documented(*statuses: int, loading: bool = False) -> dict[int | str, dict[str, Any]]:
    """Describe error responses for the OpenAPI document: every code that a status may carry.

    Where a model is being loaded, 422 is about that model; everywhere else it is about the request.
    """
    kinds = [*problems.KINDS.values(), *problems.OF_STATUS.values(), problems.INTERNAL]
    kinds = [kind for kind in kinds if kind.status != 422 or (kind is problems.REFUSED) is loading]
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}: "
            + ", ".join(sorted({f"`{kind.code}`" for kind in kinds if kind.status == status})),
            "content": {problems.MEDIA_TYPE: {"schema": schema}},
            "model": Problem,
        }
        for status in statuses
    }


async def _ours(request: Request, error: Exception) -> Response:
    return of(error, request.scope)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind, headers = problems.of_status(error.status_code), dict(error.headers or {})
    if "GET" in (allowed := headers.get("Allow", "").split(", ")):
        headers["Allow"] = ", ".join(sorted({*allowed, "HEAD"}))  # answered wherever GET is, see app.http.application
    details = {
        404: f"there is no {request.scope['path'][:200]!r} here; GET /docs lists what there is",
        405: f"{request.method} is not possible here; use {headers.get('Allow', 'another method')}"
        + ("; images are classified by POST /predict" if request.scope["path"] == "/" else ""),
    }
    return response(kind, details.get(error.status_code, str(error.detail)), request.scope, headers)
