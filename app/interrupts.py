"""Ctrl-C, and other signals that end a program, as :class:`KeyboardInterrupt`, whatever code they interrupt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNAL_CODES = {number: 128 + number for number in (signal.SIGINT, signal.SIGTERM)}
"""As of a program that was ended by the signal."""

_IMPORT_SYSTEM = "<frozen importlib"
_AGAIN_S = 0.01


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
    """Once one of the signals has come, turn any exception of the block into an interrupt; its notes are kept.

    Without this, an interrupt during an import may appear as another error of that module, or as a missing package.
    Where the import system itself is struck, CPython may drop the interrupt (3.13, for extension modules): it strikes
    again a moment later.
    """
    struck: signal.Signals | None = None

    def strike(number: int, frame: FrameType | None) -> None:
        nonlocal struck
        struck = struck or signal.Signals(number)
        if frame is not None and frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            signal.signal(signal.SIGALRM, strike)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            raise Interrupt(struck)

    before = {number: signal.getsignal(number) for number in (*signals, signal.SIGALRM)}
    for number in signals:
        # Others are ignored, as under nohup, or handled.
        if before[number] in (signal.default_int_handler, signal.SIG_DFL):
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
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
