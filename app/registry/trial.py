"""``python -m app.registry.trial MAX_BATCH_SIZE PARENT < model.onnx``: load a model where it can do no harm.

Exits with 0 if the model loads, runs, and answers its golden probe; otherwise it prints the reason in one line. The
operating system limits its memory and processor time, and ends it with the process that has started it, PARENT.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

from app.errors import MultipoolError
from app.registry.loading import Loader

_MEMORY_BYTES = 8 * 1024**3
_PROCESSOR_S = 60
_STANDARD_INPUT = Path("/dev/stdin")
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Load what comes in on standard input; returns the exit code."""
    _end_with(int(sys.argv[2]))
    os.nice(10)
    _limit(resource.RLIMIT_AS, _MEMORY_BYTES)
    _limit(resource.RLIMIT_CPU, _PROCESSOR_S)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        Loader(device="cpu", threads=1, max_batch_size=int(sys.argv[1])).open(_STANDARD_INPUT)
    except MultipoolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _end_with(parent: int) -> None:
    """Be killed when the parent ends, or its thread that has started this process; that one waits for it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:  # it has ended before
        os.kill(os.getpid(), signal.SIGKILL)


def _limit(kind: int, most: int) -> None:
    """Lower a limit; one that is lower already, for the service as a whole, cannot be raised."""
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or hard > most:
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    sys.exit(main())
