"""The difference of two models on the same images, its interval and its p."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model_export.figures.metrics import QUANTILE
from model_export.figures.paired import Paired

COUNTS = st.integers(0, 30)


def paired(both, first, second, neither):
    """Two models of which so many images are classified correctly by both, by only one, and by neither."""
    counts = both, first, second, neither
    return Paired(*(np.repeat(right, counts) for right in ([True, True, False, False], [True, False, True, False])))


@given(COUNTS, COUNTS, COUNTS, COUNTS.filter(bool))
@example(0, 0, 3, 1)  # the lower end would be below -1
@example(0, 3, 0, 1)  # the upper end above 1
@example(3, 0, 0, 1)  # there is no coin to toss
def test_the_figures_are_those_of_the_four_cells(both, first, second, neither):
    found = paired(both, first, second, neither)
    images = both + first + second + neither

    said = found.document()

    assert (said["images"], said["only_right"], said["only_right_against"]) == (images, first, second)
    assert said["accuracy"] == pytest.approx((both + first) / images)
    assert said["accuracy_against"] == pytest.approx((both + second) / images)
    assert said["difference"] == pytest.approx(said["accuracy"] - said["accuracy_against"])
    # How often as many fair coins as there are images that only one model gets right fall as unevenly, or more so.
    apart = first + second
    as_uneven = [k for k in range(apart + 1) if abs(2 * k - apart) >= abs(first - second)]
    assert said["p"] == pytest.approx(sum(math.comb(apart, k) for k in as_uneven) / 2**apart)
    low, high = said["difference_95"]
    shares = np.array([first + 0.5, second + 0.5]) / (images + 2)
    variance = (shares.sum() - (shares[0] - shares[1]) ** 2) / (images + 2)
    assert (low, high) == pytest.approx(
        (
            max(-1, shares[0] - shares[1] - QUANTILE * math.sqrt(variance)),
            min(1, shares[0] - shares[1] + QUANTILE * math.sqrt(variance)),
        )
    )
    assert paired(both, second, first, neither).document()["p"] == pytest.approx(said["p"])


def test_the_interval_contains_the_true_difference_as_often_as_it_says():
    """Of 2,000 pairs of models that differ by 0.05 on all the images there are, each measured on 300."""
    random = np.random.default_rng(0)
    cells = random.multinomial(300, [0.8, 0.1, 0.05, 0.05], 2000)
    intervals = [paired(*row).interval() for row in cells]

    assert 0.94 < np.mean([low <= 0.05 <= high for low, high in intervals]) < 0.965
