"""What can be done next is printed as it can be pasted."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from model_export.artifact.calibration import Calibration
from model_export.artifact.precision import Reduced
from model_export.artifact.published import Published
from model_export.console import invocation
from model_export.reporting import printing, remarks
from model_export.verification import Difference
from tests import toys


def test_the_commands_that_follow_name_folders_with_spaces(tmp_path):
    repository = tmp_path / "my models"
    for version in (1, 2):
        published = toys.publish(repository, "light", version).parent

    lines = printing.next_commands(published, "my photos").splitlines()

    inspect, verify, serve, _, back = (line.split(None, 1)[1] for line in lines[1:])
    assert shlex.split(inspect)[-2:] == ["inspect", str(published)]
    before = str(repository / "light" / "1")
    assert shlex.split(verify)[-5:] == ["verify", str(published), "my photos", "--against", before]
    assert shlex.split(serve) == [f"MULTIPOOL_MODELS_DIR={repository}", "make", "serve"]
    assert shlex.split(back.partition(", or ask")[0])[-3:] == ["mv", str(published), f"{published}.withdrawn"]


def test_the_first_line_says_whether_the_new_version_answers_from_now_on_and_the_last_how_to_go_back(tmp_path):
    first, second, third = (toys.publish(tmp_path, "light", version).parent for version in (1, 2, 10))

    lines = printing.next_commands(third, "photos", "accuracy 0.8 → 0.9").splitlines()
    assert lines[0] == (f"published {third}, the newest version of light: from now on it answers; accuracy 0.8 → 0.9")
    assert lines[-1].endswith(", or ask for ?model=light:2")
    for path in (second, third):
        path.rename(f"{path}.withdrawn")
    lines = printing.next_commands(first, "photos").splitlines()
    assert lines[0] == f"published {first}"
    assert lines[-1].endswith("/predict?model=light'")


def test_a_model_in_the_default_folder_is_served_without_a_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published = toys.publish(Path("models"), "light").parent

    serve = printing.next_commands(published, "photos").splitlines()[3]

    assert serve.split() == ["serve", "make", "serve"]


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "127.0.0.1:8000"),
        ({"HOST": "", "PORT": ""}, "127.0.0.1:8000"),
        ({"PORT": "9000"}, "127.0.0.1:9000"),
        ({"HOST": "::1", "PORT": "80"}, "[::1]:80"),
        ({"HOST": "192.168.0.7"}, "192.168.0.7:8000"),
    ],
)
def test_the_service_is_asked_where_it_is_set_to_listen(tmp_path, monkeypatch, settings, address):
    for name in ("HOST", "PORT"):
        monkeypatch.delenv(f"MULTIPOOL_{name}", raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(f"MULTIPOOL_{name}", value)

    ask = printing.next_commands(toys.publish(tmp_path, "light").parent, "photos").splitlines()[4]

    assert ask == f"  ask       curl -F file=@IMAGE 'http://{address}/predict?model=light'"


@pytest.mark.parametrize(
    ("publish", "address"),
    [
        ("", "127.0.0.1:8000"),
        ("8080", "127.0.0.1:8080"),
        ("127.0.0.1:18500", "127.0.0.1:18500"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::1]:8000", "[::1]:8000"),
    ],
)
def test_in_a_container_the_service_is_asked_where_it_is_published(tmp_path, monkeypatch, publish, address):
    monkeypatch.setenv("MODEL_EXPORT_IN", "compose")
    monkeypatch.setenv("PUBLISH", publish)

    ask = printing.next_commands(toys.publish(tmp_path, "light").parent, "photos").splitlines()[4]

    assert ask == f"  ask       curl -F file=@IMAGE 'http://{address}/predict?model=light'"


def test_the_program_may_lie_in_a_folder_with_spaces(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my env" / "python"))

    assert shlex.split(invocation.program()) == ["my env/python", "-m", "model_export"]


@pytest.mark.parametrize(
    ("mistakes", "words"),
    [(0, ""), (1, ", 1 mistake"), (2, ", the 2 worst mistakes"), (24, ", the 24 worst mistakes")],
)
def test_the_mistakes_that_a_run_shows_are_counted(tmp_path, capsys, mistakes, words):
    figures = {"images": 18, "accuracy": 0.9, "loss": 0.3, "ece": 0.1}
    calibration = Calibration(1.0, 18, {"validation": 0.1}, {"validation": 0.1})
    published = toys.publish(tmp_path, "light").parent

    printing.print_training(
        Published(published, {"validation": figures}, [], calibration, None, 0, mistakes), Path("runs/1"), "photos"
    )

    lines = capsys.readouterr().out.splitlines()
    where = " among the validation images" if mistakes else ""
    assert f"run runs/1: results.csv, curves, confusion, reliability, selective{words}{where}" in lines


def test_the_classes_that_a_training_recognises_least_are_named(tmp_path, capsys):
    """In the split that it has seen least of; classes without images, or without a mistake, are none of them."""

    def print_with(recalls):
        of_classes = {
            label: {"precision": 0.5, "recall": recall, "f1": 0.5, "images": images, "predicted": 1}
            for label, (recall, images) in recalls.items()
        }
        figures = {"images": 18, "accuracy": 0.9, "loss": 0.3, "ece": 0.1}
        calibration = Calibration(1.0, 18, {"validation": 0.1}, {"validation": 0.1})
        every = {"validation": {}, "test": of_classes}
        published = Published(folder, {"test": figures}, [], calibration, None, 0, 0, classes=every)
        printing.print_training(published, Path("runs/1"), "photos")
        return capsys.readouterr().out

    folder = toys.publish(tmp_path, "light").parent
    recalls = {"a": (1.0, 9), "b": (0.75, 4), "c": (None, 0), "d": (0.0, 1), "e": (0.9999, 9999), "f": (1.0, 20)}

    weakest = "d 0.0000 (1 image), b 0.7500 (4 images), e 0.9999 (9,999 images)"
    assert f"\nlowest recall in test: {weakest}\n" in print_with(recalls)
    assert "lowest recall" not in print_with({"a": (1.0, 9), "c": (None, 0)})


def test_what_came_out_of_a_training_is_printed_with_its_figures(tmp_path, capsys):
    figures = {"images": 20, "accuracy": 0.9, "loss": 0.3, "ece": 0.25}
    calibration = Calibration(1.5, 20, {"validation": 0.25}, {"validation": 0.125}, folds=5)
    published = toys.publish(tmp_path, "light").parent
    differences = [Difference(output, batch, batch * 1e-6) for output in ("logits", "features_a") for batch in (7, 32)]

    printing.print_training(
        Published(published, {"validation": figures}, differences, calibration, None, 0, 0), Path("runs/1"), "photos"
    )

    said = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    assert cells == [
        ["validation", "20", "0.9000 (0.699–0.972)", "0.3000", "0.2500"],
        ["logits", "7.0e-06", "3.2e-05"],
        ["features_a", "7.0e-06", "3.2e-05"],
    ]
    assert re.search(r"temperature of 1\.5, .* 20 ", said)
    assert re.search(r"0\.2500 as trained, 0\.1250 as published .*5 folds", said)
    assert f"inspect {published}\n" in said


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((199, 0.25, 0, {}), "0.2500; with 199 images, these are rough guesses"),
        ((200, 0.25, 0, {}), "0.2500"),
        ((200, 0.125, 5, {}), "0.2500 as trained, 0.1250 as published (cross-fitted in 5 folds)"),
        (
            (900, 0.25, 0, {"groups": 5, "effective_images": 24.0}),
            "0.2500; with 900 images in 5 groups, these are rough guesses",
        ),
    ],
)
def test_what_a_calibration_error_is_worth_is_said(tmp_path, capsys, found, words):
    images, after, folds, groups = found
    figures = {"images": images, "accuracy": 0.9, "loss": 0.3, **groups}
    calibration = Calibration(1.5, images, {"validation": 0.25}, {"validation": after}, folds=folds)
    published = toys.publish(tmp_path, "light").parent

    printing.print_training(
        Published(published, {"validation": figures}, [], calibration, None, 0, 0), Path("runs/1"), "photos"
    )

    assert f"calibration error of the validation images: {words}" in capsys.readouterr().out.splitlines()


def test_beside_the_largest_rounding_stands_the_usual_one(capsys):
    """A single number may be far off where all others are not."""
    new, old = Difference("logits", 1, 4.72, 8.0, 0.08), Difference("features_a", 1, 0.5, 1.0)

    printing.out.print(printing.roundings_table([new, old], "int8"))

    cells = [line.split("│")[2].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert cells == ["59 (1)", "50"]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (18, "18 validation images are too few to show a loss of 0.5 points of accuracy (one image is 5.6): "),
        (1000, "one of the 1,000 validation images is 0.0010 of the accuracy"),
    ],
)
def test_how_little_a_few_images_prove_of_a_smaller_precision_is_said(images, words):
    assert Reduced("int8", 1.0, 1.0, 1.0, 2.0, 0.005).resolution(images).startswith(words)


@pytest.mark.parametrize(
    ("precision", "speed", "words"),
    [
        ("int8", 0.8, "warning: on this CPU, int8 is slower than float32, 0.8 times as fast in batches\n"),
        ("float16", 0.5, "warning: on this CPU, float16 is slower than float32, 0.5 times as fast in batches; "),
        ("int8", 1.3, ""),
    ],
)
def test_a_smaller_precision_that_is_slower_is_warned_of(precision, speed, words, capsys):
    remarks.say_speed(Reduced(precision, 1.0, 1.0, 1.0, speed, 0.005))

    said = capsys.readouterr().err
    assert said.startswith(words)
    assert bool(said) == bool(words)
