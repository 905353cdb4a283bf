"""How many processor cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available(cgroup: Path = CGROUP) -> int:
    """Count the cores from the scheduler's affinity and the control group's quota, at least 1.

    A container limited to two of 64 cores sees all 64 in ``os.cpu_count``; threads for 64 would only wait for each
    other. Quotas: Linux kernel documentation, ``cgroup-v2`` (``cpu.max``) and ``sched-bwc`` (``cpu.cfs_quota_us``).
    """
    return max(1, min(len(os.sched_getaffinity(0)), _quota(cgroup)))


def _quota(cgroup: Path) -> int:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return os.cpu_count() or 1
    if quota in ("max", "-1"):
        return os.cpu_count() or 1
    return math.ceil(int(quota) / int(period))
