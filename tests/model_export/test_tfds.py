"""``tfds:NAME``: a data set of tensorflow-datasets becomes a folder of its files as they were published."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.errors import MissingInput
from model_export.data import sources
from model_export.data.sources import tfds
from model_export.errors import BadData
from tests import toys

IMAGES = {"train": toys.plain(20), "valid": toys.plain(230, kind="JPEG")}


def test_tensorflow_datasets(tmp_path):
    """The real loading code over files that tensorflow-datasets' own mock makes up."""
    package = pytest.importorskip("tensorflow_datasets", reason="the extra 'tfds' is not installed")
    info = package.builder("cats_vs_dogs", data_dir=tmp_path).info
    split = package.core.SplitInfo(name="train", shard_lengths=[40], num_bytes=1, filename_template=None)
    info.set_splits(package.core.splits.SplitDict([split]))
    metadata = tmp_path / "cats_vs_dogs" / str(info.version)
    metadata.mkdir(parents=True)
    info.write_to_directory(metadata)
    info.features.save_config(metadata)
    with package.testing.mock_data(num_examples=40, data_dir=str(tmp_path)):
        sources.find("tfds:cats_vs_dogs")
        listing = sources.find("tfds:cats_vs_dogs")  # whose files are there already

    assert listing.name.startswith("tfds cats_vs_dogs")
    assert listing.labels == ("cat", "dog")
    assert len(listing.files["train"]) == 40
    assert all(file.read().startswith(b"\x89PNG") for file in listing.files["train"])


class Builder:
    """What a data set of tensorflow-datasets looks like to its user: encoded images of two classes, in two splits."""

    def __init__(self, folder, package, name):
        self.data_dir, self.broken = str(folder), False
        features = {"image": package.features.Image(), "label": package.features.ClassLabel()}
        features["label"].names = ["cat", "cat/dog"]
        splits = {split: SimpleNamespace(num_examples=4) for split in IMAGES}
        self.info = SimpleNamespace(features=features, splits=splits, full_name=f"{name}/1.0.0")

    def download_and_prepare(self):
        if not Path(self.data_dir).is_dir():
            raise ConnectionError("no network\nin many lines")

    def as_dataset(self, *, split, decoders):
        assert isinstance(decoders["image"], FileOfItsOwn)
        for index in range(4):
            if self.broken and index == 3:
                raise OSError("the disk is full")
            known = -1 if split == "test" else index % 2
            yield {"image": IMAGES.get(split, toys.plain(90)), "label": np.int64(known)}


class FileOfItsOwn:
    """Tells tensorflow-datasets to leave an image as it was published."""


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A data set that a stand-in for tensorflow-datasets knows."""
    image, label = type("Image", (), {}), type("ClassLabel", (), {})
    package = SimpleNamespace(
        features=SimpleNamespace(Image=image, ClassLabel=label),
        decode=SimpleNamespace(SkipDecoding=FileOfItsOwn),
        as_numpy=iter,
        builder=lambda name: builder if name == "some/small" else pytest.fail(name),
    )
    builder = Builder(tmp_path / "prepared", package, "some/small")
    (tmp_path / "prepared").mkdir()
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", package)
    return builder


def test_a_data_set_of_tensorflow_datasets_is_a_folder_of_the_files_as_published(prepared):
    found = sources.find("tfds:some/small")
    prepared.broken = True  # it is not read again
    again = sources.find("tfds:some/small")

    assert (found.name, found.labels) == ("tfds some/small/1.0.0", ("cat", "cat-dog"))
    names = {split: [file.name for file in members] for split, members in found.files.items()}
    for listing, split, ending, sent in (
        (found, "train", "png", "train"),
        (again, "validation", "jpeg", "valid"),
    ):
        assert names[split] == [
            f"{split}/{known}/{index:07}.{ending}"
            for known, index in (("cat", 0), ("cat", 2), ("cat-dog", 1), ("cat-dog", 3))
        ]
        assert all(file.read() == IMAGES[sent] for file in listing.files[split])


def test_images_that_are_published_without_their_class_are_left_out(prepared, capsys):
    """As in the test splits of competitions: tensorflow-datasets gives them the class -1."""
    prepared.info.splits["test"] = SimpleNamespace(num_examples=4)

    found = sources.find("tfds:some/small")

    assert {split: len(members) for split, members in found.files.items()} == {"train": 4, "validation": 4}
    assert capsys.readouterr().err == "note: 4 images of test left out, as they are published without their class\n"


def test_a_data_set_that_is_unpacked_only_in_part_is_unpacked_again(prepared):
    prepared.broken = True
    with pytest.raises(OSError, match="the disk is full"):
        sources.find("tfds:some/small")
    assert not list(Path(prepared.data_dir).iterdir())

    prepared.broken = False
    assert len(sources.find("tfds:some/small").files["train"]) == 4


def test_a_data_set_that_cannot_be_downloaded_is_told_of_in_a_line(prepared):
    Path(prepared.data_dir).rmdir()

    with pytest.raises(MissingInput) as caught:
        sources.find("tfds:some/small")
    assert str(caught.value) == "tensorflow-datasets cannot prepare 'some/small': no network"


def test_of_tensorflow_datasets_each_example_must_be_one_image_of_one_class():
    image, label = type("Image", (), {}), type("ClassLabel", (), {})
    package = SimpleNamespace(features=SimpleNamespace(Image=image, ClassLabel=label))

    def find(**features):
        return tfds._features(package, features, "some")

    assert find(image=image(), coarse_label=label(), label=label()) == ("image", "label")
    assert find(picture=image(), species=label(), id=object()) == ("picture", "species")
    for features in ({"image": image()}, {"left": image(), "right": image(), "label": label()}, {"label": label()}):
        words = f"tfds:some does not give each image one class (it has {', '.join(features)})"
        with pytest.raises(BadData, match=re.escape(words)):
            find(**features)


def test_splits_and_classes_of_tensorflow_datasets_become_folders():
    assert [tfds._split(name) for name in ("train", "valid", "val", "test")] == ["train", *["validation"] * 2, "test"]
    assert [tfds._safe(name) for name in ("cat", "cat/dog", "")] == ["cat", "cat-dog", "unnamed"]


@pytest.mark.parametrize(
    ("kind", "ending"), [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp")]
)
def test_a_file_is_named_for_what_is_in_it(kind, ending):
    """By the names, a folder of images knows them."""
    assert tfds._ending(toys.plain(1, kind=kind)) == ending


def test_tensorflow_datasets_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)

    with pytest.raises(MissingInput, match="pip install tensorflow-datasets"):
        sources.find("tfds:cats_vs_dogs")
