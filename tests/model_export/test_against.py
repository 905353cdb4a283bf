"""``verify MODEL DATA --against OTHER``: which of two models is better on the same images."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from app import images
from app.metadata import Recipe
from model_export import datasets
from model_export.__main__ import main
from model_export.figures import seen
from model_export.figures.against import _verdict
from model_export.figures.paired import Paired
from model_export.reporting import printing
from tests import toys

DIGITS = tuple("0123456789")


@pytest.fixture
def grey(tmp_path):
    """Twenty images of each class; ``toy:1`` calls bright what is above 128, ``toy:2`` what is above 77."""
    folder = tmp_path / "grey"
    for label, values in (("dark", [20] * 14 + [100] * 6), ("bright", [200] * 19 + [100])):
        (folder / label).mkdir(parents=True)
        for index, value in enumerate(values):
            (folder / label / f"{index:02}.png").write_bytes(toys.plain(value))
    toys.publish(tmp_path / "models", "toy", 1)
    toys.publish(tmp_path / "models", "toy", 2, toys.artifact(offset=0.3))
    return folder


def test_the_better_model_is_named_with_what_makes_it_better(grey, capsys):
    assert main(["verify", "toy:1", str(grey), "--against", "toy", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    found = said["against"]["splits"]["all"]

    assert said["against"]["file"] == "models/toy/2/model.onnx"
    assert said["metrics"]["all"]["accuracy"] == found["accuracy"] == 39 / 40
    assert found["accuracy_against"] == 34 / 40
    assert found["classes"] == {
        "dark": {"only_right": 6, "only_right_against": 0},
        "bright": {"only_right": 0, "only_right_against": 1},
    }
    assert found["p"] == pytest.approx(2 * (1 + 7) / 2**7)

    assert main(["verify", "toy:1", str(grey), "--against", "toy"]) == 0
    shown = capsys.readouterr().out
    assert "toy:1 against toy:2, on the same images" in shown
    assert (
        "all: only toy:1 is right on 6 images, only toy:2 on 1; no clear difference (p = 0.125, exact McNemar" in shown
    )
    assert "where they differ most (only toy:1, only toy:2): dark (6, 0); bright (0, 1)\n" in shown
    assert "images of all in training: toy:1 not known; toy:2 not known\n" in shown

    (grey / "bright" / "19.png").write_bytes(toys.plain(200))  # the only one that speaks for the other model
    for order, better in ((["toy:1", "toy:2"], "toy:1"), (["toy:2", "toy:1"], "toy:1")):
        assert main(["verify", order[0], str(grey), "--against", order[1]]) == 0
        assert (
            f"; {better} is clearly better (p = 0.0312, exact McNemar test), if neither has learned from these images\n"
            in capsys.readouterr().out
        )


def test_of_grouped_images_the_groups_are_compared(grey, capsys):
    """The digits of a name are a group: in 14 to 18 one model is better, in 19 either is right on one image."""
    command = ["verify", "toy:1", str(grey), "--against", "toy:2"]
    assert main([*command, "--groups", r"\d+", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["against"]["splits"]["all"]
    assert (found["groups"], found["groups_better"], found["groups_better_against"]) == (20, 5, 0)
    assert found["p"] == pytest.approx(2 / 2**5)
    low, high = found["difference_95"]

    assert main([*command, "--groups", r"\d+"]) == 0
    assert (
        "all: only toy:1 is right on 6 images, only toy:2 on 1 (of 20 groups, toy:1 is better in 5, toy:2 is better in "
        "0); no clear difference (p = 0.0625, exact sign-flip test of groups)"
    ) in capsys.readouterr().out

    assert main([*command, "--groups", r"\d", "--json"]) == 0
    fewer = json.loads(capsys.readouterr().out)["against"]["splits"]["all"]["difference_95"]
    assert fewer[0] < low < high < fewer[1]
    assert main([*command, "--groups", r"\d"]) == 0
    assert "; 2 groups are too few to tell; it takes 6 (p = 1, exact sign-flip test of groups)" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("groups", "verdict"),
    [
        (5, "5 groups are too few to tell; it takes 6 (p = 0.0625, exact sign-flip test of groups)"),
        (6, "toy:2 is clearly better (p = 0.0312, exact sign-flip test of groups)"),
    ],
)
def test_six_groups_are_the_fewest_that_can_tell_which_model_is_better(groups, verdict):
    right = np.ones(2 * groups, bool)

    assert _verdict(Paired(~right, right, np.arange(2 * groups) // 2), ("toy:1", "toy:2")) == verdict


def test_models_are_called_as_in_requests_from_wherever_the_command_runs(grey, tmp_path, capsys, monkeypatch):
    for folder, first, second in (("toy", "1", "2"), ("toy/2", "../1/model.onnx", ".")):
        monkeypatch.chdir(tmp_path / "models" / folder)
        assert main(["verify", first, str(grey), "--against", second]) == 0
        assert "\ntoy:1 against toy:2, on the same images\n" in capsys.readouterr().out


def test_models_whose_names_do_not_tell_them_apart_are_called_by_their_paths(grey, tmp_path, capsys):
    """A link has its own name; a file beside no other version has none."""
    toys.publish(tmp_path / "other", "toy", 1, toys.artifact(offset=0.3))
    shutil.copy("models/toy/2/model.onnx", "best.onnx")
    (tmp_path / "other" / "stable").mkdir()
    (tmp_path / "other" / "stable" / "7").symlink_to(tmp_path / "models" / "toy" / "2")
    for other, first, second in (
        ("other/toy/1", "models/toy/1/model.onnx", "other/toy/1/model.onnx"),
        ("best.onnx", "toy:1", "best.onnx"),
        ("other/stable/7", "toy:1", "stable:7"),
    ):
        assert main(["verify", "toy:1", str(grey), "--against", other]) == 0
        assert f"\nall: only {first} is right on 6 images, only {second} on 1; no" in capsys.readouterr().out


def test_models_that_give_the_same_labels_do_not_differ(grey, tmp_path, capsys):
    toys.publish(tmp_path / "models", "toy", 3, toys.artifact(gain=7.0))

    assert main(["verify", "toy", str(grey), "--against", "toy:1"]) == 0

    shown = capsys.readouterr().out
    assert "all: only toy:3 is right on 0 images, only toy:1 on 0; no clear difference (p = 1, exact" in shown
    assert "where they differ most" not in shown


def test_the_table_has_the_answers_of_both(grey, tmp_path):
    assert main(["verify", "toy:1", str(grey), "--against", "toy:2", "--output", "both.csv"]) == 0
    assert main(["verify", "toy:1", str(grey), "--against", "toy:2", "--output", "both.jsonl"]) == 0
    assert main(["verify", "toy:2", str(grey), "--output", "alone.csv"]) == 0

    with open("both.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open("alone.csv", newline="") as file:
        others = list(csv.DictReader(file))
    names = "predicted_label", "probability", "correct"
    for row, alone in zip(rows, others, strict=True):
        assert [row[f"{name}_against"] for name in names] == [alone[name] for name in names]
    lines = [json.loads(line) for line in (tmp_path / "both.jsonl").read_text().splitlines()]
    assert [line["correct_against"] for line in lines] == [row["correct"] == "True" for row in others]
    only_first = [row["file"] for row in rows if (row["correct"], row["correct_against"]) == ("True", "False")]
    assert only_first == [f"dark/{index}.png" for index in range(14, 20)]


def test_models_may_have_other_sizes_channels_and_orders_of_classes(grey, tmp_path, capsys):
    weights = np.repeat(np.array([[8.0, -8.0]], np.float32) / 4, 4, 0)  # bright is its first class
    other = toys.artifact(4, 6, 1, weights=weights, offset=-0.5, labels=("bright", "dark"))
    toys.publish(tmp_path / "models", "small", 1, other)

    assert main(["verify", "toy:1", str(grey), "--against", "small", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["against"]["splits"]["all"]
    assert (found["accuracy"], found["accuracy_against"], found["only_right"]) == (39 / 40, 39 / 40, 0)


@pytest.mark.usefixtures("grey")
def test_numbers_mean_the_same_classes_for_both(tmp_path, capsys):
    weights = np.repeat(np.array([[8.0, -8.0]], np.float32) / 12, 12, 0)  # bright is the first class of this one
    other = toys.artifact(4, 6, weights=weights, offset=-0.5, labels=("bright", "dark"))
    toys.publish(tmp_path / "models", "small", 1, other)
    np.savez("data.npz", x=np.full((4, 8, 8, 3), 230, np.uint8), y=[1, 1, 1, 0])

    assert main(["verify", "toy:1", "data.npz", "--against", "small", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)["against"]["splits"]["all"]
    assert (found["accuracy"], found["accuracy_against"]) == (0.75, 0.75)  # 1 is bright for both


def test_an_image_that_only_one_can_read_is_left_out(grey, tmp_path, capsys):
    toys.publish(tmp_path / "models", "grey", 1, toys.artifact(channels=1))
    for index in (0, 1):
        np.save(grey / "dark" / f"0{index}.npy", np.full((8, 8, 3), 230, np.uint8))
    for index, (model, other) in enumerate((("toy:1", "grey"), ("grey", "toy:1"))):
        assert main(["verify", model, str(grey), "--against", other, "--json", "--output", f"{index}.csv"]) == 0
        captured = capsys.readouterr()
        assert "note: 2 images that only one of the two models can read will be left out\n" in captured.err
        assert "skipped dark/01.npy: the image has 3 channels, but the model reads 1;" in captured.err
        assert ("grey:1 also skipped 2 files in all\n" in captured.err) == (other == "grey")
        said = json.loads(captured.out)
        assert said["metrics"]["all"]["images"] == 40
        assert [line.split(":")[0] for line in said["skipped"]] == ["dark/00.npy", "dark/01.npy"]  # of either model
        assert (tmp_path / f"{index}.csv").read_text().count("\n") == 41


@pytest.mark.usefixtures("grey")
def test_a_model_that_cannot_read_any_image_is_named(tmp_path, capsys):
    toys.publish(tmp_path / "models", "grey", 1, toys.artifact(channels=1))
    np.savez("data.npz", x=np.full((4, 8, 8, 3), 230, np.uint8), y=[1, 1, 1, 0])

    assert main(["verify", "toy", "data.npz", "--against", "grey"]) == 65

    words = (
        "error: grey:1: no image of the split 'all' can be read: train-0: the image has 3 channels, but the model reads"
    )
    assert words in capsys.readouterr().err


@pytest.mark.usefixtures("grey")
def test_a_split_of_which_no_image_is_left_cannot_be_compared(tmp_path, capsys):
    toys.publish(tmp_path / "models", "grey", 1, toys.artifact(channels=1))
    (tmp_path / "data" / "dark").mkdir(parents=True)
    for channels in (1, 3):
        np.save(tmp_path / "data" / "dark" / f"{channels}.npy", np.zeros((8, 8, channels), np.uint8))

    assert main(["verify", "toy", "data", "--against", "grey"]) == 65

    assert "error: there is no image in the split 'all' that both models can read\n" in capsys.readouterr().err


def test_each_model_scales_the_values_as_in_its_training(grey, tmp_path, capsys):
    toys.publish(tmp_path / "models", "dim", 1, toys.artifact(recipe=Recipe(value_range=(0, 1000))))
    for index in range(6):
        np.save(grey / "bright" / f"dim-{index}.npy", np.full((8, 8, 3), 900, np.uint16))

    assert main(["verify", "toy:1", str(grey), "--against", "dim", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)["against"]["splits"]["all"]
    assert found["classes"]["bright"] == {"only_right": 0, "only_right_against": 6}


def test_images_are_decoded_once_for_models_of_the_same_input(grey, tmp_path, monkeypatch):
    toys.publish(tmp_path / "models", "small", 1, toys.artifact(4, 6))
    runs, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda *given, **options: runs[-1].append(1) or decode(*given, **options))
    for against in ([], ["--against", "toy:2"], ["--against", "small"]):
        runs.append([])
        assert main(["verify", "toy:1", str(grey), *against]) == 0

    alone, same, other = map(len, runs)
    assert alone == same == other / 2


@pytest.mark.parametrize("order", [("toy:1", "grey"), ("grey", "toy:1")])
def test_a_class_of_which_no_image_is_left_has_none(grey, tmp_path, capsys, order):
    toys.publish(tmp_path / "models", "grey", 1, toys.artifact(channels=1))
    for path in (grey / "dark").iterdir():
        path.unlink()
    np.save(grey / "dark" / "00.npy", np.full((8, 8, 3), 230, np.uint8))  # which only one of the models can read

    assert main(["verify", order[0], str(grey), "--against", order[1], "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["classes_without_images"] == ["dark"]
    found = said["against"]["splits"]["all"]["classes"]
    assert list(found) == said["labels"] == ["dark", "bright"]
    assert found["dark"] == {"only_right": 0, "only_right_against": 0}


@pytest.fixture
def guess(tmp_path):
    """A model that does not know digits from each other."""
    weights = np.ones((4, 10), np.float32)
    toys.publish(tmp_path / "models", "guess", 1, toys.artifact(32, 32, 1, labels=DIGITS, weights=weights))
    return "guess"


@pytest.mark.parametrize("first", [True, False])
def test_the_data_set_of_either_is_split_as_in_its_training(guess, committed, capsys, first):
    """One was trained with the digits; of the other, it is not known."""
    digits = str(committed / "digits-regions")
    model, other = (digits, guess) if first else (guess, digits)

    assert main(["verify", model, "digits", "--against", other, "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    found = said["against"]["splits"]
    assert {split: each["images"] for split, each in found.items()} == {"train": 1439, "validation": 179, "test": 179}
    seen = {"train": "learned from", "validation": "tuned on", "test": "not seen"}
    both = said["seen_in_training"], {split: each["seen_in_training"] for split, each in found.items()}
    assert (both if first else both[::-1]) == (seen, dict.fromkeys(seen, "not known"))
    good = found["test"]["accuracy" if first else "accuracy_against"]
    assert good > 0.97


def test_nothing_is_cut_off_on_a_narrow_terminal(guess, committed, capsys, monkeypatch):
    for width in (80, 60):  # a pipe counts as 80 wide
        monkeypatch.setattr(printing.out, "width", width)
        assert main(["verify", guess, "digits", "--against", str(committed / "digits-regions")]) == 0
        shown = capsys.readouterr().out.partition("guess:1 against digits-regions:4, on the same images\n")[2]
        assert (
            "digits-regions:4 is clearly better (p < 0.001, exact McNemar test), if neither has learned from" in shown
        )
        assert "…" not in shown
    line = next(line for line in shown.splitlines() if line.startswith("where they differ most"))
    assert line.count(";") == 2  # three of the ten classes


def test_the_training_images_are_no_random_sample_and_so_have_no_interval(guess, committed, capsys):
    assert main(["verify", guess, "digits", "--against", str(committed / "digits-regions")]) == 0
    shown = capsys.readouterr().out.partition("on the same images\n")[2]
    assert [line.count(" to ") for line in shown.splitlines() if line.startswith("│")] == [0, 1, 1]


def test_images_that_the_other_one_has_learned_from_are_counted(folder, tmp_path, capsys):
    """The same data set, but split by another seed."""
    for seed in (1, 2):
        record = {"seed": seed, "fingerprint": datasets.load(str(folder), seed=seed).fingerprint()}
        toys.publish(tmp_path / "models", "toy", seed, toys.artifact(gain=8 + seed, training=record))

    assert main(["verify", "toy:1", str(folder), "--against", "toy:2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["seen_in_training"]["test"] == "not seen"
    assert {split: each["images"] for split, each in said["against"]["splits"].items()} == {
        split: each["images"] for split, each in said["metrics"].items()
    }
    assert {split: each["seen_in_training"] for split, each in said["against"]["splits"].items()} == {
        "train": "learned from 26, tuned on 3, not seen 3",
        "validation": "learned from 3, not seen 1",
        "test": "learned from 3, tuned on 1",
    }

    assert [each["equally_new"] for each in said["against"]["splits"].values()] == [None] * 3

    assert main(["verify", "toy:1", str(folder), "--against", "toy:2"]) == 0
    shown = capsys.readouterr().out
    assert (
        "images of test in training: toy:1 not seen; toy:2 learned from 3, tuned on 1. On images that it has learned "
        "from, a model looks better than it is\n"
    ) in shown
    assert (
        "; which is better cannot be judged: of these 4 images, 0 are equally new to both, and it takes 6 (toy:2 has "
        "learned from 3)\n"
    ) in shown


def test_the_better_model_is_not_named_because_of_images_that_it_has_learned_from(guess, committed, tmp_path, capsys):
    """Both were trained with the digits, split by other seeds; of the images that are new to one, few are to both."""
    record = {"seed": 1, "fingerprint": datasets.load("digits", size=(8, 8), seed=1).fingerprint()}
    weights = np.ones((4, 10), np.float32)
    model = toys.artifact(32, 32, 1, labels=DIGITS, weights=weights, training=record)
    toys.publish(tmp_path / "models", guess, 2, model)
    command = ["verify", f"{guess}:2", "digits", "--against", str(committed / "digits-regions")]

    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["against"]["splits"]["test"]
    assert found["seen_in_training"] == "learned from 144, tuned on 16, not seen 19"
    assert (found["images"], found["equally_new"]["images"]) == (179, 19)
    assert found["only_right_against"] > found["equally_new"]["only_right_against"] >= 15
    assert found["equally_new"]["p"] > found["p"]

    assert main(command) == 0
    gained, lost = (found["equally_new"][key] for key in ("only_right", "only_right_against"))
    shown = capsys.readouterr().out
    assert (
        f"test: only guess:2 is right on {gained} images, only digits-regions:4 on {lost}, of the 19 of all 179 that "
        "are equally new to both; digits-regions:4 is clearly better (p < 0.001, exact McNemar test)\n"
    ) in shown
    (differing,) = (line for line in shown.splitlines() if line.startswith("where they differ most"))
    assert all(int(number) <= 19 for number in re.findall(r"\((\d+), (\d+)\)", differing)[0])


def test_images_that_both_were_tuned_on_are_equally_new_and_those_that_one_was_tuned_on_are_not():
    learned, tuned, new, unknown = (*seen.SEEN.values(), seen.UNKNOWN)
    pairs = {
        (new, new): True,
        (tuned, tuned): True,
        (tuned, new): False,
        (learned, learned): False,
        (learned, new): False,
        (learned, unknown): False,
        (unknown, unknown): True,
        (tuned, unknown): True,
    }
    first, second = (np.array(words) for words in zip(*pairs, strict=True))

    assert seen.equally_new(first, second).tolist() == seen.equally_new(second, first).tolist() == [*pairs.values()]


def test_classes_in_which_neither_is_better_are_not_named_as_where_they_differ(tmp_path, capsys):
    """One looks at red, the other at blue: of the dark images, each is misled by one."""
    for version, channel in ((1, 0), (2, 2)):
        weights = np.zeros((12, 2), np.float32)
        weights[channel::3] = [-2.0, 2.0]
        toys.publish(tmp_path / "models", "colour", version, toys.artifact(weights=weights))
    for label, colours in (("dark", [(230, 20), (20, 230), (20, 20)]), ("bright", [(230, 230), (230, 20)])):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index, (red, blue) in enumerate(colours):
            image = np.full((8, 8, 3), (red, 0, blue), np.uint8)
            (tmp_path / "data" / label / f"{index}.png").write_bytes(toys.save(image))

    assert main(["verify", "colour:1", "data", "--against", "colour:2"]) == 0
    shown = capsys.readouterr().out
    assert "all: only colour:1 is right on 2 images, only colour:2 on 1; no clear difference (p = 1, exact" in shown
    assert "where they differ most (only colour:1, only colour:2): bright (1, 0)\n" in shown

    (tmp_path / "data" / "bright" / "1.png").unlink()
    assert main(["verify", "colour:1", "data", "--against", "colour:2"]) == 0
    assert "where they differ most" not in capsys.readouterr().out


def test_of_splits_that_only_the_other_one_was_trained_with_nothing_is_known(folder, tmp_path, capsys):
    """The folder has no validation split, and the other model's was taken from its train split."""
    for split in ("train", "test"):
        shutil.copytree(folder, tmp_path / "splits" / split)
    record = {"seed": 0, "fingerprint": datasets.load(str(tmp_path / "splits")).fingerprint()}
    toys.publish(tmp_path / "models", "toy", 1)
    toys.publish(tmp_path / "models", "toy", 2, toys.artifact(gain=9.0, training=record))

    assert main(["verify", "toy:1", str(tmp_path / "splits"), "--against", "toy:2", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["seen_in_training"] == dict.fromkeys(("train", "validation", "test"), "not known")
    assert said["against"]["splits"]["validation"]["seen_in_training"] == "tuned on"


def test_what_cannot_be_compared_is_said_before_anything_is_measured(grey, tmp_path, capsys):
    toys.publish(tmp_path / "models", "letters", 1, toys.artifact(labels=("dark", "b")))
    same = "--against toy:2 is models/toy/2/model.onnx, the same model as models/toy/2/model.onnx; name another"
    unknown = "letters:1 does not know 1 of the 2 classes: 'bright'; it knows dark, b; rename the classes"
    for model, other, code, words in (
        ("toy", "toy:2", 2, same),
        ("toy", "nothing", 66, "'nothing' is not the path of a model.onnx or of its folder"),
        ("toy", "letters", 65, unknown),
        ("letters", "toy", 65, unknown),
    ):
        assert main(["verify", model, str(grey), "--against", other, "--output", "a.csv"]) == code
        captured = capsys.readouterr()
        assert f"error: {words}" in captured.err
        assert captured.out == ""
        assert not (tmp_path / "a.csv").exists()
    with pytest.raises(SystemExit) as ended:
        main(["verify", "toy", "--against", "toy:1"])
    assert ended.value.code == 2
    assert "argument --against: models are compared on the images of DATA; name a data set" in capsys.readouterr().err
