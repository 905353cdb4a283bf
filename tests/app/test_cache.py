"""Remembered answers are the answers themselves, of the same bytes and the same artifact only."""

import shutil

import numpy as np

from tests import toys
from tests.conftest import serving


def ask(client, data, **parameters):
    response = client.post("/predict", params=parameters, content=data)
    assert response.status_code == 200
    return response.json(), response.headers.get("cache-status")


def test_the_same_bytes_are_computed_once(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, CACHED_ANSWERS=10) as client:
        first, missed = ask(client, toys.plain(7))
        second, hit = ask(client, toys.plain(7), explain=True)
        _, other = ask(client, toys.plain(8))
        metrics = client.get("/metrics").text

    assert (missed, hit, other) == ("multipool; fwd=miss", "multipool; hit", "multipool; fwd=miss")
    assert second.pop("explanation")
    assert first == second
    assert 'multipool_cache_total{outcome="hit"} 1.0' in metrics
    assert 'multipool_cache_total{outcome="miss"} 2.0' in metrics


def test_a_frozen_camera_is_noticed_although_its_answer_is_remembered(tmp_path):
    toys.publish(tmp_path, "toy", data=toys.artifact(statistics=toys.statistics()))
    random = np.random.default_rng(0)
    usual = [("file", toys.save(random.integers(127, 255, (8, 8, 3), np.uint8))) for _ in range(60)]
    with serving(tmp_path, CACHED_ANSWERS=100) as client:
        client.post("/predict/batch", files=usual)  # each computed, and counted once
        for _ in range(140):
            ask(client, toys.plain(7))
        metrics = client.get("/metrics").text

    assert 'multipool_repeated_images{model="toy",version="1"} 0.7\n' in metrics


def test_what_was_not_used_for_longest_is_forgotten_first(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, CACHED_ANSWERS=2) as client:
        for value in (1, 2, 1, 3):  # 2 goes
            ask(client, toys.plain(value))
        found = {value: ask(client, toys.plain(value))[1] for value in (1, 3, 2)}

    assert found == {1: "multipool; hit", 3: "multipool; hit", 2: "multipool; fwd=miss"}


def test_another_model_has_answers_of_its_own(tmp_path):
    toys.publish(tmp_path, "one")
    toys.publish(tmp_path, "other", data=toys.artifact(gain=3.0))
    shutil.copytree(tmp_path / "one", tmp_path / "twin")

    with serving(tmp_path, CACHED_ANSWERS=10) as client:
        found = {name: ask(client, toys.plain(7), model=name) for name in ("one", "other", "twin")}

    assert found["one"][0]["probabilities"] != found["other"][0]["probabilities"]
    assert found["other"][1] == "multipool; fwd=miss"
    assert found["twin"][1] == "multipool; hit"  # the very same artifact under another name
    assert found["twin"][0]["model"] == "twin"


def test_nothing_is_remembered_unless_asked_for(server):
    assert [ask(server, toys.plain(7))[1] for _ in range(2)] == [None, None]


def test_what_cannot_be_used_was_not_remembered(tmp_path):
    toys.publish(tmp_path, "toy")
    good, bad = ("file", toys.plain(7)), ("file", b"not an image")
    with serving(tmp_path, CACHED_ANSWERS=10) as client:
        found = [
            client.post("/predict/batch", files=files).headers["cache-status"]
            for files in ([bad], [good], [good, bad], [good])
        ]

    assert found == [*["multipool; fwd=miss"] * 3, "multipool; hit"]


def test_bytes_that_are_declared_otherwise_are_not_remembered_as_that(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, CACHED_ANSWERS=10) as client:
        found = [
            client.post("/predict", content=toys.plain(7), headers={"Content-Type": media_type})
            for media_type in ("image/png", "text/plain", "IMAGE/PNG; x=y")
        ]

    assert [answer.status_code for answer in found] == [200, 415, 200]
    assert found[2].headers["cache-status"] == "multipool; hit"
