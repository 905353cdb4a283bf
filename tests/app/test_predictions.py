"""``POST /predict`` and ``POST /predict/batch``, over a socket, as curl would."""

import base64
import io
import json
import math
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tifffile

from app.schemas import BatchPrediction, Prediction
from tests import toys
from tests.conftest import serving

NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def expected(value, offset=0.25, gain=8):
    """Probability of "bright" for an image of one grey value: see :func:`tests.toys.proto`."""
    logit = gain * (value / 255 - offset)
    return 1 / (1 + math.exp(-2 * logit))


def assert_problem(response, status, code):
    body = response.json()
    assert (response.status_code, body["code"], body["status"]) == (status, code, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert body["detail"]
    assert body["error"] == body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["type"]
    assert body["title"]
    return body


@pytest.fixture(params=["form", "raw", "octets", "chunked"])
def post(request, server):
    """Every way to send one image."""

    def send(data, url="/predict", media_type="image/png", **parameters):
        match request.param:
            case "form":
                return server.post(url, params=parameters, files={"file": ("image", data, media_type)})
            case "chunked":
                return server.post(
                    url, params=parameters, content=iter([data[:10], data[10:]]), headers={"Content-Type": media_type}
                )
            case _:
                sent_as = media_type if request.param == "raw" else "application/octet-stream"
                return server.post(url, params=parameters, content=data, headers={"Content-Type": sent_as})

    return send


@pytest.mark.parametrize("value", [0, 100, 255])
def test_the_answer_is_that_of_the_network(post, value):
    response = post(toys.plain(value))

    assert response.status_code == 200
    body = response.json()
    Prediction.model_validate(body)
    bright = expected(value)
    assert body["model"] == "brightness"
    assert body["version"] == 2
    assert body["label"] == ("bright" if bright > 0.5 else "dark")
    assert body["probability"] == pytest.approx(max(bright, 1 - bright), abs=1e-6)
    assert body["probabilities"] == pytest.approx({"bright": bright, "dark": 1 - bright}, abs=1e-6)
    assert next(iter(body["probabilities"])) == body["label"]
    assert [branch["name"] for branch in body["branches"]] == list(toys.QUADRANTS)
    assert [branch["pooling"] for branch in body["branches"]] == list(toys.POOLINGS)
    for branch in body["branches"]:
        assert branch["features"] == pytest.approx([value / 255] * 3, abs=1e-6)


def test_curl_sends_it_too(server, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(toys.plain(255))
    url = f"{server.base_url}/predict"

    for arguments in (["-F", f"file=@{path}"], ["--data-binary", f"@{path}", "-H", "Content-Type: image/png"]):
        done = subprocess.run(["curl", "-sS", "--fail", *arguments, url], capture_output=True, check=True)  # noqa: S607
        assert json.loads(done.stdout)["label"] == "bright"


def test_numbers_read_back_as_the_same_float32(server):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    pixels = image.astype(np.float32) * np.float32(1 / 255)

    body = server.post("/predict", files={"file": toys.save(image)}).json()

    top_right = np.array(body["branches"][1]["features"], np.float32)
    np.testing.assert_array_equal(top_right, pixels[:4, 4:].max((0, 1)))


@pytest.fixture(scope="module")
def one_by_one(models):
    """A client of a service that runs each image alone: the last digits depend on what it is run with."""
    with serving(models, DEFAULT_MODEL="brightness", MAX_BATCH_SIZE=1) as client:
        yield client


@pytest.mark.parametrize("url", ["/predict", "/predict/batch"])
def test_features_as_base64_are_the_same_bit_for_bit(one_by_one, url):
    files = [("file", toys.save(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8))) for seed in (1, 2)]
    files = files[:1] if url == "/predict" else files

    def ask(features):
        body = one_by_one.post(url, params={"features": features}, files=files).json()
        (Prediction if url == "/predict" else BatchPrediction).model_validate(body)
        return [body] if url == "/predict" else body["results"]

    for plain, compact in zip(ask("true"), ask("base64"), strict=True):
        for numbers, encoded in zip(plain["branches"], compact["branches"], strict=True):
            decoded = np.frombuffer(base64.b64decode(encoded["features"], validate=True), "<f4")
            assert decoded.tobytes() == np.array(numbers["features"], "<f4").tobytes()
        assert [(one["name"], one["pooling"]) for one in compact["branches"]] == list(
            zip(toys.QUADRANTS, toys.POOLINGS, strict=True)
        )
        del plain["branches"], compact["branches"]
        assert compact == plain


def test_a_model_and_a_version_can_be_named(server):
    data = {"file": toys.plain(100)}

    for model, version in (("brightness", 2), ("brightness:1", 1), ("grey", 7), ("grey:7", 7)):
        body = server.post("/predict", params={"model": model}, files=data).json()
        assert (body["model"], body["version"]) == (model.partition(":")[0], version)
    first = server.post("/predict", params={"model": "brightness:1"}, files=data).json()
    assert first["probabilities"]["bright"] == pytest.approx(expected(100, offset=0.5), abs=1e-6)


def test_top_and_features(server):
    body = server.post("/predict", params={"top": 1, "features": "false"}, files={"file": toys.plain(255)}).json()

    assert list(body["probabilities"]) == ["bright"]
    assert "branches" not in body
    assert len(server.post("/predict", params={"top": 99}, files={"file": toys.plain(9)}).json()["probabilities"]) == 2


def test_a_model_of_many_channels_reads_tiff_and_npy(server):
    bands = np.full((20, 30, 13), 255, np.uint8)
    tiff, npy = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(tiff, bands, photometric="minisblack", planarconfig="contig")
    np.save(npy, bands)

    for data, media_type in ((tiff.getvalue(), "image/tiff"), (npy.getvalue(), "application/x-npy")):
        for sent in (
            {"files": {"file": ("x", data, media_type)}},
            {"content": data, "headers": {"Content-Type": media_type}},
        ):
            body = server.post("/predict", params={"model": "bands"}, **sent).json()
            assert body["label"] == "bright"
            assert len(body["branches"][3]["features"]) == 13
    assert_problem(
        server.post("/predict", params={"model": "bands"}, files={"file": toys.plain(1)}), 422, "wrong_channels"
    )


def test_every_answer_says_where_the_time_went(server):
    """In milliseconds; of several images, that of the slowest."""
    large = toys.plain(1, (1000, 1000))
    for path, images in (("/predict", [large]), ("/predict/batch", [large, toys.plain(1)])):
        began = time.monotonic()
        response = server.post(path, files=[("file", image) for image in images])
        passed = 1000 * (time.monotonic() - began)

        stages = dict(stage.split(";dur=") for stage in response.headers["server-timing"].split(", "))
        assert list(stages) == ["read", "decode", "queue", "inference", "total"]
        milliseconds = [float(duration) for duration in stages.values()]
        assert min(milliseconds) >= 0
        assert milliseconds[1] > 0.1
        assert max(milliseconds) == milliseconds[-1] < passed


@pytest.mark.parametrize(
    ("data", "media_type", "answer"),
    [
        (b"", "image/png", (422, "empty_file")),
        (b"", "application/x-www-form-urlencoded", (422, "empty_file")),  # curl, of a file that it does not find
        (b"hello", "image/png", (422, "undecodable_image")),
        (b"hello", "text/plain", (415, "unsupported_media_type")),
        (toys.plain(1), "text/plain", (415, "unsupported_media_type")),
        (toys.save(NOISE)[:1500], "image/png", (422, "undecodable_image")),
        (toys.plain(0, (2000, 1000)), "image/png", (422, "too_many_pixels")),
    ],
)
@pytest.mark.parametrize("how", ["form", "raw"])
def test_an_image_that_cannot_be_used(server, how, data, media_type, answer):
    if how == "form":
        response = server.post("/predict", files={"file": ("x", data, media_type)})
    else:
        response = server.post("/predict", content=data, headers={"Content-Type": media_type})

    assert_problem(response, *answer)


def test_what_curl_sends_as_a_web_form_is_answered_with_the_command_that_works(server):
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # of curl -d, and of --data-binary without a header

    refused = server.post("/predict", content=toys.plain(1), headers=form).json()
    absent = server.post("/predict", content=b"", headers=form).json()

    assert "as with curl -F file=@image.jpg" in refused["detail"]
    assert absent["detail"].startswith("no image arrived: the body is empty; check that the file is there")


def test_bytes_of_no_known_type(server):
    response = server.post("/predict", content=b"%PDF-1.7", headers={"Content-Type": "application/octet-stream"})

    assert_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("top=0", "'top': it takes a whole number, at least 1, not '0'"),
        ("top=x", "'top': it takes a whole number, at least 1, not 'x'"),
        ("top=1.5", "'top': it takes a whole number, at least 1, not '1.5'"),
        ("top=1.0", "'top': it takes a whole number, at least 1, not '1.0'"),
        ("top=1_0", "'top': it takes a whole number, at least 1, not '1_0'"),
        ("top=%D9%A1", "'top': it takes a whole number, at least 1, not '\u0661'"),  # an Arabic one
        ("model=", "'model': it takes text in UTF-8 of at least one character, not ''"),
        ("features=maybe", "'features': it takes true, false or base64, not 'maybe'"),
        ("explain=7", "'explain': it takes true or false, not '7'"),
        ("explain=", "'explain': it takes true or false, not ''"),
        ("min_confidence=1.1", "'min_confidence': it takes a number from 0 to 1, not '1.1'"),
        ("min_confidence=nan", "'min_confidence': it takes a number from 0 to 1, not 'nan'"),
        (
            "tpo=3",
            "'tpo': there is no such parameter; there are model, top, features, explain, min_confidence",
        ),
        ("top=1&top=2", "'top': it is given 2 times; give it once"),
        ("model=grey&top=1&model=&model=grey", "'model': it is given 3 times; give it once"),
    ],
)
@pytest.mark.parametrize("url", ["/predict", "/predict/batch"])
def test_a_bad_parameter_is_named_with_what_it_takes_and_what_came(server, url, query, words):
    response = server.post(f"{url}?{query}", files={"file": toys.plain(1)})

    assert assert_problem(response, 422, "invalid_parameter")["detail"] == f"query parameter {words}"


@pytest.mark.parametrize(("url", "field"), [("/predict", "model"), ("/predict/batch", "top"), ("/explain", "label")])
def test_a_parameter_that_is_sent_as_a_field_of_the_form_is_not_passed_over(server, url, field):
    """``curl -F file=@a.png -F model=grey`` would else get the answer of another model."""
    response = server.post(url, files={"file": toys.plain(0)}, data={field: "grey"})

    assert f"use ?{field}=" in assert_problem(response, 422, "invalid_parameter")["detail"]


def test_a_bad_parameter_of_any_length_is_answered_in_short(server):
    for query in (f"top={'9' * 7000}x", f"{'x' * 7000}=1", f"{'x' * 3000}=1&{'x' * 3000}=1"):
        response = server.post(f"/predict?{query}", files={"file": toys.plain(1)})
        assert len(assert_problem(response, 422, "invalid_parameter")["detail"]) < 250


@pytest.mark.parametrize("model", ["nothing", "brightness:9", "brightness:x", "../../etc/passwd", "%00"])
def test_an_unknown_model(server, model):
    assert_problem(
        server.post("/predict", params={"model": model}, files={"file": toys.plain(1)}), 404, "model_not_found"
    )


def test_a_version_that_is_named_as_its_folder(server):
    response = server.post("/predict?model=brightness/1", files={"file": toys.plain(1)})

    problem = assert_problem(response, 404, "model_not_found")
    assert problem["detail"] == "there is no model 'brightness/1'; write 'brightness:1'"
    problem = assert_problem(server.get("/models/brightness:1"), 404, "model_not_found")
    assert problem["detail"] == "there is no model 'brightness:1'; leave out ':1'"


def test_a_form_without_a_file(server):
    found = server.post("/predict", files={"image": toys.plain(1)})
    assert_problem(found, 422, "missing_file")
    assert "no file in a part named 'file', but one named 'image'; send one" in found.json()["detail"]
    found = server.post("/predict", files={"file": (None, b"image.jpg")})  # as with curl -F file=image.jpg
    assert_problem(found, 422, "missing_file")
    assert "put an @ before the path" in found.json()["detail"]
    found = server.post("/predict", files={"file": (None, b"image.jpg"), "note": (None, b"text")})
    assert "put an @ before the path" in found.json()["detail"]
    found = server.post("/predict", files={"": toys.plain(1)})
    assert "no file in a part named 'file'; send one" in found.json()["detail"]
    found = server.post("/predict", files={"ä" * 1000: toys.plain(1)})
    assert found.json()["detail"].count("ä") == 40
    assert_problem(server.post("/predict/batch", files={"image": toys.plain(1)}), 422, "missing_file")
    assert_problem(server.post("/predict/batch", content=b"raw"), 422, "missing_file")


def test_a_broken_form(server):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    assert_problem(server.post("/predict", content=b"--x\r\nnonsense", headers=headers), 400, "malformed_request")


def test_a_body_at_and_above_the_limit(server):
    at = toys.plain(255).ljust(1_000_000, b"\0")
    headers = {"Content-Type": "image/png"}

    assert server.post("/predict", content=at, headers=headers).status_code == 200
    assert_problem(server.post("/predict", content=at + b"\0", headers=headers), 413, "body_too_large")
    chunks = (at[i : i + 65536] for i in range(0, len(at), 65536))
    assert server.post("/predict", content=chunks, headers=headers).status_code == 200
    assert_problem(server.post("/predict", content=iter([at, b"\0"]), headers=headers), 413, "body_too_large")


def test_a_batch_answers_in_order_and_one_bad_image_fails_alone(server):
    files = [("file", (f"{value}.png", toys.plain(value), "image/png")) for value in (0, 255, 100)]
    files[1:1] = [("file", ("notes.txt", b"hello", "text/plain")), ("file", ("empty.png", b"", "image/png"))]

    response = server.post("/predict/batch", files=files)

    assert response.status_code == 200
    body = response.json()
    BatchPrediction.model_validate(body)
    assert (body["model"], body["version"]) == ("brightness", 2)
    results = body["results"]
    assert [result["filename"] for result in results] == ["0.png", "notes.txt", "empty.png", "255.png", "100.png"]
    assert [result["error"]["code"] for result in results if "error" in result] == [
        "unsupported_media_type",
        "empty_file",
    ]
    assert [result["label"] for result in results if "label" in result] == ["dark", "bright", "bright"]


def test_a_batch_takes_the_same_parameters(server):
    files = [("file", toys.plain(value)) for value in (0, 255)]

    body = server.post("/predict/batch", params={"model": "grey", "top": 1, "features": "false"}, files=files).json()

    assert body["model"] == "grey"
    assert [list(result["probabilities"]) for result in body["results"]] == [["dark"], ["bright"]]
    assert "branches" not in body["results"][0]


def test_more_files_than_a_batch_may_have(server):
    data = toys.plain(1)

    assert len(server.post("/predict/batch", files=[("file", data)] * 64).json()["results"]) == 64
    assert_problem(server.post("/predict/batch", files=[("file", data)] * 65), 422, "invalid_parameter")


def test_many_at_once_each_get_their_own_answer(server):
    values = [i % 256 for i in range(300)]

    with httpx.Client(base_url=server.base_url, timeout=60) as client, ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda v: client.post("/predict", files={"file": toys.plain(v)}).json(), values))

    for value, body in zip(values, bodies, strict=True):
        assert body["branches"][0]["features"] == pytest.approx([value / 255] * 3, abs=1e-6)


@pytest.mark.parametrize("url", ["/predict", "/predict/batch"])
def test_below_the_least_confidence_no_label_is_named(server, url):
    def ask(least):
        body = server.post(url, params={"min_confidence": least}, files={"file": toys.plain(90)}).json()
        return body if url == "/predict" else body["results"][0]

    sure = expected(90)

    assert 0.6 < sure < 0.9
    assert (ask(sure - 0.01)["label"], ask(sure - 0.01)["uncertain"]) == ("bright", False)
    unsure = ask(sure + 0.01)
    Prediction.model_validate({key: value for key, value in unsure.items() if key != "filename"})
    assert (unsure["label"], unsure["uncertain"]) == (None, True)
    assert unsure["probability"] == pytest.approx(sure, abs=1e-6)
    assert "uncertain" not in ask(0)


def test_the_service_has_a_least_confidence_of_its_own(models):
    with serving(models, DEFAULT_MODEL="brightness", MIN_CONFIDENCE=0.99) as client:
        assert client.post("/predict", files={"file": toys.plain(90)}).json()["label"] is None
        named = client.post("/predict", params={"min_confidence": 0}, files={"file": toys.plain(90)}).json()
        assert named["label"] == "bright"


def test_an_answer_says_how_familiar_the_image_is(server):
    random = np.random.default_rng(1)

    def ask(image, **parameters):
        return server.post("/predict", params=parameters, files={"file": toys.save(image.astype(np.uint8))}).json()

    known = [ask(random.integers(127, 255, (8, 8, 3)))["familiarity"] for _ in range(20)]
    half = np.zeros((8, 8, 3))
    half[:4] = random.integers(127, 255, (4, 8, 3))
    strange = ask(half)["familiarity"]

    assert 0.2 < np.mean([one["joint"] for one in known]) < 0.8
    assert list(strange["branches"]) == list(toys.QUADRANTS)
    assert strange["joint"] < 0.01
    assert strange["branches"]["bottom_left"] < 0.01 < strange["branches"]["top_left"]
    assert "familiarity" not in ask(half, model="brightness:1")
