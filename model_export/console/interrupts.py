"""What Ctrl-C or SIGTERM leaves behind, and the command that continues from there."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from app.interrupts import signal_of
from model_export.console.invocation import program


@contextmanager
def resumable(*command: str, data: str) -> Iterator[None]:
    """If the block is interrupted or fails, add a note with the command that continues from there, on that data set."""
    try:
        yield
    except (KeyboardInterrupt, Exception) as end:
        end.add_note(f"continue with: {program(data)} {shlex.join(command)}")
        raise


def words(interrupt: KeyboardInterrupt, *, publishing: bool) -> str:
    """Say what an interrupt leaves behind, and how to continue."""
    published = ["nothing was published"] if publishing else []
    ended = "interrupted" if signal_of(interrupt) == signal.SIGINT else f"ended by {signal_of(interrupt).name}"
    return "; ".join([ended, *published, *getattr(interrupt, "__notes__", [])])
