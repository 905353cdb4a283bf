"""Who sends slowly holds no model: it is looked up when the request comes, and taken when the request is complete."""

import re
from contextlib import ExitStack

import pytest

from tests import toys
from tests.app.test_protocol import connect, read_all
from tests.conftest import limited, serving, wait_for_metric

PHOTO = toys.plain(128)
BEGUN = 40
KEY = "an admin key that is long"
ADMIN = {"Authorization": f"Bearer {KEY}"}
PATIENT = limited(window_s=60)


def begin(client, target):
    """Send a request with the first bytes of its body; returns the connection."""
    connection = connect(client)
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(PHOTO)}\r\n\r\n"
    connection.sendall(head.encode() + PHOTO[:BEGUN])
    return connection


def finish(connection):
    connection.sendall(PHOTO[BEGUN:])
    return read_all(connection).decode("latin-1")


def in_memory(client):
    return {model["name"] for model in client.get("/models").json()["models"] if model["loaded"]}


@pytest.fixture
def crowded(tmp_path):
    """A service with more models than fit into its memory; every other one has no head."""
    for index in range(12):
        toys.publish(tmp_path, f"toy-{index:02}", 1, toys.artifact(offset=0.3 + index / 100, head=index % 2 == 0))
    settings = {"MODELS_MEMORY_BYTES": 4_500_000, "MODELS_POLL_S": 0, "ADMIN_KEY": KEY, "arguments": PATIENT}
    with serving(tmp_path, **settings) as client:
        client.root = tmp_path
        yield client


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_no_model_is_loaded_before_the_upload_is_complete(crowded, path):
    """Else slow clients, each with another model, would hold them all in memory, whatever the limit is."""
    before = in_memory(crowded)
    absent = [f"toy-{index:02}" for index in range(0, 12, 2) if f"toy-{index:02}" not in before]
    assert len(absent) > 1
    with ExitStack() as stack:
        slow = {name: stack.enter_context(begin(crowded, f"{path}?model={name}")) for name in absent}
        wait_for_metric(crowded, f"multipool_upload_bytes {len(absent) * BEGUN:.1f}")

        assert in_memory(crowded) == before
        for name, connection in slow.items():
            assert " 200 OK" in finish(connection)
            assert name in in_memory(crowded)


def test_what_cannot_be_answered_is_refused_before_the_upload_is_complete(crowded):
    """Also of a model that is not in memory, which is not loaded for that."""
    before = in_memory(crowded)
    (absent, *_) = [f"toy-{index:02}" for index in range(1, 12, 2) if f"toy-{index:02}" not in before]
    expected = {
        "/predict?model=none": "there is no model 'none'",
        f"/predict?model={absent}:2": f"model '{absent}' has no version 2",
        f"/predict?explain=true&model={absent}": "the model carries no head",
        f"/explain?model={absent}": "the model carries no maps",
    }
    for target, words in expected.items():
        with begin(crowded, target) as connection:
            assert words in read_all(connection).decode("latin-1"), target

    assert in_memory(crowded) == before


def test_a_slow_upload_is_answered_with_what_is_served_when_it_is_complete(crowded):
    with begin(crowded, "/predict?model=toy-00") as first, begin(crowded, "/predict?model=toy-01") as second:
        wait_for_metric(crowded, f"multipool_upload_bytes {2 * BEGUN:.1f}")
        toys.publish(crowded.root, "toy-00", 2)
        for name, order in (("toy-00", "load"), ("toy-01", "unload")):
            assert crowded.post(f"/v2/repository/models/{name}/{order}", headers=ADMIN).status_code == 200
        newer, gone = finish(first), finish(second)

    assert re.search(r'200 OK.*"version":2,', newer, re.DOTALL)
    assert re.search(r"404 Not Found.*model 'toy-01' was unloaded", gone, re.DOTALL)


def test_a_request_that_is_refused_takes_no_model_its_place(tmp_path):
    toys.publish(tmp_path, "toy", 1)
    toys.publish(tmp_path, "other", 1, toys.artifact(offset=0.3))
    few = {"MODELS_MEMORY_BYTES": 1_500_000, "MODELS_POLL_S": 0, "QUEUE_SIZE": 1, "MAX_FILES": 1}
    waiting = {"MAX_BATCH_SIZE": 2, "MAX_BATCH_DELAY_MS": 60_000, "arguments": PATIENT}
    with serving(tmp_path, **few, **waiting) as client:
        with begin(client, "/predict?model=other") as slow, begin(client, "/predict?model=toy") as full:
            wait_for_metric(client, f"multipool_upload_bytes {2 * BEGUN:.1f}")
            full.sendall(PHOTO[BEGUN:])  # it waits for another to fill its batch
            wait_for_metric(client, "multipool_images_in_work 1.0")
            refused = finish(slow)
        there = in_memory(client)

    assert "503 Service Unavailable" in refused
    assert there == {"toy"}
