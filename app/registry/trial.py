"""``python -m app.registry.trial MAX_BATCH_SIZE < model.onnx``: load a model where it can do no harm.

Ends with 0 when the model loads, runs, and answers its golden probe; else says why in one line. Memory and processor
time are bounded by the operating system.
"""

from __future__ import annotations

import os
import resource
import sys

from app.errors import MultipoolError
from app.model import Model

_MEMORY_BYTES = 8 * 1024**3
_PROCESSOR_S = 60


def main() -> int:
    """Load what comes in on standard input; returns the exit code."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR_S, _PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        model = Model.load(sys.stdin.buffer.read(), "cpu", 1)
        model.warm_up(model.batch_sizes(int(sys.argv[1])))
    except (MultipoolError, MemoryError) as error:
        print(f"error: {error or 'it needs more memory than it may have'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
