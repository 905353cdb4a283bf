"""What lies beside the images, such as annotations, is told of, and changes nothing else."""

import pytest

from app.errors import MissingInput
from model_export import datasets
from model_export.data import sources
from model_export.errors import BadData
from model_export.reporting import summary

ANNOTATIONS = {
    ".json": b'{"shapes": [], "imagePath": "00.png"}',  # LabelMe
    ".txt": b"",  # YOLO, of an image without objects
    ".xml": b"<annotation></annotation>",  # Pascal VOC
    ".png.aux.xml": b"<PAMDataset></PAMDataset>",  # QGIS
    ".tfw": b"10.0\n0.0\n0.0\n-10.0\n",
    ".AAE": b"<?xml version='1.0'?><plist></plist>",  # telephones
    ".heic": b"\0\0\0\x18ftypheic\0\0\0\0",
}


def annotate(folder, *endings):
    for path in sorted(folder.rglob("*.png")):
        for ending in endings or ANNOTATIONS:
            path.with_suffix(ending).write_bytes(ANNOTATIONS[ending])


@pytest.mark.parametrize("seed", range(3))
def test_files_that_are_no_images_do_not_take_the_place_of_images(folder, seed, capsys):
    alone = datasets.load(str(folder), seed=seed)
    annotate(folder)

    found = datasets.load(str(folder), seed=seed)

    assert (found.shape, found.counts(), found.notes) == (alone.shape, alone.counts(), ())
    assert found.fingerprint() == alone.fingerprint()
    assert [split.names for split in found.splits.values()] == [split.names for split in alone.splits.values()]
    assert len(found.skipped) == 40  # what is meant to be an image
    assert "dark/00.heic: the file is HEIC, which is not read; save or export it as JPEG" in found.skipped
    assert len(found.ignored) == 40 * (len(ANNOTATIONS) - 1)
    assert "dark/00.json: the file is not an image of an accepted type; " in "\n".join(found.ignored)
    summary.say_dataset(found)
    said = capsys.readouterr().err
    assert "skipped 40 files in all" in said
    assert "left out 240 files beside the images: " in said
    assert "40 .json" in said


def test_a_run_goes_on_with_its_data_when_some_of_it_has_been_annotated_since(folder):
    before = datasets.load(str(folder)).fingerprint()
    annotate(folder, ".json")
    for path in sorted(folder.rglob("*.json"))[1:]:
        path.unlink()

    assert datasets.load(str(folder)).fingerprint() == before


def test_an_image_without_the_ending_of_one_is_known_by_its_first_bytes(folder):
    alone = datasets.load(str(folder))
    for path in folder.rglob("*.png"):
        path.rename(path.with_suffix(".dat" if int(path.stem) % 2 else ""))

    found = datasets.load(str(folder))

    assert (found.counts(), found.skipped) == (alone.counts(), ())


@pytest.mark.parametrize(("size", "reason"), [(0, "the file is empty"), (60, "the PNG file is damaged or incomplete")])
def test_an_empty_or_damaged_image_keeps_its_place_in_the_split(folder, size, reason):
    whole = datasets.load(str(folder))
    spoilt = folder / "dark" / "07.png"
    spoilt.write_bytes(spoilt.read_bytes()[:size])

    found = datasets.load(str(folder))

    for split, members in whole.splits.items():
        assert [name for name in members.names if name != "dark/07.png"] == [*found.splits[split].names]
    (line,) = found.skipped
    assert line.startswith(f"dark/07.png: {reason}")


def test_a_class_that_a_split_lacks_because_its_image_cannot_be_read_is_told_of(folder):
    for path in sorted(folder.rglob("*.png")):
        if path.stem > "09":
            path.unlink()
    names = datasets.load(str(folder)).splits["test"].names
    (lost,) = (name for name in names if name.startswith("dark/"))
    (folder / lost).write_bytes(b"")

    found = datasets.load(str(folder))

    (note,) = found.notes
    assert note == (
        "no image of 'dark' in the split 'test' can be read, so figures of that split say nothing about that class"
    )


def test_a_folder_of_annotations_in_a_class_is_not_said_to_count_towards_it(folder):
    (folder / "dark" / "labels").mkdir()
    (folder / "dark" / "labels" / "00.txt").write_text("0 0.5 0.5 1 1\n")

    found = datasets.load(str(folder))

    assert found.notes == ()
    assert [line.partition(":")[0] for line in found.ignored] == ["dark/labels/00.txt"]


def test_a_class_of_annotations_alone_has_no_images(folder):
    (folder / "labels").mkdir()
    (folder / "labels" / "00.txt").write_text("0 0.5 0.5 1 1\n")

    with pytest.raises(BadData, match=r"too few images: 'labels' \(0\); .*; skipped labels/00\.txt: the file is not"):
        datasets.load(str(folder))


def test_where_nothing_is_an_image_it_is_said_why(folder):
    annotate(folder, ".json")
    for path in folder.rglob("*.png"):
        path.unlink()

    with pytest.raises(MissingInput, match=r"no image in any class folder; skipped bright/00\.json: the file is not"):
        sources.find(str(folder))


def test_a_split_to_learn_from_that_has_only_annotations(folder, tmp_path):
    root = tmp_path / "split"
    for label in ("bright", "dark"):
        (root / "train" / label).mkdir(parents=True)
        (root / "train" / label / "00.json").write_bytes(ANNOTATIONS[".json"])
    folder.rename(root / "test")

    with pytest.raises(BadData, match=r"2 classes have too few images: .*; skipped train/bright/00\.json: the file"):
        datasets.load(str(root))


def table(folder, *extra):
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.rglob("*.*"))]
    (folder / "photos.csv").write_text("\n".join(["file,label", *rows, *extra]))
    return str(folder / "photos.csv")


def test_a_table_of_all_files_has_the_images_among_them(folder):
    alone = datasets.load(table(folder))
    (folder / "photos.csv").unlink()
    annotate(folder, ".json")

    found = datasets.load(table(folder))

    assert (found.counts(), found.fingerprint()) == (alone.counts(), alone.fingerprint())
    assert len(found.skipped) == 40
    assert found.skipped[0].startswith("bright/00.json: the file is not an image of an accepted type")


def test_a_split_of_a_table_without_an_image_is_not_cut_anew(folder):
    annotate(folder, ".json")
    rows = [
        f"{path.relative_to(folder)},{path.parent.name},{'train' if path.suffix == '.png' else 'validation'}"
        for path in sorted(folder.rglob("*.*"))
    ]
    (folder / "photos.csv").write_text("\n".join(["file,label,split", *rows]))

    with pytest.raises(BadData, match=r"too few images: 'bright' \(in validation\), 'dark' \(in validation\)"):
        datasets.load(str(folder / "photos.csv"))
    (folder / "photos.csv").write_text(
        "\n".join(["file,label", *(row.rpartition(",")[0] for row in rows if ".j" in row)])
    )
    with pytest.raises(MissingInput, match=r"photos\.csv names no image; skipped bright/00\.json: the file is not"):
        sources.find(str(folder / "photos.csv"))
