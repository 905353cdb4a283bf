"""Ctrl-C, and other signals that end a program, as :class:`KeyboardInterrupt`, whatever code they interrupt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_CODES = {number: 128 + number for number in (signal.SIGINT, signal.SIGTERM)}
"""As of a program that was ended by the signal."""


def signal_of(interrupt: KeyboardInterrupt) -> signal.Signals:
    """Find out which signal it was."""
    return interrupt.args[0] if interrupt.args else signal.SIGINT


class Interrupt(KeyboardInterrupt):
    """An interrupt by a signal, which is its argument.

    A class of its own, because CPython run with ``-m`` ends by SIGINT, whatever its exit code, once a plain
    ``KeyboardInterrupt`` has struck code in a string (``run_eval_code_obj`` in ``pythonrun.c``), even if it was caught.
    Imports run such code, for every dataclass for instance.
    """


@contextmanager
def noted(*signals: signal.Signals) -> Iterator[None]:
    """Raise any failure of the block after one of the signals as an interrupt, with the notes of the failure.

    Without this, an interrupt during an import may appear as another error of that module, or as a missing package.
    """
    struck: signal.Signals | None = None

    def strike(number: int, _: FrameType | None) -> NoReturn:
        nonlocal struck
        struck = signal.Signals(number)
        raise Interrupt(struck)

    before = {number: signal.getsignal(number) for number in signals}
    for number, handler in before.items():
        if handler in (signal.default_int_handler, signal.SIG_DFL):  # else it is ignored, as under nohup, or handled
            signal.signal(number, strike)
    try:
        yield
    except Exception as error:
        if struck is None:
            raise
        interrupt = Interrupt(struck)
        for note in getattr(error, "__notes__", []):
            interrupt.add_note(note)
        raise interrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
