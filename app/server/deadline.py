"""A timer that can be reset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls back when its time is over, unless it is cleared or set again before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether it was set and not cleared since."""
        return self._timer is not None

    def set(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call back after this many seconds, instead of at the time set before."""
        self.clear()
        self._timer = self._loop.call_later(seconds, callback)

    def clear(self) -> None:
        """Cancel the call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
