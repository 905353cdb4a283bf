"""API keys: which requests need one, and whether they carry it."""

from __future__ import annotations

import hashlib
import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from app import apikeys
from app.errors import Unauthorized
from app.http import failures, fields
from app.http.paths import HEALTH
from app.settings import SHORTEST_KEY, Settings

log = logging.getLogger(__name__)

_ADMIN_PATH = "/v2/repository/"
_PAGES, _PAGE_FILES = frozenset({"/", "/docs"}), "/web/"  # hold nobody's data, and ask for the key themselves


def _is_open(path: str) -> bool:
    return path in HEALTH or path in _PAGES or path.startswith(_PAGE_FILES)


class Keys:
    """The keys that are accepted, as their SHA-256: how long it takes to look one up tells nothing of the others.

    Those in the file can be read again, by one thread at a time.
    """

    def __init__(self, settings: Settings) -> None:
        """Read them.

        Raises:
            InvalidSettings: The file cannot be read, or holds no key.
        """
        self._settings = settings
        admin = settings.admin_key
        self.admin = (
            frozenset[bytes]() if admin is None else frozenset({_digest(apikeys.as_bytes(admin.get_secret_value()))})
        )
        self.read()

    def read(self) -> None:
        """Read the file again; on an error, the keys stay as they are.

        Raises:
            InvalidSettings: As above.
        """
        keys = apikeys.read(self._settings)
        if short := sum(len(key) < SHORTEST_KEY for key in keys):
            log.warning(
                "API keys of fewer than %d characters: %d of %d; they can be guessed, so replace them, "
                "by the output of 'openssl rand -hex 16' for example",
                SHORTEST_KEY,
                short,
                len(keys),
            )
        self.users = frozenset(map(_digest, keys))

    def name(self, key: bytes, *, for_admins: bool = False) -> str | None:
        """What the log calls a key; None if it is not accepted, or not the one that ``for_admins`` demands."""
        digest = _digest(key)
        known = digest in self.admin or (digest in self.users and not for_admins)
        return digest.hex()[:8] if known else None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


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
        await failures.of(error, scope)(scope, receive, send)

    def _is_for_admins(self, scope: Scope) -> bool:
        return bool(self._keys.admin) and scope["path"].startswith(_ADMIN_PATH)

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
