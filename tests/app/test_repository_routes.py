"""Models in and out of service by request, for those who hold the admin key."""

import os
import re
import select
import shutil
import signal
import time
from contextlib import ExitStack
from itertools import permutations
from multiprocessing import Pipe
from types import SimpleNamespace

import httpx
import pytest

from app import starting
from app.main import build
from app.metrics import Metrics
from app.orders import Order
from app.server.link import Link
from app.server.relay import Relay
from app.settings import Settings
from tests import toys
from tests.app.test_metrics import scrape
from tests.app.test_predictions import assert_problem
from tests.app.test_protocol import connect, get, read_all
from tests.app.test_watching import look, never_ends
from tests.app.test_workers import workers_ready
from tests.conftest import children, serving, wait_for, wait_until_ready

KEY = "an admin key that is long"
ADMIN = {"Authorization": f"Bearer {KEY}"}
PHOTO = {"file": toys.plain(128)}
UNLOADS = (
    "multipool_requests_total",
    ("method", "POST"),
    ("route", "/v2/repository/models/{name}/unload"),
    ("status", "200"),
)


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
    """Ask until every worker has answered; returns whether the latest answers of all have this status."""
    ended = set(re.findall(r"worker (\d+) (?:ended|died)", client.log.text))
    waited_for = set(re.findall(r"worker (\d+) is ready", client.log.text)) - ended or {None}
    found, deadline = {}, time.monotonic() + 60
    while not waited_for <= found.keys():
        assert time.monotonic() < deadline
        response = client.post("/predict", params={"model": model}, files=PHOTO, headers={"Connection": "close"})
        found[worker_of(client, response)] = response.status_code
    return set(found.values()) == {status}


def worker_of(client, response):
    """The number of the process that has given an answer, as the log says it; None where there is one alone."""
    line = client.log.wait_for(rf".*\[{response.headers['x-request-id']}\]")[0]
    by = re.search(r" INFO +\[(\d+)\] ", line)
    return by and by[1]


def test_models_are_loaded_and_unloaded(client):
    def post(path, **options):
        return client.post(f"/v2/repository{path}", headers=ADMIN, **options)

    def index(**body):
        return {(one["name"], one["version"]): one["state"] for one in post("/index", json=body).json()}

    assert index() == {("other", "1"): "READY", ("toy", "1"): "READY"}
    assert post("/models/toy/unload").status_code == 200
    wait_for(lambda: everywhere(client, 404))  # the other worker is told
    assert everywhere(client, 200, "other")
    assert index() == {("other", "1"): "READY", ("toy", "1"): "UNAVAILABLE"}
    assert index(ready=True) == {("other", "1"): "READY"}
    assert post("/models/toy/unload").status_code == 200  # again: it is as it was to be

    assert post("/models/toy/load", json={}).status_code == 200
    wait_for(lambda: everywhere(client, 200))

    toys.publish(client.root, "toy", 2, b"not a model")
    assert "not a multi-pool" in assert_problem(post("/models/toy/load"), 422, "model_refused")["detail"]
    assert everywhere(client, 200)
    shutil.rmtree(client.root / "toy" / "2")
    toys.publish(client.root, "toy", 3, toys.artifact(offset=0.25))
    assert post("/models/toy/load").status_code == 200
    wait_for(lambda: everywhere(client, 200, "toy:3"))

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

    wait_for(lambda: everywhere(client, 404))
    time.sleep(1)  # an order that is still under way would undo it
    assert everywhere(client, 404)


def test_the_order_that_is_given_last_holds_whichever_is_heard_of_first(tmp_path):
    """The supervisor stands still meanwhile, so that it finds the orders of both workers at once."""
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0, KEEP_ALIVE_S=600, WORKERS=2) as client, ExitStack() as stack:
        workers_ready(client, 2)
        ways, kept = {}, httpx.Limits(keepalive_expiry=None)
        while len(ways) < 2:
            way = stack.enter_context(httpx.Client(base_url=client.base_url, headers=ADMIN, timeout=60, limits=kept))
            ways.setdefault(worker_of(client, way.post("/v2/repository/index")), way)
        for first, last in permutations(ways.values()):
            client.process.send_signal(signal.SIGSTOP)
            stack.callback(client.process.send_signal, signal.SIGCONT)
            for way, order in ((first, "load"), (last, "unload")):
                assert way.post(f"/v2/repository/models/toy/{order}").status_code == 200
            client.process.send_signal(signal.SIGCONT)

            wait_for(lambda: everywhere(client, 404))
            time.sleep(1.5)  # as above; not a second, or what the workers report then comes in between every time
            assert everywhere(client, 404)


def test_an_order_that_was_given_before_another_is_nothing_any_more():
    """To the supervisor, to a worker that is told of it, and to one that is carrying it out just then."""
    told = []
    worker = SimpleNamespace(ready=True, tell=told.append)
    relay = Relay([worker])
    ours, theirs = Pipe()
    link = Link(theirs)
    with ours, theirs:
        for order in (Order("unload", "toy", 2), Order("load", "toy", 1), Order("load", "other", 1)):
            relay.hear(worker, order)
            link.note(order)
        assert told == [("unload", "toy", 2), ("load", "other", 1)]
        assert [link._orders.get_nowait() for _ in range(2)] == told
        assert link._orders.empty()
        assert link._is_latest(link._latest["other"])

        loading = link._latest["other"]
        link.pass_on(Order("unload", "other"))
        assert not link._is_latest(loading)
        assert ours.recv().given_s == pytest.approx(time.monotonic(), abs=60)


def test_a_model_that_is_unloaded_while_it_is_loaded_is_not_served_for_a_moment(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    service = build(Settings(models_dir=tmp_path, device="cpu"), Metrics(), SimpleNamespace())
    starting.load(service.repository)
    service.repository.unload("toy")

    service.orders.obey(Order("load", "toy"), lambda: False)

    assert service.repository.is_unloaded("toy")
    service.orders.obey(Order("load", "toy"), lambda: True)
    assert not service.repository.is_unloaded("toy")


def test_a_model_that_is_unloaded_before_this_worker_has_found_it_is_not_served_when_it_is(tmp_path, caplog):
    """Another worker has found it, and been told; the order that it is loaded first is replaced before its turn."""
    toys.publish(tmp_path, "toy", 1)
    service = build(Settings(models_dir=tmp_path, device="cpu"), Metrics(), SimpleNamespace())
    starting.load(service.repository)
    toys.publish(tmp_path, "new", 1)

    service.orders.obey(Order("unload", "new"))
    for _ in range(2):
        look(service.watcher)

    assert [entry.name for entry in service.repository.served] == ["toy"]
    assert "ERROR" not in [record.levelname for record in caplog.records]
    service.orders.load("new")
    assert [entry.name for entry in service.repository.served] == ["new", "toy"]


def test_a_model_that_was_gone_when_it_was_to_be_loaded_again_is_served_when_it_is_back(tmp_path):
    """As in the worker that has loaded it, before it was deleted."""
    for name in ("other", "toy"):
        toys.publish(tmp_path, name, 1)
    service = build(Settings(models_dir=tmp_path, device="cpu"), Metrics(), SimpleNamespace())
    starting.load(service.repository)
    for still_holds, served in ((False, ["other"]), (True, ["other", "toy"])):
        service.orders.obey(Order("unload", "toy"))
        shutil.rmtree(tmp_path / "toy")

        service.orders.obey(Order("load", "toy"), lambda still_holds=still_holds: still_holds)
        toys.publish(tmp_path, "toy", 1)
        for _ in range(2):
            look(service.watcher)

        assert [entry.name for entry in service.repository.served] == served


def test_what_another_worker_may_serve_already_is_unloaded(tmp_path):
    """A folder that was not looked at yet, or not since its file was refused."""
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0) as client:

        def order(action, name):
            return client.post(f"/v2/repository/models/{name}/{action}", headers=ADMIN)

        assert_problem(order("unload", "new"), 404, "model_not_found")
        toys.publish(tmp_path, "new", 1, b"not a model")
        assert order("unload", "new").status_code == 200
        assert_problem(order("load", "new"), 422, "model_refused")
        assert "the highest was refused" in assert_problem(order("unload", "new"), 404, "model_not_found")["detail"]
        shutil.rmtree(tmp_path / "new")
        toys.publish(tmp_path, "new", 1)
        assert order("unload", "new").status_code == 200
        assert "was unloaded" in assert_problem(client.get("/models/new"), 404, "model_not_found")["detail"]
        assert order("load", "new").status_code == 200
        assert client.get("/models/new").status_code == 200


def test_an_order_is_carried_out_everywhere_although_nobody_waits_for_it(tmp_path):
    """A new file is tried first, which takes longer than the client's patience."""
    toys.publish(tmp_path, "toy", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0, WORKERS=2) as client:
        workers = workers_ready(client, 2)
        order = b"POST /v2/repository/models/toy/load HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        for number in range(2, 12):  # a machine that stalls until it is answered does not count
            toys.publish(tmp_path, "toy", number, toys.artifact(offset=number / 50))
            with connect(client) as impatient:
                impatient.sendall(order + f"Authorization: Bearer {KEY}\r\n\r\n".encode())
                wait_for(lambda: any(map(children, workers)) or answered(impatient))
            said = client.log.wait_for(rf"(?s)(?:.*POST /v2/repository/models/toy/load (\d+)){{{number - 1}}}")[1]
            if said == "499":
                break
            # Or the client would take the trial in the other worker for one that its next order has begun.
            client.log.wait_for(rf"(?s)loaded toy:{number}.*loaded toy:{number}")

        assert said == "499"
        client.log.wait_for(rf"(?s)loaded toy:{number}.*loaded toy:{number}")


def test_orders_that_take_long_do_not_keep_requests_from_being_answered(tmp_path):
    """However many there are, and although nobody waits for them any more."""
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "other", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0) as client:
        toys.publish(tmp_path, "toy", 2, never_ends())
        for _ in range(40):  # more than the threads that requests share, on any machine
            with connect(client) as impatient:
                impatient.sendall(
                    b"POST /v2/repository/models/toy/load HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
                    b"Authorization: Bearer %b\r\n\r\n" % KEY.encode()
                )
                assert not select.select([impatient], [], [], 0.1)[0]
        wait_for(lambda: client.log.text.count("models/toy/load 499") == 40)

        assert client.post("/explain?model=other", files=PHOTO, timeout=20).status_code == 200


def answered(connection):
    return bool(select.select([connection], [], [], 0)[0])


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


def test_a_new_worker_answers_nothing_before_it_knows_what_was_unloaded_and_counted(tmp_path):
    """Its supervisor stands still just when the only worker begins to serve."""
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "other", 1)
    with serving(tmp_path, ADMIN_KEY=KEY, MODELS_POLL_S=0, WORKERS=2) as client, ExitStack() as stack:
        first = workers_ready(client, 2)
        assert client.post("/v2/repository/models/toy/unload", headers=ADMIN).status_code == 200
        wait_for(lambda: all(scrape(client, Connection="close").get(UNLOADS) == 1 for _ in range(20)), 20)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        client.log.wait_for(r"(?s)(?:cores?: one .*){3}")  # said by each worker before it loads its models
        client.process.send_signal(signal.SIGSTOP)
        stack.callback(client.process.send_signal, signal.SIGCONT)
        client.log.wait_for(r"(?s)ready: .*ready: .*ready: ")
        waiting = [stack.enter_context(connect(client)) for _ in range(2)]
        for connection, path in zip(waiting, (b"/models/toy", b"/metrics"), strict=True):
            connection.sendall(get(b"Host: x", b"Connection: close", path=path))

        select.select(waiting, [], [], 1)  # what answers too early does so now
        client.process.send_signal(signal.SIGCONT)
        model, metrics = map(read_all, waiting)
        assert model.startswith(b"HTTP/1.1 404 ")
        assert re.search(rb"requests_total{.*/v2/repository/models/{name}/unload.*} 1\.0", metrics)


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
        unloaded = {"name": "toy", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
        assert client.post("/v2/repository/index", headers=ADMIN).json() == [unloaded]
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


HELD = """
import sys, time
from pathlib import Path
from app.registry.loading import Loader

def held(*arguments, load=Loader.open):
    while not Path({go_on!r}).exists():
        time.sleep(0.02)
    return load(*arguments)

Loader.open = held
from app.__main__ import main
sys.exit(main())
"""


def test_orders_have_to_wait_for_the_models_of_the_start(tmp_path):
    toys.publish(tmp_path / "models", "toy", 1)
    go_on = tmp_path / "go-on"
    held = "-c", HELD.format(go_on=str(go_on))
    with serving(tmp_path / "models", ready=False, arguments=held, ADMIN_KEY=KEY) as client:
        wait_until_ready(client, "/livez")
        for action in ("load", "unload"):
            refused = client.post(f"/v2/repository/models/toy/{action}", headers=ADMIN)
            assert "the models are being loaded" in assert_problem(refused, 503, "not_ready")["detail"]
        go_on.touch()
        wait_until_ready(client)
        assert client.post("/v2/repository/models/toy/unload", headers=ADMIN).status_code == 200
