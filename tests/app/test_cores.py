"""The cores that count are those a container may use."""

import os

import pytest

from app import cores

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", HERE),
        ("100000 100000", 1),
        ("50000 100000", 1),
        pytest.param("150000 100000", 2, marks=pytest.mark.skipif(HERE < 2, reason="takes two cores")),
        ("broken", HERE),
    ],
)
def test_a_quota_of_version_2(tmp_path, quota, expected):
    (tmp_path / "cpu.max").write_text(quota)

    assert cores.available(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", HERE), ("100000", 1)])
def test_a_quota_of_version_1(tmp_path, quota, expected):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")

    assert cores.available(tmp_path) == expected


def test_no_control_group(tmp_path):
    assert cores.available(tmp_path) == HERE


def test_a_process_that_is_kept_to_one_core(tmp_path):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores.available(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
