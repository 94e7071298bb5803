"""From the bytes of an image to a stored verdict: several at once, none answered before it is on the disk.

Decoding, the graph and drawing take a core and run in a pool with one thread a core. Storing waits for the disk and
runs in the caller's thread, so that cores do not wait with it. What comes when all places are taken is refused at once
with a `BusyError`: a queue that grows without end would answer everybody late instead of some a little later.

A request that names itself (`request_id`) is inspected once, however often it comes: a client that had no answer asks
again with the same name, and gets the verdict that was stored, or waits for the one that is being made.

A model file is read once, checked against the SHA-256 that the store has of it, and then kept in memory. Before every
inspection a look at its size and times says whether it is still that file; one that was replaced is refused, although
the model in memory could go on, for nobody could prove later what judged.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self, TypeVar

from blemish.detection.detector import Detector
from blemish.detection.drift import image_statistics
from blemish.detection.model_file import model_from_bytes
from blemish.errors import (
    BlemishError,
    BusyError,
    ConflictError,
    ImageError,
    ModelFileError,
    SettingError,
    StationError,
)
from blemish.images import samples_of
from blemish.parallel import n_cores
from blemish.report.overlay import encode_jpeg, overlay
from blemish.results import Inspection, Verdict
from blemish.station.store import ModelVersion, NewInspection, Store, StoredInspection
from blemish.strips import GreyImage

STATISTICS: Final = "statistics"  # in a stored result: `drift.image_statistics`, beside `Inspection.to_dict`
SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # upper ends of the histogram of durations
_WAITING: Final = 16  # callers that may wait for a worker; at two parts a second some seconds' worth
_N_LOADED: Final = 8  # models that are kept in memory; a line rarely mixes more kinds of parts
_PICTURE_SIDE: Final = 1280  # pixels of the longer side of an overlay: fills a screen, and is drawn in milliseconds
_PICTURE_QUALITY: Final = 85  # of JPEG
_MOST_CHARACTERS: Final = 200  # of a part id, lot id, source or request id
_N_TOLD: Final = 100  # new inspections that `wait_for` gives back at once
_LEAST_WAIT: Final = 0.2  # seconds after which it may be worth asking again, even where inspections are faster
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Loaded:
    """A model in memory, and how its file looked when it was checked."""

    detector: Detector
    version: ModelVersion
    stamp: tuple[int, ...]


class Inspector:
    """Inspects and stores; used by many threads at once.

    Args:
        store: where models come from and results go to.
        workers: images that are worked on at once, each by one core; None: one for each core of this machine.
        waiting: callers beyond these that may wait; the next one gets a BusyError.
        sinks: names the sinks that the next result of a part goes to; asked with the part before each is stored.
        payload: makes what is delivered to them.
    """

    def __init__(
        self,
        store: Store,
        *,
        workers: int | None = None,
        waiting: int = _WAITING,
        sinks: Callable[[str], Sequence[str]] = lambda part: (),
        payload: Callable[[StoredInspection], Mapping[str, Any]] | None = None,
    ) -> None:
        self.n_workers = n_cores() if workers is None else workers
        if self.n_workers < 1 or waiting < 0:
            raise SettingError(
                f"Found {self.n_workers} workers and {waiting} waiting; expected at least 1 worker, and 0 or more."
            )
        self._store = store
        self._n_places = self.n_workers + waiting
        self._sinks, self._payload = sinks, payload
        self._threads = ThreadPoolExecutor(self.n_workers, thread_name_prefix="inspecting")
        self._models = _Models(store)
        self._lock = threading.Lock()
        self._n_inside = 0  # callers that have a place
        self._is_closed = False
        self._requests: dict[str, Future[StoredInspection]] = {}  # that are being inspected, by their names
        self._counts = _Counts()
        newest = store.inspections(limit=1)
        self._newest = newest[0].sequence if newest else 0
        self._news = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take nothing more, wait for what is being inspected, and wake whoever waits for news."""
        with self._lock:
            self._is_closed = True
        with self._news:
            self._news.notify_all()
        self._threads.shutdown(wait=True)

    # --------------------------------------------------------------------------------------------------- inspecting

    def inspect(
        self,
        part: str,
        data: bytes,
        *,
        part_id: str = "",
        lot_id: str = "",
        source: str = "",
        request_id: str | None = None,
    ) -> StoredInspection:
        """Inspect an image by the model that is active now, and store what was found; blocks until it is stored.

        Args:
            part: name of what the image shows.
            data: bytes of an image file, of any kind that `images.read_image` takes.
            part_id: serial number of the one part.
            lot_id: of its lot.
            source: who or what brought it, such as "api" or "folder:NAME".
            request_id: chosen by the client; the same one again gives the inspection that is stored already. None or
                empty: the request has no name.

        Raises:
            BusyError: all places are taken; nothing was begun.
            NotFoundError: there is no such part, or it was not taught yet.
            ImageError: the bytes are no image that can be inspected.
            ModelFileError: the file of the model was changed after it was stored.
            ConflictError: the request of this name was about another part or image.
            SettingError: a name or number is too long or holds what cannot be printed.
            StorageError: it cannot be stored; then nothing of it is kept.
            StationError: the station is closed.
        """
        named = {"part": part, "part_id": part_id, "lot_id": lot_id, "source": source, "request_id": request_id or ""}
        for name, value in named.items():
            _require_printable(name, value)
        work = partial(self._inspected, part, data, part_id, lot_id, source, request_id or None)
        if not request_id:
            return work()
        stored = self._once(request_id, work)
        if stored.part != part or stored.image_sha256 != hashlib.sha256(data).hexdigest():
            raise ConflictError(
                f"Request '{request_id}' was about another image or part, inspection {stored.id} of part "
                f"'{stored.part}'. Give every image a request id of its own; this one was not inspected."
            )
        return stored

    def again(self, stored: StoredInspection) -> Inspection:
        """Inspect a stored image anew by the version that judged it, for its map and what explains it; store nothing.

        Raises:
            NotFoundError: the image was removed by retention.
            BusyError, ImageError, ModelFileError, StationError: as for `inspect`.
        """
        path = self._store.image_path(stored)

        def work() -> Inspection:
            detector, _ = self.detector(stored.part, stored.version)
            return detector.inspect(path)

        with self._place():
            return self._in_pool(work)

    def detector(self, part: str, version: int | None = None) -> tuple[Detector, ModelVersion]:
        """Return a model, ready to inspect with one core, and what the store says of it; by default the active one.

        Raises:
            NotFoundError: there is no such part or version, or it was not taught yet.
            ModelFileError: the file is missing, or was changed after it was stored.
        """
        return self._models.get(self._store.model(part, version))

    def _once(self, request_id: str, work: Callable[[], StoredInspection]) -> StoredInspection:
        """Let one of all callers with the same request id do the work, and give its result to all."""
        earlier = self._store.inspection_of_request(request_id)
        if earlier is not None:
            return earlier
        ours: Future[StoredInspection] = Future()
        with self._lock:
            underway = self._requests.setdefault(request_id, ours)
        if underway is not ours:
            return underway.result()
        try:
            # It may have been stored between the look and the entry.
            stored = self._store.inspection_of_request(request_id) or work()
        except BaseException as error:
            ours.set_exception(error)
            raise
        else:
            ours.set_result(stored)
            return stored
        finally:
            with self._lock:
                del self._requests[request_id]

    def _inspected(
        self, part: str, data: bytes, part_id: str, lot_id: str, source: str, request_id: str | None
    ) -> StoredInspection:
        began = time.perf_counter()
        try:
            with self._place():
                judged = self._in_pool(lambda: self._judged(part, data))
                new = replace(judged, part_id=part_id, lot_id=lot_id, source=source, request_id=request_id)
                stored = self._store.add_inspection(new, sinks=self._sinks(part), payload=self._payload)
        except BusyError:
            self._counts.refused()
            raise
        except BlemishError:
            self._counts.failed()
            raise
        self._counts.stored(stored, time.perf_counter() - began)
        with self._news:
            self._newest = max(self._newest, stored.sequence)
            self._news.notify_all()
        return stored

    def _judged(self, part: str, data: bytes) -> NewInspection:
        """Decode, inspect and draw: what takes a core."""
        began = time.perf_counter()
        detector, version = self.detector(part)
        samples = samples_of(data)
        found = detector.inspect(GreyImage.of_samples(samples))
        statistics = image_statistics(found.grey, found.mean_distance)
        picture = encode_jpeg(overlay(found, _PICTURE_SIDE), _PICTURE_QUALITY)
        return NewInspection(
            part=part,
            version=version.version,
            model_sha256=version.sha256,
            data=data,
            suffix=samples.suffix,
            verdict=found.verdict,
            score=found.score,
            threshold=found.threshold,
            result={**found.to_dict(), STATISTICS: statistics},
            picture=picture,
            seconds=time.perf_counter() - began,
        )

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Take a place among those that are worked on or wait, or refuse at once."""
        with self._lock:
            if self._is_closed:
                raise StationError("The station is closing; send this again when it runs.")
            if self._n_inside >= self._n_places:
                raise BusyError(
                    f"{self._n_inside} images are being inspected or wait; the station takes no more at once. Send "
                    "this one again in a moment.",
                    retry_after=max(self._counts.usual_seconds * self._n_inside / self.n_workers, _LEAST_WAIT),
                )
            self._n_inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_inside -= 1

    def _in_pool(self, work: Callable[[], _Result]) -> _Result:
        try:
            return self._threads.submit(work).result()
        except BlemishError:
            raise
        except Exception as error:  # one image must not end the station, whatever OpenCV or a lack of memory does
            if self._is_closed:
                raise StationError("The station is closing; send this again when it runs.") from error
            raise ImageError(
                f"The image cannot be inspected ({error!r}). Is it very large? Cut it into tiles, or free memory."
            ) from error

    # --------------------------------------------------------------------------------------------------------- news

    def wait_for(self, after_sequence: int, timeout: float) -> list[StoredInspection]:
        """Wait for inspections that come after one, as the live page does.

        Args:
            after_sequence: of the last one that is known.
            timeout: seconds to wait at most.

        Returns:
            Those that came, oldest first, at most 100; none where none came in time, or the station closes.
        """
        with self._news:
            self._news.wait_for(lambda: self._newest > after_sequence or self._is_closed, timeout)
            if self._is_closed or self._newest <= after_sequence:
                return []
        return self._store.inspections(after=after_sequence, limit=_N_TOLD)

    @property
    def newest(self) -> int:
        """Sequence of the newest inspection; 0: there is none."""
        with self._news:
            return self._newest

    @property
    def n_waiting(self) -> int:
        """How many callers wait for a worker."""
        with self._lock:
            return max(self._n_inside - self.n_workers, 0)

    def statistics(self) -> dict[str, Any]:
        """Return what was done since the start, as plain data, for metrics.

        Returns:
            ``verdicts``: part -> verdict -> how many; ``seconds``: from the call to the answer, ``sum``, ``count``
            and ``buckets``, (upper end, how many took at most so long); ``refused``: with BusyError; ``failed``: with
            any other error; ``waiting`` and ``workers``.
        """
        return {**self._counts.to_dict(), "waiting": self.n_waiting, "workers": self.n_workers}


class _Models:
    """Models in memory, those used last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loaded: OrderedDict[tuple[str, int], _Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # one at a time; whoever has a model in memory does not wait for it

    def get(self, version: ModelVersion) -> tuple[Detector, ModelVersion]:
        known = self._known(version)
        if known is None:
            with self._loading:
                known = self._known(version) or self._load(version)
        return known.detector, version

    def _known(self, version: ModelVersion) -> _Loaded | None:
        key = (version.part, version.version)
        with self._lock:
            known = self._loaded.get(key)
            if known is None or known.stamp != self._stamp(version):
                return None
            self._loaded.move_to_end(key)
            return known

    def _load(self, version: ModelVersion) -> _Loaded:
        stamp = self._stamp(version)  # before it is read: what changes from here on shows next time
        try:
            data = self._store.path(version.file).read_bytes()
        except OSError as error:
            raise _unusable(version, f"it cannot be read ({error.strerror or error})") from error
        if hashlib.sha256(data).hexdigest() != version.sha256:
            raise _unusable(version, "it was changed after it was stored")
        model = model_from_bytes(data, version.file)
        loaded = _Loaded(Detector(model, threads=1), version, stamp)
        with self._lock:
            self._loaded[version.part, version.version] = loaded
            while len(self._loaded) > _N_LOADED:
                self._loaded.popitem(last=False)
        return loaded

    def _stamp(self, version: ModelVersion) -> tuple[int, ...]:
        """Say how the file looks from outside; a file that was replaced or written to looks different."""
        try:
            about = self._store.path(version.file).stat()
        except OSError as error:
            raise _unusable(version, f"it cannot be read ({error.strerror or error})") from error
        return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def _unusable(version: ModelVersion, reason: str) -> ModelFileError:
    return ModelFileError(
        f"Model {version.version} of part '{version.part}' is not used: {reason}. Nobody may judge by what was not "
        f"stored. Activate another version, or put the file {version.file} back from a backup."
    )


class _Counts:
    """What was done since the start; used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verdicts: dict[str, dict[str, int]] = {}
        self._buckets = [0] * len(SECONDS)
        self._sum, self._count = 0.0, 0
        self._working_seconds = 0.0
        self._n_refused, self._n_failed = 0, 0

    def stored(self, inspection: StoredInspection, took: float) -> None:
        with self._lock:
            counts = self._verdicts.setdefault(inspection.part, {verdict.value: 0 for verdict in Verdict})
            counts[inspection.verdict.value] += 1
            self._sum, self._count = self._sum + took, self._count + 1
            self._working_seconds += inspection.seconds
            for index, end in enumerate(SECONDS):
                self._buckets[index] += took <= end

    def refused(self) -> None:
        with self._lock:
            self._n_refused += 1

    def failed(self) -> None:
        with self._lock:
            self._n_failed += 1

    @property
    def usual_seconds(self) -> float:
        """Mean time that one worker takes for an image."""
        with self._lock:
            return self._working_seconds / self._count if self._count else 0.0

    def to_dict(self) -> dict[str, Any]:
        with self._lock:
            return {
                "verdicts": {part: dict(counts) for part, counts in self._verdicts.items()},
                "seconds": {
                    "sum": self._sum,
                    "count": self._count,
                    "buckets": list(zip(SECONDS, self._buckets, strict=True)),
                },
                "refused": self._n_refused,
                "failed": self._n_failed,
            }


def _require_printable(name: str, value: str) -> None:
    if len(value) > _MOST_CHARACTERS or not value.isprintable():
        raise SettingError(
            f"{name} has {len(value)} characters{'' if value.isprintable() else ', some of them not printable'}; "
            f"expected at most {_MOST_CHARACTERS} printable ones."
        )
