"""Augmentation moves pixels about; it never makes new ones, and the seed decides how."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from model_export.fitting.augmentation import KINDS, augment


@pytest.fixture
def batch():
    return np.random.default_rng(0).integers(0, 256, (16, 25, 25, 3), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_type_are_kept_and_the_input_is_left_alone(batch, kind):
    before = batch.copy()

    changed = augment(batch, kind, np.random.default_rng(1))

    assert (changed.shape, changed.dtype) == (batch.shape, np.uint8)
    np.testing.assert_array_equal(batch, before)
    assert np.array_equal(changed, batch) == (kind == "none")


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(batch, kind):
    first, again = (augment(batch, kind, np.random.default_rng(1)) for _ in range(2))

    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("kind", "ways"), [("shift", 1), ("photo", 2), ("aerial", 4)])
def test_each_image_moves_by_up_to_two_of_25_rows_and_three_of_38_columns_and_nothing_black_comes_in(kind, ways):
    """What comes in is reflected at the edge. A photo is mirrored too; an aerial image also lies upside down."""
    batch = np.random.default_rng(0).integers(0, 256, (100, 25, 38, 1), np.uint8)
    found = []
    for image, changed in zip(batch, augment(batch, kind, np.random.default_rng(1)), strict=True):
        padded = np.pad(image, ((2, 2), (3, 3), (0, 0)), "reflect")
        lying = changed, changed[:, ::-1], changed[::-1], changed[::-1, ::-1]
        found += [
            (down, right, way)
            for down, right, (way, upright) in product(range(5), range(7), enumerate(lying))
            if np.array_equal(upright, padded[down : down + 25, right : right + 38])
        ]

    assert len(found) == 100
    assert [set(each) for each in zip(*found, strict=True)] == [set(range(5)), set(range(7)), set(range(ways))]
    assert len(set(found)) > 20


def test_aerial_images_are_turned_and_mirrored():
    image = np.zeros((8, 8, 1), np.uint8)
    image[:4, :4] = 255
    batch = np.repeat(image[None], 200, 0)

    changed = augment(batch, "aerial", np.random.default_rng(0))

    bright = {(int(i[:4].mean()) > int(i[4:].mean()), int(i[:, :4].mean()) > int(i[:, 4:].mean())) for i in changed}
    assert len(bright) == 4


@pytest.mark.parametrize("width", [8, 12])
def test_every_way_in_which_an_aerial_image_can_lie_is_as_likely(width):
    """Eight for a square, four for another rectangle."""
    image = np.zeros((8, width, 1), np.uint8)
    image[:3, :4], image[:3, 4:] = 200, 100
    ways = 8 if width == 8 else 4

    changed = augment(np.repeat(image[None], 4000, 0), "aerial", np.random.default_rng(0))

    corners = [tuple(lying[[1, 1, -2, -2], [1, -2, 1, -2], 0].tolist()) for lying in changed]
    counts = Counter(corners)
    assert len(counts) == ways
    assert min(counts.values()) > 0.8 * 4000 / ways


def test_images_that_are_not_square_keep_their_shape():
    batch = np.random.default_rng(0).integers(0, 256, (8, 10, 30, 1), np.uint8)

    assert augment(batch, "aerial", np.random.default_rng(0)).shape == batch.shape
