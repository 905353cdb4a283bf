"""Decodes images in threads and gathers them into batches: work-conserving, bounded, in order.

A thread prepares an image (decodes it), queues it with its model, and then, while the model has a free lane, runs
whatever is queued. So a lone image goes through in one thread without ever waiting, and a crowd is run in batches as
large as have gathered while every lane was taken. On a CPU there are as many lanes as threads, so an image is run by
the thread that decoded it: larger batches would only leave the cache. A GPU has two lanes, so that one batch is
stacked while the other is run.

An image whose caller has gone (cancelled, or past its deadline) is left out before it is decoded and before it is run.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from app.threads import Threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

Result = TypeVar("Result")


class Answer(NamedTuple, Generic[Result]):
    """One image's share of a batch that was run, and the seconds that each stage of it took."""

    result: Result
    """What ``run`` returned for the whole batch."""
    row: int
    """This image's row in it."""
    decoded_s: float
    queued_s: float
    """Waiting for a thread, and then for the model."""
    ran_s: float
    cached: bool = False
    """Whether it was remembered and not computed."""


class _Item(Generic[Result]):
    # The reply travels with the image, so no table has to be kept of who waits for what.
    __slots__ = ("arrived", "due", "image", "prepare", "ready", "reply", "started")
    image: NDArray[np.uint8]
    started: float
    ready: float

    def __init__(
        self, prepare: Callable[[], NDArray[np.uint8]], reply: asyncio.Future[Answer[Result]], *, due: bool
    ) -> None:
        self.prepare = prepare
        self.reply = reply
        self.due = due
        self.arrived = time.monotonic()


class Batcher(Generic[Result]):
    """Runs the images of one model."""

    def __init__(
        self,
        run: Callable[[NDArray[np.uint8]], Result],
        threads: Threads,
        *,
        lanes: int = 1,
        max_batch_size: int = 32,
        max_delay_s: float = 0,
    ) -> None:
        """Prepare a queue.

        Args:
            run: Takes a batch ``uint8 [N, H, W, C]``; called in at most ``lanes`` of the threads at once.
            threads: Those in which images are prepared and run; several models may share them.
            lanes: Batches that may be run at once.
            max_batch_size: Most images in a batch.
            max_delay_s: How long an image may wait for others to fill its batch.
        """
        self._run = run
        self._threads = threads
        self._lanes = lanes
        self._max_batch_size = max_batch_size
        self._max_delay_s = max_delay_s
        self._lock = threading.Lock()  # guards the two below
        self._queue: deque[_Item[Result]] = deque()
        self._running = 0

    async def submit(self, prepare: Callable[[], NDArray[np.uint8]]) -> Answer[Result]:
        """Have one image prepared, and run together with whatever else is waiting by then.

        Args:
            prepare: Returns the image ``uint8 [H, W, C]``; called in a thread.

        Raises:
            Exception: What ``prepare`` raised for this image, or ``run`` for its batch.
        """
        loop = asyncio.get_running_loop()
        item: _Item[Result] = _Item(prepare, loop.create_future(), due=not self._max_delay_s)
        self._threads.submit(partial(self._work, item, loop))
        try:
            return await item.reply
        except asyncio.CancelledError:
            # It may wait for a thread for long yet, and is to hold no upload: neither by what would have prepared it
            # nor by the reply, which keeps this exception and with it all frames.
            item.prepare, item.reply = _gone, loop.create_future()
            item.reply.cancel()
            raise
        finally:
            del item  # an error holds this frame, by its traceback, and would hold itself and the upload by the item

    def _work(self, item: _Item[Result], loop: asyncio.AbstractEventLoop) -> None:
        """Prepare one image, queue it, and run what is queued."""
        if item.reply.done():
            return
        item.started = time.monotonic()
        try:
            item.image = item.prepare()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this image's own and its caller is told
            loop.call_soon_threadsafe(_fail, [item], error)
            del item  # as above
            return
        item.ready = time.monotonic()
        with self._lock:
            self._queue.append(item)
        if not item.due:
            loop.call_soon_threadsafe(loop.call_later, self._max_delay_s, self._expire, item, loop)
        del item  # as above
        self._drain(loop)

    def _expire(self, item: _Item[Result], loop: asyncio.AbstractEventLoop) -> None:
        """Let an image wait no longer for others."""
        item.due = True
        # Also when its caller has gone: it is to leave the queue, and may stand before others that are due.
        with suppress(RuntimeError):  # the service is stopping
            self._threads.submit(partial(self._drain, loop))

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run batch after batch, as long as something is queued and a lane is free."""
        batch = self._take(done=0)
        while batch:
            started = time.monotonic()
            try:
                result = self._run(_stack([item.image for item in batch]))
            except Exception as error:  # noqa: BLE001  # the model's failure is told to the batch it hit
                loop.call_soon_threadsafe(_fail, batch, error)
            else:
                loop.call_soon_threadsafe(_deliver, batch, result, started, time.monotonic())
            batch = self._take(done=1)

    def _take(self, done: int) -> list[_Item[Result]]:
        """Give back the lanes of ``done`` batches, and take the next batch, and its lane, if there is one."""
        batch: list[_Item[Result]] = []
        with self._lock:
            self._running -= done
            if self._running < self._lanes and self._queue:
                full = len(self._queue) >= self._max_batch_size
                while self._queue and len(batch) < self._max_batch_size and (full or batch or self._queue[0].due):
                    item = self._queue.popleft()
                    if not item.reply.done():
                        batch.append(item)
            self._running += bool(batch)
        return batch


def _gone() -> NDArray[np.uint8]:
    raise LookupError("nobody waits for this image any more")


def _stack(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return images[0][None] if len(images) == 1 else np.stack(images)  # (N, H, W, C); one image needs no copy


def _deliver(batch: list[_Item[Result]], result: Result, started: float, ended: float) -> None:
    for row, item in enumerate(batch):
        if not item.reply.done():
            queued_s = item.started - item.arrived + started - item.ready
            item.reply.set_result(Answer(result, row, item.ready - item.started, queued_s, ended - started))


def _fail(batch: list[_Item[Result]], error: Exception) -> None:
    for item in batch:
        if not item.reply.done():
            item.reply.set_exception(error)
