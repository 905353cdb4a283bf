"""Output that nobody reads any more, as after ``| head -1``: the work goes on, and what is written goes nowhere."""

from __future__ import annotations

import os
import signal
from typing import IO

EXIT_CODE = 128 + signal.SIGPIPE
"""As that of a program that the signal ends."""


def discard(stream: IO[str]) -> None:
    """Lead a stream nowhere, with what is still to be flushed; else Python complains when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
