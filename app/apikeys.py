"""The API keys that an operator set, in the environment and in a file."""

from __future__ import annotations

import re

from app.errors import InvalidSettings
from app.settings import PREFIX, Settings


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
