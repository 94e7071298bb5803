"""Every image of a source is inspected once and whole, none is lost, and the states say where a source stands."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from blemish.errors import BusyError, ConflictError, ImageError, NotFoundError, SettingError, StorageError
from blemish.images import decode_image
from blemish.results import Verdict
from blemish.station import audit
from blemish.station.delivering import Deliverer
from blemish.station.states import OPERATIONAL, Event, State, StateMachine
from blemish.station.station import Station
from blemish.station.store import NewInspection, Store, StoredInspection
from blemish.station.watching import DONE, UNREADABLE, Sources, Watcher

PATIENCE = 30.0  # seconds after which a test has failed; none waits so long when all is well
FAST: dict[str, float] = {"poll": 0.005, "settle": 0.02, "give_up": 0.1, "retry": 0.02, "frame": 5, "look": 0.02}


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.003)


class Stand:
    """Stands for the inspector: decodes and stores, and finds everything good."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.faults: list[Exception] = []  # raised one after the other; then it works
        self.n_asked = 0

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
        self.n_asked += 1
        if self.faults:
            raise self.faults.pop(0)
        try:
            decode_image(data)
        except Exception as error:
            raise ImageError(f"damaged ({error})") from error
        more: dict[str, Any] = {"part_id": part_id, "lot_id": lot_id, "source": source, "request_id": request_id}
        return self.store.add_inspection(
            NewInspection(part, 1, "0" * 64, data, ".png", Verdict.GOOD, 0.0, 1.0, {"regions": []}, **more)
        )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "station") as opened:
        opened.add_part("cap", who="anna")
        opened.add_model("cap", b"model", origin="fit", who="anna", activate=True)
        yield opened


@pytest.fixture
def stand(store: Store) -> Stand:
    return Stand(store)


@pytest.fixture
def watcher(store: Store, stand: Stand) -> Iterator[Watcher]:
    made = Watcher(store, stand, **FAST)  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "camera"
    made.mkdir()
    return made


def image(shade: int) -> bytes:
    is_encoded, data = cv2.imencode(".png", np.full((20, 30), shade, np.uint8))
    assert is_encoded
    return data.tobytes()


def add_folder(store: Store, folder: Path, **more: Any) -> None:
    Sources(store).add({"name": "cam", "kind": "folder", "part": "cap", "folder": str(folder), **more}, who="anna")


def put(folder: Path, name: str, data: bytes, second: int) -> None:
    """Write a file as of some second."""
    (folder / name).write_bytes(data)
    os.utime(folder / name, (second, second))


def stored(store: Store) -> list[StoredInspection]:
    return store.inspections(after=0, limit=500)


def bytes_of(store: Store, inspection: StoredInspection) -> bytes:
    assert inspection.image_file is not None
    return store.path(inspection.image_file).read_bytes()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()


# -------------------------------------------------------------------------------------------------------------- folder


def test_files_are_inspected_in_order_and_moved(store: Store, watcher: Watcher, folder: Path) -> None:
    add_folder(store, folder)
    for index in range(5):
        put(folder, f"{9 - index}.png", image(index), 1000 + index)
    watcher.start()
    wait_until(lambda: len(names(folder / DONE)) == 5)
    found = stored(store)
    assert [bytes_of(store, each) for each in found] == [image(index) for index in range(5)]
    assert [(each.part_id, each.source) for each in found] == [(f"{9 - index}", "folder:cam") for index in range(5)]
    assert names(folder) == set()
    assert watcher.state("cam")["state"] == "ContinuousExecution"


def test_a_file_that_is_being_written_is_waited_for(store: Store, stand: Stand, folder: Path) -> None:
    data = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))[1].tobytes()
    watcher = Watcher(store, stand, **{**FAST, "give_up": 1000})  # type: ignore[arg-type]
    add_folder(store, folder)
    watcher.start()
    with (folder / "a.png").open("wb") as file:
        for piece in range(4):
            file.write(data[piece * len(data) // 5 : (piece + 1) * len(data) // 5])
            file.flush()
            n_asked = stand.n_asked
            wait_until(lambda before=n_asked: stand.n_asked > before)  # type: ignore[misc]  # it stood still so long
        assert stored(store) == []
        file.write(data[4 * len(data) // 5 :])
    wait_until(lambda: names(folder / DONE) == {"a.png"})
    watcher.close()
    assert [bytes_of(store, each) for each in stored(store)] == [data]
    assert not (folder / UNREADABLE).exists()


def test_an_empty_file_is_waited_for(store: Store, stand: Stand, folder: Path) -> None:
    watcher = Watcher(store, stand, **{**FAST, "give_up": 1000})  # type: ignore[arg-type]
    add_folder(store, folder)
    (folder / "a.png").touch()
    watcher.start()
    wait_until(lambda: stand.n_asked >= 2)
    (folder / "a.png").write_bytes(image(1))
    wait_until(lambda: names(folder / DONE) == {"a.png"})
    watcher.close()
    assert len(stored(store)) == 1


def test_a_broken_file_is_set_aside_and_noted_and_holds_no_other_up(
    store: Store, watcher: Watcher, folder: Path
) -> None:
    add_folder(store, folder)
    put(folder, "a.png", image(1)[:50], 1000)
    put(folder, "b.png", image(2), 2000)
    watcher.start()
    wait_until(lambda: names(folder / UNREADABLE) == {"a.png"})
    assert (folder / UNREADABLE / "a.png").read_bytes() == image(1)[:50]
    assert names(folder / DONE) == {"b.png"}
    assert [each.part_id for each in stored(store)] == ["b"]
    (entry,) = audit.entries(store, what="source.unreadable")
    assert (entry.part, entry.detail["source"], entry.detail["file"]) == ("cap", "cam", "a.png")
    assert "damaged" in entry.detail["why"]


def test_what_is_no_image_file_is_left_alone(store: Store, watcher: Watcher, folder: Path) -> None:
    add_folder(store, folder)
    (folder / "elsewhere").write_bytes(image(1))
    for name in (".hidden.png", "a.png.part", "notes.txt"):
        (folder / name).write_bytes(image(1))
    (folder / "link.png").symlink_to(folder / "elsewhere")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    before = {path.name for path in folder.iterdir()}
    put(folder, "b.png", image(2), 2000)
    watcher.start()
    wait_until(lambda: names(folder / DONE) == {"b.png"})
    assert {path.name for path in folder.iterdir()} == before | {DONE}
    assert len(stored(store)) == 1


def test_no_file_is_overwritten_where_names_come_again(store: Store, watcher: Watcher, folder: Path) -> None:
    add_folder(store, folder)
    watcher.start()
    for index in range(4):
        put(folder, "image.png", image(index), 1000)  # the very same name, time and size
        wait_until(lambda n=index + 1: len(names(folder / DONE)) == n)  # type: ignore[misc]
    assert [bytes_of(store, each) for each in stored(store)] == [image(index) for index in range(4)]
    assert {path.read_bytes() for path in (folder / DONE).iterdir()} == {image(index) for index in range(4)}


def test_a_file_that_comes_while_its_namesake_is_inspected_is_not_lost(
    store: Store, stand: Stand, watcher: Watcher, folder: Path
) -> None:
    add_folder(store, folder)
    inspect = stand.inspect

    def replaced_meanwhile(part: str, data: bytes, **more: Any) -> StoredInspection:
        if data == image(1):
            put(folder, "image.png", image(2), 2000)
        return inspect(part, data, **more)

    stand.inspect = replaced_meanwhile  # type: ignore[method-assign]
    put(folder, "image.png", image(1), 1000)
    watcher.start()
    wait_until(lambda: len(stored(store)) == 2)
    wait_until(lambda: names(folder) == set())
    assert [bytes_of(store, each) for each in stored(store)] == [image(1), image(2)]


def test_what_was_read_while_it_changed_is_not_inspected(
    store: Store, watcher: Watcher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folder(store, folder)
    put(folder, "a.png", image(1), 1000)
    read_bytes = Path.read_bytes

    def changed_meanwhile(path: Path) -> bytes:
        data = read_bytes(path)
        if path == folder / "a.png" and data == image(1):
            put(folder, "a.png", image(2), 2000)
        return data

    monkeypatch.setattr(Path, "read_bytes", changed_meanwhile)
    watcher.start()
    wait_until(lambda: names(folder / DONE) == {"a.png"})
    assert [bytes_of(store, each) for each in stored(store)] == [image(2)]


def test_a_name_that_cannot_be_printed_is_inspected_too(store: Store, watcher: Watcher, folder: Path) -> None:
    add_folder(store, folder)
    for index, name in enumerate((b"caf\xe9\n.png", b"x" * 220 + b".png", b"caf\xe8.png")):
        path = folder / os.fsdecode(name)
        path.write_bytes(image(index) if index < 2 else b"broken")
        os.utime(path, (index, index))
    watcher.start()
    wait_until(lambda: len(names(folder / DONE)) == 2 and len(names(folder / UNREADABLE)) == 1)
    assert [each.part_id for each in stored(store)] == ["caf??", "x" * 200]
    assert audit.entries(store, what="source.unreadable")[0].detail["file"] == "caf?.png"
    assert audit.verify(store).is_whole


@pytest.mark.parametrize(
    "fault",
    [
        BusyError("full", retry_after=0.001),
        StorageError("the disk is full"),
        NotFoundError("no model"),
        OSError("strange"),
    ],
)
def test_what_is_not_the_files_fault_makes_it_wait(fault: Exception, store: Store, stand: Stand, folder: Path) -> None:
    watcher = Watcher(store, stand, **{**FAST, "give_up": 1000})  # type: ignore[arg-type]
    stand.faults = [fault] * 3
    add_folder(store, folder)
    put(folder, "a.png", image(1), 1000)
    watcher.start()
    wait_until(lambda: names(folder / DONE) == {"a.png"})
    assert stand.n_asked == 4
    assert len(stored(store)) == 1
    assert watcher.state("cam")["state"] == "ContinuousExecution"
    watcher.close()
    was_in_error = any(event["state"] == "Error" for event in watcher.state("cam")["events"])
    assert was_in_error == isinstance(fault, StorageError | NotFoundError)


def test_a_part_without_model_is_waited_for(store: Store, watcher: Watcher, folder: Path) -> None:
    store.add_part("lid", who="anna")
    add_folder(store, folder, part="lid")
    put(folder, "a.png", image(1), 1000)
    watcher.start()
    wait_until(lambda: watcher.state("cam")["state"] == "Initialized")
    assert names(folder) == {"a.png"}
    store.add_model("lid", b"model", origin="fit", who="anna", activate=True)
    wait_until(lambda: names(folder / DONE) == {"a.png"})


def test_a_folder_that_is_not_mounted_is_told_and_waited_for(store: Store, watcher: Watcher, folder: Path) -> None:
    add_folder(store, folder)
    folder.rename(folder.with_name("gone"))
    watcher.start()
    wait_until(lambda: watcher.state("cam")["state"] == "Error")
    assert "mounted" in watcher.state("cam")["error"]
    put(folder.with_name("gone"), "a.png", image(1), 1000)
    folder.with_name("gone").rename(folder)
    wait_until(lambda: names(folder / DONE) == {"a.png"})
    assert watcher.state("cam")["error"] == ""


def test_a_file_that_cannot_be_moved_is_inspected_once_and_told(store: Store, watcher: Watcher, folder: Path) -> None:
    add_folder(store, folder)
    (folder / DONE).write_bytes(b"a file where the folder should be")
    put(folder, "a.png", image(1), 1000)
    put(folder, "b.png", image(2), 2000)
    watcher.start()
    wait_until(lambda: len(stored(store)) == 2)  # the second is not held up
    wait_until(lambda: "moved" in watcher.state("cam")["error"])
    (folder / DONE).unlink()
    wait_until(lambda: names(folder / DONE) == {"a.png", "b.png"})
    assert len(stored(store)) == 2


KILLED = """
import os, signal, sys
from blemish.results import Verdict
from blemish.station.store import NewInspection, Store
from blemish.station.watching import Watcher

class Killed:
    def inspect(self, part, data, **more):
        new = NewInspection(part, 1, "0" * 64, data, ".png", Verdict.GOOD, 0.0, 1.0, {"regions": []}, **more)
        store.add_inspection(new)
        if store.count()[Verdict.GOOD] >= int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

store = Store(sys.argv[1])
watcher = Watcher(store, Killed(), poll=0.005, settle=0.01)
watcher.start()
signal.pause()
"""


@pytest.mark.parametrize("keep", [False, True])
def test_a_kill_between_store_and_moving_inspects_nothing_twice(keep: bool, tmp_path: Path, folder: Path) -> None:
    with Store(tmp_path / "station") as store:
        store.add_part("cap", who="anna")
        store.add_model("cap", b"model", origin="fit", who="anna", activate=True)
        add_folder(store, folder, keep=keep)
    for index in range(6):
        put(folder, f"{index}.png", image(index), 1000 + index)
    for n_stored in (2, 4):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "station"), str(n_stored)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == -signal.SIGKILL, done.stderr
    with Store(tmp_path / "station") as store:
        watcher = Watcher(store, Stand(store), **FAST)  # type: ignore[arg-type]
        watcher.start()
        wait_until(lambda: len(stored(store)) == 6)
        wait_until(lambda: keep or len(names(folder / DONE)) == 6)
        watcher.close()
        assert [bytes_of(store, each) for each in stored(store)] == [image(index) for index in range(6)]
    assert len(names(folder)) == (6 if keep else 0)


def test_files_that_are_left_are_inspected_once_and_again_when_they_change(
    store: Store, stand: Stand, folder: Path
) -> None:
    add_folder(store, folder, keep=True)
    put(folder, "a.png", image(1), 1000)
    put(folder, "broken.png", b"broken", 1000)
    for n_stored in (1, 1, 2):
        if n_stored == 2:
            put(folder, "a.png", image(2), 2000)
        n_noted = len(audit.entries(store, what="source.unreadable"))
        watcher = Watcher(store, stand, **FAST)  # type: ignore[arg-type]
        watcher.start()
        wait_until(lambda n=n_noted: len(audit.entries(store, what="source.unreadable")) > n)  # type: ignore[misc]
        watcher.close()
        assert len(stored(store)) == n_stored
    assert names(folder) == {"a.png", "broken.png"}
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_a_station_leads_from_a_folder_to_a_folder(
    tmp_path: Path, folder: Path, model_path: Path, category_dir: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with Station(tmp_path / "station", workers=1) as station:
        station.store.add_part("metal", who="anna")
        station.store.add_model("metal", model_path.read_bytes(), origin="fit", who="anna", activate=True)
        station.deliverer.sinks.add({"name": "disk", "kind": "folder", "folder": str(out)}, who="anna")
        add_folder(station.store, folder, part="metal")
        station.deliverer.wake()
        station.watcher.refresh()
        for kind in ("good", "stain"):
            path = category_dir / "test" / kind / "000.png"
            put(folder, f"{kind}.png", path.read_bytes(), len(kind))
        wait_until(lambda: len(list(out.glob("*.json"))) == 2)
        found = stored(station.store)
    assert [each.part_id for each in found] == ["good", "stain"]
    assert found[1].verdict is Verdict.DEFECTIVE
    assert sorted(path.stem.split("-")[1] for path in out.glob("*.jpg")) == sorted(each.id for each in found)


# ------------------------------------------------------------------------------------------------------ camera, video


def write_video(path: Path, shades: list[int]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for shade in shades:
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()


def shades(store: Store) -> list[int]:
    """Return the grey of each inspected frame, to the nearest ten."""
    return [round(float(decode_image(bytes_of(store, each)).mean()) * 25.5) * 10 for each in stored(store)]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.avi"
    write_video(path, [10 * index for index in range(1, 21)])
    return path


def add_camera(store: Store, device: Path, **more: Any) -> None:
    Sources(store).add({"name": "cam", "kind": "camera", "part": "cap", "device": str(device), **more}, who="anna")


def wait_for_state(watcher: Watcher, state: State, name: str = "cam") -> None:
    wait_until(lambda: watcher.state(name)["state"] == state)


def events_after(watcher: Watcher, number: int, last: Event) -> list[str]:
    """Return the names of events after one, up to the first of a kind, without StateChanged."""
    found: list[str] = []
    until = time.monotonic() + PATIENCE
    while last not in found:
        assert time.monotonic() < until
        for event in watcher.wait_for("cam", number, PATIENCE):
            number = event["number"]
            found.append(event["event"])
    return [event for event in found if event != Event.STATE_CHANGED]


def last_number(watcher: Watcher) -> int:
    number: int = watcher.state("cam")["events"][-1]["number"]
    return number


def test_a_video_is_inspected_once_from_beginning_to_end(
    store: Store, stand: Stand, watcher: Watcher, film: Path, folder: Path
) -> None:
    video = {"name": "cam", "kind": "video", "part": "cap", "path": str(film), "interval": 0.5}
    watcher.sources.add(video, who="anna")
    watcher.start()
    wait_until(lambda: len(stored(store)) == 4)
    wait_for_state(watcher, State.READY)
    assert shades(store) == [10, 60, 110, 160]  # every half second at ten frames a second
    assert [each.part_id for each in stored(store)] == ["film-000000", "film-000005", "film-000010", "film-000015"]
    write_video(film, [200] * 5)  # another video of the same name
    wait_until(lambda: len(stored(store)) == 5)
    wait_for_state(watcher, State.READY)
    watcher.close()
    with store.transaction() as connection:
        connection.execute("DELETE FROM inspections")  # as retention does after some time
    again = Watcher(store, stand, **FAST)  # type: ignore[arg-type]
    again.start()
    wait_for_state(again, State.READY)
    add_folder(store, folder, name="later")
    (folder / "a.png").write_bytes(image(1))
    wait_until(lambda: names(folder / DONE) == {"a.png"})  # which stood still as long as the video
    again.close()
    assert stand.n_asked == 6
    assert len(stored(store)) == 1


def test_a_video_that_is_added_again_for_another_part_plays_anew(store: Store, watcher: Watcher, film: Path) -> None:
    video = {"name": "cam", "kind": "video", "part": "cap", "path": str(film), "interval": 0.5}
    watcher.sources.add(video, who="anna")
    watcher.start()
    wait_until(lambda: len(stored(store)) == 4)
    wait_for_state(watcher, State.READY)
    watcher.sources.remove("cam", who="anna")
    watcher.refresh()
    store.add_part("lid", who="anna")
    store.add_model("lid", b"model", origin="fit", who="anna", activate=True)
    watcher.sources.add({**video, "part": "lid"}, who="anna")
    watcher.refresh()
    wait_until(lambda: [each.part for each in stored(store)].count("lid") == 4)


def test_a_video_goes_on_where_the_station_was_stopped(store: Store, stand: Stand, film: Path) -> None:
    video = {"name": "cam", "kind": "video", "part": "cap", "path": str(film), "interval": 0}
    Sources(store).add(video, who="anna")
    inspect = stand.inspect

    def full_after_seven(part: str, data: bytes, **more: Any) -> StoredInspection:
        if len(stored(store)) == 7:
            raise StorageError("the disk is full")
        return inspect(part, data, **more)

    stand.inspect = full_after_seven  # type: ignore[method-assign]
    watcher = Watcher(store, stand, **FAST)  # type: ignore[arg-type]
    watcher.start()
    wait_for_state(watcher, State.ERROR)
    watcher.close()
    stand.inspect = inspect  # type: ignore[method-assign]
    watcher = Watcher(store, stand, **FAST)  # type: ignore[arg-type]
    watcher.start()
    wait_until(lambda: len(stored(store)) == 20)
    watcher.close()
    assert shades(store) == [10 * index for index in range(1, 21)]
    assert stand.n_asked == 20


def test_a_trigger_is_answered_with_the_events_of_the_standard(store: Store, watcher: Watcher, film: Path) -> None:
    add_camera(store, film)
    watcher.start()
    wait_for_state(watcher, State.READY)
    for index in range(2):
        before = last_number(watcher)
        job = watcher.trigger("cam", part_id=f"P{index}", lot_id="L")
        assert events_after(watcher, before, Event.READY) == ["JobStarted", "AcquisitionDone", "ResultReady", "Ready"]
        told = watcher.wait_for("cam", before, 0)
        assert {event["job_id"] for event in told} == {job}
        (result,) = [event for event in told if event["event"] == "ResultReady"]
        found = store.inspection(result["inspection"])
        assert (found.part_id, found.lot_id, found.source) == (f"P{index}", "L", "camera:cam")
        assert result["verdict"] == "good"
    assert len(stored(store)) == 2


def test_a_result_waits_to_be_acknowledged(store: Store, watcher: Watcher, film: Path) -> None:
    add_camera(store, film, acknowledge=True)
    watcher.start()
    wait_for_state(watcher, State.READY)
    job = watcher.trigger("cam")
    wait_until(lambda: watcher.state("cam")["step"] == "Wait")
    assert watcher.state("cam")["state"] == "SingleExecution"
    with pytest.raises(ConflictError, match="acknowledged"):
        watcher.trigger("cam")
    with pytest.raises(ConflictError, match=job):
        watcher.acknowledge("cam", "another job")
    watcher.acknowledge("cam", job)
    assert watcher.state("cam")["state"] == "Ready"
    with pytest.raises(ConflictError):
        watcher.acknowledge("cam", job)
    assert watcher.trigger("cam") != job


def test_only_a_camera_without_interval_is_triggered(store: Store, watcher: Watcher, film: Path, folder: Path) -> None:
    add_folder(store, folder)
    add_camera(store, film, name="self", interval=0.05)
    watcher.start()
    for name in ("cam", "self"):
        with pytest.raises(ConflictError):
            watcher.trigger(name)
    with pytest.raises(NotFoundError):
        watcher.trigger("none")


def test_a_camera_is_opened_again(store: Store, watcher: Watcher, film: Path) -> None:
    gone = film.with_name("gone.avi")
    film.rename(gone)
    add_camera(store, film, interval=0.02)
    watcher.start()
    wait_for_state(watcher, State.ERROR)
    assert str(film) in watcher.state("cam")["error"]
    gone.rename(film)
    wait_until(
        lambda: len(stored(store)) > 25
    )  # more than one time through the film, which ends like an unplugged camera
    states = [event["state"] for event in watcher.state("cam")["events"]]
    assert "Error" in states
    film.unlink()
    wait_for_state(watcher, State.ERROR)


def test_a_job_is_over_when_the_camera_fails(store: Store, watcher: Watcher, stand: Stand, film: Path) -> None:
    add_camera(store, film)
    watcher.start()
    wait_for_state(watcher, State.READY)
    stand.faults = [StorageError("the disk is full")]
    before = last_number(watcher)
    watcher.trigger("cam")
    wait_until(lambda: any(event["state"] == "Error" for event in watcher.wait_for("cam", before, 0)))
    wait_for_state(watcher, State.READY)
    assert stored(store) == []
    watcher.trigger("cam")
    wait_until(lambda: len(stored(store)) == 1)


def test_sources_come_and_go_while_it_runs(store: Store, watcher: Watcher, folder: Path) -> None:
    watcher.start()
    add_folder(store, folder)
    put(folder, "a.png", image(1), 1000)
    wait_until(lambda: names(folder / DONE) == {"a.png"})
    watcher.sources.remove("cam", who="anna")
    with pytest.raises(NotFoundError):
        watcher.state("cam")


# ------------------------------------------------------------------------------------------------------------ settings

CAMERA = {"name": "cam", "kind": "camera", "part": "cap"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({**CAMERA}, "device"),
        ({**CAMERA, "device": -1}, "device"),
        ({**CAMERA, "device": "film.avi"}, "whole path"),
        ({**CAMERA, "device": "rtsp://anna:word@host/"}, "password"),
        ({**CAMERA, "device": "gopher://host/"}, "whole path"),
        ({**CAMERA, "device": 0, "interval": 0}, "interval"),
        ({**CAMERA, "device": 0, "interval": float("nan")}, "interval"),
        ({**CAMERA, "device": "rtsp://host/", "user": "anna"}, "secret"),
        ({"name": "v", "kind": "video", "part": "cap", "path": "film.avi"}, "whole path"),
        ({"name": "f", "kind": "folder", "part": "cap", "folder": "/no/such"}, "no folder"),
        ({"name": "f", "kind": "folder", "part": "cap", "folder": "OUT"}, "disk"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: dict[str, Any], told: str, store: Store, folder: Path) -> None:
    Deliverer(store).sinks.add({"name": "disk", "kind": "folder", "folder": str(folder)}, who="anna")
    if spec.get("folder") == "OUT":
        spec = {**spec, "folder": str(folder)}  # what a sink writes would be inspected without end
    with pytest.raises(SettingError, match=told):
        Sources(store).add(spec, who="anna")
    assert Sources(store).list() == []


def test_a_source_needs_a_part(store: Store, folder: Path) -> None:
    with pytest.raises(NotFoundError):
        add_folder(store, folder, part="lid")


# -------------------------------------------------------------------------------------------------------------- states


def test_jobs_begin_in_ready_alone() -> None:
    machine = StateMachine()
    for state in (State.INITIALIZED, State.ERROR, State.HALTED, State.PREOPERATIONAL):
        machine.to(state)
        with pytest.raises(ConflictError):
            machine.start(State.SINGLE_EXECUTION)
    machine.to(State.INITIALIZED)
    machine.to(State.READY)
    assert machine.start(State.SINGLE_EXECUTION)
    with pytest.raises(ConflictError):
        machine.start(State.SINGLE_EXECUTION)


def test_there_are_no_other_ways_than_the_standards() -> None:
    operational = {("Initialized", "Ready"), ("Ready", "Initialized")}
    operational |= {("Ready", each) for each in ("SingleExecution", "ContinuousExecution")}
    operational |= {(each, "Ready") for each in ("SingleExecution", "ContinuousExecution")}
    out = {(each.value, other) for each in OPERATIONAL for other in ("Preoperational", "Halted", "Error")}
    into = {("Error", each.value) for each in OPERATIONAL} | {("Error", "Preoperational"), ("Error", "Halted")}
    begin = {("Preoperational", each) for each in ("Initialized", "Halted", "Error")} | {("Halted", "Preoperational")}
    to = {
        State.PREOPERATIONAL: [],
        State.HALTED: [State.HALTED],
        State.ERROR: [State.ERROR],
        State.INITIALIZED: [State.INITIALIZED],
        State.READY: [State.INITIALIZED, State.READY],
        State.SINGLE_EXECUTION: [State.INITIALIZED, State.READY, State.SINGLE_EXECUTION],
        State.CONTINUOUS_EXECUTION: [State.INITIALIZED, State.READY, State.CONTINUOUS_EXECUTION],
    }
    found = set()
    for before in State:
        for after in set(State) - {before}:
            machine = StateMachine()
            for step in to[before]:
                machine.to(step)
            try:
                machine.to(after)
            except ConflictError:
                assert machine.state is before
            else:
                found.add((before.value, after.value))
    assert found == operational | out | into | begin


def test_waiting_for_events_ends_when_one_comes() -> None:
    machine = StateMachine()
    threading.Timer(0.02, machine.to, [State.INITIALIZED]).start()
    (event,) = machine.wait_for(0, PATIENCE)
    assert (event["event"], event["state"]) == ("StateChanged", "Initialized")
    assert machine.wait_for(event["number"], 0) == []


def test_numbers_of_events_rise_over_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    before = StateMachine()
    before.to(State.INITIALIZED)
    before.to(State.READY)
    last = before.snapshot()["events"][-1]["number"]
    assert last < 2**31
    later = time.time() + 10
    monkeypatch.setattr(time, "time", lambda: later)
    after = StateMachine()
    after.to(State.INITIALIZED)
    assert [event["event"] for event in after.wait_for(last, 0)] == ["StateChanged"]
    assert len(after.wait_for(last + 10**6, 0)) == 1  # of a clock that was ahead: as if nothing were known
