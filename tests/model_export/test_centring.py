"""The published head sums to zero over the classes, so that a contribution has one meaning, and answers as before."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from app.images import Shape
from app.model import Model
from model_export.__main__ import main
from model_export.architectures import build
from model_export.artifact import centring
from model_export.figures.metrics import probabilities
from tests import toys

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)


@pytest.fixture
def said(folder, tmp_path, capsys):
    """What was said of a model trained on the folder, published, and published once more from its run."""
    arguments = ["--output", str(tmp_path / "models"), "--json"]
    assert main(["train", str(folder), "--trunk", "plain", "--epochs", "2", "--batch-size", "8", *arguments]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["publish", first["run"], *arguments]) == 0
    return first, json.loads(capsys.readouterr().out)


def test_weights_and_logits_sum_to_zero_and_probabilities_are_those_of_the_trained_network(said, capsys):
    (best,) = Path(said[0]["run"]).glob("best.keras")
    trained = keras.saving.load_model(best, compile=False)
    kernel, _ = trained.get_layer("logits").get_weights()
    assert np.abs(kernel.sum(1)).max() > 0.01  # there is something to centre
    logits = np.asarray(trained(IMAGES))

    for each in said:
        path = Path(each["published"])
        model = Model.load((path / "model.onnx").read_bytes(), "cpu")
        model.warm_up([1])
        found = model.run(IMAGES)
        temperature = each["calibration"]["temperature"]
        np.testing.assert_allclose(found.probabilities, probabilities(logits / temperature), atol=1e-5)
        assert np.abs(model.head.kernel.sum(1)).max() < 1e-6
        assert abs(model.head.bias.sum()) < 1e-6
        assert np.abs(found.logits.sum(1)).max() < 1e-5
        assert np.abs(model.head.contributions([one[0] for one in found.features]).sum(1)).max() < 1e-5
        assert main(["inspect", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["head"]["centred"]
        assert main(["inspect", str(path)]) == 0
        assert "contributions sum to zero over the classes" in " ".join(capsys.readouterr().out.split())


def test_a_head_without_contributions_is_left_alone():
    network = build("flatten-dense", "plain", Shape(16, 16, 3), 3)
    before = network.model.get_layer("logits").get_weights()

    centring.centre(network)

    for old, new in zip(before, network.model.get_layer("logits").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_old_artifacts_are_said_not_to_be_centred(tmp_path, capsys):
    weights = np.ones((12, 2), np.float32)
    toys.publish(tmp_path, "old", data=toys.artifact(weights=weights))

    assert main(["inspect", str(tmp_path / "old"), "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["head"]["centred"]
