"""Every picture is drawn for small and for odd results too."""

import numpy as np
import pytest
from PIL import Image

from model_export.data.decoding import Split
from model_export.figures import plots


def results(classes=3, count=40, channels=3):
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    logits = random.normal(0, 2, (count, classes)).astype(np.float32)
    return Split(random.integers(0, 256, (count, 16, 16, channels), np.uint8), labels), logits


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3), (40, 13)])
def test_all_pictures(tmp_path, classes, channels):
    split, logits = results(classes, 80, channels)
    names = tuple(f"a class with a rather long name {index}" for index in range(classes))
    history = [{"epoch": 1, "loss": 1, "accuracy": 0.5, "val_loss": 1, "val_accuracy": 0.5}]

    plots.curves(history, tmp_path / "curves.png")
    plots.confusion(logits, split.labels, names, tmp_path / "confusion.png")
    plots.reliability(logits, logits / 2, split.labels, tmp_path / "reliability.png")
    assert plots.mistakes(split, logits, names, tmp_path / "mistakes.png") == 24

    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_no_mistakes_need_no_sheet(tmp_path):
    split, _ = results()
    right = np.eye(3, dtype=np.float32)[split.labels] * 9

    assert plots.mistakes(split, right, ("a", "b", "c"), tmp_path / "mistakes.png") == 0
    assert not (tmp_path / "mistakes.png").exists()
    assert plots.mistakes(split, -right, ("a", "b", "c"), tmp_path / "mistakes.png") == 24
    assert plots.mistakes(split, right, ("a", "b", "c"), tmp_path / "mistakes.png") == 0
    assert not (tmp_path / "mistakes.png").exists()  # of a run that has learned more since


def test_names_that_are_no_formulas_and_letters_that_no_font_has(tmp_path):
    """Warnings are errors here, as everywhere in these tests."""
    split, logits = results()
    names = ("$x^{$", "海", "a_b$")

    plots.confusion(logits, split.labels, names, tmp_path / "confusion.png")

    assert plots.mistakes(split, logits, names, tmp_path / "mistakes.png") == 24
