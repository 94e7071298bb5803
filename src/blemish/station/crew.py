"""One thread for each entry of a list in the settings, started and ended as entries come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from blemish.errors import BlemishError, NotFoundError
from blemish.station.entries import Entries, Entry

_CLOSE_SECONDS: Final = 5.0  # that threads get to end; one that hangs in a driver or network is left behind


class Worker(threading.Thread):
    """Does the work of one entry until it is told to end. A subclass says what, in `round`."""

    def __init__(self, entry: Entry) -> None:
        """Take the entry; `start` begins the work."""
        super().__init__(name=f"blemish {entry['name']}", daemon=True)
        self.entry = entry
        self._ended = threading.Event()
        self._news = threading.Event()

    def run(self) -> None:
        """Call `round` until the end."""
        try:
            while not self.is_ended:
                self.pause(self.round())
        finally:
            self.let_go()

    def round(self) -> float:
        """Do what there is to do; return how many seconds to wait for more of it, at most. It must not raise."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Close what is open; called once, by this thread."""

    @property
    def is_ended(self) -> bool:
        """Say whether it was told to end."""
        return self._ended.is_set()

    def end(self) -> None:
        """Tell it to end, soon."""
        self._ended.set()
        self._news.set()

    def wake(self) -> None:
        """Tell it that there is something to do."""
        self._news.set()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until there is something to do, or the end."""
        if not self.is_ended:
            self._news.wait(seconds)
        if not self.is_ended:
            self._news.clear()

    def rest(self, seconds: float) -> bool:
        """Wait so long, or until the end; return whether that came."""
        return self._ended.wait(seconds)


_Worker = TypeVar("_Worker", bound=Worker)


class Crew(Generic[_Worker]):
    """The threads for the entries of a list; it looks at the list from time to time, and replaces who died."""

    def __init__(self, entries: Entries, make: Callable[[Entry], _Worker], *, every: float = 1.0) -> None:
        """Take a list.

        Args:
            entries: the list.
            make: makes the thread for an entry.
            every: seconds between two looks at the list.
        """
        self._entries, self._make, self._every = entries, make, every
        self._workers: dict[str, _Worker] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._overseer = threading.Thread(target=self._oversee, name=f"blemish {entries.setting}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.refresh()
        self._overseer.start()

    def close(self) -> None:
        """End all threads, and wait for them a few seconds."""
        self._ended.set()
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.end()
        until = time.monotonic() + _CLOSE_SECONDS
        threads: list[threading.Thread] = [self._overseer, *workers]
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def refresh(self) -> None:
        """Bring the threads in line with the list.

        One whose entry changed or went is told to end; the next of this name begins only when it has ended, so that no
        two ever do the same work.
        """
        with self._lock:
            entries = {entry["name"]: entry for entry in self._entries.list()}
            for name, worker in list(self._workers.items()):
                if entries.get(name) != worker.entry:
                    worker.end()
                if not worker.is_alive():
                    del self._workers[name]
            for name, entry in entries.items():
                if name not in self._workers and not self._ended.is_set():
                    self._workers[name] = self._make(entry)
                    self._workers[name].start()

    def worker(self, name: str) -> _Worker:
        """Return the thread of an entry.

        Raises:
            NotFoundError: there is none (yet).
        """
        with self._lock:
            worker = self._workers.get(name)
        if worker is None:
            raise NotFoundError(f"There is no {self._entries.what} '{name}' at work.")
        return worker

    def workers(self) -> list[_Worker]:
        """Return all threads."""
        with self._lock:
            return list(self._workers.values())

    def _oversee(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self.refresh()
            except BlemishError:  # the disk or database refuses for a while: the threads there are go on
                continue
