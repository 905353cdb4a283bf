"""What the operating system knows of a process and everything it started."""

from __future__ import annotations

import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """List a process, its descendants, and what else is in its session: some servers let go of their children."""
    session = os.getsid(pid)
    own = session == pid
    children: dict[int, list[int]] = {}
    members = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(folder.name))
                if own and int(fields[3]) == session:
                    members.append(int(folder.name))
    found, left = {pid, *members}, [pid, *members]
    while left:
        for child in children.get(left.pop(), []):
            if child not in found:
                found.add(child)
                left.append(child)
    return sorted(found)


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
