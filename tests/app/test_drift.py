"""Images like those of the training set lie close to an even spread; a blind camera does not."""

import threading

import numpy as np
import pytest

from app.drift import Drift
from tests import toys


def even(count, seed=0):
    return np.random.default_rng(seed).random((count, 2), np.float32)


def test_the_distance_is_that_of_kolmogorov():
    drift = Drift(["joint"], window=4)
    drift.observe(np.array([[0.1], [0.2], [0.3], [0.9]], np.float32))

    assert drift.distances() == {"joint": pytest.approx(0.45)}  # 3 of 4 lie below 0.3


def test_images_of_the_usual_kind_are_close_and_a_blind_camera_is_far():
    drift = Drift(["joint", "top"])
    drift.observe(even(1000))

    assert max(drift.distances().values()) < 0.06

    drift.observe(np.full((1000, 2), [0.001, 0.6], np.float32))
    assert drift.distances() == {"joint": pytest.approx(0.999), "top": pytest.approx(0.6)}


@pytest.mark.parametrize("size", [1, 7, 250, 3000])
def test_only_the_latest_count(size):
    drift = Drift(["joint", "top"], window=250)
    scores = even(3000)
    for start in range(0, 3000, size):
        drift.observe(scores[start : start + size])
    expected = Drift(["joint", "top"], window=250)
    expected.observe(scores[-250:])

    assert drift.distances() == expected.distances()


def test_nothing_is_told_of_few_images():
    drift = Drift(["joint", "top"])
    drift.observe(even(99))

    assert drift.distances() == {}


def test_several_threads_may_feed_it():
    drift = Drift(["joint", "top"], window=8000)
    threads = [
        threading.Thread(target=lambda seed=seed: [drift.observe(even(1, seed * 1000 + i)) for i in range(1000)])
        for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(drift.distances().values()) < 0.03


def test_a_model_watches_what_it_is_given_and_not_what_it_warmed_up_with():
    model = toys.load(toys.proto(statistics=toys.statistics()))
    model.warm_up([1, 64])
    assert model.drift.distances() == {}
    random = np.random.default_rng(0)

    model.run(random.integers(127, 255, (500, 8, 8, 3)).astype(np.uint8))
    usual = model.drift.distances()
    model.run(np.zeros((1000, 8, 8, 3), np.uint8))
    blind = model.drift.distances()

    assert list(usual) == ["joint", *toys.QUADRANTS]
    assert max(usual.values()) < 0.15
    assert min(blind.values()) > 0.9


def test_a_model_without_statistics_watches_nothing():
    model = toys.load(toys.proto())
    model.warm_up([1])

    assert model.drift is None
