"""Augmentation moves pixels about; it never makes new ones, and the seed decides how."""

from collections import Counter

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


def test_a_shift_moves_by_two_of_25_pixels_at_most(batch):
    for image, shifted in zip(batch, augment(batch, "shift", np.random.default_rng(1)), strict=True):
        moves = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(shifted[2:-2, 2:-2], image[2 + dy : 23 + dy, 2 + dx : 23 + dx])
        ]
        assert len(moves) == 1


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
