"""Ctrl-C as :class:`KeyboardInterrupt`, whatever code it interrupts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGINT
"""As of a program that was ended by the signal."""


@contextmanager
def noted() -> Iterator[None]:
    """Raise any failure of the block after an interrupt as the interrupt itself, with the notes of the failure.

    Without this, an interrupt during an import may appear as another error of that module, or as a missing package.
    """
    struck = False

    def strike(_: int, __: FrameType | None) -> NoReturn:
        nonlocal struck
        struck = True
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as under nohup, or handled elsewhere
        signal.signal(signal.SIGINT, strike)
    try:
        yield
    except Exception as error:
        if not struck:
            raise
        interrupt = KeyboardInterrupt()
        for note in getattr(error, "__notes__", []):
            interrupt.add_note(note)
        raise interrupt from None
    finally:
        signal.signal(signal.SIGINT, before)
