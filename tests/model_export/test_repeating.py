"""What shaped a model is written down whole: from its metadata alone it can be trained again."""

import argparse
import shlex

import pytest
import yaml

from app.images import Shape
from model_export import arguments, datasets
from model_export.__main__ import main
from model_export.artifact import repeating
from model_export.fitting.budget import Budget
from model_export.fitting.runs import Run
from model_export.options import parser

ELSEWHERE = {"output", "runs", "resume", "cache", "data_licence", "name", "json", "help"}
ELSEWHERE |= {"fail_on_leakage", "replace_anyway"}
"""Options that say where things lie, what is said of them, and when to stop."""


def options(command):
    """The names of the options of a command, as its parser knows them."""
    commands = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {action.dest for action in commands.choices[command]._actions if action.option_strings}


def test_every_option_that_shapes_a_model_is_known_to_do_so():
    assert options("train") == {*repeating.SHAPING, *ELSEWHERE}


@pytest.mark.parametrize(
    "line",
    [
        "digits",
        "digits --batch-size 5",
        "scans --channels 1 --value-range -0.00001 1e20",
        "'my photos' --size 48x64 --channels 4 --value-range -1 4000.5 --averaging 0 --class-weights --patience 3",
        "x.npz --labels 'sea lake,forest' --seed 7 --learning-rate 1e-4 --weight-decay 0 --precision int8 --epochs 12",
        r"x.npz --groups='-\d+' --labels=-a,b",
        "photos --trunk efficientnetv2b0 --weights imagenet --epochs 8 --augmentation aerial --architecture gap",
    ],
)
def test_the_command_that_repeats_a_run_asks_for_the_same(line):
    given = arguments.parse(["train", *shlex.split(line)])

    words = shlex.split(repeating.command(given, Shape(32, 40, 3)))

    assert words[:4] == ["python", "-m", "model_export", "train"]
    again = arguments.parse(words[3:])
    same = {*repeating.SHAPING, "data", "name"} - {"size", "channels"}
    assert {name: getattr(again, name) for name in same} == {name: getattr(given, name) for name in same}
    assert (again.size, again.channels) == ((32, 40), 3)
    assert "--averaging" in words  # though it may be the default now


def test_a_run_of_a_version_that_knew_fewer_options_is_not_taken_for_one_with_the_defaults(tmp_path, capsys):
    (tmp_path / "args.yaml").write_text("data: digits\nname: old\nepochs: 40\n")
    (tmp_path / "best.keras").write_bytes(b"")
    (tmp_path / "results.csv").write_text("epoch,val_loss\n1,0.5\n")

    for command in (["publish", str(tmp_path)], ["train", "--resume", str(tmp_path)]):
        assert main(command) == 65
        error = capsys.readouterr().err
        assert "does not say" in error
        assert "averaging" in error


def test_a_run_from_before_there_was_a_weight_decay_to_choose_is_gone_on_with_as_it_began():
    given = vars(arguments.parse(["train", "digits"]))
    said = {name: value for name, value in given.items() if name != "weight_decay"}
    old = argparse.Namespace(**{**said, "fingerprint": "", "surroundings": {}, "resume": None})

    repeating.check(old, arguments.parse_again)

    assert old.weight_decay == Budget().weight_decay == 0.001


def test_options_that_were_damaged_by_hand_are_named(tmp_path, capsys):
    given = arguments.parse(["train", "--", "-no-such-data"])
    given.surroundings, given.fingerprint = {}, ""
    run = Run.create(tmp_path / "runs", "toy", given)
    (run.folder / "best.keras").write_bytes(b"")
    (run.folder / "results.csv").write_text("epoch,val_loss\n1,0.5\n")
    file = run.folder / "args.yaml"
    whole = yaml.safe_load(file.read_text())

    def said(command, **changes):
        file.write_text(yaml.safe_dump({**whole, **changes}))
        return main([*command, str(run.folder)]), capsys.readouterr().err

    damage = {
        "data": 5,
        "name": "../up",
        "surroundings": None,
        "data_licence": 5,
        "size": [16],
        "value_range": ["a", "b"],
        "labels": [1, 2],
        "groups": "(",
        "trunk": "nonsense",
        "weights": None,
        "epochs": "abc",
        "learning_rate": "1e-3",  # so YAML reads it
        "class_weights": "yes",
        "seed": [1],
    }
    for command in (["publish"], ["train", "--resume"]):
        for name, value in damage.items():
            code, error = said(command, **{name: value})
            assert (code, error.count("\n")) == (65, 1)
            assert error.startswith(f"error: {file} cannot be read: ")
            assert error.endswith("; restore it, or train again\n")
        code, error = said(command)
        assert code == 66
        assert "-no-such-data does not exist" in error


@pytest.mark.parametrize("command", [["publish"], ["train", "--resume"]])
def test_a_run_whose_data_has_changed_is_not_gone_on_with(folder, tmp_path, capsys, command):
    given = arguments.parse(["train", str(folder)])
    given.surroundings, given.fingerprint = {}, datasets.load(str(folder)).fingerprint()
    run = Run.create(tmp_path / "runs", "light", given)
    (run.folder / "best.keras").write_bytes(b"")
    (run.folder / "results.csv").write_text("epoch,val_loss\n1,0.5\n")
    (folder / "dark" / "00.png").unlink()

    assert main([*command, str(run.folder)]) == 65
    assert f"{folder} is not what {run.folder} was trained on" in capsys.readouterr().err
