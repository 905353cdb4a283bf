"""Every picture is drawn for small and for odd results too."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from model_export.data.split import Split
from model_export.figures import metrics, plots
from model_export.figures.selective import Selective


def results(classes=3, count=40, channels=3):
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    logits = random.normal(0, 2, (count, classes)).astype(np.float32)
    images, names = random.integers(0, 256, (count, 16, 16, channels), np.uint8), map("{}.png".format, range(count))
    return Split(images, labels, tuple(names)), logits


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3), (40, 13)])
def test_all_pictures(tmp_path, classes, channels):
    split, logits = results(classes, 80, channels)
    names = tuple(f"a class with a rather long name {index}" for index in range(classes))
    history = [{"epoch": 1, "loss": 1, "accuracy": 0.5, "val_loss": 1, "val_accuracy": 0.5}]

    plots.curves(history, tmp_path / "curves.png")
    plots.confusion(logits, split.labels, names, tmp_path / "confusion.png")
    plots.reliability(logits, logits / 2, split.labels, tmp_path / "reliability.png")
    plots.selective(Selective.of(metrics.probabilities(logits), split.labels), tmp_path / "selective.png")
    assert plots.mistakes(split, logits, names, tmp_path / "mistakes.png") == 24

    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn as lines, by title: the values of x and y."""
    found = {}
    save = plots._save

    def keep(figure, path):
        for axes in figure.axes:
            found[axes.get_title()] = [list(zip(*line.get_data(), strict=True)) for line in axes.lines]
        save(figure, path)

    monkeypatch.setattr(plots, "_save", keep)
    return found


def test_without_a_temperature_there_is_one_reliability_diagram(tmp_path, drawn):
    split, logits = results()

    plots.reliability(logits, logits, split.labels, tmp_path / "one.png")
    assert [title.partition(":")[0] for title in drawn] == ["no temperature"]
    drawn.clear()
    plots.reliability(logits, logits / 2, split.labels, tmp_path / "two.png")
    assert [title.partition(":")[0] for title in drawn] == ["as trained", "as published"]


def test_thresholds_that_leave_every_answer_open_have_a_coverage_and_no_accuracy(tmp_path, drawn):
    sure = Selective(np.array([0.65, 0.55, 0.65, 0.75], np.float32), np.array([True, False, False, True]))

    plots.selective(sure, tmp_path / "selective.png")

    coverage, accuracy = drawn["Coverage and accuracy"]
    assert [share for _, share in coverage] == [1, 1, 0.75, 0.25, 0, 0, 0, 0]
    assert [share for _, share in accuracy] == pytest.approx([0.5, 0.5, 2 / 3, 1])
    curve, *points = next(lines for title, lines in drawn.items() if title.startswith("Risk"))
    assert curve == pytest.approx(np.array([[0.25, 0], [0.75, 1 / 3], [1, 0.5]]))
    assert [point for (point,) in points] == pytest.approx(np.array([[1, 0.5], [1, 0.5], [0.75, 1 / 3], [0.25, 0]]))


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, instead of being written."""
    found = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: found.append(figure))
    return found


def test_the_legend_of_the_thresholds_covers_no_part_of_the_curve(tmp_path, figures):
    split, logits = results()

    plots.selective(Selective.of(metrics.probabilities(logits), split.labels), tmp_path / "selective.png")

    (figure,) = figures
    FigureCanvasAgg(figure).draw()
    right = figure.axes[1]
    assert not right.get_legend().get_window_extent().overlaps(right.get_window_extent())


def test_mistakes_come_with_the_probability_of_the_truth_which_orders_them(tmp_path, figures):
    probabilities = np.array([[0.9, 0.06, 0.04], [0.5, 0.49, 0.01], [0.2, 0.7, 0.1]])
    split = Split(np.zeros((3, 8, 8, 3), np.uint8), np.array([1, 2, 1]), ("d/a.jpg", "d/b.jpg", "d/c.jpg"))

    assert plots.mistakes(split, np.log(probabilities).astype(np.float32), ("x", "y", "z"), tmp_path / "m.png") == 2

    titles = [axes.get_title() for axes in figures[0].axes if axes.get_title()]
    assert titles == ["x 0.50\ntruth: z 0.01\nb.jpg", "x 0.90\ntruth: y 0.06\na.jpg"]


def test_classes_with_long_names_can_be_told_apart(tmp_path, figures):
    """As the diseases of one plant in PlantVillage."""
    names = ("Cherry_(including_sour)___Powdery_mildew", "Cherry_(including_sour)___healthy")
    split, logits = results(2)

    plots.confusion(logits, split.labels, names, tmp_path / "confusion.png")
    plots.mistakes(split, logits, names, tmp_path / "mistakes.png")

    matrix, sheet = figures
    for axis in (matrix.axes[0].xaxis, matrix.axes[0].yaxis, matrix.axes[1].xaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == [
            "Cherry_(i…ery_mildew",
            "Cherry_(i…___healthy",
        ]
    for said in (axes.get_title().splitlines() for axes in sheet.axes if axes.get_title()):
        assert said[0].split()[0] != said[1].split()[1]


def test_classes_that_are_too_many_for_names_are_numbered_as_in_the_metadata(tmp_path, figures):
    split, logits = results(40, 80)

    plots.confusion(logits, split.labels, tuple(f"class {index}" for index in range(40)), tmp_path / "confusion.png")

    for axes in figures[0].axes[:2]:
        assert axes.get_xlabel() == "answer: number of the class in labels, from 0"
        assert axes.get_ylabel() == "truth: number of the class in labels, from 0"


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


def test_the_worst_mistakes_have_titles_that_differ_and_do_not_touch(tmp_path, monkeypatch):
    """Cameras write long names that differ at their ends; those of a class may be as long."""
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: drawn.append(figure))
    split, logits = results()
    files = tuple(f"dark/IMG_20240315_123456_WWWWWW_{index:04}.jpeg" for index in range(len(split)))
    classes = [f"Tomato with a blight of its leaves {index}" for index in range(3)]

    plots.mistakes(Split(split.images, split.labels, files), logits, classes, tmp_path / "mistakes.png")

    (figure,) = drawn
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    titles = [axes.title for axes in figure.axes if axes.get_title()]
    assert len({title.get_text().rpartition("\n")[2] for title in titles}) == len(titles) == 24
    places = [title.get_window_extent(canvas.get_renderer()) for title in titles]
    assert not any(one.overlaps(other) for number, one in enumerate(places) for other in places[:number])


@pytest.mark.parametrize(("count", "size"), [(1, (16, 16)), (7, (16, 16)), (6, (32, 16)), (6, (16, 32))])
def test_no_title_of_a_mistake_is_cut_off(tmp_path, count, size):
    images = np.full((count, *size, 3), 255, np.uint8)
    split = Split(images, np.ones(count, int), tuple(f"dark/{index}.png" for index in range(count)))

    plots.mistakes(split, np.eye(2, dtype=np.float32)[np.zeros(count, int)], ("Forest", "Lake"), tmp_path / "m.png")

    with Image.open(tmp_path / "m.png") as image:
        dark = np.asarray(image.convert("L")) < 128
    assert dark.any()
    assert not dark[:5].any()  # the margin is free


def test_the_curves_of_one_epoch_have_no_fractions_of_it(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: drawn.append(figure))

    figures = {"epoch": 1, "loss": 1, "accuracy": 0.5, "val_loss": 1, "val_accuracy": 0.5}
    plots.curves([figures], tmp_path / "curves.png")

    assert all(tick.is_integer() for axes in drawn[0].axes for tick in axes.get_xticks())


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
