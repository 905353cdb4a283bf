"""``inspect`` and ``verify`` find a model where it was named: by its path, or by its name in the model repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_export import arguments
from model_export.__main__ import main
from model_export.console import invocation
from model_export.reporting import printing
from tests import toys
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def models(tmp_path):
    """Versions 9 and 10 of a toy in ./models."""
    for version in ("9", "10"):
        toys.publish(tmp_path / "models", "toy", version)
    return tmp_path / "models"


def found(capsys, command, given):
    assert main([command, given, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["file"]


def test_the_repository_of_the_service_is_used_for_what_is_named_and_published(models, monkeypatch, capsys):
    toys.publish(models.parent / "shared", "toy", "3")
    monkeypatch.setenv("MULTIPOOL_MODELS_DIR", "shared")

    assert found(capsys, "inspect", "toy") == "shared/toy/3/model.onnx"
    assert arguments.parse(["train", "digits"]).output == Path("shared")
    monkeypatch.setenv("MULTIPOOL_MODELS_DIR", "")  # as good as none
    assert found(capsys, "inspect", "toy") == "models/toy/10/model.onnx"
    monkeypatch.setenv("MULTIPOOL_MODELS_DIR", "shared")
    for repository, version in (("shared", 3), ("models", 9)):  # the variable may be set for this one command
        commands = printing.next_commands(Path(repository, "toy", str(version)), "digits")
        assert f"\n  serve     MULTIPOOL_MODELS_DIR={repository} make serve\n" in commands


@pytest.mark.parametrize("command", ["inspect", "verify"])
@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("toy", "models/toy/10/model.onnx"),
        ("toy:9", "models/toy/9/model.onnx"),
        ("toy/9", "models/toy/9/model.onnx"),
        ("models/toy", "models/toy/10/model.onnx"),
        ("models/toy/9", "models/toy/9/model.onnx"),
        ("models/toy/9/model.onnx", "models/toy/9/model.onnx"),
    ],
)
def test_a_name_and_a_path_name_the_same_model(capsys, command, given, file):
    assert found(capsys, command, given) == file


def test_what_lies_at_the_path_goes_first(models, capsys, tmp_path):
    shutil.copytree(models / "toy" / "9", tmp_path / "toy")

    assert found(capsys, "inspect", "toy") == "toy/model.onnx"


@pytest.mark.parametrize(
    ("given", "there_are"),
    [
        ("absent", "there is no model 'absent'; there are toy\n"),
        ("toy:11", "there is no version 'toy:11'; 'toy' has 9, 10\n"),
        ("toy/11", "there is no version 'toy:11'; 'toy' has 9, 10\n"),
        ("toy:", "there is no version 'toy:'; 'toy' has 9, 10\n"),
        ("elsewhere/toy", "there is no model 'elsewhere/toy'; there are toy\n"),
        ("../models", "there is no model '../models'; there are toy\n"),
    ],
)
def test_a_missing_model_says_what_was_looked_for_and_what_there_is(capsys, given, there_are):
    assert main(["inspect", given]) == 66
    error = capsys.readouterr().err
    assert error.startswith(f"error: {given!r} is not the path of a model.onnx ")
    assert error.endswith(there_are)


def test_without_a_repository_it_says_so(models, capsys):
    shutil.rmtree(models)

    assert main(["verify", "toy"]) == 66
    assert "there is no model 'toy'; there are none" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["toy", "models/toy"])
def test_a_version_that_was_never_finished_is_none(models, capsys, given):
    (models / "toy" / "11").mkdir()
    for name in (".staging-x", "backup"):
        shutil.copytree(models / "toy" / "9", models / "toy" / name)

    assert found(capsys, "inspect", given) == "models/toy/10/model.onnx"


def test_what_a_model_says_of_its_training_can_be_read(models, capsys):
    """Nothing raw, nothing empty, and a nought is not nothing."""
    packages = {"keras": "3.15.1", "onnx": "1.23.2"}
    training = {"licence": "", "skipped": 0, "packages": packages, "published": {"python": "3.11.7"}}
    training["published"] |= {"command": "python -m model_export publish runs/toy/1", "packages": packages}
    toys.publish(models, "said", 1, toys.artifact(training=training))

    assert main(["inspect", "said"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "packages: keras 3.15.1, onnx 1.23.2" in lines
    assert "published packages: keras 3.15.1, onnx 1.23.2" in lines
    assert "published command: python -m model_export publish runs/toy/1" in lines
    assert "skipped: 0" in lines
    assert not [line for line in lines if "{" in line or line.startswith("licence")]


def test_what_a_model_says_is_printed_as_it_is(models, capsys):
    """Brackets are no markup, and words between colons no pictures."""
    metrics = {"[/test]": {"images": 3, "accuracy": 1.0, "loss": 0.1}}
    odd = toys.artifact(architecture="[/b] :car:", labels=("[red]", ":dog:"), metrics=metrics)
    toys.publish(models, "odd", 1, odd)

    assert main(["inspect", "odd"]) == 0

    out = capsys.readouterr().out
    assert "architecture [/b] :car:, trunk" in out
    assert "labels [red], :dog:\n" in out
    assert "│ [/test] │ 3 " in out


def test_what_is_not_installed_is_named(monkeypatch):
    code = "import sys; sys.modules['rich'] = None\n"
    code += "from model_export.__main__ import main; sys.exit(main(['inspect', 'toy']))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    monkeypatch.chdir(ROOT)
    assert (done.returncode, done.stderr) == (1, f"error: {invocation.lacks('rich')}\n")


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "model_export", "inspect", "toy", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(write)

    assert (done.returncode, done.stderr) == (141, "")
