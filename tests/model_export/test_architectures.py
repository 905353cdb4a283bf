"""The networks have the published sizes, and each branch pools what its name says."""

import keras
import numpy as np
import pytest

from app.images import Shape
from model_export import architectures, arguments
from model_export.architectures import ARCHITECTURES, TRUNKS, build
from model_export.augmentation import KINDS
from model_export.errors import BadData

SMALL = Shape(16, 16, 3)


@pytest.mark.parametrize(
    ("architecture", "parameters"), [("channel-groups", 20_042), ("regions", 21_962), ("separable", 31_306)]
)
def test_parameter_counts_are_the_published_ones(architecture, parameters):
    assert build(architecture, "plain", Shape(128, 128, 3), 10).model.count_params() == parameters


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_four_branches_pool_average_max_average_max(architecture, trunk):
    network = build(architecture, trunk, SMALL, 5)

    assert [branch.pooling for branch in network.branches] == ["average", "max", "average", "max"]
    assert network.model.output_shape == (None, 5)
    assert network.model.get_layer("logits").kernel.shape[0] == sum(branch.width for branch in network.branches)
    for branch in network.branches:
        assert network.model.get_layer(branch.name).output.shape == (None, branch.width)


def test_branch_names_are_those_of_the_contract():
    names = {name: [branch.name for branch in build(name, "plain", SMALL, 2).branches] for name in ARCHITECTURES}

    assert names == {
        "channel-groups": ["group_1", "group_2", "group_3", "group_4"],
        "separable": ["separable_1", "separable_2", "separable_3", "separable_4"],
        "regions": ["top_left", "top_right", "bottom_left", "bottom_right"],
    }


def test_channel_groups_cut_64_channels_at_20_40_and_60():
    assert [branch.width for branch in build("channel-groups", "plain", SMALL, 2).branches] == [20, 20, 20, 4]


@pytest.mark.parametrize(("channels", "widths"), [(30, [7, 7, 7, 9]), (4, [1, 1, 1, 1]), (128, [32] * 4)])
def test_other_numbers_of_channels_are_cut_evenly(channels, widths):
    sources = architectures.channel_groups(keras.Input((8, 8, channels)))

    assert [source.tensor.shape[-1] for source in sources] == widths


def test_regions_split_odd_sizes_at_the_lower_half():
    sources = architectures.regions(keras.Input((7, 5, 2)))

    assert [(source.name, source.tensor.shape[1:3]) for source in sources] == [
        ("top_left", (3, 2)),
        ("top_right", (3, 3)),
        ("bottom_left", (4, 2)),
        ("bottom_right", (4, 3)),
    ]


@pytest.mark.parametrize("architecture", ["channel-groups", "regions"])
def test_each_branch_pools_its_own_part(architecture):
    """The pooled features are those that NumPy computes from the feature map."""
    network = build(architecture, "plain", Shape(9, 11, 3), 2)
    layer = network.model.get_layer
    names = [branch.name for branch in network.branches]
    probe = keras.Model(network.model.input, [layer("feature_map").output, *(layer(name).output for name in names)])
    batch = np.random.default_rng(0).integers(0, 256, (2, 9, 11, 3), np.uint8)

    features, *pooled = (np.asarray(value) for value in probe(batch))  # (N, 4, 5, 64)

    parts = {
        "channel-groups": [features[..., a:b] for a, b in ((0, 20), (20, 40), (40, 60), (60, 64))],
        "regions": [features[:, :2, :2], features[:, :2, 2:], features[:, 2:, :2], features[:, 2:, 2:]],
    }[architecture]
    for vector, part, pool in zip(pooled, parts, (np.mean, np.max, np.mean, np.max), strict=True):
        np.testing.assert_allclose(vector, pool(part, (1, 2)), atol=1e-6)


def test_every_layer_is_named_and_none_is_a_lambda():
    for name in ARCHITECTURES:
        for layer in build(name, "batchnorm", SMALL, 2).model.layers:
            assert not isinstance(layer, keras.layers.Lambda)
            automatic = keras.src.utils.naming.to_snake_case(type(layer).__name__)
            assert layer.name.removeprefix(automatic).strip("_0123456789"), layer.name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_survives_saving(architecture, tmp_path):
    model = build(architecture, "batchnorm", SMALL, 3).model
    model.save(tmp_path / "model.keras")
    batch = np.random.default_rng(0).integers(0, 256, (2, *SMALL), np.uint8)

    again = keras.saving.load_model(tmp_path / "model.keras")

    np.testing.assert_array_equal(again.predict(batch, verbose=0), model.predict(batch, verbose=0))


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_image_too_small_for_the_trunk(architecture, trunk):
    """The smallest size builds, one less is refused with advice that helps."""
    least = {"plain": 2, "batchnorm": 8}[trunk] * (2 if architecture == "regions" else 1)

    assert min(build(architecture, trunk, Shape(least, least + 1, 1), 2).feature_map[:2]) >= 1
    with pytest.raises(BadData, match=f"needs {least}×{least}; choose a larger --size") as caught:
        build(architecture, trunk, Shape(least + 9, least - 1, 1), 2)
    assert ("--trunk plain" in str(caught.value)) == (trunk != "plain")


def test_the_command_line_offers_all_there_is():
    assert set(arguments.ARCHITECTURES) == set(ARCHITECTURES)
    assert set(arguments.TRUNKS) == set(TRUNKS)
    assert set(arguments.AUGMENTATIONS) == set(KINDS)
