"""Ids, logs, keys, limits, health and errors: what holds for every route."""

import io
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests import toys
from tests.app.test_predictions import assert_problem
from tests.conftest import limited, serving, wait_for_metric

PHOTO = {"file": toys.plain(1)}


def test_health(server):
    assert server.get("/livez").json() == {"status": "live"}
    assert server.get("/readyz").json() == {"status": "ready"}


def test_a_sane_request_id_is_kept_and_any_other_is_replaced(server):
    assert server.get("/livez", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for odd in ("", "a b", "x" * 129, "é".encode(), "<script>"):
        made = server.get("/livez", headers={"X-Request-ID": odd}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
    assert server.get("/nothing", headers={"X-Request-ID": "mine"}).json()["request_id"] == "mine"


def test_unknown_paths_and_methods(server):
    assert_problem(server.get("/nothing"), 404, "not_found")
    response = server.get("/predict")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    assert "use POST" in response.json()["detail"]
    assert_problem(server.get("/models/"), 404, "not_found")


def test_the_documentation_describes_every_route_and_error(server):
    document = server.get("/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/predict",
        "/predict/batch",
        "/explain",
        "/models",
        "/models/{name}",
        "/models/{name}/{version}",
        "/livez",
        "/readyz",
        "/metrics",
    }
    predict = document["paths"]["/predict"]["post"]
    of_its_own = {"200", "401", "404", "406", "422", "500", "504"}
    of_any_request = {"400", "405", "408", "413", "414", "415", "417", "429", "431", "503"}
    assert set(predict["responses"]) == of_its_own | of_any_request
    assert set(document["paths"]["/livez"]["get"]["responses"]) == {"200", "500"} | of_any_request
    assert "application/openmetrics-text" in document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert {"multipart/form-data", "image/jpeg", "application/x-npy"} <= set(predict["requestBody"]["content"])
    for name, path in document["paths"].items():
        for operation in path.values():
            for status, response in operation["responses"].items():
                good = "text/plain" if name == "/metrics" else "application/json"
                if status == "200":
                    assert good in response["content"], operation["summary"]
                else:
                    assert set(response["content"]) == {"application/problem+json"}, (operation["summary"], status)
    assert "`too_many_pixels`" in predict["responses"]["422"]["description"]
    assert "null" not in json.dumps([one["schema"] for one in predict["parameters"]])  # no query string can hold it
    assert {(one["in"], one["required"], bool(one["description"])) for one in predict["parameters"]} == {
        ("query", False, True)
    }
    assert {"HTTPValidationError", "ValidationError"}.isdisjoint(document["components"]["schemas"])  # never answered
    assert "security" not in json.dumps(document["paths"])  # no key is asked for
    assert server.get("/docs").status_code == 200


def test_keys_are_asked_for_everywhere_but_for_health_and_the_pages(models, tmp_path):
    (tmp_path / "keys").write_text("from-file\n")
    with serving(models, API_KEYS="one,two,clé", API_KEYS_FILE=tmp_path / "keys") as client:
        for path in ("/models", "/openapi.json", "/docs/", "/nothing"):
            response = client.get(path)
            assert_problem(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        assert_problem(client.post("/predict", files=PHOTO), 401, "unauthorized")
        for wrong in ("three", "onetwo", "", "é".encode()):
            response = client.get("/models", headers={"X-API-Key": wrong})
            detail = assert_problem(response, 401, "unauthorized")["detail"]
            assert ("key that was sent" in detail) == bool(wrong)
            assert "send an API key" in detail
        for key in ("one", "two", "from-file", "clé".encode()):
            assert (
                client.get(
                    "/models", headers={"Authorization": b"Bearer " + (key if isinstance(key, bytes) else key.encode())}
                ).status_code
                == 200
            )
            assert client.get("/models", headers={"X-API-Key": key}).status_code == 200
        for path in ("/livez", "/", "/docs", "/web/docs.js"):
            assert client.get(path).status_code == 200
        client.log.wait_for("GET /nothing 401")
        assert "from-file" not in client.log.text


def test_json_logs_are_one_object_per_line(models):
    sound = toys.save(Image.new("RGB", (8, 8)), "TIFF", compression="tiff_lzw")
    damaged = sound[:8] + b"\xff" * 4 + sound[12:]
    tifffile.imwrite(bands := io.BytesIO(), np.zeros((8, 8, 13), np.uint8), planarconfig="contig")
    began = time.monotonic()
    with serving(models, LOG_FORMAT="json") as client:
        assert client.post("/predict?model=grey", content=damaged).status_code == 422  # of which libtiff would print
        assert client.post("/predict?model=grey", content=bands.getvalue()).status_code == 422  # and Pillow log
        client.get("/nothing%0a%20key", headers={"X-Request-ID": "refused"})
        client.get("/models", headers={"X-Request-ID": "find-me"})
        client.log.wait_for("find-me")
        lines = [json.loads(line) for line in client.log.text.splitlines()]

    assert not [line for line in lines if "samples" in line["message"]]
    (line,) = [line for line in lines if line.get("request_id") == "find-me"]
    assert re.fullmatch(r"GET /models 200 \d+\.\d ms 127\.0\.0\.1", line["message"])
    assert 0 <= line["duration_ms"] < 1000 * (time.monotonic() - began)
    assert line["client"] == "127.0.0.1"
    assert {"model", "code", "detail", "key"}.isdisjoint(line)
    (refused,) = [line for line in lines if line.get("request_id") == "refused"]
    assert refused["code"] == "not_found"
    assert refused["path"] == r"/nothing\n\x20key"
    assert refused["detail"] == r"there is no '/nothing\n key' here; GET /docs lists what there is"
    assert refused["message"].endswith(f"ms 127.0.0.1: {refused['detail']}")
    assert line["level"] == "info"
    assert any("loaded brightness:2 on CPUExecutionProvider" in line["message"] for line in lines)
    assert any(re.match(r"\d+ cores: ", line["message"]) for line in lines)


def test_a_full_queue_is_refused_at_once(tmp_path):
    """While there is no room for as many images as come, their request is told to come back."""
    toys.publish(tmp_path, "toy")
    waits = {"MAX_BATCH_SIZE": 4, "MAX_BATCH_DELAY_MS": 60_000}  # for others to be run with
    with (
        serving(tmp_path, QUEUE_SIZE=4, MAX_FILES=4, **waits) as client,
        httpx.Client(base_url=client.base_url, timeout=30) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(other.post, "/predict/batch", files=[("file", toys.plain(1))] * 3)
        wait_for_metric(client, "multipool_images_in_work 3.0")
        response = client.post("/predict/batch", files=[("file", toys.plain(1))] * 2)

        assert not waiting.done()
        assert_problem(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"
        assert client.post("/predict", files=PHOTO).status_code == 200
        assert waiting.result().status_code == 200


def test_a_late_answer_is_given_up(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, REQUEST_TIMEOUT_S=0.1, MAX_BATCH_DELAY_MS=60_000) as client:
        assert_problem(client.post("/predict", files=PHOTO), 504, "deadline_exceeded")


PATIENT = limited(window_s=60)
UPLOADS = ("/predict", "/predict/batch", "/explain")


def test_an_upload_takes_no_place_before_it_is_complete(tmp_path):
    """However many clients are slow, the next image is answered."""
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, arguments=PATIENT, QUEUE_SIZE=1, MAX_FILES=1) as client, ExitStack() as stack:
        for path in UPLOADS:
            stack.enter_context(begin_upload(client, path))
        wait_for_metric(client, "multipool_upload_bytes 300.0")
        assert "multipool_images_in_work 0.0" in client.get("/metrics").text
        assert client.post("/predict", files=PHOTO).status_code == 200


def test_an_upload_gets_no_longer_than_any_request(tmp_path):
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, REQUEST_TIMEOUT_S=0.5) as client, ExitStack() as stack:
        slow = [stack.enter_context(begin_upload(client, path)) for path in UPLOADS]
        for connection in slow:
            assert b" 504 " in connection.recv(100)
        wait_for_metric(client, "multipool_upload_bytes 0.0")


def test_uploads_take_no_more_memory_than_they_may(tmp_path):
    """What does not fit is refused, though no image is in work yet; what leaves makes room."""
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, arguments=PATIENT, MAX_UPLOAD_BYTES=1000, UPLOADS_MEMORY_BYTES=1000) as client:
        with begin_upload(client, "/predict"):
            wait_for_metric(client, "multipool_upload_bytes 100.0")
            response = client.post("/predict", content=b"a" * 901)
            assert_problem(response, 503, "overloaded")
            assert "uploaded already" in response.json()["detail"]
            assert response.headers["retry-after"] == "1"
            assert_problem(client.post("/predict", content=b"a" * 900), 415, "unsupported_media_type")
        wait_for_metric(client, "multipool_upload_bytes 0.0")
        assert_problem(client.post("/predict", content=b"a" * 901), 415, "unsupported_media_type")


def test_uploads_that_cannot_be_used_are_not_kept(tmp_path):
    """An error and what raised it must not hold each other, or uploads stay until Python collects its garbage."""
    toys.publish(tmp_path, "toy")
    broken = {"file": b"\x89PNG\r\n\x1a\n" + bytes(12_000_000)}
    with serving(tmp_path, MAX_UPLOAD_BYTES=12_100_000, UPLOADS_MEMORY_BYTES=24_200_000) as client:
        client.post("/predict", files=broken)
        before = most_resident_mb(client)
        for _ in range(15):
            for path in ("/predict", "/predict/batch", "/explain"):
                assert "undecodable_image" in client.post(path, files=broken).text
        assert most_resident_mb(client) < before + 50


def most_resident_mb(client):
    """Memory that the service has occupied at most."""
    status = Path(f"/proc/{client.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def begin_upload(client, path):
    """Send a request with a tenth of its body, 100 bytes; returns the connection."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode() + b"a" * 100)
    return connection


def test_a_client_that_leaves_in_the_middle_is_one_line_of_the_log(server):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-ID: gone\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection((server.base_url.host, server.base_url.port)) as leaving:
        leaving.sendall(head)
        wait_for_metric(server, "multipool_in_flight 2.0")  # with that which asks
    server.log.wait_for(r"POST /predict 499 .*gone")
    assert "Traceback" not in server.log.text


@pytest.mark.parametrize("url", ["/predict", "/explain"])
def test_an_error_of_our_own_says_nothing_of_the_inside(tmp_path, url):
    """A model that fails for one kind of image only: the caller gets an id, the log gets the traceback."""
    toys.publish(tmp_path, "toy", 1, fails_for_bright_images())
    page = {"Origin": "https://shop.example"}
    with serving(tmp_path, CORS_ORIGINS=page["Origin"]) as client:
        assert client.post(url, files={"file": toys.plain(0)}).status_code == 200
        response = client.post(url, files={"file": toys.plain(255)}, headers={"X-Request-ID": "broken-1", **page})
        body = assert_problem(response, 500, "internal_error")
        assert body["detail"] == "something went wrong inside the service; its log says more"
        assert response.headers["access-control-allow-origin"] == page["Origin"]
        client.log.wait_for(rf"POST {url} 500 .*broken-1")
        client.log.wait_for("Traceback")
        assert client.log.text.count("Traceback") == 1
        assert client.post(url, files={"file": toys.plain(0)}).status_code == 200
        assert 'multipool_problems_total{code="internal_error"} 1.0' in client.get("/metrics").text


def fails_for_bright_images():
    """A toy that looks up an entry of a table of one: entry 0 for most images, entry 2 for a white one."""
    model = toys.proto()
    (place,) = (index for index, node in enumerate(model.graph.node) if node.op_type == "Softmax")
    softmax = model.graph.node.pop(place)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "table"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 1]), "all_axes"))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["pooled", "all_axes"], ["brightness"], keepdims=0),
            helper.make_node("Cast", ["brightness"], ["index"], to=TensorProto.INT64),
            helper.make_node("Add", ["index", "index"], ["twice"]),
            helper.make_node("Gather", ["table", "twice"], ["entry"]),
            helper.make_node("Add", ["logits", "entry"], ["shifted"]),
        ]
    )
    softmax.input[0] = "shifted"
    model.graph.node.append(softmax)
    return toys.serialize(model)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_worker_answers(models, workers):
    with serving(models, WORKERS=workers, DEFAULT_MODEL="brightness") as client:
        for _ in range(20):
            with httpx.Client(base_url=client.base_url, timeout=30) as fresh:
                assert fresh.post("/predict", files=PHOTO).status_code == 200
