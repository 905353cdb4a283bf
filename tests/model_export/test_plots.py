"""Every picture is drawn for small and for odd results too."""

import numpy as np
import pytest
from matplotlib.axes import Axes
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


def test_the_name_of_a_file_need_not_be_text(tmp_path):
    split, logits = results()
    named = Split(split.images, split.labels, ("dark/caf\udce9.png",) * len(split))

    assert plots.mistakes(named, logits, ("a", "b", "c"), tmp_path / "mistakes.png") == 24


def test_the_curves_of_a_training_that_diverged_mark_the_epoch_that_was_kept(tmp_path, monkeypatch):
    losses = (3.0, 1.0, 2.0, float("nan"))
    history = [
        {"epoch": epoch, "loss": loss, "accuracy": 0.5, "val_loss": loss, "val_accuracy": 0.5}
        for epoch, loss in enumerate(losses, start=1)
    ]
    marked = []
    monkeypatch.setattr(Axes, "axvline", lambda _, epoch, **options: marked.append((epoch, options["label"])))

    plots.curves(history, tmp_path / "curves.png")

    assert marked == [(2, "lowest validation loss (2)")] * 2
