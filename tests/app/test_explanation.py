"""Bias and contributions sum to the logits, for any head, and from the running service."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.errors import InvalidArtifact
from app.explanation import Head
from app.schemas import Explanation
from tests import toys
from tests.app.test_predictions import assert_problem

NUMBERS = st.floats(-100, 100, width=32)


@given(st.data())
def test_bias_and_contributions_sum_to_the_logits(data):
    widths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    classes = data.draw(st.integers(2, 5))
    features = [data.draw(arrays(np.float32, width, elements=NUMBERS)) for width in widths]
    head = Head(
        data.draw(arrays(np.float32, (sum(widths), classes), elements=NUMBERS)),
        data.draw(arrays(np.float32, classes, elements=NUMBERS)),
    )
    pooled = np.concatenate(features)
    logits = pooled @ head.kernel + head.bias

    contributions = head.contributions(features)

    assert contributions.shape == (len(widths), classes)
    scale = 1 + np.abs(head.bias) + np.abs(pooled) @ np.abs(head.kernel)
    assert (np.abs(head.bias + contributions.sum(0) - logits) <= 1e-5 * scale).all()
    assert head.explains(features, logits)
    assert not head.explains(features, logits + scale * 0.01)


def test_each_branch_has_its_own_rows():
    head = Head(np.array([[1, 0], [0, 10], [0, 100]], np.float32), np.zeros(2, np.float32))

    shares = head.contributions([np.array([2], np.float32), np.array([3, 4], np.float32)])

    assert shares.tolist() == [[2, 0], [0, 430]]


@pytest.mark.parametrize("url", ["/predict", "/predict/batch"])
def test_over_http(server, url):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)

    answer = server.post(url, params={"explain": "true"}, files={"file": toys.save(image)}).json()

    body = answer if url == "/predict" else answer["results"][0]
    explanation = body["explanation"]
    Explanation.model_validate(explanation)
    assert [branch["name"] for branch in explanation["branches"]] == list(toys.QUADRANTS)
    for label, logit in explanation["logits"].items():
        shares = [branch["contributions"][label] for branch in explanation["branches"]]
        assert explanation["bias"][label] + sum(shares) == pytest.approx(logit, abs=1e-5)
    assert explanation["bias"] == {"dark": 2.0, "bright": -2.0}
    odds = np.exp(explanation["logits"]["bright"] - explanation["logits"]["dark"])
    assert body["probabilities"]["bright"] == pytest.approx(odds / (1 + odds), abs=1e-5)
    for branch, share in zip(body["branches"], explanation["branches"], strict=True):
        assert share["contributions"]["bright"] == pytest.approx(sum(branch["features"]) * 8 / 12, abs=1e-5)


def test_not_unless_asked_for(server):
    assert "explanation" not in server.post("/predict", files={"file": toys.plain(1)}).json()


@pytest.mark.parametrize("url", ["/predict", "/predict/batch"])
def test_a_model_without_its_head_is_never_explained(server, url):
    response = server.post(url, params={"explain": "true", "model": "grey"}, files={"file": toys.plain(1)})

    assert "carries no head" in assert_problem(response, 422, "invalid_parameter")["detail"]


def test_a_head_that_is_not_the_models_own_is_refused():
    model = toys.proto()
    other = onnx.numpy_helper.from_array(np.full((12, 2), 9, np.float32), "other")
    model.graph.initializer.append(other)
    for node in model.graph.node:
        if node.output[0] == "head_kernel":
            node.input[0] = "other"

    with pytest.raises(InvalidArtifact, match="does not add up"):
        toys.load(model).warm_up([1])
