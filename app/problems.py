"""The one table from errors to problems (RFC 9457); :mod:`app.http.failures` answers requests with them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

from app import errors

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """How one kind of error is answered."""

    status: int
    code: str
    title: str
    headers: Mapping[str, str] = MappingProxyType({})


_RETRY = {"Retry-After": "1"}
REFUSED = Kind(422, "model_refused", "Model refused")
"""The one problem of status 422 that is about a model, and not about the request."""

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
    errors.InvalidArtifact: REFUSED,
    errors.Overloaded: Kind(503, "overloaded", "Overloaded", _RETRY),
    errors.NotReady: Kind(503, "not_ready", "Not ready", _RETRY),
    errors.DeviceFailed: Kind(503, "not_ready", "Not ready", _RETRY),
    errors.Draining: Kind(503, "draining", "Shutting down", _RETRY),
    errors.DeadlineExceeded: Kind(504, "deadline_exceeded", "Deadline exceeded"),
}

INTERNAL = Kind(500, "internal_error", "Internal error")
"""Whatever is not in the table."""

OF_STATUS = {
    400: KINDS[errors.MalformedRequest],
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
"""Errors that HTTP itself has a status for."""


def kind_of(error: Exception) -> Kind:
    """Look up how an error is answered; what is not in the table is our fault."""
    return next((KINDS[base] for base in type(error).__mro__ if base in KINDS), INTERNAL)


def of_status(status: int) -> Kind:
    """Look up how an error is answered that HTTP itself has a status for."""
    phrase = HTTPStatus(status).phrase
    return OF_STATUS.get(status) or Kind(status, phrase.lower().replace(" ", "_"), phrase)


def body(kind: Kind, detail: str, request_id: str) -> dict[str, Any]:
    """Fill a :class:`app.schemas.Problem`."""
    return {
        "type": f"urn:multipool:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": kind.code,
        "request_id": request_id,
        "error": detail,
    }
