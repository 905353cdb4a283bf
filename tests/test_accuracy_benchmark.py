"""``python -m benchmarks.accuracy`` measures through a real service, and says on which images."""

import sys

import numpy as np
import pytest

from benchmarks import accuracy
from tests import toys
from tests.conftest import ROOT


@pytest.mark.parametrize("trained_with", ["data", "others"])
def test_that_a_model_has_learned_from_the_images_is_said(tmp_path, monkeypatch, capsys, trained_with):
    """A data set without splits holds the images that a training with it has learned from, too."""
    toys.publish(tmp_path / "models", "toy", 1, toys.artifact(training={"dataset": trained_with}))
    for label, value in (("dark", 20), ("bright", 230)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "data" / label / f"{index}.png").write_bytes(toys.save(np.full((8, 8, 3), value, np.uint8)))
    options = ["accuracy", str(tmp_path / "data"), "toy", "--repository", str(tmp_path / "models")]
    monkeypatch.setattr(sys, "argv", options)
    monkeypatch.chdir(ROOT)

    accuracy.main()

    *notes, line = capsys.readouterr().out.splitlines()
    assert line.startswith("toy                      1.0000 (0.610–1.000) of 6 images, ")
    assert [note.split(",")[0] for note in notes] == [
        "note: toy has learned from most of these images" for _ in range(trained_with == "data")
    ]
