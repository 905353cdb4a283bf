"""Figures against other implementations of them."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, classification_report, log_loss

from model_export.figures.metrics import accuracy, by_class, confusion, figures, interval, probabilities


@pytest.mark.parametrize(("right", "images"), [(0, 1), (4, 4), (178, 179), (1901, 2000), (1887, 2000)])
def test_the_interval_of_an_accuracy_is_that_of_wilson(right, images):
    expected = binomtest(right, images).proportion_ci(0.95, "wilson")

    assert interval(right / images, images) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_what_was_learned_by_heart_is_no_sample_of_others():
    assert accuracy({"accuracy": 178 / 179, "images": 179}, learned=False) == "0.9944 (0.969–0.999)"
    assert accuracy({"accuracy": 1, "images": 1439}, learned=True) == "1.0000"


def guesses(true, predicted, classes):
    """Logits whose largest is that of the class predicted."""
    logits = np.random.default_rng(1).normal(size=(len(true), classes)).astype(np.float32)
    logits[np.arange(len(true)), predicted] = 9
    return logits


@pytest.mark.parametrize("images", [12, 400])
def test_the_figures_of_each_class_are_those_of_scikit_learn(images):
    random = np.random.default_rng(images)
    true = np.r_[0:6, random.integers(0, 6, images - 6)]
    predicted = np.where(random.random(images) < 0.6, true, random.integers(0, 5, images))  # 5 seldom
    logits = guesses(true, predicted, 6)
    expected = classification_report(true, predicted, output_dict=True, zero_division=np.nan)

    found = by_class(confusion(logits, true))
    overall = figures(logits, true)

    for name, values in zip(("precision", "recall", "f1-score"), found, strict=True):
        assert values == pytest.approx([expected[str(label)][name] for label in range(6)], nan_ok=True)
    assert overall["accuracy"] == pytest.approx(expected["accuracy"])
    assert overall["loss"] == pytest.approx(log_loss(true, probabilities(logits), labels=range(6)))
    assert overall["macro_f1"] == pytest.approx(expected["macro avg"]["f1-score"])
    assert overall["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, predicted))
    assert overall["balanced_accuracy"] == pytest.approx(expected["macro avg"]["recall"])


def test_a_class_without_images_has_no_recall_and_is_in_no_mean():
    """One image of the class 0 is taken for 2, of which there are none; of 3 there are none either."""
    true, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    logits = guesses(true, predicted, 4)

    precision, recall, f1 = by_class(confusion(logits, true))

    assert recall == pytest.approx([0.5, 1, np.nan, np.nan], nan_ok=True)
    assert precision == pytest.approx([1, 1, 0, np.nan], nan_ok=True)
    assert f1 == pytest.approx([2 / 3, 1, np.nan, np.nan], nan_ok=True)
    assert figures(logits, true)["balanced_accuracy"] == 0.75
    assert figures(logits, true)["macro_f1"] == pytest.approx(5 / 6)


def test_a_class_that_is_never_named_has_no_precision():
    true, predicted = np.array([0, 1]), np.array([0, 0])

    precision, recall, f1 = by_class(confusion(guesses(true, predicted, 2), true))

    assert precision == pytest.approx([0.5, np.nan], nan_ok=True)
    assert (recall[1], f1[1]) == (0, 0)


def test_the_calibration_error_is_taken_over_fifteen_bins_of_equal_width():
    """Each weighed by its images; an answer that is certain is in the last."""
    logits = np.random.default_rng(0).normal(0, 2, (40, 3)).astype(np.float32)
    logits[:5] = [200, 0, 0]
    answers, confidence = logits.argmax(1), probabilities(logits).max(1)
    bins = np.clip(np.digitize(confidence, np.linspace(0, 1, 16)), 1, 15)
    right = (bins % 2 == 1) & (confidence < 1)  # too modest in one bin, too sure in the next
    gaps = [abs(confidence[bins == bin].sum() - right[bins == bin].sum()) for bin in range(1, 16)]

    found = figures(logits, np.where(right, answers, (answers + 1) % 3))

    assert 1 in np.bincount(bins)
    assert (confidence == 1).sum() == 5
    assert found["ece"] == pytest.approx(sum(gaps) / 40)
