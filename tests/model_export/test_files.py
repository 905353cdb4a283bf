"""A file is replaced by one whose bytes have reached the disk, or not at all."""

import errno
import os

import numpy as np
import pytest
from keras import Input, Model

from model_export import files, publishing
from model_export.data.keeping import write_index
from model_export.data.split import Split
from model_export.fitting.runs import Run
from tests.model_export.test_runs import arguments


@pytest.fixture
def events(monkeypatch):
    """Note what is made safe, and what is renamed, in order."""
    noted = []
    fsync = os.fsync

    def note(handle):
        noted.append(("safe", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def moving(rename):
        def move(source, target, **options):
            noted.append(("renamed", os.path.basename(target)))
            rename(source, target, **options)

        return move

    monkeypatch.setattr(os, "fsync", note)
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, moving(getattr(os, name)))
    return noted


def test_bytes_are_safe_before_the_rename_and_the_rename_after_it(tmp_path, events):
    (tmp_path / "file").write_text("old")

    files.write(tmp_path / "file", b"new")

    assert events == [("safe", ".file.part"), ("renamed", "file"), ("safe", tmp_path.name)]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"new")]


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(tmp_path / "file", b"new")

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_whatever_a_run_leaves_is_safe_before_it_is_named(tmp_path, events):
    """The figures of an epoch, too: they say that its state is there."""
    run = Run.create(tmp_path, "toy", arguments())
    image = Input((2,))

    run.save_best(Model(image, image), epoch=1)
    run.save_epoch(Model(image, image), [{"epoch": 1, "val_loss": 0.5}])
    write_index(tmp_path / "index.json", Split(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64)), [])

    named = [index for index, (what, _) in enumerate(events) if what == "renamed"]
    assert [events[index][1] for index in named] == [
        "args.yaml",
        "best-0001.keras",
        "epoch-0001.keras",
        "results.csv",
        "best.keras",
        "index.json",
    ]
    assert all(events[index - 1][0] == events[index + 1][0] == "safe" for index in named)


def test_a_number_is_recorded_for_good_before_its_version_is_there_for_good(tmp_path, events):
    with publishing.staging(tmp_path, "toy") as folder:
        (folder / publishing.FILE).write_bytes(b"model")
        publishing.publish(folder)

    assert events == [("safe", ".highest"), ("renamed", ".highest"), ("safe", "toy"), ("renamed", "1"), ("safe", "toy")]
