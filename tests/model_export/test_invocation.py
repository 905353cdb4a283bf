"""What is printed as a command names the interpreter that ran, and nothing published a path of this machine."""

import os
import shlex
import sys
import tempfile
from pathlib import Path

import pytest

from app.images import Shape
from model_export import arguments
from model_export.__main__ import main
from model_export.artifact import repeating
from model_export.console import interrupts, invocation
from model_export.reporting import printing
from tests import toys
from tests.conftest import closed


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
    monkeypatch.setenv("MODEL_EXPORT_IN", "compose")
    assert main(["train", "tfds:mnist"]) == 66
    assert "own: add tensorflow-datasets to the stage 'training' of the Dockerfile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "default"), [("train", "data set and architecture"), ("publish", "that of the run")]
)
def test_help_says_which_name_a_model_gets(capsys, command, default):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"name of the model; default: {default}" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def in_compose(tmp_path, monkeypatch):
    """As docker-compose.yml runs it, in a folder of its own."""
    monkeypatch.setenv("MODEL_EXPORT_IN", "compose")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_compose")
@pytest.mark.parametrize(
    ("data", "option"),
    [
        ("photos", ""),
        ("digits", ""),
        ("/photos", ""),
        ("/proc/photos", "-v FOLDER:/proc:ro "),
        ("/proc", "-v FOLDER:/proc:ro "),
    ],
)
def test_a_printed_command_mounts_again_what_it_reads(tmp_path, data, option):
    """Where something is mounted; of Linux, /proc always is."""
    if option and not os.path.ismount("/proc"):
        pytest.skip("nothing is mounted at /proc")
    program = f"docker compose run --rm {option}model_export"

    said = printing.next_commands(toys.publish(tmp_path, "light").parent, data)

    assert f"  verify    {program} verify {tmp_path}/light/1 {data}\n" in said
    with pytest.raises(KeyboardInterrupt) as interrupt, interrupts.resumable("train", "--resume", "run", data=data):
        raise KeyboardInterrupt
    assert interrupt.value.__notes__ == [f"continue with: {program} train --resume run"]


@pytest.mark.usefixtures("in_compose")
def test_what_is_mounted_may_have_a_space_in_its_name_or_be_a_file(tmp_path, monkeypatch, capsys):
    folder, file = tmp_path / "my photos", tmp_path / "data.zip"
    folder.mkdir()
    file.touch()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) in (folder, file, Path("/")))

    assert main(["train", str(folder)]) == 66
    assert capsys.readouterr().err.endswith(
        "; it is empty: Docker mounts an empty folder if the one outside does not exist\n"
    )
    assert main(["train", str(file)]) == 66
    assert "is not a folder; name a folder, a .csv table" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt) as interrupt, interrupts.resumable("train", data=str(folder)):
        raise KeyboardInterrupt
    again = f"docker compose run --rm -v 'FOLDER:{folder}:ro' model_export train"
    assert interrupt.value.__notes__ == [f"continue with: {again}"]


@pytest.mark.usefixtures("in_compose")
@pytest.mark.parametrize("data", ["/home/somebody/photos", "photos.csv", "data.npz"])
def test_what_a_container_cannot_see_is_said_to_need_a_mount(capsys, monkeypatch, data):
    assert main(["train", data]) == 66
    hint = "is mounted: docker compose run --rm -v /path/photos:/photos:ro model_export … /photos\n"
    assert capsys.readouterr().err.endswith(hint)

    monkeypatch.delenv("MODEL_EXPORT_IN")
    assert main(["train", data]) == 66
    assert "docker" not in capsys.readouterr().err


@pytest.mark.usefixtures("in_compose")
def test_usage_is_shown_as_a_container_is_used(capsys):
    with pytest.raises(SystemExit):
        main(["train", "photos", "--nam", "--wrong"])
    assert "(all options: docker compose run --rm model_export train --help)\n" in capsys.readouterr().err


@pytest.mark.usefixtures("in_compose")
def test_who_may_not_read_is_named_where_it_is_not_the_caller(capsys):
    with tempfile.TemporaryDirectory() as root:
        main(["train", root])  # which imports what it needs
        capsys.readouterr()
        with closed(Path(root)):
            code, reader = main(["train", root]), os.geteuid()

    said = f"error: {root}: Permission denied for user {reader}, who owns the project's folder\n"
    assert (code, capsys.readouterr().err) == (1, said)
