"""Work on several items at once gives what one after the other gives, and runs only a little ahead."""

import threading
import time
from collections.abc import Iterator

import pytest

from blemish.parallel import in_order, n_cores


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_at_first(n: int) -> int:
        time.sleep(0.02 if n == 0 else 0)
        return n

    assert list(in_order(slow_at_first, range(50), n_threads=4)) == list(range(50))


def test_two_items_are_worked_on_at_once() -> None:
    both = threading.Barrier(2, timeout=10)
    assert len(list(in_order(lambda _: both.wait(), range(2), n_threads=2))) == 2


def test_no_more_than_a_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    results = in_order(lambda n: n, items(), n_threads=2)
    for n in range(100):
        assert next(results) == n
        assert len(taken) <= n + 4
    results.close()


def test_an_error_comes_in_its_turn() -> None:
    def fail_at_2(n: int) -> int:
        if n == 2:
            raise KeyError
        return n

    results = in_order(fail_at_2, range(9), n_threads=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)


def test_what_has_not_begun_is_dropped_when_nobody_wants_more() -> None:
    done: list[int] = []
    go = threading.Event()

    def wait(n: int) -> int:
        if n:
            go.wait(10)
        done.append(n)
        return n

    results = in_order(wait, range(100), n_threads=1)
    assert next(results) == 0
    go.set()
    results.close()
    assert len(done) <= 2


def test_there_is_a_core() -> None:
    assert n_cores() >= 1
