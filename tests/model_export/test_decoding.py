"""Decoded once into a cache on disk, then streamed from it: the same images, without their memory."""

import io
import os
import resource
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.images import Shape
from model_export import datasets
from model_export.data import decoding
from model_export.data.sources.listing import File
from model_export.data.split import Split
from model_export.errors import BadData
from model_export.fitting.batches import InOrder, Shuffled


def same(first, second):
    assert first.counts() == second.counts()
    assert first.fingerprint() == second.fingerprint()
    assert first.skipped == second.skipped
    for name, split in first.splits.items():
        np.testing.assert_array_equal(split.images, second.splits[name].images)
        np.testing.assert_array_equal(split.labels, second.splits[name].labels)
        assert (split.names, split.digests, split.headers) == tuple(
            getattr(second.splits[name], field) for field in ("names", "digests", "headers")
        )


def npy(image):
    buffer = io.BytesIO()
    np.save(buffer, image)
    return buffer.getvalue()


def test_a_cache_holds_what_memory_would(folder, tmp_path):
    (folder / "dark" / "zz.png").write_bytes(b"not an image")
    in_memory = datasets.load(str(folder))

    cached = datasets.load(str(folder), cache=tmp_path / "cache")

    same(in_memory, cached)
    assert all(isinstance(split.images, np.memmap) for split in cached.splits.values())
    assert not any(isinstance(split.images, np.memmap) for split in in_memory.splits.values())


def test_files_are_decoded_once_and_again_when_they_change(folder, tmp_path, monkeypatch):
    first = datasets.load(str(folder), cache=tmp_path / "cache")
    decoded = []
    decode = decoding.images.decode
    monkeypatch.setattr(decoding.images, "decode", lambda *a, **b: decoded.append(1) or decode(*a, **b))

    same(first, datasets.load(str(folder), cache=tmp_path / "cache"))
    sampled = len(decoded)  # the files that verification will send
    (folder / "dark" / "00.png").write_bytes((folder / "dark" / "01.png").read_bytes())
    changed = datasets.load(str(folder), cache=tmp_path / "cache")

    assert sampled < 10
    assert len(decoded) > 30
    assert changed.fingerprint() != first.fingerprint()


def test_a_cache_that_was_not_finished_is_made_again(folder, tmp_path):
    first = datasets.load(str(folder), cache=tmp_path / "cache")
    for index in (tmp_path / "cache").rglob("index.json"):
        index.unlink()

    same(first, datasets.load(str(folder), cache=tmp_path / "cache"))


@pytest.mark.parametrize("name", ["images.npy", "index.json"])
@pytest.mark.parametrize("size", [None, 0, 100, -1, -1000])
def test_a_cache_that_is_damaged_is_made_again(folder, tmp_path, name, size, capsys):
    """As by a disk that was full or by someone who made room: a file is gone, empty or cut."""
    first = datasets.load(str(folder))
    datasets.load(str(folder), cache=tmp_path / "cache")
    damaged = list((tmp_path / "cache").rglob(name))
    for path in damaged:
        content = path.read_bytes()
        path.unlink()
        if size is not None:
            path.write_bytes(content[:size])
    capsys.readouterr()

    for again in (True, False):
        same(first, datasets.load(str(folder), cache=tmp_path / "cache"))
        said = capsys.readouterr().err.count("is damaged; it is decoded again")
        whole = not again or (name, size) == ("index.json", None)  # without it, the cache was never finished
        assert said == (0 if whole else len(damaged))


@pytest.mark.parametrize("content", ["[]", "{}", '{"labels": 1}'])
def test_a_cache_whose_index_says_something_else_is_made_again(folder, tmp_path, content):
    first = datasets.load(str(folder), cache=tmp_path / "cache")
    for path in (tmp_path / "cache").rglob("index.json"):
        path.write_text(content)

    same(first, datasets.load(str(folder), cache=tmp_path / "cache"))


def test_other_content_of_the_same_size_and_time_is_decoded_again(tmp_path):
    """As archives unpack it that give all their files one time."""
    for version, value in enumerate((10, 200)):
        for label in ("a", "b"):
            (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
            for index in range(3):
                path = tmp_path / "data" / label / f"{index}.npy"
                np.save(path, np.full((8, 8, 3), value, np.uint8))
                os.utime(path, (1, 1))
        split = datasets.load(str(tmp_path / "data"), cache=tmp_path / "cache").splits["train"]

        assert np.unique(split.images) == [value], version


def test_two_commands_that_decode_the_same_data_at_once_do_not_disturb_each_other(tmp_path):
    """The second begins when the first is nearly done, and takes its time."""
    begun, done = threading.Event(), threading.Event()
    count = 2 + decoding._AHEAD

    def files(*, first):
        def read(index):
            if first and index == count - 1:
                begun.set()
                done.wait(2)
            if not first:
                done.set()
                finished.wait(10)
            return npy(np.full((8, 8, 3), 1 + index, np.uint8))

        return {"train": [File(f"{i}.npy", 0, lambda i=i: read(i), "stamp") for i in range(count)]}

    finished = threading.Event()
    shape, cache = Shape(8, 8, 3), tmp_path / "cache"
    with ThreadPoolExecutor(1) as pool:

        def second():
            begun.wait(10)
            return decoding.decode(files(first=False), shape, None, cache)

        other = pool.submit(second)
        splits, _ = decoding.decode(files(first=True), shape, None, cache)
        taken = splits["train"].images[:, 0, 0, 0].copy()
        finished.set()
        again, _ = other.result()

    expected = 1 + np.arange(count)
    np.testing.assert_array_equal(taken, expected)
    np.testing.assert_array_equal(again["train"].images[:, 0, 0, 0], expected)


def test_the_cache_has_its_place_on_the_disk_before_anything_is_decoded(tmp_path):
    """On a disk that fills up later, writing into a mapped file would end the process."""
    taken = []

    def read():
        (array,) = (tmp_path / "cache").rglob("images.npy")
        taken.append(array.stat().st_blocks * 512)
        return npy(np.zeros((64, 64, 3), np.uint8))

    decoding.decode({"train": [File("0.npy", 0, read)] * 20}, Shape(64, 64, 3), None, tmp_path / "cache")

    assert min(taken) >= 20 * 64 * 64 * 3


def test_a_disk_without_room_for_the_cache_is_told_before_anything_is_decoded(tmp_path):
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"0\.2 MB of images do not fit.*choose another --cache") as told:
            decoding.decode({"train": [File("0.npy", 0, bytes)] * 20}, Shape(64, 64, 3), None, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert "images.npy" not in str(told.value)
    assert not list((tmp_path / "cache").rglob("images.npy"))


def test_batches_are_copies_of_a_few_rows(folder, tmp_path):
    split = datasets.load(str(folder), cache=tmp_path / "cache").splits["train"]

    images, labels = Shuffled(split, 8, "none", seed=0)[0]
    assert images.shape == (8, 16, 16, 3)
    assert len(labels) == 8
    whole = np.concatenate([InOrder(split)[index][0] for index in range(len(InOrder(split)))])
    np.testing.assert_array_equal(whole, split.images)


def test_every_image_of_a_large_split_is_measured_once():
    numbers = np.arange(600)
    batches = InOrder(Split(numbers.astype(np.uint8).reshape(600, 1, 1, 1), numbers))

    taken = [batches[index] for index in range(len(batches))]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in taken]), numbers)
    np.testing.assert_array_equal(np.concatenate([images for images, _ in taken]).ravel(), numbers.astype(np.uint8))


@pytest.mark.parametrize(
    ("height", "width", "at_once"), [(32, 32, 256), (64, 128, 256), (128, 128, 128), (512, 256, 16), (4096, 2048, 1)]
)
def test_larger_images_are_measured_in_smaller_batches(height, width, at_once):
    """Whatever the size, a batch holds no more pixels; else measuring takes more memory than training did."""
    split = Split(np.broadcast_to(np.uint8(0), (300, height, width, 1)), np.arange(300))
    batches = InOrder(split)

    sizes = [len(batches[index][1]) for index in range(len(batches))]
    assert max(sizes) == at_once
    assert sum(sizes) == 300


def test_what_does_not_fit_into_memory_goes_to_the_users_cache(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(decoding, "_LARGEST_SHARE_OF_MEMORY", 0.0)

    dataset = datasets.load(str(folder), size=(64, 64))

    assert isinstance(dataset.splits["train"].images, np.memmap)
    cache = tmp_path / "home" / "multipool"
    assert f"0.5 MB of images: decoded into {cache} and streamed from there (--cache" in capsys.readouterr().err
    assert list(cache.rglob("images.npy"))


def test_where_there_is_neither_enough_memory_nor_a_home_a_cache_is_asked_for(folder, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as for a user that has only a number
    monkeypatch.setattr(decoding, "_LARGEST_SHARE_OF_MEMORY", 0.0)

    with pytest.raises(BadData, match="the user has no home folder; choose a --cache"):
        datasets.load(str(folder))


@pytest.mark.parametrize("fingerprint", ["same", "other"])
def test_the_fingerprint_is_that_of_the_content(folder, fingerprint):
    before = datasets.load(str(folder)).fingerprint()
    if fingerprint == "other":
        (folder / "dark" / "00.png").write_bytes((folder / "bright" / "00.png").read_bytes())
    else:
        (folder / "dark" / "00.png").touch()

    assert (datasets.load(str(folder)).fingerprint() == before) == (fingerprint == "same")
