"""What a model gets right of each class, as it is shown."""

import json

import numpy as np
import pytest

from model_export.figures import classes
from model_export.figures.classes import Classes
from model_export.reporting.printing import out

OVERALL = {"balanced_accuracy": 0.5, "macro_f1": 0.25}


def shown(found, capsys):
    """What is printed, line by line, and the cells of the table's rows."""
    for line in classes.lines("test", found.document(), OVERALL, found.mistakes()):
        out.print(line)
    printed = capsys.readouterr().out.splitlines()
    return printed, [[cell.strip() for cell in line.strip("│").split("│")] for line in printed if line[:1] == "│"]


def test_few_classes_stay_in_their_order_and_those_without_images_are_left_out(capsys):
    found = Classes(("[red]a[/red]", "b", "c"), np.array([[3, 1, 0], [0, 0, 0], [2, 0, 2]]))

    printed, rows = shown(found, capsys)

    assert rows == [["[red]a[/red]", "4", "0.6000", "0.7500", "0.6667"], ["c", "4", "1.0000", "0.5000", "0.6667"]]
    assert printed[-2:] == [
        "balanced accuracy (mean recall) 0.5000, macro F1 0.2500",
        "most frequent mistakes: c taken for [red]a[/red] (2); [red]a[/red] taken for b (1)",
    ]
    assert json.loads(json.dumps(found.document()))["b"] == {
        "precision": 0,
        "recall": None,
        "f1": None,
        "images": 0,
        "predicted": 1,
    }


def test_markdown_has_the_same_table_with_names_that_stay_as_they_are():
    found = Classes(("a|b", "_c&amp;_"), np.array([[3, 1], [2, 2]]))

    assert list(classes.markdown("test", found.document(), OVERALL)) == [
        "Test: each class:",
        "| class | images | precision | recall | F1 |\n| --- | --- | --- | --- | --- |\n"
        "| a\\|b | 4 | 0.6000 | 0.7500 | 0.6667 |\n| \\_c\\&amp;\\_ | 4 | 0.6667 | 0.5000 | 0.5714 |",
        "Balanced accuracy (mean recall) 0.5000, macro F1 0.2500.",
    ]


def test_markdown_of_many_classes_counts_those_left_out():
    found = Classes(tuple(f"class {label}" for label in range(25)), np.eye(25, dtype=int))

    title, table, means = classes.markdown("test", found.document(), OVERALL)

    assert title == "Test: the 20 classes with the lowest recall:"
    assert len(table.splitlines()) == 2 + 20
    assert means.startswith("… and 5 more, with a recall of at least 1.0000. Balanced accuracy")


def test_of_many_classes_the_worst_are_shown_and_the_others_counted(capsys):
    """Of class n, 25 - n of 30 images are right, and all others taken for the next class."""
    matrix = np.zeros((25, 25), int)
    for label in range(25):
        matrix[label, label], matrix[label, (label + 1) % 25] = 25 - label, 5 + label
    found = Classes(tuple(f"class {label}" for label in range(25)), matrix)

    printed, rows = shown(found, capsys)

    assert [row[0] for row in rows] == [f"class {label}" for label in range(24, 4, -1)]
    assert "… and 5 more, with a recall of at least 0.6667" in printed
    assert "test: the 20 classes with the lowest recall" in printed[0]
    assert printed[-1].endswith(
        "class 24 taken for class 0 (29); class 23 taken for class 24 (28); class 22 taken for class 23 (27)"
    )


def test_classes_whose_names_are_long_are_told_apart_in_a_pipe(capsys, monkeypatch):
    """It counts as 80 wide; where names were cut off, two rows would be called the same."""
    monkeypatch.setattr(out, "width", 80)
    names = tuple(f"a-class-with-a-name-that-takes-up-nearly-all-of-the-line-{end}" for end in ("first", "second"))

    printed, rows = shown(Classes(names, np.array([[2, 0], [1, 2]])), capsys)

    whole = "".join(row[0] for row in rows)
    assert whole == "".join(names)
    assert [cell for row in rows for cell in row[1:] if cell] == (
        ["2", "0.6667", "1.0000", "0.8000", "3", "1.0000", "0.6667", "0.8000"]
    )
    assert max(map(len, printed[:-2])) <= 80


def test_where_all_is_right_no_mistakes_are_named_and_what_was_never_said_has_no_precision(capsys):
    printed, _ = shown(Classes(("a", "b"), np.diag([2, 2])), capsys)
    assert "mistakes" not in "".join(printed)

    _, rows = shown(Classes(("a", "b"), np.array([[2, 0], [2, 0]])), capsys)
    assert rows == [["a", "2", "0.5000", "1.0000", "0.6667"], ["b", "2", "–", "0.0000", "0.0000"]]


def test_rounding_is_for_what_is_published():
    found = Classes(("a", "b"), np.array([[1, 2], [0, 3]]))

    assert found.document(digits=4)["a"]["recall"] == 0.3333
    assert found.document()["a"]["recall"] == pytest.approx(1 / 3, abs=1e-12)
