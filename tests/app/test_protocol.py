"""What a connection may not do: be slow, be endless, or not be HTTP. Raw sockets, since no client library would."""

import contextlib
import json
import re
import socket
import time
from pathlib import Path

import pytest

from tests import toys
from tests.app.test_metrics import scrape
from tests.conftest import limited, serving, wait_for, wait_for_metric

OPEN = b"POST /predict HTTP/1.1\r\nHost: x\r\n"


def connect(client, receive_buffer=0):
    """Open a connection that gives up after 20 s, which no case may take; the system may choose its buffer."""
    connection = socket.socket()
    connection.settimeout(20)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((client.base_url.host, client.base_url.port))
    return connection


def read_all(connection):
    """Read until the service closes the connection."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def read_one(connection):
    """Read one answer, a problem or a prediction, of a connection that stays open."""
    received = b""
    while not received.endswith(b"}"):
        part = connection.recv(65536)
        assert part, received
        received += part
    return received


def exchange(client, request):
    """Send bytes, and read all that comes; the service has to close the connection."""
    with connect(client) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        return read_all(connection)


def problem(answer):
    """Read the one answer in ``answer``; returns its status and code."""
    head, _, body = answer.partition(b"\r\n\r\n")
    document = json.loads(body)
    assert b"application/problem+json" in head
    assert re.search(rb"x-request-id: [0-9a-f]{32}", head)
    assert int(head.split()[1]) == document["status"]
    assert b"connection: close" in head
    return document["status"], document["code"]


def resident_mb(client):
    """Memory that the service occupies."""
    status = Path(f"/proc/{client.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def get(*lines, path=b"/livez"):
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", *lines]) + b"\r\n\r\n"


def post(*lines, body=b""):
    return OPEN + b"\r\n".join([*lines, b"", b""]) + body


CASES = {
    "one huge header": (get(b"Host: x", b"X: " + b"a" * 5_000_000), 431, "header_too_large"),
    "a header just too large": (get(b"Host: x", b"X: " + b"a" * 33_000), 431, "header_too_large"),
    "too many fields": (get(b"Host: x", *[b"A: b"] * 101), 431, "header_too_large"),
    "a long address": (get(b"Host: x", path=b"/" + b"a" * 9_000), 414, "uri_too_long"),
    "no host": (get(b"A: b"), 400, "malformed_request"),
    "two hosts": (get(b"Host: x", b"Host: y"), 400, "malformed_request"),
    "two lengths": (post(b"Content-Length: 1", b"Content-Length: 2", body=b"ab"), 400, "malformed_request"),
    "length and chunks": (post(b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400, "malformed_request"),
    "a negative length": (post(b"Content-Length: -1"), 400, "malformed_request"),
    "another coding": (post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400, "malformed_request"),
    "two codings": (
        post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
        "malformed_request",
    ),
    "a body compressed first": (
        post(b"Content-Encoding: gzip", b"Content-Encoding: identity", b"Content-Length: 1", body=b"a"),
        415,
        "unsupported_media_type",
    ),
    "a compressed body": (
        post(b"Content-Encoding: gzip", b"Content-Length: 1", body=b"a"),
        415,
        "unsupported_media_type",
    ),
    "a broken chunk": (post(b"Transfer-Encoding: chunked", body=b"ZZ\r\n"), 400, "malformed_request"),
    "an endless chunk extension": (
        post(b"Transfer-Encoding: chunked", body=b"1;" + b"a" * 400_000),
        400,
        "malformed_request",
    ),
    "tiny chunks": (post(b"Transfer-Encoding: chunked", body=b"1\r\na\r\n" * 400_000), 400, "malformed_request"),
    "another expectation": (post(b"Expect: 200-ok", b"Content-Length: 1"), 417, "expectation_failed"),
    "a protocol to come": (b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n", 400, "malformed_request"),
    "an old protocol": (b"GET /livez\r\n\r\n", 400, "malformed_request"),
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed_request"),
    "a control character": (get(b"Host: x", b"A: \x00"), 400, "malformed_request"),
    "a tunnel": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed_request"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_proper_http_is_refused_and_the_connection_closed(server, case):
    request, status, code = CASES[case]

    assert problem(exchange(server, request)) == (status, code)
    assert server.get("/livez").status_code == 200
    assert "Traceback" not in server.log.text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(b"Host: x", *[b"A: b"] * 98, b"Connection: close"), b"200"),
        (get(b"Host: x", b"Connection: close", path=b"/".ljust(8 * 1024, b"a")), b"404"),
    ],
    ids=["fields", "address"],
)
def test_what_is_just_within_the_limits_is_answered(server, request_, status):
    assert exchange(server, request_).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            get(b"Host: x", path="/explain?label=Müll".encode()),
            "Invalid char in url query; write what is not ASCII as %XX",
        ),
        (get(b"Host: x", path=b"/a b"), "Expected HTTP/"),
        (get(b"Host: x", b" A: b"), "Unexpected whitespace after header value"),
        (post(b"Content-Length: 1", b"Transfer-Encoding: chunked"), "Transfer-Encoding can't be present with Content-"),
        (post(b"Connection: upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked", body=b"x"), "in chunk size"),
    ],
)
def test_what_is_broken_about_a_request_is_said(server, request_, words):
    """curl, for one, sends an umlaut in an address as it is."""
    detail = json.loads(exchange(server, request_).partition(b"\r\n\r\n")[2])["detail"]

    assert detail.startswith("this is not an HTTP request, or a broken one: ")
    assert words in detail


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server):
    with connect(server) as connection:
        connection.sendall(post(b"Content-Length: 1000001", b"Expect: 100-continue"))
        answer = read_all(connection)

    assert problem(answer) == (413, "body_too_large")


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_has_arrived(server):
    with connect(server) as connection:
        connection.sendall(post(b"Content-Length: 1000001"))
        answer = read_one(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body is larger than 1,000,000 bytes; send a smaller image" in answer


@pytest.mark.parametrize("expectation", [b"100-continue", b"100-continue \t"])
def test_a_body_that_may_be_sent_is_asked_for(server, expectation):
    image = toys.plain(255).ljust(1_000_000, b"\0")  # as large as it may be
    with connect(server) as connection:
        connection.sendall(post(b"Content-Length: %d" % len(image), b"Expect: " + expectation, b"Connection: close"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(image)
        assert b" 200 OK" in read_all(connection)


def test_http_1_0_gets_nothing_before_its_answer(server):
    """RFC 9110, section 10.1.1: it knows no interim answers, and would take one for the answer."""
    image = toys.plain(255)
    header = post(b"Content-Length: %d" % len(image), b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")

    assert exchange(server, header + image).startswith(b"HTTP/1.1 200 OK")


def test_http_1_0_need_not_name_a_host(server):
    """Load balancers ask for their health checks so."""
    answer = exchange(server, b"GET /livez HTTP/1.0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b'{"status":"live"}')


def test_codings_and_expectations_may_be_written_in_capitals(server):
    image = toys.plain(255)
    length, chunks = b"Content-Length: %d" % len(image), b"%x\r\n%b\r\n0\r\n\r\n" % (len(image), image)
    sent = [
        post(length, b"Content-Encoding: Identity ", body=image),
        post(length, b"Content-Encoding:", body=image),
        post(b"Transfer-Encoding: Chunked", body=chunks),
        post(length, b"Expect: 100-Continue", b"Connection: close", body=image),
    ]

    answers = exchange(server, b"".join(sent))

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200"] * 3 + [b"100", b"200"]


def test_a_large_body_may_come_in_chunks(published):
    """What frames them grows with it."""
    image = toys.plain(255).ljust(128 * 20_000, b"\0")
    chunks = [b"80\r\n%b\r\n" % image[start : start + 128] for start in range(0, len(image), 128)]
    with connect(published) as connection:
        connection.sendall(post(b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: close"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"".join([*chunks, b"0\r\n\r\n"]))
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK")


def test_what_frames_a_body_is_measured_for_each_by_itself(server):
    """Chunks of a byte, as many as one request may have, in two requests."""
    with connect(server) as connection:
        for _ in range(2):
            for part in (post(b"Transfer-Encoding: chunked"), b"1\r\na\r\n" * 10_000, b"0\r\n\r\n"):
                connection.sendall(part)
                time.sleep(0.1)
            assert b" 415 " in read_one(connection)


def test_the_connection_outlives_an_error_whose_body_was_not_read(server):
    """A client whose request is refused early sends the rest, and goes on."""
    with connect(server) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 50_000)
        assert b" 404 " in read_one(connection)
        connection.sendall(b"a" * 50_000 + get(b"Host: x", b"Connection: close"))
        assert b" 200 OK" in read_all(connection)


@pytest.mark.parametrize("after", [b"\0", get(b"Host: x") * 101])
def test_what_follows_the_body_of_a_last_request_is_ignored(server, after):
    """The answer to it was the last one, and came before its body."""
    with connect(server) as connection:
        connection.sendall(get(b"Host: x", b"Connection: close", b"Content-Length: 5"))
        assert b" 200 OK" in read_one(connection)
        connection.sendall(b"12345" + after)
        assert read_all(connection) == b""

    assert server.get("/livez").status_code == 200
    assert "Traceback" not in server.log.text


def test_the_end_of_one_body_and_the_start_of_the_next_may_come_together(server):
    with connect(server) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"a" * 200_000)
        assert b" 404 " in read_one(connection)
        following = post(b"Content-Length: 100000", b"Connection: close", body=toys.plain(255).ljust(100_000, b"\0"))
        connection.sendall(b"a" * 100_000 + following[:200])
        time.sleep(0.05)
        connection.sendall(following[200:])
        assert b" 200 OK" in read_all(connection)


def test_an_idle_connection_is_closed_without_a_word(server):
    """Whatever was sent over it before: here a body that was answered before its end."""
    with connect(server) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"a" * 30_000)
        assert b" 404 " in read_one(connection)
        connection.sendall(b"a" * 30_000)
        assert read_all(connection) == b""


def test_an_empty_line_begins_no_request(tmp_path):
    """Some clients end a body with one (RFC 9112, section 2.2); a connection that is kept stays idle, and as long."""
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, KEEP_ALIVE_S=1) as client, connect(client) as connection:
        connection.sendall(get(b"Host: x"))
        assert b" 200 OK" in read_one(connection)
        connection.sendall(b"\r\n")
        time.sleep(0.1)
        connection.sendall(get(b"Host: x"))
        assert b" 200 OK" in read_one(connection)
        connection.sendall(b"\r\n")
        assert read_all(connection) == b""


def test_empty_lines_do_not_keep_a_connection_open(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, KEEP_ALIVE_S=30, arguments=limited(header_s=0.5)) as client, connect(client) as connection:
        connection.sendall(get(b"Host: x"))
        assert b" 200 OK" in read_one(connection)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(10):
                connection.sendall(b"\r\n")
                time.sleep(0.1)
        assert b" 408 " in read_all(connection)


def test_a_crowd_that_is_turned_away_keeps_its_connections(tmp_path):
    """The refusal comes before the body is read, and the body is read over."""
    toys.publish(tmp_path, "toy")
    waits = {"MAX_BATCH_SIZE": 2, "MAX_BATCH_DELAY_MS": 60_000}  # for another image to be run with
    with (
        serving(tmp_path, QUEUE_SIZE=1, MAX_FILES=1, **waits) as client,
        connect(client) as holding,
        connect(client) as other,
    ):
        holding.sendall(post(b"Content-Length: %d" % len(toys.plain(1)), body=toys.plain(1)))
        wait_for_metric(client, "multipool_images_in_work 1.0")
        image = toys.plain(255).ljust(100_000, b"\0")
        for _ in range(3):
            other.sendall(post(b"Content-Length: %d" % len(image), b"X-Request-ID: mine", body=image))
            answer = read_one(other)
            assert b"x-request-id: mine\r\n" in answer
            assert b" 503 " in answer
            assert b"retry-after: 1" in answer.lower()
            assert b"connection: close" not in answer
        holding.close()
        wait_for_metric(client, "multipool_images_in_work 0.0")
        # No image: it would wait for another, unless that of the client which left had been decoded by then.
        other.sendall(post(b"Content-Length: 100000", b"Connection: close", body=bytes(100_000)))
        assert b" 415 " in read_all(other)


def test_pipelined_requests_are_answered_in_order(server):
    answers = exchange(
        server, get(b"Host: x") + get(b"Host: x", path=b"/nothing") + get(b"Host: x", b"Connection: close")
    )

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404", b"200"]


def test_an_absolute_address_without_a_path_is_the_page(server):
    """As clients write it that take the service for a proxy."""
    answer = exchange(server, b"GET http://x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"<title>Multipool</title>" in answer


def test_as_many_pipelined_requests_as_anyone_sends_are_answered(server):
    answers = exchange(server, get(b"Host: x") * 99 + get(b"Host: x", b"Connection: close"))

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200"] * 100


def test_a_flood_of_pipelined_requests_is_not_let_in(server):
    """Each would be kept in memory, ten thousand of every read, with no end."""
    before = resident_mb(server)
    with connect(server) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(100):
            connection.sendall(get(b"Host:") * 10_000)
            connection.recv(65536)

    assert resident_mb(server) - before < 50
    assert exchange(server, get(b"Host: x") * 10_000).count(b"HTTP/1.1 200") == 1


def test_a_flood_that_is_turned_away_is_not_let_in_either(tmp_path):
    toys.publish(tmp_path, "toy")
    waits = {"MAX_BATCH_SIZE": 2, "MAX_BATCH_DELAY_MS": 60_000}
    with serving(tmp_path, QUEUE_SIZE=1, MAX_FILES=1, **waits) as client, connect(client) as holding:
        holding.sendall(post(b"Content-Length: %d" % len(toys.plain(1)), body=toys.plain(1)))
        wait_for_metric(client, "multipool_images_in_work 1.0")
        before = resident_mb(client)
        answers = exchange(client, get(b"Host: x") + post(b"Content-Length: 0") * 1500)
        assert 1 <= answers.count(b"HTTP/1.1 ") <= 101
        with connect(client) as deaf, contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            deaf.settimeout(3)
            for _ in range(200):
                deaf.sendall(post(b"Content-Length: 0") * 1000)  # whose answers nobody fetches
        assert client.get("/livez").status_code == 200
        assert resident_mb(client) - before < 50
        assert "RecursionError" not in client.log.text


def test_the_next_header_has_its_own_time_although_the_answer_is_there(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, KEEP_ALIVE_S=1) as client, connect(client) as connection:
        connection.sendall(get(b"Host: x") + b"GET /livez HTTP/1.1\r\n")
        answers = read_all(connection)

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"408"]


def test_headers_that_come_in_parts_are_measured_one_by_one_and_leave_no_connection_open(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, KEEP_ALIVE_S=5) as client, connect(client) as connection:
        for _ in range(4):
            for part in (b"GET /nothing HTTP/1.1\r\n", b"Host: x\r\nX: " + b"a" * 10_000, b"\r\n\r\n"):
                connection.sendall(part)
                time.sleep(0.1)
            assert b" 404 " in read_one(connection)
        assert read_all(connection) == b""


def test_an_upgrade_is_not_taken_up(server):
    answer = exchange(server, get(b"Host: x", b"Upgrade: h2c", b"Connection: upgrade, close"))

    assert b" 200 OK" in answer


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_body_sent_with_the_offer_of_an_upgrade_is_read(server, size):
    """Java's HttpClient makes the offer in all it sends, and so does ``curl --http2``."""
    image = toys.plain(255)
    offer = b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAAB"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in image) + b"0\r\n\r\n"
    requests = [
        post(b"Connection: Upgrade, HTTP2-Settings", b"Content-Length: %d" % len(image), *offer, body=image),
        get(b"Host: x", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
        post(b"Connection: Upgrade, close", b"Transfer-Encoding: chunked", *offer, body=chunks),
    ]
    sent = b"".join(requests)
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), size):
            connection.sendall(sent[start : start + size])
        answers = read_all(connection)

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200"] * 3
    assert answers.count(b'"label":"bright"') == 2


def test_nothing_follows_a_request_for_a_tunnel(server):
    """What was meant for the other end of a tunnel is no request."""
    answer = exchange(server, b"CONNECT /livez HTTP/1.1\r\nHost: x\r\n\r\n" + get(b"Host: x"))

    assert problem(answer) == (405, "method_not_allowed")


def test_slow_clients_are_cut_off(server):
    """All at once, since each takes its time: 5 s for a header and for each window of a body, 2 s for what is left."""
    cases = {
        "silent": (b"", b"", (0, "")),
        "half a header": (b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"", (408, "request_timeout")),
        "a header by the byte": (b"GET /livez HTTP/1.1\r\n", b"a", (408, "request_timeout")),
        "blank lines": (b"\r\n", b"\r\n", (408, "request_timeout")),
        "no body": (post(b"Content-Length: 1000"), b"", (408, "request_timeout")),
        "a body by the byte": (post(b"Content-Length: 1000"), b"a", (408, "request_timeout")),
        "a body that stalls": (post(b"Content-Length: 100000", body=b"a" * 10_000), b"a", (408, "request_timeout")),
        "chunks by the byte": (post(b"Transfer-Encoding: chunked"), b"1\r\na\r\n", (408, "request_timeout")),
    }
    connections = {case: connect(server) for case in cases}
    answers, ends = dict.fromkeys(cases, b""), set()
    for case, (start, _, _) in cases.items():
        connections[case].sendall(start)
        connections[case].setblocking(False)
    deadline = time.monotonic() + 20
    while len(ends) < len(cases) and time.monotonic() < deadline:
        for case, connection in connections.items():
            with contextlib.suppress(BlockingIOError):
                try:
                    part = connection.recv(65536)  # first, since what cannot be sent any more takes the answer with it
                    answers[case] += part
                    if not part:
                        ends.add(case)
                except ConnectionResetError:
                    ends.add(case)
            if case not in ends:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.send(cases[case][1])
        time.sleep(0.5)
    for connection in connections.values():
        connection.close()

    assert ends == set(cases)
    for case, (_, _, expected) in cases.items():
        assert (problem(answers[case]) if answers[case] else (0, "")) == expected, case
    assert server.get("/livez").status_code == 200


def test_connections_have_a_number(tmp_path):
    toys.publish(tmp_path, "toy")
    arguments = limited(header_s=60, linger_s=60)
    with serving(tmp_path, arguments=arguments, MAX_CONNECTIONS=3) as client, contextlib.ExitStack() as stack:
        others = [stack.enter_context(connect(client)) for _ in range(3)]
        for other in others:
            other.sendall(OPEN)  # and no end of the header: none is idle
        with connect(client) as one_too_many:
            for _ in range(20):
                one_too_many.sendall(bytes(10_000))
                time.sleep(0.01)
            assert problem(read_all(one_too_many)) == (503, "overloaded")
        others[0].sendall(b"Connection: close\r\n\r\n")
        assert b" 422 " in read_all(others[0])
        assert client.get("/livez").status_code == 200
        assert "refused" not in client.log.text  # no more than other overload is


def test_idle_connections_shut_nobody_out(tmp_path):
    """The one that has been idle for longest makes room."""
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, MAX_CONNECTIONS=5, KEEP_ALIVE_S=60) as client, contextlib.ExitStack() as stack:
        client.close()
        idle = [stack.enter_context(connect(client)) for _ in range(5)]
        for connection in [*idle, idle[0]]:  # the first is used again, so that the second is the one
            connection.sendall(get(b"Host: x"))
            assert b" 200 OK" in read_one(connection)
        newcomer = stack.enter_context(connect(client))
        newcomer.sendall(get(b"Host: x", path=b"/readyz"))
        assert b" 200 OK" in read_one(newcomer)
        assert read_all(idle.pop(1)) == b""
        for connection in [*idle, newcomer]:
            connection.sendall(get(b"Host: x", b"Connection: close"))
            assert b" 200 OK" in read_all(connection)


def test_what_nobody_waits_for_is_not_run_and_hurts_nobody(tmp_path):
    """Of three clients whose images wait for the same batch, two hang up."""
    toys.publish(tmp_path, "toy")
    image = toys.plain(255)
    request = post(b"Content-Length: %d" % len(image), body=image)
    # However the threads take turns, the last one waits for no more than this.
    settings = {"MAX_BATCH_DELAY_MS": 10_000, "MAX_BATCH_SIZE": 4}
    with serving(tmp_path, **settings) as client, contextlib.ExitStack() as stack:
        connections = [connect(client) for _ in range(3)]
        for connection in connections:
            connection.sendall(request)
        wait_for_metric(client, "multipool_images_in_work 3.0")
        for connection in connections[:2]:
            connection.close()
        wait_for_metric(client, "multipool_images_in_work 1.0")
        stays = stack.enter_context(connections[2])
        for _ in range(3):  # with which the batch is full, or before: those that left may still be in it
            stack.enter_context(connect(client)).sendall(request)
        assert b" 200 OK" in read_one(stays)
        client.log.wait_for("(?s)(POST /predict 499.*){2}")

        def counts():
            found = scrape(client)
            route = ("method", "POST"), ("route", "/predict")
            answered = found["multipool_requests_total", *route, ("status", "200")]
            return answered == found["multipool_images_total", ("model", "toy"), ("version", "1")] <= 4

        wait_for(counts)
