"""How many processor cores this process may really use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress

from app.cgroups import HERE, Mounted, groups


def available(mounted: Mounted = HERE) -> int:
    """Count the cores from the scheduler's affinity and the quotas of the control groups, at least 1.

    A container limited to two of 64 cores sees all 64 in ``os.cpu_count``; threads for 64 would only wait for each
    other. Quotas: Linux kernel documentation, ``cgroup-v2`` (``cpu.max``) and ``sched-bwc`` (``cpu.cfs_quota_us``).
    """
    return max(1, min([len(os.sched_getaffinity(0)), *_quotas(mounted)]))


def _quotas(mounted: Mounted) -> Iterator[int]:
    for group in groups("cpu", mounted):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            with suppress(OSError, ValueError):  # of the other version, or without a limit: "max"
                quota, period = map(int, " ".join((group / name).read_text() for name in names).split())
                if quota > 0:  # without a limit, -1 in version 1
                    yield math.ceil(quota / period)
