"""Limits on time, made short: what they end, and what they leave alone."""

import contextlib
import re
import time

import pytest

from tests import toys
from tests.app.test_metrics import scrape
from tests.app.test_protocol import connect, get, post, problem, read_all
from tests.app.test_watching import wait_for
from tests.conftest import serving

SHORT = """
import functools, sys
import app.main
from app.server.limits import Limits
app.main.Limits = functools.partial(Limits, linger_s=0.3, write_s=3)
from app.__main__ import main
sys.exit(main())
"""
MANY = 95
"""Copies of the OpenAPI document, as many as may be asked for at once; no small buffer of the system holds them."""


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """A service with little patience."""
    root = tmp_path_factory.mktemp("hasty")
    toys.publish(root, "toy")
    with serving(root, arguments=("-c", SHORT), KEEP_ALIVE_S=60) as client:
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
            hasty.log.wait_for("GET /openapi.json 499", 20)
            assert b'"not_found"' not in read_all(absent)
        late.sendall(get(b"Host: x", b"Connection: close"))
        assert b" 200 OK" in read_all(late)


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
