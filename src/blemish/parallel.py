"""Work on several images at once, in order: for work that lets go of Python's lock, as decoding and graphs do."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_AHEAD = 2  # results per thread that may wait for their turn: a slow image must not stop the others at once


def n_cores() -> int:
    """Count the cores this process may use; in a container or under ``taskset`` the machine may have more."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    task: Callable[[_Item], _Result], items: Iterable[_Item], n_threads: int
) -> Generator[_Result, None, None]:
    """Do a task for every item, several at once, and yield the results in the order of the items.

    However many items there are, only a few are worked on or wait to be yielded. What the task raises comes out in its
    turn. When the generator is closed, by Ctrl-C too, what has not begun is dropped and what has begun is waited for.

    Example:
        >>> list(in_order(abs, [-3, 2, -1], n_threads=2))
        [3, 2, 1]
    """
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="blemish") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(task, item))
                if len(waiting) == _AHEAD * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
