"""Connections that come at once are dealt evenly among the workers, and none waits for a worker that is stuck."""

import asyncio
import os
import signal
import socket
import time
from contextlib import ExitStack
from functools import partial

import pytest

from app.server import listening
from app.server.accepting import Acceptor, Places
from tests.conftest import serving

REQUEST = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"


def connect(stack, address, count):
    return [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(count)]


@pytest.mark.parametrize("workers", [2, 3])
def test_connections_are_dealt_evenly(workers):
    """All acceptors in one event loop, which gives each its turn, as no busy machine does."""

    async def scenario():
        places, shares, acceptors, found = Places(), [set() for _ in range(workers)], [], []
        with listening.bind("127.0.0.1", 0) as listener, ExitStack() as stack:
            listening.listen(listener, 100)
            for taken in shares:
                own = stack.enter_context(listener.dup())
                acceptor = Acceptor(own, places.take(), taken, partial(Counted, taken))
                stack.callback(acceptor.close)
                acceptors.append(acceptor)
            for _ in range(10):  # however often a worker has left some to others before
                with ExitStack() as crowd:
                    connect(crowd, listener.getsockname(), 16)
                    while sum(map(len, shares)) < 16:
                        await asyncio.sleep(0.001)
                found.append(sorted(map(len, shares)))
                for taken, acceptor in zip(shares, acceptors, strict=True):
                    taken.clear()
                    acceptor.tell()
        return found

    for counts in asyncio.run(asyncio.wait_for(scenario(), 30)):
        assert counts[-1] - counts[0] <= 2


class Counted(asyncio.Protocol):
    """A connection of one of the acceptors."""

    def __init__(self, taken):
        self._taken = taken

    def connection_made(self, _):
        self._taken.add(self)


def test_a_connection_is_left_to_a_worker_that_has_fewer_but_not_for_long(models):
    """That one is stuck."""
    with serving(models, WORKERS=2, KEEP_ALIVE_S=60) as client:
        client.log.wait_for(r"worker \d+ is ready(.|\n)*worker \d+ is ready")
        assert client.get("/models").status_code == 200
        # One that takes connections; that it is ready, it says a moment before.
        stuck = int(client.log.wait_for(r"\[(\d+)\] GET /models 200")[1])
        os.kill(stuck, signal.SIGSTOP)
        try:
            with ExitStack() as stack:
                answers, took = [], []
                for _ in range(16):
                    began = time.monotonic()
                    (connection,) = connect(stack, (client.base_url.host, client.base_url.port), 1)
                    connection.sendall(REQUEST)
                    answers.append(connection.recv(100)[:12])
                    took.append(time.monotonic() - began)
        finally:
            os.kill(stuck, signal.SIGCONT)

    assert answers == [b"HTTP/1.1 200"] * 16
    assert max(took) > 0.005  # the first one that it took although it had more


def test_who_has_clearly_more_leaves_the_next_one_to_others():
    places = Places()
    first, second = places.take(), places.take()

    first.tell(3)
    second.tell(1)
    assert not first.may_have_more(3)
    assert second.may_have_more(1)

    second.close()
    assert first.may_have_more(3)


def test_who_accepts_no_more_is_left_nothing():
    """Nor does it accept what it has just left to others."""

    async def scenario():
        places, taken, loop = Places(), {1, 2, 3}, asyncio.get_running_loop()
        ending, other = places.take(), places.take()
        other.tell(0)
        with listening.bind("127.0.0.1", 0) as listener, ExitStack() as stack:
            listening.listen(listener, 100)
            acceptor = Acceptor(listener, ending, taken, partial(Counted, taken))
            connect(stack, listener.getsockname(), 1)
            while acceptor._paused is None:
                await asyncio.sleep(0)
            taken.clear()
            acceptor.tell()
            acceptor.close()
            await asyncio.sleep(0.05)
            assert not loop.remove_reader(listener)
            Acceptor(listener, ending, taken, partial(Counted, taken)).close()
            assert not loop.remove_reader(listener)
        assert not taken
        other.tell(3)
        return other.may_have_more(3)

    assert asyncio.run(asyncio.wait_for(scenario(), 30))


def test_an_address_of_ipv6_is_listened_on_and_written_as_in_a_url():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"there is no IPv6 here: {error}")
    with listening.bind("::1", 0) as listener:
        listening.listen(listener, 1)
        port = listener.getsockname()[1]
        with socket.create_connection(("::1", port), timeout=10):
            assert listening.address(listener) == f"[::1]:{port}"


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
