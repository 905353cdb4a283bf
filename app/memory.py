"""How much memory this process may use, and how much it uses."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from app.cgroups import HERE, Mounted, groups

_PIXELS = 2**21


def available(mounted: Mounted = HERE) -> int:
    """Bytes of the machine, or of the smallest of the control groups (Linux kernel documentation, ``cgroup-v2``)."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(mounted)])


def _limits(mounted: Mounted) -> Iterator[int]:
    for group in groups("memory", mounted):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limit = (group / name).read_text().strip()
            except OSError:
                continue
            if limit.isdecimal():
                yield int(limit)


def images_at_once(most: int, height: int, width: int, threads: int = 1) -> int:
    """Count the images of this size that are run at once: ``most``, or as many as have two million pixels, or one.

    Threads that do so at the same time share the pixels. A feature map of 64 channels then takes up to 0.5 GB, however
    large the images are.
    """
    return max(1, min(most, _PIXELS // (height * width * threads)))


def resident() -> int:
    """Bytes that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return freed memory to the system at once; glibc does so only gradually."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
