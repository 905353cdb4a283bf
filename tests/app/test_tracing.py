"""Traces, sent to a collector of ours."""

import gzip
import logging
import os
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from app.http import tracing
from tests import toys
from tests.app.test_protocol import connect, post
from tests.conftest import serving, wait_for, wait_for_metric

STATUS = "http.response.status_code"

pb = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


@pytest.fixture
def collector():
    """Spans as they come in, and the services that sent them; its ``address`` is where to send them."""
    spans, services = [], set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # the base class's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            for resource in pb.ExportTraceServiceRequest.FromString(body).resource_spans:
                services.update(
                    one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
                )
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(spans=spans, services=services, address=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def names(collector):
    """What the spans are called that have come in; when the service ends, it does not wait long for the last ones."""
    return {span.name for span in collector.spans}


def test_a_request_is_a_span_with_its_stages(models, collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    trace = "0af7651916cd43dd8448eb211c80319c"
    with serving(models, DEFAULT_MODEL="brightness") as client:
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-ID": "mine"}
        answer = client.post("/predict", files={"file": toys.plain(1)}, headers=headers)
        assert client.get("/nothing").status_code == 404
        wait_for(lambda: names(collector) >= {"POST /predict", "GET other"})

    found = {span.name: span for span in collector.spans}
    request = found["POST /predict"]
    attributes = {item.key: item.value.string_value or item.value.int_value for item in request.attributes}
    assert request.trace_id.hex() == trace
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        STATUS: 200,
        "multipool.request_id": "mine",
    }
    assert request.kind == request.SPAN_KIND_SERVER
    assert not request.status.code
    assert "total" not in found
    start = request.start_time_unix_nano
    for stage, milliseconds in re.findall(
        r"(read|decode|queue|inference);dur=([\d.]+)", answer.headers["server-timing"]
    ):
        span = found[stage]
        assert (span.parent_span_id, span.start_time_unix_nano) == (request.span_id, start)
        start = span.end_time_unix_nano
        assert start - span.start_time_unix_nano == pytest.approx(1e6 * float(milliseconds), abs=1)
    assert request.start_time_unix_nano < start
    assert not found["GET other"].status.code
    assert collector.services == {"multipool"}


def test_what_fails_or_is_given_up_is_an_error(models, collector, monkeypatch):
    """A request that takes too long, and one whose client leaves: it has no status."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tiles")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    image = toys.plain(1)
    slow = {"DEFAULT_MODEL": "brightness", "MAX_BATCH_DELAY_MS": 60_000}
    with serving(models, **slow) as client:
        with connect(client) as leaving:
            leaving.sendall(post(b"Content-Length: %d" % len(image), body=image))
            wait_for_metric(client, "multipool_images_in_work 1.0")
        wait_for_metric(client, "multipool_images_in_work 0.0")
        wait_for(lambda: "POST /predict" in names(collector))
    with serving(models, REQUEST_TIMEOUT_S=0.1, **slow) as client:
        assert client.post("/predict", files={"file": image}).status_code == 504
        assert client.get("/models").status_code == 200
        wait_for(lambda: "GET /models" in names(collector))

    found = [
        (span.name, *(item.value.int_value for item in span.attributes if item.key == STATUS))
        for span in collector.spans
        if span.status.code == span.status.STATUS_CODE_ERROR and span.name != "GET /readyz"
    ]
    assert sorted(found) == [("POST /predict", 0), ("POST /predict", 504)]
    assert collector.services == {"tiles"}


def test_a_request_that_is_refused_before_its_route_is_known_makes_no_name_of_its_own(models, collector, monkeypatch):
    """Else whoever has no key could fill the collector with names."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with serving(models, DEFAULT_MODEL="brightness", API_KEYS="a-key-of-sixteen-characters") as client:
        assert client.post("/predict", files={"file": toys.plain(1)}).status_code == 401
        assert client.get("/models/brightness").status_code == 401
        assert client.get("/made-up-by-someone").status_code == 401
        wait_for(lambda: len(names(collector) - {"GET /readyz"}) >= 3)

    assert names(collector) - {"GET /readyz"} == {"POST /predict", "GET /models/{name}", "GET other"}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_last_spans_are_sent_when_the_service_ends(models, collector, monkeypatch, workers):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    with serving(models, DEFAULT_MODEL="brightness", WORKERS=workers) as client:
        for _ in range(5):
            assert client.post("/predict", files={"file": toys.plain(1)}).status_code == 200

    assert sum(span.name == "POST /predict" for span in collector.spans) == 5


def test_a_collector_that_does_not_answer_does_not_hold_up_the_end(models, monkeypatch):
    """It would be given a minute."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
        with serving(models, DEFAULT_MODEL="brightness") as client:
            assert client.get("/models").status_code == 200
            client.process.terminate()
            assert client.process.wait(20) == 0


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_traces_are_switched_on_and_off_as_everywhere(monkeypatch, environment, wanted):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert tracing.wanted() is wanted


def test_where_the_packages_are_missing_the_service_runs_without_traces_and_says_so(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    application = object()

    with caplog.at_level(logging.WARNING):
        assert tracing.layer(application, ()) is application
    assert "install the extra 'traces'" in caplog.text
