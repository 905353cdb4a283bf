"""Limits on time, made short: what they end, and what they leave alone."""

import contextlib
import re
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests import toys
from tests.app.test_metrics import scrape
from tests.app.test_protocol import connect, exchange, get, post, problem, read_all, read_one
from tests.conftest import limited, serving, wait_for, wait_for_metric

SHORT = {"header_s": 2.5, "linger_s": 0.3, "write_s": 6}
MANY = 95
"""Copies of the OpenAPI document, as many as may be asked for at once; no small buffer of the system holds them."""


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """A service with little patience."""
    root = tmp_path_factory.mktemp("hasty")
    toys.publish(root, "toy")
    with serving(root, arguments=limited(**SHORT), KEEP_ALIVE_S=60) as client:
        yield client


def answered(client):
    """How often the document was written."""
    return scrape(client).get(
        ("multipool_requests_total", ("method", "GET"), ("route", "/openapi.json"), ("status", "200")), 0
    )


def test_who_does_not_fetch_an_answer_is_cut_off_and_who_fetches_it_late_is_not(hasty):
    wanted = get(b"Host: x", path=b"/openapi.json") * MANY + get(b"Host: x", path=b"/nothing")
    with connect(hasty, receive_buffer=4096) as late:
        late.sendall(wanted)
        wait_for(lambda: answered(hasty) == answered(hasty) > 0)  # by when no buffer takes any more
        end = b""
        while b'"not_found"' not in end:
            part = late.recv(1 << 20)
            assert part
            end = end[-1000:] + part
        with connect(hasty, receive_buffer=4096) as absent:
            absent.sendall(wanted)
            hasty.log.wait_for("GET /openapi.json 499")
            assert b'"not_found"' not in read_all(absent)
        late.sendall(get(b"Host: x", b"Connection: close"))
        assert b" 200 OK" in read_all(late)


def test_an_answer_may_be_fetched_for_longer_than_a_connection_may_be_idle(tmp_path):
    """One that is larger than what the system buffers; the idle time does not begin before."""
    toys.publish(tmp_path, "toy", data=toys.artifact(labels=[f"{number:04}" * 250 for number in range(9_000)]))
    with (
        serving(tmp_path, arguments=limited(header_s=3, write_s=30), KEEP_ALIVE_S=3) as client,
        connect(client, receive_buffer=4096) as connection,
    ):
        connection.sendall(get(b"Host: x", path=b"/models"))
        time.sleep(3.6)
        answer = b""
        while not answer.endswith(b'"refused":[]}'):
            part = connection.recv(1 << 20)
            assert part, "the answer was cut off"
            answer += part


def test_who_does_not_fetch_the_last_of_its_answers_is_cut_off_too(hasty):
    """Its connection is closed already as far as the service is concerned, but for what is left to be sent."""

    def open_files():
        return scrape(hasty)["process_open_fds",]

    before = open_files()
    with contextlib.ExitStack() as stack:
        for copies in range(50, 70):  # with some of them, a little of the last answer is left that no buffer takes
            absent = stack.enter_context(connect(hasty, receive_buffer=4096))
            absent.sendall(get(b"Host: x", path=b"/openapi.json") * copies + get(b"Host: x", b"Connection: close"))
            absent.recv(1)
        wait_for(lambda: open_files() <= before)


def test_an_answer_is_read_although_the_body_was_not(models):
    """By clients that send all of it first, and ask for the connection to be closed, as Python's own does."""
    with serving(models, API_KEYS="a-key-of-twenty-chars") as client:
        with pytest.raises(HTTPError, match="401") as refused:
            urlopen(f"{client.base_url}/predict", data=bytes(20_000_000))  # noqa: S310  # of our own service
        refused.value.close()


def test_the_rest_of_a_body_may_take_as_long_as_reading_its_answer(hasty):
    """And so may that of a last request; one that is awaited only has to go on coming."""
    nothing, length = b"POST /nothing HTTP/1.1\r\nHost: x\r\n", b"Content-Length: 10000"
    bodies = [bytes(10_000), bytes(10_000), toys.plain(255).ljust(10_000, b"\0")]
    with contextlib.ExitStack() as stack:
        connections = kept, last, awaited = [stack.enter_context(connect(hasty)) for _ in range(3)]
        kept.sendall(nothing + length + b"\r\n\r\n")
        last.sendall(nothing + length + b"\r\nConnection: close\r\n\r\n")
        awaited.sendall(post(length))
        for start in range(0, 10_000, 1000):
            for connection, body in zip(connections, bodies, strict=True):
                connection.sendall(body[start : start + 1000])
            time.sleep(0.3)
        for connection in (kept, awaited):
            connection.sendall(get(b"Host: x", b"Connection: close"))
        answers = [re.findall(rb"HTTP/1.1 (\d+)", read_all(connection)) for connection in connections]

    assert answers == [[b"404", b"200"], [b"404"], [b"200", b"200"]]


def test_the_rest_of_a_body_need_not_come_as_steadily_as_one_that_is_awaited(tmp_path):
    """And there is nothing to come of one that is complete."""
    toys.publish(tmp_path, "toy")
    image = toys.plain(255)
    settings = {"arguments": limited(write_s=20, window_s=1.4), "KEEP_ALIVE_S": 60}
    with serving(tmp_path, **settings) as client, connect(client) as connection, connect(client) as complete:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n" + b"a" * 1000)
        assert b" 404 " in read_one(connection)
        complete.sendall(post(b"Content-Length: %d" % len(image), b"Expect: 100-continue"))
        assert complete.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        complete.sendall(image)
        assert b" 200 OK" in read_one(complete)
        time.sleep(1.5)
        for one, rest in ((connection, b"a" * 9000), (complete, b"")):
            one.sendall(rest + get(b"Host: x", b"Connection: close"))
            assert read_all(one).startswith(b"HTTP/1.1 200 OK")


def test_a_header_that_is_not_read_is_not_late(tmp_path):
    """While a request is at work, another comes with the start of a third; what follows waits until it is answered.

    Neither is a body late of which the start has come.
    """
    toys.publish(tmp_path, "toy")
    image, waits = toys.plain(255), {"MAX_BATCH_SIZE": 3, "MAX_BATCH_DELAY_MS": 60_000}
    with (
        serving(tmp_path, arguments=limited(header_s=2, window_s=2), **waits) as client,
        connect(client) as connection,
        connect(client) as other,
    ):
        for one in (connection, other):
            one.sendall(post(b"Content-Length: %d" % len(image), body=image))
        wait_for_metric(client, "multipool_images_in_work 2.0")
        connection.sendall(get(b"Host: x") + b"GET /livez HT")
        other.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        time.sleep(2.5)
        connection.sendall(b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        other.sendall(b"67890" + get(b"Host: x", b"Connection: close"))
        assert client.post("/predict", content=image).status_code == 200  # with which the first ones are run
        answers = [re.findall(rb"HTTP/1.1 (\d+)", read_all(one)) for one in (connection, other)]

    assert answers == [[b"200"] * 3, [b"200", b"404", b"200"]]


BUSY = """
import asyncio
from app.routes import predictions
ready = predictions.ready
async def late(request):
    await asyncio.sleep(1)
    return await ready(request)
predictions.ready = late
"""


def test_a_body_that_was_not_asked_for_yet_is_not_late(tmp_path):
    """The service has something else to do first."""
    toys.publish(tmp_path, "toy")
    image, go_on = toys.plain(255), b"HTTP/1.1 100 Continue\r\n\r\n"
    python, script = limited(window_s=0.1)
    with serving(tmp_path, arguments=(python, BUSY + script)) as client, connect(client) as connection:
        connection.sendall(post(b"Content-Length: %d" % len(image), b"Expect: 100-continue", b"Connection: close"))
        received = connection.recv(1000)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(image)
        received += read_all(connection)

    assert received.startswith(go_on)
    # From then on, the body has a tenth of a second, in which a busy machine may not get to send it.
    answer = received.removeprefix(go_on)
    assert b" 200 OK" in answer or problem(answer) == (408, "request_timeout")


def send_on(connection):
    """Send again and again, for no longer than any case may take."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        connection.sendall(b"more")
        time.sleep(0.02)


def test_who_was_refused_and_goes_on_sending_is_cut_off(hasty):
    with connect(hasty) as connection:
        connection.sendall(post(b"Transfer-Encoding: chunked", body=b"ZZ\r\n"))
        assert problem(read_all(connection)) == (400, "malformed_request")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_on(connection)


def test_a_header_without_end_is_refused_as_soon_as_it_is_too_large(server):
    with connect(server) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ")
        connection.setblocking(False)
        answer, deadline = b"", time.monotonic() + 20
        while not answer and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                connection.send(b"a" * 2_000)
                time.sleep(0.01)
                answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 431 ")


def test_what_follows_a_request_does_not_cost_it_its_answer(tmp_path):
    """A broken second request, that comes while the first is still at work."""
    toys.publish(tmp_path, "toy")
    image = toys.plain(255)
    with serving(tmp_path, MAX_BATCH_DELAY_MS=300) as client, connect(client) as connection:
        connection.sendall(post(b"Content-Length: %d" % len(image), body=image) + b"\x16\x03\x01\r\n\r\n")
        answers = read_all(connection)

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200"]


def test_only_what_is_idle_makes_room(tmp_path):
    """Neither what is at work, whatever was answered before, nor what has gone; but what is only to send the rest."""
    toys.publish(tmp_path, "toy")
    image, newcomer = toys.plain(255), get(b"Host: x", b"Connection: close")
    upload = post(b"Content-Length: %d" % len(image), b"Expect: 100-continue", b"Connection: close")
    answered_early = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    settings = {"arguments": limited(window_s=60), "MAX_CONNECTIONS": 2, "KEEP_ALIVE_S": 60}
    with serving(tmp_path, **settings) as client, contextlib.ExitStack() as stack:
        client.close()
        with connect(client) as gone:
            gone.sendall(answered_early)
            assert b" 404 " in read_one(gone)
        busy = [stack.enter_context(connect(client)) for _ in range(2)]
        for connection in busy:
            connection.sendall(get(b"Host: x"))
            assert b" 200 OK" in read_one(connection)
        for connection in busy:
            connection.sendall(upload)
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert problem(exchange(client, newcomer)) == (503, "overloaded")
        busy[0].sendall(image)
        assert b" 200 OK" in read_all(busy[0])
        early = stack.enter_context(connect(client))
        early.sendall(answered_early)
        assert b" 404 " in read_one(early)
        assert b" 200 OK" in exchange(client, newcomer)
        assert read_all(early) == b""
        busy[1].sendall(image)
        assert b" 200 OK" in read_all(busy[1])


def test_who_is_one_too_many_may_read_so_but_takes_no_place(tmp_path):
    """And such connections are limited too."""
    toys.publish(tmp_path, "toy")
    arguments = limited(linger_s=20, refused_connections=1)
    with serving(tmp_path, arguments=arguments, MAX_CONNECTIONS=2) as client, contextlib.ExitStack() as stack:
        client.close()
        others = [stack.enter_context(connect(client)) for _ in range(2)]
        for other in others:
            other.sendall(post(b"Content-Length: 1000"))  # and no body: none is idle
        refused, cut_off = (stack.enter_context(connect(client)) for _ in range(2))
        assert problem(read_all(refused)) == (503, "overloaded")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_on(cut_off)
        refused.sendall(b"more")  # is still read
        others[0].close()
        wait_for(lambda: b" 200 OK" in exchange(client, get(b"Host: x", b"Connection: close")))
        refused.sendall(b"more")
        refused.close()
        stack.enter_context(connect(client)).sendall(post(b"Content-Length: 1000"))
        for _ in range(2):  # may read so where others that were too many have gone
            answer = wait_for(lambda: exchange(client, get(b"Host: x", b"Connection: close")))
            assert problem(answer) == (503, "overloaded")
