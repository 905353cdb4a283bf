"""A comparison trains each architecture with each seed, and concludes no more than its figures support."""

import argparse
import csv
import json
import math
import re
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from app import memory
from model_export import architectures, comparison, conversion, datasets, files, report, training
from model_export.__main__ import main
from model_export.architectures import build
from model_export.comparison import Result, read
from model_export.errors import BadData
from model_export.fitting.budget import Budget
from model_export.reporting import conclusions
from tests import toys
from tests.conftest import ROOT


def trained(**accuracies):
    """Runs with these validation accuracies, one per seed."""
    sizes = {"gap": 30_000, "flatten-dense-dropout": 950_000}
    return [
        Result(name.replace("_", "-"), seed, sizes.get(name.replace("_", "-"), 31_000), 0.9, 0.3, accuracy, 0.5, 1.0)
        for name, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def test_a_difference_that_all_seeds_agree_on():
    runs = trained(gap=(0.80, 0.81, 0.79), flatten_dense_dropout=(0.70, 0.71, 0.69))

    difference, low, high = conclusions.paired(runs, "gap", "flatten-dense-dropout", 2000)
    # Student's quantile for two degrees of freedom is 4.303, and 1.96 standard errors of the images are 2.67 points.
    half = math.hypot(4.303 / 2000 / math.sqrt(3), 1.96 * math.sqrt((0.8 * 0.2 + 0.7 * 0.3) / 2000))
    assert (difference, low, high) == pytest.approx((0.1, 0.1 - half, 0.1 + half), abs=2e-4)
    (sentence,) = conclusions.pooling_against_dense(runs, 2000)
    assert "validates better" in sentence
    assert "920,000 parameters fewer" in sentence
    assert "clearly better" in conclusions.ranking(runs, 2000)[1]
    assert "no clear difference with these seeds and images" in conclusions.ranking(runs, 100)[1]


def test_grouped_images_count_for_fewer():
    runs = trained(gap=(0.80, 0.81, 0.79), flatten_dense_dropout=(0.70, 0.71, 0.69))
    grouped = [replace(each, effective_images=100.0) for each in runs]

    assert "clearly better" in conclusions.ranking(runs, 2000)[1]
    assert "no clear difference with these seeds and images" in conclusions.ranking(grouped, 2000)[1]
    assert conclusions.resolution(runs, 2000).startswith("The validation split has 2,000 images: by chance ")
    assert conclusions.resolution(grouped, 2000).startswith(
        "The validation split has 2,000 images, which are grouped and count like 100 independent ones: by chance in "
        "their choice, each accuracy is off by about 4.3 points "
    )
    one = [replace(each, effective_images=1.2) for each in runs]
    assert ", which are grouped and count like 1 independent one: by" in conclusions.resolution(one, 2000)


def test_runs_from_before_groups_were_counted_are_of_as_many_as_the_others():
    """A report that is continued has both, of the same images."""
    runs = trained(gap=(0.80, 0.81, 0.79), flatten_dense_dropout=(0.70, 0.71, 0.69))
    for known in ("gap", "flatten-dense-dropout"):
        mixed = [replace(each, effective_images=100.0 * (each.architecture == known)) for each in runs]
        grouped = [replace(each, effective_images=100.0) for each in runs]

        assert conclusions.ranking(mixed, 2000) == conclusions.ranking(grouped, 2000)
        assert conclusions.resolution(mixed, 2000) == conclusions.resolution(grouped, 2000)


def test_over_the_seeds_the_interval_is_that_of_the_paired_t_test():
    """Over the images of so large a split, chance does nothing."""
    gap, regions = (0.81, 0.84, 0.79, 0.86), (0.78, 0.83, 0.80, 0.81)
    expected = ttest_rel(gap, regions).confidence_interval(0.95)

    assert conclusions.paired(trained(gap=gap, regions=regions), "gap", "regions", 10**15) == pytest.approx(
        (0.02, expected.low, expected.high), abs=1e-6
    )
    shuffled = trained(gap=gap, regions=regions)[::-1]
    shuffled.append(shuffled.pop(1))  # an interrupted comparison goes on with what it lacks
    assert conclusions.paired(shuffled, "gap", "regions", 10**15)[1] == pytest.approx(expected.low, abs=1e-6)


def test_over_the_images_the_interval_is_that_of_agresti_and_caffo():
    """Right of 30 images: 27 and 21. With one success and one failure more, 28 and 22 of 32."""
    *_, high = conclusions.paired(trained(gap=(0.9,) * 50, regions=(0.7,) * 50), "gap", "regions", 30)

    half = 1.959964 * math.sqrt(28 / 32 * 4 / 32 / 32 + 22 / 32 * 10 / 32 / 32)
    of_seeds = 2.009575 / 30 / math.sqrt(50)  # Student's quantile for 49 degrees of freedom; a spread of one image
    assert high == pytest.approx(0.2 + math.hypot(half, of_seeds), abs=1e-6)


def test_the_best_is_named_and_the_others_in_order():
    runs = trained(regions=(0.70, 0.71), gap=(0.90, 0.91), attention=(0.60, 0.61), gmp=(0.80, 0.81))

    first, *others = conclusions.ranking(runs, 2000)

    assert re.findall(r"`(\w+)`|(0\.\d+)", first) == [("gap", ""), ("", "0.9050")]
    assert "share" not in first
    assert [re.findall(r"`(\w+)`", line) for line in others] == [
        ["gap", "gmp"],
        ["gap", "regions"],
        ["gap", "attention"],
    ]
    assert [re.findall(r"[+-]\d+\.\d+", line)[0] for line in others] == ["+10.00", "+20.00", "+30.00"]
    _, low, high = conclusions.paired(runs, "gap", "gmp", 2000)
    assert re.findall(r"[+-]\d+\.\d+", others[0])[1:] == [f"{100 * low:+.2f}", f"{100 * high:+.2f}"]


def test_each_network_with_dense_layers_is_compared_where_it_was_trained():
    flat = trained(gap=(0.8, 0.81), flatten_dense=(0.7, 0.71))
    assert len(conclusions.pooling_against_dense(flat, 2000)) == 1
    both = trained(gap=(0.8, 0.81), flatten_dense=(0.7, 0.71), flatten_dense_dropout=(0.7, 0.71))
    assert len(conclusions.pooling_against_dense(both, 2000)) == 2


def test_with_one_seed_nothing_more_is_said_than_the_difference():
    _, line = conclusions.ranking(trained(gap=(0.8,), regions=(0.7,)), 2000)

    assert line == "`gap` against `regions`: +10.00 points with one seed, which says nothing of chance."


def test_two_seeds_that_agree_by_accident_prove_nothing():
    """One image of 33 more, twice: no spread over the seeds at all."""
    runs = trained(gap=(30 / 33, 29 / 33), regions=(29 / 33, 28 / 33))

    _, low, high = conclusions.paired(runs, "gap", "regions", 33)
    assert -1 < low < 0 < high < 1
    assert "no clear difference" in conclusions.ranking(runs, 33)[1]
    perfect = trained(gap=(1.0, 1.0), regions=(0.99, 0.99))
    assert conclusions.paired(perfect, "gap", "regions", 100)[1] < 0


@pytest.mark.parametrize(("images", "seeds"), [(33, 2), (100, 2), (33, 3)])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_of_two_equally_good_ones_none_is_called_clearly_better_in_more_than_one_of_twenty(images, seeds, share):
    random = np.random.default_rng(0)
    accuracies = random.binomial(images, share, (300, 2, seeds)) / images

    said = [conclusions.ranking(trained(gap=gap, regions=regions), images)[1] for gap, regions in accuracies.tolist()]
    assert sum("clearly better" in line for line in said) <= 0.05 * len(said)


def test_of_five_equally_good_ones_the_luckiest_is_called_clearly_better_as_rarely():
    """The best is chosen by the very figures that it is compared by, here those of another 2,000 images each."""
    random = np.random.default_rng(0)
    accuracies = random.binomial(2000, 0.8, (100, 5, 1)) / 2000 + random.normal(0, 0.003, (100, 5, 10))
    names = ("gap", "gmp", "regions", "separable", "hybrid")

    said = [conclusions.ranking(trained(**dict(zip(names, each, strict=True))), 2000) for each in accuracies.tolist()]
    assert sum("clearly better" in line for lines in said for line in lines) <= 0.05 * len(said)
    assert any("may be chance when 10 pairs are compared" in line for lines in said for line in lines)


def test_what_is_told_apart_leaves_the_others_a_milder_test():
    """Holm's procedure: 2.2 standard errors are enough for one pair, but not where three are left."""
    runs = {"gap": (0.829, 0.829, 0.829), "gmp": (0.802, 0.802, 0.802)}

    lines = conclusions.ranking(trained(**runs, regions=(0.8155, 0.8155, 0.8155)), 2000)
    assert ["clearly better" in line for line in lines[1:]] == [False, False]
    lines = conclusions.ranking(trained(**runs, regions=(0.3, 0.3, 0.3)), 2000)
    assert ["clearly better" in line for line in lines[1:]] == [True, True]


@pytest.mark.parametrize(
    ("gap", "dense", "verdict"),
    [
        ((0.80, 0.81, 0.79), (0.802, 0.811, 0.792), "validates at least as well"),
        ((0.796, 0.805, 0.788), (0.80, 0.81, 0.79), "worse on average, but these seeds and images do not settle it"),
        ((0.70, 0.71, 0.69), (0.80, 0.81, 0.795), "validates worse, with"),
        ((0.70, 0.80, 0.75), (0.75, 0.70, 0.72), "better on average, but these seeds and images do not settle it"),
        (
            (0.80,),
            (0.70,),
            "+10.00 points with one seed, which says nothing of chance: it validates better on average, but",
        ),
        ((0.80,), (0.80,), "+0.00 points with one seed, which says nothing of chance: it validates as well on average"),
        ((0.7, 0.9), (0.9, 0.7), "): it validates as well on average, but these seeds and images do not settle it"),
    ],
)
def test_a_conclusion_never_goes_beyond_the_seeds(gap, dense, verdict):
    (sentence,) = conclusions.pooling_against_dense(trained(gap=gap, flatten_dense_dropout=dense), 20_000)

    assert verdict in sentence


def test_what_is_worse_is_not_called_as_good_however_little_it_is():
    """Half a point with half a million images: within the margin, and no accident."""
    runs = trained(gap=(0.795, 0.805, 0.785), flatten_dense_dropout=(0.80, 0.81, 0.79))

    _, low, high = conclusions.paired(runs, "gap", "flatten-dense-dropout", 500_000)
    assert -0.01 < low < high < 0
    (sentence,) = conclusions.pooling_against_dense(runs, 500_000)
    assert "it validates worse, but by less than a point, with" in sentence


def test_no_interval_goes_beyond_what_accuracies_can_differ_by():
    """Student's distribution does, with two seeds that disagree."""
    runs = trained(gap=(0.4, 0.9), regions=(0.9, 0.4))

    assert conclusions.paired(runs, "gap", "regions", 100) == (pytest.approx(0), -1, 1)


def test_a_tie_has_no_winner():
    first = conclusions.ranking(trained(gap=(0.8, 0.7), regions=(0.7, 0.8), gmp=(0.7, 0.7)), 100)[0]

    assert first == "`gap`, `regions` share the highest mean validation accuracy, 0.7500."


def test_others_that_are_equally_good_are_named_in_the_order_of_the_figures():
    """Not in one that changes whenever the same report is written."""
    names = ("regions", "attention", "gmp", "mixed", "hybrid", "gem")

    _, *others = conclusions.ranking(trained(gap=(0.8, 0.8), **dict.fromkeys(names, (0.7, 0.7))), 100)

    assert [re.findall(r"`(\w+)`", line)[1] for line in others] == list(names)


def test_nothing_is_claimed_of_what_was_not_trained():
    assert conclusions.pooling_against_dense(trained(gap=(0.8,), regions=(0.7,)), 100) == []
    assert conclusions.pooling_against_dense(trained(flatten_dense=(0.8,), regions=(0.7,)), 100) == []


def test_how_far_an_accuracy_is_off_is_a_binomial_standard_error():
    """Not from that of other images, from which it differs by 1.4 times as much, but from that of all images."""
    said = conclusions.resolution(trained(gap=(0.75, 0.85), regions=(0.8, 0.8)), 400)

    assert "each accuracy is off by about 2.0 points (one standard error)" in said


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_what_is_all_right_or_all_wrong_on_few_images_is_still_off_by_chance(accuracy):
    """On ten other images, one may be wrong: of 10 and one more of each kind, 11 of 12 are right."""
    said = conclusions.resolution(trained(gap=(accuracy,), regions=(accuracy,)), 10)

    assert "each accuracy is off by about 8.0 points (one standard error)" in said


def test_the_command_leaves_a_report_and_goes_on_where_it_stopped(folder, tmp_path, capsys):
    arguments = ["compare", str(folder), "--architectures", "gap,flatten-dense-dropout", "--trunk", "plain"]
    report = tmp_path / "my report"
    arguments += ["--epochs", "3", "--learning-rate", "0.01", "--batch-size", "8", "--size", "8"]
    arguments += ["--report", str(report)]
    (folder / "dark" / "broken.png").write_bytes(b"no image")
    assert main([*arguments, "--seeds", "1", "--json"]) == 0
    captured = capsys.readouterr()
    first = json.loads(captured.out)
    assert f"run the same command with --report '{report}' to continue\n" in captured.err
    assert [line.split(":")[0] for line in first["skipped"]] == ["dark/broken.png"]
    assert first["leaks"] == first["contradictions"] == []
    page = (report / "README.md").read_text()
    assert "averaging 0.99; seed 0. Measured with the weights of the last epoch; train − " in page
    assert "![Training curves](curves.png)" in page
    interrupted = report / "gap" / "seed-1" / "train" / "events.out.tfevents.0"
    interrupted.parent.mkdir(parents=True)
    interrupted.write_bytes(b"")
    again = [sys.executable, "-m", "model_export", *arguments, "--seeds", "3", "--json"]
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=True)

    second = json.loads(done.stdout)
    assert "\n6 trainings (architectures: 2, seeds: 3) of 3 epochs each; 2 done before\n" in done.stderr
    assert "seed 0 epoch" not in done.stderr  # it is there already
    assert "retracing" not in done.stderr  # each network is traced anew, of which TensorFlow warns on the terminal
    assert "WARNING" not in done.stderr
    assert [row["architecture"] for row in second["table"]] == ["gap", "flatten-dense-dropout"]
    assert first["table"][0]["parameters"] == second["table"][0]["parameters"]
    assert len((report / "runs.csv").read_text().splitlines()) == 7
    with (report / "gap" / "seed-0.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert read(report)[0].seconds_per_epoch == sorted(seconds)[1]  # the first one compiles, and takes longest
    assert (report / "curves.png").read_bytes().startswith(b"\x89PNG")
    (events,) = report.glob("gap/seed-1/train/events.out.tfevents.*")
    assert events.stat().st_size
    page = (report / "README.md").read_text()
    assert "| `flatten-dense-dropout` |" in page
    assert (
        "; seeds 0 to 2, each with the same split and its own first weights and order. Measured with the weights"
        in page
    )
    assert "epoch, mean ± standard deviation over the seeds; train − validation is the difference" in page
    assert "![Training curves: mean and range of the seeds](curves.png)" in page
    assert "Global average pooling against `flatten-dense-dropout`" in page
    assert main([*arguments, "--seeds", "2", "--batch-size", "7"]) == 65
    assert "had another batch_size; compare into another --report" in capsys.readouterr().err


def test_a_comparison_has_a_folder_of_its_own_whatever_its_data_is_called():
    found = [comparison.new_folder(name) for name in ("My photos (2)", "My photos (2)", "照片")]

    assert [str(path) for path in found] == [
        f"comparisons/{name}" for name in ("my-photos-2/1", "my-photos-2/2", "data/1")
    ]
    assert all(path.is_dir() for path in found)


def test_a_report_is_not_continued_with_anything_else_that_shapes_its_figures(folder, tmp_path):
    """Else its table would compare networks that were trained on other images, or from other weights."""
    weights = tmp_path / "trunk.keras"
    weights.write_bytes(b"weights")
    data, report = datasets.load(str(folder)), tmp_path / "report"
    report.mkdir()

    def begin(data=data, **changes):
        given = {"architectures": (), "seeds": 0, "trunk": "plain", "weights": str(weights), "value_range": None}
        return comparison.run(argparse.Namespace(**given | changes), data, Budget(), report)

    assert begin() == begin() == []
    larger = replace(data, shape=data.shape._replace(height=32))
    for other, named in (
        ({"trunk": "batchnorm"}, "trunk"),
        ({"weights": str(folder / "dark" / "00.png")}, "weights, weights_sha256"),
        ({"value_range": (0, 255)}, "value range"),
        ({"data": larger}, "size"),
        ({"data": datasets.load(str(folder), seed=1)}, "data"),
    ):
        with pytest.raises(BadData, match=rf"had another {named}; compare into another --report$"):
            begin(**other)
    weights.write_bytes(b"other weights")
    with pytest.raises(BadData, match="had another weights_sha256; compare"):
        begin()


def test_each_seed_has_its_own_first_weights_whichever_comparison_trains_it(folder, tmp_path, monkeypatch, capsys):
    """All networks have the first seed before any has the second: an unfinished report can compare them."""
    data = datasets.load(str(folder), groups=r"(\d)\.png")
    names = ("gap", "gmp")
    arguments = argparse.Namespace(architectures=names, seeds=2, trunk="plain", weights="none", value_range=None)
    begun = {}

    def train(network, _, budget, *, title, **__):
        begun[title] = budget.seed, network.model.get_weights()[0].tobytes()
        return training.Outcome([{"epoch": 1, "seconds": 1.0, "loss": 0.3, "val_loss": 0.5}])

    def evaluate(_, split, groups):
        return {"accuracy": 0.9, "loss": 0.3, "effective_images": 10 * len(split) + len({*groups})}

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "evaluate", evaluate)
    monkeypatch.setattr(conversion, "convert", lambda network, _: network.model.get_weights()[0].tobytes())
    monkeypatch.setattr(conversion, "save", lambda weights, path: path.write_bytes(weights))
    monkeypatch.setattr(memory, "available", lambda: 1)

    results = comparison.run(arguments, data, Budget(), tmp_path)

    assert [*begun] == [f"{name} seed {seed}" for seed in (0, 1) for name in names]
    assert [seed for seed, _ in begun.values()] == [0, 0, 1, 1]
    assert {each.effective_images for each in results} == {10 * 4 + 1}  # four of one group are for validation
    said = capsys.readouterr().err
    assert all(f"\nwarning: {title}: a step of 64 images takes about " in said for title in begun)
    first = {title: weights for title, (_, weights) in begun.items()}
    assert first["gap seed 0"] != first["gap seed 1"]
    assert (tmp_path / "gap" / "model.onnx").read_bytes() == first["gap seed 0"]
    training.seed(3)
    (tmp_path / "again").mkdir()
    arguments.seeds = 1
    comparison.run(arguments, data, Budget(), tmp_path / "again")
    assert all(begun[f"{name} seed 0"][1] == first[f"{name} seed 0"] for name in names)


def test_two_comparisons_can_begin_a_report_at_the_same_moment(folder, tmp_path):
    data = datasets.load(str(folder))
    arguments = argparse.Namespace(architectures=(), seeds=0, trunk="plain", weights="none", value_range=None)
    together = threading.Barrier(2)

    def begin(report):
        together.wait()
        return comparison.run(arguments, data, Budget(), report)

    for number in range(20):
        report = tmp_path / str(number)
        report.mkdir()
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(begin, [report] * 2)) == [[], []]
        assert json.loads((report / "common.json").read_text())["trunk"] == "plain"


def test_two_comparisons_can_finish_the_same_network_at_the_same_moment(folder, tmp_path, monkeypatch):
    data = datasets.load(str(folder))
    arguments = argparse.Namespace(architectures=("gap",), seeds=1, trunk="plain", weights="none", value_range=None)
    network = build("gap", "plain", data.shape, 2)
    outcome = training.Outcome([{"epoch": 1, "seconds": 1.0, "loss": 0.3, "val_loss": 0.5}])
    measured = {"accuracy": 0.9, "loss": 0.3}
    together = threading.Barrier(2)

    def train(*_, **__):
        together.wait()
        return outcome

    monkeypatch.setattr(architectures, "build", lambda *_: network)
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "evaluate", lambda *_: measured)
    monkeypatch.setattr(conversion, "convert", lambda *_: toys.proto())
    monkeypatch.setattr(comparison, "quiet", nullcontext)  # which is not for threads

    for number in range(3):
        report = tmp_path / str(number)
        report.mkdir()
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(lambda given: comparison.run(arguments, data, Budget(), given), [report] * 2)
        assert first == second == comparison.read(report)
        assert {path.name for path in (report / "gap").iterdir()} == {"model.onnx", "seed-0.csv"}


@pytest.mark.parametrize("at_work", [True, False])
def test_what_another_process_adds_to_the_report_is_not_trained_again(folder, tmp_path, monkeypatch, at_work):
    """The other one finishes the network that this one trains, or is about to train, too; each has one line."""
    gap, gmp, regions, other = trained(gap=[0.9], gmp=[0.8], regions=[0.7], gap_of_another=[0.6])
    others = [replace(other, architecture="gap"), gmp]
    begun = []

    def add(_):
        files.write_table(tmp_path / "runs.csv", [asdict(each) for each in others])

    def train(_, architecture, *__):
        begun.append(architecture)
        if architecture == "gap":
            add(architecture)
        return {"gap": gap, "regions": regions}[architecture]

    monkeypatch.setattr(comparison, "_train", train)
    if not at_work:
        monkeypatch.setattr(comparison, "say", add)  # what is done already has been counted by then
    names = ("gap", "gmp", "regions")
    arguments = argparse.Namespace(architectures=names, seeds=1, trunk="plain", weights="none", value_range=None)

    found = comparison.run(arguments, datasets.load(str(folder)), Budget(), tmp_path)

    assert begun == (["gap", "regions"] if at_work else ["regions"])
    assert found == comparison.read(tmp_path) == ([gap, gmp, regions] if at_work else [*others, regions])


def test_a_full_disk_leaves_the_lines_of_the_finished_runs(tmp_path):
    finished = [asdict(each) for each in trained(gap=[0.9, 0.8])]
    files.write_table(tmp_path / "runs.csv", finished)
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "runs.csv").stat().st_size + 9, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            files.write_table(tmp_path / "runs.csv", [*finished, finished[0]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))

    assert [asdict(each) for each in comparison.read(tmp_path)] == finished


def test_runs_of_a_report_from_before_groups_were_counted_are_read(tmp_path):
    (tmp_path / "runs.csv").write_text(
        "architecture,seed,parameters,train_accuracy,train_loss,validation_accuracy,validation_loss,seconds_per_epoch\n"
        "gap,0,29154,0.9,0.3,0.8,0.5,1.0\n"
    )

    assert read(tmp_path) == [Result("gap", 0, 29154, 0.9, 0.3, 0.8, 0.5, 1.0, effective_images=0)]


def test_a_report_that_is_damaged_is_named(folder, tmp_path, capsys):
    (tmp_path / "runs.csv").write_text("architecture,seed,parameters\ngap,0,29154\ngap,1,2")
    with pytest.raises(BadData, match=r"runs\.csv cannot be read: .*; remove the incomplete lines"):
        read(tmp_path)
    (tmp_path / "gap").mkdir()
    (tmp_path / "gap" / "seed-0.csv").write_text("epoch,loss,val_loss\n1,0.5")
    with pytest.raises(BadData, match=r"gap/seed-0\.csv cannot be read: "):
        report._draw(tmp_path, ("gap",), seeds=1)
    (tmp_path / "common.json").write_text("{")
    assert main(["compare", str(folder), "--report", str(tmp_path)]) == 65
    assert "common.json cannot be read: " in capsys.readouterr().err
