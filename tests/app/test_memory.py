"""The memory that counts is that which a container may use."""

import os

import pytest

from app import memory
from app.cgroups import Mounted

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(
    ("limit", "expected"), [("1000000\n", 1_000_000), ("max\n", MACHINE), ("9223372036854771712\n", MACHINE)]
)
def test_a_limit_of_either_version(tmp_path, name, limit, expected):
    (tmp_path / "memory").mkdir()
    (tmp_path / name).write_text(limit)

    assert memory.available(Mounted(tmp_path, tmp_path / "none")) == expected


def test_the_group_of_a_job_in_version_1(tmp_path):
    """As Slurm limits jobs; of version 2, the machine has a hierarchy without controllers beside it."""
    mounted = Mounted(tmp_path, tmp_path / "membership")
    mounted.membership.write_text("9:name=systemd:/\n4:memory,hugetlb:/slurm/job_7\n1:cpu:/\n0::/\n")
    job = tmp_path / "memory" / "slurm" / "job_7"
    job.mkdir(parents=True)
    (job / "memory.limit_in_bytes").write_text("3000000\n")
    (job.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")

    assert memory.available(mounted) == 3_000_000


def test_no_control_group(tmp_path):
    assert memory.available(Mounted(tmp_path, tmp_path / "none")) == MACHINE
