"""``python -m benchmarks.familiarity`` names each row after its source, and reads it as training does."""

import sys

import numpy as np
import pytest

from app.model import Model
from benchmarks import familiarity
from model_export import datasets
from tests import toys


def test_a_folder_is_named_without_its_path(tmp_path, monkeypatch, capsys):
    toys.publish(tmp_path / "models", "toy", 1, toys.artifact(statistics=toys.statistics()))
    random = np.random.default_rng(0)
    for kind in ("known", "of/another/folder/strange"):
        for index in range(8):
            for label, low in (("dark", 0), ("bright", 127)):
                file = tmp_path / kind / label / f"{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(toys.save(random.integers(low, low + 128, (8, 8, 3)).astype(np.uint8)))
    folders = [str(tmp_path / "known"), str(tmp_path / "of/another/folder/strange")]
    monkeypatch.setattr(sys, "argv", ["familiarity", "toy", *folders, "--repository", str(tmp_path / "models")])

    familiarity.main()

    rows = capsys.readouterr().out.splitlines()
    assert sum(row.startswith("strange  ") for row in rows) == 1, rows
    assert not [row for row in rows if "/" in row.split("  ")[0]]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("toy", "absent"), "absent is no folder with images; name one, an IDX file that ends in .gz, or 'digits'"),
        (("toy", "absent.gz"), "absent.gz is damaged or incomplete ([Errno 2] No such file"),
        (("nosuch", "digits"), "models has no model 'nosuch'; it has toy"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(tmp_path, monkeypatch, capsys, given, reason):
    toys.publish(tmp_path / "models", "toy", 1, toys.artifact(statistics=toys.statistics()))
    monkeypatch.setattr(sys, "argv", ["familiarity", *given, "--repository", str(tmp_path / "models")])

    with pytest.raises(SystemExit) as ended:
        familiarity.main()

    assert ended.value.code == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_the_digits_are_those_that_models_are_trained_on():
    trained = datasets.load("digits", size=(8, 8), measuring=True).splits["all"].images
    model = Model.load(toys.artifact(8, 8, 1), "cpu")

    found, folders = familiarity.read("digits", model, 10_000)

    np.testing.assert_array_equal(found, trained)
    assert folders == []


def test_the_area_counts_ties_half():
    assert familiarity.auroc(np.array([0.2, 0.5, 0.9]), np.array([0.1, 0.5])) == pytest.approx((3 + 1.5) / 6)
