"""The cores that count are those a container may use."""

import os

import pytest

from app import cores
from app.cgroups import Mounted

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", HERE),
        ("100000 100000", 1),
        ("50000 100000", 1),
        pytest.param("150000 100000", 2, marks=pytest.mark.skipif(HERE < 2, reason="takes two cores")),
        ("broken", HERE),
        ("", HERE),
    ],
)
def test_a_quota_of_version_2(tmp_path, quota, expected):
    (tmp_path / "cpu.max").write_text(quota)

    assert cores.available(Mounted(tmp_path, tmp_path / "none")) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", HERE), ("100000", 1), ("", HERE)])
def test_a_quota_of_version_1(tmp_path, quota, expected):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")

    assert cores.available(Mounted(tmp_path, tmp_path / "none")) == expected


def test_the_group_of_a_systemd_service_and_those_around_it(tmp_path):
    mounted = Mounted(tmp_path, tmp_path / "membership")
    mounted.membership.write_text("0::/system.slice/multipool.service\n")
    service = tmp_path / "system.slice" / "multipool.service"
    service.mkdir(parents=True)
    (service / "cpu.max").write_text("max 100000")
    assert cores.available(mounted) == HERE

    (service.parent / "cpu.max").write_text("100000 100000")  # CPUQuota=100% of the slice
    assert cores.available(mounted) == 1


def test_a_group_that_is_outside_of_what_is_seen(tmp_path):
    mounted = Mounted(tmp_path / "seen", tmp_path / "membership")
    mounted.membership.write_text("0::/../other\n")
    for folder in ("seen", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "other" / "cpu.max").write_text("100000 100000")

    assert cores.available(mounted) == HERE


@pytest.mark.parametrize("name", [b"caf\xe9", "café".encode(), b"a:b", b"a\x85b\x0cc\rd"])
def test_a_group_may_be_named_in_any_bytes(tmp_path, name):
    mounted = Mounted(tmp_path, tmp_path / "membership")
    mounted.membership.write_bytes(b"0::/" + name + b"\n")
    group = tmp_path / os.fsdecode(name)
    group.mkdir()
    (group / "cpu.max").write_text("100000 100000")

    assert cores.available(mounted) == 1


def test_no_control_group(tmp_path):
    assert cores.available(Mounted(tmp_path, tmp_path / "none")) == HERE


def test_a_process_that_is_kept_to_one_core(tmp_path):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores.available(Mounted(tmp_path, tmp_path / "none")) == 1
    finally:
        os.sched_setaffinity(0, before)
