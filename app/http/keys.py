"""API keys: which requests need one, and whether they carry it."""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from app import problems
from app.errors import Unauthorized
from app.http import fields
from app.http.paths import HEALTH

_ADMIN_PATH = "/v2/repository/"
_PAGES, _PAGE_FILES = frozenset({"/", "/docs"}), "/web/"  # hold nobody's data, and ask for the key themselves


def _is_open(path: str) -> bool:
    return path in HEALTH or path in _PAGES or path.startswith(_PAGE_FILES)


class ApiKey:
    """Lets a request through when it carries one of the keys.

    Health checks and the files of the pages need none, and ``/v2`` one of its own.
    """

    def __init__(self, app: ASGIApp, keys: tuple[bytes, ...], admin_keys: tuple[bytes, ...] = ()) -> None:
        self._app = app
        self._keys = keys
        self._admin_keys = admin_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]) or self._may_pass(scope):
            await self._app(scope, receive, send)
            return
        sent = "the key that was sent is not accepted here; " if given_key(scope) else ""
        wanted = "the admin key" if self._is_for_admins(scope) else "an API key"
        error = Unauthorized(f"{sent}send {wanted}, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        await problems.of(error, scope)(scope, receive, send)

    def _is_for_admins(self, scope: Scope) -> bool:
        return bool(self._admin_keys) and scope["path"].startswith(_ADMIN_PATH)

    def _may_pass(self, scope: Scope) -> bool:
        if self._is_for_admins(scope):
            return _carries_one_of(self._admin_keys, scope)
        return not self._keys or _carries_one_of((*self._keys, *self._admin_keys), scope)


def given_key(scope: Scope) -> bytes:
    """Read the key that a request carries, if any, as the bytes that were sent."""
    scheme, _, token = (fields.first(scope, b"authorization") or "").partition(" ")
    text = token.strip(" \t") if scheme.lower() == "bearer" else fields.first(scope, b"x-api-key") or ""
    return text.encode("latin-1")


def _carries_one_of(keys: tuple[bytes, ...], scope: Scope) -> bool:
    given = given_key(scope)
    # Every key is compared, each in constant time, so that the time taken tells nothing.
    return sum(hmac.compare_digest(given, key) for key in keys) > 0
