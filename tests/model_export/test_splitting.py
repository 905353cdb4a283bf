"""Copies of an image are not both learned from and measured with, and all else is cut as it always was."""

import hashlib
import re

import numpy as np
import pytest

from model_export import datasets
from model_export.data import sources, splitting
from model_export.data.sources.listing import File
from model_export.errors import BadData
from model_export.figures import seen


def files(contents, label=0):
    """One file for each content, of one class."""
    named = zip((f"{label}-{index}" for index in range(len(contents))), contents, strict=True)
    return [File(name, label, lambda content=content: content) for name, content in named]


def cut(members, labels=("a",)):
    return splitting.split({"train": members}, labels, 0, splitting.copies({"train": members}))


@pytest.mark.parametrize(
    ("contents", "counts"),
    [
        ([b"a", b"a", b"b", b"c"], (2, 1, 1)),
        ([b"a", b"b"] * 10 + [b"c"] * 10, (10, 10, 10)),  # the part would be 3, but no group is as small
        ([b"a"] * 27 + [b"b", b"c", b"d"], (27, 2, 1)),  # each split gets some
        ([b"%d" % (index // 2) for index in range(40)], (32, 4, 4)),
        ([b"a"] * 20, (16, 2, 2)),  # too few that differ to keep them together: it is leakage that is told of
    ],
)
def test_copies_are_kept_together(contents, counts):
    parts = cut(files(contents))

    assert tuple(len(parts[name]) for name in splitting.SPLITS) == counts
    assert sorted(file.name for part in parts.values() for file in part) == sorted(f.name for f in files(contents))
    if len(set(contents)) > 2:
        found = [{file.read() for file in part} for part in parts.values()]
        assert not any(found[i] & found[j] for i, j in ((0, 1), (0, 2), (1, 2)))


def found(**numbers):
    """Files of the classes a and b in each of these splits."""
    return {name: [*files([b""] * a), *files([b""] * b, 1)] for name, (a, b) in numbers.items()}


@pytest.mark.parametrize(
    "numbers",
    [
        {"train": (3, 3)},
        {"train": (3, 3), "test": (1, 1)},
        {"train": (1, 1), "validation": (1, 1)},
        {"train": (1, 1), "validation": (1, 1), "test": (1, 1)},
    ],
)
def test_so_few_images_are_enough_and_one_fewer_is_not(numbers):
    splitting.check(found(**numbers), ("a", "b"))
    for name, (_, enough) in numbers.items():
        with pytest.raises(BadData, match=r"^1 class has too few images: 'b' .*\. Add images, or remove that class$"):
            splitting.check(found(**{**numbers, name: (3, enough - 1)}), ("a", "b"))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"train": (3, 2)}, "'b' (2); each class needs at least 3, one of them to validate with and one to test"),
        (
            {"train": (3, 2), "test": (1, 0)},
            "'b' (in train, test); each class needs at least 3 in train, one of them to validate with, and one in test",
        ),
        (
            {"train": (1, 1), "validation": (1, 1), "test": (1, 0)},
            "'b' (in test); each class needs one in every split",
        ),
    ],
)
def test_what_a_class_lacks_is_said(numbers, words):
    with pytest.raises(BadData, match=re.escape(f": {words}. Add")):
        splitting.check(found(**numbers), ("a", "b"))


@pytest.mark.parametrize(("count", "rest"), [(10, ""), (12, " and 2 more")])
def test_of_many_classes_that_lack_images_ten_are_named(count, rest):
    labels = tuple(f"{number}" for number in range(count))

    with pytest.raises(BadData, match=rf"^{count} classes have too few images: '0' \(0\), .*'9' \(0\){rest}; "):
        splitting.check({"train": []}, labels)


def test_of_what_was_skipped_that_of_the_classes_that_lack_images_is_named():
    skipped = ("a/1.png: empty", "b/2.png: empty", "train/b: it cannot be read", "ab/3.png: empty")

    with pytest.raises(BadData, match=r"class; skipped b/2\.png: empty; skipped train/b: it cannot be read$"):
        splitting.check(found(train=(3, 2)), ("a", "b"), skipped)


def test_the_same_file_in_two_classes_is_no_copy():
    """It is a contradiction, and told of as such."""
    assert splitting.copies({"train": [*files([b"a", b"b", b"c"]), *files([b"a", b"d", b"e"], 1)]}) == {}


def test_what_is_split_is_not_read():
    assert splitting.copies({"train": files([b"a", b"a"]), "validation": files([b"b"])}) == {}


def test_files_of_different_sizes_are_not_read():
    def fail():
        raise AssertionError

    members = [File(f"{size}", 0, fail, size=size) for size in range(1, 9)]

    assert splitting.copies({"train": members}) == {}


def test_files_that_cannot_be_read_are_skipped_with_the_reason(folder):
    """They are as long as each other, and so would be compared."""
    for name in ("broken.png", "failing.png"):
        (folder / "dark" / name).symlink_to("/proc/self/mem")  # opens, and fails where it is read

    dataset = datasets.load(str(folder))

    assert sum(dataset.counts().values()) == 40
    assert sorted(line.partition(":")[0] for line in dataset.skipped) == ["dark/broken.png", "dark/failing.png"]


def test_the_digits_are_cut_as_they_always_were():
    """The published model was trained on this split."""
    found = sources.find("digits")

    parts = splitting.split(found.files, found.labels, 0, splitting.copies(found.files))

    names = " ".join(file.name for name in splitting.SPLITS for file in parts[name])
    assert hashlib.sha256(names.encode()).hexdigest() == (
        "a179fb81c28bbee3a9dc3f3af737e487076ee3fdb739783165444dc85ffb9b7c"
    )


def test_copies_in_a_folder_are_told_of_and_are_no_leakage(folder):
    for index in range(0, 20, 2):
        (folder / "dark" / f"{index:02}-copy.png").write_bytes((folder / "dark" / f"{index:02}.png").read_bytes())

    dataset = datasets.load(str(folder))

    (note,) = dataset.notes
    assert note.startswith("20 files are the same as another of their class, such as dark/")
    assert dataset.leaks == ()
    before = datasets.load(str(folder), together=False)  # as older versions cut
    assert before.leaks
    measured = datasets.load(str(folder), measuring=True)
    for trained in (dataset, before):
        places = seen.cut_as_trained(measured, {"fingerprint": trained.fingerprint(), "seed": 0})
        names = np.array(measured.splits["all"].names)
        assert {name: sorted(names[part]) for name, part in places.items()} == {
            name: sorted(split.names) for name, split in trained.splits.items()
        }


def test_where_a_class_has_too_few_that_differ_its_copies_are_not_said_to_be_together(folder):
    one = (folder / "dark" / "00.png").read_bytes()
    for path in (folder / "dark").iterdir():
        path.write_bytes(one)

    dataset = datasets.load(str(folder))

    assert dataset.leaks
    (note,) = dataset.notes
    assert note.endswith("kept together in one split, unless their class has too few files that differ")
