"""Threads over a stream, in order, with a bounded number of results in flight."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_THREADS = 8
"""Each thread may hold one full-size image, so this bounds memory as well."""


def usable_cores() -> int:
    """The cores this process may use, which in a container is often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, at most four results a thread ahead of the consumer.

    When the consumer stops early, or is interrupted, what has not started is cancelled and the threads end.
    """
    count = min(usable_cores(), MAX_THREADS) if threads is None else threads
    pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="autotl-data")
    window: deque[Future[Result]] = deque()
    try:
        for item in items:
            window.append(pool.submit(function, item))
            if len(window) >= 4 * count:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
