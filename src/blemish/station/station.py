"""A whole station: its folder, its people, what inspects, what teaches, what brings images and what takes results."""

from __future__ import annotations

import contextlib
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from blemish.errors import BlemishError
from blemish.station.delivering import Deliverer, payload
from blemish.station.inspecting import Inspector
from blemish.station.keeping import apply_retention
from blemish.station.people import People
from blemish.station.store import Store
from blemish.station.teaching import Teacher
from blemish.station.watching import Watcher

_FIRST_RETENTION: Final = 300.0  # seconds after the start; a station that is restarted now and then gets to it too
_RETENTION_EVERY: Final = 3600.0


class Station:
    """Everything that one server runs, without the pages and the API that show it.

    Args:
        folder: of the station; made where there is none.
        workers: images that are inspected at once; None: one for each core.

    Raises:
        StationError, StorageError: the folder cannot be opened, see `Store`.
    """

    def __init__(self, folder: Path | str, *, workers: int | None = None) -> None:
        with ExitStack() as opened:  # what is open already is closed again where the rest cannot be
            self.store = opened.enter_context(Store(folder))
            self.people = People(self.store)
            self.deliverer = Deliverer(self.store)
            opened.callback(self.deliverer.close)
            sinks = self.deliverer.sinks.names
            self.inspector = opened.enter_context(Inspector(self.store, workers=workers, sinks=sinks, payload=payload))
            self.teacher = opened.enter_context(Teacher(self.store, self.inspector))
            self.watcher = Watcher(self.store, self.inspector)
            opened.callback(self.watcher.close)
            self._opened = opened.pop_all()
        self._closing = threading.Event()
        self._retention = threading.Thread(target=self._keep, name="retention", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to watch sources, to deliver results and to apply the retention."""
        self.deliverer.start()
        self.watcher.start()
        self._retention.start()

    def close(self) -> None:
        """Stop all that runs, in the order in which results come about, and give the folder back.

        Nothing that was answered is lost; a job of teaching is interrupted.
        """
        self._closing.set()
        if self._retention.is_alive():
            self._retention.join()
        self._opened.close()

    def _keep(self) -> None:
        """Apply the retention every hour; where it fails, the audit log says so."""
        wait = _FIRST_RETENTION
        while not self._closing.wait(wait):
            wait = _RETENTION_EVERY
            try:
                apply_retention(self.store, is_closing=self._closing.is_set)
            except BlemishError as error:
                with contextlib.suppress(BlemishError):  # the disk is full, and there is no room to say so
                    self.store.note("station", "retention.fail", error=str(error))
