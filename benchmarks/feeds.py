"""Sessions of ONNX Runtime, and the ways of handing one a batch: as served, I/O binding, pinned memory, CUDA graph.

Needs ONNX Runtime and NumPy alone.
"""

from __future__ import annotations

import ctypes
import statistics
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from app.devices import CUDA, ort  # first, so that ONNX Runtime is told to report nothing before it is imported

SERVED = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
"""What the service sets (app/sessions.py)."""

FLOAT16, FOR_FLOAT16 = b'"precision":"float16"', {"use_tf32": "1"}
"""What an artifact in float16 says, and what the service then sets."""

_CONSTANT = ("head_kernel", "head_bias")
_WITHOUT_GRAPH = "-1"
_REPEATS = 3
_FATAL = 4  # what goes wrong is raised

Run = Callable[[], list[np.ndarray]]


class Feed:
    """One session."""

    def __init__(self, model: Path | bytes, options: dict[str, str] | None, *, graph: bool = False) -> None:
        """Open it.

        Args:
            model: An artifact, or its bytes.
            options: Of the CUDA provider, beside those of the service; None runs on the CPU.
            graph: Record CUDA graphs.

        Raises:
            RuntimeError: It does not run where it is to run.
        """
        self.on_gpu = options is not None
        data = model if isinstance(model, bytes) else model.read_bytes()
        served = SERVED | (FOR_FLOAT16 if FLOAT16 in data else {})
        chosen = {**served, **(options or {}), **({"enable_cuda_graph": "1"} if graph else {})}
        settings = ort.SessionOptions()
        ort.set_default_logger_severity(_FATAL)
        settings.log_severity_level = _FATAL
        if self.on_gpu:
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = [(CUDA, chosen)] if self.on_gpu else ["CPUExecutionProvider"]
        self.session = ort.InferenceSession(data, settings, providers=providers, enable_fallback=0)
        self.provider = self.session.get_providers()[0]
        if self.on_gpu and self.provider != CUDA:
            raise RuntimeError(f"it runs on {self.provider}, not on CUDA")
        self.shape = tuple(self.session.get_inputs()[0].shape[1:])
        outputs = [one for one in self.session.get_outputs() if one.name not in _CONSTANT]
        self.outputs = [one.name for one in outputs]
        """All that depend on the image."""
        self.names = [one.name for one in outputs if not one.name.startswith("maps_")]
        """Those that an ordinary request asks for."""
        self._shapes = {one.name: one.shape[1:] for one in outputs}

    def batch(self, size: int) -> np.ndarray:
        """Make noise ``uint8 [size, H, W, C]``, the same at every call."""
        return np.random.default_rng(size).integers(0, 256, (size, *self.shape), np.uint8)

    def run(self, batch: np.ndarray, names: Sequence[str] | None = None) -> list[np.ndarray]:
        """Run a batch as the service does."""
        return self.session.run(list(names or self.names), {"image": batch}, _options())

    def runner(self, batch: np.ndarray, way: str) -> Run:
        """Prepare for batches of one size; what is returned runs one, copies there and back included.

        Args:
            batch: ``uint8 [N, H, W, C]``.
            way: ``plain`` as the service does, ``I/O binding`` with buffers of its own on the device, ``I/O binding,
                input pinned`` from memory that the GPU reads by itself, or ``CUDA graph``.

        Raises:
            RuntimeError, OSError: It cannot be had here.
        """
        if way == "plain":
            return lambda: self.run(batch)
        pinned = _pin(batch) if way == "I/O binding, input pinned" else batch
        device = "cuda" if self.on_gpu else "cpu"
        value = ort.OrtValue.ortvalue_from_numpy(pinned.copy(), device, 0)
        binding = self.session.io_binding()
        binding.bind_ortvalue_input("image", value)
        for name in self.names:  # buffers of their own, because a graph writes where it wrote when it was recorded
            shape = [len(batch), *self._shapes[name]]
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0))

        def bound(options: ort.RunOptions) -> list[np.ndarray]:
            value.update_inplace(pinned)
            self.session.run_with_iobinding(binding, options)
            return binding.copy_outputs_to_cpu()

        if way != "CUDA graph":
            return lambda: bound(_options())
        for _ in range(2):  # memory is taken here: nothing may be allocated while a graph is recorded
            bound(_options(_WITHOUT_GRAPH))
        number = _options(str(len(batch)))  # a graph for each size, recorded at the next run
        return lambda: bound(number)


def _options(graph: str | None = None) -> ort.RunOptions:
    options = ort.RunOptions()
    options.only_execute_path_to_fetches = True  # as the service does: maps that nobody asks for are not made
    if graph is not None:
        options.add_run_config_entry("gpu_graph_id", graph)
    return options


def _runtime() -> ctypes.CDLL:
    """Load CUDA's runtime library, which :func:`onnxruntime.preload_dlls` has loaded already."""
    return ctypes.CDLL(f"libcudart.so.{(ort.cuda_version or '13').partition('.')[0]}")


def _pin(batch: np.ndarray) -> np.ndarray:
    """Copy into memory that the GPU reads without a copy in between (``cudaHostRegister``)."""
    runtime, copy = _runtime(), batch.copy()
    address = ctypes.c_void_p(copy.ctypes.data)
    error = runtime.cudaHostRegister(address, ctypes.c_size_t(copy.nbytes), 0)
    if error:
        raise RuntimeError(f"cudaHostRegister answers {error}")
    weakref.finalize(copy, runtime.cudaHostUnregister, address).atexit = False
    return copy


def memory_in_use() -> float:
    """Megabytes of the GPU in use by all processes (``cudaMemGetInfo``)."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    error = _runtime().cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    if error:
        raise RuntimeError(f"cudaMemGetInfo answers {error}")
    return (total.value - free.value) / 1e6


def rate(run: Run, size: int, seconds: float) -> int:
    """Images per second of batches of ``size``, the median of three stretches."""
    for _ in range(3):
        run()
    rates = []
    for _ in range(_REPEATS):
        done, start = 0, time.perf_counter()
        while not done or time.perf_counter() - start < seconds / _REPEATS:
            run()
            done += size
        rates.append(done / (time.perf_counter() - start))
    return round(statistics.median(rates))


def crowd(run: Run, size: int, threads: int, seconds: float) -> int:
    """Images per second of that many threads, each of which runs batches of ``size``."""
    counts = [0] * threads
    failures: list[Exception] = []
    run()
    end = time.perf_counter() + seconds

    def work(index: int) -> None:
        try:
            while not counts[index] or time.perf_counter() < end:
                run()
                counts[index] += size
        except Exception as error:  # noqa: BLE001  # raised again where the threads were started
            failures.append(error)

    start = time.perf_counter()
    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return round(sum(counts) / (time.perf_counter() - start))
