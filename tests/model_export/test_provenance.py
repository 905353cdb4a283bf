"""What is recorded of a training is what it was, and the golden probe is made of images that it has not seen."""

import argparse
import hashlib
import platform
from dataclasses import replace

import numpy as np
import pytest

from app.images import Shape
from app.probe import enlarge
from model_export import training
from model_export.architectures import build
from model_export.artifact import provenance
from model_export.data.leakage import Leak
from model_export.data.split import Split
from model_export.datasets import Dataset
from model_export.fitting.budget import Budget
from model_export.training import Outcome

SHAPE = Shape(48, 12, 2)


def dataset(**changes):
    """Images of noise, each split with its own range of greys."""

    def split(low, count):
        images = np.random.default_rng(low).integers(low, low + 60, (count, *SHAPE), np.uint8)
        return Split(images, np.arange(count) % 2, digests=tuple(f"{low} {index}" for index in range(count)))

    splits = {"train": split(0, 20), "validation": split(70, 6), "test": split(140, 9)}
    return replace(Dataset("noise", ("dark", "bright"), SHAPE, splits), **changes)


def recorded(data, **options):
    given = {"weights": "none", "data_licence": "MIT", "data": "noise", "command_line": "train noise", "name": "toy"}
    given |= {"published_by": "publish runs/toy/1", "surroundings": {"date": "then", "python": "3.11", "packages": {}}}
    given |= dict.fromkeys(provenance.repeating.SHAPING)
    arguments = argparse.Namespace(**{**given, "weights": "none", **options})
    history = [{"val_loss": loss, "seconds": 1.26} for loss in (3, 1, 2)]
    method = training.described(Budget(epochs=7), data)
    return provenance.training_record(arguments, data, method, Outcome(history, "digest"))


def test_the_record_of_a_training():
    leaks = (Leak("near", "a", "b"), Leak("exact", "a", "c"), Leak("near", "b", "c"))
    data = dataset(leaks=leaks, skipped=("a.png: it is empty",))

    found = recorded(data)

    assert found["images"] == {"train": 20, "validation": 6, "test": 9}
    assert (found["dataset"], found["licence"], found["skipped"], found["leaks"]) == (
        "noise",
        "MIT",
        1,
        {"exact": 1, "near": 2},
    )
    assert (found["epochs_planned"], found["epochs"], found["best_epoch"], found["seconds"]) == (7, 3, 2, 4)
    assert (found["checkpoint_sha256"], found["fingerprint"]) == ("digest", data.fingerprint())
    assert found["command"].endswith(" -m model_export train noise")
    assert (found["date"], found["python"]) == ("then", "3.11")  # of the training, not of today
    assert found["published"]["command"].endswith(" -m model_export publish runs/toy/1")
    assert found["published"]["date"].startswith("20")
    assert {"keras", "onnxruntime", "pillow"} <= found["published"]["packages"].keys()


@pytest.mark.parametrize(("weights", "said"), [("none", "none"), ("imagenet", "imagenet"), ("a/b.keras", "file")])
def test_initial_weights_are_named_without_a_path_of_this_machine(weights, said):
    assert recorded(dataset(), weights=weights)["weights"] == said


def test_the_surroundings_tell_the_interpreter_and_the_initial_weights(tmp_path):
    (tmp_path / "start.keras").write_bytes(b"weights")

    found = provenance.surroundings(str(tmp_path / "start.keras"))

    assert found["python"] == platform.python_version()
    assert found["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert "weights_sha256" not in provenance.surroundings("imagenet")


def test_what_a_network_reads_and_computes():
    network = build("regions", "plain", SHAPE, 2)
    arguments = argparse.Namespace(trunk="plain", value_range=(0, 4000))

    found = provenance.document(network, dataset(), "regions", arguments)

    assert (found.architecture, found.trunk, found.labels) == ("regions", "plain", ("dark", "bright"))
    assert (found.feature_map, found.recipe.value_range) == ((24, 6, 64), (0, 4000))
    assert found.parameters == network.model.count_params()
    assert found.branches == network.branches


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 0.01), ("float16", 0.03), ("int8", 0.1)])
def test_the_probe_has_three_images_of_the_last_split_averaged_and_noise(precision, tolerance):
    """Of another size than the model's: they are enlarged to it, as they will be when they are asked again."""
    data, asked = dataset(), []

    def answer(batch):
        asked.append(batch)
        return np.tile(np.float32([0.25, 0.75]), (len(batch), 1))

    probe = provenance.probe(data, answer, precision)

    assert (probe.shape, probe.tolerance) == ((4, 16, 12, 2), tolerance)
    (batch,) = asked
    assert batch.shape == (4, *SHAPE)
    test = data.splits["test"].images
    for found, image in zip(batch, (test[0], test[4], test[8]), strict=False):
        rows = image.reshape(16, 3, 12, 2).mean(1)  # 48 rows become 16
        np.testing.assert_allclose(found, enlarge(np.rint(rows)[None].astype(np.uint8), 48, 12)[0], atol=2)
    assert batch[3].max() > 200
    assert batch[3].min() < 60
    assert probe.replay(answer, 48, 12) == 0


def test_without_a_test_split_the_probe_is_of_validation_images():
    data = dataset()
    del data.splits["test"]

    asked = []

    provenance.probe(data, lambda batch: asked.append(batch) or np.full((len(batch), 2), 0.5, np.float32), "int8")

    assert 70 <= asked[0][:3].min() < asked[0][:3].max() < 130
