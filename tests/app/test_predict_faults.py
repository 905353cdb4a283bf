"""``python -m app predict`` where the device or the model fails: with models that really do so, on white images."""

import csv
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from app import cores, faults, images
from app.budget import Budget
from app.devices import CPU, CUDA
from app.errors import MultipoolError, UndecodableImage
from app.offline.answering import Offline, open_version
from app.settings import Settings
from tests import toys
from tests.app.test_predict import environment
from tests.conftest import ROOT, START_LIMIT_S

NO_MEMORY = "error: there is not enough memory to run the model: "


def failing(fits, how, **size):
    """A toy that fails if more than ``fits`` images of a batch are white; the noise of the self-check never is."""
    model = toys.proto(**size)
    constants = {"axes_of_image": np.array([1, 2, 3]), "of_batch": np.array([0]), "white": np.float32(255)}
    constants |= {"fits": np.array(fits), "none": np.array(0), "too_much": np.array([2**43]), "one": np.zeros(1)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes = [
        helper.make_node("ReduceMin", ["cast", "axes_of_image"], ["darkest"], keepdims=0),
        helper.make_node("Equal", ["darkest", "white"], ["is_white"]),
        helper.make_node("Cast", ["is_white"], ["ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["ones", "of_batch"], ["count"], keepdims=0),
        helper.make_node("Sub", ["count", "fits"], ["over"]),
        helper.make_node("Max", ["over", "none"], ["excess"]),
        *{
            "memory": [
                helper.make_node("Mul", ["excess", "too_much"], ["size"]),
                helper.make_node("ConstantOfShape", ["size"], ["room"]),
                helper.make_node("ReduceSum", ["room"], ["zero"], keepdims=0),
            ],
            "range": [
                helper.make_node("Gather", ["one", "excess"], ["found"]),
                helper.make_node("Cast", ["found"], ["zero"], to=TensorProto.FLOAT),
            ],
        }[how],
        helper.make_node("Add", ["scores", "zero"], ["logits"]),
    ]
    place = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Gemm")
    model.graph.node[place].output[0] = "scores"
    for index, node in enumerate(nodes, start=place + 1):
        model.graph.node.insert(index, node)
    return toys.serialize(model)


@pytest.fixture
def predict(tmp_path):
    """Classify two dark images and four white ones; returns what is left of the process."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(6):
        (images / f"{number}.png").write_bytes(toys.plain(255 if number >= 2 else 30))

    def run(*arguments, fits, how="memory", batch=2, only=""):
        if not (root := tmp_path / "models").exists():
            toys.publish(root, "toy", data=failing(fits, how))
        return subprocess.run(
            [sys.executable, "-m", "app", "predict", images / only, *map(str, arguments)],
            cwd=ROOT,
            env=environment(root, DEFAULT_MODEL="toy", MAX_BATCH_SIZE=batch),
            capture_output=True,
            text=True,
            timeout=START_LIMIT_S,
            check=False,
        )

    return run


def test_what_does_not_fit_is_run_in_halves(predict):
    done = predict(fits=1)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["dark"] * 2 + ["bright"] * 4


def test_want_of_memory_is_said_in_a_line_and_a_table_is_continued(predict, tmp_path):
    table = tmp_path / "table.csv"

    done = predict("--output", table, fits=1, batch=4)

    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "images/s" not in line]
    assert line.startswith(NO_MEMORY)
    assert line.endswith("; free memory, or set MULTIPOOL_MAX_BATCH_SIZE=1, and run the command again")
    assert not table.exists()

    done = predict("--output", table, fits=1, batch=1)

    assert done.returncode == 0, done.stderr
    with table.open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["dark"] * 2 + ["bright"] * 4


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--explain", "why.png"]])
def test_where_not_even_one_image_fits(predict, arguments):
    done = predict(*arguments, fits=0, only="5.png")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(NO_MEMORY)
    assert done.stderr.endswith("; free memory, and run the command again\n")
    assert done.stderr.count("\n") == 1


def test_a_model_that_fails_is_told_from_the_device(predict):
    done = predict(fits=0, how="range")

    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["dark"] * 2
    assert done.stderr.startswith("error: the model fails on these images: ")
    assert "Gather" in done.stderr
    assert done.stderr.endswith("; choose another version of it with --model, and run the command again\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("threads", "largest"), [(2, 8), (16, 1), (1, 16)])
def test_large_images_are_run_in_small_batches_and_batches_on_all_cores(tmp_path, monkeypatch, threads, largest):
    """Each takes memory; and a core that waited for another one would be of no use."""
    monkeypatch.setattr(cores, "available", lambda: threads)
    toys.publish(tmp_path, "toy", data=failing(largest, "memory", height=256, width=512))
    settings, all_at_work = Settings(models_dir=tmp_path), threading.Barrier(threads)

    class Met(Offline):
        def decode(self, _):
            return np.broadcast_to(np.uint8(255), (256, 512, 3))

        def judging(self, images):
            assert images == largest
            all_at_work.wait(60)
            return super().judging(images)

    offline = Met(open_version(settings, "toy"), settings)
    files = [tmp_path / f"{number}.png" for number in range(2 * threads * largest)]

    answered = list(offline.classify(files, top=None, features=False))

    assert [name for name, _ in answered] == [str(file) for file in files]
    assert {answer["label"] for _, answer in answered} == {"bright"}


def test_images_that_fit_into_no_batch_are_said_too(tmp_path):
    """There is no memory for them even before the model runs."""

    class Vast(Offline):
        def decode(self, _):
            return np.broadcast_to(np.uint8(0), (1 << 23, 1 << 23, 3))

    toys.publish(tmp_path, "toy")
    settings = Settings(models_dir=tmp_path)
    offline = Vast(open_version(settings, "toy"), settings)

    with pytest.raises(MultipoolError, match=r"^there is not enough memory to run the model: Unable to allocate "):
        list(offline.classify([tmp_path / "vast.png"], top=None, features=False))


def test_what_does_not_end_is_not_read_until_memory_does(tmp_path):
    """Such as /dev/zero; here a pipe, which says as little of its size, and ends after all."""
    toys.publish(tmp_path, "toy")
    settings = Settings(models_dir=tmp_path)
    offline = Offline(open_version(settings, "toy"), settings, room=Budget(3_000_000))

    with subprocess.Popen(["/usr/bin/head", "-c", "9000000", "/dev/zero"], stdout=subprocess.PIPE) as writer:
        said = offline.decode(Path(f"/dev/fd/{writer.stdout.fileno()}"))
        writer.stdout.close()

    assert isinstance(said, UndecodableImage)
    assert str(said) == "it is endless, or has more bytes than there is memory for; name a file"


def test_files_that_are_read_at_once_fit_into_memory_together(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "available", lambda: 4)
    toys.publish(tmp_path, "toy")
    settings = Settings(models_dir=tmp_path)
    offline = Offline(open_version(settings, "toy"), settings, room=Budget(3_000_000))
    sizes = [2_000_000, 2_500_000, 1_500_000, 1_000_000, 3_000_000, 3_000_001]
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.png").write_bytes(toys.plain(255).ljust(size, b"\0"))
    reading, together, decode = [], [], images.decode

    def note(content, *arguments, **options):
        reading.append(len(content))
        together.append(sum(reading))
        time.sleep(0.05)  # for the others to come, if they can
        reading.remove(len(content))
        return decode(content, *arguments, **options)

    monkeypatch.setattr(images, "decode", note)
    files = [tmp_path / f"{number}.png" for number in range(len(sizes))]

    *answered, (_, refused) = offline.classify(files, top=None, features=False)

    assert {answer["label"] for _, answer in answered} == {"bright"}
    assert str(refused) == "the file has 3,000,001 bytes, more than half of the memory; make it smaller"
    assert len(together) == len(answered)
    assert max(together) == 3_000_000


def test_pipes_that_one_program_writes_to_in_turn_do_not_wait_for_each_other(tmp_path):
    """As ``tee`` does; each holds less than the image."""
    toys.publish(tmp_path, "toy")
    settings = Settings(models_dir=tmp_path)
    offline = Offline(open_version(settings, "toy"), settings)
    image = toys.plain(255, (300, 300), "BMP")
    pipes, decoded = [os.pipe() for _ in range(2)], []

    def write():
        for start in range(0, len(image), 65536):
            for _, end in reversed(pipes):
                os.write(end, image[start : start + 65536])
        for _, end in pipes:
            os.close(end)

    def read(start):
        decoded.append(offline.decode(Path(f"/dev/fd/{start}")))
        os.close(start)

    readers = [threading.Thread(target=read, args=(start,), daemon=True) for start, _ in pipes]
    for thread in (*readers, writer := threading.Thread(target=write, daemon=True)):
        thread.start()
    for thread in (*readers, writer):
        thread.join(30)

    assert [int(one.min()) for one in decoded] == [255, 255]


@pytest.mark.parametrize(
    ("text", "provider", "said"),
    [
        ("CUDA failure 2: out of memory ; GPU=0", CUDA, "=8, or set MULTIPOOL_DEVICE=cpu, and run the command again"),
        ("CUDA failure 700: an illegal memory access ; GPU=0", CUDA, "nvidia-smi, or set MULTIPOOL_DEVICE=cpu, and"),
        ("Gather: index 2 is out of range", CPU, "with --model, and run the command again"),
    ],
)
def test_what_is_advised_is_possible(text, provider, said):
    assert said in faults.advice(RuntimeError(text), 32, provider)
