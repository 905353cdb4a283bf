"""What to do when a device fails under a model.

A batch that does not fit into the device's memory is run again in two halves, once. Anything worse, an illegal access
for instance, leaves a CUDA context that fails for ever after (CUDA Runtime API, "sticky" errors): the process is then
of no more use, says so, and ends, so that its supervisor starts another, or that somebody runs the command again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from app.devices import CPU, first_line
from app.errors import DeviceFailed, MultipoolError
from app.outputs import Outputs, join

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NO_MEMORY = re.compile(r"out of memory|failed to allocate memory|CUDA failure 2\b|ALLOC(ATION)?_FAILED", re.IGNORECASE)
_FAILED = re.compile(
    r"CUDA (failure|error)|cudaError|CUDNN\w* (failure|error|status)|CUBLAS (failure|error)", re.IGNORECASE
)

Ran = TypeVar("Ran")
Run = Callable[["NDArray[np.uint8]"], Outputs]


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or what was computed on it, has no memory left."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def in_halves(run: Run, batch: NDArray[np.uint8]) -> Outputs:
    """Run a batch ``uint8 [N, H, W, C]``, in two halves if the device has no memory for the whole.

    Raises:
        Exception: What ``run`` raised, for the batch or for half of it.
    """
    try:
        return run(batch)
    except Exception as error:
        if len(batch) < 2 or not _NO_MEMORY.search(str(error)):
            raise
    middle = len(batch) // 2
    return join(run(batch[:middle]), run(batch[middle:]))


def advice(error: Exception, images: int, provider: str) -> str:
    """Say why a command could not run a batch of so many images, and what to do.

    Args:
        error: What ONNX Runtime raised, or NumPy before it.
        images: Size of the batch that was tried.
        provider: The execution provider that ran it.
    """
    elsewhere = [] if provider == CPU else ["set MULTIPOOL_DEVICE=cpu"]
    if is_out_of_memory(error):
        what = "there is not enough memory to run the model"
        fewer = [f"set MULTIPOOL_MAX_BATCH_SIZE={images // 4 or 1}"] if images > 1 else []
        ways = ["free memory", *fewer, *elsewhere]
    elif _FAILED.search(str(error)):
        what, ways = "the device failed", ["check it with nvidia-smi", *elsewhere]
    else:
        what, ways = "the model fails on these images", ["choose another version of it with --model", *elsewhere]
    return f"{what}: {first_line(error)}; {', or '.join(ways)}, and run the command again"


@contextmanager
def judging(judge: Callable[[Exception], MultipoolError | None]) -> Iterator[None]:
    """If the block fails, raise what ``judge`` makes of the error, or if that is None, the error itself.

    Raises:
        Exception: As above.
    """
    try:
        yield
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        failure = judge(error)
        if failure is None:
            raise
        raise failure from error


class Guard:
    """Watches every run of every model of a process."""

    def __init__(self) -> None:
        self.on_failure: Callable[[DeviceFailed], None] = lambda _: None
        """Called once, in the thread that noticed."""
        self._noticed = threading.Lock()

    def run(self, run: Run, batch: NDArray[np.uint8]) -> Outputs:
        """Run a batch ``uint8 [N, H, W, C]``, in halves if need be.

        Raises:
            DeviceFailed: The device is of no more use, or has no memory even for half the batch.
        """
        return self.watch(partial(in_halves, run), batch)

    def watch(self, run: Callable[[NDArray[np.uint8]], Ran], batch: NDArray[np.uint8]) -> Ran:
        """Run a batch ``uint8 [N, H, W, C]`` as a whole.

        Raises:
            DeviceFailed: As :meth:`run`.
        """
        with judging(self._judge):
            return run(batch)

    def _judge(self, error: Exception) -> DeviceFailed | None:
        if not (_NO_MEMORY.search(str(error)) or _FAILED.search(str(error))):
            return None  # a failure of the model, not of the device
        if self._noticed.acquire(blocking=False):
            self.on_failure(DeviceFailed(f"the device failed and the service restarts: {first_line(error)}"))
        return DeviceFailed("the device that runs the models failed; the service restarts, try again")
