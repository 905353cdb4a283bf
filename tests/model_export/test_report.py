"""The curves of a comparison can be told apart."""

import csv

import pytest
from matplotlib.figure import Figure

from model_export import report
from model_export.choices import ARCHITECTURES


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, instead of being written."""
    found = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: found.append(figure))
    return found


@pytest.mark.parametrize("epochs", [1, 7])
def test_each_architecture_has_a_line_of_its_own_and_no_epoch_is_a_fraction(tmp_path, drawn, epochs):
    figures = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), 0.5)
    for name in ARCHITECTURES:
        (tmp_path / name).mkdir()
        with (tmp_path / name / "seed-0.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ("epoch", *figures))
            writer.writeheader()
            writer.writerows({"epoch": epoch, **figures} for epoch in range(1, 1 + epochs))

    report._draw(tmp_path, tuple(ARCHITECTURES), 1)

    for axes in drawn[0].axes:
        looks = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in axes.lines}
        assert set(looks) == set(ARCHITECTURES)
        assert len(set(looks.values())) == len(looks)
        assert all(tick.is_integer() for tick in axes.get_xticks())
