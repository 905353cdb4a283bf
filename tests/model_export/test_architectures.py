"""The networks have the published sizes, and each branch pools what its name says."""

import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet
from keras.src.utils import file_utils

from app.errors import MissingInput
from app.images import Shape
from model_export import architectures, choices
from model_export.architectures import build
from model_export.errors import BadData
from model_export.fitting.augmentation import KINDS
from model_export.networks import heads
from model_export.networks.heads import HEADS
from model_export.networks.trunks import TRUNKS, applications

SMALL = Shape(16, 16, 3)
FOUR_BRANCHES = ("channel-groups", "regions", "separable")


@pytest.mark.parametrize(
    ("architecture", "parameters"), [("channel-groups", 20_042), ("regions", 21_962), ("separable", 31_306)]
)
def test_parameter_counts_are_the_published_ones(architecture, parameters):
    assert build(architecture, "plain", Shape(128, 128, 3), 10).model.count_params() == parameters


@pytest.mark.parametrize("architecture", FOUR_BRANCHES)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_four_branches_pool_average_max_average_max(architecture, trunk):
    network = build(architecture, trunk, SMALL, 5)

    assert [branch.pooling for branch in network.branches] == ["average", "max", "average", "max"]
    assert network.model.output_shape == (None, 5)
    assert network.model.get_layer("logits").kernel.shape[0] == sum(branch.width for branch in network.branches)
    for branch in network.branches:
        assert network.model.get_layer(branch.name).output.shape == (None, branch.width)


def test_branch_names_are_those_of_the_contract():
    names = {name: [branch.name for branch in build(name, "plain", SMALL, 2).branches] for name in FOUR_BRANCHES}

    assert names == {
        "channel-groups": ["group_1", "group_2", "group_3", "group_4"],
        "separable": ["separable_1", "separable_2", "separable_3", "separable_4"],
        "regions": ["top_left", "top_right", "bottom_left", "bottom_right"],
    }


def test_channel_groups_cut_64_channels_at_20_40_and_60():
    assert [branch.width for branch in build("channel-groups", "plain", SMALL, 2).branches] == [20, 20, 20, 4]


@pytest.mark.parametrize(("channels", "widths"), [(30, [7, 7, 7, 9]), (4, [1, 1, 1, 1]), (128, [32] * 4)])
def test_other_numbers_of_channels_are_cut_evenly(channels, widths):
    sources = heads.channel_groups(keras.Input((8, 8, channels)))

    assert [source.tensor.shape[-1] for source in sources] == widths


def test_regions_split_odd_sizes_at_the_lower_half():
    sources = heads.regions(keras.Input((7, 5, 2)))

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


def test_the_heads_that_normalise_over_the_batch_are_those_that_the_command_line_knows():
    found = [name for name in HEADS if build(name, "plain", SMALL, 2).normalizations]

    assert found == list(choices.NORMALISING)


def test_every_layer_is_named_and_none_is_a_lambda():
    for name in HEADS:
        for layer in build(name, "batchnorm", SMALL, 2).model.layers:
            assert not isinstance(layer, keras.layers.Lambda)
            automatic = keras.src.utils.naming.to_snake_case(type(layer).__name__)
            assert layer.name.removeprefix(automatic).strip("_0123456789"), layer.name


@pytest.mark.parametrize("architecture", HEADS)
def test_a_network_survives_saving(architecture, tmp_path):
    model = build(architecture, "batchnorm", SMALL, 3).model
    model.save(tmp_path / "model.keras")
    batch = np.random.default_rng(0).integers(0, 256, (2, *SMALL), np.uint8)

    again = keras.saving.load_model(tmp_path / "model.keras")

    np.testing.assert_array_equal(np.asarray(again(batch)), np.asarray(model(batch)))


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("architecture", ["regions", "gap"])
def test_an_image_too_small_for_the_trunk(architecture, trunk):
    """The smallest size builds, one less is refused with advice that helps."""
    least = {"plain": 2, "batchnorm": 8}[trunk] * (2 if architecture in ("regions", "mixed") else 1)

    assert min(build(architecture, trunk, Shape(least, least + 1, 1), 2).feature_map[:2]) >= 1
    with pytest.raises(BadData, match=f"needs {least}×{least}; choose a larger --size") as caught:
        build(architecture, trunk, Shape(least + 9, least - 1, 1), 2)
    assert ("--trunk plain" in str(caught.value)) == (trunk != "plain")


def test_the_heads_the_four_branches_are_judged_against():
    found = {
        name: [(branch.name, branch.pooling, branch.width) for branch in build(name, "batchnorm", SMALL, 2).branches]
        for name in ("gap", "gmp", "hybrid", "gem", "flatten-dense")
    }

    assert found == {
        "gap": [("average", "average", 64)],
        "gmp": [("max", "max", 64)],
        "hybrid": [("average", "average", 64), ("max", "max", 64)],
        "gem": [("gem", "generalised-mean", 64)],
        "flatten-dense": [("dense", "none", 100)],
    }


def test_dense_layers_cost_hundreds_of_thousands_of_parameters():
    """At 100×100 the feature map is 12×12×64: the published comparison of pooling with dense layers."""
    counts = {
        name: build(name, "batchnorm", Shape(100, 100, 3), 2).model.count_params()
        for name in ("gap", "regions", "flatten-dense", "flatten-dense-dropout")
    }

    assert counts["flatten-dense"] == counts["flatten-dense-dropout"] > counts["regions"] + 900_000
    assert counts["gap"] < counts["regions"] < 31_000


def pooled(architecture, features):
    """What the branches of one head make of a feature map."""
    image = keras.Input(features.shape[1:])
    sources = HEADS[architecture](image)
    model = keras.Model(image, [architectures._pool(source) for source in sources])
    values = model(features)
    return model, [np.asarray(value) for value in (values if isinstance(values, list) else [values])]


def test_each_way_of_pooling_is_what_numpy_computes():
    features = np.random.default_rng(0).uniform(0, 3, (2, 6, 4, 5)).astype(np.float32)

    model, (gem,) = pooled("gem", features)
    np.testing.assert_allclose(gem, (features**3).mean((1, 2)) ** (1 / 3), rtol=1e-5)

    model, (first, *_) = pooled("mixed", features)  # half average, half maximum to begin with
    part = features[:, :3, :2]
    np.testing.assert_allclose(first, (part.mean((1, 2)) + part.max((1, 2))) / 2, rtol=1e-5)

    model, (first, *_) = pooled("attention", features)
    scores = np.exp(features @ np.asarray(model.get_layer("weighing_1").kernel))
    np.testing.assert_allclose(first, (features * scores / scores.sum((1, 2), keepdims=True)).sum((1, 2)), rtol=1e-5)


def test_what_is_pooled_is_the_average_or_the_maximum_of_one_map():
    """So that every way of pooling can be looked at, and its map adds up to what the head saw."""
    for name in set(HEADS) - {"flatten-dense", "flatten-dense-dropout"}:
        network = build(name, "plain", SMALL, 2)
        for branch in network.branches:
            kind = keras.layers.GlobalMaxPooling2D if branch.pooling == "max" else keras.layers.GlobalAveragePooling2D
            assert isinstance(network.model.get_layer(branch.name), kind), (name, branch.name)


@pytest.mark.parametrize(("name", "channels"), [("mobilenetv3small", 3), ("mobilenetv2", 1), ("efficientnetv2b0", 13)])
def test_a_network_of_keras_applications_is_a_trunk(name, channels):
    network = build("regions", name, Shape(64, 64, channels), 3)
    batch = np.random.default_rng(0).integers(0, 256, (2, 64, 64, channels), np.uint8)

    assert network.feature_map[:2] == (2, 2)
    assert network.model(batch).shape == (2, 3)
    if name == "mobilenetv2":  # it wants -1 to 1, and gets it from inside the graph
        (entering,) = network.model.get_layer(network.trunk.name)._inbound_nodes[-1].input_tensors
        seen = np.asarray(keras.Model(network.model.input, entering)(batch))
        assert -1 <= seen.min() < -0.9
        assert 0.9 < seen.max() <= 1


@pytest.mark.parametrize("file", ["trunk.weights.h5", "trunk.keras"])
def test_weights_of_a_trunk_come_from_a_file_of_it_alone(tmp_path, file):
    source = applications()["mobilenetv3small"](include_top=False, weights=None, input_shape=(64, 64, 3))
    (source.save if file.endswith(".keras") else source.save_weights)(tmp_path / file)

    network = build("gap", "mobilenetv3small", Shape(64, 64, 3), 2, str(tmp_path / file))

    for one, other in zip(source.get_weights(), network.trunk.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(BadData, match="does not fit"):
        build("gap", "mobilenetv2", Shape(64, 64, 3), 2, str(tmp_path / file))


def test_a_damaged_or_missing_file_of_weights_is_named(tmp_path):
    (tmp_path / "damaged.h5").write_bytes(b"damaged")
    with pytest.raises(BadData, match=r"damaged\.h5 does not fit"):
        build("gap", "mobilenetv3small", Shape(64, 64, 3), 2, str(tmp_path / "damaged.h5"))
    with pytest.raises(MissingInput, match="no such file"):
        build("gap", "mobilenetv2", Shape(64, 64, 3), 2, str(tmp_path / "absent.h5"))


@pytest.mark.parametrize("trunk", ["plain", "batchnorm", "mobilenetv3small", "mobilenetv2"])
def test_a_trunk_begins_with_the_weights_of_a_network_that_has_the_same(tmp_path, trunk):
    """For other classes, branches and sizes of images too; all that is not the trunk begins anew."""
    source = build("separable", trunk, Shape(64, 64, 3), 3)
    source.model.set_weights([weight + 0.5 for weight in source.model.get_weights()])
    source.model.save(tmp_path / "best.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)

    network = build("regions", trunk, Shape(64, 64, 3), 5, str(tmp_path / "best.keras"))
    larger = build("separable", trunk, Shape(96, 80, 3), 3, str(tmp_path / "best.keras"))

    maps, expected = (
        keras.Model(each.model.input, each.model.get_layer("feature_map").output)(images) for each in (network, source)
    )
    np.testing.assert_array_equal(maps, expected)
    own, others = (each.model.get_layer("logits").get_weights()[0] for each in (larger, source))
    assert own.max() < 0.5 < others.max()
    saved = build("separable", trunk, Shape(64, 64, 3), 3, str(tmp_path / "moved.keras"), tmp_path / "best.keras")
    assert saved.model.count_params() == source.model.count_params()


def test_what_keras_makes_of_other_layers_for_imagenet_weights_stays_as_it_was_trained(tmp_path, monkeypatch):
    """EfficientNet scales its normalised input once more; a run must not go on, or be published, without that.

    Here, each of its blocks is there once: with all its layers, it takes longest of all to build.
    """
    blocks = [{**block, "repeats": 1} for block in efficientnet.DEFAULT_BLOCKS_ARGS]
    monkeypatch.setattr(efficientnet, "DEFAULT_BLOCKS_ARGS", blocks)
    source = applications()["efficientnetb0"](include_top=False, weights=None, input_shape=(32, 32, 3))
    (normalise,) = (layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    normalise.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(1)])
    source.save_weights(tmp_path / "imagenet.weights.h5")
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(tmp_path / "imagenet.weights.h5"))
    trained = build("gap", "efficientnetb0", Shape(32, 32, 3), 2, "imagenet")
    trained.model.save(tmp_path / "best.keras")
    batch = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)

    again = build("gap", "efficientnetb0", Shape(32, 32, 3), 2, "imagenet", tmp_path / "best.keras")
    again.model.set_weights(keras.saving.load_model(tmp_path / "best.keras").get_weights())
    begun = build("gap", "efficientnetb0", Shape(32, 32, 3), 5, str(tmp_path / "best.keras"))
    larger = build("regions", "efficientnetb0", Shape(64, 80, 3), 5, str(tmp_path / "best.keras"))

    np.testing.assert_array_equal(np.asarray(again.model(batch)), np.asarray(trained.model(batch)))
    maps, expected = (
        keras.Model(each.model.input, each.model.get_layer("feature_map").output)(batch) for each in (begun, trained)
    )
    np.testing.assert_array_equal(maps, expected)
    assert larger.feature_map[:2] == (2, 3)


def test_weights_of_another_trunk_or_other_channels_are_refused(tmp_path):
    path = tmp_path / "best.keras"
    build("regions", "batchnorm", Shape(32, 32, 3), 2).model.save(path)

    with pytest.raises(
        BadData, match="its layer 'conv_1' has weights of 3×3×3×32, and here it has weights of 3×3×3×32, "
    ):
        build("regions", "plain", Shape(32, 32, 3), 2, str(path))
    with pytest.raises(
        BadData, match="3×3×3×32, and here it has weights of 3×3×4×32; choose the --trunk and --channels"
    ):
        build("regions", "batchnorm", Shape(32, 32, 4), 2, str(path))
    with pytest.raises(BadData, match=r"its trunk is not mobilenetv2_1\.00_64; choose the --trunk"):
        build("gap", "mobilenetv2", Shape(64, 64, 3), 2, str(path))
    path.write_bytes(b"damaged")
    with pytest.raises(BadData, match=r"best\.keras cannot be read: "):
        build("regions", "batchnorm", Shape(32, 32, 3), 2, str(path))
    with pytest.raises(MissingInput, match="no such file"):
        build("regions", "batchnorm", Shape(32, 32, 3), 2, str(tmp_path / "absent.keras"))


def test_an_image_too_small_for_a_network_of_keras_applications():
    with pytest.raises(BadData, match="cannot read images of this size"):
        build("gap", "xception", Shape(32, 32, 3), 2)
    with pytest.raises(BadData, match="feature map of 'mobilenetv2' is 1×1"):
        build("regions", "mobilenetv2", Shape(32, 32, 3), 2)


def test_the_command_line_offers_all_there_is():
    assert set(choices.ARCHITECTURES) == set(HEADS)
    assert set(choices.OWN_TRUNKS) == set(TRUNKS)
    assert set(choices.AUGMENTATIONS) == set(KINDS)
    assert set(choices.APPLICATIONS) == {name for name in applications() if not name.startswith("convnext")}
