"""What the operating system knows of a process and everything it started."""

from __future__ import annotations

import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> dict[int, int]:
    """Find a process, its descendants, and what else is in a session of its own: some servers let go of their children.

    Returns:
        The parent of each.
    """
    running = {int(folder.name): _stat(int(folder.name)) for folder in Path("/proc").glob("[0-9]*")}
    parents = {number: int(fields[1]) for number, fields in running.items() if fields}
    found = {pid, *(number for number, fields in running.items() if fields and int(fields[3]) == pid)}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {number: parents[number] for number in found if number in parents}


def cpu_s(pid: int) -> float:
    """Processor seconds that they have used so far, user and system, ended children included."""
    return sum(sum(map(int, fields[11:15])) for fields in map(_stat, tree(pid)) if fields) / _TICKS


def memory_mb(pid: int) -> float:
    """Memory they occupy, in MB; what they share is counted once (proportional set size)."""
    return sum(_proportional_kb(member) for member in tree(pid)) / 1024


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _proportional_kb(pid: int) -> int:
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
