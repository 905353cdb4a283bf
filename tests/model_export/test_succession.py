"""A new version does not take the place of a better one, or of one that answers something else, without being asked."""

import argparse
from pathlib import Path

import pytest

from app.images import Shape
from model_export.artifact import succession
from model_export.console.invocation import program
from model_export.errors import BadSuccessor
from model_export.fitting.runs import Run
from tests import toys

RECORD = {"fingerprint": "same", "checkpoint_sha256": "old", "seed": 0}


def document(accuracy, **changes):
    """What a new version says of itself."""
    metrics = {"validation": {"accuracy": accuracy, "images": 48}}
    return toys.metadata(metrics=metrics, training={**RECORD, "checkpoint_sha256": "new", **changes})


@pytest.fixture
def before(tmp_path):
    """A version that is right on 40 of 48 validation images; the one below it is another, the one above it damaged."""
    metrics = {"validation": {"accuracy": 40 / 48, "images": 48}}
    toys.publish(tmp_path, "toy", 9, toys.artifact(16, 16))
    toys.publish(tmp_path, "toy", 10, toys.artifact(metrics=metrics, training=RECORD))
    toys.publish(tmp_path, "toy", 11, b"damaged")
    toys.publish(tmp_path, "unlike", 9)
    return succession.find(tmp_path, "toy")


def test_what_is_worse_by_more_than_chance_is_refused(before):
    change = r"validation accuracy 0\.8333 \(version 10\) → 0\.4375"
    with pytest.raises(BadSuccessor, match=rf"toy:10, .*: {change}, .*\. Nothing was published: this way"):
        before.check_accuracy(document(21 / 48), 0.25, "this way")

    before.check_accuracy(document(35 / 48), 0.25, "")  # the interval of 40 begins at 0.704
    before.check_accuracy(document(21 / 48, checkpoint_sha256="old"), 0.5, "")  # the precision was judged already
    before.check_accuracy(document(21 / 48, fingerprint="other"), 0.25, "")
    assert before.change(document(0.5, fingerprint="other")) == (
        "validation accuracy 0.8333 (version 10, on other images) → 0.5000"
    )


def test_on_few_groups_chance_explains_more(tmp_path):
    figures = {"accuracy": 40 / 48, "images": 48, "groups": 6, "effective_images": 12}
    toys.publish(tmp_path, "toy", 1, toys.artifact(metrics={"validation": figures}, training=RECORD))
    before = succession.find(tmp_path, "toy")

    before.check_accuracy(document(29 / 48), 0.25, "")  # the interval of 10 in 12 begins at 0.552
    with pytest.raises(BadSuccessor, match=r"the same 48 validation images in 6 groups: .* no less than 0\.5520"):
        before.check_accuracy(document(26 / 48), 0.25, "")


def test_what_has_learned_nothing_does_not_replace_what_has(before):
    """On whatever data: a training that failed must not answer."""
    words = r"→ 0\.5000; the new model is no better than always naming one class \(0\.5000\)\. Nothing"
    with pytest.raises(BadSuccessor, match=words):
        before.check_accuracy(document(0.5, fingerprint="other"), 0.5, "")

    before.check_accuracy(document(0.5, fingerprint="other"), 0.49, "")
    before.check_accuracy(document(0.9, fingerprint="other"), 0.95, "")
    before.check_accuracy(document(40 / 48, fingerprint="other"), 0.95, "")  # nor had the other one


def test_other_classes_and_sizes_are_refused(before):
    before.check_kind(("bright", "dark"), Shape(8, 8, 3), "")
    with pytest.raises(BadSuccessor, match="the new model lacks 'bright' and adds 'dull', 'pale'"):
        before.check_kind(("dark", "dull", "pale"), Shape(8, 8, 3), "")
    with pytest.raises(BadSuccessor, match=r"adds '00', .*, '09' and 2 more"):
        before.check_kind(("dark", "bright", *(f"{number:02}" for number in range(12))), Shape(8, 8, 3), "")
    with pytest.raises(BadSuccessor, match=r"adds '00', .*, '09'\. Nothing"):
        before.check_kind(("dark", "bright", *(f"{number:02}" for number in range(10))), Shape(8, 8, 3), "")
    with pytest.raises(BadSuccessor, match="reads images of 8×8×3, the new model 16×8×3"):
        before.check_kind(("dark", "bright"), Shape(16, 8, 3), "")


def test_an_artifact_that_says_nothing_of_itself_may_be_replaced(tmp_path):
    assert succession.find(tmp_path, "toy") is None
    toys.publish(tmp_path, "toy")
    found = succession.find(tmp_path, "toy")

    found.check_accuracy(document(0.1), 0.5, "")
    assert found.change(document(0.1)) == ""


def test_of_one_that_does_not_say_what_it_was_trained_on_the_images_may_be_others(tmp_path):
    toys.publish(tmp_path, "toy", 1, toys.artifact(metrics={"validation": {"accuracy": 40 / 48, "images": 48}}))
    before = succession.find(tmp_path, "toy")

    before.check_accuracy(document(21 / 48), 0.25, "")
    with pytest.raises(BadSuccessor, match=r"0\.8333 \(version 1, on other images\) → 0\.4375; .* always naming one"):
        before.check_accuracy(document(21 / 48), 0.5, "")


@pytest.mark.parametrize(
    ("tried", "options", "named"),
    [
        ("train photos --name toy", "--replace-anyway", "publish 'my runs/1' --replace-anyway"),
        ("train --resume 'my runs/1'", "--precision float32", "publish 'my runs/1' --precision float32"),
        (
            "publish --precision=int8 'my runs/1' --output models",
            "--precision float32",
            "publish 'my runs/1' --output models --precision float32",
        ),
    ],
)
def test_the_command_that_publishes_after_all_is_the_one_that_was_tried_with_another_option(tried, options, named):
    arguments = argparse.Namespace(data="photos", published_by=tried)

    assert succession.again(arguments, Run(Path("my runs/1")), options) == f"{program()} {named}"
