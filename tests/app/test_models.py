"""``GET /models`` says what is served and where it really runs."""

import hashlib

import pytest

from app.model_schemas import ModelDetail, Models
from tests import toys
from tests.app.test_predictions import assert_problem
from tests.conftest import serving


def test_all_models_are_listed(server, models):
    body = server.get("/models").json()

    Models.model_validate(body)
    assert (body["default"], body["default_version"]) == ("brightness", 2)
    assert [model["name"] for model in body["models"]] == ["bands", "brightness", "grey"]
    brightness = body["models"][1]
    assert brightness["version"] == 2
    assert brightness["versions"] == [1, 2]
    assert brightness["labels"] == ["dark", "bright"]
    assert brightness["branches"][0]["name"] == "top_left"
    assert brightness["input"] == {"height": 8, "width": 8, "channels": 3}
    assert brightness["ready"] is True
    assert brightness["execution_provider"] == "CPUExecutionProvider"
    file = models / "brightness" / "2" / "model.onnx"
    assert brightness["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_version_that_answers_by_default_is_told(models):
    with serving(models, DEFAULT_MODEL="brightness:1") as client:
        body = client.get("/models").json()
        answer = client.post("/predict", files={"file": toys.plain(1)}).json()

    assert (body["default"], body["default_version"]) == (answer["model"], answer["version"]) == ("brightness", 1)


def test_one_model_tells_all_that_its_artifact_says(server):
    body = server.get("/models/brightness").json()

    ModelDetail.model_validate(body)
    assert body["version"] == 2
    assert body["architecture"] == "regions"
    assert body["recipe"]["id"] == "draft-bilinear-1"
    assert {"format", "trunk", "feature_map", "parameters", "training", "metrics", "digest"} <= set(body)
    assert body["statistics"]["held_out"] == 600
    assert body["statistics"]["levels"][-1] == pytest.approx(1 / 601, abs=1e-6)
    assert server.get("/models/brightness/1").json()["statistics"] is None
    assert server.get("/models/grey").json()["calibration"] == {"temperature": 2}
    assert server.get("/models/brightness/1").json()["version"] == 1
    assert server.get("/models/grey/7").json()["input"]["channels"] == 1


@pytest.mark.parametrize("path", ["nothing", "brightness/3", "brightness/x", "brightness/0", "..%2fetc", "%00"])
def test_what_is_not_there(server, path):
    assert_problem(server.get(f"/models/{path}"), 404, "model_not_found")
