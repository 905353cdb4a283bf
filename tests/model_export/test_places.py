"""What a command writes does not become a class of the data set that it reads."""

import shutil
from pathlib import Path

import pytest

from model_export.__main__ import main
from model_export.data import sources
from tests.model_export.conftest import bright_and_dark

QUICK = ["--epochs", "1", "--batch-size", "8", "--trunk", "plain"]


@pytest.mark.parametrize(
    ("command", "options", "named"),
    [
        ("train", ["--runs", "data/runs", "--output", "data/models"], "--runs data/runs and --output data/models are"),
        ("train", ["--runs", "data"], "--runs data is"),
        ("train", ["--output", "data/dark/models"], "--output data/dark/models is"),
        ("train", ["--cache", "data/cache"], "--cache data/cache is"),
        ("train", ["--runs", "elsewhere/../link/runs"], "--runs elsewhere/../link/runs is"),
        ("train", ["--runs", "more"], "--runs more is"),
        ("compare", ["--report", "data/report"], "--report data/report is"),
        ("compare", ["--cache", "link"], "--cache link is"),
    ],
)
def test_a_folder_inside_the_data_is_refused_before_anything_is_written(folder, command, options, named, capsys):
    Path("elsewhere").mkdir()
    Path("link").symlink_to(folder)
    (folder / "dark").rename("more")
    (folder / "dark").symlink_to("../more")  # a class may be a link
    before = sorted(Path().rglob("*"))

    assert main([command, "data", *options, *QUICK]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {named} inside DATA, data, where each new folder is read as a class, or as part of")
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "named"), [("train", "--runs runs and --output models"), ("compare", "--report c")]
)
def test_a_command_that_is_started_in_the_data_set_asks_for_other_folders(folder, command, named, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    assert main([command, ".", *QUICK]) == 2

    assert f"error: {named}" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["bright", "dark"]


def test_folders_beside_the_data_are_as_good_as_before(folder, tmp_path):
    """Whether the command is started beside the data or with a path from the root, and whatever begins alike."""
    for data in ("data", "./data", str(folder)):
        for place in ("runs", "models", "data-runs", "../data", str(tmp_path), "data/.cache", "data/../runs"):
            assert not sources.holds(data, Path(place)), (data, place)
    assert sources.holds("data", folder / "new" / "deep")


def test_of_a_data_set_with_splits_only_those_are_read(folder, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(folder, tmp_path / "split" / split)

    assert not sources.holds("split", Path("split/runs"))
    assert sources.holds("split", Path("split/train/runs"))
    assert sources.holds("split", Path("split/val/dark/runs"))


def test_what_is_no_folder_of_classes_has_no_inside(folder):
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in folder.rglob("*.png")]
    (folder / "photos.csv").write_text("\n".join(["file,label", *rows]))

    for data in ("data/photos.csv", "digits", "tfds:data", "absent", ""):
        assert not sources.holds(data, folder / "runs"), data


def test_a_run_and_its_model_go_beside_the_data_and_it_is_not_published_inside(tmp_path, capsys):
    bright_and_dark(tmp_path / "data")

    assert main(["train", "data", *QUICK, "--json"]) == 0
    assert main(["publish", "runs/data-regions/1", "--output", "data/models"]) == 2

    assert (tmp_path / "runs/data-regions/1/results.csv").is_file()
    assert (tmp_path / "models/data-regions/1/model.onnx").is_file()
    assert "error: --output data/models is inside DATA, data, where each new " in capsys.readouterr().err
    assert not (tmp_path / "data" / "models").exists()
