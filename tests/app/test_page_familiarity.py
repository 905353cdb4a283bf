"""What the page says of an unusual image, of models that were compared with many held-out images or with few."""

import numpy as np
import pytest

from tests import toys
from tests.browser import browser_needed, give, opened, settled
from tests.conftest import serving

pytestmark = browser_needed
FEW = 18


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    root = tmp_path_factory.mktemp("compared")
    toys.publish(root, "compared", 1, toys.artifact(statistics=toys.statistics(FEW)))
    toys.publish(root, "compared", 2, toys.artifact(statistics=toys.statistics(600)))
    toys.publish(root, "compared", 3, toys.artifact(statistics=toys.statistics(99)))
    with serving(root) as client:
        yield client


def told(chromium, service, version, image):
    """The words on familiarity, and all that is said of the branches."""
    with opened(chromium, service.base_url) as page:
        page.wait_for_selector("#model option", state="attached")
        page.select_option("#version", str(version))
        give(page, image)
        settled(page)
        return page.text_content("#familiar-words"), page.locator(".features").all_text_contents()


def half():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    return toys.save(image)


def usual():
    return toys.save(np.random.default_rng(1).integers(127, 255, (8, 8, 3)).astype(np.uint8))


def test_the_lowest_figure_of_few_held_out_images_is_not_called_usual(chromium, service):
    words, branches = told(chromium, service, 1, half())

    assert f"none of the {FEW} images held out in training is more unusual" in words
    assert "not unusual" not in words
    assert "familiarity ≤ 0.053" in branches[0]


@pytest.mark.parametrize("version", [1, 3])
def test_compared_with_few_images_none_is_called_usual(chromium, service, version):
    words, _ = told(chromium, service, version, usual())

    assert "in 100 of the images held out in training are at least as unusual" in words
    assert "not unusual" not in words


def test_many_held_out_images_tell_the_unusual_from_the_usual(chromium, service):
    strange, branches = told(chromium, service, 2, half())
    words, _ = told(chromium, service, 2, usual())

    assert "none of the 600 images" in strange
    assert "be careful with its answer" in strange
    assert "familiarity below 0.01" in branches[0]
    assert words.endswith("It is not unusual.")
