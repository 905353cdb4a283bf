"""A device that fails: played at the boundary to ONNX Runtime, since no test may break a real one."""

import time

import numpy as np
import pytest

from app.errors import DeviceFailed
from app.faults import Guard
from app.outputs import Outputs
from tests import toys
from tests.app.test_predictions import assert_problem
from tests.app.test_protocol import connect, post
from tests.conftest import serving, wait_for_metric

STICKY = "CUDA failure 700: an illegal memory access was encountered ; GPU=0"
NO_MEMORY = "Failed to allocate memory for requested buffer of size 1073741824"

SERVICE = """
import sys
import onnxruntime
from app.__main__ import main
run, calls = onnxruntime.InferenceSession.run, []
def failing(self, names, feeds, *more):
    if feeds["image"].max() == 255 and len(feeds["image"]) <= {size}:
        raise RuntimeError({text!r})
    return run(self, names, feeds, *more)
onnxruntime.InferenceSession.run = failing
# Noise has white pixels too: the models have to be warm before anything fails.
import app.model
warm_up = app.model.Model.warm_up
def untouched(self, sizes):
    onnxruntime.InferenceSession.run = run
    warm_up(self, sizes)
    onnxruntime.InferenceSession.run = failing
app.model.Model.warm_up = untouched
sys.exit(main([]))
"""


def outputs(batch):
    values = batch.reshape(len(batch), -1)[:, :2].astype(np.float32)
    return Outputs(values, values, (values,))


def test_a_batch_that_does_not_fit_is_run_in_halves():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > 4:
            raise RuntimeError(NO_MEMORY)
        return outputs(batch)

    batch = np.arange(8 * 2 * 1 * 1, dtype=np.uint8).reshape(8, 2, 1, 1)
    answer = Guard().run(run, batch)

    assert sizes == [8, 4, 4]
    assert np.array_equal(answer.logits, outputs(batch).logits)
    assert np.array_equal(answer.features[0], outputs(batch).features[0])


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        (NO_MEMORY, [4, 2]),
        ("CUDNN failure 4004: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0", [4, 2]),
        (STICKY, [4]),
        ("CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ; GPU=0", [4]),
        ("CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available for execution on the device", [4]),
    ],
)
def test_what_cannot_be_helped_is_said_once(text, sizes):
    guard, seen, said = Guard(), [], []
    guard.on_failure = said.append

    def run(batch):
        seen.append(len(batch))
        raise RuntimeError(text)

    for _ in range(2):
        with pytest.raises(DeviceFailed, match="try again"):
            guard.run(run, np.zeros((4, 1, 1, 1), np.uint8))
    assert seen == sizes * 2
    assert len(said) == 1
    assert text.split(":")[0] in str(said[0])


def test_a_model_that_fails_by_itself_is_not_the_device():
    guard, said = Guard(), []
    guard.on_failure = said.append

    def run(_):
        raise RuntimeError("Gather: index 2 is out of range")

    with pytest.raises(RuntimeError, match="Gather"):
        guard.run(run, np.zeros((4, 1, 1, 1), np.uint8))
    assert said == []


def test_the_process_is_not_ready_any_more_and_ends(tmp_path):
    """Soon, whatever it would be given time for otherwise: here an image that waits for another one."""
    toys.publish(tmp_path, "other")
    toys.publish(tmp_path, "toy")
    code, image = SERVICE.format(size=64, text=STICKY), toys.plain(1)
    waits = {"MAX_BATCH_SIZE": 2, "MAX_BATCH_DELAY_MS": 60_000, "LAME_DUCK_S": 60, "SHUTDOWN_TIMEOUT_S": 60}
    with serving(tmp_path, arguments=("-c", code), DEFAULT_MODEL="toy", **waits) as client, connect(client) as waiting:

        def ask(level):
            return client.post("/predict/batch", files=[("file", toys.plain(level))] * 2)

        assert ask(1).status_code == 200
        header = post(b"Content-Length: %d" % len(image)).replace(b"/predict", b"/predict?model=other")
        waiting.sendall(header + image)
        wait_for_metric(client, "multipool_images_in_work 1.0")
        assert_problem(ask(255), 503, "not_ready")
        assert client.process.wait(20) == 1
        assert "CUDA failure 700" in client.log.text
        assert "Traceback" not in client.log.text


def test_where_no_process_ends_it_stays_as_it_is(tmp_path):
    """Under plain uvicorn; to load the models again would make it look ready, and a device fails for ever after."""
    toys.publish(tmp_path, "toy")
    run = "import uvicorn; uvicorn.run('app.main:create_app', factory=True, port=0)"
    code = SERVICE.format(size=64, text=STICKY).replace("sys.exit(main([]))", run)
    with serving(tmp_path, arguments=("-c", code), MODELS_POLL_S=0.05) as client:
        assert_problem(client.post("/predict", files={"file": toys.plain(255)}), 503, "not_ready")
        for _ in range(20):
            assert "CUDA failure 700" in assert_problem(client.get("/readyz"), 503, "not_ready")["detail"]
            time.sleep(0.1)
