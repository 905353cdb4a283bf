"""Idle connections: the first to be closed when there are too many."""

from __future__ import annotations

from collections.abc import Callable

Close = Callable[[], None]


class Idle:
    """Connections between two requests, the one that has been idle for longest first."""

    def __init__(self) -> None:
        self._waiting: dict[Close, None] = {}

    def add(self, close: Close) -> None:
        """Note a connection, by what closes it; it has just been answered."""
        self._waiting.pop(close, None)
        self._waiting[close] = None

    def discard(self, close: Close) -> None:
        """Leave a connection alone: a request has begun, or it is closed."""
        self._waiting.pop(close, None)

    def close_one(self) -> bool:
        """Close the one that has been idle for longest; tells whether there was any."""
        for close in self._waiting:
            close()
            return True
        return False
