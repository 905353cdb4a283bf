"""Standard output and error as the system sees them: quiet while TensorFlow works, and closed by their reader."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

UNREAD = 128 + signal.SIGPIPE
"""Exit code when the reader has closed the output, as ``| head -1`` does: that of a program ended by the signal."""


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, and print it only if the block fails (not on an interrupt).

    TensorFlow's C++ libraries write some lines before any of their settings applies, so the descriptor itself is
    redirected.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def discard(stream: IO[str]) -> None:
    """Redirect a stream that nobody reads any more to ``/dev/null``; flushing it at exit would fail otherwise."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
