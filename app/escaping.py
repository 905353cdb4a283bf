"""Text from anywhere, such as the name of a class, a file or a path, before it is written for people."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape what cannot be printed: it could command a terminal, or forge a line of the log."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
