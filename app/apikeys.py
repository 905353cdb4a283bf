"""The API keys that an operator set, in the environment and in a file, and whether a key is one of them."""

from __future__ import annotations

import hashlib
import logging
import re

from app.errors import InvalidSettings
from app.settings import PREFIX, SHORTEST_KEY, Settings

log = logging.getLogger(__name__)


def read(settings: Settings) -> tuple[bytes, ...]:
    """Collect the API keys from the environment and the file.

    Raises:
        InvalidSettings: The file cannot be read, or holds no key.
    """
    keys = [key.get_secret_value() for key in settings.api_keys]
    if settings.api_keys_file is not None:
        try:
            # To read a pipe would block the service until something is written to it.
            text = "" if settings.api_keys_file.is_fifo() else settings.api_keys_file.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise InvalidSettings(
                f"{PREFIX}API_KEYS_FILE = {str(settings.api_keys_file)!r}: {reason}; name a file that the service can "
                "read (mounted, in a container)"
            ) from None
        found = [key for line in text.splitlines() if (key := re.split(r"(?:^|\s)#", line)[0].strip())]
        if not found:
            raise InvalidSettings(
                f"{PREFIX}API_KEYS_FILE = {str(settings.api_keys_file)!r}: the file holds no key; write one into it, "
                "on a line of its own, or unset the setting"
            )
        keys += found
    return tuple(as_bytes(key) for key in keys)


def as_bytes(key: str) -> bytes:
    """Give a key as the bytes that the environment holds, be they UTF-8 or not."""
    return key.encode("utf-8", "surrogateescape")


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
        self.admin = frozenset[bytes]() if admin is None else frozenset({_digest(as_bytes(admin.get_secret_value()))})
        self.read()

    def read(self) -> None:
        """Read the file again; on an error, the keys stay as they are.

        Raises:
            InvalidSettings: As above.
        """
        keys = read(self._settings)
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
