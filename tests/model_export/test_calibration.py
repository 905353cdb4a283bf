"""Temperature scaling makes probabilities mean what they say, and changes nothing else."""

import numpy as np
import pytest

from app.images import Shape
from model_export import calibration, metrics
from model_export.architectures import build


def overconfident(count=4000, factor=3.0):
    """Logits that are ``factor`` times as large as they should be, and labels drawn by the right probabilities."""
    random = np.random.default_rng(0)
    right = random.normal(0, 1.5, (count, 4)).astype(np.float32)
    labels = np.array([random.choice(4, p=row) for row in metrics.probabilities(right)])
    return right * np.float32(factor), labels


def test_the_temperature_undoes_overconfidence():
    logits, labels = overconfident()

    assert calibration.fit(logits, labels) == pytest.approx(3, rel=0.1)


def test_it_stays_within_reason():
    logits, labels = overconfident(200, factor=100)
    assert calibration.fit(logits, labels) == pytest.approx(10, rel=0.01)
    assert calibration.fit(np.eye(4, dtype=np.float32), np.arange(4)) == 1  # no mistake to learn from


def test_it_is_folded_into_the_head():
    network = build("regions", "plain", Shape(16, 16, 3), 4)
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    network.model.get_layer("logits").kernel.assign(network.model.get_layer("logits").kernel * 50)
    labels = {"validation": np.random.default_rng(1).integers(0, 4, 64)}
    logits = {"validation": network.model.predict(images, verbose=0)}

    found, scaled = calibration.calibrate(network, logits, labels)

    assert found.temperature > 1
    np.testing.assert_allclose(network.model.predict(images, verbose=0), scaled["validation"], atol=1e-4)
    assert (scaled["validation"].argmax(1) == logits["validation"].argmax(1)).all()
    assert found.after["validation"] < found.before["validation"]
    assert metrics.figures(scaled["validation"], labels["validation"])["ece"] == found.after["validation"]


def test_calibration_error_by_hand():
    """Two images said with probability 0.8, of which one is right: 0.8 sure and 0.5 right."""
    logits = np.log(np.array([[0.8, 0.2], [0.8, 0.2]], np.float32))

    assert metrics.calibration_error(logits, np.array([0, 1])) == pytest.approx(0.3, abs=1e-6)
    assert metrics.confusion(logits, np.array([0, 1])).tolist() == [[1, 0], [1, 0]]
    assert metrics.losses(logits, np.array([0, 1])).tolist() == pytest.approx([-np.log(0.8), -np.log(0.2)])
