"""A GPU, played by sessions on the CPU: what is ours about it, and not ONNX Runtime's."""

import asyncio
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from app import devices, doctor, sessions, starting
from app.errors import DeviceUnavailable, InvalidArtifact, NotReady
from app.model import Model
from app.registry.loading import Loader
from app.repository import Repository
from app.settings import Settings
from tests import toys

open_session = sessions.open_session


class Played:
    """A session that notes the sizes of its batches and the threads that run it, and fails as it is told to."""

    def __init__(self, session, gpu):
        self._session, self._gpu, self.sizes, self.threads = session, gpu, [], set()

    def __getattr__(self, name):
        return getattr(self._session, name)

    def get_providers(self):
        return [devices.CUDA, devices.CPU]

    def run(self, names, feeds, *more):
        self.sizes.append(len(feeds["image"]))
        self.threads.add(threading.current_thread())
        if self._gpu.failure:
            raise RuntimeError(self._gpu.failure)
        return self._session.run(names, feeds, *more)


@pytest.fixture
def gpu(monkeypatch):
    """Have models that are opened on ``cuda`` run on the CPU; ``failure`` is what every run fails with."""
    played = SimpleNamespace(sessions=[], failure="")

    def opened(data, device, threads=1):
        session = open_session(data, "cpu", threads)
        if device == "cuda":
            session = Played(session, played)
            played.sessions.append(session)
        return session

    monkeypatch.setattr(sessions, "open_session", opened)
    monkeypatch.setattr(devices, "why_no_cuda", lambda: None)
    return played


def images(count):
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_a_session_sees_one_size_of_batch(gpu):
    """A convolution on CUDA prepares itself anew whenever the size differs from the one before."""
    model = Model.load(toys.artifact(), "cuda", largest_batch=8)
    model.warm_up(model.batch_sizes)
    on_cpu = Model.load(toys.artifact(), "cpu")

    for count in (1, 3, 8, 2, 5, 1, 20):
        answered, expected = model.run(images(count)), on_cpu.run(images(count))
        assert answered.logits.shape == expected.logits.shape
        np.testing.assert_allclose(answered.logits, expected.logits, atol=1e-6)
        np.testing.assert_allclose(answered.features[3], expected.features[3], atol=1e-6)

    assert [set(session.sizes) for session in gpu.sessions] == [{1}, {2}, {4}, {8}]


@pytest.mark.parametrize(("largest", "sizes"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 4]), (32, [1, 2, 4, 8, 16, 32])])
def test_every_size_is_run_before_the_model_is_ready(gpu, largest, sizes, tmp_path):
    toys.publish(tmp_path, "toy")

    Loader(device="cuda", threads=1, max_batch_size=largest).open(tmp_path / "toy" / "1" / "model.onnx")

    assert [set(session.sizes) for session in gpu.sessions] == [{size} for size in sizes]


def test_a_session_is_run_by_few_threads_which_are_warm_before_the_model_is_ready(gpu):
    """ONNX Runtime makes a CUDA stream and handles of cuBLAS and cuDNN for each thread that runs a session."""
    model = Model.load(toys.artifact(), "cuda", largest_batch=4)
    model.warm_up(model.batch_sizes)
    warm = [set(session.threads) for session in gpu.sessions]
    assert [len(threads) for threads in warm] == [2, 2, 2]
    assert len(set.union(*warm)) == 2

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(lambda number: model.run(images(number % 4 + 1)), range(100)))
        list(callers.map(lambda _: model.run_with_maps(images(1)), range(20)))

    assert [session.threads for session in gpu.sessions] == warm


def test_the_threads_end_with_the_model(gpu):
    model = Model.load(toys.artifact(), "cuda", largest_batch=2)
    model.warm_up(model.batch_sizes)
    threads = set.union(*(session.threads for session in gpu.sessions))
    assert all(thread.is_alive() for thread in threads)

    gpu.sessions.clear()
    del model
    gc.collect()

    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


PLACE = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, "
    "onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, "
    "const char*, int) [with ERRTYPE = cudaError; bool THRW = true; SUCCTYPE = cudaError; std::conditional_t<THRW, "
    "void, common::Status> = void] "
)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            f"{PLACE}{PLACE}CUDA failure 36: API call is not supported in the installed CUDA driver ; GPU=-1 ; "
            "hostname=vm ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider.cc ; line=355 "
            "; expr=cudaSetDevice(info_.device_id); \n\n",
            "CUDA failure 36: API call is not supported in the installed CUDA driver",
        ),
        (
            "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Non-zero status code returned while running Conv node. "
            "Name:'c' Status Message: /onnxruntime_src/onnxruntime/core/providers/cuda/cuda_kernel.h:296 static "
            "cudnnContext* onnxruntime::cuda::CudaKernel::RequireCudnnHandle(cudnnHandle_t) [ONNXRuntimeError] : 9 : "
            "NOT_IMPLEMENTED : cuDNN is unavailable or disabled for CUDA Execution Provider: dlopen failed\n",
            "Non-zero status code returned while running Conv node. Name:'c' Status Message: cuDNN is unavailable or "
            "disabled for CUDA Execution Provider: dlopen failed",
        ),
    ],
)
def test_what_onnx_runtime_says_is_told_without_the_places_in_its_source(raised, said):
    """As ONNX Runtime 1.31 words it; the place alone is longer than what is told."""
    assert devices.first_line(RuntimeError(raised)) == said


def test_a_session_that_cuda_refuses_says_why_and_prints_nothing(monkeypatch, capsys):
    """ONNX Runtime would try the CPU, which it was told not to use, and raise that."""
    monkeypatch.setattr(devices, "why_no_cuda", lambda: None)
    monkeypatch.setattr(devices, "missing_library", lambda: None)
    create = ort.InferenceSession._create_inference_session

    def refused(self, providers, *more):
        if providers != [devices.CPU]:
            raise RuntimeError(f"{PLACE}CUDA failure 36: not supported ; GPU=-1 ; hostname=vm")
        create(self, providers, *more)

    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", refused)

    with pytest.raises(DeviceUnavailable, match=r"^CUDA cannot be used: ONNX Runtime refuses it: CUDA failure 36: not"):
        open_session(toys.artifact(), "cuda")
    assert capsys.readouterr().out == ""


def test_a_session_that_lacks_a_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr(devices, "why_no_cuda", lambda: None)
    monkeypatch.setattr(devices, "missing_library", lambda: "libcudnn.so.9 cannot be loaded")
    create = ort.InferenceSession._create_inference_session

    def refused(self, providers, *more):
        if providers != [devices.CPU]:
            raise RuntimeError("there is no cuDNN")
        create(self, providers, *more)

    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", refused)

    with pytest.raises(DeviceUnavailable) as raised:
        open_session(toys.artifact(), "cuda")

    install = "install deploy/requirements/serve-cuda.txt"
    assert str(raised.value) == f"CUDA cannot be used: libcudnn.so.9 cannot be loaded; {install}"


@pytest.mark.parametrize(("precision", "use_tf32"), [("float32", "0"), ("float16", "1")])
def test_tensor_cores_are_for_float16_alone(monkeypatch, precision, use_tf32):
    """With ``use_tf32=0`` ONNX Runtime takes none of cuDNN's engines that use them, whatever the type."""
    monkeypatch.setattr(devices, "why_no_cuda", lambda: None)
    monkeypatch.setattr(devices, "missing_library", lambda: None)
    create, asked = ort.InferenceSession._create_inference_session, []

    def refuse(self, providers, *more):
        if providers != [devices.CPU]:
            asked.extend(providers)
            raise RuntimeError("there is no GPU")
        create(self, providers, *more)

    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", refuse)

    with pytest.raises(DeviceUnavailable):
        open_session(toys.artifact(precision=precision), "cuda")

    ((name, options),) = asked
    assert (name, options["use_tf32"]) == (devices.CUDA, use_tf32)


@pytest.mark.parametrize(("set_to", "found"), [(None, "0"), ("1", "1")])
def test_float32_never_runs_in_tf32_unless_an_operator_wants_it(monkeypatch, set_to, found):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", set_to or "")
    if set_to is None:
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    devices.load_libraries.cache_clear()

    devices.load_libraries()

    assert os.environ["NVIDIA_TF32_OVERRIDE"] == found


def test_a_model_that_cuda_has_no_kernels_for_is_named_with_what_to_do(monkeypatch, tmp_path):
    """As ONNX Runtime 1.31 refuses an int8 artifact that is to run on CUDA alone."""
    toys.publish(tmp_path, "toy")
    path = tmp_path / "toy" / "1" / "model.onnx"
    monkeypatch.setattr(devices, "why_no_cuda", lambda: None)
    monkeypatch.setattr(devices, "missing_library", lambda: None)
    create = ort.InferenceSession._create_inference_session

    def refused(self, providers, *more):
        if providers != [devices.CPU]:
            raise RuntimeError(
                "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the default "
                "CPU EP, but fallback to CPU EP has been explicitly disabled by the user."
            )
        create(self, providers, *more)

    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", refused)

    with pytest.raises(DeviceUnavailable, match=r"no kernels for all .* set MULTIPOOL_DEVICE=auto") as raised:
        Loader(device="cuda", threads=1, max_batch_size=1).open(path)
    assert str(path) in str(raised.value)
    model, _ = Loader(device="auto", threads=1, max_batch_size=1).open(path)
    assert model.execution_provider == devices.CPU


def driver(version, count=1):
    """A driver as :mod:`ctypes` shows it."""

    def tell(number):
        return lambda place, *_: setattr(place._obj, "value", number) or 0

    return SimpleNamespace(
        cuInit=lambda _: 0,
        cuDeviceGetCount=tell(count),
        cuDriverGetVersion=tell(version),
        cuDeviceGet=tell(0),
        cuDeviceGetName=lambda place, *_: setattr(place, "value", b"NVIDIA H200"),
        cuDeviceGetAttribute=lambda place, which, _: setattr(place._obj, "value", {75: 9, 76: 0}[which]),
    )


@pytest.mark.parametrize(
    ("version", "count", "reason"),
    [
        (13000, 1, None),
        (12080, 1, "the NVIDIA driver runs CUDA 12.8 at most and onnxruntime needs 13.0; update it"),
        (13000, 0, "the NVIDIA driver finds no GPU"),
    ],
)
def test_a_driver_says_what_stands_in_the_way(monkeypatch, version, count, reason):
    monkeypatch.setattr(ort, "get_available_providers", lambda: [devices.CUDA, devices.CPU])
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda *_: driver(version, count))
    monkeypatch.setattr(devices, "built_for", lambda: "13.0")
    devices.why_no_cuda.cache_clear()
    try:
        found = devices.why_no_cuda()
    finally:
        devices.why_no_cuda.cache_clear()
    assert found is None if reason is None else found.startswith(reason)


def test_the_doctor_names_the_gpu_and_what_its_driver_can_do(monkeypatch):
    monkeypatch.setattr(devices, "why_no_cuda", lambda: None)
    monkeypatch.setattr(devices, "missing_library", lambda: None)
    monkeypatch.setattr(devices, "built_for", lambda: "13.0")
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda *_: driver(13010))

    cuda, libraries = doctor._cuda()

    gpu = "NVIDIA H200 (compute capability 9.0)"
    assert (cuda.level, cuda.text) == ("ok", f"{gpu}, driver up to CUDA 13.1, onnxruntime built for CUDA 13.0")
    assert libraries.level == "ok"


def test_a_missing_cudnn_is_named(monkeypatch):
    """The provider loads without it, and fails at its first convolution."""

    def load(name, *_):
        if "cudnn" in name:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(devices.ctypes, "CDLL", load)

    assert devices.missing_library() == "libcudnn.so.9 cannot be loaded"


def test_the_doctor_sends_nobody_to_remove_a_model_for_a_gpu_that_fails(gpu, tmp_path):
    toys.publish(tmp_path, "toy")
    gpu.failure = NO_KERNEL

    (model,) = doctor._models(Settings(models_dir=tmp_path, device="cuda"))

    assert (model.level, type(model.error)) == ("failure", DeviceUnavailable)
    assert "remove" not in model.advice


@pytest.mark.usefixtures("gpu")
def test_a_version_that_the_gpu_cannot_run_ends_the_start_and_is_a_failure_to_the_doctor(tmp_path, monkeypatch):
    """As an int8 model beside a float32 one."""
    toys.publish(tmp_path, "toy", 1)
    quantized = toys.publish(tmp_path, "toy", 2, toys.artifact(offset=0.25)).read_bytes()
    opened = sessions.open_session

    def without_kernels(data, device, threads=1):
        if device == "cuda" and data == quantized:
            raise DeviceUnavailable("CUDA has no kernels for all that it computes")
        return opened(data, device, threads)

    monkeypatch.setattr(sessions, "open_session", without_kernels)

    first, second = doctor._models(Settings(models_dir=tmp_path, device="cuda"))
    with pytest.raises(DeviceUnavailable, match="no kernels"):
        starting.load(Repository(tmp_path, default=None, loader=Loader(device="cuda", threads=1, max_batch_size=4)))

    assert (first.level, second.level) == ("ok", "failure")
    assert isinstance(second.error, DeviceUnavailable)


def test_the_doctor_says_once_what_to_install(monkeypatch):
    monkeypatch.setattr(devices, "why_no_cuda", lambda: None)
    monkeypatch.setattr(devices, "missing_library", lambda: "libcudnn.so.9 cannot be loaded")
    monkeypatch.setattr(devices, "gpu", lambda: "NVIDIA H200")

    *_, libraries = doctor._cuda()

    assert (libraries.level, libraries.text) == ("warning", "libcudnn.so.9 cannot be loaded")
    assert libraries.advice.startswith("install deploy/requirements/serve-cuda.txt")


NO_KERNEL = "CUDA failure 209: no kernel image is available for execution on the device ; GPU=0"


def test_a_gpu_that_cannot_run_the_model_is_not_the_models_fault(gpu, tmp_path):
    toys.publish(tmp_path, "toy")
    gpu.failure = NO_KERNEL
    loader = Loader(device="cuda", threads=1, max_batch_size=4)

    with pytest.raises(DeviceUnavailable, match="CUDA cannot be used: it does not run: CUDA failure 209"):
        starting.load(Repository(tmp_path, default=None, loader=loader))


def test_auto_goes_on_without_a_gpu_that_cannot_run_the_model(gpu, tmp_path, caplog):
    toys.publish(tmp_path, "toy")
    gpu.failure = NO_KERNEL
    repository = Repository(tmp_path, default=None, loader=Loader(device="auto", threads=1, max_batch_size=4))

    starting.load(repository)

    assert repository.served.find("toy").card.execution_provider == devices.CPU
    assert "running" in caplog.text
    assert "CUDA failure 209" in caplog.text


@pytest.mark.usefixtures("gpu")
def test_a_model_that_fails_on_the_cpu_too_is_at_fault(tmp_path):
    toys.publish(tmp_path, "toy", data=toys.artifact(gain=float("nan")))

    with pytest.raises(InvalidArtifact, match="not finite"):
        Loader(device="cuda", threads=1, max_batch_size=4).open(tmp_path / "toy" / "1" / "model.onnx")


def test_a_version_that_a_gpu_in_use_has_no_room_for_is_refused_and_the_rest_goes_on(gpu, tmp_path):
    toys.publish(tmp_path, "toy")
    repository = Repository(tmp_path, default=None, loader=Loader(device="cuda", threads=1, max_batch_size=4))
    starting.load(repository)
    toys.publish(tmp_path, "toy", 2, toys.artifact(offset=0.25))
    gpu.failure = "Failed to allocate memory for requested buffer of size 1073741824"

    for found in repository.folder.look()[1:]:
        repository.admit(found, repository.trusted() | {Model.load(toys.artifact(offset=0.25), "cpu").sha256})

    assert repository.served.find("toy").number == 1
    (refused,) = [entry.refused for entry in repository.entries() if entry.number == 2]
    assert "Failed to allocate memory" in refused
    assert "lower MULTIPOOL_MAX_BATCH_SIZE" in refused


def test_a_model_that_a_gpu_has_no_room_for_any_more_is_not_ready(gpu, tmp_path):
    for name in ("a", "b"):
        toys.publish(tmp_path, name)
    loader = Loader(device="cuda", threads=1, max_batch_size=4)
    repository = Repository(tmp_path, default=None, loader=loader, memory_bytes=1)
    starting.load(repository)
    gpu.failure = "Failed to allocate memory for requested buffer of size 1073741824"

    with pytest.raises(NotReady, match="cannot be loaded; GET /models says why"):
        asyncio.run(repository.acquire("a"))
    gpu.failure = ""
    assert asyncio.run(repository.acquire("a")).name == "a"  # once there is room again
