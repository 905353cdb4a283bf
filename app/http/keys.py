"""API keys: which requests need one, and whether they carry it."""

from __future__ import annotations

import hashlib
import hmac
import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from app import problems
from app.errors import Unauthorized
from app.http import fields
from app.http.paths import HEALTH
from app.settings import SHORTEST_KEY, Settings, as_bytes

log = logging.getLogger(__name__)

_ADMIN_PATH = "/v2/repository/"
_PAGES, _PAGE_FILES = frozenset({"/", "/docs"}), "/web/"  # hold nobody's data, and ask for the key themselves


def _is_open(path: str) -> bool:
    return path in HEALTH or path in _PAGES or path.startswith(_PAGE_FILES)


class Keys:
    """The keys that are accepted; those in the file can be read again."""

    def __init__(self, settings: Settings) -> None:
        """Read them.

        Raises:
            InvalidSettings: The file cannot be read, or holds no key.
        """
        self._settings = settings
        admin = settings.admin_key
        self.admin = () if admin is None else (as_bytes(admin.get_secret_value()),)
        self.read()

    def read(self) -> None:
        """Read the file again; on an error, the keys stay as they are.

        Raises:
            InvalidSettings: As above.
        """
        self.users = self._settings.keys()
        if short := sum(len(key) < SHORTEST_KEY for key in self.users):
            log.warning(
                "API keys of fewer than %d characters: %d of %d; they can be guessed, so replace them, "
                "by the output of 'openssl rand -hex 16' for example",
                *(SHORTEST_KEY, short, len(self.users)),
            )
        self.names = {key: hashlib.sha256(key).hexdigest()[:8] for key in (*self.users, *self.admin)}
        """What the log calls each of them."""


class ApiKey:
    """Lets a request through when it carries one of the keys.

    Health checks and the files of the pages need none, and ``/v2`` one of its own.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]) or self._may_pass(scope):
            await self._app(scope, receive, send)
            return
        sent = "the key that was sent is not accepted here; " if given_key(scope) else ""
        wanted = "the admin key" if self._is_for_admins(scope) else "an API key"
        error = Unauthorized(f"{sent}send {wanted}, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        await problems.of(error, scope)(scope, receive, send)

    def _is_for_admins(self, scope: Scope) -> bool:
        return bool(self._keys.admin) and scope["path"].startswith(_ADMIN_PATH)

    def _may_pass(self, scope: Scope) -> bool:
        if self._is_for_admins(scope):
            return self._carries_one_of(self._keys.admin, scope)
        return not self._keys.users or self._carries_one_of((*self._keys.users, *self._keys.admin), scope)

    def _carries_one_of(self, keys: tuple[bytes, ...], scope: Scope) -> bool:
        """Check the key of a request, and have the log name it."""
        given = given_key(scope)
        # Every key is compared, each in constant time, so that the time taken tells nothing.
        if sum(hmac.compare_digest(given, key) for key in keys) == 0:
            return False
        scope["state"]["key"] = self._keys.names[given]
        return True


def given_key(scope: Scope) -> bytes:
    """Read the key that a request carries, if any, as the bytes that were sent."""
    scheme, _, token = (fields.first(scope, b"authorization") or "").partition(" ")
    text = token.strip(" \t") if scheme.lower() == "bearer" else fields.first(scope, b"x-api-key") or ""
    return text.encode("latin-1")
