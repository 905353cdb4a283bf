"""What Ctrl-C leaves, and the command that goes on from there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from model_export.console.invocation import program


@contextmanager
def resumable(*command: str) -> Iterator[None]:
    """Note on whatever ends the block which command goes on from there; it is said of an interrupt."""
    try:
        yield
    except (KeyboardInterrupt, Exception) as end:
        end.add_note(f"go on with: {program()} {shlex.join(command)}")
        raise


def words(interrupt: KeyboardInterrupt, *, publishing: bool) -> str:
    """Say what an interrupt leaves, and what goes on from there."""
    published = ["nothing was published"] if publishing else []
    return "; ".join(["interrupted", *published, *getattr(interrupt, "__notes__", [])])
