"""Sources: where images come from without anybody sending them. A folder that a camera writes to, a camera, a video.

What holds for a folder:

- A file is taken when its size and time stood still for a while, and it can be decoded; until then it is waited for. So
  a file that is being written is never taken for a broken one, nor inspected by half.
- What cannot be decoded for longer than that is moved to ``unreadable/`` and noted in the audit log with the reason.
- Each file is inspected once, whenever the process is killed: the request that is stored with the inspection is made of
  source, name, time, size and content. After that the file is moved to ``done/``, or left where ``keep`` says so.
- When the station is busy, its disk is full or the part has no model, files stay where they are and are taken later.
- Only files directly in the folder with the suffix of an image are looked at, none that begins with a dot, no links.
  The name without suffix is kept as part id.
- Where files are left, take them away before retention removes their records: after that they would be new.

A camera gives a frame every so many seconds, or for each trigger (`Watcher.trigger`). Its frames are always taken off
its buffer, so that the one inspected was exposed after the trigger. What fails is opened again.

A video is inspected once from beginning to end, a frame for every so many seconds of it, as fast as the station can;
another file of the same name is another video.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import cv2
from numpy.typing import NDArray

from blemish.errors import BlemishError, BusyError, ConflictError, ImageError, SettingError
from blemish.images import IMAGE_SUFFIXES
from blemish.station.crew import Crew, Worker
from blemish.station.entries import (
    SOURCES,
    Entries,
    Entry,
    Field,
    absolute_path,
    checked,
    flag,
    folder_for,
    number,
    optional,
    text,
    whole,
)
from blemish.station.states import Event, State, StateMachine
from blemish.station.store import Store, StoredInspection

if TYPE_CHECKING:
    from blemish.station.inspecting import Inspector

DONE: Final = "done"
UNREADABLE: Final = "unreadable"
MOST_BYTES: Final = 2**30  # of a file in a watched folder: a larger one is no image that could be inspected
_MOST_BUSY: Final = 5.0  # seconds between two attempts while the station is busy
_LOOK_SHARE: Final = 20  # looking into a folder takes a twentieth of a core at most
_MOST_ID: Final = 200  # characters of a part id


class Sources(Entries):
    """The sources of a station."""

    what = "source"
    setting = SOURCES

    def add(self, spec: Mapping[str, Any], *, who: str) -> Entry:
        """Add a source.

        Args:
            spec: ``name``; ``kind``: folder, camera or video; ``part``: that its images show. A folder has ``folder``
                and ``keep`` (false). A camera has ``device``: its number, its path, or an address rtsp:// or http://;
                ``interval``: seconds from frame to frame, without it frames are taken when triggered;
                ``acknowledge`` (false): wait after each triggered result until it was acknowledged; and where the
                address asks for them ``user`` and ``secret``, the password. A video has ``path`` and ``interval``
                (1 s of the video; 0: every frame).
            who: adds it.

        Raises:
            SettingError: a field makes no sense.
            NotFoundError: there is no such part.
            ConflictError: there is a source of this name.
        """
        return super().add(spec, who=who)

    def check(self, spec: Mapping[str, Any]) -> Entry:
        """Return the source that is meant.

        Raises:
            SettingError: a field makes no sense.
            NotFoundError: there is no such part.
        """
        entry = checked("source", spec, _KINDS)
        self._store.part(entry["part"])
        if entry["kind"] == "folder":
            folder_for(self._store, entry["folder"])
        return entry

    def needs_secret(self, entry: Entry) -> bool:
        """Say whether it cannot be without one: a user has a password."""
        return bool(entry.get("user"))


def _device(value: Any) -> int | str:
    if not isinstance(value, str):
        return whole(0, 255)(value)
    try:
        address = urlsplit(text(1, 2000)(value))
        is_address = address.scheme in ("rtsp", "rtsps", "http", "https") and bool(address.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        return absolute_path(value)
    if address.username is not None or address.password is not None:
        raise SettingError("found a name or password in the address, which everybody sees; use user and secret.")
    return value


_KINDS: Final[dict[str, dict[str, Field]]] = {
    "folder": {"part": Field(text(1, 64)), "folder": Field(absolute_path), "keep": Field(flag, False)},
    "camera": {
        "part": Field(text(1, 64)),
        "device": Field(_device),
        "interval": Field(optional(number(0.02, 86400)), None),
        "acknowledge": Field(flag, False),
        "user": Field(text(0, 200), ""),
    },
    "video": {
        "part": Field(text(1, 64)),
        "path": Field(absolute_path),
        "interval": Field(number(0, 86400), 1.0),
    },
}


@dataclass(frozen=True)
class _Pace:
    """Seconds."""

    poll: float  # between two looks
    settle: float  # that a file must stand still
    give_up: float  # that a file may be unreadable
    retry: float  # until something that failed is tried again
    frame: float  # that a camera may take for a frame


class _TroubleError(BlemishError):
    """A source cannot go on; it says why and tries again."""


class _Source(Worker):
    """What all kinds of sources do."""

    def __init__(self, entry: Entry, store: Store, inspector: Inspector, pace: _Pace) -> None:
        super().__init__(entry)
        self.machine = StateMachine()
        self._store, self._inspector, self._pace = store, inspector, pace
        self._label = f"{entry['kind']}:{entry['name']}"

    def round(self) -> float:
        """Look once, and bring what failed into the state."""
        try:
            if not self._has_model():
                self.machine.to(State.INITIALIZED)
                return self._pace.poll
            self.look()
        except Exception as error:  # of drivers, disks, networks: it is told, and tried again
            told = str(error) if isinstance(error, BlemishError) else f"{type(error).__name__}: {error}"
            self.machine.to(State.ERROR, told)
            self.rest(self._pace.retry)
        return self._pace.poll

    def look(self) -> None:
        """Do what there is to do."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Say that it ended."""
        self.machine.to(State.HALTED)

    def _has_model(self) -> bool:
        return self._store.part(self.entry["part"]).active is not None

    def _run_on(self) -> None:
        """Be in ContinuousExecution, from wherever it stands."""
        if self.machine.state is State.CONTINUOUS_EXECUTION:
            return
        self._be_ready()
        self.machine.start(State.CONTINUOUS_EXECUTION)

    def _be_ready(self) -> None:
        """Be in Ready, after what failed is over or a model came."""
        if self.machine.state is State.PREOPERATIONAL:
            self.machine.to(State.INITIALIZED)
        if self.machine.state in (State.INITIALIZED, State.ERROR, State.CONTINUOUS_EXECUTION):
            self.machine.to(State.READY)

    def _request_id(self, *parts: str | int) -> str:
        """Return the request id of an image: the same for the same image of this source, before and after a restart."""
        text = json.dumps([self.entry["name"], self.entry["part"], *parts])  # ASCII, also of names that are no Unicode
        return f"source:{hashlib.sha256(text.encode()).hexdigest()}"

    def _inspect(self, data: bytes, request_id: str, part_id: str, lot_id: str = "") -> StoredInspection:
        """Inspect an image; while the station is busy, wait."""
        while True:
            try:
                stored = self._inspector.inspect(
                    self.entry["part"],
                    data,
                    part_id=_printable(part_id),
                    lot_id=lot_id,
                    source=self._label,
                    request_id=request_id,
                )
            except BusyError as error:
                if self.rest(min(max(error.retry_after, 0.01), _MOST_BUSY)):
                    raise
            else:
                self.machine.fire(Event.RESULT_READY, inspection=stored.id, verdict=stored.verdict.value)
                return stored


# -------------------------------------------------------------------------------------------------------------- folder


@dataclass
class _Sighting:
    """A file as it was seen."""

    stamp: tuple[int, ...]
    since: float  # steady clock: when it was first seen like this
    next_try: float
    is_done: bool = False  # nothing is to be done with it as it is
    is_noted: bool = False  # as unreadable
    trouble: str = ""  # why it could not be moved


class _FolderSource(_Source):
    def __init__(self, entry: Entry, store: Store, inspector: Inspector, pace: _Pace) -> None:
        super().__init__(entry, store, inspector, pace)
        self._folder = Path(entry["folder"])
        self._known: dict[str, _Sighting] = {}
        self._listing = 0.0  # seconds that the last look into the folder took

    def round(self) -> float:
        """Look once; the next time later where the folder holds so many files that a look takes long."""
        return max(super().round(), _LOOK_SHARE * self._listing)

    def look(self) -> None:
        """Take the files that stand still, oldest first."""
        began = time.monotonic()
        found = self._files()
        self._listing = time.monotonic() - began
        self._known = {name: sighting for name, sighting in self._known.items() if name in found}
        self._run_on()
        for name in sorted(found, key=lambda name: (found[name].st_mtime_ns, name)):
            if self.is_ended:
                return
            if self._is_due(name, _stamp(found[name])):
                self._take(name, self._known[name])
        troubles = [sighting.trouble for sighting in self._known.values() if sighting.trouble]
        if troubles:  # told at the end, so that a file that cannot be moved does not hold those behind it up
            raise _TroubleError(troubles[0])

    def _files(self) -> dict[str, os.stat_result]:
        try:
            with os.scandir(self._folder) as entries:
                names = [entry.name for entry in entries if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES]
        except OSError as error:
            raise _TroubleError(f"{self._folder} cannot be read ({error.strerror}). Is its disk mounted?") from error
        found = {}
        for name in names:
            seen = _stat(self._folder / name)
            if seen is not None and not name.startswith("."):
                found[name] = seen
        return found

    def _is_due(self, name: str, stamp: tuple[int, ...]) -> bool:
        known, moment = self._known.get(name), time.monotonic()
        if known is None or known.stamp != stamp:
            self._known[name] = _Sighting(stamp, moment, moment + self._pace.settle)
            return False
        return not known.is_done and moment >= known.next_try

    def _take(self, name: str, sighting: _Sighting) -> None:
        """Inspect a file and put it away."""
        path = self._folder / name
        try:
            data = _read(path, sighting.stamp)
        except OSError as error:  # still held by the program that writes it, on systems that do so
            self._wait_or_reject(name, sighting, f"it cannot be read ({error.strerror})")
            return
        except ImageError as error:
            self._wait_or_reject(name, sighting, str(error))
            return
        if data is None:
            return  # it changed just now: the next look sees that
        size, modified = sighting.stamp[:2]
        request_id = self._request_id(name, modified, size, hashlib.sha256(data).hexdigest())
        try:
            self._inspect(data, request_id, Path(name).stem)
        except (ImageError, SettingError) as error:  # SettingError: it leads to numbers that cannot be kept
            self._wait_or_reject(name, sighting, str(error))
        except BlemishError:
            raise  # it is not the file's fault
        except Exception as error:  # one strange file must not stop those behind it
            self._wait_or_reject(name, sighting, f"{type(error).__name__}: {error}")
        else:
            self._put_away(name, sighting, DONE)

    def _wait_or_reject(self, name: str, sighting: _Sighting, reason: str) -> None:
        """Wait longer each time, for a share may tell the full size of a file that is half there; then give it up."""
        moment, until = time.monotonic(), sighting.since + self._pace.give_up
        if moment < until:
            sighting.next_try = min(until, moment + (moment - sighting.since))
            return
        if not sighting.is_noted:
            detail = {"source": self.entry["name"], "file": _printable(name), "why": reason[:500]}
            self._store.note("station", "source.unreadable", self.entry["part"], **detail)
            sighting.is_noted = True
        self._put_away(name, sighting, UNREADABLE)

    def _put_away(self, name: str, sighting: _Sighting, folder: str) -> None:
        """Move a file below the folder, under a name that is free there."""
        sighting.is_done, sighting.trouble = True, ""
        if self.entry["keep"]:
            return
        target = self._folder / folder
        try:
            target.mkdir(exist_ok=True)
            moved = _free(target, name)
            (self._folder / name).rename(moved)
        except OSError as error:
            if _stat(self._folder / name) is None:
                return  # somebody else took it meanwhile; it is stored
            sighting.is_done, sighting.next_try = False, time.monotonic() + self._pace.retry
            sighting.trouble = (
                f"'{name}' cannot be moved to {target} ({error.strerror}). Let the server write there, or add the "
                "source with keep."
            )
            return
        now_there = _stat(moved)
        if now_there is not None and _stamp(now_there) != sighting.stamp:  # another took its place just before
            with contextlib.suppress(OSError):
                moved.rename(_free(self._folder, name))


def _stat(path: Path) -> os.stat_result | None:
    """Return what the system knows of a regular file, None for anything else."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does: size, time, and which file it is. Moving it changes none of them."""
    return found.st_size, found.st_mtime_ns, found.st_ino


def _read(path: Path, stamp: tuple[int, ...]) -> bytes | None:
    """Read a file, None where it is not (any more) the one with this stamp.

    Raises:
        OSError: the system refuses.
        ImageError: it is too large.
    """
    if stamp[0] > MOST_BYTES:
        raise ImageError(f"The file has {stamp[0]} bytes; expected {MOST_BYTES} at most.")
    data = path.read_bytes()
    after = _stat(path)
    return data if after is not None and _stamp(after) == stamp and len(data) == stamp[0] else None


def _free(folder: Path, name: str) -> Path:
    """Return a path for a file that overwrites none."""
    path = folder / name
    while os.path.lexists(path):
        path = folder / f"{Path(name).stem}-{secrets.token_hex(4)}{Path(name).suffix}"
    return path


def _printable(name: str) -> str:
    """Return a name as it can be kept: what cannot be printed, or is no valid Unicode, becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_MOST_ID])


# -------------------------------------------------------------------------------------------------------------- camera


@dataclass(frozen=True)
class _Job:
    """What a trigger asked for."""

    id: str
    part_id: str
    lot_id: str


class _CameraSource(_Source):
    def __init__(self, entry: Entry, store: Store, inspector: Inspector, pace: _Pace, password: str | None) -> None:
        super().__init__(entry, store, inspector, pace)
        self._device = _with_password(entry["device"], entry["user"], password)
        self._frames: _Frames | None = None
        self._job: _Job | None = None
        self._due = 0.0  # steady clock

    def trigger(self, part_id: str, lot_id: str) -> str:
        """Begin a job; called from another thread."""
        if self.entry["interval"] is not None:
            raise ConflictError(
                f"Source '{self.entry['name']}' takes frames by itself, every {self.entry['interval']} s."
            )
        job_id = self.machine.start(State.SINGLE_EXECUTION)
        self._job = _Job(job_id, part_id, lot_id)
        self.wake()
        return job_id

    def look(self) -> None:
        """Take the frame that is due or asked for."""
        frames = self._opened()
        if self.entry["interval"] is not None:
            self._run_on()
            self._continue(frames)
            return
        job, self._job = self._job, None
        if job is None:
            if self.machine.state is not State.SINGLE_EXECUTION:  # which a trigger may have begun just now
                self._be_ready()
            return
        self._frame(frames, job)
        self.machine.finish(acknowledge=self.entry["acknowledge"])

    def let_go(self) -> None:
        """Close the camera."""
        self._close()
        super().let_go()

    def round(self) -> float:
        """Look once; after a failure the camera is opened anew, and a job that it was to answer is over."""
        wait = super().round()
        if self.machine.state is State.ERROR:
            self._close()
            self._job = None
        return wait

    def _continue(self, frames: _Frames) -> None:
        """Take frame after frame, each when it is due; those that were due while the station was busy are left out."""
        while not self.is_ended and self._has_model():
            wait = self._due - time.monotonic()
            if self.rest(max(0.0, wait)):
                return
            self._due = max(self._due + self.entry["interval"], time.monotonic())
            self._frame(frames, _Job(secrets.token_hex(12), "", ""))

    def _frame(self, frames: _Frames, job: _Job) -> None:
        frame = frames.next(self._pace.frame)
        self.machine.fire(Event.ACQUISITION_DONE)
        self._inspect(_png(frame), self._request_id(job.id), job.part_id, job.lot_id)

    def _opened(self) -> _Frames:
        if self._frames is None:
            _require_device(self._device)
            self._frames = _Frames(self.entry, self._device)
            self._frames.start()
        until = time.monotonic() + self._pace.frame
        while not self._frames.is_open:
            if not self._frames.is_alive() or time.monotonic() > until or self.rest(0.01):
                raise _TroubleError("The camera does not open. Is it plugged in, and used by no other program?")
        return self._frames

    def _close(self) -> None:
        if self._frames is not None:
            self._frames.end()
            self._frames = None


class _Frames(Worker):
    """Takes frames off a camera's buffer as they come, and hands out the next one when it is asked for."""

    def __init__(self, entry: Entry, device: int | str) -> None:
        super().__init__(entry)
        self.is_open = False
        self._device = device
        self._capture: cv2.VideoCapture | None = None
        self._changed = threading.Condition()
        self._is_wanted = False
        self._frame: NDArray[Any] | None = None

    def next(self, timeout: float) -> NDArray[Any]:
        """Return a frame that began after this call: (H, W, 3) uint8 BGR, or (H, W) grey."""
        until = time.monotonic() + timeout
        with self._changed:
            self._frame, self._is_wanted = None, True
            while self._frame is None:
                left = until - time.monotonic()
                if left <= 0 or not self.is_open:
                    raise _TroubleError("The camera gives no frames. Is it still plugged in?")
                self._changed.wait(left)
            return self._frame

    def round(self) -> float:
        """Take one frame off the buffer."""
        try:
            if self._capture is None:
                self._capture = cv2.VideoCapture(self._device)
                self.is_open = self._capture.isOpened()
            with self._changed:
                is_wanted = self._is_wanted  # before the frame begins
            if not self._capture.grab():
                self._stop()
            elif is_wanted:
                is_there, frame = self._capture.retrieve()
                with self._changed:
                    self._frame, self._is_wanted = (frame if is_there else None), not is_there
                    self._changed.notify_all()
        except Exception:  # of OpenCV or a driver: `next` says that there are no frames
            self._stop()
        return 0.002  # a camera is slower; a file in its place must not keep a core busy

    def let_go(self) -> None:
        """Close the camera; no other thread may, while this one waits for a frame."""
        if self._capture is not None:
            self._capture.release()

    def _stop(self) -> None:
        with self._changed:
            self.is_open = False
            self._changed.notify_all()
        self.end()


def _with_password(device: int | str, user: str, password: str | None) -> int | str:
    """Put name and password into an address, as cameras want it."""
    if not user or isinstance(device, int) or "://" not in device:
        return device
    scheme, _, rest = device.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password or '', safe='')}@{rest}"


def _require_device(device: int | str) -> None:
    """Refuse what is not plugged in before OpenCV complains about it on the terminal, each time anew."""
    path = device
    if isinstance(device, int):
        path = f"/dev/video{device}" if sys.platform == "linux" else ""
    if isinstance(path, str) and path and "://" not in path and not Path(path).exists():
        raise _TroubleError(f"There is no camera {path}. Is it plugged in?")


# --------------------------------------------------------------------------------------------------------------- video


class _VideoSource(_Source):
    def __init__(self, entry: Entry, store: Store, inspector: Inspector, pace: _Pace) -> None:
        super().__init__(entry, store, inspector, pace)
        self._path = Path(entry["path"])
        self._seen: tuple[int, ...] = ()
        self._since = 0.0
        self._played = f"source.played.{entry['name']}"  # name of the setting: what was played, also before a restart

    def look(self) -> None:
        """Play the file when it is there, stands still, and was not played yet."""
        found = _stat(self._path)
        if found is None:
            raise _TroubleError(f"There is no file {self._path}. Put it there, or remove this source.")
        stamp = _stamp(found)
        if stamp != self._seen:
            self._seen, self._since = stamp, time.monotonic()
        # All of it, so that a source that was removed and added again for another part plays anew.
        played = [*stamp[:2], str(self._path), self.entry["part"], self.entry["interval"]]
        if self._store.setting(self._played) == played or time.monotonic() < self._since + self._pace.settle:
            self._be_ready()
            return
        self._run_on()
        self._play(stamp)
        if not self.is_ended:
            self._store.set_setting(self._played, played, who="station")
            self.machine.to(State.READY)

    def _play(self, stamp: tuple[int, ...]) -> None:
        capture = cv2.VideoCapture(str(self._path))
        try:
            step = _step(capture.get(cv2.CAP_PROP_FPS), self.entry["interval"])
            index = 0
            while not self.is_ended and capture.grab():
                if index % step == 0:
                    self._frame(capture, stamp, index)
                index += 1
        finally:
            capture.release()
        if index == 0 and not self.is_ended:
            raise _TroubleError(f"{self._path} is no video that can be read. Export it as AVI with MJPG, or as MP4.")

    def _frame(self, capture: cv2.VideoCapture, stamp: tuple[int, ...], index: int) -> None:
        """Inspect the frame that was grabbed, unless it was before the station was started anew."""
        request_id = self._request_id(self._path.name, stamp[1], stamp[0], index)
        if self._store.inspection_of_request(request_id) is not None:
            return
        is_there, frame = capture.retrieve()
        if is_there:
            self.machine.fire(Event.ACQUISITION_DONE)
            self._inspect(_png(frame), request_id, f"{self._path.stem}-{index:06d}")


def _step(frames_per_second: float, interval: float) -> int:
    """Return how many frames lie from one that is inspected to the next."""
    if interval > 0 and not (math.isfinite(frames_per_second) and frames_per_second > 0):
        raise _TroubleError("The video does not say how many frames a second has. Add the source with interval 0.")
    return max(1, round(interval * frames_per_second)) if interval > 0 else 1


def _png(frame: NDArray[Any]) -> bytes:
    """Return the bytes of a PNG file with a frame as OpenCV gives it: (H, W, 3) BGR or (H, W), without loss."""
    is_encoded, data = cv2.imencode(".png", frame)
    if not is_encoded:
        raise _TroubleError(f"A frame of shape {frame.shape} and type {frame.dtype} cannot be kept as PNG.")
    return data.tobytes()


# ------------------------------------------------------------------------------------------------------------- watcher


class Watcher:
    """Brings images from the sources of a station to its inspector, in the background."""

    def __init__(
        self,
        store: Store,
        inspector: Inspector,
        *,
        poll: float = 0.2,
        settle: float = 1.0,
        give_up: float = 30.0,
        retry: float = 5.0,
        frame: float = 10.0,
        look: float = 1.0,
    ) -> None:
        """Take the sources of a store; `start` begins.

        Args:
            store: open, as its server.
            inspector: that inspects the images.
            poll: seconds between two looks into a folder.
            settle: seconds that size and time of a file must stand still before it is read.
            give_up: seconds after which a file that cannot be decoded is taken for broken.
            retry: seconds until a source that failed is tried again.
            frame: seconds that a camera may take to open, and for a frame.
            look: seconds between two looks whether sources came or went.
        """
        self.sources = Sources(store)
        self._store, self._inspector = store, inspector
        self._pace = _Pace(poll, settle, give_up, retry, frame)
        self._crew = Crew(self.sources, self._make, every=look)

    def start(self) -> None:
        """Begin to watch."""
        self._crew.start()

    def close(self) -> None:
        """Stop. What was not inspected is still where it was."""
        self._crew.close()

    def refresh(self) -> None:
        """Look at once whether sources came or went."""
        self._crew.refresh()

    def trigger(self, name: str, *, part_id: str = "", lot_id: str = "") -> str:
        """Have a camera take a frame, and inspect it.

        Args:
            name: of the source.
            part_id: serial number of the part that lies there.
            lot_id: of its lot.

        Returns:
            The id of the job. Its events, the result among them, are in `state` and come out of `wait_for`.

        Raises:
            NotFoundError: there is no such source.
            ConflictError: it is not in Ready, or is none that is triggered.
        """
        return self._camera(name).trigger(part_id, lot_id)

    def acknowledge(self, name: str, job_id: str) -> None:
        """Say that the result of a job was taken over; the source is Ready for the next trigger.

        Raises:
            NotFoundError: there is no such source.
            ConflictError: no result of this job waits for it.
        """
        self._camera(name).machine.acknowledge(job_id)

    def state(self, name: str) -> dict[str, Any]:
        """Return where a source stands; see `states.StateMachine.snapshot`.

        Raises:
            NotFoundError: there is no such source.
        """
        self.sources.entry(name)
        return self._crew.worker(name).machine.snapshot()

    def wait_for(self, name: str, after: int, timeout: float) -> list[dict[str, Any]]:
        """Wait for events of a source; see `states.StateMachine.wait_for`.

        Raises:
            NotFoundError: there is no such source.
        """
        self.sources.entry(name)
        return self._crew.worker(name).machine.wait_for(after, timeout)

    def _camera(self, name: str) -> _CameraSource:
        entry = self.sources.entry(name)
        worker = self._crew.worker(name)
        if not isinstance(worker, _CameraSource):
            raise ConflictError(f"Source '{name}' is a {entry['kind']}, which nobody triggers; expected a camera.")
        return worker

    def _make(self, entry: Entry) -> _Source:
        if entry["kind"] == "camera":
            password = self.sources.secret(entry["name"])
            return _CameraSource(entry, self._store, self._inspector, self._pace, password)
        kind = _FolderSource if entry["kind"] == "folder" else _VideoSource
        return kind(entry, self._store, self._inspector, self._pace)
