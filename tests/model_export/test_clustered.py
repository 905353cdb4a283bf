"""What grouped images are worth: against other implementations, by counting, and in simulations of all there is."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, f_oneway

from model_export.figures.clustered import effective_images, sign_flips
from model_export.figures.metrics import interval
from model_export.figures.paired import Paired

DIFFERENCES = st.lists(st.integers(-9, 9), max_size=9).map(lambda numbers: np.array(numbers, np.int64))


def grouped(rights):
    """Whether each image is right, and its group, from a list of the images of each group."""
    return np.concatenate(rights), np.repeat(np.arange(len(rights)), [len(right) for right in rights])


@given(DIFFERENCES)
def test_the_sign_flip_test_counts_all_choices_of_signs(differences):
    sums = [np.dot(signs, differences) for signs in product((-1, 1), repeat=len(differences))]
    as_far = np.abs(sums) >= abs(differences.sum())

    assert sign_flips(differences) == pytest.approx(as_far.mean())


@given(st.integers(0, 60), st.integers(0, 60))
def test_with_groups_of_one_it_is_the_exact_test_of_mcnemar(first, second):
    differences = np.repeat([1, -1, 0], [first, second, 5])

    expected = binomtest(first, first + second).pvalue if first + second else 1
    assert sign_flips(differences) == pytest.approx(expected)


def test_few_groups_never_show_a_difference():
    """However large it is: by chance, it is as large if all signs agree."""
    assert sign_flips(np.full(5, 200)) == pytest.approx(2 / 2**5)
    assert sign_flips(np.full(6, 200)) == pytest.approx(2 / 2**6)


def test_equally_good_models_rarely_seem_to_differ():
    """Of 1,000 pairs of such models on eight patients: on 20 images of each, one is better by chance."""
    random = np.random.default_rng(0)
    favours_first = 1 / (1 + np.exp(random.normal(0, 1.5, (1000, 8))))  # the other one is favoured as often
    gained = random.binomial(20, favours_first)

    grouped = np.mean([sign_flips(pair) < 0.05 for pair in 2 * gained - 20])
    naive = np.mean(2 * binom.cdf(np.minimum(gained.sum(1), 160 - gained.sum(1)), 160, 0.5) < 0.05)

    assert 0.025 < grouped < 0.06
    assert naive > 0.3  # as if every image were of another patient


def test_the_correlation_within_groups_is_that_of_an_analysis_of_variance():
    random = np.random.default_rng(0)
    rights = [random.random(size) < chance for size, chance in zip(range(4, 40, 4), random.random(9), strict=True)]
    sizes = np.array([len(right) for right in rights])
    images, groups = sizes.sum(), len(sizes)
    ratio = f_oneway(*rights).statistic
    usual = (sizes**2).sum() / images
    correlation = (ratio - 1) / (ratio - 1 + (images - usual) / (groups - 1))
    as_many = images / usual  # groups of equal size, between 7 and 8 instead of 9
    cautious = ((as_many - 1) * correlation + 1) / as_many

    found = effective_images(*grouped(rights))

    assert correlation > 0.05
    assert found == pytest.approx(images / (1 + (usual - 1) * cautious))


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=9))
def test_images_are_worth_no_more_than_there_are_and_no_less_than_one(rights):
    values, group = grouped(rights)

    assert 1 - 1e-9 <= effective_images(values, group) <= len(values) + 1e-9
    assert effective_images(values, np.arange(len(values))) == len(values)
    assert effective_images(values, np.zeros(len(values), int)) == pytest.approx(1)


def coverage(groups, size, accuracy, correlation, samples=400):
    """How often the interval contains the accuracy on all groups.

    Of samples, drawn by one seed, of groups whose own accuracies are of a beta distribution.
    """
    random = np.random.default_rng(0)
    shape = (1 - correlation) / correlation
    chances = random.beta(accuracy * shape, (1 - accuracy) * shape, (samples, groups, 1))
    right = random.random((samples, groups, size)) < chances
    group = np.repeat(np.arange(groups), size)

    intervals = [interval(sample.mean(), effective_images(sample, group)) for sample in right.reshape(samples, -1)]
    return np.mean([low <= accuracy <= high for low, high in intervals])


@pytest.mark.parametrize("groups", [2, 5, 10, 30])
@pytest.mark.parametrize("size", [20, 200])
@pytest.mark.parametrize(("accuracy", "correlation"), [(0.8, 0.2), (0.95, 0.02), (0.95, 0.1), (0.99, 0.05)])
def test_the_interval_contains_the_accuracy_on_all_groups(groups, size, accuracy, correlation):
    assert coverage(groups, size, accuracy, correlation) >= 0.93


@pytest.mark.parametrize("groups", [2, 3, 5, 8, 10, 30])
@pytest.mark.parametrize("size", [20, 200])
@pytest.mark.parametrize("accuracy", [0.8, 0.9, 0.95])
@pytest.mark.parametrize(("correlation", "least"), [(0.3, 0.9), (0.5, 0.8)])
def test_the_more_alike_images_of_a_group_are_the_less_often_it_does(groups, size, accuracy, correlation, least):
    assert coverage(groups, size, accuracy, correlation) >= least


@pytest.mark.parametrize(
    ("groups", "size", "accuracy", "correlation", "least"),
    [
        (31, 5, 0.95, 0.2, 0.92),
        (16, 10, 0.95, 0.3, 0.88),
        (20, 200, 0.95, 0.3, 0.88),
        (12, 20, 0.95, 0.5, 0.78),
        (50, 5, 0.97, 0.2, 0.9),
        (40, 20, 0.99, 0.2, 0.85),
        (31, 200, 0.99, 0.2, 0.85),
    ],
)
def test_where_it_does_so_least_often_it_is_not_less_than_the_documents_say(groups, size, accuracy, correlation, least):
    """The worst cases of a search over numbers of groups and their sizes."""
    assert least <= coverage(groups, size, accuracy, correlation, 4000) < least + 0.02


@pytest.mark.parametrize("sizes", [[300] + [1] * 30, [500] + [5] * 20, [2, 4, 8, 16, 32, 64, 128]])
@pytest.mark.parametrize(("accuracy", "correlation"), [(0.8, 0.2), (0.95, 0.1)])
def test_so_does_that_of_groups_of_unequal_size(sizes, accuracy, correlation):
    """A group with most of the images is one draw of a group, however many others there are."""
    random = np.random.default_rng(0)
    shape, group = (1 - correlation) / correlation, np.repeat(np.arange(len(sizes)), sizes)
    chances = random.beta(accuracy * shape, (1 - accuracy) * shape, (400, len(sizes)))[:, group]

    intervals = [
        interval(sample.mean(), effective_images(sample, group)) for sample in random.random(chances.shape) < chances
    ]

    assert np.mean([low <= accuracy <= high for low, high in intervals]) >= 0.93


def test_the_interval_of_a_difference_contains_the_one_on_all_groups():
    """Of 400 samples of twelve groups, in which the first model is better by 0.05 on average."""
    random = np.random.default_rng(0)
    group, covered, naive = np.repeat(np.arange(12), 50), 0, 0
    for _ in range(400):
        gain = random.normal(0.05, 0.06, 12)[group].clip(-0.3, 0.3)
        coin = random.random(600)
        first, second = coin < 0.6 + gain / 2, coin < 0.6 - gain / 2
        low, high = Paired(first, second, group).interval()
        covered += low <= 0.05 <= high
        low, high = Paired(first, second).interval()
        naive += low <= 0.05 <= high

    assert covered >= 0.94 * 400
    assert naive < 0.8 * 400


def pairs(groups, size, apart, alike=None):
    """Pairs of models that differ on a share of the images, in all groups or, if those are alike, mostly in a few.

    On 80 % of those images the first one is right, so it is better by 0.6 times the share.
    """
    random, group = np.random.default_rng(0), np.repeat(np.arange(groups), size)
    for _ in range(400):
        shares = random.beta(apart * alike, (1 - apart) * alike, groups)[group] if alike else apart
        differ, better = random.random(len(group)) < shares, random.random(len(group)) < 0.8
        yield Paired(differ & better, differ & ~better, group)


def test_the_interval_of_a_difference_agrees_with_p_if_many_groups_show_it():
    """In 400 samples of ten groups, one of the two is better in nearly all of them."""
    found = [(pair.p() < 0.05, *pair.interval()) for pair in pairs(10, 100, 0.1)]

    assert np.mean([clear for clear, _, _ in found]) > 0.95
    assert np.mean([clear and low <= 0 for clear, low, _ in found]) < 0.05
    assert np.mean([low <= 0.06 <= high for _, low, high in found]) >= 0.94


def test_a_few_groups_with_most_of_the_difference_are_few():
    """Models that differ on 2 % of the images, nearly all of them in two or three of twelve groups."""
    found = [pair.interval() for pair in pairs(12, 100, 0.02, alike=4)]

    assert np.mean([low <= 0.012 <= high for low, high in found]) >= 0.95


def test_groups_of_one_image_have_the_interval_of_images_without_groups():
    for pair in pairs(60, 1, 0.3):
        assert pair.interval() == Paired(pair.first, pair.second).interval()
