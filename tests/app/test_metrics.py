"""What Prometheus reads: counted right, by one process or several, and used right by the dashboard and the alerts."""

import json
import platform
import re
import time
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from app import __version__, catalogue, exposition
from app.drift import chance
from app.metrics import SECONDS, Histogram, add_up, without_gauges
from app.registry.artifacts import Found
from app.registry.versions import Entry, Version
from tests import toys
from tests.conftest import ROOT, serving, wait_for

PHOTO = {"file": toys.plain(1)}
STAGES = ("read", "decode", "queue", "inference", "total")


def scrape(client, **headers):
    """All samples, by name and labels; each is there once, or Prometheus would drop some."""
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200
    found = [
        ((sample.name, *sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize("workers", [1, 2])
def test_everything_is_counted_once(models, workers):
    expected = {
        ("multipool_requests_total", ("method", "POST"), ("route", "/predict"), ("status", "200")): 20,
        ("multipool_requests_total", ("method", "POST"), ("route", "/predict/batch"), ("status", "200")): 1,
        ("multipool_requests_total", ("method", "GET"), ("route", "other"), ("status", "404")): 1,
        ("multipool_requests_total", ("method", "GET"), ("route", "/models/{name}"), ("status", "200")): 1,
        ("multipool_request_seconds_count", ("route", "/predict")): 20,
        **{("multipool_stage_seconds_count", ("stage", stage)): 21 for stage in STAGES},
        ("multipool_images_total", ("model", "brightness"), ("version", "2")): 20,
        ("multipool_images_total", ("model", "brightness"), ("version", "1")): 5,
        ("multipool_predictions_total", ("label", "dark"), ("model", "brightness"), ("version", "2")): 20,
        ("multipool_predictions_total", ("label", "dark"), ("model", "brightness"), ("version", "1")): 5,
        ("multipool_problems_total", ("code", "not_found")): 1,
        ("multipool_problems_total", ("code", "unsupported_media_type")): 1,
        ("multipool_in_flight",): 1,  # the scrape itself
        ("multipool_images_in_work",): 0,
        ("multipool_ready",): 1,
        ("multipool_default_ready",): 1,
        ("multipool_queue_size",): 256 * workers,
    }

    def missing(client):
        found = scrape(client)
        return {key: (value, found.get(key)) for key, value in expected.items() if found.get(key) != value}

    with serving(models, WORKERS=workers, DEFAULT_MODEL="brightness") as client:
        if workers > 1:
            client.log.wait_for(r"(?s)is ready.*is ready")
        began = time.monotonic()
        for _ in range(20):
            assert client.post("/predict", files=PHOTO, headers={"Connection": "close"}).status_code == 200
        files = [("file", toys.plain(1))] * 5 + [("file", b"not an image")]
        assert client.post("/predict/batch", files=files, params={"model": "brightness:1"}).status_code == 200
        assert client.get("/nothing").status_code == 404
        assert client.get("/models/grey").status_code == 200
        if workers > 1:  # they tell each other every second; and what they have been told stays as it is
            wait_for(lambda: not missing(client))
        # A worker has done with a request only after its answer, when the other may have begun with the next one.
        longest = workers * (time.monotonic() - began)
        if workers > 1:
            time.sleep(2.5)
        assert not missing(client)
        found = scrape(client)

    assert 0 < found["multipool_request_seconds_sum", ("route", "/predict")] < longest
    assert 1 <= found["multipool_batches_total", ("model", "brightness"), ("version", "1")] <= 5
    (info,) = [key for key in found if key[0] == "multipool_model_info" and ("model", "grey") in key]
    assert dict(info[1:])["execution_provider"] == "CPUExecutionProvider"


def test_a_stage_is_counted_only_where_something_went_through_it(models):
    """The mean over the answers that were computed is not drawn to zero by those that were remembered."""
    with serving(models, DEFAULT_MODEL="brightness", CACHED_ANSWERS=10) as client:
        for _ in range(10):
            assert client.post("/predict", files=PHOTO).status_code == 200
        answer = client.post("/predict/batch", files={"file": b"not an image"})
        found = scrape(client)

    assert (answer.status_code, "decode;dur=0.00" in answer.headers["server-timing"]) == (200, True)
    counted = {stage: found["multipool_stage_seconds_count", ("stage", stage)] for stage in STAGES}
    assert counted == {"read": 11, "decode": 1, "queue": 1, "inference": 1, "total": 11}


def test_an_explanation_is_an_image_that_was_run_but_no_further_prediction(models):
    with serving(models, DEFAULT_MODEL="brightness") as client:
        assert client.post("/predict", files=PHOTO).status_code == 200
        for _ in range(4):
            assert client.post("/explain", files=PHOTO).status_code == 200
        found = scrape(client)

    model = ("model", "brightness"), ("version", "2")
    assert found["multipool_images_total", *model] == found["multipool_batches_total", *model] == 5
    assert found["multipool_predictions_total", ("label", "dark"), *model] == 1
    assert {found["multipool_stage_seconds_count", ("stage", stage)] for stage in STAGES} == {5}


def test_it_says_which_versions_are_running(server):
    (info,) = [dict(key[1:]) for key in scrape(server) if key[0] == "multipool_build_info"]

    assert info == {"version": __version__, "onnxruntime": version("onnxruntime"), "python": platform.python_version()}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_camera_that_goes_blind_is_seen(models, workers):
    random = np.random.default_rng(0)
    usual = [toys.save(random.integers(127, 255, (8, 8, 3), np.uint8)) for _ in range(64)]

    def drift(found):
        return {dict(key[1:])["branch"]: value for key, value in found.items() if key[0] == "multipool_feature_drift"}

    def send(client, images, times):
        """Returns the metrics once all workers have told that they have classified these."""
        counted = "multipool_images_total", ("model", "brightness"), ("version", "2")
        expected = scrape(client).get(counted, 0) + times * len(images)
        for _ in range(times):
            files = [("file", image) for image in images]
            assert client.post("/predict/batch", files=files, headers={"Connection": "close"}).status_code == 200
        return wait_for(lambda: (found := scrape(client)).get(counted) == expected and found)

    with serving(models, WORKERS=workers, DEFAULT_MODEL="brightness") as client:
        assert drift(scrape(client)) == {}
        before = drift(send(client, usual, 10))
        # Each worker looks at its own latest thousand images, and the system deals the connections unevenly.
        for _ in range(10):
            found = send(client, [toys.plain(0)] * 64, 40)
            blind = drift(found)
            if min(blind.values()) > 0.8:
                break

    assert list(before) == ["joint", *toys.QUADRANTS]
    assert max(before.values()) < 0.5
    assert min(blind.values()) > 0.8
    told = {key[0]: value for key, value in found.items() if ("model", "brightness") in key}
    # 600 images were held out, and each worker looks at up to 1,000.
    assert 0.08 < told["multipool_feature_drift_chance"] < 0.25
    assert told["multipool_repeated_images"] > 0.8


def test_what_chance_allows_is_that_of_the_images_of_all_workers(models):
    """Two of them together have seen twice as many, of which chance moves less than of the half."""
    model = toys.load(toys.proto(statistics=toys.statistics()))
    model.warm_up([1])
    model.run(np.random.default_rng(0).integers(127, 255, (200, 8, 8, 3)).astype(np.uint8))
    found = Found("toy", 1, models)
    entries = [Entry(found, version=Version("toy", 1, model), drift=model.drift)]
    repository = SimpleNamespace(entries=lambda: entries, answers=lambda _: True)

    total = add_up([{"drift": catalogue.drift(repository)}] * 2)
    families = {family.name: family for family in exposition._drift(total["drift"])}

    told = model.drift.summary()
    assert [one.value for one in families["multipool_feature_drift_chance"].samples] == [
        pytest.approx(chance(600, 400))
    ]
    assert families["multipool_feature_drift"].samples[0].value == pytest.approx(told.drift["joint"])
    assert [one.value for one in families["multipool_repeated_images"].samples] == [pytest.approx(told.repeated)]


def test_open_metrics_for_those_who_ask(server):
    response = server.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_a_key_is_asked_for_where_there_are_keys(models):
    with serving(models, API_KEYS="secret") as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_each_time_once_and_in_its_bucket(times):
    histogram = Histogram()
    for seconds in times:
        histogram.observe(seconds, "a")
    row = histogram.rows.get(("a",), [0.0] * (len(SECONDS) + 2))

    assert sum(row[:-1]) == len(times)
    assert row[-1] == pytest.approx(sum(times))
    for index, bound in enumerate(SECONDS):
        assert sum(row[: index + 1]) == sum(seconds <= bound for seconds in times)


def test_what_has_ended_counts_on_but_is_in_no_gauge():
    ended = {"requests": {("a",): [2.0]}, "in_flight": {(): [3.0]}}
    alive = {"requests": {("a",): [1.0], ("b",): [5.0]}, "in_flight": {(): [1.0]}}

    total = add_up([without_gauges(ended), alive])

    assert total == {"requests": {("a",): [3.0], ("b",): [5.0]}, "in_flight": {(): [1.0]}}


def series(expression):
    return set(re.findall(r"\b(?:multipool|process)_[a-z_]+", expression))


def test_the_dashboard_and_the_alerts_name_only_series_that_there_are(server):
    server.post("/predict/batch", files=[("file", toys.plain(1))] * 64)
    server.post("/predict/batch", files=[("file", toys.plain(1))] * 64)
    server.get("/nothing")
    families = text_string_to_metric_families(server.get("/metrics").text)
    known = {key[0] for key in scrape(server)} | {family.name for family in families}
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "multipool.json").read_text())
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]

    assert len(expressions) > 20
    for expression in expressions:
        assert series(expression) <= known, expression
