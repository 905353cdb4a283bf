"""What a process takes of the machine, under the names that Prometheus's own clients give it."""

from __future__ import annotations

import os

from app import memory
from app.metrics import Snapshot


def taken() -> Snapshot:
    """Look at this process: processor time in seconds, resident memory in bytes, open files."""
    times = os.times()
    return {
        "process_cpu_seconds": {(): [times.user + times.system]},
        "process_resident_memory_bytes": {(): [float(memory.resident())]},
        "process_open_fds": {(): [float(len(os.listdir("/proc/self/fd")))]},
    }
