"""The terminal at which the service was started, if it was started at one."""

from __future__ import annotations

import sys


class Terminal:
    """Tells, of a SIGHUP, whether the terminal was closed or someone wants to renew the workers."""

    def __init__(self) -> None:
        self._was_there = sys.stderr.isatty()

    def is_closed(self) -> bool:
        """Tell whether it was there at the start and is not any more, so that nobody is left to end the service."""
        return self._was_there and not sys.stderr.isatty()
