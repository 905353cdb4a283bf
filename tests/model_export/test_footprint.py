"""Where memory ends: what is told before a training, and what is said when there was not enough."""

import argparse
import errno
import os
import resource
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.images import Shape
from model_export.architectures import build
from model_export.errors import OutOfMemory
from model_export.fitting import footprint
from tests.conftest import ROOT
from tests.model_export.conftest import bright_and_dark


def test_what_layers_give_is_counted_in_networks_within_networks_too():
    """The largest, of 32 values, is there three times."""
    inner = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.MaxPooling2D(2)])
    outer = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3, padding="same"), inner])

    assert footprint.step(outer, 3) == 3 * (3 * 4 * 4 * 2 + 2 * 2 * 2) * 4


@pytest.mark.parametrize("trunk", ["plain", "mobilenetv2"])
def test_a_step_that_memory_has_no_room_for_is_told_unless_a_gpu_computes_it(monkeypatch, trunk):
    network = build("regions", trunk, Shape(64, 64, 3), 2).model
    needed = footprint.step(network, 64)
    told = "a step of 6,400 images takes about {:,.1f} GB of memory, and there are "

    assert footprint.advice(network, 64, needed) == ""
    assert footprint.advice(network, 6400, needed).startswith(told.format(needed / 1e7))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [argparse.Namespace(name="GPU:0")])
    assert footprint.advice(network, 6400, needed) == ""


COMPARED = """
import keras, pathlib, re
from app.model import Model
from model_export import verification
from tests import toys

def most():  # that of getrusage begins with what the process had that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

image = keras.Input((256, 256, 3), dtype="uint8")
value = image
for _ in range(40):  # each makes 25 MB of 32 images
    value = keras.layers.Rescaling(0.9)(value)
pooled = keras.layers.GlobalAveragePooling2D()(value)
two = keras.layers.Dense(2)(pooled)
names = (*("probabilities", "logits"), *(branch.output for branch in toys.metadata().branches))
reference = keras.Model(image, {name: two if index < 2 else pooled for index, name in enumerate(names)})
model = Model.load(toys.artifact(256, 256, head=False), device="cpu")
before = most()
verification.compare(model, reference, ())
print(most() - before)
"""


def test_a_deep_network_is_compared_without_keeping_what_all_its_layers_make():
    done = subprocess.run([sys.executable, "-c", COMPARED], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)

    assert float(done.stdout) < 500  # MB; all of it together is 1,200


@pytest.fixture(scope="module")
def starved(tmp_path_factory):
    """What the commands say, and how they end, if TensorFlow's allocator has 20 MB, as if it were that of a small GPU.

    They run at once, because the allocator waits for ten seconds before it gives up.
    """
    small = {
        "TF_ENABLE_ONEDNN_OPTS": "0",  # with it, TensorFlow crashes
        "TF_CPU_ALLOCATOR_USE_BFC": "1",
        "TF_CPU_BFC_MEM_LIMIT_IN_MB": "20",
        "PYTHONPATH": str(ROOT),
    }
    root = tmp_path_factory.mktemp("starved")
    options = [str(bright_and_dark(root / "data")), "--trunk", "plain", "--size", "64", "--epochs", "1"]
    commands = {"train": [], "compare": ["--architectures", "gap", "--report", "report"]}
    processes = {
        command: subprocess.Popen(
            [sys.executable, "-m", "model_export", command, *options, *further],
            cwd=root,
            env=os.environ | small,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command, further in commands.items()
    }
    return {command: (process.communicate()[1], process.returncode) for command, process in processes.items()}


@pytest.mark.parametrize("command", ["train", "compare"])
def test_who_runs_out_of_memory_is_told_what_to_do_and_how_to_go_on(starved, command):
    said, code = starved[command]

    *_, last = said.splitlines()
    assert last.startswith("error: there is not enough memory on the CPU: free some, or train again with a smaller ")
    assert "; continue with: " in last
    assert "Traceback" not in said
    assert code == 1


def test_a_full_disk_is_not_taken_for_want_of_memory():
    """TensorFlow raises the same error for both, as when TensorBoard's files are written."""
    full = tf.io.gfile.GFile("/dev/full", "w")
    with pytest.raises(OSError, match="No space left on device") as raised, footprint.enough(), full as file:
        file.write("events")

    assert raised.value.errno == errno.ENOSPC


def test_too_many_open_files_are_not_taken_for_want_of_memory(tmp_path):
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as raised, footprint.enough():
            tf.io.gfile.GFile(str(tmp_path / "events"), "w").write("events")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

    assert raised.value.errno == errno.EMFILE


def test_what_does_not_fit_into_an_array_is_want_of_memory_too():
    with pytest.raises(OutOfMemory, match="not enough memory on the CPU: free some, or"), footprint.enough():
        np.empty(2**60, np.uint8)
