"""``python -m benchmarks.accuracy`` measures through a real service, and says on which images."""

import sys

import numpy as np
import pytest

from benchmarks import accuracy
from tests import toys
from tests.conftest import ROOT


@pytest.fixture
def data(tmp_path):
    """Three images of each class."""
    for label, value in (("dark", 20), ("bright", 230)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "data" / label / f"{index}.png").write_bytes(toys.save(np.full((8, 8, 3), value, np.uint8)))
    return tmp_path / "data"


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Measures models on a data set."""

    def run(data, *models):
        monkeypatch.setattr(sys, "argv", ["accuracy", str(data), *models, "--repository", str(tmp_path / "models")])
        accuracy.main()

    monkeypatch.chdir(ROOT)
    return run


@pytest.mark.parametrize("trained_with", ["data", "others"])
def test_that_a_model_has_learned_from_the_images_is_said(tmp_path, data, measure, capsys, trained_with):
    """A data set without splits holds the images that a training with it has learned from, too."""
    toys.publish(tmp_path / "models", "toy", 1, toys.artifact(training={"dataset": trained_with}))

    measure(data, "toy")

    *notes, line = capsys.readouterr().out.splitlines()
    assert line.startswith("toy                      1.0000 (0.610–1.000) of 6 images, ")
    assert [note.split(",")[0] for note in notes] == [
        "note: toy has learned from most of these images" for _ in range(trained_with == "data")
    ]


def test_damaged_images_are_named_and_the_others_measured(tmp_path, data, measure, capsys):
    """Models are compared on what both of them can read; a difference that chance never makes is not of p = 0."""
    toys.publish(tmp_path / "models", "toy", 1)
    toys.publish(tmp_path / "models", "wrong", 1, toys.artifact(labels=("bright", "dark")))
    for index in range(3, 12):
        (data / "dark" / f"{index}.png").write_bytes(toys.plain(20))
    (data / "dark" / "0.png").write_bytes(b"no image")

    measure(data, "toy", "wrong")

    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith("toy                      1.0000 (0.785–1.000) of 14 images, ")
    assert lines[1].startswith("wrong                    0.0000 (0.000–0.215) of 14 images, ")
    assert lines[2] == "toy against wrong: p < 0.001 (exact McNemar test)"
    for model in ("toy", "wrong"):
        assert f"{model} skipped dark/0.png: " in said.err
        assert f"{model} skipped 1 file in all\n" in said.err


def test_a_model_that_can_read_no_image_has_no_accuracy(tmp_path, data, measure):
    toys.publish(tmp_path / "models", "toy", 1)
    for path in data.rglob("*.png"):
        path.write_bytes(b"no image")

    with pytest.raises(SystemExit, match="no image can be read by toy"):
        measure(data, "toy")


def test_what_cannot_be_measured_is_refused(tmp_path, data, measure):
    """Not measured as always wrong."""
    toys.publish(tmp_path / "models", "toy", 1)
    with pytest.raises(SystemExit, match=r"/models/nosuch answered 404: .*nosuch"):
        measure(data, "toy", "nosuch")

    (data / "dark").rename(data / "dim")
    with pytest.raises(SystemExit, match="toy does not know 1 of the 2 classes: 'dim'; it knows dark, bright"):
        measure(data, "toy")
    np.savez(tmp_path / "many.npz", x_train=np.zeros((3, 8, 8, 3), np.uint8), y_train=np.arange(3))
    with pytest.raises(SystemExit, match="toy does not know 3 of the 3 classes: '0', '1', '2'; it knows dark"):
        measure(tmp_path / "many.npz", "toy")
