"""How many processor cores this process may really use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from app.cgroups import HERE, Mounted, groups


def available(mounted: Mounted = HERE) -> int:
    """Count the cores from the scheduler's affinity and the quotas of the control groups, at least 1.

    A container limited to two of 64 cores sees all 64 in ``os.cpu_count``; threads for 64 would only wait for each
    other. Quotas: Linux kernel documentation, ``cgroup-v2`` (``cpu.max``) and ``sched-bwc`` (``cpu.cfs_quota_us``).
    """
    return max(1, min([len(os.sched_getaffinity(0)), *_quotas(mounted)]))


def _quotas(mounted: Mounted) -> Iterator[int]:
    for group in groups("cpu", mounted):
        try:
            quota, period = (group / "cpu.max").read_text().split()
        except (OSError, ValueError):
            try:
                quota = (group / "cpu.cfs_quota_us").read_text().strip()
                period = (group / "cpu.cfs_period_us").read_text().strip()
            except OSError:
                continue
        if quota not in ("max", "-1"):
            yield math.ceil(int(quota) / int(period))
