"""Temperature scaling makes probabilities mean what they say, and changes nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from app.images import Shape
from model_export.architectures import build
from model_export.artifact import calibration
from model_export.figures import metrics


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


def network_with(logits):
    """Something with a head, whose logits are given."""
    return build("regions", "plain", Shape(16, 16, 3), logits.shape[1])


def test_it_is_folded_into_the_head():
    network = build("regions", "plain", Shape(16, 16, 3), 4)
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    network.model.get_layer("logits").kernel.assign(network.model.get_layer("logits").kernel * 50)
    labels = {"validation": np.random.default_rng(1).integers(0, 4, 64)}
    logits = {"validation": np.asarray(network.model(images))}

    found, calibrated, out_of_fold = calibration.calibrate(network, logits, labels)

    scaled = np.asarray(network.model(images))
    assert found.temperature > 1
    assert (found.images, found.folds) == (64, 5)
    np.testing.assert_allclose(scaled, logits["validation"] / found.temperature, atol=1e-4)
    assert found.after["validation"] < found.before["validation"]
    judged = out_of_fold({"validation": scaled})["validation"]
    np.testing.assert_allclose(judged, calibrated["validation"], atol=1e-4)
    assert (judged.argmax(1) == logits["validation"].argmax(1)).all()
    assert metrics.figures(judged, labels["validation"])["ece"] == pytest.approx(found.after["validation"], abs=1e-5)


def test_a_temperature_that_was_not_set_is_not_said_to_be():
    fitted = calibration.Calibration(0.7294, 1790, {}, {}, folds=5)

    assert fitted.setting() == "a temperature of 0.7294, fitted to 1,790 validation images, is folded into the head"
    assert (
        replace(fitted, temperature=0.2501)
        .setting()
        .endswith("the head, the lowest allowed; the network is much too unsure: train longer, or on more images")
    )
    assert ", the highest allowed; the network is much too sure" in replace(fitted, temperature=9.999).setting()
    assert replace(fitted, temperature=1.0).setting().startswith("no temperature is set, because none lowers ")


def test_no_image_is_judged_by_a_temperature_that_knew_its_label():
    logits, labels = overconfident(40)
    before = calibration.cross_fit(logits, labels)

    for image in range(len(labels)):
        other = labels.copy()
        other[image] = (other[image] + 1) % 4
        changed = calibration.cross_fit(logits, other)
        assert changed[image] == before[image]
        assert (changed == before).sum() >= 8  # nor in its own fold
        assert (changed != before).sum() >= 24  # in three or all of the four other folds of eight
    np.testing.assert_array_equal(before, calibration.cross_fit(logits, labels))


def test_no_image_is_judged_by_a_temperature_that_knew_its_group():
    logits, labels = overconfident(40)
    groups = np.arange(40) // 4 + 7
    before = calibration.cross_fit(logits, labels, groups)

    for group in np.unique(groups):
        other = np.where(groups == group, (labels + 1) % 4, labels)
        changed = calibration.cross_fit(logits, other, groups)
        assert (changed[groups == group] == before[groups == group]).all()
        assert (changed != before).sum() == 32  # of ten groups, two are in each fold
    assert len(np.unique(before)) == 5


def test_a_temperature_that_helps_only_the_images_it_was_fitted_to_is_not_kept():
    """Right by chance: of a few images, a temperature fits the accidents."""
    kept = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        logits = random.normal(0, 1.5, (12, 4)).astype(np.float32)
        labels = np.array([random.choice(4, p=row) for row in metrics.probabilities(logits)])
        found, *_ = calibration.calibrate(network_with(logits), {"validation": logits}, {"validation": labels})
        kept += found.temperature != 1
        if found.temperature == 1:
            assert found.after == found.before
            assert found.folds == 0
    assert kept < 10


@pytest.mark.parametrize("count", [1, 2, 4])
def test_fewer_images_than_folds(count):
    logits, labels = overconfident(count, factor=10)

    found, _, out_of_fold = calibration.calibrate(network_with(logits), {"validation": logits}, {"validation": labels})

    assert found.images == count
    assert found.folds in (0, count)
    assert np.isfinite(out_of_fold({"validation": logits})["validation"]).all()


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_groups_than_folds(count):
    """Of one group, nothing is known of others: no temperature is set."""
    logits, labels = overconfident(60)

    found, *_ = calibration.calibrate(
        network_with(logits), {"validation": logits}, {"validation": labels}, np.arange(60) % count
    )

    assert (found.temperature != 1, found.folds) == ((False, 0) if count == 1 else (True, 3))


def test_calibration_error_by_hand():
    """Two images said with probability 0.8, of which one is right: 0.8 sure and 0.5 right."""
    logits = np.log(np.array([[0.8, 0.2], [0.8, 0.2]], np.float32))

    assert metrics.calibration_error(logits, np.array([0, 1])) == pytest.approx(0.3, abs=1e-6)
    assert metrics.confusion(logits, np.array([0, 1])).tolist() == [[1, 0], [1, 0]]
    assert metrics.losses(logits, np.array([0, 1])).tolist() == pytest.approx([-np.log(0.8), -np.log(0.2)])
