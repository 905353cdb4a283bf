"""Answers as NumPy arrays say what those in JSON say."""

import io
import re

import numpy as np
import pytest

from tests import toys
from tests.app.test_predictions import assert_problem

NPZ = {"Accept": "application/x-npz"}


def arrays(response):
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-npz"
    assert response.headers["vary"] == "Accept"
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def test_one_image(server):
    files = {"file": toys.plain(100)}
    body = server.post("/predict", files=files).json()

    found = arrays(server.post("/predict", files=files, headers=NPZ))

    assert found["probabilities"].dtype == np.float32
    for label, probability in zip(found["labels"], found["probabilities"][0], strict=True):
        assert probability == np.float32(body["probabilities"][label])
    for branch in body["branches"]:
        np.testing.assert_array_equal(found[f"features_{branch['name']}"], np.float32([branch["features"]]))


def test_a_bad_image_of_several_is_a_row_of_nan_with_its_code(server):
    files = [("file", ("a.png", toys.plain(0))), ("file", ("b.png", b"no image")), ("file", ("c.png", toys.plain(255)))]

    found = arrays(server.post("/predict/batch?features=false", files=files, headers=NPZ))

    assert found["errors"].tolist() == ["", "undecodable_image", ""]
    assert np.isnan(found["logits"][1]).all()
    assert found["probabilities"][0].argmax() != found["probabilities"][2].argmax()
    assert not [name for name in found.files if name.startswith("features_")]


@pytest.mark.parametrize("accept", ["application/json", "application/x-npz"])
def test_a_bad_image_of_several_is_counted_however_it_is_answered(server, accept):
    def refused():
        found = re.search(r'^multipool_problems_total\{code="empty_file"\} (\S+)', server.get("/metrics").text, re.M)
        return float(found[1]) if found else 0

    before = refused()
    files = [("file", ("a.png", toys.plain(0))), ("file", ("b.png", b""))]
    assert server.post("/predict/batch", files=files, headers={"Accept": accept}).status_code == 200

    assert refused() == before + 1


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/x-npz;q=0"])
def test_what_cannot_be_made_is_refused(server, accept):
    response = server.post("/predict", content=toys.plain(0), headers={"Accept": accept})

    assert "application/x-npz" in assert_problem(response, 406, "not_acceptable")["detail"]


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/json", "Application/JSON", "text/html, application/*;q=0.5", "application/json, */*"],
)
def test_json_is_what_those_get_who_do_not_mind(server, accept):
    response = server.post("/predict", content=toys.plain(0), headers={"Accept": accept})

    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", ["a/b," * 5000 + "*/*", "*/*" + ";a=b" * 5000])
def test_an_endless_wish_list_is_not_read(server, accept):
    """It would keep everyone waiting for a tenth of a second."""
    response = server.post("/predict", content=toys.plain(0), headers={"Accept": accept})

    assert "exceeds 1,000 characters" in assert_problem(response, 406, "not_acceptable")["detail"]


def test_several_headers_and_broken_members_are_read_together(server):
    headers = [("Accept", "text/html"), ("Accept", "application/json, foo")]

    assert server.post("/predict", content=toys.plain(0), headers=headers).status_code == 200


def test_explanations_are_not_written_as_arrays(server):
    response = server.post("/predict?explain=true", content=toys.plain(0), headers=NPZ)

    assert "'explain': it is answered in" in assert_problem(response, 422, "invalid_parameter")["detail"]


def test_base64_is_not_written_as_arrays(server):
    response = server.post("/predict?features=base64", content=toys.plain(0), headers=NPZ)

    assert "'features' = 'base64'" in assert_problem(response, 422, "invalid_parameter")["detail"]
