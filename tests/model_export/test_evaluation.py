"""``verify MODEL DATA``: classes are matched by name, and a test set may have only some of them."""

import json
import re
import shutil

import numpy as np
import pytest

from model_export.__main__ import main
from tests import toys

LABELS = ("dark", "bright", "striped")


@pytest.fixture(autouse=True)
def toy(tmp_path):
    """A model that tells dark from bright, and knows a third class that it never names first."""
    weights = np.zeros((12, 3), np.float32)
    weights[:, 0], weights[:, 1] = -8 / 12, 8 / 12
    return toys.publish(tmp_path / "models", "toy", 1, toys.artifact(labels=LABELS, weights=weights))


def verify(capsys, data, *options):
    assert main(["verify", "toy", str(data), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_some_of_the_classes_are_a_test_set(folder, capsys):
    """In the folder they are in another order than in the model."""
    said = verify(capsys, folder)

    assert (said["metrics"]["all"]["images"], said["metrics"]["all"]["accuracy"]) == (40, 1)
    assert said["classes_without_images"] == ["striped"]
    assert main(["verify", "toy", str(folder)]) == 0
    assert "not measured: 1 of 3 classes, which have no images: striped\n" in capsys.readouterr().out


def test_what_is_said_first_is_what_the_table_shows(committed, capsys):
    """The digits are loaded as one, and cut as training did."""
    assert main(["verify", str(committed / "digits-regions"), "digits"]) == 0

    said = capsys.readouterr()
    first = said.err.splitlines()[0]
    assert first == "scikit-learn digits: 10 classes, images 32×32×1, 1,439 train, 179 validation, 179 test"
    assert re.search(r"^  0: \d+ train, \d+ validation, \d+ test$", said.err, re.MULTILINE)
    assert " all" not in said.err
    assert re.search(r"^golden probe: largest difference \d\.\de[+-]\d\d, 0\.01 is allowed$", said.out, re.MULTILINE)
    assert "train" in said.out
    assert "test: each class" in said.out
    assert "test: coverage and accuracy by min_confidence" in said.out
    assert "validation: " not in said.out


def test_one_class_is_a_test_set_and_an_empty_folder_is_no_class(folder, capsys):
    for path in (folder / "bright").iterdir():
        path.unlink()

    said = verify(capsys, folder)

    assert (said["metrics"]["all"]["images"], said["metrics"]["all"]["accuracy"]) == (20, 1)
    assert said["classes_without_images"] == ["bright", "striped"]


def test_a_class_whose_files_are_all_damaged_is_not_measured(folder, capsys):
    for path in (folder / "bright").iterdir():
        path.write_bytes(b"no image")

    assert verify(capsys, folder)["classes_without_images"] == ["bright", "striped"]


def test_what_is_wrong_with_the_data_is_in_the_document_too(tmp_path, capsys):
    """Half of what it is judged by cannot be read: a script must be able to tell."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, low in (("bright", 150), ("dark", 0)):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for index in range(4):
                image = toys.save(random.integers(low, low + 100, (16, 16, 3), np.uint8))
                (tmp_path / "data" / split / label / f"{index}.png").write_bytes(image[: None if index < 2 else 60])
    files = [tmp_path / "data" / name for name in ("train/bright/0.png", "test/bright/0.png", "test/dark/1.png")]
    for copy in files[1:]:
        shutil.copyfile(files[0], copy)

    said = verify(capsys, tmp_path / "data")

    assert said["metrics"]["test"]["images"] == 4
    broken = [f"{split}/{label}/{index}.png" for split in ("train", "test") for label in LABELS[:2] for index in (2, 3)]
    assert sorted(line.split(":")[0] for line in said["skipped"]) == sorted(broken)
    assert said["leaks"] == [
        {"kind": "exact", "first": "train/bright/0.png", "second": second, "group": ""}
        for second in ("test/bright/0.png", "test/dark/1.png")
    ]
    assert said["contradictions"] == [["train/bright/0.png", "test/dark/1.png"]]
    assert verify(capsys, tmp_path / "data" / "train")["leaks"] == []


def test_without_data_nothing_is_wrong_with_it(capsys):
    assert main(["verify", "toy", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["skipped"] == said["leaks"] == said["contradictions"] == []


def test_wrong_images_of_a_class_count_as_mistakes(folder, capsys):
    (folder / "dark").rename(folder / "striped")

    said = verify(capsys, folder)

    assert said["metrics"]["all"]["accuracy"] == 0.5
    assert said["classes_without_images"] == ["dark"]
    assert said["labels"] == list(LABELS)
    assert said["confusion"]["all"] == [[0, 0, 0], [0, 20, 0], [20, 0, 0]]  # true classes below each other
    assert said["classes"]["all"] == {
        "dark": {"precision": 0, "recall": None, "f1": None, "images": 0, "predicted": 20},
        "bright": {"precision": 1, "recall": 1, "f1": 1, "images": 20, "predicted": 20},
        "striped": {"precision": None, "recall": 0, "f1": 0, "images": 20, "predicted": 0},
    }
    assert (said["metrics"]["all"]["balanced_accuracy"], said["metrics"]["all"]["macro_f1"]) == (0.5, 0.5)
    assert main(["verify", "toy", str(folder)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"striped +│ 20 +│ – +│ 0\.0000 +│ 0\.0000", out)
    assert not re.search(r"│ dark", out)
    assert "most frequent mistakes: striped taken for dark (20)\n" in out


@pytest.mark.parametrize("splits", [("test",), ("train", "test"), ("train", "validation", "test")])
def test_every_split_is_measured_whichever_there_are(folder, tmp_path, capsys, splits):
    for split in splits:
        shutil.copytree(folder, tmp_path / "splits" / split)

    metrics = verify(capsys, tmp_path / "splits")["metrics"]

    assert {name: found["images"] for name, found in metrics.items()} == dict.fromkeys(splits, 40)


def test_a_split_named_train_that_the_model_has_not_learned_from_has_intervals(folder, tmp_path, capsys):
    toys.publish(tmp_path / "models", "other", 1, toys.artifact(labels=LABELS, gain=9))
    for split in ("train", "test"):
        shutil.copytree(folder, tmp_path / "splits" / split)

    assert main(["verify", "toy", str(tmp_path / "splits"), "--against", "other"]) == 0

    out = capsys.readouterr().out
    assert re.search(r"train +│ 40 +│ 1\.0000 \(0\.912–1\.000\)", out)
    assert re.search(r"train +│ 40 +│ 1\.0000 +│ 1\.0000 +│ \+0\.0000 \(-0\.\d+ to \+0\.\d+\)", out)


def test_numbers_are_the_classes_of_the_model(tmp_path, capsys):
    values = np.array([20, 20, 230], np.uint8)
    np.savez(tmp_path / "some.npz", x=np.broadcast_to(values[:, None, None, None], (3, 8, 8, 3)), y=[0, 0, 1])
    np.savez(tmp_path / "one.npz", x=np.full((3, 8, 8, 3), 20, np.uint8), y=[0, 0, 0])

    for file, missing in (("some", ["striped"]), ("one", ["bright", "striped"])):
        said = verify(capsys, tmp_path / f"{file}.npz")
        assert (said["metrics"]["all"]["accuracy"], said["classes_without_images"]) == (1, missing)
    said = verify(capsys, tmp_path / "some.npz", "--labels", "bright,dark")
    assert (said["metrics"]["all"]["accuracy"], said["classes_without_images"]) == (0, ["striped"])


def test_a_class_that_the_model_does_not_know_is_refused(folder, capsys):
    (folder / "dark").rename(folder / "dim")

    assert main(["verify", "toy", str(folder)]) == 65
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "error: the model does not know 1 of the 2 classes: 'dim'; it knows dark, bright, striped; "
    )
    (folder / "bright").rename(folder / "dull")
    assert main(["verify", "toy", str(folder)]) == 65
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "error: the model does not know 2 of the 2 classes: 'dim', 'dull'; it knows dark, bright, striped; "
    )
    assert error.endswith("or name a folder with only those that the model knows (links are enough)")
    (folder / "dim").rename(folder / "dark")
    (folder.with_name("links")).mkdir()
    (folder.with_name("links") / "dark").symlink_to(folder / "dark")
    assert verify(capsys, folder.with_name("links"))["metrics"]["all"]["images"] == 20


def test_without_data_nothing_is_said_of_classes(capsys):
    assert main(["verify", "toy"]) == 0
    assert "not measured" not in capsys.readouterr().out


def test_training_still_takes_images_of_every_class(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "splits" / "test")
    assert main(["train", str(tmp_path / "splits")]) == 65
    assert "has test but no folder 'train'" in capsys.readouterr().err
    shutil.rmtree(folder / "dark")
    assert main(["train", str(folder)]) == 65
    assert "has one class, 'bright'; a classifier needs at least two" in capsys.readouterr().err


def test_of_the_built_in_digits_it_is_known_which_the_model_has_seen(committed, capsys):
    assert main(["verify", str(committed / "digits-regions"), "digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert found["seen_in_training"] == {"train": "learned from", "validation": "tuned on", "test": "not seen"}
    assert 0 <= found["probe_difference"] <= 0.01
    assert {split: figures["images"] for split, figures in found["metrics"].items()} == {
        "train": 1439,
        "validation": 179,
        "test": 179,
    }
    for split, figures in found["metrics"].items():
        always = {"min_confidence": 0, "coverage": 1, "accuracy": figures["accuracy"], "images": figures["images"]}
        assert found["selective"][split][0] == always
        assert 0 <= found["aurc"][split] <= 1 - figures["accuracy"]
