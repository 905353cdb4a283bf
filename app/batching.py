"""Gathers concurrent images into one batch: bounded, in order, without waiting.

Whatever is queued when the model is free goes out at once, so a lone image never waits and a crowd is answered in
batches. All state belongs to the event loop; only the model runs elsewhere, in a thread. An image whose caller has
gone (cancelled, or past its deadline) is left out before its batch is run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """One image's share of a batch that was run."""

    result: Result
    """What ``run`` returned for the whole batch."""
    row: int
    """This image's row in it."""
    queued_s: float
    ran_s: float


@dataclass(frozen=True)
class _Item(Generic[Result]):
    # The reply travels with the image, so no table has to be kept of who waits for what.
    image: NDArray[np.uint8]
    reply: asyncio.Future[Answer[Result]]
    arrived: float


class Batcher(Generic[Result]):
    """Runs the images of one model."""

    def __init__(
        self,
        run: Callable[[NDArray[np.uint8]], Result],
        executor: Executor,
        *,
        max_batch_size: int = 32,
        max_delay_s: float = 0,
    ) -> None:
        """Prepare a queue.

        Args:
            run: Takes a batch ``uint8 [N, H, W, C]``; called in the executor, one batch at a time.
            executor: Where ``run`` is called.
            max_batch_size: Most images in a batch.
            max_delay_s: How long the first image of a batch may wait for others.
        """
        self._run = run
        self._executor = executor
        self._max_batch_size = max_batch_size
        self._max_delay_s = max_delay_s
        self._queue: deque[_Item[Result]] = deque()
        self._busy = False

    async def submit(self, image: NDArray[np.uint8]) -> Answer[Result]:
        """Have one image ``uint8 [H, W, C]`` run together with whatever else is waiting.

        Raises:
            Exception: What ``run`` raised for the batch.
        """
        loop = asyncio.get_running_loop()
        item: _Item[Result] = _Item(image, loop.create_future(), time.monotonic())
        self._queue.append(item)
        if self._max_delay_s and len(self._queue) < self._max_batch_size:
            loop.call_later(self._max_delay_s, self._send)
        else:
            # Images that arrive in the same turn of the loop, those of one request for example, share a batch.
            loop.call_soon(self._send)
        return await item.reply

    def _send(self) -> None:
        """Send the next batch off, if the model is free and anyone still waits."""
        if self._busy:
            return
        batch = self._take()
        if batch:
            self._busy = True
            started = time.monotonic()
            try:
                done = asyncio.get_running_loop().run_in_executor(self._executor, self._run_batch, batch)
            except RuntimeError as error:  # no thread could be started, or the service is stopping
                self._busy = False
                for item in batch:
                    item.reply.set_exception(error)
                return
            done.add_done_callback(lambda future: self._deliver(batch, started, future))

    def _take(self) -> list[_Item[Result]]:
        batch: list[_Item[Result]] = []
        while self._queue and len(batch) < self._max_batch_size:
            item = self._queue.popleft()
            if not item.reply.done():
                batch.append(item)
        return batch

    def _run_batch(self, batch: list[_Item[Result]]) -> Result:
        return self._run(np.stack([item.image for item in batch]))  # (N, H, W, C)

    def _deliver(self, batch: list[_Item[Result]], started: float, done: asyncio.Future[Result]) -> None:
        self._busy = False
        self._send()  # first, so that the model does not wait while the answers are written
        ran_s = time.monotonic() - started
        for row, item in enumerate(batch):
            if item.reply.done():
                continue
            if done.cancelled():
                item.reply.cancel()
            elif (error := done.exception()) is not None:
                item.reply.set_exception(error)
            else:
                item.reply.set_result(Answer(done.result(), row, started - item.arrived, ran_s))
