"""What is printed as a command names the interpreter that ran, and nothing published a path of this machine."""

import shlex
import sys

import pytest

from app.images import Shape
from model_export import arguments
from model_export.__main__ import main
from model_export.artifact import repeating
from model_export.console import invocation


@pytest.fixture
def environment(tmp_path):
    """An environment beside the data, as the Makefile makes it, with an interpreter in it."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def repeated():
    return repeating.command(arguments.parse(["train", "my photos"]), Shape(32, 40, 3))


def test_the_command_that_repeats_a_training_works_outside_of_an_environment(environment, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(environment))

    assert shlex.split(repeated())[:5] == [".venv/bin/python", "-m", "model_export", "train", "my photos"]
    assert invocation.recorded("train") == f"{invocation.program()} train" == ".venv/bin/python -m model_export train"


def test_what_is_published_names_no_folder_of_this_machine(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/home/somebody/python")

    assert repeated().startswith("python -m model_export train ")
    assert invocation.program() == "/home/somebody/python -m model_export"


def test_the_interpreter_that_lacks_tensorflow_is_named_and_the_one_to_use(environment, monkeypatch, capsys):
    monkeypatch.setattr("model_export.__main__.find_spec", lambda _: None)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")

    def said():
        assert main(["train", "digits"]) == 1
        return capsys.readouterr().err

    lacking = "error: /usr/bin/python3 has no TensorFlow, which training needs; run 'make training' once"
    assert said() == f"{lacking}, and use .venv/bin/python\n"
    monkeypatch.setattr(sys, "prefix", str(environment.parents[1]))  # it is that one
    assert said() == f"{lacking}\n"
    environment.unlink()
    monkeypatch.setattr(sys, "prefix", "/usr")
    assert said() == f"{lacking}\n"


def test_where_a_package_for_data_is_to_be_installed_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")

    assert main(["train", "tfds:mnist"]) == 66
    assert "own: /usr/bin/python3 -m pip install tensorflow-datasets\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "default"), [("train", "data set and architecture"), ("publish", "that of the run")]
)
def test_help_says_which_name_a_model_gets(capsys, command, default):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"name of the model; default: {default}" in " ".join(capsys.readouterr().out.split())
