"""The one table from errors to ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from app import errors
from app.schemas import Problem

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """How one kind of error is answered."""

    status: int
    code: str
    title: str
    headers: Mapping[str, str] = MappingProxyType({})


_RETRY = {"Retry-After": "1"}
_REFUSED = Kind(422, "model_refused", "Model refused")

KINDS: dict[type[Exception], Kind] = {
    errors.MalformedRequest: Kind(400, "malformed_request", "Malformed request"),
    errors.Unauthorized: Kind(401, "unauthorized", "No valid API key", {"WWW-Authenticate": "Bearer"}),
    errors.ModelNotFound: Kind(404, "model_not_found", "No such model"),
    errors.NotAcceptable: Kind(406, "not_acceptable", "No acceptable media type"),
    errors.BodyTooLarge: Kind(413, "body_too_large", "Body too large"),
    errors.UnsupportedMediaType: Kind(415, "unsupported_media_type", "Not an accepted image type"),
    errors.InvalidParameter: Kind(422, "invalid_parameter", "Invalid parameter"),
    errors.MissingFile: Kind(422, "missing_file", "No file"),
    errors.EmptyFile: Kind(422, "empty_file", "Empty file"),
    errors.UndecodableImage: Kind(422, "undecodable_image", "Undecodable image"),
    errors.TooManyPixels: Kind(422, "too_many_pixels", "Too many pixels"),
    errors.WrongChannels: Kind(422, "wrong_channels", "Wrong number of channels"),
    errors.RateLimited: Kind(429, "rate_limited", "Too many requests", _RETRY),
    errors.InvalidArtifact: _REFUSED,
    errors.Overloaded: Kind(503, "overloaded", "Overloaded", _RETRY),
    errors.NotReady: Kind(503, "not_ready", "Not ready", _RETRY),
    errors.DeviceFailed: Kind(503, "not_ready", "Not ready", _RETRY),
    errors.Draining: Kind(503, "draining", "Shutting down", _RETRY),
    errors.DeadlineExceeded: Kind(504, "deadline_exceeded", "Deadline exceeded"),
}

_INTERNAL = Kind(500, "internal_error", "Internal error")

_OF_STATUS = {
    400: Kind(400, "malformed_request", "Malformed request"),
    404: Kind(404, "not_found", "Not found"),
    405: Kind(405, "method_not_allowed", "Method not allowed"),
    408: Kind(408, "request_timeout", "Request too slow"),
    413: KINDS[errors.BodyTooLarge],
    414: Kind(414, "uri_too_long", "Address too long"),
    415: KINDS[errors.UnsupportedMediaType],
    417: Kind(417, "expectation_failed", "Expectation failed"),
    431: Kind(431, "header_too_large", "Header too large"),
    503: KINDS[errors.Overloaded],
}


def kind_of(error: Exception) -> Kind:
    """Look up how an error is answered; what is not in the table is our fault."""
    return next((KINDS[base] for base in type(error).__mro__ if base in KINDS), _INTERNAL)


def of_status(status: int) -> Kind:
    """Look up how an error is answered that HTTP itself has a status for."""
    phrase = HTTPStatus(status).phrase
    return _OF_STATUS.get(status) or Kind(status, phrase.lower().replace(" ", "_"), phrase)


def body(kind: Kind, detail: str, scope: Scope) -> dict[str, Any]:
    """Fill a :class:`app.schemas.Problem`."""
    return {
        "type": f"urn:multipool:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": kind.code,
        "request_id": scope.get("state", {}).get("request_id", ""),
        "error": detail,
    }


def response(kind: Kind, detail: str, scope: Scope, headers: dict[str, str] | None = None) -> Response:
    """Write a problem as a response, and leave its code and detail where the request is counted and logged."""
    scope.setdefault("state", {}).update(problem=kind.code, detail=detail)
    return Response(
        orjson.dumps(body(kind, detail, scope)),
        kind.status,
        {**kind.headers, **(headers or {}), "Cache-Control": "no-store"},
        MEDIA_TYPE,
    )


def of(error: Exception, scope: Scope) -> Response:
    """Answer an error of ours."""
    return response(kind_of(error), str(error), scope)


def internal(scope: Scope) -> Response:
    """Answer what should not have happened; the log has the traceback, the caller gets nothing of it."""
    return response(_INTERNAL, "something went wrong inside the service; its log says more", scope)


def handle(app: FastAPI) -> None:
    """Have every error of the routes answered from the table."""
    app.add_exception_handler(errors.MultipoolError, _ours)
    app.add_exception_handler(HTTPException, _http)


def documented(*statuses: int, loading: bool = False) -> dict[int | str, dict[str, Any]]:
    """Describe error responses for the OpenAPI document: every code that a status may carry.

    Where a model is being loaded, 422 is about that model; everywhere else it is about the request.
    """
    kinds = [*KINDS.values(), *_OF_STATUS.values(), _INTERNAL]
    kinds = [kind for kind in kinds if kind.status != 422 or (kind is _REFUSED) is loading]
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}: "
            + ", ".join(sorted({f"`{kind.code}`" for kind in kinds if kind.status == status})),
            "content": {MEDIA_TYPE: {"schema": schema}},
            "model": Problem,
        }
        for status in statuses
    }


async def _ours(request: Request, error: Exception) -> Response:
    return of(error, request.scope)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind, headers = of_status(error.status_code), dict(error.headers or {})
    if "GET" in (allowed := headers.get("Allow", "").split(", ")):
        headers["Allow"] = ", ".join(sorted({*allowed, "HEAD"}))  # answered wherever GET is, see app.http.application
    details = {
        404: f"there is no {request.scope['path'][:200]!r} here; GET /docs lists what there is",
        405: f"{request.method} is not possible here; use {headers.get('Allow', 'another method')}"
        + ("; images are classified by POST /predict" if request.scope["path"] == "/" else ""),
    }
    return response(kind, details.get(error.status_code, str(error.detail)), request.scope, headers)
