"""Work done in threads, a little ahead of whoever takes the results, which come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from app import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[tuple[Item, Result]]:
    """Call a function of each item, in as many threads as there are cores.

    Args:
        function: Called in threads.
        items: Looked at no further than ``ahead`` of what was taken.
        ahead: How many results may wait to be taken; memory does not grow with the number of items.

    Yields:
        Each item with what came of it.

    Raises:
        Exception: What the function raised, when it is that item's turn.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(cores.available()) as pool:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
