"""Batches of few sizes on a GPU, each size in a session of its own, run by few threads.

ONNX Runtime's convolutions keep cuDNN's plan for the shape they saw last, and build it anew for any other (since 1.20:
``Conv::UpdateState`` in ``onnxruntime/core/providers/cuda/nn/conv.cc``), which takes milliseconds per convolution: in
one session, batches of changing sizes would pay that again and again, however often each size has been run before.

A session also makes a CUDA stream, and handles of cuBLAS and cuDNN, for every thread that runs it, and keeps them for
as long as both live. They take time, and memory of the GPU. So the threads that decode images do not run them here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from app.sessions import INPUT

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Buckets:
    """Sessions for batches of 1, 2, 4, … images, and the lanes in which they are run.

    Its attributes are those of :class:`app.pair.Pair`.
    """

    runs_in_caller = False

    def __init__(self, open_session: Callable[[], ort.InferenceSession], largest: int, lanes: int) -> None:
        """Open them, up to the first that takes ``largest`` images; ``lanes`` batches may be run at once."""
        self.lanes = lanes
        self.sizes = [2**power for power in range((largest - 1).bit_length() + 1)]
        self.ways = [False] * lanes  # those that are run one after the other take the lanes in turn
        self._sessions = [open_session() for _ in self.sizes]
        self.first = self._sessions[0]
        self._free: SimpleQueue[ThreadPoolExecutor] = SimpleQueue()  # of one thread each, which ends with its executor
        for _ in range(lanes):
            self._free.put(ThreadPoolExecutor(1, "gpu"))

    def run(
        self, names: list[str], batch: NDArray[np.uint8], options: ort.RunOptions, *, alone: bool = False
    ) -> list[NDArray[np.float32]]:
        """Fetch outputs for a batch ``uint8 [N, H, W, C]`` of any size; ``alone`` makes no difference here.

        It is filled up to the next size with its first image; one that is larger than all of them goes in parts.
        """
        del alone
        size, largest = len(batch), self.sizes[-1]
        if size > largest:
            parts = [self.run(names, batch[start : start + largest], options) for start in range(0, size, largest)]
            return [np.concatenate(part) for part in zip(*parts, strict=True)]
        power = (size - 1).bit_length()
        missing = self.sizes[power] - size
        if missing:
            batch = np.concatenate([batch, np.repeat(batch[:1], missing, 0)])
        lane = self._free.get()
        try:
            ran = lane.submit(self._sessions[power].run, names, {INPUT: batch}, options)
            results: list[NDArray[np.float32]] = ran.result()
        finally:
            self._free.put(lane)
        return [result[:size] for result in results] if missing else results
