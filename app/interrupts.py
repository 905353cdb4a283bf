"""Ctrl-C, at a moment when it does what it should."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGINT
"""As of a program that the signal has ended."""


@contextmanager
def held() -> Iterator[None]:
    """Hold an interrupt back until modules are imported.

    One that reaches a module halfway comes out as an error of its own making, or as a package that is not there.
    """
    caught: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda *now: caught.append(now))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught and callable(before):  # it may be ignored, as under nohup
        before(*caught[0])
