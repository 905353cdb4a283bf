"""Data as it comes: arrays in .npz, IDX files, multi-band folders."""

import gzip
import io
import os
import struct
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.errors import InvalidUsage, MissingInput
from model_export import datasets
from model_export.__main__ import main
from model_export.data import sources
from model_export.data.sources import idx
from model_export.errors import BadData
from tests import toys
from tests.conftest import closed


def arrays(count=30, shape=(20, 18, 3), classes=3):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, *shape), np.uint8), np.arange(count) % classes


def test_x_and_y_are_split_by_class(tmp_path):
    images, labels = arrays()
    np.savez(tmp_path / "data.npz", x=images, y=labels)

    dataset = datasets.load(str(tmp_path / "data.npz"))

    assert (dataset.name, dataset.labels, dataset.shape) == ("data", ("0", "1", "2"), (20, 18, 3))
    assert dataset.counts() == {"train": 24, "validation": 3, "test": 3}
    given = {image.tobytes() for image in images}
    assert {image.tobytes() for split in dataset.splits.values() for image in split.images} == given


def test_the_ending_of_a_npz_file_may_be_in_capitals(tmp_path, capsys):
    images, labels = arrays()
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    (tmp_path / "data.npz").rename(tmp_path / "DATA.NPZ")

    dataset = datasets.load(str(tmp_path / "DATA.NPZ"), labels=("cat", "dog", "bird"))

    assert (dataset.name, dataset.labels) == ("DATA", ("cat", "dog", "bird"))
    toys.publish(tmp_path / "models", "toy", 1, toys.artifact(labels=["cat", "dog", "bird"]))
    assert main(["verify", str(tmp_path / "models/toy/1"), str(tmp_path / "DATA.NPZ")]) == 0
    assert "DATA: 3 classes" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["val", "valid", "validation"])
def test_splits_and_names_of_a_npz_file_are_kept(tmp_path, split):
    images, labels = arrays(shape=(16, 16))
    names = np.array(["cat", "dog", "bird"])[labels]
    np.savez(
        tmp_path / "data.npz", x_train=images, y_train=names, **{f"x_{split}": images[:6], f"y_{split}": names[:6]}
    )

    dataset = datasets.load(str(tmp_path / "data.npz"))

    assert dataset.labels == ("bird", "cat", "dog")
    assert dataset.shape == (16, 16, 1)
    assert dataset.counts() == {"train": 30, "validation": 6}
    assert dataset.notes == ()
    assert dataset.splits["validation"].labels.tolist() == [1, 2, 0, 1, 2, 0]
    chosen = datasets.load(str(tmp_path / "data.npz"), labels=("dog", "cat", "bird"))
    assert chosen.labels == ("dog", "cat", "bird")
    assert chosen.splits["validation"].labels.tolist() == [1, 0, 2, 1, 0, 2]
    with pytest.raises(BadData, match="the classes are dog, cat, but y also has bird"):
        sources.find(str(tmp_path / "data.npz"), ("dog", "cat"))


def test_labels_may_lie_in_a_column_and_images_without_labels_are_not_read(tmp_path):
    """As Keras keeps CIFAR-10, and as a contest keeps what is to be answered."""
    images, labels = arrays()
    np.savez(tmp_path / "data.npz", x=images, y=labels[:, None], x_test=images[:5])

    dataset = datasets.load(str(tmp_path / "data.npz"))

    assert dataset.counts() == {"train": 24, "validation": 3, "test": 3}
    assert dataset.labels == ("0", "1", "2")
    (note,) = dataset.notes
    assert note.startswith("left out 'x_test' of data.npz: ")


def test_more_classes_than_names_are_refused(tmp_path):
    images, labels = arrays()
    np.savez(tmp_path / "data.npz", x=images, y=labels)

    with pytest.raises(BadData, match="--labels names 2 classes, but there are 3"):
        sources.find(str(tmp_path / "data.npz"), ("a", "b"))
    np.savez(tmp_path / "empty.npz", x=images[:0], y=labels[:0])
    with pytest.raises(BadData, match="at least two classes"):
        sources.find(str(tmp_path / "empty.npz"), ("a", "b"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": np.zeros((4, 8, 8)), "y": np.zeros((4, 3))}, "Several labels per image are out of scope"),
        ({"x": np.zeros((4, 8, 8)), "y": np.arange(3)}, "has 4 images but 3 labels"),
        ({"x": np.zeros((4, 8, 8)), "y": np.zeros(4)}, "must hold whole numbers or names"),
        ({"x": np.zeros((4, 8, 8)), "y": np.zeros(4, int)}, "at least two classes"),
        ({"x": np.zeros((0, 8, 8)), "y": np.zeros(0, int)}, "at least two classes"),
        ({"x": np.zeros((4, 8, 8)), "y": np.arange(4) - 1}, "must be the numbers 0, 1, …"),
        ({"x": np.zeros((4, 8, 8)), "y": np.arange(4) * 10**9}, "go up to 3000000000, but no image has 1"),
        ({"x": np.zeros((4, 8, 8)), "y": np.array(["a", "", "a", "b"])}, "cannot be printed"),
        ({"x": np.zeros((4, 8, 8)), "y": np.array(["a", "\a", "a", "b"])}, "cannot be printed"),
        ({"x": np.zeros((4, 8, 8)), "y": np.array([b"a", b"\xff", b"a", b"b"])}, "not UTF-8"),
        ({"x": np.zeros((4, 8)), "y": np.arange(4) % 2}, r"store \[N, H, W\] or"),
        ({"images": np.zeros((4, 8, 8))}, "has neither x and y, nor x_train and y_train; it holds images$"),
        (
            {"x": np.zeros((4, 8, 8)), "y": np.arange(4) % 2, "x_test": np.zeros((1, 8, 8)), "y_test": ["a"]},
            "numbers for training, and names in another",
        ),
        ({"x": np.array([{}, {}]), "y": np.arange(2)}, r"cannot be read as \.npz"),
        (
            dict.fromkeys(("x", "x_train"), np.zeros((4, 8, 8))) | dict.fromkeys(("y", "y_train"), np.arange(4) % 2),
            "both x and x_train",
        ),
    ],
)
def test_a_npz_file_that_cannot_be_used(tmp_path, content, message):
    np.savez(tmp_path / "data.npz", **content)

    with pytest.raises(BadData, match=message):
        sources.find(str(tmp_path / "data.npz"))


def archive(method=zipfile.ZIP_STORED, **members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 nothing",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n\x00",
        archive(x=b"\x93NUMPY\x01\x00\x03\x00{'\n"),
        archive(zipfile.ZIP_LZMA, x=bytes(99)).replace(b"]\x00\x00", b"\xff\x00\x00", 1),
        archive(zipfile.ZIP_BZIP2, x=bytes(99)).replace(b"BZh", b"BZx", 1),
        archive(zipfile.ZIP_DEFLATED, x=bytes(99)).replace(zlib.compress(bytes(99))[2:6], b"\xff" * 4, 1),
        archive(x=bytes(99)).replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01", 1
        ),  # encrypted
        b"",
    ],
)
def test_a_npz_file_that_is_none(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)

    with pytest.raises(BadData, match=r"cannot be read as \.npz"):
        sources.find(str(tmp_path / "data.npz"))
    with pytest.raises(MissingInput, match="is not a file"):
        sources.find(str(tmp_path / "absent.npz"))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807,), }",
        "{'descr': ('|u1',), 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|u1', 1: False}",
        "{[]: 1}",
        "(" * 200,
        "-" * 9000 + "1",
        "\n  x\n y",
        "1 if",
    ],
)
def test_an_array_whose_header_is_nonsense_is_said_to_be_damaged(tmp_path, header):
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    (tmp_path / "data.npz").write_bytes(archive(x=start + header.encode()))

    with pytest.raises(BadData, match=r"cannot be read as \.npz"):
        sources.find(str(tmp_path / "data.npz"))


def saved(save, labels):
    buffer = io.BytesIO()
    save(buffer, x=arrays(6, (4, 4))[0], y=labels)
    return buffer.getvalue()


WHOLE = [
    saved(save, labels) for save in (np.savez, np.savez_compressed) for labels in (np.arange(6) % 2, list("ababab"))
]


@settings(max_examples=300)
@given(st.data())
def test_a_npz_file_that_is_cut_or_changed_anywhere_is_read_or_said_to_be_damaged(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        content[place] = value
    if data.draw(st.booleans()):
        start, end = sorted(data.draw(st.tuples(places, places)))
        del content[start:end]
    path = tmp_path_factory.mktemp("npz") / "data.npz"
    path.write_bytes(content)

    with suppress(BadData):
        sources.find(str(path))


def test_what_is_no_array_in_a_npz_file_is_passed_over(tmp_path):
    (tmp_path / "data.npz").write_bytes(archive(x=b"text", y=b"text"))

    with pytest.raises(BadData, match="has neither x and y"):
        sources.find(str(tmp_path / "data.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_npz_file_with_a_changed_byte_is_read_or_said_to_be_damaged(tmp_path, save):
    images, labels = arrays(shape=(8, 8))
    path = tmp_path / "data.npz"
    save(path, x=images % 64, y=labels)
    whole, said = path.read_bytes(), 0

    for position in range(0, len(whole), 11):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            sources.find(str(path))
        except BadData:
            said += 1

    assert said > len(whole) / 11 * 0.8


def write_idx(folder, name, array, zipped=True):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data) if zipped else data)


def mnist(folder, zipped=True):
    images, labels = arrays(40, (28, 28), classes=2)
    for prefix, part in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
        write_idx(folder, f"{prefix}-images-idx3-ubyte", images[part], zipped)
        write_idx(folder, f"{prefix}-labels-idx1-ubyte", labels[part], zipped)
    return images


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_as_they_are_published(tmp_path, zipped):
    images = mnist(tmp_path, zipped)

    dataset = datasets.load(str(tmp_path), labels=("shirt", "shoe"))

    assert (dataset.labels, dataset.shape) == (("shirt", "shoe"), (28, 28, 1))
    assert dataset.counts() == {"train": 26, "validation": 4, "test": 10}
    np.testing.assert_array_equal(dataset.splits["test"].images[..., 0], images[30:])


def test_idx_files_with_other_pixels_are_not_taken_from_the_cache(tmp_path):
    """Written again they have the same size, and the same names."""
    (tmp_path / "data").mkdir()
    images = mnist(tmp_path / "data", zipped=False)
    first = datasets.load(str(tmp_path / "data"), cache=tmp_path / "cache")
    path = tmp_path / "data" / "t10k-images-idx3-ubyte"
    before = path.stat()

    write_idx(tmp_path / "data", path.name, 255 - images[30:], zipped=False)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    again = datasets.load(str(tmp_path / "data"), cache=tmp_path / "cache")

    np.testing.assert_array_equal(again.splits["test"].images, 255 - first.splits["test"].images)


def test_the_published_files_of_fashion_mnist(data):
    listing = sources.find(str(data / "fashion_mnist"))

    assert {split: len(files) for split, files in listing.files.items()} == {"train": 60_000, "test": 10_000}
    assert (listing.size, listing.channels, len(listing.labels)) == ((28, 28), 1, 10)


def test_idx_files_that_do_not_belong_together(tmp_path):
    mnist(tmp_path)
    write_idx(tmp_path, "train-labels-idx1-ubyte", np.zeros(3))
    with pytest.raises(BadData, match="has 30 images but 3 labels"):
        sources.find(str(tmp_path))
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(MissingInput, match="has no train-labels"):
        sources.find(str(tmp_path))


@pytest.mark.parametrize("zipped", [True, False])
def test_an_idx_file_that_is_not_whole(tmp_path, zipped):
    mnist(tmp_path, zipped)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if zipped else ''}"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(BadData, match=r"train-images-idx3-ubyte.*; fetch it again"):
        sources.find(str(tmp_path))


def test_idx_files_of_training_alone_are_split(tmp_path):
    mnist(tmp_path)
    for path in tmp_path.glob("t10k-*"):
        path.unlink()

    assert datasets.load(str(tmp_path)).counts() == {"train": 22, "validation": 4, "test": 4}


@given(st.binary(max_size=60), st.booleans())
@example(bytes((0, 0, 8, 3)) + struct.pack(">3I", 0, 2**31, 2**31), False)
def test_no_bytes_make_the_idx_reader_fail_otherwise(tmp_path_factory, content, zipped):
    path = tmp_path_factory.mktemp("idx") / ("x.gz" if zipped else "x")
    path.write_bytes(content)

    with pytest.raises(BadData):
        idx.read(path, 3)


def test_names_are_only_for_numbered_classes(folder):
    with pytest.raises(InvalidUsage, match="names its own"):
        sources.find(str(folder), ("a", "b"))


@pytest.mark.parametrize(("kind", "bands"), [("tif", 13), ("npy", 5)])
def test_multi_band_folders_bring_their_channels(tmp_path, kind, bands):
    random = np.random.default_rng(0)
    for label in ("lake", "forest"):
        (tmp_path / label).mkdir()
        for index in range(4):
            array = random.integers(0, 4000, (24, 20, bands), np.uint16)
            path = tmp_path / label / f"{index}.{kind}"
            if kind == "tif":
                tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig")
            else:
                np.save(path, array)

    dataset = datasets.load(str(tmp_path), value_range=(0, 4000))

    assert dataset.shape == (24, 20, bands)
    assert dataset.splits["train"].headers == {f"24×20 {'TIFF' if kind == 'tif' else 'NPY'} uint16 × {bands}": 4}
    assert dataset.splits["train"].images.max() > 250


def test_small_arrays_are_enlarged_to_what_the_trunk_needs(tmp_path):
    images, labels = arrays(shape=(8, 8, 1))
    np.savez(tmp_path / "small.npz", x=images, y=labels)

    assert datasets.load(str(tmp_path / "small.npz")).shape == (32, 32, 1)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (4, 20, 20), (3, 240, 320), (1, 240, 320)])
@pytest.mark.parametrize("measuring", [False, True])
def test_arrays_as_pytorch_keeps_them_are_not_taken_for_flat_images_with_many_channels(tmp_path, shape, measuring):
    images, labels = arrays(12, shape)
    np.savez(tmp_path / "data.npz", x=images, y=labels)

    with pytest.raises(BadData, match=rf"{shape[2]}\] look like \[N, C, H, W\].*; .* as by x.transpose\(0, 2, 3, 1\)"):
        sources.find(str(tmp_path / "data.npz"), measuring=measuring)
    np.savez(tmp_path / "data.npz", x=images.transpose(0, 2, 3, 1), y=labels)
    assert sources.find(str(tmp_path / "data.npz"), measuring=measuring).channels == shape[0]


@pytest.mark.parametrize(
    "shape",
    [(4, 200, 13), (1, 180, 200), (3, 3, 103), (4, 4, 4), (3, 4, 4), (1, 64), (4, 64), (5, 32, 32), (32, 32, 3)],
)
def test_no_other_arrays_are_taken_for_those_of_pytorch(tmp_path, shape):
    """Such as single lines of a scanner with many bands, or the surroundings of one pixel."""
    images, labels = arrays(12, shape)
    np.savez(tmp_path / "data.npz", x=images, y=labels)

    assert sources.find(str(tmp_path / "data.npz")).channels == (shape[2] if len(shape) > 2 else 1)


def test_names_of_a_npz_file_may_be_bytes(tmp_path):
    images, labels = arrays(12, classes=2)
    np.savez(tmp_path / "data.npz", x=images, y=np.array(["Å".encode(), b"b"])[labels])

    assert sources.find(str(tmp_path / "data.npz")).labels == ("b", "Å")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": arrays(shape=(8, 8, 300))[0], "y": arrays()[1]}, "300 channels; networks are made for 1 to 200"),
        ({"x": np.zeros((30, 8, 8), np.float32), "y": arrays()[1]}, "--value-range LOW HIGH says which"),
        ({"x": np.array(5), "y": arrays()[1]}, r"data\.npz has no images but 30 labels"),
        (
            {"x": arrays()[0], "y": ["sea "] * 30},
            r"y in .*data\.npz names one class, 'sea'; a classifier needs at least",
        ),
        (
            {"x_train": arrays()[0], "y_train": arrays()[1], "x_val": arrays(0)[0], "y_val": arrays(0)[1]},
            "3 classes have too few images: '0' \\(in validation\\)",
        ),
    ],
)
def test_a_npz_file_that_cannot_be_trained_on(tmp_path, content, message):
    np.savez(tmp_path / "data.npz", **content)

    with pytest.raises(BadData, match=message):
        datasets.load(str(tmp_path / "data.npz"))


def test_no_data_is_not_this_folder():
    with pytest.raises(MissingInput, match="DATA is empty"):
        sources.find("")


def found_by_another_user(root, folder, mode):
    """What someone finds in a folder, one part of which is closed to them: a listing, or the error."""
    for path in ("dark/2024/0.png", *(f"{label}/{index}.png" for label in ("bright", "dark") for index in range(3))):
        Path(root, path).parent.mkdir(parents=True, exist_ok=True)
        Path(root, path).write_bytes(toys.plain(0))
    sources.find(root)  # which imports what it needs, while all can be read
    Path(root).chmod(0o755)
    with closed(Path(root, folder), mode):
        try:
            return datasets.load(root)
        except (BadData, OSError) as error:
            return str(error)


@pytest.mark.parametrize(("mode", "skipped"), [(0, "dark/2024"), (0o444, "dark/2024/0.png")])
def test_a_folder_that_cannot_be_read_or_only_listed_is_skipped_with_its_reason(mode, skipped):
    with tempfile.TemporaryDirectory() as root:
        found = found_by_another_user(root, "dark/2024", mode)

    assert sorted(name for split in found.splits.values() for name in split.names) == [
        f"{label}/{index}.png" for label in ("bright", "dark") for index in range(3)
    ]
    assert found.skipped == (f"{skipped}: it cannot be read: Permission denied",)


def test_a_class_of_which_nothing_can_be_read_is_not_just_called_empty():
    with tempfile.TemporaryDirectory() as root:
        found = found_by_another_user(root, "dark", 0)

    assert found.startswith("1 class has too few images: 'dark' (0); ")
    assert found.endswith("; skipped dark: it cannot be read: Permission denied")


def test_of_a_folder_that_cannot_be_opened_no_file_is_named():
    with tempfile.TemporaryDirectory() as root:
        found = found_by_another_user(root, ".", 0)

    assert found == f"[Errno 13] Permission denied: '{root}'"


def test_classes_of_which_nothing_can_be_read_are_not_just_called_empty(tmp_path):
    for label in ("bright", "dark"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.png").symlink_to("nowhere")

    with pytest.raises(MissingInput, match=r"folder; skipped bright/0\.png: broken link, dark/0\.png: broken link$"):
        sources.find(str(tmp_path))


def test_damaged_files_are_skipped_and_told_of_in_our_own_lines_alone(folder, tmp_path, capfd):
    """What tifffile and Pillow think of them stays with them."""
    vast = struct.pack(">II", 20_000, 20_000) + bytes((8, 2, 0, 0, 0))
    vast = struct.pack(">I", 13) + b"IHDR" + vast + struct.pack(">I", zlib.crc32(b"IHDR" + vast))
    for name, data in {
        "circle.tif": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
        "vast.png": b"\x89PNG\r\n\x1a\n" + vast,
        "flags.dds": b"DDS " + struct.pack("<I", 124) + bytes(120),
    }.items():
        (folder / "dark" / name).write_bytes(data)

    toys.publish(tmp_path / "models", "bands", data=toys.artifact(16, 16, 13))

    for command, code, words in (
        (["train", str(folder), "--channels", "13"], 2, "--channels 13: the images have 3; "),  # it reads the headers
        (["verify", "bands", str(folder)], 65, "no image of the split 'all' can be read: "),
    ):
        assert main(command) == code
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(f"error: {words}")
