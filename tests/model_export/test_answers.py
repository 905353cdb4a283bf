"""``verify MODEL DATA --output TABLE``: a row for each image, so that mistakes can be looked at."""

import csv
import json
import resource
import shutil

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from model_export.__main__ import main
from model_export.figures.answers import COLUMNS, Answers, write
from tests import toys

KINDS = dict(zip(COLUMNS, (str, str, str, str, float, float, "True".__eq__), strict=True))


@pytest.fixture(autouse=True)
def toy(tmp_path):
    """A model that tells dark from bright."""
    return toys.publish(tmp_path / "models", "toy")


def tabulated(path):
    """The rows of a table, each value of its kind."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return [{name: KINDS[name](value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_every_image_has_a_row_from_which_the_figures_follow(folder, tmp_path, capsys, suffix):
    (folder / "bright" / "00.png").write_bytes(toys.plain(100, (16, 16)))
    (folder / "bright" / "01.png").write_bytes(b"no image")
    for split in ("train", "test"):
        shutil.copytree(folder, tmp_path / "splits" / split)

    assert main(["verify", "toy", str(tmp_path / "splits"), "--json", "--output", f"answers.{suffix}"]) == 0
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    rows = tabulated(tmp_path / f"answers.{suffix}")

    assert f"answers.{suffix}: a row for each of 78 images" in captured.err
    assert all(tuple(row) == COLUMNS for row in rows)
    for split in ("train", "test"):
        part = [row for row in rows if row["split"] == split]
        true, predicted = ([row[name] for row in part] for name in ("true_label", "predicted_label"))
        assert len(part) == said["metrics"][split]["images"] == 39
        assert np.mean([row["correct"] for row in part]) == pytest.approx(said["metrics"][split]["accuracy"])
        assert said["confusion"][split] == confusion_matrix(true, predicted, labels=said["labels"]).tolist()
        assert said["metrics"][split]["loss"] == pytest.approx(
            -np.mean(np.log([row["true_label_probability"] for row in part]))
        )
        (wrong,) = (row for row in part if not row["correct"])
        assert wrong["file"] == f"{split}/bright/00.png"
        assert (wrong["true_label"], wrong["predicted_label"]) == ("bright", "dark")
        # The toy's logits are ±8 · (brightness − 0.5), so that the probability is the sigmoid of 16 times that.
        assert wrong["probability"] == pytest.approx(1 / (1 + np.exp(16 * (100 / 255 - 0.5))), abs=1e-5)
        assert wrong["true_label_probability"] == pytest.approx(1 - wrong["probability"], abs=1e-5)


def test_images_in_an_array_are_numbered_and_names_need_not_be_utf8(folder, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.full((3, 8, 8, 3), 230, np.uint8), y=[1, 1, 0])
    (folder / "dark" / "00.png").rename(str(folder / "dark" / "a") + "\udcff.png")

    assert main(["verify", "toy", "data.npz", "--output", "numbered.csv"]) == 0
    for table in ("named.csv", "named.jsonl"):
        assert main(["verify", "toy", str(folder), "--output", table]) == 0

    rows = tabulated(tmp_path / "numbered.csv")
    assert [row["file"] for row in rows] == ["train-0", "train-1", "train-2"]
    assert [row["correct"] for row in rows] == [True, True, False]
    assert any("udcff" in row["file"] for row in tabulated(tmp_path / "named.csv"))
    assert len(tabulated(tmp_path / "named.jsonl")) == 40


def test_what_cannot_be_written_is_said_before_anything_is_measured(folder, tmp_path, capsys):
    (tmp_path / "there.csv").write_text("mine")

    for table, code, words in (
        ("there.csv", 2, "there.csv exists already; remove it, or name another --output"),
        ("nowhere/a.csv", 66, "there is no folder nowhere to write a.csv into; make it first"),
        ("/proc/a.csv", 1, "/proc: No such file or directory"),
    ):
        assert main(["verify", "toy", str(folder), "--output", table]) == code
        captured = capsys.readouterr()
        assert captured.err == f"error: {words}\n"
        assert captured.out == ""
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_table_that_cannot_be_finished_leaves_nothing(tmp_path):
    one = Answers(("a.png",) * 2000, np.zeros((2000, 2), np.float32), np.zeros(2000, np.int64), ("dark", "bright"))
    before = sorted(tmp_path.iterdir())
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write(tmp_path / "answers.csv", {"test": one})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))

    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["data", "--output", "a.parquet"], "'a.parquet' is not a table; its name must end in .csv or .jsonl"),
        (["--output", "a.csv"], "argument --output: it has a row for each image of DATA; name a data set"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(options, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["verify", "toy", *options])

    assert ended.value.code == 2
    assert words in capsys.readouterr().err
