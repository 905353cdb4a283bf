"""A table of images: what it says is read, and what is wrong with it is said with its line."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import InvalidUsage, MissingInput
from model_export import datasets
from model_export.__main__ import main
from model_export.data import sources
from model_export.errors import BadData


def write(folder, rows, header="file,label", name="photos.csv"):
    """Write a table beside the class folders."""
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(folder / name)


def rows(folder, *, extra=lambda _: ""):
    return [f"{path.relative_to(folder)},{path.parent.name}{extra(path)}" for path in sorted(folder.rglob("*.png"))]


def contents(dataset):
    """Name, class and pixels of every image, per split."""
    return {
        split: sorted(
            (name, dataset.labels[label], image.tobytes())
            for name, label, image in zip(part.names, part.labels.tolist(), part.images, strict=True)
        )
        for split, part in dataset.splits.items()
    }


def test_a_table_is_the_folder_that_it_lists(folder):
    dataset = datasets.load(write(folder, rows(folder)))

    assert (dataset.name, dataset.notes) == ("photos", ())
    assert contents(dataset) == contents(datasets.load(str(folder)))


def test_the_order_of_its_rows_has_no_effect(folder):
    assert contents(datasets.load(write(folder, rows(folder)))) == contents(
        datasets.load(write(folder, rows(folder)[::-1], name="again.csv"))
    )


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_as_programs_write_them(folder, separator, start, end):
    lines = [separator.join(row.split(",")) for row in ["Label,File ,Split", *rows(folder)]]
    lines[1:] = [
        separator.join(['"dark, or not"' if "dark" in path else "bright", path, ("Train", "VAL")["/0" in path]])
        for path, _ in (line.split(separator) for line in lines[1:])
    ]
    (folder / "photos.csv").write_bytes((start + end.join([*lines, "", ""])).encode())

    dataset = datasets.load(str(folder / "photos.csv"))

    assert dataset.labels == ("bright", "dark, or not")
    assert dataset.counts() == {"train": 20, "validation": 20}
    assert all("/0" in name for name in dataset.splits["validation"].names)


def test_columns_that_are_not_read_are_named(folder):
    """One of them may be the misspelt name of a column that is."""
    dataset = datasets.load(write(folder, rows(folder, extra=lambda _: ",a,b"), "File, label ,groups, Note"))

    assert dataset.notes == ("photos.csv: only the columns file, label, split, group are read, not 'groups', 'Note'",)


LINES = ["dark/00.png,dark", "dark/01.png,dark", "dark/02.png,dark", "bright/00.png,bright", "bright/01.png,bright"]


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("image,class", ["a.png,a"], r"needs the columns 'file' and 'label', named .*, which is 'image,class'"),
        ("", [], r"needs the columns 'file' and 'label'"),
        ("file,label", [], r"has no rows"),
        ("file,label,file", ["a,b,c"], r"has two columns 'file'; keep one"),
        ("file,label", ["dark/00.png"], r"line 2: 1 cells, but the first line has 2"),
        ("file,label", [*LINES[:1], "", "dark/01.png,dark,x"], r"line 4: 3 cells"),
        ("file,label", [",dark"], r"line 2: the file is empty"),
        ("file,label", ["dark/00.png,  "], r"line 2: the label is empty"),
        ("file,label,split", ["dark/00.png,dark,learn"], r"line 2: the split is 'learn'; it can be train"),
        ("file,label,split", ["dark/00.png,dark,"], r"line 2: the split is ''"),
        ("file,label,group", ["dark/00.png,dark,"], r"line 2: the group is empty; give an image .* of its own"),
        ("file,label", [*LINES, "dark/../dark/00.png,bright"], r"line 7: \S+ is in line 2 already"),
        ("file,label", [*LINES, "dark/99.png,dark"], r"line 7: dark/99.png: no such file; paths are relative to \S+$"),
        (
            "file,label",
            ["dark\\02.png,dark", "bright\\01.png,bright"],  # as Windows writes paths
            r"line 2: dark\\02.png: no such file; line 3: .*, with / between folders$",
        ),
        (
            "file,label",
            ["dark\\02.png,dark", "bright/99.png,bright"],
            r"line 2: .*; line 3: bright/99.png: no such file; .*, with / between folders$",
        ),
        ("file,label", [*LINES, "dark,dark"], r"line 7: dark: it is no file"),
        ("file,label", [*LINES, "dark/\0.png,dark"], r"line 7: "),
        ("file,label", [*LINES, f"{'a' * 300},dark"], r"line 7: \S+: File name too long"),
        ("file,label", [*LINES, '"dark/03.png,dark'], r"line 7: unexpected end of data; write it as CSV"),
        (
            "file,label",
            [f"{n},{'ab'[n % 2]}" for n in range(9)],
            r"line 2: 0.*; line 3: .*; line 4: .*; and 6 more; paths",
        ),
        ("file,label", LINES[:3], r"has one class, 'dark'; a classifier needs at least two"),
        ("file,label", LINES, r"too few images: 'bright' \(2\).*; each class needs at least 3"),
        ("file,label", ["dark/00.png,a\x1b[2J"], r"has a name that cannot be printed"),
        ("file,label,split", ["dark/00.png,dark,test"], r"has no row whose split is 'train'"),
        (
            "file,label,split",
            [*(f"{line},train" for line in LINES), "dark/03.png,grey,test"],
            r"line 7: 'grey': no row with the split 'train' has this label",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(folder, header, lines, message):
    path = write(folder, lines, header)

    with pytest.raises(BadData, match=f"^{re.escape(path)}|^the class|^1 class") as caught:
        datasets.load(path)
    assert re.search(message, str(caught.value))


def test_a_table_that_is_not_there_or_not_utf8(folder, tmp_path):
    with pytest.raises(MissingInput, match="is not a file; name a table with the columns file and label"):
        datasets.load(str(tmp_path / "none.csv"))
    (folder / "photos.csv").write_bytes("file,label\nFlüsse/a.png,Flüsse\n".encode("latin-1"))
    with pytest.raises(BadData, match=r"photos\.csv is not UTF-8 \(byte 13\); save it .* in Excel 'CSV UTF-8'"):
        datasets.load(str(folder / "photos.csv"))
    with pytest.raises(InvalidUsage, match="this data set names its own"):
        datasets.load(write(folder, rows(folder)), labels=("a", "b"))


def test_a_folder_may_be_called_like_a_table(folder):
    assert datasets.load(str(folder.rename(folder.parent / "data.csv"))).counts()["train"] == 32


def test_a_damaged_image_is_skipped_with_the_reason_as_in_a_folder(folder):
    (folder / "dark" / "00.png").write_bytes(b"no image")

    dataset = datasets.load(write(folder, rows(folder)))

    assert sum(dataset.counts().values()) == 39
    assert [line.partition(":")[0] for line in dataset.skipped] == ["dark/00.png"]


def test_a_table_of_one_class_can_be_measured(folder):
    path = write(folder, [row for row in rows(folder) if row.endswith("dark")])

    assert datasets.load(path, measuring=True).counts() == {"all": 20}


def test_a_table_of_test_images_alone_can_be_measured(folder):
    path = write(folder, rows(folder, extra=lambda _: ",test"), "file,label,split")

    assert datasets.load(path, size=(16, 16), channels=3, measuring=True).counts() == {"test": 40}


def test_a_model_of_a_table_is_measured_with_it_as_it_was_split(folder, capsys):
    path = write(folder, rows(folder, extra=lambda path: f",{path.stem}"), "file,label,group")
    options = ["--epochs", "1", "--batch-size", "8", "--trunk", "plain", "--json", "--size", "16"]
    assert main(["train", path, *options]) == 0
    capsys.readouterr()

    assert main(["verify", "models/photos-regions/1", path, "--json"]) == 0

    verified = json.loads(capsys.readouterr().out)
    assert verified["seen_in_training"] == {"train": "learned from", "validation": "tuned on", "test": "not seen"}
    assert verified["metrics"]["test"]["images"] == 4


@pytest.mark.parametrize("options", [(), ("--groups", r"(\d)\.png")])
def test_a_table_that_has_got_groups_since_the_training_is_split_as_it_was(folder, options, capsys):
    path = write(folder, rows(folder))
    training = ["--epochs", "1", "--batch-size", "8", "--trunk", "plain", "--size", "16"]
    assert main(["train", path, *training, *options]) == 0
    write(folder, rows(folder, extra=lambda path: f",{path.stem}"), "file,label,group")
    capsys.readouterr()

    assert main(["verify", "photos-regions", path, "--json"]) == 0

    assert set(json.loads(capsys.readouterr().out)["seen_in_training"]) == {"train", "validation", "test"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(st.one_of(st.binary(max_size=200), st.text('file,label;group split"\n\r\t\0é', max_size=200).map(str.encode)))
def test_no_bytes_make_the_reader_fail_otherwise(tmp_path, content):
    (tmp_path / "any.csv").write_bytes(b"file,label\n" + content if len(content) % 2 else content)

    with pytest.raises((BadData, MissingInput)):
        sources.find(str(tmp_path / "any.csv"))
