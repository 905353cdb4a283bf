"""Folders become splits; what cannot be trained on is said before anything is trained."""

import io
import json
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from app.errors import MissingInput
from app.images import Shape, decode
from model_export import datasets
from model_export.__main__ import main
from model_export.data import sources
from model_export.errors import BadData
from model_export.reporting import remarks, summary
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


def test_a_data_set_is_named_after_its_folder_however_that_is_written(folder, monkeypatch):
    monkeypatch.chdir(folder)

    assert datasets.load(".").name == folder.name


def test_what_is_only_measured_may_lack_splits_and_classes(folder, tmp_path):
    shape = {"size": (16, 16), "channels": 3, "measuring": True}
    for split in ("Test", "val"):
        (tmp_path / "split" / split / "dark").mkdir(parents=True)
    for path in (folder / "dark").iterdir():
        path.rename(tmp_path / "split" / "Test" / "dark" / path.name)
    shutil.rmtree(folder / "dark")

    assert datasets.load(str(tmp_path / "split"), **shape).counts() == {"test": 20}
    assert datasets.load(str(folder), **shape).counts() == {"all": 20}


def test_a_split_without_images_is_none_to_train_with(folder, tmp_path):
    for name in ("bright", "dark"):
        (tmp_path / "split" / "validation" / name).mkdir(parents=True)
    folder.rename(tmp_path / "split" / "train")

    with pytest.raises(BadData, match=r"2 classes have too few images: 'bright' \(in validation\), 'dark' \(in valid"):
        datasets.load(str(tmp_path / "split"))


def test_the_split_does_not_depend_on_the_order_in_which_a_disk_lists_its_files(folder):
    files = {path: path.read_bytes() for path in folder.rglob("*.png")}
    first = datasets.load(str(folder)).splits["test"].names
    for path in files:
        path.unlink()
    for path in np.random.default_rng(0).permutation(sorted(files)):
        path.write_bytes(files[path])

    assert datasets.load(str(folder)).splits["test"].names == first
    assert [file.name for file in sources.find(str(folder)).files["train"]] == sorted(
        str(path.relative_to(folder)) for path in files
    )


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
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):  # written by systems, not by users
        (folder / "dark" / name).write_bytes(b"hidden")

    dataset = datasets.load(str(folder))

    assert sum(dataset.counts().values()) == 39
    assert sorted(line.partition(":")[0] for line in dataset.skipped) == ["dark/00.png", "dark/zz.png"]
    assert all("use JPEG" in line or "save it again" in line for line in dataset.skipped)


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


def test_photos_on_their_side_count_as_they_are_looked_at(tmp_path):
    """A telephone stores 60×40 and says in EXIF that it was held upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for label, kind in (("a", "JPEG"), ("b", "TIFF")):
        (tmp_path / label).mkdir()
        for index in range(3):
            image = Image.new("RGB", (60, 40), (index, 0, 0))
            (tmp_path / label / f"{index}.{kind.lower()}").write_bytes(toys.save(image, kind, exif=exif))

    dataset = datasets.load(str(tmp_path))

    assert dataset.shape == (60, 40, 3)
    assert set(dataset.splits["train"].headers) == {"60×40 JPEG RGB", "60×40 TIFF uint8 × 3"}


def test_large_images_are_brought_to_128(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(3):
            (tmp_path / label / f"{index}.png").write_bytes(toys.plain(index, (300, 100)))

    assert datasets.load(str(tmp_path)).shape == (100, 128, 3)


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (
            lambda f: [p.unlink() for p in (f / "dark").iterdir()],
            BadData,
            "1 class has too few images: 'dark' \\(0\\); each class needs at least 3",
        ),
        (
            lambda f: [p.write_bytes(b"x") for p in (f / "dark").iterdir()],
            BadData,
            "no image of class 'dark' can be read",
        ),
        (lambda f: [p.unlink() for p in f.rglob("*.png")], MissingInput, "no image in any class folder"),
        (lambda f: [p.unlink() for p in sorted((f / "dark").iterdir())[2:]], BadData, "'dark' \\(2\\)"),
        (lambda f: (f / "dark").rename(f.parent / "elsewhere"), BadData, "has one class, 'bright'.* two$"),
        (lambda f: (f / "test" / "dark").mkdir(parents=True), BadData, "no folder 'train'"),
        (lambda f: (f / "dark").rename(f / "da\ark"), BadData, "'da\\\\x07rk' has a name that cannot be printed"),
        (lambda f: (f / "dark").rename(f / " "), BadData, "has a name that cannot be printed"),
    ],
)
def test_what_cannot_be_trained_on(folder, spoil, kind, message):
    spoil(folder)

    with pytest.raises(kind, match=message):
        datasets.load(str(folder))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(MissingInput, match=r"does not exist; name a folder, a \.csv table,"):
        datasets.load(str(tmp_path / "absent"))
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(MissingInput, match=r"photo\.jpg is not a folder; name a folder, a \.csv table,"):
        datasets.load(str(tmp_path / "photo.jpg"))
    with pytest.raises(
        MissingInput, match=r"has no folders; name the folder that has a folder .*, or list the images in a \.csv table"
    ):
        datasets.load(str(tmp_path))


def test_the_folder_that_holds_the_one_that_was_meant(folder, tmp_path):
    (tmp_path / "unpacked").mkdir()
    meant = folder.rename(tmp_path / "unpacked" / "photos")

    for given in (tmp_path / "unpacked", tmp_path):
        with pytest.raises(BadData, match=f"has one class, '[a-z]+'; .*; did you mean {meant}, which has folders"):
            datasets.load(str(given))


def test_a_class_that_train_has_not(folder, tmp_path):
    (tmp_path / "split").mkdir()
    folder.rename(tmp_path / "split" / "train")
    (tmp_path / "split" / "validation" / "grey").mkdir(parents=True)

    with pytest.raises(BadData, match="classes that 'train' does not have: 'grey'"):
        datasets.load(str(tmp_path / "split"))


def splits(folder, **names):
    """Lay the twenty images of each class into folders of these names: twelve, four and four."""
    for name, (first, last) in zip(names.values(), ((0, 12), (12, 16), (16, 20)), strict=False):
        for label in ("bright", "dark"):
            (folder / name / label).mkdir(parents=True)
            for index in range(first, last):
                (folder / label / f"{index:02}.png").rename(folder / name / label / f"{index:02}.png")
    for label in ("bright", "dark"):
        shutil.rmtree(folder / label)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "valid", "test"),
        ("Train", "Val", "TEST"),
        ("train", "Validation", "Test"),
        ("Training", "Validation", "Testing"),
    ],
)
def test_splits_go_by_other_names_too(folder, names):
    splits(folder, train=names[0], validation=names[1], test=names[2])

    assert datasets.load(str(folder)).counts() == {"train": 24, "validation": 8, "test": 8}


@pytest.mark.parametrize(
    ("names", "wrapped"),
    [(("Training_set", "val-set", "test_set"), False), (("seg_train", "seg_valid", "seg_test"), True)],
)
def test_splits_with_names_of_their_own_are_not_trained_as_classes(folder, names, wrapped, capsys):
    splits(folder, train=names[0], validation=names[1], test=names[2])
    given = [folder / name for name in names]
    for path in given if wrapped else ():  # as some archives are
        path.rename(folder / "inner")
        path.mkdir()
        (folder / "inner").rename(path / path.name)
    given = [path / path.name if wrapped else path for path in given]

    assert main(["train", str(folder)]) == 65

    (line,) = capsys.readouterr().err.splitlines()
    meant = {"train": given[0], "validation": given[1], "test": given[2]}
    assert "have the same folders in them, 'bright', 'dark': they are splits, not classes; rename " in line
    for split, path in meant.items():
        assert f"{path} to {folder / split}" in line
    for split, path in meant.items():
        path.rename(folder / split)
    assert datasets.load(str(folder)).counts() == {"train": 24, "validation": 8, "test": 8}


@pytest.mark.parametrize("labels", [("cat", "dog"), ("train_station", "valley")])
def test_classes_may_have_sub_folders_of_the_same_names(folder, labels):
    """As of the same cameras; nor are splits advised to be mixed that nobody could know."""
    for label, name in zip(("bright", "dark"), labels, strict=True):
        (folder / name / "day").mkdir(parents=True)
        (folder / label).rename(folder / name / "night")
        (folder / name / "night" / "00.png").rename(folder / name / "day" / "00.png")

    dataset = datasets.load(str(folder))

    assert dataset.labels == labels
    assert dataset.notes == tuple(
        f"class {name!r} includes the files in its sub-folders 'day', 'night' (files: 20); if those are classes, call "
        "the folders that they are in train, validation and test"
        for name in labels
    )


def test_a_folder_beside_the_splits_is_named(folder, capsys):
    splits(folder, train="train", validation="valid")
    (folder / "unlabelled").mkdir()
    (folder / "__MACOSX" / "train").mkdir(parents=True)
    (folder / "test").mkdir()
    (folder / "test" / "1.png").write_bytes(toys.plain(1))

    dataset = datasets.load(str(folder))

    assert dataset.labels == ("bright", "dark")
    (note,) = dataset.notes
    assert note.startswith("left out 'test', 'unlabelled': next to train, valid, only train, validation and test with ")
    summary.say_dataset(dataset)
    assert f"warning: {note}" in capsys.readouterr().err


def test_of_many_lines_the_rest_is_counted(folder, capsys):
    """Twelve files are no images, and eleven images are in both classes."""
    for index in range(12):
        (folder / "dark" / f"no-{index:02}.png").write_bytes(b"no image")
    for index in range(11):
        for label in ("dark", "bright"):
            (folder / label / f"same-{index:02}.png").write_bytes(toys.plain(10 * index, (16, 16)))

    summary.say_dataset(datasets.load(str(folder)))

    lines = capsys.readouterr().err.splitlines()
    skipped = [index for index, line in enumerate(lines) if line.startswith("skipped dark/")]
    assert (len(skipped), lines[skipped[-1] + 1 :][:2]) == (10, ["… and 2 more", "skipped 12 files in all"])
    names = [lines[index].removeprefix("skipped ").partition(":")[0] for index in skipped]
    assert names == [f"dark/no-{index:02}.png" for index in range(10)]
    contradictions = [index for index, line in enumerate(lines) if line.startswith("  contradiction: ")]
    assert (len(contradictions), lines[contradictions[-1] + 1]) == (10, "… and 1 more")


def test_a_class_is_named_as_it_is(folder, capsys):
    """A word between colons is no picture, and one in brackets no colour."""
    (folder / "bright").rename(folder / ":cat:")
    (folder / "dark").rename(folder / "[red]")

    summary.say_dataset(datasets.load(str(folder)))

    lines = capsys.readouterr().err.splitlines()
    assert "  :cat:: 16 train, 2 validation, 2 test" in lines
    assert "  [red]: 16 train, 2 validation, 2 test" in lines


def test_classes_inside_a_class_are_told_of(folder):
    for name in ("river", "lake"):
        (folder / "water" / name).mkdir(parents=True)
        for index in range(3):
            (folder / "water" / name / f"{index}.png").write_bytes(toys.plain(10 * len(name) + index))
    (folder / "water" / "lake" / "shore").mkdir()

    dataset = datasets.load(str(folder))

    assert dataset.labels == ("bright", "dark", "water")
    assert dataset.skipped == ()
    (note,) = dataset.notes
    assert "class 'water' includes the files in its sub-folders 'lake', 'river' (files: 6)" in note


def test_what_belongs_to_no_class_and_links_to_no_file_are_skipped_with_the_reason(folder):
    (folder / "stray.png").write_bytes(toys.plain(1))
    (folder / "readme.txt").write_text("notes")
    (folder / "dark" / "gone.png").symlink_to(folder / "absent.png")
    (folder / "dark" / "again.png").symlink_to(folder / "dark" / "00.png")
    (folder / "dark" / "more").symlink_to(folder / "bright")

    dataset = datasets.load(str(folder))

    assert sum(dataset.counts().values()) == 41
    assert dataset.skipped == (
        "stray.png: it is next to the class folders, not in one of them",
        "dark/gone.png: broken link",
        "dark/more: a link to a folder, which is not followed",
    )


def test_classes_that_differ_in_capitals_only_are_told_of(folder):
    (folder / "dark").rename(folder / "Bright")

    loaded = datasets.load(str(folder))

    assert loaded.labels == ("Bright", "bright")
    assert loaded.notes == (
        "the classes 'Bright', 'bright' differ in capitals only; if they are one class, name it in one way",
    )


def test_names_that_look_the_same_are_one_class(folder):
    """As macOS writes them, as others do, and with a space that nobody sees."""
    (folder / "bright").rename(folder / unicodedata.normalize("NFD", "Flüsse"))
    for name in (unicodedata.normalize("NFC", "Flüsse"), "Flüsse "):
        (folder / name).mkdir()
        (folder / name / "x.png").write_bytes(toys.plain(len(name)))

    dataset = datasets.load(str(folder))

    assert dataset.labels == (unicodedata.normalize("NFC", "Flüsse"), "dark")
    assert sum(dataset.counts().values()) == 42
    assert dataset.notes == ("class 'Flüsse' has 3 folders, whose names look the same",)


def test_each_split_may_write_the_name_of_a_class_in_its_own_way(folder, tmp_path):
    for split, form in (("train", "NFD"), ("val", "NFC")):
        shutil.copytree(folder / "dark", tmp_path / "split" / split / "dark")
        shutil.copytree(folder / "bright", tmp_path / "split" / split / unicodedata.normalize(form, "Flüsse"))

    dataset = datasets.load(str(tmp_path / "split"))

    assert dataset.notes == ()
    assert dataset.counts() == {"train": 40, "validation": 40}


def test_options_of_training_are_advised_only_where_they_can_be_given(folder, capsys):
    for path in sorted((folder / "dark").iterdir())[3:]:
        path.unlink()
    (folder / "dark" / "01.png").write_bytes((folder / "bright" / "01.png").read_bytes())
    np.save(folder / "bright" / "float.npy", np.zeros((16, 16, 3), np.float32))
    dataset = datasets.load(str(folder))

    summary.say_dataset(dataset, training=True)
    said = capsys.readouterr().err
    assert "--class-weights makes" in said
    assert "note: --value-range LOW HIGH says which values become 0 and 255\n" in said
    summary.say_dataset(dataset, training=True, weighted=True)
    assert "--class-weights" not in capsys.readouterr().err
    summary.say_dataset(dataset)
    said = capsys.readouterr().err
    assert "warning: 1 image is in two classes" in said
    assert "--" not in said


@pytest.mark.parametrize("groups", [r"(\d)\.png$", None])
def test_a_data_set_is_described_in_its_first_lines(folder, capsys, groups):
    summary.say_dataset(datasets.load(str(folder), groups=groups))

    first, files, *rest = capsys.readouterr().err.splitlines()
    assert first == "data: 2 classes, images 16×16×3, 32 train, 4 validation, 4 test"
    assert files.startswith("files: 40 × ")
    assert rest == [
        *(["groups: 8 train, 1 validation, 1 test"] if groups else []),
        *(f"  {label}: 16 train, 2 validation, 2 test" for label in ("bright", "dark")),
    ]


def line_about_files(folder, capsys):
    summary.say_dataset(datasets.load(str(folder)))
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("files: "))
    return line


def test_up_to_six_kinds_of_files_are_named_with_their_sizes(folder, capsys):
    for index in range(5):
        (folder / "dark" / f"{index:02}.png").write_bytes(toys.save(np.full((17 + index, 16, 3), index, np.uint8)))

    line = line_about_files(folder, capsys)

    assert line.startswith("files: 35 × 16×16 PNG RGB, 1 × ")
    assert [f"1 × {height}×16 PNG RGB" in line for height in range(17, 22)] == [True] * 5


def test_of_files_of_many_sizes_the_modes_are_named(folder, capsys):
    """A few grey ones among photos of many sizes are seen."""
    for index in range(12):
        (folder / "dark" / f"{index:02}.png").write_bytes(toys.save(np.full((28 - index, 16, 3), index, np.uint8)))
    (folder / "bright" / "00.png").write_bytes(toys.save(np.full((12, 40), 250, np.uint8)))

    assert line_about_files(folder, capsys) == (
        "files: 39 × PNG RGB, 1 × PNG L; 14 sizes (height × width), 16×16 to 12×40"
    )


def test_of_many_kinds_of_files_six_are_named(folder, capsys):
    for index, mode in enumerate(["L", "LA", "P", "RGBA", "1", "I;16"]):
        with Image.new(mode, (16, 16)) as image:
            image.save(folder / "dark" / f"{index:02}.png")

    line = line_about_files(folder, capsys)

    assert line.startswith("files: 34 × 16×16 PNG RGB, 1 × 16×16 PNG ")
    assert line.count(" × ") == 6
    assert line.endswith(" and 1 other kind")


def test_kinds_of_files_and_rare_classes_are_told_of(folder, capsys):
    for index in range(13):
        (folder / "dark" / f"{index:02}.png").unlink()
    (folder / "dark" / "13.png").write_bytes(toys.plain(1, (30, 20), "BMP"))

    summary.say_dataset(datasets.load(str(folder)), training=True)

    said = capsys.readouterr().err
    assert "files: 26 × 16×16 PNG RGB, 1 × 20×30 BMP RGB\n" in said
    # 16 and 5 are left to train on
    assert "'bright' has 3.2 times the images of 'dark', which has 5 to learn from: add some; --class-weights" in said


def test_of_a_rare_class_with_enough_images_no_more_are_asked_for(folder, capsys):
    for index in range(60):
        (folder / "bright" / f"more{index}.png").write_bytes(toys.plain(100 + index, (16, 16)))

    summary.say_dataset(datasets.load(str(folder)), training=True)

    assert "'bright' has 4.0 times the images of 'dark'; --class-weights" in capsys.readouterr().err


def test_classes_of_like_size_are_no_matter(folder, capsys):
    for index in range(8):
        (folder / "dark" / f"{index:02}.png").unlink()

    summary.say_dataset(datasets.load(str(folder)), training=True)

    said = capsys.readouterr().err
    assert "  dark: 10 train, 1 validation, 1 test\n" in said
    assert "warning" not in said


@pytest.mark.parametrize(
    ("images", "words"),
    [(2, "feature drift cannot be told from chance; with 100 "), (50, "feature drift of up to 0.27 may be chance; ")],
)
def test_how_little_few_held_out_images_tell_of_drift(images, words, capsys):
    remarks.say_held_out(images)

    said = capsys.readouterr().err
    assert words in said
    assert said.endswith(
        "; with 100 images, the limits are 0.0099 and 0.19. A model that has learned from few images may find images "
        "of other kinds familiar, too\n"
    )
    remarks.say_held_out(100)
    assert capsys.readouterr().err == ""


def test_a_folder_from_macos_is_measured_with_a_model_from_elsewhere(folder, tmp_path, capsys):
    (folder / "bright").rename(folder / unicodedata.normalize("NFD", "Flüsse"))
    labels = ("dark", unicodedata.normalize("NFC", "Flüsse"))
    toys.publish(tmp_path / "models", "toy", data=toys.artifact(labels=labels))

    assert main(["verify", "toy", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["all"]["accuracy"] == 1


def test_all_classes_that_are_too_small_are_named_at_once(folder):
    for label, count in (("a", 0), ("b", 1), ("c", 2), ("d", 3)):
        (folder / label).mkdir()
        for index in range(count):
            (folder / label / f"{index}.png").write_bytes(toys.plain(index))

    with pytest.raises(BadData) as caught:
        datasets.load(str(folder))
    assert str(caught.value) == (
        "3 classes have too few images: 'a' (0), 'b' (1), 'c' (2); each class needs at least 3, one of them to "
        "validate with and one to test. Add images, or remove those classes"
    )


def test_all_classes_that_a_split_lacks_are_named_at_once(folder):
    splits(folder, train="train", validation="valid")
    for label in ("bright", "dark"):
        shutil.rmtree(folder / "valid" / label)
    for label in ("bright", "grey"):
        (folder / "train" / label).mkdir(exist_ok=True)
        (folder / "valid" / label).mkdir()
    (folder / "valid" / "grey" / "1.png").write_bytes(toys.plain(1))

    with pytest.raises(BadData) as caught:
        datasets.load(str(folder))
    assert str(caught.value).startswith(
        "3 classes have too few images: 'bright' (in validation), 'dark' (in validation), 'grey' (in train); each "
        "class needs one in every split."
    )


def test_where_only_test_is_split_off_train_needs_one_more_to_validate_with(folder):
    splits(folder, train="train", validation="test")
    for path in sorted((folder / "train" / "dark").iterdir())[2:]:
        path.unlink()
    for index in range(12):
        (folder / "train" / f"{index:02}").mkdir()

    with pytest.raises(BadData) as caught:
        datasets.load(str(folder))
    assert str(caught.value).startswith("13 classes have too few images: '00' (in train, test), ")
    assert (
        "'09' (in train, test) and 3 more; each class needs at least 3 in train, one of them to validate with, and"
        in (str(caught.value))
    )


def test_the_reason_that_is_given_for_a_class_is_its_own(folder):
    """The name of one class may end like that of another."""
    for label in ("bobcat", "cat"):
        (folder / label).mkdir()
        for index in range(3):
            (folder / label / f"{index}.png").write_bytes(b"nothing")

    with pytest.raises(BadData, match=r"no image of class 'cat' can be read: cat/\d"):
        datasets.load(str(folder))


@pytest.mark.parametrize("count", [8, 63, 180])
def test_the_sample_for_verification_is_spread_over_the_whole_split(tmp_path, count):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] + np.zeros((16, 16, 3), np.uint8)
    labels = np.arange(count) % 2
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)

    sample = datasets.load(str(tmp_path / "data.npz")).sample

    positions = [int(np.load(io.BytesIO(data)).max()) for data in sample]
    assert len(positions) == min(32, count)
    assert (positions[0], positions[-1]) == (0, count - 1)
    assert max(np.diff(positions)) <= -(-count // 31)


def test_all_classes_without_a_readable_image_are_named_at_once(folder):
    for label in ("bright", "dark"):
        for path in sorted((folder / label).iterdir())[1:]:
            path.write_bytes(b"nothing")
    for label in ("bright", "dark"):
        (folder / label / "00.png").write_bytes(b"nothing")
    (folder / "grey").mkdir()
    for index in range(3):
        (folder / "grey" / f"{index}.png").write_bytes(toys.plain(index))

    with pytest.raises(
        BadData, match=r"(?s)no image of class 'bright' can be read: .*; no image of class 'dark' can be"
    ):
        datasets.load(str(folder))
