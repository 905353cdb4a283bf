"""The memory that counts is that which a container may use."""

import os

import pytest

from app import memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(
    ("limit", "expected"), [("1000000\n", 1_000_000), ("max\n", MACHINE), ("9223372036854771712\n", MACHINE)]
)
def test_a_limit_of_either_version(tmp_path, name, limit, expected):
    (tmp_path / "memory").mkdir()
    (tmp_path / name).write_text(limit)

    assert memory.available(tmp_path) == expected


def test_no_control_group(tmp_path):
    assert memory.available(tmp_path) == MACHINE
