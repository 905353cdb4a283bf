"""A function called in threads, a little ahead of the consumer, with its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from app import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def threads() -> int:
    """Count the threads in which a function is called: as many as there are cores."""
    return cores.available()


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[tuple[Item, Result], None, None]:
    """Call a function for each item, in :func:`threads`; to be closed where it is not used up.

    Args:
        function: Called in threads.
        items: Read at most ``ahead`` items before they are needed.
        ahead: How many results may wait; memory does not grow with the number of items.

    Yields:
        Each item with its result.

    Raises:
        Exception: The function raised it for the next item.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(threads())
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > ahead:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # of large images, those that wait take minutes
        # Not for the threads: Python 3.11 and 3.12 forget one for which a wait is interrupted, as by a second Ctrl-C.
        # They end while it still runs, and ONNX Runtime then crashes.
        wait(future for _, future in waiting if not future.cancelled())


def _first(waiting: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    """Take the first result once it is there; until then it is one of those that are waited for at the end."""
    item, future = waiting[0]
    result = future.result()
    waiting.popleft()
    return item, result
