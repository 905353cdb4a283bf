"""Models in and out of service by request, for those who hold the admin key."""

import os
import shutil
import signal
import time

import httpx
import pytest

from tests import toys
from tests.app.test_metrics import scrape
from tests.app.test_predictions import assert_problem
from tests.app.test_watching import wait_for
from tests.app.test_workers import workers_ready
from tests.conftest import serving, wait_until_ready

KEY = "an admin key that is long"
ADMIN = {"Authorization": f"Bearer {KEY}"}
PHOTO = {"file": toys.plain(128)}


@pytest.fixture(params=[1, 2])
def client(request, tmp_path):
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "other", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0, WORKERS=request.param) as client:
        client.root = tmp_path
        if request.param > 1:
            client.log.wait_for(r"(?s)is ready.*is ready")
        yield client


def everywhere(client, status, model="toy"):
    """Ask until every worker must have answered; returns whether all gave this status."""
    found = set()
    for _ in range(30):
        response = client.post("/predict", params={"model": model}, files=PHOTO, headers={"Connection": "close"})
        found.add(response.status_code)
    return found == {status}


def test_models_are_loaded_and_unloaded(client):
    def post(path, **options):
        return client.post(f"/v2/repository{path}", headers=ADMIN, **options)

    def index(**body):
        return {(one["name"], one["version"]): one["state"] for one in post("/index", json=body).json()}

    assert index() == {("other", "1"): "READY", ("toy", "1"): "READY"}
    assert post("/models/toy/unload").status_code == 200
    time.sleep(0.1)  # the other workers are told
    assert everywhere(client, 404)
    assert everywhere(client, 200, "other")
    assert index() == {("other", "1"): "READY", ("toy", "1"): "UNAVAILABLE"}
    assert index(ready=True) == {("other", "1"): "READY"}
    assert post("/models/toy/unload").status_code == 200  # again: it is as it was to be

    assert post("/models/toy/load", json={}).status_code == 200
    time.sleep(0.1)
    assert everywhere(client, 200)

    toys.publish(client.root, "toy", 2, b"not a model")
    assert "not a multi-pool" in assert_problem(post("/models/toy/load"), 422, "model_refused")["detail"]
    assert everywhere(client, 200)
    shutil.rmtree(client.root / "toy" / "2")
    toys.publish(client.root, "toy", 3, toys.artifact(offset=0.25))
    assert post("/models/toy/load").status_code == 200
    assert client.post("/predict", params={"model": "toy:3"}, files=PHOTO).json()["version"] == 3

    for parameters in ({"config": "{}"}, {"file:3/model.onnx": "AAAA"}):
        response = post("/models/toy/load", json={"parameters": parameters})
        assert "nothing but the model's name" in assert_problem(response, 400, "malformed_request")["detail"]
    assert post("/models/toy/load", json={"parameters": {}}).status_code == 200
    assert_problem(post("/models/nothing/load"), 404, "model_not_found")
    assert_problem(post("/models/nothing/unload"), 404, "model_not_found")
    assert_problem(post("/models/..%2ftoy/load"), 404, "not_found")
    for body in (b"{", b"[]", b"[" * 50_000, b'{"ready": 1}', b'{"fast": true}', b"\xff"):
        assert_problem(post("/index", content=body), 400, "malformed_request")
    said = post("/index", json={"ready": "soon"}).json()["detail"]
    assert said == 'the body takes "ready" alone, true or false; send {} or {"ready": true}'
    assert_problem(post("/index", content=b" " * 70_000), 413, "body_too_large")


def test_of_several_orders_the_last_one_holds_in_every_worker(client):
    for number in (2, 3, 4):
        toys.publish(client.root, "toy", number)
        for order in ("load", "unload"):  # over connections of their own, so that any worker may get them
            path = f"{client.base_url}/v2/repository/models/toy/{order}"
            assert httpx.post(path, headers=ADMIN, timeout=60).status_code == 200

    deadline = time.monotonic() + 30
    while not everywhere(client, 404):
        assert time.monotonic() < deadline
    time.sleep(1)  # an order that is still under way would undo it
    assert everywhere(client, 404)


def test_an_order_is_carried_out_everywhere_although_nobody_waits_for_it(tmp_path):
    """A new file is tried first, which takes longer than the client's patience."""
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0, WORKERS=2) as client:
        client.log.wait_for(r"(?s)is ready.*is ready")
        toys.publish(tmp_path, "toy", 2, toys.artifact(offset=0.25))
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{client.base_url}/v2/repository/models/toy/load", headers=ADMIN, timeout=0.2)

        client.log.wait_for("POST /v2/repository/models/toy/load 499")
        client.log.wait_for(r"(?s)loaded toy:2.*loaded toy:2", 20)


def test_an_order_holds_in_workers_that_are_started_later(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "other", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0, WORKERS=2) as client:
        first = workers_ready(client, 2)
        assert client.post("/v2/repository/models/toy/unload", headers=ADMIN).status_code == 200
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        workers_ready(client, 4)

        wait_for(lambda: everywhere(client, 404), 30)
        assert everywhere(client, 200, "other")


def test_only_with_the_admin_key(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, ADMIN_KEY=KEY, API_KEYS="a-key") as client:
        for headers in ({}, {"X-API-Key": "a-key"}, {"X-API-Key": KEY + "!"}):
            response = client.post("/v2/repository/index", headers=headers)
            assert "the admin key" in assert_problem(response, 401, "unauthorized")["detail"]
        assert client.get("/models").status_code == 401
        assert client.get("/models", headers={"X-API-Key": "a-key"}).status_code == 200
        assert client.post("/v2/repository/index", headers=ADMIN).status_code == 200


def test_the_document_says_what_an_order_may_carry_and_how_it_may_fail(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, ADMIN_KEY=KEY) as client:
        document = client.get("/openapi.json").json()
    orders = [document["paths"][path]["post"] for path in sorted(document["paths"]) if path.startswith("/v2/")]
    index, load, unload = (order["requestBody"]["content"]["application/json"]["schema"] for order in orders)

    assert index["properties"].keys() == {"ready"}
    assert index["additionalProperties"] is False
    assert load["properties"]["parameters"]["maxProperties"] == 0
    assert unload == {"type": "object"}
    assert orders[1]["responses"]["422"]["description"].endswith(": `model_refused`")
    assert "model_refused" not in document["paths"]["/predict"]["post"]["responses"]["422"]["description"]


def test_there_is_no_such_route_without_one(server):
    assert_problem(server.post("/v2/repository/index"), 404, "not_found")


def test_a_load_is_about_the_version_that_it_serves_and_about_one_model(tmp_path):
    toys.publish(tmp_path, "toy", 1, b"junk")
    toys.publish(tmp_path, "toy", 2)
    toys.publish(tmp_path, "other", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0) as client:
        toys.publish(tmp_path, "other", 2, toys.artifact()[:-1000])  # still being copied
        toys.publish(tmp_path, "toy", 3, toys.artifact(offset=0.25))

        assert client.post("/v2/repository/models/toy/load", headers=ADMIN).status_code == 200
        assert client.post("/predict", params={"model": "toy"}, files=PHOTO).json()["version"] == 3
        refused = client.get("/models").json()["refused"]
        assert [(one["name"], one["version"]) for one in refused] == [("toy", 1)]
        assert "other:2" not in client.log.text

        toys.publish(tmp_path, "toy", 4, b"junk")
        response = client.post("/v2/repository/models/toy/load", headers=ADMIN)
        detail = assert_problem(response, 422, "model_refused")["detail"]
        assert detail.startswith("toy:4 is refused: it is not a multi-pool artifact")
        assert detail.endswith("; version 3 is served")


def test_when_the_repository_is_empty_a_load_says_so(tmp_path):
    toys.publish(tmp_path / "models", "toy", 1)
    with serving(tmp_path / "models", ADMIN_KEY=KEY, MODELS_POLL_S=0) as client:
        shutil.rmtree(tmp_path / "models" / "toy")

        response = client.post("/v2/repository/models/toy/load", headers=ADMIN)

        assert "holds no file" in assert_problem(response, 404, "model_not_found")["detail"]
        assert client.post("/predict", files=PHOTO).status_code == 200


def test_without_any_model_it_is_not_ready_until_one_is_loaded_again(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0) as client:
        assert client.post("/v2/repository/models/toy/unload", headers=ADMIN).status_code == 200

        assert "no model is served: toy unloaded" in assert_problem(client.get("/readyz"), 503, "not_ready")["detail"]
        assert_problem(client.post("/predict", files=PHOTO), 503, "not_ready")
        assert client.get("/livez").status_code == 200
        assert client.get("/models").json()["models"] == []
        found = scrape(client)
        assert found["multipool_ready",] == 0
        assert not [key for key in found if key[0] == "multipool_model_info"]

        assert client.post("/v2/repository/models/toy/load", headers=ADMIN).status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.post("/predict", files=PHOTO).status_code == 200


def test_a_model_that_was_loaded_is_in_memory_before_the_first_request(tmp_path):
    toys.publish(tmp_path, "toy")
    toys.publish(tmp_path, "other")
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0) as client:
        for order in ("unload", "load"):
            assert client.post(f"/v2/repository/models/toy/{order}", headers=ADMIN).status_code == 200

        assert client.get("/models/toy").json()["loaded"]


def test_orders_have_to_wait_for_the_models_of_the_start(tmp_path):
    data = toys.artifact()
    for number in range(1, 200):
        toys.publish(tmp_path, "toy", number, data)
    with serving(tmp_path, ready=False, ADMIN_KEY=KEY) as client:
        for action in ("load", "unload"):
            refused = client.post(f"/v2/repository/models/toy/{action}", headers=ADMIN)
            assert "the models are being loaded" in assert_problem(refused, 503, "not_ready")["detail"]
        wait_until_ready(client)
        assert client.post("/v2/repository/models/toy/unload", headers=ADMIN).status_code == 200
