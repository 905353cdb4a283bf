"""Connections that come at once are dealt evenly among the workers, and none waits for a worker that is stuck."""

import os
import signal
import socket
import time
from contextlib import ExitStack

import pytest

from app.server.accepting import Places
from tests.app.test_shutdown import workers
from tests.conftest import serving

REQUEST = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"


def sockets_of(pid):
    folder = f"/proc/{pid}/fd"
    return sum(os.readlink(f"{folder}/{name}").startswith("socket:") for name in os.listdir(folder))


def connect(stack, client, count):
    address = client.base_url.host, client.base_url.port
    return [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(count)]


@pytest.fixture(scope="module")
def pair(models):
    """A service of two workers."""
    with serving(models, WORKERS=2, KEEP_ALIVE_S=60) as client:
        yield client


def both(client):
    """Wait for both workers."""
    client.log.wait_for(r"worker \d+ is ready(.|\n)*worker \d+ is ready")
    return workers(client)


def test_connections_are_dealt_evenly(pair):
    pids = both(pair)
    before = [sockets_of(pid) for pid in pids]

    def open_at_last(count):
        deadline = time.monotonic() + 10
        while True:
            found = [sockets_of(pid) - others for pid, others in zip(pids, before, strict=True)]
            if sum(found) == count or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    for _ in range(10):  # a machine that lets one of them sleep for long does not count
        with ExitStack() as stack:
            connect(stack, pair, 16)
            taken = open_at_last(16)
        if min(taken) >= 6:
            break
        open_at_last(0)

    assert min(taken) >= 6, taken


def test_no_connection_waits_for_a_worker_that_is_stuck(pair):
    stuck, _ = both(pair)
    os.kill(stuck, signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            answers = []
            for connection in connect(stack, pair, 16):
                connection.sendall(REQUEST)
                answers.append(connection.recv(100)[:12])
    finally:
        os.kill(stuck, signal.SIGCONT)

    assert answers == [b"HTTP/1.1 200"] * 16


def test_who_has_clearly_more_leaves_the_next_one_to_others():
    places = Places()
    first, second = places.take(), places.take()

    first.tell(3)
    second.tell(1)
    assert not first.may_have_more(3)
    assert second.may_have_more(1)

    second.close()
    assert first.may_have_more(3)


def test_a_worker_that_is_still_loading_is_left_nothing():
    places = Places()
    first = places.take()
    first.tell(3)
    places.take()

    assert first.may_have_more(3)


def test_a_place_is_given_again_when_its_worker_is_gone():
    places = Places()
    free = sorted(places.counts)
    first = places.take()
    first.tell(7)
    first.close()
    taken = list(places.counts)
    second = places.take()
    first.leave()
    second.leave()

    assert taken != free
    assert sorted(places.counts) == free
