"""Text from anywhere, such as the name of a class, a file or a path, before it is written for people."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Escape what cannot be printed: it could command a terminal, or forge a line of the log.

    Spaces stay as they are, the narrow one also that macOS writes into the names of screenshots.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    return char if char.isprintable() or unicodedata.category(char) == "Zs" else ascii(char)[1:-1]
