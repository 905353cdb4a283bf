"""Whether CUDA can be used here, and why not: one clear reason instead of what the libraries print."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
from functools import cache
from pathlib import Path

import onnxruntime as ort

from app import interpreter
from app.errors import DeviceUnavailable

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
INSTALL = "install deploy/requirements/serve-cuda.txt"
"""What brings all that ONNX Runtime needs beside the driver."""

_DRIVER = "libcuda.so.1"
_CUDNN = "libcudnn.so.9"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|/onnxruntime_src/\S+:\d+ [^()\n]*\([^()\n]*\)(?: \[with [^\]\n]*\])? "  # a file and the signature of a function
    r"| ; GPU=-?\d+ ; hostname=.*"
)


@cache
def why_no_cuda() -> str | None:
    """Say what stands between ONNX Runtime and a GPU, or None where nothing does.

    Asks the driver itself (CUDA Driver API), which is quick and silent; whether ONNX Runtime's own libraries load, and
    have kernels for this GPU, shows when a model is opened and warmed up.
    """
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime has no CUDA execution provider (onnxruntime-gpu has)"
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return f"there is no NVIDIA driver ({_DRIVER} is missing); a container must be started with a GPU"
    count = ctypes.c_int(0)
    error = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if error or count.value == 0:
        return f"the NVIDIA driver finds no GPU (CUDA error {error}); see nvidia-smi and CUDA_VISIBLE_DEVICES"
    (newest, minor), wanted = driver_version(), built_for()
    if wanted and newest < int(wanted.partition(".")[0]):
        return f"the NVIDIA driver runs CUDA {newest}.{minor} at most and onnxruntime needs {wanted}; update it"
    return None


def require_cuda() -> None:
    """See that CUDA can be used.

    Raises:
        DeviceUnavailable: It cannot; says why.
    """
    if (reason := why_no_cuda()) is not None:
        advice = f"'{interpreter.command()} -m app doctor' says what to do"
        raise DeviceUnavailable(f"CUDA cannot be used: {reason}; {advice}")


@cache
def load_libraries() -> None:
    """Load CUDA and cuDNN of the nvidia-* packages, where they are installed; they are large, which takes seconds."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # cuBLAS and cuDNN read it: float32 never runs in TF32
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()


def missing_library() -> str | None:
    """Say which library ONNX Runtime's CUDA provider cannot load; :data:`INSTALL` is what to do then."""
    load_libraries()
    folder = Path(ort.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
        ctypes.CDLL(_CUDNN)  # ONNX Runtime loads it only when a convolution is run
    except OSError as error:
        return f"{str(error).partition(':')[0]} cannot be loaded"
    return None


def driver_version() -> tuple[int, int]:
    """Ask the driver for the newest CUDA that it can run (``cuDriverGetVersion``); (0, 0) where there is none."""
    number = ctypes.c_int(0)
    with contextlib.suppress(OSError):
        ctypes.CDLL(_DRIVER).cuDriverGetVersion(ctypes.byref(number))
    return number.value // 1000, number.value % 1000 // 10


def gpu() -> str:
    """Name the GPU that is used, the first visible one; to be asked where :func:`why_no_cuda` has found one."""
    name, major, minor = ctypes.create_string_buffer(256), ctypes.c_int(0), ctypes.c_int(0)
    driver, first = ctypes.CDLL(_DRIVER), ctypes.c_int(0)
    driver.cuDeviceGet(ctypes.byref(first), 0)
    driver.cuDeviceGetName(name, len(name), first)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, first)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, first)
    return f"{name.value.decode(errors='replace') or 'unknown GPU'} (compute capability {major.value}.{minor.value})"


def built_for() -> str:
    """Tell the CUDA version that this ONNX Runtime was built for, such as ``13.0``; empty where for none."""
    return str(ort.cuda_version)


def first_line(error: BaseException) -> str:
    """What ONNX Runtime said, without its codes, the places in its source, and the name of the machine."""
    return _NOISE.sub("", str(error)).strip().partition("\n")[0][:300]
