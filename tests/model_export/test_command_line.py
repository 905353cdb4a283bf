"""``python -m model_export``: the whole way from a folder to a served model, and its exit codes."""

import json
import subprocess
import sys

import onnx
import pytest

from model_export import verification
from model_export.__main__ import main
from tests import toys
from tests.conftest import ROOT, serving


@pytest.fixture
def published(folder, tmp_path, capsys):
    """A model trained on the folder; returns what ``--json`` said, and the repository."""
    arguments = ["train", str(folder), "--trunk", "plain", "--epochs", "4", "--learning-rate", "0.01", "--json"]
    code = main([*arguments, "--name", "light", "--output", str(tmp_path / "models")])
    assert code == 0
    return json.loads(capsys.readouterr().out), tmp_path / "models"


def test_from_a_folder_to_an_answer_over_http(published):
    said, repository = published

    assert said["published"] == str(repository / "light" / "1")
    assert said["metrics"]["validation"]["images"] == 4
    assert max(difference["largest"] for difference in said["differences"]) < 1e-4
    with serving(repository) as client:
        for value, label in ((20, "dark"), (230, "bright")):
            assert client.post("/predict", files={"file": toys.plain(value, (16, 16))}).json()["label"] == label
        model = client.get("/models/light").json()
    assert model["architecture"] == "regions"
    assert model["training"]["images"] == {"train": 32, "validation": 4, "test": 4}
    assert model["training"]["seed"] == 0
    assert model["training"]["packages"]["keras"]
    assert model["metrics"]["validation"]["accuracy"] == said["metrics"]["validation"]["accuracy"]


def test_a_second_run_publishes_the_next_version(published, folder):
    _, repository = published

    assert main(["train", str(folder), "--epochs", "1", "--name", "light", "--output", str(repository)]) == 0

    assert sorted(path.name for path in (repository / "light").iterdir()) == ["1", "2"]


def test_inspect_prints_what_pooling_saves(published, capsys):
    _, repository = published

    assert main(["inspect", str(repository / "light")]) == 0
    text = capsys.readouterr().out
    assert "256 pooled features × 2 classes = 512 weights, of 19,906 parameters in all" in text
    assert "a dense layer of 500 on the flattened 8×8×64 feature map (4,096 numbers) would need 2,048,000" in text
    assert main(["inspect", str(repository / "light" / "1"), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["metadata"]["labels"] == ["bright", "dark"]
    assert described["head"]["dense_weights"] == 8 * 8 * 64 * 500


def test_verify_measures_the_published_file(published, folder, capsys):
    said, repository = published

    assert main(["verify", str(repository / "light" / "1" / "model.onnx"), str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["all"]
    assert found["images"] == 40
    for figure in ("accuracy", "loss"):
        whole = sum(split[figure] * split["images"] for split in said["metrics"].values()) / 40
        assert found[figure] == pytest.approx(whole, abs=1e-5)


def test_a_parity_failure_publishes_nothing(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verification, "TOLERANCE", 0.0)

    code = main(["train", str(folder), "--epochs", "1", "--output", str(tmp_path / "models")])

    assert code == 65
    assert "nothing was published" in capsys.readouterr().err
    assert list((tmp_path / "models").iterdir()) == []


def test_bad_data_and_missing_input(folder, tmp_path, capsys):
    def run(*arguments):
        code = main(list(arguments))
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        return code, error

    assert run("train", str(tmp_path / "absent"))[0] == 66
    assert run("train", str(folder), "--size", "8") == (
        65,
        "error: images of 8×8 are too small for 'regions' on the trunk 'batchnorm', which needs 16×16; "
        "choose a larger --size, or --trunk plain",
    )
    for path in (folder / "dark").iterdir():
        path.unlink()
    code, error = run("train", str(folder))
    assert code == 65
    assert "no image in" in error
    assert run("inspect", str(tmp_path / "absent"))[0] == 66
    (tmp_path / "foreign.onnx").write_bytes(b"not a model")
    assert run("inspect", str(tmp_path / "foreign.onnx"))[0] == 65
    foreign = toys.proto()
    foreign.ClearField("metadata_props")
    onnx.save(foreign, tmp_path / "foreign.onnx")
    assert run("verify", str(tmp_path / "foreign.onnx"))[0] == 65


def test_verify_refuses_data_with_other_classes(published, folder, capsys):
    _, repository = published
    (folder / "dark").rename(folder / "dim")

    assert main(["verify", str(repository / "light"), str(folder)]) == 65
    assert "the data set has the classes bright, dim; the model knows bright, dark" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "digits", "--architecture", "dense"],
        ["train", "digits", "--size", "big"],
        ["train", "digits", "--size", "0"],
        ["train", "digits", "--size", "100000"],
        ["train", "digits", "--channels", "201"],
        ["train", "digits", "--name", "../up"],
        ["train", "digits", "--epochs", "0"],
        ["train", "digits", "--learning-rate", "nan"],
        ["train", "digits", "--seed", "-1"],
        ["train", "digits", "--value-range", "5", "5"],
    ],
)
def test_usage_errors(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2


@pytest.mark.parametrize(
    "arguments", [["--help"], ["inspect", "models/digits-regions"], ["verify", "models/digits-regions"]]
)
def test_only_training_imports_tensorflow(arguments):
    """It takes seconds."""
    code = (
        "import sys; from model_export.__main__ import main\n"
        f"try: main({arguments})\n"
        "finally: assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)


def test_nothing_but_our_own_lines_reach_the_terminal(folder, tmp_path):
    """TensorFlow's libraries write to the terminal before any of their settings apply."""
    arguments = ["-m", "model_export", "train", str(folder), "--epochs", "1", "--output", str(tmp_path), "--json"]
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)

    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines] == ["data:", "regions", "epoch", "trained"]
    assert json.loads(done.stdout)["published"] == str(tmp_path / "data-regions" / "1")


def test_an_interrupt_publishes_nothing(folder, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "verify", interrupt)

    assert main(["train", str(folder), "--epochs", "1", "--output", str(tmp_path / "models")]) == 130
    assert "nothing was published" in capsys.readouterr().err
    assert list((tmp_path / "models").iterdir()) == []
