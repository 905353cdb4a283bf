"""Images like those of the training set score evenly over 0 to 1, others near 0; and what is stored is small."""

import json
import tracemalloc

import numpy as np
import pytest

from app.errors import InvalidArtifact
from app.familiarity import Familiarity
from app.metadata import Metadata
from app.statistics import Array, Statistics
from model_export.artifact.gaussians import fit
from tests import toys

WIDTHS = (5, 40)


def sample(count, seed, shift=0.0):
    """Correlated features of two branches and three classes, one feature constant."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, count)
    mixing = np.random.default_rng(0).normal(size=(12, 45))
    centres = np.random.default_rng(1).normal(0, 3, (3, 45))
    joined = random.normal(size=(count, 12)) @ mixing + 0.3 * random.normal(size=(count, 45)) + centres[targets] + shift
    joined[:, 7] = 2.5
    return {"first": joined[:, :5].astype(np.float32), "second": joined[:, 5:].astype(np.float32)}, targets


@pytest.fixture(scope="module")
def statistics():
    train, targets = sample(3000, 2)
    return fit(train, targets, sample(1000, 3)[0])


@pytest.fixture(scope="module")
def scorer(statistics):
    return Familiarity(Statistics.model_validate_json(statistics.model_dump_json()), WIDTHS)


def test_distances_are_those_of_mahalanobis():
    """Against the textbook formula, where nothing is left out: five features are fewer than the rank kept."""
    train, targets = sample(3000, 2)
    wide = {"first": train["first"]}
    scorer = Familiarity(fit(wide, targets, wide), [5])
    x = sample(50, 4)[0]["first"]

    joined = train["first"].astype(np.float64)
    means = np.stack([joined[targets == index].mean(0) for index in range(3)])
    within = joined - means[targets]
    scale = np.sqrt(within.var(0) + 0.01 * within.var(0).mean())
    precision = np.linalg.inv(np.cov((within / scale).T, bias=True) + 0.01 * np.eye(5))
    differences = (x[:, None] - means) / scale
    expected = np.einsum("ncd,de,nce->nc", differences, precision, differences).min(1)

    np.testing.assert_allclose(scorer.distances([x])[:, 0], expected, rtol=0.01)


def test_images_like_those_of_the_training_set_score_evenly(scorer):
    scores = scorer.score(list(sample(4000, 5)[0].values()))

    assert scores.shape == (4000, 3)
    assert scores.dtype == np.float32
    for column in scores.T:
        found, _ = np.histogram(column, 10, (0, 1))
        assert found / len(column) == pytest.approx([0.1] * 10, abs=0.035)


def test_a_tenth_scores_at_most_a_tenth_however_few_were_held_out():
    train, targets = sample(1000, 2)

    def strange(seed):
        scorer = Familiarity(fit(train, targets, sample(20, seed)[0]), WIDTHS)
        return (scorer.score(list(sample(100, 1000 + seed)[0].values()))[:, 1:] <= 0.1).mean(0)

    assert np.mean([strange(seed) for seed in range(100, 300)], 0) == pytest.approx([0.1, 0.1], abs=0.02)


@pytest.mark.parametrize("share", [0.2, 0.6, 1])
def test_an_image_that_many_held_out_ones_are_the_same_as_is_known_however_unusual(share):
    """A black frame at night, say: as many are at least as far as there are such frames."""
    train, targets = sample(3000, 2)
    held_out = sample(200, 3)[0]
    for vectors in held_out.values():
        vectors[: round(share * 200)] = vectors[0] + 4

    scores = Familiarity(fit(train, targets, held_out), WIDTHS).score([vectors[:1] for vectors in held_out.values()])

    assert scores == pytest.approx(share, abs=0.05)


def test_others_score_near_zero_in_the_branch_that_they_differ_in(scorer):
    features = sample(500, 6)[0]

    scores = scorer.score([features["first"], features["second"] + 4])

    assert np.median(scores[:, 0]) < 0.02
    assert 0.3 < np.median(scores[:, 1]) < 0.7
    assert np.median(scores[:, 2]) < 0.01
    assert scores.min() >= 1 / 1001 - 1e-6


def test_a_score_does_not_depend_on_the_rest_of_the_batch(scorer):
    features = list(sample(20, 7)[0].values())

    together = scorer.score(features)
    alone = np.concatenate([scorer.score([vectors[i : i + 1] for vectors in features]) for i in range(20)])

    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_few_held_out_images_are_no_reason_to_fail():
    train, targets = sample(12, 8)

    scores = Familiarity(fit(train, targets, sample(1, 9)[0]), WIDTHS).score(list(sample(3, 9)[0].values()))

    assert ((scores >= 0.5 - 1e-6) & (scores <= 1)).all()


def test_few_images_whose_features_all_move_together_are_no_reason_to_fail():
    """With so little around the one direction in which they vary, rounded factors give squared distances below 0."""
    for seed in range(40):
        random = np.random.default_rng(seed)
        direction = random.normal(size=300)
        joined = random.normal(size=(7, 1)) * direction + 1e-4 * random.normal(size=(7, 300))
        train, held_out = {"only": joined[:6].astype(np.float32)}, {"only": joined[6:].astype(np.float32)}

        scores = Familiarity(fit(train, np.arange(6) % 2, held_out), [300]).score([held_out["only"]])

        assert ((scores > 0.9) & (scores <= 1)).all()


def test_size_grows_with_the_features_and_not_with_their_square(statistics):
    assert len(statistics.model_dump_json()) < 45 * 400


def damaged(statistics, **changes):
    return Statistics.model_validate({**statistics.model_dump(), **changes})


def test_damaged_statistics_are_refused(statistics):
    short = {**statistics.scale.model_dump(), "data": "AAAA"}
    zero = {**statistics.scale.model_dump(), "data": "AAAA" * 60}
    nan = Array.of(np.full(statistics.means.shape, np.nan), "<f4").model_dump()
    for changes, words in (
        ({"scale": short}, "buffer"),
        ({"scale": zero}, "positive"),
        ({"means": nan}, "not finite"),
        ({"means": {**statistics.means.model_dump(), "data": "!"}}, "base64"),
        ({"levels": (1, 0.5)}, "for each level"),
        ({"levels": statistics.levels[::-1]}, "descend from 1"),
        ({"levels": (2.0, *statistics.levels[1:])}, "descend from 1"),
        ({"levels": (*statistics.levels[:-1], 0.0)}, "stay above 0"),
        ({"joint": (3, 2, 1)}, "for each level"),
        ({"joint": statistics.joint[::-1]}, "ascending"),
        ({"branches": {"first": statistics.branches["first"]}}, "one part for each branch"),
    ):
        with pytest.raises(ValueError, match=words):
            Familiarity(damaged(statistics, **changes), WIDTHS)
    with pytest.raises(ValueError, match="does not fit the branches"):
        Familiarity(statistics, (5, 41))


@pytest.mark.parametrize(
    ("name", "change"),
    [("residual", 1e-320), ("residual", 1e-40), ("residual", float("inf")), ("distances", [0] * 24 + [float("inf")])],
)
def test_statistics_that_make_scores_which_are_no_numbers_are_refused(name, change):
    document = json.loads(toys.metadata(statistics=toys.statistics()).dumps())
    document["statistics"]["branches"]["top_left"][name] = change

    with pytest.raises(InvalidArtifact, match=r"its statistics are damaged|finite number"):
        toys.load(toys.proto(text=json.dumps(document, separators=(",", ":"))))


def test_statistics_of_another_format_are_left_unused(statistics):
    document = json.loads(toys.metadata(statistics=statistics).dumps())
    document["statistics"]["format"] = 99

    assert Metadata.loads(json.dumps(document)).statistics is None


def test_an_artifact_carries_them_and_says_what_a_reader_can_use(statistics):
    document = toys.metadata(statistics=statistics)

    again = Metadata.loads(document.dumps())

    assert again.statistics == statistics
    described = again.described()
    assert described["statistics"]["held_out"] == 1000
    assert "factor" not in str(described)
    assert len(str(described)) < 6000


def test_taking_the_statistics_needs_little_beside_the_features():
    """Publishing must not take many times the memory that the training images' features do."""
    random = np.random.default_rng(0)
    features = {name: random.normal(size=(20_000, 64)).astype(np.float32) for name in "abcd"}
    targets = random.integers(0, 3, 20_000)
    tracemalloc.start()

    fit(features, targets, features)

    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < sum(vectors.nbytes for vectors in features.values()) / 2
