"""Bias and contributions sum to the logits, for any head, and from the running service."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.errors import InvalidArtifact
from app.explanation import Head, maps_add_up, spread, votes
from app.metadata import Branch
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


@st.composite
def networks(draw):
    """A toy of any size with any weights, and an image for it."""
    height, width = 2 * draw(st.integers(1, 6)), 2 * draw(st.integers(1, 6))
    channels, classes = draw(st.integers(1, 5)), draw(st.integers(2, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = random.normal(0, draw(st.sampled_from([0.1, 10])), (4 * channels, classes)).astype(np.float32)
    labels = tuple(f"class {i}" for i in range(classes))
    # Few grey levels, so that a maximum is often reached more than once.
    image = random.integers(0, draw(st.integers(1, 255)), (height, width, channels), np.uint8, endpoint=True)
    return toys.load(toys.proto(height, width, channels, weights=weights, labels=labels)), image


@settings(max_examples=60)
@given(networks(), st.data())
def test_maps_sum_to_contributions_and_those_with_the_bias_to_the_logit(network, data):
    model, image = network
    model.warm_up([1])
    label = data.draw(st.integers(0, len(model.metadata.labels) - 1))

    outputs, pooled = model.run_with_maps(image[None])
    maps = model.head.maps(model.metadata.branches, [one[0] for one in pooled], label)

    assert maps.shape == (4, *image.shape[:2])
    contributions = model.head.contributions([vectors[0] for vectors in outputs.features])[:, label]
    size = float(np.abs(maps).sum() + np.abs(contributions).sum() + 1)
    np.testing.assert_allclose(maps.sum((1, 2)), contributions, rtol=0, atol=1e-6 * size)
    assert model.head.bias[label] + maps.sum(dtype=float) == pytest.approx(outputs.logits[0, label], abs=1e-6 * size)
    for one, (top, left, bottom, right) in zip(maps, toys.REGIONS, strict=True):
        inside = np.zeros(image.shape[:2], bool)
        rows, columns = image.shape[:2]
        inside[int(top * rows) : int(bottom * rows), int(left * columns) : int(right * columns)] = True
        assert not one[~inside].any()


def test_maps_warn_of_no_values_that_are_not_theirs():
    """What other calls left in the memory of a matrix product may be no number at all; nothing is said of it.

    Only OpenBLAS's kernels for AVX-512 compute with it; on other processors there is nothing to be said.
    """
    random = np.random.default_rng(0)
    width, regions = 5, toys.REGIONS
    branches = [Branch(name=f"b{i}", pooling="average", source="", width=width, region=regions[i]) for i in range(4)]
    head = Head(random.normal(0, 10, (4 * width, 3)).astype(np.float32), np.zeros(3, np.float32))
    for size in random.integers(1, 100, 4000):
        signalling = np.full((size, size), 0x7F800001, np.uint32).view(np.float32)
        with np.errstate(invalid="ignore"):
            signalling @ signalling[:, 0]

        maps = head.maps(branches, [random.random((3, 2, width), np.float32)] * 4, 0)

        assert np.isfinite(maps).all()


@pytest.mark.parametrize("size", [(7, 9), (2, 2), (5, 4)])
def test_regions_of_a_feature_map_of_odd_size(size):
    height, width = size
    middle, centre = height // 2, width // 2
    halves = [(slice(0, middle), (0, middle / height)), (slice(middle, None), (middle / height, 1))]
    sides = [(slice(0, centre), (0, centre / width)), (slice(centre, None), (centre / width, 1))]
    whole = np.random.default_rng(0).random((height, width, 1), np.float32)
    branches, parts = [], []
    for rows, (top, bottom) in halves:
        for columns, (left, right) in sides:
            region = (top, left, bottom, right)
            branches.append(Branch(name=f"b{len(parts)}", pooling="average", source="", width=1, region=region))
            parts.append(whole[rows, columns])

    maps = Head(np.ones((4, 1), np.float32), np.zeros(1, np.float32)).maps(branches, parts, 0)

    expected = np.zeros((4, height, width), np.float32)
    for found, (rows, columns) in zip(expected, [(r, c) for r, _ in halves for c, _ in sides], strict=True):
        part = whole[rows, columns, 0]
        found[rows, columns] = part / part.size
    np.testing.assert_array_equal(maps, expected)


def test_a_maximum_that_is_reached_twice_is_shared():
    pooled = np.array([[[3], [1]], [[3], [0]]], np.float32)

    assert spread("max", pooled)[..., 0].tolist() == [[1.5, 0], [1.5, 0]]
    assert spread("average", pooled).sum() == pytest.approx(7 / 4)


def test_each_branch_is_asked_alone_and_left_out():
    bias = np.array([0, 0.5, 0], np.float32)
    contributions = np.array([[1, 0, 0], [0, 0, 3], [2.5, 0, 0]], np.float32)

    found = votes(bias, contributions)

    assert found.alone.tolist() == [0, 2, 0]
    assert found.without.tolist() == [2, 0, 2]


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
        alone = explanation["bias"]["bright"] + share["contributions"]["bright"] > 0
        without = explanation["logits"]["bright"] - share["contributions"]["bright"] > 0
        assert share["alone"] == ("bright" if alone else "dark")
        assert share["without"] == ("bright" if without else "dark")
        assert (branch["name"] in explanation["agreement"]) == (share["alone"] == body["label"])


def test_not_unless_asked_for(server):
    assert "explanation" not in server.post("/predict", files={"file": toys.plain(1)}).json()


@pytest.mark.parametrize("url", ["/predict", "/predict/batch"])
def test_a_model_without_its_head_is_never_explained(server, url):
    for data in (toys.plain(1), b"no image at all"):  # it is refused before the image is looked at
        response = server.post(url, params={"explain": "true", "model": "grey"}, files={"file": data})

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


def test_maps_that_do_not_pool_to_the_features_are_refused():
    model = toys.proto()
    for node in model.graph.node:
        if node.output[0] == "features_top_right":
            node.op_type = "ReduceMin"

    with pytest.raises(InvalidArtifact, match="do not pool to its features"):
        toys.load(model).warm_up([1])


@pytest.mark.parametrize("kernel", [(11, 2), (12, 3)])
def test_a_head_of_another_size_is_refused_and_not_run_into(kernel):
    model = toys.proto()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(kernel, np.float32), "other"))
    next(node for node in model.graph.node if node.output[0] == "head_kernel").input[0] = "other"
    next(one for one in model.graph.output if one.name == "head_kernel").type.CopyFrom(
        onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, kernel)
    )

    with pytest.raises(InvalidArtifact, match="does not add up"):
        toys.load(model).warm_up([1])


def test_maps_that_do_not_lie_on_one_grid_are_refused():
    """Each of them pools to its features, but no picture could show them all."""
    whole, features = np.ones((4, 4, 1), np.float32), np.ones(1, np.float32)
    branches = [Branch(name=name, pooling="average", source="", width=1) for name in ("one", "other")]

    assert maps_add_up(branches, [whole, whole], [features] * 2)
    assert not maps_add_up(branches, [whole, whole[:2, :2]], [features] * 2)
    assert not maps_add_up(branches, [whole, np.ones((4, 4, 2), np.float32)], [features] * 2)


def test_regions_that_make_a_map_larger_than_the_image_are_refused():
    thin = [(0, left, 1, left + 0.25) for left in (0, 0.25, 0.5, 0.75)]  # of what are halves of the width
    branches = [
        branch.model_copy(update={"region": region})
        for branch, region in zip(toys.metadata().branches, thin, strict=True)
    ]

    with pytest.raises(InvalidArtifact, match="larger than its input"):
        toys.load(toys.proto(text=toys.metadata(branches=tuple(branches)).dumps())).warm_up([1])
