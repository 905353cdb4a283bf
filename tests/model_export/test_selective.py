"""What ``min_confidence`` costs and brings, as the service really applies it."""

import json
import math

import numpy as np
import pytest

from app.model import Model
from model_export.__main__ import main
from model_export.figures import selective
from model_export.figures.metrics import interval
from model_export.figures.selective import THRESHOLDS, Selective
from model_export.reporting.printing import out
from tests import toys
from tests.conftest import serving


def found(confidence, right):
    return Selective(np.array(confidence, np.float32), np.array(right, bool))


def rows(found, split, capsys):
    """The cells of the printed table under its title, and the line below it."""
    for line in selective.lines(split, found):
        out.print(line)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].strip() == f"{split}: coverage and accuracy by min_confidence"
    heads = [cell.strip() for cell in printed[2].strip("┃").split("┃")]
    assert heads == ["min_confidence", "images with a label", "coverage", "accuracy (95 %)"]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in printed if line[:1] == "│"], printed[-1]


def exactly_sure():
    """A toy that calls a black image dark with probability 0.9, to the last bit, and lighter ones less surely."""
    black = np.zeros((1, 8, 8, 3), np.uint8)
    for step in range(-16, 16):
        data = toys.artifact(gain=1, offset=math.log(9) / 2 + step * 2**-23)
        if Model.load(data, device="cpu").run(black).probabilities[0, 0] == np.float32(0.9):
            return data
    raise AssertionError("no such toy")


def test_the_figures_are_those_of_the_answers_of_the_service(tmp_path, capsys):
    """One image is exactly as sure as a threshold: 0.9, which as float32 is a little less. None is as sure as 0.95."""
    toys.publish(tmp_path / "models", "toy", 1, exactly_sure())
    truth = {f"{value:03}.png": ("dark", "bright")[value > 110 or value == 10] for value in range(0, 256, 10)}
    for name, label in truth.items():
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / label / name).write_bytes(toys.plain(int(name[:3])))

    assert main(["verify", "toy", "data", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["selective"]["all"]

    assert [point["min_confidence"] for point in points] == list(THRESHOLDS)
    files = [("file", (path.name, path.read_bytes())) for path in sorted((tmp_path / "data").glob("*/*.png"))]
    with serving(tmp_path / "models") as client:
        for point in points:
            least = point["min_confidence"]
            body = client.post("/predict/batch", params={"min_confidence": least}, files=files).json()
            right = [one["label"] == truth[one["filename"]] for one in body["results"] if one["label"] is not None]
            assert point["images"] == len(right)
            assert point["coverage"] == len(right) / len(truth)
            assert point["accuracy"] == (sum(right) / len(right) if right else None)
    assert [point["images"] for point in points if point["min_confidence"] >= 0.9] == [1, 0, 0]


@pytest.mark.parametrize("least", THRESHOLDS)
def test_an_answer_as_sure_as_the_threshold_has_a_label_and_one_a_bit_less_sure_has_none(least):
    """In float32, where for instance 0.9 is less than 0.9."""
    same = np.float32(least)

    points = found([same, np.nextafter(same, np.float32(-1))], [True, False]).document()

    (point,) = (point for point in points if point["min_confidence"] == least)
    assert point == {"min_confidence": least, "coverage": 0.5, "accuracy": 1, "images": 1}


def test_what_is_printed_is_counted_by_hand(capsys):
    """Four images; the wrong one is the third most sure."""
    table, line = rows(found([0.55, 0.92, 0.75, 0.97], [True, True, False, True]), "test", capsys)

    assert [row[:3] for row in table] == [
        ["0", "4", "1.0000"],
        ["0.5", "4", "1.0000"],
        ["0.6", "3", "0.7500"],
        ["0.7", "3", "0.7500"],
        ["0.8", "2", "0.5000"],
        ["0.9", "2", "0.5000"],
        ["0.95", "1", "0.2500"],
        ["0.99", "0", "0.0000"],
    ]
    low, high = interval(2 / 3, 3)
    assert table[2][3] == f"0.6667 ({low:.3f}–{high:.3f})"
    assert [row[3] for row in table[-2:]] == ["1.0000 (0.207–1.000)", "–"]
    assert line.endswith(f"area under the risk–coverage curve {(0 + 0 + 1 / 3 + 1 / 4) / 4:.4f}")


def test_images_that_were_learned_from_have_no_interval(capsys):
    table, _ = rows(found([0.55, 0.92], [False, True]), "train", capsys)

    assert [row[3] for row in table[:3]] == ["0.5000", "0.5000", "1.0000"]


def test_the_curve_does_not_depend_on_the_order_of_images_that_are_equally_sure():
    """No threshold can part them."""
    random = np.random.default_rng(0)
    confidence, right = random.choice([0.5, 0.7, 1.0], 60), random.random(60) < 0.7
    order = random.permutation(60)

    coverage, risk = found(confidence, right).curve()

    assert coverage == pytest.approx([(confidence >= least).mean() for least in (1, 0.7, 0.5)])
    assert risk == pytest.approx([1 - right[confidence >= least].mean() for least in (1, 0.7, 0.5)])
    area = np.mean([1 - right[confidence >= own].mean() for own in confidence])
    assert found(confidence, right).aurc() == pytest.approx(area)
    assert found(confidence[order], right[order]).aurc() == pytest.approx(area)


def test_the_area_is_the_mean_risk_over_all_coverages():
    random = np.random.default_rng(1)
    confidence, right = random.permutation(200) / 200, random.random(200) < 0.8
    sorted_right = right[np.argsort(-confidence)]

    area = np.mean([(~sorted_right[:count]).mean() for count in range(1, 201)])

    assert found(confidence, right).aurc() == pytest.approx(area)
    assert found(confidence, [True] * 200).aurc() == 0
    assert found(confidence, [False] * 200).aurc() == 1


def test_the_label_is_that_of_the_highest_probability_and_the_first_of_equal_ones():
    """As in the service, even where the logits differ by less than the probabilities can show."""
    taken = Selective.of(np.array([[0.5, 0.5], [0.25, 0.75]], np.float32), np.array([0, 0]))

    assert taken.right.tolist() == [True, False]
    assert taken.confidence.tolist() == [0.5, 0.75]
