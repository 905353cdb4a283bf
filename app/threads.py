"""Threads that work off what is handed to them, in order.

An executor makes a future with two locks for each call, and wakes up whoever waits for it. Here nobody does, since a
call says by itself where its result goes. So a thread of the executor that is at work takes one call after the other.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Threads:
    """So many threads, started when they are first needed."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._count = count
        self._lock = threading.Lock()  # guards what is below
        self._calls: deque[Callable[[], object]] = deque()
        self._at_work = 0  # threads, and those that the executor has promised
        self._closed = False
        self._started = False  # whether there is any thread

    def submit(self, call: Callable[[], object]) -> None:
        """Have a call done, by a thread that is free or else by the first that will be.

        Raises:
            RuntimeError: They are closed; or there is none yet, and none can be started.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the threads are closed")
            self._calls.append(call)
            if self._started and self._at_work >= self._count:
                return
            self._at_work += 1
        try:
            self._executor.submit(self._work)
            self._started = True
        except RuntimeError:  # no thread could be started; the executor keeps the work for those there are
            if not self._started:
                with self._lock:
                    self._calls.remove(call)
                raise

    async def run(self, call: Callable[[], Result]) -> Result:
        """Have a call done, and wait for what it returns or raises; one whose caller leaves before is dropped."""
        future: Future[Result] = Future()

        def fulfil() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001  # whatever it is, it is the caller's
                    future.set_exception(error)

        self.submit(fulfil)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            with self._lock, suppress(ValueError):  # a thread has taken it
                self._calls.remove(fulfil)  # and what it holds: an upload that is no longer counted
            raise

    def close(self) -> None:
        """Let each thread end after the call that it is at; what still waits is dropped, and nothing else is taken."""
        with self._lock:
            self._closed = True
            self._calls.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _work(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except BaseException:  # the thread has other calls to do
                if not self._closed:  # or else there may be no event loop any more that could be told
                    log.exception("a thread could not deliver its result")

    def _next(self) -> Callable[[], object] | None:
        """Take the next call; where there is none, the thread is at work no more."""
        with self._lock:
            if self._calls:
                return self._calls.popleft()
            self._at_work -= 1
            return None
