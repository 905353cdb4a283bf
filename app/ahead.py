"""A function called in threads, a little ahead of the consumer, with its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from app import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[tuple[Item, Result]]:
    """Call a function for each item, in as many threads as there are cores.

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
    pool = ThreadPoolExecutor(cores.available())
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # of large images, those that wait take minutes
