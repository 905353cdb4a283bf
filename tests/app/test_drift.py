"""Images like those of the training set drift by chance alone; a blind camera does not, and a frozen one is told of."""

import threading

import numpy as np
import pytest

from app import catalogue
from app.drift import Drift, chance
from app.familiarity import Familiarity
from model_export.artifact.gaussians import fit
from tests import toys
from tests.app.test_familiarity import WIDTHS, sample
from tests.app.test_repository import loaded


def even(count, seed=0):
    return np.random.default_rng(seed).random((count, 2), np.float32)


def logits(count, seed=0):
    """One for each image, all different."""
    return np.random.default_rng(seed).normal(0, 10, count).astype(np.float32)


def test_drift_is_by_how_much_more_of_the_images_are_strange():
    drift = Drift(["joint"], 2000, window=4)
    drift.observe(np.array([[0.05], [0.02], [0.3], [0.9]], np.float32), logits(4))

    assert drift.summary().drift == {"joint": pytest.approx(0.5 - 0.1)}


def test_images_of_the_usual_kind_are_close_and_strange_ones_are_far():
    drift = Drift(["joint", "top"], 2000)
    drift.observe(even(1000), logits(1000))

    assert max(map(abs, drift.summary().drift.values())) < 0.03
    assert chance(drift.summary().held_out, drift.summary().images) == pytest.approx(0.072, abs=0.001)

    drift.observe(0.02 * even(1000), logits(1000))
    assert drift.summary().drift == pytest.approx({"joint": 0.9, "top": 0.9})


def test_images_that_are_more_familiar_than_most_are_nothing_to_be_woken_for():
    """An easy class alone, or a mix of known ones."""
    drift = Drift(["joint", "top"], 2000)
    drift.observe(0.5 + 0.5 * even(1000), logits(1000))

    assert max(drift.summary().drift.values()) == pytest.approx(-0.1)


@pytest.mark.parametrize("logit", [0.001, -3.7, 98])
def test_a_camera_that_shows_always_the_same_is_told_of_however_familiar_that_is(logit):
    drift = Drift(["joint", "top"], 2000)
    drift.observe(even(1000), logits(1000))
    assert drift.summary().repeated < 0.01

    last_digits = np.random.default_rng(1).normal(1, 1e-6, 700).astype(np.float32)  # they depend on the batch
    drift.observe(even(700), np.float32(logit) * last_digits)
    assert drift.summary().repeated == pytest.approx(0.7, abs=0.01)


def test_strange_images_that_differ_are_not_taken_for_a_frozen_camera():
    """All of them are as strange as can be told, in every branch."""
    model = toys.load(toys.proto(statistics=toys.statistics()))
    model.warm_up([1])
    random = np.random.default_rng(0)
    strange = np.where(random.random((300, 8, 8, 3)) < 0.5, 0, random.integers(0, 256, (300, 1, 1, 3))).astype(np.uint8)

    familiarity = model.run(strange).familiarity

    assert (familiarity == familiarity.min()).all(1).mean() > 0.5
    assert model.drift.summary().repeated < 0.1


@pytest.mark.parametrize("held_out", [20, 179, 2000])
def test_chance_is_what_images_of_the_usual_kind_stay_below(held_out):
    """However few were held out: features from end to end, joint and per branch."""
    train, targets = sample(3000, 2)
    found = []
    for seed in range(100):
        scorer = Familiarity(fit(train, targets, sample(held_out, 1000 + seed)[0]), WIDTHS)
        drift = Drift(["joint", *train], held_out)
        drift.observe(scorer.score(list(sample(1000, 5000 + seed)[0].values())), logits(1000))
        found += drift.summary().drift.values()

    assert (drift.summary().held_out, drift.summary().images) == (held_out, 1000)
    assert chance(held_out, 1000) / 4 < max(found) < chance(held_out, 1000)


@pytest.mark.parametrize("held_out", [1, 5, 9])
def test_strange_images_are_seen_where_few_were_held_out(held_out):
    """Their familiarity is never below one over one more than that."""
    train, targets = sample(300, 2)
    scorer = Familiarity(fit(train, targets, sample(held_out, 3)[0]), WIDTHS)
    drift = Drift(["joint", *train], held_out)
    drift.observe(scorer.score([vectors + 40 for vectors in sample(500, 4)[0].values()]), logits(500))

    assert min(drift.summary().drift.values()) == pytest.approx(1 - 1 / (held_out + 1), abs=0.001)


@pytest.mark.parametrize("size", [1, 7, 250, 700, 3000])
def test_only_the_latest_count(size):
    drift = Drift(["joint", "top"], 2000, window=250)
    scores, marks = even(3000), logits(3000)
    for start in range(0, 3000, size):
        drift.observe(scores[start : start + size], marks[start : start + size])
    expected = Drift(["joint", "top"], 2000, window=250)
    expected.observe(scores[-250:], marks[-250:])

    assert drift.summary() == expected.summary()


def test_nothing_is_told_of_few_images():
    drift = Drift(["joint", "top"], 2000)
    drift.observe(even(99), logits(99))

    assert drift.summary() is None
    drift.observe(even(1), logits(1))
    assert drift.summary().images == 100


def test_several_threads_may_feed_it():
    drift = Drift(["joint", "top"], 2000, window=8000)
    threads = [
        threading.Thread(
            target=lambda seed=seed: [drift.observe(even(1, seed * 1000 + i), logits(1)) for i in range(1000)]
        )
        for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert drift.summary().images == 8000
    assert max(map(abs, drift.summary().drift.values())) < 0.02


def test_a_model_watches_what_it_is_given_and_not_what_it_warmed_up_with():
    model = toys.load(toys.proto(statistics=toys.statistics()))
    model.warm_up([1, 64])
    assert model.drift.summary() is None
    random = np.random.default_rng(0)

    model.run(random.integers(127, 255, (500, 8, 8, 3)).astype(np.uint8))
    usual = model.drift.summary().drift
    model.run(np.zeros((1000, 8, 8, 3), np.uint8))
    blind = model.drift.summary().drift

    assert list(usual) == ["joint", *toys.QUADRANTS]
    assert max(usual.values()) < 0.15
    assert min(blind.values()) > 0.85


def test_of_a_model_that_was_unloaded_no_drift_is_told_until_it_is_served_again(tmp_path):
    """An alert would go on for as long as nobody uses the model."""
    toys.publish(tmp_path, "toy", data=toys.artifact(statistics=toys.statistics()))
    repository = loaded(tmp_path)
    repository.served.find("toy").version.model.run(np.zeros((100, 8, 8, 3), np.uint8))
    told = catalogue.drift(repository)
    assert told["toy", "1", "joint"][-1] == 100

    repository.unload("toy")
    assert catalogue.drift(repository) == {}

    repository.serve_again("toy")
    assert catalogue.drift(repository) == told


def test_a_model_without_statistics_watches_nothing():
    model = toys.load(toys.proto())
    model.warm_up([1])

    assert model.drift is None
