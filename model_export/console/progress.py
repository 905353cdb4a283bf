"""Progress of long work: bars on a terminal, plain lines otherwise. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from app.escaping import printable
from model_export.console import streams

T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 10.0


class Output(Console):
    """A console whose reader may leave during training: rich would exit, here the work continues.

    What cannot be printed, in the name of a class for example, is escaped.
    """

    closed = False
    """Whether nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        """Discard all further output."""
        self.closed = True
        streams.discard(self.file)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Write as segments of text; those of rich's own that command the terminal stay as they are."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else "\n".join(map(printable, text.split("\n"))), style, control)


console = Output(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print one line for people."""
    console.print(text)


def bars() -> Progress:
    """Make the progress display that every stage uses; it draws nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def track(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Yield the items, showing how far the work is."""
    said = time.monotonic()
    with bars() as progress:
        task = progress.add_task(description, total=total, detail="")
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(task, completed=done)
            if progress.disable and time.monotonic() - said > _SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                say(f"{description}: {done:,} of {total:,}")
