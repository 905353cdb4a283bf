"""API keys: which requests need one, and whether they carry it."""

from __future__ import annotations

import hashlib
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
        self._names = {key: hashlib.sha256(key).hexdigest()[:8] for key in (*keys, *admin_keys)}
        """What the log calls a key."""

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
            return self._carries_one_of(self._admin_keys, scope)
        return not self._keys or self._carries_one_of((*self._keys, *self._admin_keys), scope)

    def _carries_one_of(self, keys: tuple[bytes, ...], scope: Scope) -> bool:
        """Check the key of a request, and have the log name it."""
        given = given_key(scope)
        # Every key is compared, each in constant time, so that the time taken tells nothing.
        if sum(hmac.compare_digest(given, key) for key in keys) == 0:
            return False
        scope["state"]["key"] = self._names[given]
        return True


def given_key(scope: Scope) -> bytes:
    """Read the key that a request carries, if any, as the bytes that were sent."""
    scheme, _, token = (fields.first(scope, b"authorization") or "").partition(" ")
    text = token.strip() if scheme.lower() == "bearer" else fields.first(scope, b"x-api-key") or ""
    return text.encode("latin-1")
