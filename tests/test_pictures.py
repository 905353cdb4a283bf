"""The images of the benchmarks are as large as the tables of their figures say."""

import pytest

from benchmarks import pictures
from benchmarks.comparison import REGIMES


@pytest.mark.parametrize("regime", sorted({*REGIMES} - {"large"}))  # which takes long to make
def test_an_image_has_the_size_that_is_said(regime):
    *_, (width, height, kilobytes) = REGIMES[regime]

    assert len(pictures.jpeg(width, height, kilobytes)) / 1000 == pytest.approx(kilobytes, rel=0.03)
