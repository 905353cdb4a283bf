"""A textbook's numbers, in Keras, through conversion, and from the running service.

A 3×3 filter for vertical lines over an 8×8 image whose columns 3 and 4 are 1 (indices from 0) gives a feature map of
which each row is [0, 0, 3, 3, 0, 0]. Pooled 2×2, by average or by maximum, each row is [0, 3, 0]. Pooled globally,
the maximum is 3 and the average 1.
"""

import json

import keras
import numpy as np
import pytest
from keras import layers

from app.images import Shape
from app.metadata import Branch, Metadata, Recipe
from model_export import conversion
from model_export.architectures import Network, build
from model_export.reporting import description
from tests import toys
from tests.conftest import serving

EXPECTED = {
    "feature_map": [[0, 0, 3, 3, 0, 0]] * 6,
    "average_2x2": [[0, 3, 0]] * 3,
    "max_2x2": [[0, 3, 0]] * 3,
    "global_average": [1.0],
    "global_max": [3.0],
}


def line_image():
    image = np.zeros((8, 8, 1), np.uint8)
    image[:, 3:5] = 255
    return image


@pytest.fixture
def network():
    """The textbook's network, each of its maps a branch of its own."""
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    scaled = layers.Rescaling(1 / 255, name="scale")(image)
    convolution = layers.Conv2D(1, 3, name="line_filter")
    features = convolution(scaled)  # (N, 6, 6, 1)
    convolution.set_weights([np.array([[0, 1, 0]] * 3, np.float32).reshape(3, 3, 1, 1), np.zeros(1, np.float32)])
    vectors = {
        "feature_map": layers.Flatten(name="feature_map")(features),
        "average_2x2": layers.Flatten(name="average_2x2")(layers.AveragePooling2D(2, name="average")(features)),
        "max_2x2": layers.Flatten(name="max_2x2")(layers.MaxPooling2D(2, name="max")(features)),
        "global_average": layers.GlobalAveragePooling2D(name="global_average")(features),
        "global_max": layers.GlobalMaxPooling2D(name="global_max")(features),
    }
    logits = layers.Dense(2, name="logits")(layers.Concatenate(name="pooled")(list(vectors.values())))
    branches = tuple(
        Branch(name=name, pooling=name.split("_")[-2] if "x2" in name else "none", source="the map", width=v.shape[-1])
        for name, v in vectors.items()
    )
    return Network(keras.Model(image, logits), branches, (6, 6, 1))


def test_in_keras(network):
    found = conversion.outputs(network)(line_image()[None])

    for name, expected in EXPECTED.items():
        np.testing.assert_array_equal(np.ravel(found[f"features_{name}"]), np.ravel(expected))


def test_through_conversion_and_from_the_running_service(network, tmp_path):
    document = Metadata(
        architecture="textbook",
        labels=("line", "none"),
        branches=network.branches,
        recipe=Recipe(),
        feature_map=(6, 6, 1),
    )
    toys.publish(tmp_path, "textbook", 1, toys.serialize(conversion.convert(network, document)))

    with serving(tmp_path) as client:
        answer = client.post("/predict", files={"file": toys.save(line_image().squeeze(-1))})

    found = {branch["name"]: branch["features"] for branch in json.loads(answer.content)["branches"]}
    assert {name: pytest.approx(np.ravel(expected).tolist()) for name, expected in EXPECTED.items()} == found


@pytest.mark.parametrize("architecture", ["channel-groups", "separable", "regions"])
def test_a_hundred_channels_build_train_a_step_and_convert(architecture):
    shape = Shape(16, 16, 100)
    network = build(architecture, "plain", shape, 4)
    images = np.random.default_rng(0).integers(0, 256, (8, *shape), np.uint8)
    labels = np.arange(8) % 4
    network.model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = network.model.get_layer("logits").kernel.numpy().copy()

    network.model.fit(images, labels, verbose=0)

    assert not np.array_equal(before, network.model.get_layer("logits").kernel.numpy())
    document = Metadata(
        architecture=architecture,
        labels=tuple("abcd"),
        branches=network.branches,
        recipe=Recipe(),
        feature_map=(8, 8, 64),
    )
    model = toys.load(conversion.convert(network, document))
    assert model.shape == shape
    assert model.run(images).logits.shape == (8, 4)


def test_global_average_pooling_of_7_by_7_by_64_gives_64_numbers():
    """And a dense layer of 500 on the flattened map would need 1.57 million weights, as ``inspect`` counts."""
    pooled = layers.GlobalAveragePooling2D()(keras.Input((7, 7, 64)))
    counts = description.head(toys.load(toys.proto(feature_map=(7, 7, 64))))

    assert pooled.shape == (None, 64)
    assert counts["flattened_features"] == 3_136
    assert counts["dense_weights"] == 1_568_000
