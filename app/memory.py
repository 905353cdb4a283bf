"""How much memory this process may use, and how much it uses."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available(cgroup: Path = CGROUP) -> int:
    """Bytes of the machine, or of the control group where that has less (Linux kernel documentation, ``cgroup-v2``)."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = (cgroup / name).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():
            return min(machine, int(limit))
    return machine


def resident() -> int:
    """Bytes that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return freed memory to the system at once; glibc does so only gradually."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
