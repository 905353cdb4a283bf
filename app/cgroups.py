"""The control groups that limit this process, on Linux.

A container is in a group of its own, which it sees as the root of all. A systemd service or a Slurm job sees the groups
of the whole machine, and its own among them. What limits a group limits all below it, so each on the way counts. See
``cgroups(7)``; Linux kernel documentation, ``cgroup-v2`` and ``cgroup-v1``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Mounted(NamedTuple):
    """Where the system shows its groups, and the membership of this process."""

    root: Path = Path("/sys/fs/cgroup")
    membership: Path = Path("/proc/self/cgroup")


HERE = Mounted()


def groups(controller: str, mounted: Mounted = HERE) -> Iterator[Path]:
    """Go through the folders of the groups that this process is in, from its own to the root.

    Args:
        controller: ``cpu`` or ``memory``. Version 1 has a hierarchy for each, version 2 one for all.
        mounted: Where to look.
    """
    membership = b""
    with suppress(OSError):
        membership = mounted.membership.read_bytes()
    paths = {"": "/", controller: "/"}
    # A group's name is that of a folder: it may hold any byte but a line feed, and need not be UTF-8.
    for controllers, path in re.findall(r"^\d+:(.*?):(.*)$", os.fsdecode(membership), re.MULTILINE):
        paths |= dict.fromkeys(controllers.split(","), path)
    for hierarchy in ("", controller):
        own = Path(paths[hierarchy].lstrip("/"))
        for group in (own, *own.parents):
            if ".." not in group.parts:  # of a group outside of what this process sees
                yield mounted.root / hierarchy / group
