"""Folders become splits; what cannot be trained on is said before anything is trained."""

import numpy as np
import pytest

from app.images import Shape, decode
from model_export import datasets
from model_export.errors import BadData, MissingInput
from tests import toys


def test_a_folder_of_classes_is_split_by_class(folder):
    dataset = datasets.load(str(folder))

    assert dataset.labels == ("bright", "dark")
    assert dataset.shape == (16, 16, 3)
    assert dataset.counts() == {"train": 32, "validation": 4, "test": 4}
    for split in dataset.splits.values():
        assert np.bincount(split.labels).tolist() == [len(split) // 2] * 2
        bright = split.images[split.labels == 0]
        assert bright.min() >= 150


def test_no_image_is_in_two_splits_and_none_is_lost(folder):
    splits = datasets.load(str(folder)).splits.values()

    images = {image.tobytes() for split in splits for image in split.images}
    assert len(images) == sum(len(split) for split in splits) == 40


def test_the_seed_decides_the_split(folder):
    first, again, other = (datasets.load(str(folder), seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.splits["test"].images, again.splits["test"].images)
    assert not np.array_equal(first.splits["test"].images, other.splits["test"].images)


def test_images_are_what_the_service_would_decode(folder):
    dataset = datasets.load(str(folder), size=(12, 10))
    files = {decode(path.read_bytes(), Shape(12, 10, 3)).tobytes() for path in folder.rglob("*.png")}

    assert {image.tobytes() for split in dataset.splits.values() for image in split.images} == files


def test_folders_named_after_splits_are_kept(folder, tmp_path):
    for split, first, last in (("train", 0, 12), ("validation", 12, 16), ("test", 16, 20)):
        for label in ("bright", "dark"):
            (tmp_path / "split" / split / label).mkdir(parents=True)
            for index in range(first, last):
                (folder / label / f"{index:02}.png").rename(tmp_path / "split" / split / label / f"{index:02}.png")

    assert datasets.load(str(tmp_path / "split")).counts() == {"train": 24, "validation": 8, "test": 8}


def test_a_missing_validation_split_is_cut_from_train(folder, tmp_path):
    (tmp_path / "split").mkdir()
    folder.rename(tmp_path / "split" / "train")

    assert datasets.load(str(tmp_path / "split")).counts() == {"train": 32, "validation": 4, "test": 4}


def test_unreadable_files_are_counted_named_and_skipped(folder):
    (folder / "dark" / "zz.png").write_bytes(b"not an image")
    (folder / "dark" / "00.png").write_bytes((folder / "dark" / "00.png").read_bytes()[:100])
    (folder / "dark" / ".DS_Store").write_bytes(b"hidden")

    dataset = datasets.load(str(folder))

    assert sum(dataset.counts().values()) == 39
    assert sorted(line.partition(":")[0] for line in dataset.skipped) == ["dark/00.png", "dark/zz.png"]
    assert all("send" in line or "save it again" in line for line in dataset.skipped)


def test_the_built_in_digits():
    dataset = datasets.load("digits")

    assert dataset.labels == tuple("0123456789")
    assert dataset.shape == (32, 32, 1)
    assert dataset.counts() == {"train": 1439, "validation": 179, "test": 179}
    assert len(dataset.sample) == 32


def test_size_channels_and_value_range_can_be_chosen(folder):
    assert datasets.load(str(folder), size=(20, 24), channels=1).shape == (20, 24, 1)


def test_a_value_range_reaches_the_decoder(tmp_path):
    for label, value in (("a", 1000), ("b", 3000)):
        (tmp_path / label).mkdir()
        for index in range(3):
            np.save(tmp_path / label / f"{index}.npy", np.full((8, 10, 5), value, np.uint16))

    dataset = datasets.load(str(tmp_path), size=(8, 10), channels=5, value_range=(0, 4000))

    assert dataset.shape == (8, 10, 5)
    assert set(np.unique(dataset.splits["train"].images)) == {64, 191}


def test_hidden_folders_and_a_class_named_train_are_no_trap(folder):
    (folder / "dark" / ".ipynb_checkpoints").mkdir()
    (folder / "dark" / ".ipynb_checkpoints" / "copy.png").write_bytes(toys.plain(1))
    (folder / "bright").rename(folder / "train")

    dataset = datasets.load(str(folder))

    assert dataset.labels == ("dark", "train")
    assert sum(dataset.counts().values()) == 40


def test_a_split_without_a_readable_image(folder, tmp_path):
    (tmp_path / "split").mkdir()
    folder.rename(tmp_path / "split" / "train")
    for label in ("bright", "dark"):
        (tmp_path / "split" / "val" / label).mkdir(parents=True)
        (tmp_path / "split" / "val" / label / "x.png").write_bytes(b"nothing")

    with pytest.raises(BadData, match="no image of the split 'validation' can be read"):
        datasets.load(str(tmp_path / "split"))
    (tmp_path / "split" / "validation" / "dark").mkdir(parents=True)
    with pytest.raises(BadData, match="both 'val' and 'validation'"):
        datasets.load(str(tmp_path / "split"))


def test_large_images_are_brought_to_128(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(3):
            (tmp_path / label / f"{index}.png").write_bytes(toys.plain(index, (300, 100)))

    assert datasets.load(str(tmp_path)).shape == (100, 128, 3)


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda f: [p.unlink() for p in (f / "dark").iterdir()], BadData, "no image in .*dark"),
        (
            lambda f: [p.write_bytes(b"x") for p in (f / "dark").iterdir()],
            BadData,
            "no image of class 'dark' can be read",
        ),
        (lambda f: [p.unlink() for p in f.rglob("*.png")], MissingInput, "no image in any class folder"),
        (lambda f: [p.unlink() for p in sorted((f / "dark").iterdir())[2:]], BadData, "'dark' has 2 images"),
        (lambda f: (f / "dark").rename(f.parent / "elsewhere"), BadData, "has one class, 'bright'"),
        (lambda f: (f / "test" / "dark").mkdir(parents=True), BadData, "no folder 'train'"),
    ],
)
def test_what_cannot_be_trained_on(folder, spoil, kind, message):
    spoil(folder)

    with pytest.raises(kind, match=message):
        datasets.load(str(folder))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(MissingInput, match="is not a folder"):
        datasets.load(str(tmp_path / "absent"))
    with pytest.raises(MissingInput, match="has no folder"):
        datasets.load(str(tmp_path))


def test_a_class_that_train_has_not(folder, tmp_path):
    (tmp_path / "split").mkdir()
    folder.rename(tmp_path / "split" / "train")
    (tmp_path / "split" / "validation" / "grey").mkdir(parents=True)

    with pytest.raises(BadData, match="classes that 'train' has not: grey"):
        datasets.load(str(tmp_path / "split"))
