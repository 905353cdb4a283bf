"""Figures against other implementations of them."""

import pytest
from scipy.stats import binomtest

from model_export.metrics import accuracy, interval


@pytest.mark.parametrize(("right", "images"), [(0, 1), (4, 4), (178, 179), (1901, 2000), (1887, 2000)])
def test_the_interval_of_an_accuracy_is_that_of_wilson(right, images):
    expected = binomtest(right, images).proportion_ci(0.95, "wilson")

    assert interval(right / images, images) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_what_was_learned_by_heart_is_no_sample_of_others():
    assert accuracy("test", {"accuracy": 178 / 179, "images": 179}) == "0.9944 (0.969–0.999)"
    assert accuracy("train", {"accuracy": 1, "images": 1439}) == "1.0000"
