"""The model card says what the metadata say, in words that stay as they are meant."""

import re

import numpy as np
import pytest

from app.images import Shape
from app.metadata import Recipe
from app.probe import Probe
from model_export.artifact import card
from model_export.fitting import optimizing
from tests import toys

RECORD = {
    "dataset": "photos",
    "fingerprint": "f" * 64,
    "licence": "MIT",
    "images": {"train": 1200, "validation": 150},
    "skipped": 0,
    "leaks": {"exact": 0, "near": 0},
    "epochs": 12,
    "epochs_planned": 30,
    "best_epoch": 9,
    "seconds": 1950,
    "date": "2026-11-21T10:11:12+00:00",
    "weights": "none",
    "freeze_epochs": 0,
    "weight_decay": 0.001,
    "batch_size": 64,
    "steps_per_epoch": 1188,
    "learning_rate": 0.004,
    "augmentation": "aerial",
    "averaging": 0.99,
    "class_weights": False,
    "patience": 10,
    "seed": 3,
    "command": "python -m model_export train photos",
    "repeat": "python -m model_export train photos --seed 3",
    "python": "3.11.7",
    "packages": {"keras": "3.15.1", "onnx": "1.23.2"},
    "published": {
        "date": "2026-11-29T00:00:00+00:00",
        "command": "python -m model_export publish runs/photos/1",
        "python": "3.13.1",
        "packages": {"keras": "3.16.0"},
    },
    **optimizing.described(),
}
METRICS = {
    split: {"accuracy": 0.9, "loss": 0.25, "images": images, "balanced_accuracy": 0.8, "macro_f1": 0.7}
    for split, images in (("train", 1200), ("validation", 150))
}
OF_PATIENTS = {"validation": METRICS["validation"] | {"groups": 10, "effective_images": 37.4}}
GROUPED = {"groups": {"train": 80, "validation": 10}, "leaks": {"exact": 0, "near": 0, "group": 0}}
PICTURES = ("confusion.png", "curves.png", "reliability.png", "selective.png")
DIFFERENCE = {"output": "logits", "batch": 1, "largest": 2e-6, "scale": 4.0, "median": 1e-6}


def write(shape=(64, 96, 3), published=card.PLOTS, record=None, **changes):
    """The card of a toy, whose training record and metadata are changed in some places."""
    changes = {"metrics": METRICS, **changes}
    document = toys.metadata(trunk="plain", training={**RECORD, **(record or {})}, **changes)
    return card.card("toy", 4, document, Shape(*shape), published)


def test_what_it_is_and_how_it_was_trained():
    text = write(parameters=31_594)

    for words in (
        "# toy\n\nClassifies images into 2 classes: dark, bright. Its input has 64×96 pixels and 3 channels; ",
        "Architecture `regions`, trunk `plain`, 31,594 parameters, float32.\n",
        "| `top_left` | average | 3 | the top_left quadrant of the image |\n",
        "| train | 1,200 | 0.9000 | 0.2500 |\n| validation | 150 | 0.9000 (0.842–0.938) | 0.2500 |\n",
        "- data: photos (1,200 train, 150 validation); fingerprint `ffff",
        "- licence of the data: MIT\n",
        "- trained 2026-11-21: 12 of 30 epochs in 1,950 s; the weights of epoch 9 were kept\n",
        "- AdamW, weight decay 0.001, batch 64, 1,188 steps per epoch; learning rate 0.004, reached after 5% of the "
        "planned steps, then falling to 1% of it along half a cosine; augmentation aerial; running average of the "
        "weights 0.99; all images weighted alike; patience 10 epochs; seed 3\n",
        "- command: `python -m model_export train photos`\n",
        "- the same with every option: `python -m model_export train photos --seed 3`\n",
        "- Python 3.11.7, keras 3.15.1, onnx 1.23.2\n",
        "- published 2026-11-29 by `python -m model_export publish runs/photos/1`: Python 3.13.1, keras 3.16.0\n",
        "\n    .venv/bin/python -m model_export inspect toy:4\n\n",
        "/predict?model=toy:4'\n",
    ):
        assert words in text
    for absent in ("Leakage", "familiarity", "becomes 0", "skipped", "Calibration error", "each class"):
        assert absent not in text
    sections = re.findall("(?m)^## (.*)$", text)
    assert sections == ["Accuracy", "Calibration", "Training", "Verification", "Use"]
    assert "\n\n\n" not in text  # what is not known leaves no gap
    assert text.count("\n\n- ") == 1  # neither in the list


def test_the_interval_of_grouped_images_is_for_new_groups():
    text = write(metrics=OF_PATIENTS, record=GROUPED)

    assert "| validation | 150 | 0.9000 (0.764–0.962) |" in text  # as 34 of 37 or 38 images would have
    assert (
        "They are for new groups, as images of a group resemble each other: the 150 images of validation, in 10 "
        "groups, count like 37 independent ones (Saha, Miller and Wang 2016).\n"
    ) in text


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {"weights": "imagenet", "freeze_epochs": 5},
            "; initial weights of the trunk: imagenet, frozen for 5 epochs\n",
        ),
        (
            {"weights": "file", "weights_sha256": "abc"},
            "; initial weights of the trunk: from a file (SHA-256 `abc`)\n",
        ),
        (
            {"weights": "file"},
            "\n\nThe initial weights of the trunk come from a file: images of the other splits may be among those ",
        ),
        (
            {"averaging": 0, "class_weights": True},
            "; no running average of the weights; rare classes weighted higher; ",
        ),
        ({"skipped": 1}, "150 validation, 1 file skipped); "),
        ({"licence": ""}, "- licence of the data: not given\n"),
        (
            {"leaks": {"exact": 1, "near": 3}},
            "Leakage: 1 image is the same as one of an earlier split and 3 nearly so, so the figures are better ",
        ),
        (
            {"leaks": {"exact": 0, "near": 2}},
            "Leakage: 0 images are the same as one of an earlier split and 2 nearly so, ",
        ),
        (GROUPED, "\n- groups of images, each in one split: 80 train, 10 validation\n"),
        (
            GROUPED | {"leaks": {"exact": 0, "near": 0, "group": 4}},
            "\n- groups of images, some of which are in two splits: 80 train, 10 validation\n",
        ),
        (
            GROUPED | {"leaks": {"exact": 0, "near": 0, "group": 4}},
            "nearly so, and 4 groups are in two, so the figures are better than they would be without them.\n",
        ),
        (GROUPED | {"leaks": {"exact": 0, "near": 0, "group": 1}}, "nearly so, and 1 group is in two, so "),
    ],
)
def test_what_was_special_about_a_training_is_said(record, words):
    assert words in write(record=record)
    assert words not in write()


def test_the_value_range_is_written_with_all_its_digits():
    text = write(recipe=Recipe(value_range=(-0.00001, 1234567)))

    assert "- pixel values of more than 8 bits: -0.00001 becomes 0 and 1234567 becomes 255\n" in text


def test_what_else_is_known_is_said():
    statistics = toys.statistics(height=64, width=96)
    probe = Probe.of(np.zeros((4, 16, 16, 3), "u1"), np.full((4, 2), 0.5, "f4"), 0.01)
    calibration = {
        "temperature": 0.9,
        "images": 150,
        "before": {"train": 0.03, "validation": 0.04},
        "after": {"train": 0.01, "validation": 0.02},
        "folds": 5,
    }
    figures = dict.fromkeys(("precision", "recall", "f1"), 0.5) | {"images": 75, "predicted": 75}
    by_class = {"validation": {"dark": figures, "bright": figures}}
    found = {"statistics": statistics, "probe": probe, "calibration": calibration, "classes": by_class}

    text = write((64, 96, 1), parity=(DIFFERENCE,), recipe={"value_range": (0, 4000.5)}, **found)

    for words in (
        "64×96 pixels and 1 channel; ",
        "An answer's `familiarity` is near 0 if the image is unlike those of the training data. Images from other",
        "The file contains 4 small images with the probabilities that they got.",
        "refuses it if a probability differs by more than 0.01.\n",
        "A temperature of 0.9, fitted to 150 validation images, is folded into the head. Expected calibration error "
        "over 15 bins (validation: cross-fitted in 5 folds):\n\n| split | as trained | as published |\n"
        "| --- | --- | --- |\n"
        "| train | 0.0300 | 0.0100 |\n| validation | 0.0400 | 0.0200 |\n",
        "Validation: each class:\n\n| class |",
        "- pixel values of more than 8 bits: 0 becomes 0 and 4000.5 becomes 255\n",
    ):
        assert words in text


def test_a_temperature_that_was_fitted_before_the_precision_was_reduced_is_of_another_graph():
    errors = {"train": 0.03, "validation": 0.04}
    calibration = {"temperature": 0.9, "images": 150, "before": errors, "after": errors}

    assert "over 15 bins:\n\n| split | as trained | as published |\n" in write(calibration=calibration)
    assert "| split | as trained, in float32 | as published, in int8 |\n" in write(
        calibration=calibration, precision="int8"
    )


def test_differences_are_those_of_all_outputs_or_in_a_smaller_precision_of_each():
    worse = {**DIFFERENCE, "batch": 32, "largest": 4e-6, "scale": 1.0, "median": 2e-6}

    assert "Over all outputs at batch 1, 32, Keras and ONNX differ by at most 4.0e-06." in write(
        parity=(DIFFERENCE, worse)
    )
    reduced = {
        "precision": "int8",
        "accuracy_float32": 0.95,
        "accuracy": 0.947,
        "agreement": 0.98,
        "speed": 1.4,
        "largest_fall": 0.005,
    }
    parity = ({**DIFFERENCE, "largest": 0.4}, {**worse, "largest": 0.2, "median": 0.01})
    text = write(precision="int8", parity=parity, record={"precision": reduced})
    assert "0.9470 of the validation images are right, 0.9500 in float32 (0.0030 lost, 0.005 allowed)" in text
    assert "by at most 20.00% of the largest value of each, in the median by at most 1.00%." in text


def test_only_the_pictures_that_are_there_are_shown():
    assert "![Confusion matrix of the validation images](confusion.png)" in write()
    assert "![Reliability diagram of the validation images](reliability.png)" in write()
    assert "![Coverage and accuracy of the validation images by min_confidence](selective.png)" in write()
    assert "![Learning curves](curves.png)" in write(published=("curves.png",))
    assert "](confusion.png)" not in write(published=("curves.png",))


@pytest.mark.parametrize("missing", PICTURES)
def test_it_is_written_beside_the_pictures_that_are_there(tmp_path, missing):
    there = [name for name in PICTURES if name != missing]
    for name in (*there, "mistakes.png"):
        (tmp_path / name).touch()

    document = toys.metadata(trunk="plain", metrics=METRICS, training=RECORD)
    card.write(tmp_path, "toy", document, Shape(64, 96, 3), 4)

    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text == write(published=tuple(there))
    assert sorted(re.findall(r"\]\((\w+\.png)\)", text)) == there


def test_names_stay_as_they_are():
    text = write(labels=("<b>", "a_b & c~d~"), record={"dataset": "my_$photos$"})

    assert "2 classes: \\<b\\>, a\\_b \\& c\\~d\\~. " in text
    assert "- data: my\\_\\$photos\\$ (1,200" in text
    assert "than those of my\\_\\$photos\\$ may be" in text
