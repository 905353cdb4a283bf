"""What is in two splits is found and named: the same pixels, and the same picture saved again."""

import io
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model_export import datasets
from model_export.__main__ import main
from model_export.data.leakage import find_contradictions, find_leaks
from model_export.data.split import Split
from model_export.reporting import summary
from tests import toys


def scene(seed):
    """A picture with shapes in it."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
    return np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))


def split(name, images):
    return Split(np.stack(images), np.zeros(len(images), np.int64), tuple(f"{name}/{i}" for i in range(len(images))))


def saved_again(image):
    buffer = io.BytesIO()
    Image.fromarray(image).resize((57, 57)).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer).resize((64, 64)))


def test_the_same_and_nearly_the_same_are_told_apart():
    train = split("train", [scene(i) for i in range(40)])
    other = [scene(100), scene(7), saved_again(scene(9)), np.clip(scene(11) * 0.8, 0, 255).astype(np.uint8)]
    other.append((255 * (scene(13) / 255) ** 0.5).astype(np.uint8))  # rises and falls alike, and is another picture

    leaks = list(find_leaks({"train": train, "validation": split("validation", other)}))

    assert {(leak.kind, leak.first, leak.second) for leak in leaks} == {
        ("exact", "train/7", "validation/1"),
        ("near", "train/9", "validation/2"),
        ("near", "train/11", "validation/3"),
    }


def test_the_same_image_in_two_classes_is_a_contradiction(tmp_path, capsys):
    """Within a split and across two; the same image twice in one class is none."""
    for label, images in (("a", [*range(20), 5]), ("b", [*range(50, 70), 7])):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index, seed in enumerate(images):
            (tmp_path / "data" / label / f"{index}.png").write_bytes(toys.save(scene(seed)))

    summary.say_dataset(datasets.load(str(tmp_path / "data")))

    lines = capsys.readouterr().err.splitlines()
    assert (
        "warning: 1 image is in two classes, pixel by pixel, and any answer is wrong in one of them; keep each in one"
        in (lines)
    )
    (found,) = (line for line in lines if "contradiction:" in line)
    assert {word for word in found.split() if word.endswith(".png")} == {"a/7.png", "b/20.png"}

    first, second = split("train", [scene(1), scene(2)]), split("validation", [scene(2), scene(3)])
    second = replace(second, labels=np.array([1, 0]))
    assert list(find_contradictions({"train": first, "validation": second})) == [("train/1", "validation/0")]


def test_images_without_detail_are_not_near_duplicates():
    """Open water is all alike, and no two of its pictures are the same."""
    random = np.random.default_rng(0)
    water = [np.clip(80 + random.normal(0, 2, (64, 64, 3)), 0, 255).astype(np.uint8) for _ in range(20)]

    assert not list(find_leaks({"train": split("train", water[:10]), "test": split("test", water[10:])}))


@pytest.mark.parametrize("picture", [np.full((16, 16, 3), 80, np.uint8), scene(1)[::4, ::4]])
def test_a_thousand_images_that_look_alike_take_little_memory(picture):
    """Blank scans, or one camera that saw one thing; every pair of them has the same hash."""
    alike = np.repeat(picture[None], 1000, axis=0)
    alike[:, 0, 0, 0], alike[:, 0, 0, 1] = np.divmod(np.arange(1000), 250)  # none is exactly another's copy
    splits = {"train": split("train", alike[:500]), "test": split("test", alike[500:])}
    tracemalloc.start()

    list(zip(range(10), find_leaks(splits), strict=False))

    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20e6


def test_each_image_of_one_camera_is_reported_once(tmp_path, capsys):
    """All are nearly the same, so there are a million pairs; one of them is exactly another's copy, too."""
    alike = np.repeat(scene(1)[::4, ::4][None], 2000, axis=0)
    alike[:, 0, 0, 0], alike[:, 0, 0, 1] = np.divmod(np.arange(2000), 250)  # none is exactly another's copy
    alike[1900] = alike[1500]
    cuts = {"train": (0, 1000), "validation": (1000, 1600), "test": (1600, 2000)}
    arrays = {f"x_{name}": alike[start:stop] for name, (start, stop) in cuts.items()}
    arrays |= {f"y_{name}": np.arange(start, stop) % 2 for name, (start, stop) in cuts.items()}
    np.savez(tmp_path / "camera.npz", **arrays)

    found = datasets.load(str(tmp_path / "camera.npz"))
    summary.say_dataset(found)

    assert found.counts_of_leaks() == {"near": 999, "exact": 1}
    assert len({leak.second for leak in found.leaks}) == 1000
    assert [str(leak) for leak in found.leaks if leak.kind == "exact"] == ["exact: validation-500 and test-300"]
    lines = capsys.readouterr().err.splitlines()
    assert "warning: 1 image is the same as one of an earlier split and 999 nearly so; " in "".join(lines)
    assert lines.count("… and 990 more") == 1


def test_published_splits_share_nothing(data):
    assert datasets.load(str(data / "cats_vs_dogs"), size=(64, 64)).leaks == ()


@pytest.fixture
def leaking(tmp_path):
    for name, images in (("train", range(6)), ("validation", [5, 20, 21])):
        for label in ("a", "b"):
            folder = tmp_path / "data" / name / label
            folder.mkdir(parents=True)
            for index in images:
                (folder / f"{index}.png").write_bytes(toys.save(scene(index + 50 * (label == "b"))))
    return tmp_path / "data"


def test_leakage_is_said_and_can_stop_a_run(leaking, capsys):
    code = main(["train", str(leaking), "--fail-on-leakage", "--epochs", "1"])

    text = capsys.readouterr().err
    assert code == 65
    assert "warning: 2 images are the same as one of an earlier split and 0 nearly so; figures measured on" in text
    assert "error: 2 images are the same as one of an earlier split and 0 nearly so; remove one of each, and" in text
    assert "exact: train/a/5.png and validation/a/5.png" in text
