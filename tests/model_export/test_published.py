"""What is published is known again, so that nothing is published twice, and nothing answers unnoticed."""

import argparse
import hashlib
from dataclasses import asdict

import pytest

from model_export.artifact import published
from model_export.artifact.calibration import Calibration
from model_export.artifact.precision import Reduced
from model_export.artifact.published import Published
from model_export.fitting.runs import Run
from model_export.training import Outcome
from tests import toys

WEIGHTS = b"weights"
CALIBRATION = asdict(Calibration(1.0, 8, {"validation": 0.1}, {"validation": 0.1}))
HISTORY = [{"val_loss": 1.0}] * 7


@pytest.fixture
def run(tmp_path):
    """A run of seven epochs."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.keras").write_bytes(WEIGHTS)
    (tmp_path / "run" / "results.csv").write_text("epoch,val_loss\n" + "1,1\n" * 7)
    return Run(tmp_path / "run")


def publish(repository, name, version, weights=WEIGHTS, epochs=7):
    """Publish a toy as if it had been made from a run."""
    record = {"checkpoint_sha256": hashlib.sha256(weights).hexdigest(), "epochs": epochs}
    return toys.publish(repository, name, version, toys.artifact(training=record, calibration=CALIBRATION)).parent


def found(repository, run, name="toy", precision="float32"):
    """The folder of the version that is known again."""
    arguments = argparse.Namespace(output=repository, name=name, precision=precision)
    again = published.find(arguments, Outcome(HISTORY, run.digest()))
    return again and again.folder


def test_the_highest_version_of_a_run_as_it_is_now_is_known_again(run, tmp_path):
    repository = tmp_path / "models"
    assert found(repository, run) is None
    publish(repository, "toy", 9)
    tenth = publish(repository, "toy", 10)
    publish(repository, "toy", 11, weights=b"of another run")
    publish(repository, "toy", 12, epochs=6)  # as the run was before it was gone on with
    toys.publish(repository, "toy", 13, b"damaged")
    publish(repository, "unlike", 14)
    toys.publish(repository, "unlike", 15, b"damaged")

    assert found(repository, run) == tenth
    assert found(repository, run, name="unlike") == repository / "unlike" / "14"
    assert found(repository, run, name="tool") is None
    assert found(repository, run, precision="int8") is None
    (run.folder / "best.keras").write_bytes(b"better")
    assert found(repository, run) is None


@pytest.mark.parametrize("reduced", [None, asdict(Reduced("int8", 0.9, 0.89, 0.98, 2.0, 0.005))])
def test_what_is_known_again_says_what_it_said_when_it_was_published(tmp_path, reduced):
    difference = {"output": "logits", "batch": 7, "largest": 1e-6, "scale": 3.0, "median": None}
    said = {
        "metrics": {"validation": {"accuracy": 0.5}},
        "classes": {"validation": {"dark": dict.fromkeys(("precision", "recall", "f1"), 0.5)}},
        "calibration": CALIBRATION,
        "training": {"precision": reduced} if reduced else {},
    }

    again = Published.of(
        tmp_path / "toy" / "1", toys.metadata(parity=[difference], statistics=toys.statistics(50), **said)
    )

    assert again.document() == {
        "published": str(tmp_path / "toy" / "1"),
        "metrics": said["metrics"],
        "classes": said["classes"],
        "differences": [difference],
        "calibration": CALIBRATION,
        "precision": reduced,
        "held_out": 50,
    }


def test_only_the_highest_version_is_the_newest(tmp_path):
    for version in (9, 10):
        publish(tmp_path, "toy", version)

    document = toys.metadata(calibration=CALIBRATION)
    assert not Published.of(tmp_path / "toy" / "9", document).is_newest()
    assert Published.of(tmp_path / "toy" / "10", document).is_newest()


@pytest.mark.parametrize(
    ("name", "others", "displaced"),
    [
        ("ants", {"bees": 1, "cats": 1}, "bees"),
        ("ants", {}, None),
        ("bees", {"ants": 1, "cats": 1}, None),
        ("dogs", {"ants": 1}, None),
    ],
)
def test_a_first_model_by_name_displaces_the_one_that_was(tmp_path, name, others, displaced):
    for other, version in others.items():
        publish(tmp_path, other, version)
    new = Published.of(publish(tmp_path, name, 1), toys.metadata(calibration=CALIBRATION))

    assert new.displaced() == displaced
    second = Published.of(publish(tmp_path, name, 2), toys.metadata(calibration=CALIBRATION))
    assert second.displaced() is None  # it was the first before
