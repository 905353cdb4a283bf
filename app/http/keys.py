"""API keys: which requests need one, and whether they carry it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.apikeys import Keys
from app.errors import Unauthorized
from app.http import failures, fields
from app.http.paths import ADMIN, HEALTH, is_page


class ApiKey:
    """Lets a request through when it carries one of the keys.

    Health checks and the files of the pages need none, and ``/v2`` one of its own.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] != "http" or scope["path"] in HEALTH or is_page(scope["path"])
        if is_open or self._may_pass(scope):
            await self._app(scope, receive, send)
            return
        sent = "the key that was sent is not accepted here; " if given_key(scope) else ""
        wanted = "the admin key" if self._is_for_admins(scope) else "an API key"
        error = Unauthorized(f"{sent}send {wanted}, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        await failures.of(error, scope)(scope, receive, send)

    def _is_for_admins(self, scope: Scope) -> bool:
        return bool(self._keys.admin) and scope["path"].startswith(ADMIN)

    def _may_pass(self, scope: Scope) -> bool:
        """Check the key of a request, and have the log name it."""
        for_admins = self._is_for_admins(scope)
        if not (for_admins or self._keys.users):
            return True
        name = self._keys.name(given_key(scope), for_admins=for_admins)
        if name is not None:
            scope["state"]["key"] = name
        return name is not None


def given_key(scope: Scope) -> bytes:
    """Read the key that a request carries, if any, as the bytes that were sent."""
    scheme, _, token = (fields.first(scope, b"authorization") or "").partition(" ")
    text = token.strip(" \t") if scheme.lower() == "bearer" else fields.first(scope, b"x-api-key") or ""
    return text.encode("latin-1")
