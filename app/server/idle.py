"""Idle connections, which are closed first when there are too many."""

from __future__ import annotations

from collections.abc import Callable

Close = Callable[[], None]


class Idle:
    """Connections whose requests are answered; the one that has been idle longest comes first."""

    def __init__(self) -> None:
        self._waiting: dict[Close, None] = {}

    def add(self, close: Close) -> None:
        """Add a connection that has just been answered, as the function that closes it."""
        self._waiting.pop(close, None)
        self._waiting[close] = None

    def discard(self, close: Close) -> None:
        """Remove a connection: a request has begun, or it is closed."""
        self._waiting.pop(close, None)

    def close_one(self) -> bool:
        """Close the connection that has been idle longest; returns whether there was one."""
        for close in self._waiting:
            close()
            return True
        return False
