"""What the server answers by itself is an answer like all others."""

import contextlib
import json
import re
import signal
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests import toys
from tests.app.test_predictions import assert_problem
from tests.app.test_protocol import connect, get, post, read_all, read_one
from tests.conftest import limited, serving, wait_for_metric

PAGE = {"Origin": "https://shop.example"}
CORS = ("access-control-allow-origin", "access-control-expose-headers")


@contextlib.contextmanager
def full(root, **settings):
    """A service whose only place is taken by an image that waits for another, to be run with; yields its client."""
    toys.publish(root, "toy")
    waits = {"MAX_BATCH_SIZE": 2, "MAX_BATCH_DELAY_MS": 60_000}
    with serving(root, QUEUE_SIZE=1, MAX_FILES=1, **waits, **settings) as client, connect(client) as holding:
        holding.sendall(post(b"Content-Length: %d" % len(toys.plain(1)), body=toys.plain(1)))
        wait_for_metric(client, "multipool_images_in_work 1.0")
        yield client


def send(client, request):
    """Send one request; returns the head of the answer and its body, up to the end of the connection."""
    with connect(client) as connection:
        connection.sendall(request)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    return head.decode(), body


@pytest.mark.parametrize(
    ("request_", "first"),
    [
        (get(b"Host: x", *[b"A: b"] * 101), "HTTP/1.1 431 Request Header Fields Too Large"),
        (get(b"A: b"), "HTTP/1.1 400 Bad Request"),
        (post(b"Expect: 200-ok", b"Content-Length: 1"), "HTTP/1.1 417 Expectation Failed"),
    ],
)
def test_it_has_the_headers_of_any_answer_and_the_words_of_http(server, request_, first):
    head, _ = send(server, request_)

    assert head.splitlines()[0] == first
    assert re.search(r"(?m)^date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r?$", head)
    assert "cache-control: no-store" in head
    assert "x-content-type-options: nosniff" in head
    assert head.count("connection: close") == 1


@pytest.mark.parametrize("fault", [b"A: \x00", b"Expect: 200-ok", b"A: b\r\n" * 101])
def test_the_answer_to_head_has_no_body(server, fault):
    head, body = send(server, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n" + fault + b"\r\n\r\n")

    assert head.startswith("HTTP/1.1 4")
    assert "content-type: application/problem+json" in head
    assert body == b""


def test_only_what_would_take_a_place_is_refused_for_want_of_one(tmp_path):
    with full(tmp_path, CORS_ORIGINS="https://shop.example") as client:
        assert_problem(client.post("/predict", files={"file": toys.plain(1)}), 503, "overloaded")
        assert client.head("/predict").status_code == 405
        preflight = client.options("/predict", headers={**PAGE, "Access-Control-Request-Method": "POST"})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize("origins", ["https://shop.example", "*", "https://other.example", None])
def test_a_page_may_read_why_it_was_refused_if_it_may_read_answers(tmp_path, origins):
    with full(tmp_path, **({"CORS_ORIGINS": origins} if origins else {})) as client:
        refused = client.post("/predict", files={"file": toys.plain(1)}, headers=PAGE)
        answered = client.get("/models", headers=PAGE)

    assert_problem(refused, 503, "overloaded")
    allowed = answered.headers.get("access-control-allow-origin")
    assert (allowed is not None) == (origins in ("https://shop.example", "*"))
    assert refused.headers.get("vary") == answered.headers.get("vary")
    if allowed:
        assert [refused.headers.get(name) for name in CORS] == [answered.headers.get(name) for name in CORS]


def test_there_is_one_answer_also_where_the_rest_of_the_body_is_bad(tmp_path):
    with full(tmp_path) as client, connect(client) as connection:
        connection.sendall(post(b"Transfer-Encoding: chunked"))
        assert b" 503 " in read_one(connection)
        connection.sendall(b"ZZ\r\n")
        assert read_all(connection) == b""


def test_who_is_refused_a_place_for_its_last_request_may_read_so(tmp_path):
    """If it sends all of its body first, as Python's own client does, or if it is the last because the service ends."""
    with full(tmp_path, LAME_DUCK_S=120) as client:
        with pytest.raises(HTTPError, match="503") as refused:
            urlopen(f"{client.base_url}/predict", data=bytes(20_000_000))  # noqa: S310  # of our own service
        refused.value.close()
        client.process.send_signal(signal.SIGTERM)
        client.log.wait_for("draining for 120 s")
        head, _ = send(client, post(b"Content-Length: 3", body=b"abc"))
        client.process.send_signal(signal.SIGINT)  # which waits for no while

    assert head.startswith("HTTP/1.1 503 ")
    assert head.count("connection: close") == 1


def test_what_is_refused_is_not_taken_for_the_request_before_it(server):
    """Of two requests over one connection, the second is broken: its answer does not carry the id of the first."""
    with connect(server) as connection:
        connection.sendall(get(b"Host: x", b"X-Request-ID: first", path=b"/nothing"))
        assert b"x-request-id: first\r\n" in read_one(connection)
        connection.sendall(b"\x16\x03\x01\r\n\r\n")
        answer = read_all(connection)

    assert b" 400 " in answer
    assert b"x-request-id: first" not in answer


def test_a_connection_that_was_refused_a_place_lives_as_long_as_any_other(tmp_path):
    """Its idle time ends with the next request, however that one takes its time."""
    refused, start = post(b"Content-Length: 3", body=b"abc"), b"GET /livez HTTP/1.1\r\n"
    with (
        full(tmp_path, arguments=limited(header_s=60), KEEP_ALIVE_S=3) as client,
        connect(client) as connection,
        connect(client) as other,
        connect(client) as late,
    ):
        connection.sendall(refused)
        assert b" 503 " in read_one(connection)
        connection.sendall(start)
        other.sendall(refused + start)
        assert b" 503 " in read_one(other)
        time.sleep(3.5)
        for one in (connection, other):
            one.sendall(b"Host: x\r\nConnection: close\r\n\r\n")
            assert b" 200 OK" in read_all(one)
        late.sendall(get(b"A: b"))
        assert b" 400 " in read_all(late)
        found = client.get("/metrics").text

    assert counted(found, "request_seconds_count", route="other") == 1
    assert counted(found, "request_seconds_sum", route="other") < 3.5  # since it began, not since it was connected


def counted(text, family, **labels):
    """Sum up a family of the metrics, over the series that have these labels."""
    lines = [line for line in text.splitlines() if line.startswith(f"multipool_{family}")]
    found = [line for line in lines if all(f'{name}="{value}"' in line for name, value in labels.items())]
    return sum(float(line.split()[-1]) for line in found)


def test_all_that_is_refused_is_counted_once_and_with_everything_else(tmp_path):
    with full(tmp_path) as client:
        before = client.get("/metrics").text  # it may have been asked whether it is ready when it was not
        for _ in range(3):
            assert client.post("/predict", files={"file": toys.plain(1)}).status_code == 503
        send(client, get(b"A: b"))
        send(client, b"\x16\x03\x01\r\n\r\n")
        assert client.get("/nothing").status_code == 404
        assert client.head("/models/toy").status_code == 200
        after, log = client.get("/metrics").text, client.log.text

    def risen(family, **labels):
        return counted(after, family, **labels) - counted(before, family, **labels)

    assert risen("requests_total", route="/predict", status="503") == 3
    assert risen("requests_total", route="/models/{name}", method="HEAD", status="200") == 1
    assert risen("requests_total", route="other", method="GET", status="400") == 1
    assert risen("requests_total", route="other", method="other", status="400") == 1
    assert risen("requests_total", route="/predict") == risen("request_seconds_count", route="/predict") == 3
    assert risen("requests_total") == risen("request_seconds_count")
    failed = sum(risen("requests_total", status=status) for status in (400, 404, 503))
    assert failed == risen("problems_total") == 6
    assert log.count("refused 127.0.0.1 with 400: ") == 2
    assert "with 503" not in log  # there may be thousands a second


def test_an_upload_that_is_cut_off_is_one_request(tmp_path):
    """In the log, in the metrics, and by its id; with the status that the client got."""
    toys.publish(tmp_path, "toy")
    with serving(tmp_path) as client, connect(client) as stalled, connect(client) as broken:
        before = client.get("/metrics").text  # it may have been asked whether it is ready when it was not
        stalled.sendall(post(b"Content-Length: 1000") + b"a")
        broken.sendall(post(b"Transfer-Encoding: chunked") + b"1\r\na\r\n")
        wait_for_metric(client, "multipool_upload_bytes 2.0")
        broken.sendall(b"ZZ\r\n")
        ids = {}
        for connection, status in ((broken, "400"), (stalled, "408")):
            answer = read_all(connection).decode()
            assert answer.startswith(f"HTTP/1.1 {status} ")
            ids[status] = re.search(r"x-request-id: (\w+)", answer)[1]
        wait_for_metric(client, "multipool_upload_bytes 0.0")
        found, log = client.get("/metrics").text, client.log.text

    for status, request_id in ids.items():
        assert counted(found, "requests_total", route="/predict", status=status) == 1
        (line,) = [line for line in log.splitlines() if request_id in line]
        assert re.search(rf"POST /predict {status} \d+\.\d ms 127\.0\.0\.1 toy:1: \w", line)
    assert counted(found, "requests_total", route="/predict") == 2
    assert counted(found, "problems_total") - counted(before, "problems_total") == 2


def test_a_request_that_is_stopped_on_its_way_is_counted_by_the_route_it_was_for(models):
    with serving(models, API_KEYS="key", RATE_LIMIT=0.01) as client:
        known = {"X-API-Key": "key"}
        assert client.get("/models/grey").status_code == 401
        assert client.post("/predict").status_code == 429
        assert client.get("/models", headers=known).status_code == 200
        assert client.get("/models/grey/7", headers=known).status_code == 429
        found = client.get("/metrics", headers=known).text

    assert counted(found, "requests_total", route="/models/{name}", status="401") == 1
    assert counted(found, "requests_total", route="/predict", status="429") == 1
    assert counted(found, "requests_total", route="/models/{name}/{version}", status="429") == 1
    assert counted(found, "requests_total", route="other") == 0


def test_the_log_names_the_peer_and_the_model(models):
    with serving(models, LOG_FORMAT="json", DEFAULT_MODEL="brightness:1") as client:
        files = {"file": toys.plain(1)}
        assert client.post("/predict", files=files, headers={"X-Request-ID": "mine"}).status_code == 200
        assert client.post("/explain", files=files, headers={"X-Request-ID": "why"}).status_code == 200
        send(client, get(b"A: b", b"X-Request-ID: hostless"))
        client.log.wait_for("hostless")
        lines = [json.loads(line) for line in client.log.text.splitlines() if line.startswith("{")]

    for request_id, model in (("mine", "brightness:1"), ("why", "brightness:1"), ("hostless", None)):
        (line,) = [line for line in lines if line.get("request_id") == request_id]
        assert line["client"] == "127.0.0.1"
        assert line.get("model") == model
        assert line["status"] == (200 if model else 400)
        assert "127.0.0.1" in line["message"]
