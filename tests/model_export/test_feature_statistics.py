"""Statistics are those of what will be served: of the network, or of the graph that computes in another precision."""

import numpy as np
import pytest

from app.model import Model
from model_export import conversion, training
from model_export.artifact import feature_statistics
from model_export.data.split import Split
from model_export.datasets import Dataset
from model_export.figures import evaluation
from tests.model_export.test_export import SHAPE, trained


def split(count, classes=3):
    images = np.random.default_rng(count).integers(0, 256, (count, *SHAPE), np.uint8)
    return Split(images, np.arange(count) % classes)


def test_a_graph_has_the_features_of_the_network_that_it_was_made_from():
    network, document = trained()
    model = Model.load(conversion.stamped(conversion.convert(network, document)), device="cpu")
    images = split(70)

    logits, features = training.answers(network, {"all": images})
    answered, found = evaluation.answers(model, images)

    np.testing.assert_array_equal(logits["all"], training.logits(network, images))
    np.testing.assert_array_equal(answered, evaluation.logits(model, images))
    expected = features["all"]
    assert list(found) == list(expected) == [branch.name for branch in network.branches]
    for name, vectors in found.items():
        np.testing.assert_allclose(vectors, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("count", "kept"), [(60, True), (3, False)])
def test_images_that_are_too_few_have_none(count, kept, capsys):
    network, _ = trained()
    dataset = Dataset("toy", ("a", "b", "c"), SHAPE, {"train": split(count), "validation": split(20)})

    _, features = training.answers(network, dataset.splits)
    found = feature_statistics.take(features, dataset)

    assert (found is not None) == kept
    assert ("no statistics of the features are kept" in capsys.readouterr().err) != kept
