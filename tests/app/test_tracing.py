"""Traces, sent to a collector of ours."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests import toys
from tests.conftest import serving

pb = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


@pytest.fixture
def collector():
    """Spans as they come in; its ``address`` is where to send them."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # the base class's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            for resource in pb.ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield spans, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_request_is_a_span_with_its_stages(models, collector, monkeypatch):
    spans, address = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    trace = "0af7651916cd43dd8448eb211c80319c"
    with serving(models, DEFAULT_MODEL="brightness") as client:
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-ID": "mine"}
        assert client.post("/predict", files={"file": toys.plain(1)}, headers=headers).status_code == 200
        assert client.get("/nothing").status_code == 404

    found = {span.name: span for span in spans}
    request = found["POST /predict"]
    attributes = {item.key: item.value.string_value or item.value.int_value for item in request.attributes}
    assert request.trace_id.hex() == trace
    assert attributes["http.response.status_code"] == 200
    assert attributes["multipool.request_id"] == "mine"
    for stage in ("read", "decode", "queue", "inference"):
        assert found[stage].parent_span_id == request.span_id
        assert request.start_time_unix_nano <= found[stage].start_time_unix_nano <= found[stage].end_time_unix_nano
    assert "GET other" in found


def test_a_request_that_is_refused_before_its_route_is_known_makes_no_name_of_its_own(models, collector, monkeypatch):
    """Else whoever has no key could fill the collector with names."""
    spans, address = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    with serving(models, DEFAULT_MODEL="brightness", API_KEYS="a-key-of-sixteen-characters") as client:
        assert client.post("/predict", files={"file": toys.plain(1)}).status_code == 401
        assert client.get("/models/brightness").status_code == 401
        assert client.get("/made-up-by-someone").status_code == 401

    names = {span.name for span in spans} - {"GET /readyz"}
    assert names == {"POST /predict", "GET /models/{name}", "GET other"}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_last_spans_are_sent_when_the_service_ends(models, collector, monkeypatch, workers):
    spans, address = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    with serving(models, DEFAULT_MODEL="brightness", WORKERS=workers) as client:
        for _ in range(5):
            assert client.post("/predict", files={"file": toys.plain(1)}).status_code == 200

    assert sum(span.name == "POST /predict" for span in spans) == 5
