"""Small folders of images, and networks small enough to train in a test."""

import gc
import math

import numpy as np
import pytest

from model_export.console import progress
from model_export.console.streams import quiet
from tests import toys

with quiet():
    import keras

    from model_export.fitting import callbacks


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same chances, and leaves no layers behind.

    What lives on, TensorFlow keeps for good; to search through it again and again would take longer than most tests.
    """
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()
    gc.freeze()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs, comparisons and models go where the command is started."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """However long the work takes, no lines in between say how far it is; a machine may stand still for seconds."""
    for module in (progress, callbacks):
        monkeypatch.setattr(module, "_SECONDS_BETWEEN_LINES", math.inf)


@pytest.fixture
def folder(tmp_path):
    """A data set anyone can learn."""
    return bright_and_dark(tmp_path / "data")


def bright_and_dark(folder):
    """Write dark images and bright ones, 16×16, twenty of each."""
    random = np.random.default_rng(0)
    for label, low, high in (("bright", 150, 256), ("dark", 0, 106)):
        (folder / label).mkdir(parents=True)
        for index in range(20):
            image = random.integers(low, high, (16, 16, 3), np.uint8)
            (folder / label / f"{index:02}.png").write_bytes(toys.save(image))
    return folder
