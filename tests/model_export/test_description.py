"""``inspect``: what a published model says of itself, as a page for people."""

import hashlib
import json

import pytest

from app.metadata import Recipe
from model_export.__main__ import main
from tests import toys


def page(capsys, path):
    assert main(["inspect", str(path)]) == 0
    return capsys.readouterr().out


def test_a_published_model_says_what_it_is_and_what_was_checked(committed, capsys):
    path = committed / "digits-regions" / "4"
    content = (path / "model.onnx").read_bytes()

    said = page(capsys, path)

    lines = said.splitlines()
    digest = hashlib.sha256(content).hexdigest()
    assert lines[:5] == [
        f"{path / 'model.onnx'}  {len(content):,} bytes",
        f"sha256 {digest}",
        "architecture regions, trunk batchnorm, recipe draft-bilinear-1",
        "image uint8 [batch, 32, 32, 1]",
        "labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
    ]
    assert "┃ branch       ┃ pooling ┃ width ┃ pools over                                  ┃" in lines
    assert "│ top_right    │ max     │ 64    │ the top right quadrant of the feature map   │" in lines
    assert "│ validation │ 179    │ 0.9944 (0.969–0.999) │ 0.0264        │ 0.0133          │" in lines
    assert "test: each class" in lines
    assert "validation: each class" not in lines  # that of which training has seen least is enough
    checks = lines.index("computes in float32")
    assert lines[checks + 1 : checks + 4] == [
        "a temperature of 0.6946, fitted to 179 validation images, is folded into the head; calibration error "
        "train 0.0054 → 0.0010, validation 0.0152 → 0.0133, test 0.0218 → 0.0086; validation cross-fitted in 5 folds",
        "Keras and ONNX differ by at most 6.7e-06 (logits), all outputs, batch 1, 7, 32",
        "golden probe: 4 images, a probability may differ by 0.01",
    ]
    assert lines[-2:] == [
        "head: 256 pooled features × 10 classes = 2,560 weights, of 31,018 parameters in all; centred: contributions "
        "sum to zero over the classes",
        "without pooling: a dense layer of 500 on the flattened 4×4×64 feature map (1,024 numbers) would need 512,000 "
        "weights",
    ]
    assert main(["inspect", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["bytes"], document["sha256"]) == (len(content), digest)
    assert document["input"] == {"height": 32, "width": 32, "channels": 1}
    assert document["head"] == {
        "pooled_features": 256,
        "head_weights": 2560,
        "centred": True,
        "flattened_features": 1024,
        "dense_weights": 512_000,
    }


def test_how_images_are_read_and_how_many_are_known_is_said(tmp_path, capsys):
    recipe = Recipe(value_range=(0, 1234567), description="first frame; resized")
    toys.publish(tmp_path, "toy", 1, toys.artifact(recipe=recipe, statistics=toys.statistics(50)))

    said = page(capsys, tmp_path / "toy")

    assert (
        "\nimages are read so: first frame; resized\n"
        "pixel values of more than 8 bits: 0 becomes 0 and 1234567 becomes 255\n"
    ) in said
    assert "\nfamiliarity: compared with 50 held-out images\n" in said


def test_of_what_was_not_checked_nothing_is_said(tmp_path, capsys):
    toys.publish(tmp_path, "toy", 1, toys.artifact(head=False))

    said = page(capsys, tmp_path / "toy")

    assert "\nlabels dark, bright\n" in said
    assert said.count("┏") == 1  # the table of its branches
    for absent in ("becomes 0", "familiarity"):
        assert absent not in said
    assert said.endswith("computes in float32\nhead: 12 pooled features × 2 classes = 24 weights\n")


@pytest.mark.parametrize(("medians", "median"), [((0.02, 0.5), ", in the median by at most 1.00%"), ((None, None), "")])
def test_a_smaller_precision_differs_by_a_share_of_the_values(tmp_path, capsys, medians, median):
    """What is large beside small values is the worst, and not what is large."""
    parity = [
        {"output": "probabilities", "batch": 7, "largest": 0.1, "scale": 2.0, "median": medians[0]},
        {"output": "logits", "batch": 7, "largest": 3.0, "scale": 100.0, "median": medians[1]},
        {"output": "logits", "batch": 1, "largest": 0.01},
    ]
    toys.publish(tmp_path, "toy", 1, toys.artifact(precision="int8", parity=parity))

    assert (
        "Keras and ONNX differ by at most 5.00% of the largest value (probabilities), all outputs, batch 1, 7"
        f"{median}; int8 rounds, and is judged by its accuracy, below\n"
    ) in page(capsys, tmp_path / "toy")


@pytest.mark.parametrize(("folds", "words"), [(5, "; validation cross-fitted in 5 folds"), (0, "")])
def test_a_model_that_needs_no_temperature_has_none(tmp_path, capsys, folds, words):
    calibration = {"temperature": 1, "images": 9, "before": {"test": 0.1}, "after": {"test": 0.05}, "folds": folds}
    toys.publish(tmp_path, "toy", 1, toys.artifact(calibration=calibration))

    assert f"; calibration error test 0.1000 → 0.0500{words}\n" in page(capsys, tmp_path / "toy")
