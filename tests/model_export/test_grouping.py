"""Images of one group are never in two splits, and every class is in every split."""

import json
import tracemalloc
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_export import datasets, readers
from model_export.__main__ import main
from model_export.data import grouping, splitting
from model_export.data.sources.listing import File
from model_export.errors import BadData
from tests import toys

LABELS = ("a", "b", "c")


def files(groups, contents=None):
    """List one file for each group and class."""
    return [
        File(f"{index}", label, lambda index=index: b"%d" % (contents or range(len(groups)))[index], group=f"{group}")
        for index, (group, label) in enumerate(groups)
    ]


def cut(members, *, test=False, seed=0):
    found = {"train": members, **({"test": files([("t", n) for n in range(3)])} if test else {})}
    return splitting.split(found, LABELS, seed, splitting.copies(found))


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=9, max_size=120),
    st.data(),
    st.booleans(),
)
def test_groups_stay_together_and_nothing_is_lost(groups, data, test):
    contents = data.draw(st.lists(st.integers(0, 200), min_size=len(groups), max_size=len(groups)))
    members = files(groups, contents)

    try:
        parts = cut(members, test=test)
    except BadData:  # the groups of a class are too few
        return

    cut_off = [file for name, part in parts.items() for file in part if not (test and name == "test")]
    assert sorted(file.name for file in cut_off) == sorted(file.name for file in members)
    assert {name: {file.label for file in part} for name, part in parts.items()} == {
        name: {0, 1, 2} for name in splitting.SPLITS
    }
    where = {}
    for name, part in parts.items():
        for file in part if not (test and name == "test") else ():
            where.setdefault(file.group, set()).add(name)
            where.setdefault((file.label, file.read()), set()).add(name)  # copies, too
    assert all(len(names) == 1 for names in where.values())


def test_a_tenth_of_each_class_is_cut_off_where_groups_allow_it():
    members = files([(f"{label}-{index // 2}", label) for label in range(3) for index in range(40)])

    parts = cut(members)

    for name, share in (("train", 32), ("validation", 4), ("test", 4)):
        assert [sum(file.label == label for file in parts[name]) for label in range(3)] == [share] * 3


def test_groups_of_many_classes_are_taken_whole():
    members = files([(site, label) for site in range(10) for label in range(3) for _ in range(5)])

    parts = cut(members)

    assert {name: len({file.group for file in part}) for name, part in parts.items()} == {
        "train": 8,
        "validation": 1,
        "test": 1,
    }


def test_large_groups_are_learned_from_and_the_smallest_are_measured_with():
    sizes = {"huge": 50, "large": 30, "small": 20}
    members = files([(group, label) for group, size in sizes.items() for label in range(3) for _ in range(size)])

    parts = cut(members)

    assert [{file.group for file in parts[name]} for name in splitting.SPLITS] == [{"huge"}, {"small"}, {"large"}]


def test_small_groups_are_not_all_taken_for_the_first_split():
    """In validation, a tenth would hold all three; one is left for the test split."""
    members = files([(min(index, 3), label) for label in range(3) for index in range(100)])

    parts = cut(members)

    assert [len(parts[name]) for name in splitting.SPLITS] == [97 * 3, 2 * 3, 1 * 3]


@pytest.mark.parametrize("seed", range(5))
def test_a_group_that_is_too_large_for_one_of_its_classes_is_learned_from(seed):
    members = files([(index, label) for label in range(3) for index in range(30)] + [(30, 0), *[(30, 1)] * 40])

    parts = cut(members, seed=seed)

    assert "30" in {file.group for file in parts["train"]}


def test_a_class_of_few_images_gives_each_split_one():
    parts = cut(files([(index, index % 3) for index in range(27)]))

    assert [len(parts[name]) for name in splitting.SPLITS] == [7 * 3, 3, 3]


@pytest.mark.parametrize("numbers", list(permutations(range(3))))
def test_the_classes_in_the_fewest_groups_choose_first(numbers):
    """x is in four groups, y and z in three: none may be left for them else, whatever their numbers are."""
    x, y, z = numbers
    groups = {"a": [x, x, z], "b": [y, z, z], "c": [x, x], "d": [x, x, y], "e": [x, x, y, z]}
    members = files([(group, label) for group, labels in groups.items() for label in labels])

    for seed in range(3):
        assert all(cut(members, seed=seed).values())


def test_the_seed_decides():
    members = files([(index, index % 3) for index in range(90)])
    names = lambda parts: [file.name for name in splitting.SPLITS for file in parts[name]]  # noqa: E731

    assert names(cut(members)) == names(cut(members)) != names(cut(members, seed=1))


def test_a_class_in_too_few_groups_is_named_with_their_number():
    with pytest.raises(BadData, match=r"^in too few groups: 'b' \(2\); each class needs 3, one for each split\."):
        cut(
            files(
                [(index % 5, 0) for index in range(30)]
                + [(index % 2, 1) for index in range(30)]
                + [(index % 7, 2) for index in range(30)]
            )
        )


def test_groups_that_no_split_can_have():
    """a and b share two groups, one of which each split needs; c is only in those."""
    pairs = [(0, 0), (1, 0), (2, 0), (0, 1), (3, 1), (4, 1), (1, 2), (3, 2), (0, 2)]
    with pytest.raises(BadData, match=r"no way was found .*: '[abc]' is in too few; try another --seed"):
        cut(files(pairs))


def test_another_seed_may_find_a_way():
    """It is not sought in all orders of the groups, which are too many."""
    members = files([(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (3, 2), (4, 0), (4, 1), (5, 0)])

    with pytest.raises(BadData, match="no way was found"):
        cut(members, seed=0)
    assert cut(members, seed=1)["train"]


def test_many_groups_of_many_classes_need_little_memory():
    """Each group has few classes: a table of all groups by all classes would take 80 MB here, 8 GB for a million."""
    labels = tuple(f"{number}" for number in range(1000))
    members = [File(f"{index}", index % 1000, bytes, group=f"{index // 2}") for index in range(20_000)]

    tracemalloc.start()
    parts = grouping.split(grouping.clusters(members, {}), labels, ("validation", "test"), 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(parts[1]) == 16_000
    assert peak < 40_000_000


def test_a_pattern_groups_the_files_of_a_folder(folder):
    """Files 00 to 09 and 10 to 19 of both classes would be two groups: the last digit makes ten."""
    dataset = datasets.load(str(folder), groups=r"(\d)\.png$")

    assert dataset.counts_of_groups() == {"train": 8, "validation": 1, "test": 1}
    digits = [{name[-5] for name in split.names} for split in dataset.splits.values()]
    assert [len(of_split) for of_split in digits] == [8, 1, 1]


@pytest.mark.parametrize(
    ("pattern", "group"),
    [(r"\d", "1"), (r"^(\w+)/(\d)", "dark/1"), (r"(\d)(x)?", "1/"), ("dark/(?:1)7", "dark/17")],
)
def test_what_a_pattern_finds_is_the_group(pattern, group):
    found = grouping.named({"train": [File("dark/17.png", 0, bytes)]}, pattern)

    assert [file.group for file in found["train"]] == [group]


@pytest.mark.parametrize(("pattern", "rest"), [("dark", 17), ("x*", 37)])
def test_a_pattern_must_find_something_in_every_path(folder, pattern, rest):
    found = rf"finds nothing in 'bright/00\.png', 'bright/01\.png', 'bright/02\.png' and {rest} more; it must"
    with pytest.raises(BadData, match=found):
        datasets.load(str(folder), groups=pattern)


def test_paths_in_which_a_pattern_finds_nothing_are_all_named_if_there_are_few(folder):
    with pytest.raises(BadData, match=r"in 'dark/17\.png', 'dark/18\.png', 'dark/19\.png'; it must"):
        datasets.load(str(folder), groups="bright|0|dark/1[0-6]")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a", "'(a' is not a regular expression: missing )"),
        ("a{99999999999}", "'a{99999999999}' is not a regular expression: the repetition number is too large"),
        ("(" * 3000 + ")" * 3000, "' is not a regular expression: maximum recursion depth exceeded"),
        ("pati\udcebnt", r"'pati\udcebnt' cannot be printed; write pati\udcebnt"),  # a byte that is not UTF-8
    ],
)
def test_what_is_no_pattern_is_refused(folder, capsys, pattern, reason):
    with pytest.raises(SystemExit) as caught:
        main(["train", str(folder), "--groups", pattern])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_byte_that_is_not_utf8_can_be_written_in_a_pattern():
    """As the message says that refuses it."""
    pattern = readers.pattern(r"pati\udcebnt\d")

    found = grouping.named({"train": [File("pati\udcebnt7.png", 0, bytes)]}, pattern)

    assert found["train"][0].group == "pati\udcebnt7"


def test_a_table_has_its_own_groups(folder):
    lines = [f"{path.relative_to(folder)},{path.parent.name},g" for path in folder.rglob("*.png")]
    (folder / "t.csv").write_text("\n".join(["file,label,group", *lines]))

    with pytest.raises(BadData, match="the table has a column 'group' already; leave out --groups"):
        datasets.load(str(folder / "t.csv"), groups="dark")


def test_groups_in_two_splits_are_leakage(folder, tmp_path, capsys):
    split = tmp_path / "split"
    for path in sorted(folder.rglob("*.png")):
        home = split / ("validation" if path.stem < "03" else "train") / path.parent.name
        home.mkdir(parents=True, exist_ok=True)
        path.rename(home / path.name)

    assert main(["train", str(split), "--groups", r"(\d)\.png", "--fail-on-leakage"]) == 65

    said = capsys.readouterr().err
    assert "0 images are the same as one of an earlier split and 0 nearly so, and 3 groups are in two; figures" in said
    assert "  group '0': train/bright/10.png and validation/bright/00.png" in said
    assert "0 nearly so, and 3 groups are in two; remove one of each, and keep each group in one split" in said


def test_a_group_that_is_in_all_splits_is_one_group(folder, tmp_path, capsys):
    for path in sorted(folder.rglob("*.png")):
        home = tmp_path / "split" / ("train", "validation", "test")[int(path.stem) % 3] / path.parent.name
        home.mkdir(parents=True, exist_ok=True)
        path.rename(home / path.name)
    options = ["--groups", "(bright|dark)", "--epochs", "1", "--batch-size", "8", "--trunk", "plain", "--json"]
    options += ["--name", "grouped"]

    assert main(["train", str(tmp_path / "split"), *options]) == 0

    captured = capsys.readouterr()
    assert "0 nearly so, and 2 groups are in two; figures measured on them are too good" in captured.err
    assert "0 nearly so, and 2 groups are in two, so" in Path("models/grouped/1/README.md").read_text()
    assert [leak["group"] for leak in json.loads(captured.out)["leaks"]] == ["bright", "dark"] * 3


def test_a_model_is_measured_with_the_groups_that_it_was_trained_with(folder, capsys):
    options = ["--epochs", "1", "--batch-size", "8", "--trunk", "plain", "--json", "--name", "grouped"]
    options += ["--groups", r"(\d)\.png"]
    assert main(["train", str(folder), *options]) == 0
    capsys.readouterr()

    assert main(["verify", "grouped", str(folder), "--json"]) == 0

    verified = json.loads(capsys.readouterr().out)
    assert verified["seen_in_training"] == {"train": "learned from", "validation": "tuned on", "test": "not seen"}
    counts = {split: (found["images"], found["groups"]) for split, found in verified["metrics"].items()}
    assert counts == {"train": (32, 8), "validation": (4, 1), "test": (4, 1)}
    assert verified["metrics"]["test"]["effective_images"] == 1
    assert main(["verify", "grouped", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "are for new groups: the 4 images of test, in 1 group, count like 1 independent one\n" in shown
    assert ", test not seen\n" in shown
    assert main(["inspect", "grouped", "--json"]) == 0
    metadata = json.loads(capsys.readouterr().out)["metadata"]
    record, published = metadata["training"], metadata["metrics"]["validation"]
    assert (record["groups"], record["group_pattern"]) == ({"train": 8, "validation": 1, "test": 1}, r"(\d)\.png")
    assert r"--groups '(\d)\.png'" in record["repeat"]
    assert (published["groups"], published["effective_images"]) == (1, 1)
    (folder / "dark" / "x.png").write_bytes((folder / "dark" / "00.png").read_bytes())
    assert main(["verify", "grouped", str(folder), "--json"]) == 0  # which the pattern does not group any more
    said = json.loads(capsys.readouterr().out)
    assert said["seen_in_training"] == {"all": "not known"}
    assert "groups" not in said["metrics"]["all"]


def test_the_temperature_is_judged_on_other_groups(folder, tmp_path, capsys):
    """Of validation, in each of three groups, a quarter is in the wrong class: the network is too sure of itself."""
    for path in sorted(folder.rglob("*.png")):
        number, label = int(path.stem), path.parent.name
        if held_out := number >= 8:
            label = {"bright": "dark", "dark": "bright"}[label] if number in (8, 12, 16) else label
        home = tmp_path / "split" / ("validation" if held_out else "train") / label
        home.mkdir(parents=True, exist_ok=True)
        path.rename(home / f"{path.parent.name}-{number % 3}-{number}.png")
    command = ["train", str(tmp_path / "split"), "--groups", r"(\d)-\d", "--epochs", "2", "--trunk", "plain", "--json"]

    assert main(command) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["calibration"]["temperature"] > 1
    assert said["calibration"]["folds"] == said["metrics"]["validation"]["groups"] == 3


def test_new_images_are_measured_with_their_own_groups(folder, capsys):
    toys.publish(Path("models"), "toy", 1, toys.artifact(training={"group_pattern": "x (.*)"}))

    assert main(["verify", "toy", str(folder), "--json", "--groups", r"(\d)\.png"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["metrics"]["all"]["groups"] == 10
    assert {point["groups"] for point in said["selective"]["all"] if point["images"]} <= set(range(1, 11))
    assert said["selective"]["all"][0]["effective_images"] == said["metrics"]["all"]["effective_images"]

    assert main(["verify", "toy", str(folder), "--groups", "d"]) == 65
    assert "--groups 'd' finds nothing in 'bright/00.png'" in capsys.readouterr().err
    assert main(["verify", "toy", str(folder)]) == 0
    assert "too good. If these images are of groups too, name them: --groups 'x (.*)'\n" in capsys.readouterr().out


def test_groups_without_images_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["verify", "toy", "--groups", "x"])

    assert ended.value.code == 2
    assert "error: argument --groups: it groups the images of DATA; name a data set" in capsys.readouterr().err


def test_groups_that_a_table_has_lost_since_the_training_are_missed(folder, capsys):
    """It was split already, so its images are still known."""
    table = folder / "t.csv"
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*.png"))]
    split = {"16": "validation", "17": "test"}
    lines = [f"{file},{file.parent},{split.get(file.stem, 'train')},{file.stem}" for file in files]
    table.write_text("\n".join(["file,label,split,group", *lines]))
    record = {
        "seed": 0,
        "groups": {"train": 18, "validation": 1, "test": 1},
        "fingerprint": datasets.load(str(table), measuring=True).fingerprint(),
    }
    toys.publish(Path("models"), "toy", 1, toys.artifact(training=record))

    assert main(["verify", "toy", str(table)]) == 0
    assert "count images, not groups" not in capsys.readouterr().out
    table.write_text("\n".join(["file,label,split", *(line.rpartition(",")[0] for line in lines)]))
    assert main(["verify", "toy", str(table)]) == 0
    assert "The intervals count images, not groups, as the groups are not known any more" in capsys.readouterr().out
