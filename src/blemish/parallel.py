"""Work on several images at once, in order: for work that lets go of Python's lock, as decoding and graphs do."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Begun = TypeVar("_Begun")
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
    with ThreadPoolExecutor(n_threads, thread_name_prefix="blemish") as threads:

        def begin(item: _Item) -> Future[_Result]:
            return threads.submit(task, item)

        yield from few_at_once(begin, Future.result, Future.cancel, items, _AHEAD * n_threads)


def few_at_once(
    begin: Callable[[_Item], _Begun],
    finish: Callable[[_Begun], _Result],
    drop: Callable[[_Begun], object],
    items: Iterable[_Item],
    n_begun: int,
) -> Generator[_Result, None, None]:
    """Begin work on a few items ahead, whoever does it, and yield the results in the order of the items.

    Args:
        begin: hands out an item, at once.
        finish: waits for the result of what was begun first.
        drop: called for what was begun when the generator is closed or `finish` fails: nobody wants its result.
        items: any number of them.
        n_begun: at most so many have been handed out and not yet yielded, 1 or more.

    Example:
        >>> list(few_at_once(abs, str, print, [-3, 2, -1], n_begun=2))
        ['3', '2', '1']
    """
    waiting: deque[_Begun] = deque()
    try:
        for item in items:
            waiting.append(begin(item))
            if len(waiting) == n_begun:
                yield finish(waiting.popleft())
        while waiting:
            yield finish(waiting.popleft())
    finally:
        for begun in waiting:
            drop(begun)
