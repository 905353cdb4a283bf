"""A weighted semaphore for threads: what is large waits until there is room."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """So much of something that all threads together may use at once."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        """How much there is in all."""
        self._free = capacity
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Wait until so much is free, and give it back at the end; what exceeds the whole takes the whole."""
        amount = min(amount, self.capacity)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
