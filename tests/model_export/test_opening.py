"""``inspect`` and ``verify`` find a model where it was named: by its path, or by its name in ./models."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from model_export.__main__ import main
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


@pytest.mark.parametrize("command", ["inspect", "verify"])
@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("toy", "models/toy/10/model.onnx"),
        ("toy:9", "models/toy/9/model.onnx"),
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
    ("given", "looked"),
    [
        ("absent", "looked for absent and models/absent "),
        ("toy:11", "looked for toy:11 and models/toy/11 "),
        ("elsewhere/toy", "looked for elsewhere/toy "),
        ("../models", "looked for ../models "),
    ],
)
def test_a_missing_model_says_what_was_looked_for(capsys, given, looked):
    assert main(["inspect", given]) == 66
    error = capsys.readouterr().err
    assert looked in error
    assert error.endswith("; models holds toy\n")


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "model_export", "inspect", "toy", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(write)

    assert (done.returncode, done.stderr) == (1, "")
