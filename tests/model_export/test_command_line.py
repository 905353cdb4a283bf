"""``python -m model_export``: the whole way from a folder to a served model, and its exit codes."""

import hashlib
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import chdir, redirect_stdout
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tifffile
import yaml

from app.model import Model
from model_export import arguments, comparison, conversion, datasets, verification
from model_export.__main__ import main
from model_export.artifact import feature_statistics, precision
from model_export.commands import COMMANDS
from model_export.figures import evaluation, metrics
from model_export.fitting import optimizing
from tests import toys
from tests.conftest import ROOT, closed, serving
from tests.model_export.conftest import bright_and_dark


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which a model was trained, once for all tests; returns it and what ``--json`` said."""
    root = tmp_path_factory.mktemp("trained")
    data = bright_and_dark(root / "data")
    arguments = ["train", str(data), "--trunk", "plain", "--epochs", "4", "--batch-size", "8", "--name", "light"]
    with chdir(root), redirect_stdout(io.StringIO()) as out:
        assert main([*arguments, "--learning-rate", "0.01", "--output", str(root / "models"), "--json"]) == 0
    return root, out.getvalue()


@pytest.fixture
def published(trained, folder, tmp_path):  # noqa: ARG001  # the images lie here too
    """The model of :func:`trained` as if it had been trained here; returns what was said, and the repository."""
    root, said = trained
    for name in ("models", "runs"):
        shutil.copytree(root / name, tmp_path / name)
    options = tmp_path / "runs" / "light" / "1" / "args.yaml"
    options.write_text(options.read_text().replace(str(root), str(tmp_path)))
    return json.loads(said.replace(str(root), str(tmp_path))), tmp_path / "models"


@pytest.fixture
def finished(published):
    """The run of that model, of which nothing has been published; returns its folder, and the repository."""
    said, repository = published
    shutil.rmtree(repository / "light")
    return said["run"], repository


def test_from_a_folder_to_an_answer_over_http(published):
    said, repository = published

    assert said["published"] == str(repository / "light" / "1")
    assert said["metrics"]["validation"]["images"] == 4
    assert said["classes"]["test"]["dark"]["recall"] == 1
    assert said["held_out"] == 4
    assert max(difference["largest"] for difference in said["differences"]) < 1e-4
    with serving(repository) as client:
        for value, label in ((20, "dark"), (230, "bright")):
            assert client.post("/predict", files={"file": toys.plain(value, (16, 16))}).json()["label"] == label
        model = client.get("/models/light").json()
    assert model["architecture"] == "regions"
    assert model["training"]["images"] == {"train": 32, "validation": 4, "test": 4}
    assert model["training"]["seed"] == 0
    assert set(model["classes"]) == {"validation", "test"}
    assert model["classes"]["validation"]["dark"] == dict.fromkeys(("precision", "recall", "f1"), 1) | dict.fromkeys(
        ("images", "predicted"), 2
    )
    assert model["metrics"]["test"]["macro_f1"] == model["metrics"]["test"]["balanced_accuracy"] == 1
    assert model["training"]["packages"]["keras"]
    assert model["metrics"]["validation"]["accuracy"] == said["metrics"]["validation"]["accuracy"]
    assert model["training"]["command"].startswith("python -m model_export train ")
    assert len(model["training"]["fingerprint"]) == 64
    assert model["calibration"]["temperature"] == said["calibration"]["temperature"]
    assert {entry["batch"] for entry in model["parity"]} == {1, 7, 32}
    assert model["probe"]["shape"] == [4, 16, 16, 3]
    assert model["training"]["epochs_planned"] == 4
    assert model["training"]["steps_per_epoch"] == 30
    card = (repository / "light" / "1" / "README.md").read_text()
    assert "# light" in card
    for said_of_training in (
        f"fingerprint `{model['training']['fingerprint']}`",
        f"`{model['training']['command']}`",
        "--trunk plain --weights none --freeze-epochs 0 --epochs 4 --batch-size 8 --learning-rate 0.01 "
        "--weight-decay 0.001 --augmentation photo --averaging 0.99 --patience 10 --seed 0 "
        "--precision float32 --name light`",
        "running average of the weights 0.99",
        "4 of 4 epochs",
        "Test: each class:\n\n| class | images | precision | recall | F1 |\n| --- | --- | --- | --- | --- |\n"
        "| bright | 2 | 1.0000 | 1.0000 | 1.0000 |\n| dark | 2 | 1.0000 | 1.0000 | 1.0000 |\n\n"
        "Balanced accuracy (mean recall) 1.0000, macro F1 1.0000.",
    ):
        assert said_of_training in card
    for name in re.findall(r"\]\((.*?\.png)\)", card):
        assert (repository / "light" / "1" / name).read_bytes().startswith(b"\x89PNG")


def test_a_model_begins_with_the_trunk_of_an_earlier_run_and_its_card_says_so(published, folder, capsys):
    """At this learning rate the trunk stays what it was."""
    said, repository = published
    best = Path(said["run"]) / "best.keras"
    options = ["--trunk", "plain", "--weights", str(best), "--architecture", "gap", "--averaging", "0"]
    options += ["--epochs", "1", "--batch-size", "8", "--learning-rate", "1e-12"]

    line = ["train", str(folder), *options, "--name", "warm"]
    assert main([*line, "--output", str(repository)]) == 0

    before, after = (keras.saving.load_model(path) for path in (best, "runs/warm/1/best.keras"))
    for one, other in zip(
        before.get_layer("conv_2").get_weights(), after.get_layer("conv_2").get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)
    digest = hashlib.sha256(best.read_bytes()).hexdigest()
    card = (repository / "warm" / "1" / "README.md").read_text()
    assert f"; initial weights of the trunk: from a file (SHA-256 `{digest}`)\n" in card
    origin = Model.load((repository / "light" / "1" / "model.onnx").read_bytes(), device="cpu").metadata.training
    assert origin["checkpoint_sha256"] == digest
    assert f" --trunk plain --weights {best} --freeze-epochs 0 " in card
    assert "images of the other splits may be among those that it had learned from." in card
    said_first = capsys.readouterr().err
    assert f"parameters, initial weights of the trunk {best}; run runs/warm/1\nnote: that trunk may" in said_first
    shutil.rmtree(said["run"])
    assert main(["train", "--resume", "runs/warm/1"]) == 0
    capsys.readouterr()
    assert main(["verify", "warm", str(folder), "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)["seen_in_training"]
    assert seen["test"] == "not seen, unless by the network that its initial weights come from"


def test_a_run_begins_with_the_weights_that_it_was_started_with_or_not_at_all(published, folder, monkeypatch, capsys):
    """Else its metadata would name others."""
    said, _ = published
    best = Path(said["run"]) / "best.keras"
    options = ["--trunk", "plain", "--weights", str(best), "--epochs", "1", "--batch-size", "8"]
    line = ["train", str(folder), *options, "--name", "warm"]
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "fit", interrupt)
        assert main(line) == 130
    weights = best.read_bytes()
    changed = keras.saving.load_model(best)
    changed.save(best)

    assert main(["train", "--resume", "runs/warm/1"]) == 65
    error = capsys.readouterr().err.splitlines()[-1]
    assert (
        error == f"error: {best} has changed since runs/warm/1 was started with its weights; restore it, or train again"
    )
    best.write_bytes(weights)
    assert main(["train", "--resume", "runs/warm/1"]) == 0


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_file_of_weights_that_is_missing_is_told_before_the_data_is_loaded(command, capsys):
    assert main([command, "no-such-data", "--weights", "absent.keras"]) == 66
    assert capsys.readouterr().err == "error: --weights absent.keras: there is no such file\n"


def test_three_images_of_each_class_are_published_without_statistics(folder, tmp_path, capsys):
    """One of them is trained on: no class has two that could differ."""
    for path in [path for label in ("bright", "dark") for path in sorted((folder / label).iterdir())[3:]]:
        path.unlink()

    arguments = ["--trunk", "plain", "--epochs", "1", "--batch-size", "8", "--name", "few"]
    assert main(["train", str(folder), *arguments]) == 0

    captured = capsys.readouterr()
    assert "note: no statistics of the features are kept (the training images of each class do not differ)" in (
        captured.err
    )
    assert "familiarity is never below" not in captured.err  # of what there is none
    assert "Warning" not in captured.err
    with serving(tmp_path / "models") as client:
        answer = client.post("/predict", files={"file": toys.plain(230, (16, 16))}).json()
    assert answer["label"] in ("bright", "dark")
    assert "familiarity" not in answer


def test_paths_need_not_be_text_and_a_terminal_may_lack_letters(folder, tmp_path):
    """Neither is known before the end, when it would cost a whole training."""
    data = folder.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    options = ["--trunk", "plain", "--epochs", "1", "--batch-size", "8"]
    line = ["train", str(data), *options, "--name", "light", "--data-licence", data.name]
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}

    command = [sys.executable, "-m", "model_export", *line]
    done = subprocess.run(command, env={**os.environ, **ascii_alone}, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert b"published models/light/1\n" in done.stdout
    card = (tmp_path / "models" / "light" / "1" / "README.md").read_text(encoding="utf-8")
    assert f"- command: `python -m model_export train '{tmp_path}/caf\\udce9' --trunk plain " in card
    assert "- data: caf\\\\udce9 (32 train, 4 validation, 4 test)" in card
    assert "16×16 pixels" in card
    assert main(["publish", "runs/light/1", "--precision", "float16"]) == 0


def test_a_second_run_publishes_the_next_version(published, folder):
    _, repository = published

    arguments = ["--trunk", "plain", "--epochs", "1", "--batch-size", "8", "--name", "light"]
    assert main(["train", str(folder), *arguments, "--output", str(repository)]) == 0

    assert sorted(path.name for path in (repository / "light").iterdir()) == [".highest", "1", "2"]


def test_inspect_prints_what_pooling_saves(published, capsys):
    _, repository = published

    assert main(["inspect", str(repository / "light")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"dark +│ 2 +│ 1\.0000 +│ 1\.0000 +│ 1\.0000 +│", text)
    assert "balanced accuracy (mean recall) 1.0000, macro F1 1.0000\n" in text
    assert "256 pooled features × 2 classes = 512 weights, of 19,906 parameters in all" in text
    assert "a dense layer of 500 on the flattened 8×8×64 feature map (4,096 numbers) would need 2,048,000" in text
    assert main(["inspect", str(repository / "light" / "1"), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["metadata"]["labels"] == ["bright", "dark"]
    assert described["head"]["dense_weights"] == 8 * 8 * 64 * 500


def test_verify_cuts_the_data_that_it_was_trained_with_as_training_did(published, folder, capsys):
    said, repository = published
    model = str(repository / "light" / "1" / "model.onnx")

    assert main(["verify", model, str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seen_in_training"] == {"train": "learned from", "validation": "tuned on", "test": "not seen"}
    for split, figures in said["metrics"].items():
        assert found["metrics"][split] == pytest.approx(figures, abs=1e-5)
    assert main(["verify", model, str(folder)]) == 0
    out = capsys.readouterr().out
    assert "split as then (seed 0): train learned from, validation tuned on, test not seen" in out
    assert re.search(r"train +│ 32 +│ [01]\.\d{4} +│", out)
    assert re.search(r"test +│ 4 +│ 1\.0000 \(0\.510–1\.000\) +│", out)

    # A file more or less makes it another data set, of which it is not known what was trained on.
    (folder / "dark" / "00.png").unlink()
    assert main(["verify", model, str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metrics"]["all"]["images"], found["seen_in_training"]) == (39, {"all": "not known"})
    assert main(["verify", model, str(folder)]) == 0
    assert (
        "or changed since; it is measured as one split. If it contains images that the model was trained on"
        in capsys.readouterr().out
    )


def test_verify_cuts_with_the_seed_of_the_training_and_never_else(folder, tmp_path, capsys):
    """Training cut its validation images off those of the folder ``train``, where the data had none."""
    for split in ("train", "test"):
        shutil.copytree(folder, tmp_path / "halved" / split)
    options = ("--epochs", "1", "--batch-size", "8", "--trunk", "plain", "--seed", "3", "--name", "light", "--json")
    assert main(["train", str(tmp_path / "halved"), *options]) == 0
    trained = capsys.readouterr()
    said = json.loads(trained.out)["metrics"]
    assert (
        "note: with 4 validation images, familiarity is never below 0.2, and feature drift cannot be told from"
        in trained.err
    )

    def verify():
        assert main(["verify", "light", str(tmp_path / "halved"), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    found = verify()
    assert {split: figures["images"] for split, figures in found["metrics"].items()} == {
        "train": 36,
        "validation": 4,
        "test": 40,
    }
    for split, figures in found["metrics"].items():
        assert figures == pytest.approx(said[split], abs=1e-5)
    (tmp_path / "halved" / "test" / "dark" / "00.png").write_bytes(b"no image")
    found = verify()
    assert {split: figures["images"] for split, figures in found["metrics"].items()} == {"train": 40, "test": 39}
    assert set(found["seen_in_training"].values()) == {"not known"}


def test_a_parity_failure_publishes_nothing(finished, monkeypatch, capsys):
    run, repository = finished
    monkeypatch.setattr(verification, "TOLERANCE", 0.0)

    assert main(["train", "--resume", run]) == 65
    assert "nothing was published" in capsys.readouterr().err
    assert list(repository.iterdir()) == []


def test_a_run_leaves_what_is_needed_to_look_at_it_and_to_publish_it_again(published, capsys):
    said, repository = published
    run = Path(said["run"])

    names = {path.name for path in run.iterdir()}
    assert {"args.yaml", "results.csv", "best.keras"} <= names
    assert {"curves.png", "confusion.png", "reliability.png", "selective.png"} <= names
    assert len((run / "results.csv").read_text().splitlines()) == 1 + 4
    kept = (run / "args.yaml").read_text()
    (run / "args.yaml").write_text(re.sub(r"keras: .*", "keras: 0.0.1", kept))  # trained by an older version
    assert main(["publish", str(run), "--precision", "int8", "--output", str(repository), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["published"] == str(repository / "light" / "2")
    assert again["precision"]["accuracy"] == again["metrics"]["validation"]["accuracy"]
    with serving(repository) as client:
        for version, precision in ((1, "float32"), (2, "int8")):
            assert client.get(f"/models/light/{version}").json()["precision"] == precision
            answer = client.post(f"/predict?model=light:{version}", files={"file": toys.plain(230, (16, 16))})
            assert answer.json()["label"] == "bright"
        training = client.get("/models/light/2").json()["training"]
    assert training["packages"]["keras"] == "0.0.1"
    assert training["published"]["packages"]["keras"] not in ("", "0.0.1")
    assert training["command"].startswith("python -m model_export train ")
    assert training["published"]["command"].startswith(f"python -m model_export publish {run} --precision int8")
    assert training["repeat"].endswith("--precision int8 --name light")


def test_a_run_in_a_folder_that_cannot_be_written_is_not_measured_first(published, capsys):
    said, _ = published
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        run = shutil.copytree(said["run"], Path(root, "run"))
        with closed(run, 0o555):
            code = main(["publish", str(run)])

    assert (code, capsys.readouterr().err) == (1, f"error: {run}: Permission denied\n")


def test_whoever_publishes_what_answers_every_request_without_a_name_is_told(published, capsys):
    said, repository = published

    def publish(name):
        assert main(["publish", said["run"], "--name", name, "--output", str(repository)]) == 0
        return [line for line in capsys.readouterr().err.splitlines() if "MULTIPOOL_DEFAULT_MODEL" in line]

    assert publish("luminous") == []  # "light" comes before it
    (line,) = publish("bright")
    assert line.startswith("warning: 'bright' is now the first model by name: ")
    assert line.endswith("MULTIPOOL_DEFAULT_MODEL=light")
    with serving(repository) as client:
        assert client.get("/models").json()["default"] == "bright"
    assert publish("bright") == []  # it was before


def test_a_finished_run_that_is_published_is_not_published_again(published, capsys):
    said, repository = published
    run = Path(said["run"])
    words = f"{run} is finished, and is published already: {repository / 'light' / '1'}; nothing new was published"

    def resume(*options):
        assert main(["train", "--resume", str(run), *options]) == 0
        return capsys.readouterr()

    assert resume().err.splitlines()[-1] == words
    assert json.loads(resume("--json").out) == said
    assert sorted(path.name for path in (repository / "light").iterdir()) == [".highest", "1"]
    options = yaml.safe_load((run / "args.yaml").read_text())
    (run / "args.yaml").write_text(yaml.safe_dump({**options, "precision": "float16"}))  # asked for at the start
    again = json.loads(resume("--json").out)
    assert (again["published"], again["precision"]["precision"]) == (str(repository / "light" / "2"), "float16")
    assert json.loads(resume("--json").out) == again
    (run / "args.yaml").write_text(yaml.safe_dump(options))
    damaged = bytearray((repository / "light" / "1" / "model.onnx").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (repository / "light" / "1" / "model.onnx").write_bytes(damaged)
    assert json.loads(resume("--json").out)["published"] == str(repository / "light" / "3")


def test_a_run_is_published_again_in_its_own_precision_where_it_was(finished, capsys):
    run, repository = finished
    options = Path(run) / "args.yaml"
    options.write_text(options.read_text().replace("precision: float32", "precision: float16"))

    for given, expected in (((), "float16"), (("--precision", "float32"), "float32")):
        assert main(["publish", run, *given, "--json"]) == 0
        published = json.loads(capsys.readouterr().out)["published"]
        assert Path(published).parents[1] == repository  # where the run published, as it was named
        assert main(["inspect", published, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["metadata"]["precision"] == expected


def test_what_is_said_of_a_smaller_precision_is_measured_with_it(published, folder, monkeypatch, capsys):
    """The data is so easy that int8 is as good; here it is four times less sure."""
    said, repository = published
    run = evaluation.run

    def unsure(*given):
        for found in run(*given):
            logits = found.logits / 4
            yield replace(found, logits=logits, probabilities=metrics.probabilities(logits))

    monkeypatch.setattr(evaluation, "run", unsure)

    pictures = {path.name: path.read_bytes() for path in Path(said["run"]).glob("*.png")}

    assert main(["publish", said["run"], "--precision", "int8", "--output", str(repository)]) == 0

    out = capsys.readouterr().out
    assert "Keras and int8: largest difference, in % of the output's largest value" in out
    assert "Keras and ONNX: largest difference" not in out
    assert re.search(
        r"\nrun .*\nint8 is accurate enough: 1\.0000 of the validation images are right, 1\.0000 in float32 "
        r"\(none lost, 0\.005 allowed\); for 1\.0000 both name the same class; .*\n"
        r"4 validation images are too few to show a loss of 0\.5 points of accuracy \(one image is 25\): "
        r"published without that proof\npublished ",
        out,
    )
    assert re.search(r"logits +│ [\d.]+ \([\d.e-]+\) +│", out)
    assert f"published {repository / 'light' / '2'}, the newest version of light: from now on it answers" in out
    assert re.search(r"go back   mv \S+/light/2 \S+/light/2\.withdrawn, or ask for \?model=light:1\n", out)
    none = "o temperature is set, because none lowers the cross-entropy of images that it was not fitted to"
    assert f"\nn{none}\ncalibration error of the validation images: " in out
    assert re.search(r" [\d.]+ as trained, [\d.]+ as published in int8; with 4 images, these are rough guesses\n", out)
    assert {name: (Path(said["run"]) / name).read_bytes() for name in pictures} == pictures
    inspected, model = repository / "light" / "2", repository / "light" / "2" / "model.onnx"
    assert main(["inspect", str(inspected), "--json"]) == 0
    metadata = json.loads(capsys.readouterr().out)["metadata"]
    held_out = folder.with_name("held-out")
    validation = datasets.load(str(folder)).splits["validation"].names
    for name in validation:
        (held_out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, held_out / name)
    assert main(["verify", str(model), str(held_out), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["metrics"]["all"]["ece"]
    assert metadata["calibration"]["after"]["validation"] == pytest.approx(measured, abs=1e-6)
    assert measured > said["calibration"]["after"]["validation"] + 0.001
    found = Model.load(model.read_bytes(), device="cpu")
    statistics = found.metadata.statistics
    again = datasets.load(str(folder))
    features = {name: evaluation.answers(found, split)[1] for name, split in again.splits.items()}
    assert statistics == feature_statistics.take(features, again)
    assert statistics != Model.load((repository / "light" / "1" / "model.onnx").read_bytes(), "cpu").metadata.statistics
    card = (inspected / "README.md").read_text()
    for command in ("inspect light:2\n", "verify light:2 DATA`", "/predict?model=light:2'"):
        assert command in card
    assert f"N{none}. Expected calibration error over 15 bins:" in card
    assert "| split | as trained, in float32 | as published, in int8 |" in card
    assert f"| {measured:.4f} |" in card.split("as published, in int8")[1]
    assert "1.0000 of the validation images are right, 1.0000 in float32 (none lost, 0.005 allowed)" in card
    assert re.search(r"by at most [\d.]+% of the largest value of each, in the median by at most [\d.]+%", card)
    for picture, same in (("curves.png", True), ("reliability.png", False), ("selective.png", False)):
        assert ((inspected / picture).read_bytes() == (repository / "light" / "1" / picture).read_bytes()) == same
    assert main(["inspect", str(inspected)]) == 0
    page = capsys.readouterr().out
    assert re.search(r", in the median by at most [\d.]+%; int8 rounds, and is judged by its accuracy, below", page)
    assert f"n{none}; calibration error train " in page


def test_a_bad_successor_is_published_only_when_asked_for(published, folder, monkeypatch, capsys):
    """The new run learns nothing; of the four validation images, the version that answers is right on all."""
    _, repository = published
    options = ["--trunk", "plain", "--epochs", "1", "--batch-size", "8", "--name", "light"]
    assert main(["train", str(folder), *options, "--size", "20"]) == 65
    assert "the new model 20×20×3. Nothing was published: choose another --name, or" in capsys.readouterr().err
    assert not Path("runs/light/2").exists()  # no time was lost

    with monkeypatch.context() as patch:
        patch.setattr(optimizing, "optimizer", lambda *_: keras.optimizers.SGD(0.0))
        assert main(["train", str(folder), *options, "--averaging", "0"]) == 65
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: light:1, which it would replace, is clearly better on the same 4 validation images")
    assert sorted(path.name for path in (repository / "light").iterdir()) == [".highest", "1"]
    command = shlex.split(error.partition("anyway: ")[2])
    assert command[-4:] == ["model_export", "publish", "runs/light/2", "--replace-anyway"]
    assert main(command[-3:]) == 0
    out = capsys.readouterr().out
    assert re.search(r"published models/light/2, .*; validation accuracy 1\.0000 \(version 1\) → 0\.[05]0{3}\n", out)
    assert main(command[-3:]) == 0
    assert capsys.readouterr().err.endswith(
        "runs/light/2 is published already, as models/light/2; nothing new was published\n"
    )


def test_too_small_a_precision_publishes_nothing(published, monkeypatch, capsys):
    said, repository = published
    monkeypatch.setattr(precision, "LARGEST_FALL", -1.0)

    assert main(["publish", said["run"], "--precision", "float16", "--output", str(repository)]) == 65
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: float16 loses too much: ")
    assert sorted(path.name for path in (repository / "light").iterdir()) == [".highest", "1"]
    command = error.partition("; nothing was published: ")[2].removesuffix(" publishes it as it is")
    assert "float16" not in command
    assert shlex.split(command)[-3:] == [str(repository), "--precision", "float32"]
    assert main(shlex.split(command.partition(" -m model_export ")[2])) == 0
    assert "published already" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_version_as_it_is(published, monkeypatch, capsys):
    """The process may write files of 20 kB at most, as on a disk that fills up while the artifact is written."""
    said, repository = published
    before = (repository / "light" / "1" / "model.onnx").read_bytes()
    save, limits = conversion.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(*given):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        save(*given)

    monkeypatch.setattr(conversion, "save", full)
    try:
        code = main(["publish", said["run"], "--data-licence", "MIT", "--output", str(repository)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf"error: {repository}/light/\.staging-\w+/model\.onnx: File too large", error)
    assert sorted(path.name for path in (repository / "light").iterdir()) == [".highest", "1"]
    assert (repository / "light" / "1" / "model.onnx").read_bytes() == before


def test_bad_data_and_missing_input(folder, tmp_path, capsys):
    def run(*arguments):
        code = main(list(arguments))
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        return code, error

    assert run("train", str(tmp_path / "absent"))[0] == 66
    assert not (tmp_path / "runs").exists()  # of what never began
    for path in (folder / "dark").iterdir():
        path.unlink()
    code, error = run("train", str(folder))
    assert code == 65
    assert "1 class has too few images: 'dark' (0)" in error
    assert run("inspect", str(tmp_path / "absent"))[0] == 66
    (tmp_path / "foreign.onnx").write_bytes(b"not a model")
    code, error = run("inspect", str(tmp_path / "foreign.onnx"))
    assert code == 65
    assert error.startswith(f"error: {tmp_path / 'foreign.onnx'} is not a valid artifact: ")
    foreign = toys.proto()
    foreign.ClearField("metadata_props")
    onnx.save(foreign, tmp_path / "foreign.onnx")
    assert run("verify", str(tmp_path / "foreign.onnx"))[0] == 65


def test_a_run_names_all_files_that_were_skipped(folder, monkeypatch, capsys):
    """The report names the first ten."""
    for index in range(12):
        (folder / "dark" / f"no\n-{index:02}.png").write_bytes(b"no image")
    monkeypatch.setattr(keras.Model, "fit", interrupt)

    assert main(["train", str(folder), "--name", "toy"]) == 130

    assert "runs/toy/1/skipped.txt names all 12 skipped files\n" in capsys.readouterr().err
    lines = Path("runs/toy/1/skipped.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"dark/no\\n-{index:02}.png" for index in range(12)]
    assert all("use JPEG" in line for line in lines)


def test_data_beside_a_run_to_resume_is_what_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["train", "digits", "--resume", "runs/x/1"])

    assert "--resume uses the data of its run; leave out DATA, or leave out --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "digits", "--architecture", "dense"],
        ["train", "digits", "--size", "big"],
        ["train", "digits", "--size", "0"],
        ["train", "digits", "--size", "100000"],
        ["train", "digits", "--size", "8"],
        ["compare", "digits", "--size", "15x16", "--architectures", "gap,regions"],
        ["train", "digits", "--architecture", "flatten-dense", "--batch-size", "1"],
        ["compare", "digits", "--architectures", "gap,flatten-dense-dropout", "--batch-size", "1"],
        ["train", "digits", "--channels", "201"],
        ["train", "digits", "--output", "/etc/passwd/models"],
        ["train", "digits", "--runs", "/etc/passwd"],
        ["train", "digits", "--name", "../up"],
        ["train", "digits", "--epochs", "0"],
        ["train", "absent", "--epochs", "1000000000"],
        ["train", "digits", "--learning-rate", "nan"],
        ["train", "digits", "--seed", "-1"],
        ["train", "absent", "--seed", "4294967296"],
        ["train", "digits", "--value-range", "5", "5"],
        ["train", "digits", "--value-range", "0", "inf"],
        ["train", "digits", "--value-range", "-inf", "1"],
        ["train", "digits", "--resume", "runs/x/1"],
        ["train", "--resume", "runs/x/1", "--epochs", "9"],
        ["train", "--resume", "runs/x/1", "--precision", "int8"],
        ["train", "digits", "--trunk", "resnet51"],
        ["train", "digits", "--weights", "imagenet"],
        ["train", "digits", "--weights", "trunk.weights.h5"],
        ["train", "digits", "--weights", "best.keras", "--freeze-epochs", "1"],
        ["train", "digits", "--freeze-epochs", "3"],
        ["train", "digits", "--trunk", "mobilenetv2", "--epochs", "3", "--freeze-epochs", "4"],
        ["compare", "digits", "--trunk", "mobilenetv2", "--freeze-epochs", "11"],
        ["train", "digits", "--averaging", "1"],
        ["train", "digits", "--weight-decay", "1"],
        ["train", "digits", "--weight-decay", "-0.1"],
        ["train", "digits", "--precision", "int4"],
        ["train", "digits", "--learning-rate", "0"],
        ["train", "digits", "--learning-rate", "1"],
        ["train", "x.npz", "--labels", "a,a"],
        ["train", "x.npz", "--labels", "a, a"],
        ["train", "x.npz", "--labels", "caf\u00e9,cafe\u0301"],
        ["train", "x.npz", "--labels", "a"],
        ["train", "x.npz", "--labels", "a,,b"],
        ["train", "x.npz", "--labels", "a,b\x1bc"],
        ["compare", "digits", "--architectures", "gap,gap2"],
        ["publish"],
        ["train", "photos", "--archtecture", "regions"],
        ["train", "photos", "more photos"],
        ["verify", "toy", "--against", "toy:1"],
        ["verify", "toy", "--labels", "a,b"],
    ],
)
def test_usage_errors(line, capsys):
    """In one line, not below a list of all options; it says how to get that of the command."""
    with pytest.raises(SystemExit) as caught:
        main(line)

    assert caught.value.code == 2
    program = " ".join(["python -m model_export", *(name for name in line[:1] if name in COMMANDS)])
    said = capsys.readouterr().err
    assert re.fullmatch(rf"{program}: error: .+ \(all options: {program} --help\)\n", said)


def test_a_head_that_normalises_over_the_batch_is_told_from_one_that_learns_from_single_images(capsys):
    with pytest.raises(SystemExit):
        arguments.parse(["compare", "digits", "--architectures", "gap,flatten-dense", "--batch-size", "1"])

    assert (
        "argument --batch-size: 'flatten-dense' normalises over the images of a batch, so that it learns nothing from "
        "one alone; it needs at least 2, better 8"
    ) in capsys.readouterr().err
    for line in ("--architecture gap --batch-size 1", "--architecture flatten-dense --batch-size 2"):
        arguments.parse(["train", "digits", *line.split()])


def test_where_images_are_too_small_the_smaller_trunk_is_named_unless_it_was_asked_for(capsys):
    for trunk, side, advice in (
        ("batchnorm", 16, "larger --size, or --trunk plain ("),
        ("plain", 4, "larger --size ("),
    ):
        line = ["train", "digits", "--size", str(side - 1), "--trunk", trunk]
        with pytest.raises(SystemExit):
            arguments.parse(line)

        assert f"needs {side}×{side}; choose a {advice}all options: " in capsys.readouterr().err


def test_the_least_and_the_largest_values_are_taken(tmp_path):
    line = (
        "train x.npz --size 16 --channels 200 --averaging 0 --weight-decay 0 --learning-rate 1e-12 --seed 0 --epochs 1"
    )
    given = arguments.parse([*line.split(), "--labels", " a, e\u0301", "--output", str(tmp_path / "new" / "models")])

    assert (given.size, given.channels, given.averaging, given.weight_decay) == ((16, 16), 200, 0, 0)
    assert (given.learning_rate, given.seed, given.epochs, given.labels) == (1e-12, 0, 1, ("a", "\u00e9"))
    assert arguments.parse(["compare", "x", "--architectures", "gap,gmp,gap"]).architectures == ("gap", "gmp")
    small = arguments.parse(["train", "x", "--size", "4x9999", "--trunk", "plain", "--architecture", "regions"])
    assert small.size == (4, 9999)
    assert arguments.parse(["train", "x", "--size", "3", "--trunk", "MobileNetV2"]).trunk == "mobilenetv2"
    frozen = "train x --trunk mobilenetv2 --epochs 4 --freeze-epochs 4"
    assert arguments.parse(frozen.split()).freeze_epochs == 4
    for options, epochs in (
        ("--trunk mobilenetv2 --weights imagenet", 5),
        ("--trunk mobilenetv2 --weights runs/x/1/best.keras --epochs 3", 1),
        ("--trunk mobilenetv2", 0),
        ("--trunk plain --weights runs/x/1/best.keras", 0),
    ):
        for command in ("train", "compare"):
            assert arguments.parse([command, "x", *options.split()]).freeze_epochs == epochs
    for kind in ("none", "aerial"):
        assert arguments.parse(["train", "digits", "--augmentation", kind]).augmentation == kind


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("tfds:cats_vs_dogs", "cats-vs-dogs-regions"),
        ("elsewhere/My photos (2)", "my-photos-2-regions"),
        ("photos/.", "photos-regions"),
        ("arrays.npz", "arrays-regions"),
        ("ARRAYS.NPZ", "arrays-regions"),
        ("Photos.CSV", "photos-regions"),
        ("照片", "model-regions"),
    ],
)
def test_a_model_without_a_name_is_named_after_its_data(data, name):
    assert arguments.parse(["train", data]).name == name


def test_paths_that_the_system_cannot_look_up_are_told_in_a_line(folder, tmp_path, capsys):
    long = "a" * 300
    assert main(["train", str(folder), "--trunk", "plain", "--output", long]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {long}: File name too long"

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert main(["train", str(loop)]) == 66
    assert capsys.readouterr().err.startswith(f"error: {loop} does not exist; name a folder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--channels", "5"], "--channels 5: the images have 3; leave it out, or give 1 for grey or 3 for colour"),
        (["--labels", "a,b"], "--labels names the classes of a .npz or IDX file; this data set names its own"),
    ],
)
def test_options_that_do_not_fit_the_kind_of_data_are_usage_errors(folder, options, message, capsys):
    assert main(["train", str(folder), *options]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


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


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupt_publishes_nothing(finished, monkeypatch, capsys):
    run, repository = finished
    before = signal.getsignal(signal.SIGTERM)
    for number, words in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")):
        with monkeypatch.context() as patch:
            patch.setattr(verification, "verify", lambda *_, number=number, **__: signal.raise_signal(number))

            assert main(["train", "--resume", run]) == 128 + number
            assert f"\n{words}; nothing was published; continue with: " in capsys.readouterr().err
            assert list(repository.iterdir()) == []
            assert main(["publish", run]) == 128 + number
            assert capsys.readouterr().err.splitlines()[-1] == f"{words}; nothing was published"
    assert signal.getsignal(signal.SIGTERM) is before
    assert main(["train", "--resume", run]) == 0  # nothing is left to train, but it is not published yet
    assert list(repository.glob("*/1/model.onnx"))


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A training that Ctrl-C ended: a process of its own, and a signal of the terminal.

    It has 30 epochs, so that it is not over before the signal, however late that comes; then only one more than it has
    finished, to be done soon. Returns what it said, and the finished process of the command that it named, as it was
    printed, and the number of that last epoch.
    """
    root = tmp_path_factory.mktemp("ended")
    bright_and_dark(root / "data")
    arguments = ["-m", "model_export", "train", "data", "--epochs", "30", "--batch-size", "8", "--name", "light"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (root / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, *arguments], cwd=root, env=environment, stderr=said)
    deadline = time.monotonic() + 300
    while "; validation loss" not in (root / "said").read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 130
    said = (root / "said").read_text()
    last = 1 + len((root / "runs" / "light" / "1" / "results.csv").read_text().splitlines()[1:])
    options = root / "runs" / "light" / "1" / "args.yaml"
    options.write_text(options.read_text().replace("epochs: 30\n", f"epochs: {last}\n"))
    command = [*shlex.split(said.splitlines()[-1].partition("continue with: ")[2]), "--json"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return said, done, last


def test_ctrl_c_names_the_command_that_goes_on(ended):
    said, done, epochs = ended

    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("interrupted; nothing was published; continue with: ")
    assert last.endswith("python -m model_export train --resume runs/light/1")
    assert json.loads(done.stdout)["published"] == "models/light/1"
    assert f"; at most {epochs} epochs, on the CPU; it continues after epoch {epochs - 1}\n" in done.stderr
    assert re.findall(r"epoch +(\d+) of ", done.stderr) == [str(epochs)]


def test_nothing_but_our_own_lines_reach_the_terminal(ended):
    """TensorFlow's libraries write to the terminal before any of their settings apply."""
    said, done, _ = ended

    first = ["data:", "files:", "bright:", "dark:", "regions", "an"]
    starts = [line.split()[0] for line in said.splitlines()]
    assert starts[:7] == [*first, "epoch"]
    assert starts[-1] == "interrupted;"
    assert set(starts[7:-1]) <= {"epoch"}
    starts = [line.split()[0] for line in done.stderr.splitlines()]
    assert [start for start in starts if start != "epoch"] == [*first, "trained", "measuring", "converting", "note:"]
    assert (
        said.splitlines()[5]
        == "an epoch is 30 steps of 8 images, 7.5 times through the images; at most 30 epochs, on the CPU"
    )
    epochs = [line for line in said.splitlines() if "; validation loss" in line]
    assert [bool(re.search(r"; about [\d.]+ (s|min|h) to go$", line)) for line in epochs] == [
        True,
        *[False] * len(epochs[1:]),
    ]


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_training_that_nobody_watches_any_more_is_published(folder, tmp_path, json):
    """As with ``2>&1 | head -1``; both streams are closed from the start."""
    read, write = os.pipe()
    os.close(read)
    arguments = ["train", str(folder), "--trunk", "plain", "--epochs", "1", "--batch-size", "8", "--name", "light"]
    process = subprocess.run(
        [sys.executable, "-m", "model_export", *arguments, *json],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=write,
        check=False,
    )
    os.close(write)

    assert process.returncode == 141
    assert (tmp_path / "models" / "light" / "1" / "model.onnx").is_file()


def test_a_result_that_finds_no_room_is_said_in_a_line():
    command = [sys.executable, "-m", "model_export", "inspect", "digits-regions", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "error: the result cannot be written: No space left on device\n")


def test_an_interrupted_comparison_names_the_command_that_goes_on(folder, monkeypatch, capsys):
    given = ["compare", str(folder), "--epochs", "1", "--seeds", "1", "--architectures", "gap"]
    monkeypatch.setattr(comparison, "run", interrupt)
    assert main(given) == 130
    command = capsys.readouterr().err.splitlines()[-1].partition("interrupted; continue with: ")[2]
    _, _, again = command.partition("-m model_export ")
    assert shlex.split(again) == [*given, "--report", "comparisons/data/1"]

    assert main(shlex.split(again)) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"interrupted; continue with: {command}"


def test_a_full_disk_is_told_with_the_command_that_continues(folder, capsys):
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # enough for the options, not for the weights
    try:
        assert main(["train", str(folder), "--epochs", "1"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))

    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: runs/data-regions/1/best-0001.keras: File too large; continue with: ")
    assert last.endswith("-m model_export train --resume runs/data-regions/1")
    assert [path.name for path in Path("runs/data-regions/1").iterdir()] == ["args.yaml"]


def test_an_interrupted_check_says_so(folder, tmp_path, monkeypatch, capsys):
    toys.publish(tmp_path / "models", "toy")
    monkeypatch.setattr(evaluation, "outputs", interrupt)

    assert main(["verify", "toy", str(folder)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"


def test_thirteen_bands_are_trained_and_served_from_a_tiff(tmp_path):
    random = np.random.default_rng(0)
    for label, low in (("forest", 200), ("lake", 2500)):
        (tmp_path / "tiles" / label).mkdir(parents=True)
        for index in range(10):
            tile = random.integers(low, low + 900, (16, 16, 13), np.uint16)
            tifffile.imwrite(
                tmp_path / "tiles" / label / f"{index}.tif", tile, photometric="minisblack", planarconfig="contig"
            )
    arguments = ["train", str(tmp_path / "tiles"), "--value-range", "0", "4000", "--trunk", "plain", "--epochs", "3"]
    assert main([*arguments, "--batch-size", "8", "--learning-rate", "0.01", "--name", "tiles"]) == 0

    with serving(tmp_path / "models") as client:
        assert client.get("/models/tiles").json()["input"]["channels"] == 13
        for label in ("forest", "lake"):
            tile = (tmp_path / "tiles" / label / "3.tif").read_bytes()
            answer = client.post("/predict", content=tile, headers={"Content-Type": "image/tiff"}).json()
            assert answer["label"] == label
