"""Threads that work off what is handed to them, in order.

An executor makes a future with two locks for each call, and wakes up whoever waits for it. Here nobody does, since a
call says by itself where its result goes. So a thread of the executor that is at work takes one call after the other.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)


class Threads:
    """So many threads, started when they are first needed."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._count = count
        self._started = False  # whether there is any thread; concerns only who submits, the event loop
        self._lock = threading.Lock()  # guards what is below
        self._calls: deque[Callable[[], object]] = deque()
        self._at_work = 0  # threads, and those that the executor has promised
        self._closed = False

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
