"""Nothing that was answered is lost, no row names a missing file, and order never depends on the clock."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blemish.errors import ConflictError, NotFoundError, SettingError, StationError, StorageError
from blemish.results import Verdict
from blemish.station import audit
from blemish.station.keeping import check
from blemish.station.store import DATABASE, Filter, NewInspection, Store, StoredInspection


def new(part: str = "cap", data: bytes = b"image", **more: Any) -> NewInspection:
    values: dict[str, Any] = {"verdict": Verdict.GOOD, "score": 1.0, "threshold": 2.0, "result": {"regions": []}}
    return NewInspection(part, 1, "0" * 64, data, ".png", **{**values, **more})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "station") as opened:
        opened.add_part("cap", who="anna")
        opened.add_model("cap", b"model", origin="fit", who="anna", activate=True)
        yield opened


def files_of(folder: Path) -> set[str]:
    tops = ("parts", "images", "pictures", "incoming")
    found = [path for top in tops for path in (folder / top).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix() for path in found}


def damage(database: Path) -> None:
    """Overwrite pages in the middle, as a failing disk does."""
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(database.stat().st_size - 8192))


# ---------------------------------------------------------------------------------------------------------- what it is


def test_what_was_stored_is_there_after_opening_anew(tmp_path: Path) -> None:
    with Store(tmp_path / "station") as store:
        store.add_part("Gehäuse 1", who="anna")
        store.add_model("Gehäuse 1", b"model", origin="fit", who="anna", summary={"n": 3}, activate=True)
        good = store.add_good_image("Gehäuse 1", b"good", ".png", name="../../a.png", who="anna")
        stored = store.add_inspection(new("Gehäuse 1", picture=b"picture", part_id="7", lot_id="L", source="api"))
        decision = store.decide(stored.id, Verdict.DEFECTIVE, who="ben", comment="a scratch")
    with Store(tmp_path / "station") as store:
        assert store.model("Gehäuse 1").summary == {"n": 3}
        assert store.path(store.model("Gehäuse 1").file).read_bytes() == b"model"
        assert store.good_images("Gehäuse 1") == [good]
        assert store.path(good.file).read_bytes() == b"good"
        found = store.inspection(stored.id)
        assert (found.verdict, found.decided, found.final) == (Verdict.GOOD, Verdict.DEFECTIVE, Verdict.DEFECTIVE)
        assert found.image_file is not None
        assert found.picture_file is not None
        assert store.path(found.image_file).read_bytes() == b"image"
        assert store.path(found.picture_file).read_bytes() == b"picture"
        assert store.decisions(stored.id) == [decision]
        assert decision.overrules
        assert check(store).is_whole
        assert check(store).unnamed == ()


def test_the_same_request_is_stored_once(store: Store) -> None:
    first = store.add_inspection(new(request_id="r"))
    again = store.add_inspection(new(data=b"other", request_id="r"))
    assert again == first
    assert store.inspection_of_request("r") == first
    assert len([file for file in files_of(store.folder) if file.startswith("images/")]) == 1


def test_many_threads_at_once_lose_nothing(store: Store) -> None:
    stored: list[StoredInspection] = []

    def work(number: int) -> None:
        for index in range(5):
            stored.append(store.add_inspection(new(data=bytes([number, index]), request_id=f"{index}")))
            store.add_good_image("cap", bytes([index]), ".png", name="", who="anna")
            store.add_model("cap", bytes([number]), origin="accept", who="anna")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 30
    assert {each.sequence for each in stored} == {each.sequence for each in store.inspections()}
    assert len(store.inspections()) == len(store.good_images("cap")) == 5
    assert [model.version for model in store.models("cap")] == list(range(31, 0, -1))
    assert check(store).unnamed == ()
    assert check(store).is_whole


def test_pages_of_the_history_are_whole_and_in_order(store: Store) -> None:
    for index in range(7):
        verdict = Verdict.DEFECTIVE if index % 3 == 0 else Verdict.GOOD
        store.add_inspection(new(verdict=verdict, lot_id="L" if index < 4 else "", score=index))
    found: list[int] = []
    before = None
    while page := store.inspections(before=before, limit=3):
        found += [each.sequence for each in page]
        before = found[-1]
    assert found == [7, 6, 5, 4, 3, 2, 1]
    assert [each.sequence for each in store.inspections(after=4)] == [5, 6, 7]
    assert [each.sequence for each in store.inspections(Filter(verdict=Verdict.DEFECTIVE, lot_id="L"))] == [4, 1]
    assert [each.sequence for each in store.inspections(Filter(least_score=5))] == [7, 6]
    assert store.count() == {Verdict.GOOD: 4, Verdict.UNSURE: 0, Verdict.DEFECTIVE: 3}
    store.decide(store.inspections(before=2)[0].id, Verdict.GOOD, who="ben")
    assert store.count()[Verdict.GOOD] == 5
    assert [each.sequence for each in store.inspections(Filter(overruled=True))] == [1]
    assert [each.sequence for each in store.inspections(Filter(decided=True, final=Verdict.GOOD))] == [1]


def test_rolling_back_goes_one_further_back_each_time(store: Store) -> None:
    for content in (b"2", b"3"):
        store.add_model("cap", content, origin="threshold", who="anna", activate=True)
    assert store.roll_back("cap", who="anna").version == 2
    assert store.roll_back("cap", who="anna").version == 1
    with pytest.raises(ConflictError):
        store.roll_back("cap", who="anna")
    store.activate("cap", 3, who="anna")
    assert store.roll_back("cap", who="anna").version == 1
    assert store.part("cap").active == 1


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "a\\b", ".hidden", "end.", "CON", "nul.txt", "x" * 65, "a\n", "a\0b"]
)
def test_a_name_that_could_lead_elsewhere_is_refused(store: Store, name: str) -> None:
    with pytest.raises(SettingError):
        store.add_part(name, who="anna")


def test_names_that_differ_only_in_case_are_the_same(store: Store) -> None:
    with pytest.raises(ConflictError):
        store.add_part("CAP", who="anna")


def test_what_is_not_there_is_said(store: Store) -> None:
    store.add_part("new", who="anna")
    for look in (
        lambda: store.part("x"),
        lambda: store.model("new"),
        lambda: store.model("cap", 9),
        lambda: store.inspection("x"),
        lambda: store.good_image("x"),
        lambda: store.job(9),
        lambda: store.add_inspection(new("x")),
        lambda: store.decide("x", Verdict.GOOD, who="ben"),
    ):
        with pytest.raises(NotFoundError):
            look()
    assert store.inspections() == []
    assert check(store).unnamed == ()


def test_a_job_keeps_its_states_and_times(store: Store) -> None:
    job = store.add_job("cap", "fit", {"minutes": 5}, who="anna")
    assert (job.state, job.started, job.progress) == ("queued", None, {})
    store.update_job(job.id, state="running", progress={"done": 1})
    done = store.update_job(job.id, state="done", version=1, message="ready")
    assert (done.progress, done.version, done.message) == ({"done": 1}, 1, "ready")
    assert done.started is not None
    assert done.ended is not None
    assert store.jobs(states=["queued", "running"]) == []
    assert [entry.what for entry in audit.entries(store, what="job.")] == ["job.done", "job.running", "job.add"]


def test_the_outbox_gives_in_order_what_is_not_delivered(store: Store) -> None:
    for _ in range(3):
        store.add_inspection(new(), sinks=["hook"], payload=lambda stored: {"sequence": stored.sequence})
    first, second = store.waiting("hook", limit=2)
    assert (first.payload, second.payload) == ({"sequence": 1}, {"sequence": 2})
    store.mark_failed(first.id, "refused", next_try=datetime.now(UTC) + timedelta(minutes=1))
    assert [(each.id, each.attempts, each.error) for each in store.waiting("hook")] == [(first.id, 1, "refused")]
    store.mark_delivered(first.id)
    assert [each.id for each in store.waiting("hook")] == [second.id]
    assert (store.n_waiting("hook"), store.n_waiting(), store.n_waiting("other")) == (2, 2, 0)


def test_a_change_and_its_entry_in_the_log_are_kept_or_lost_together(store: Store) -> None:
    before = audit.entries(store)
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012 - fails after a change on purpose
        store.add_part("other", who="anna")
        raise ZeroDivisionError
    assert [part.name for part in store.parts()] == ["cap"]
    assert audit.entries(store) == before


# -------------------------------------------------------------------------------------------------------------- faults


WRITER = """
import os, sys, threading
from blemish.results import Verdict
from blemish.station.keeping import Retention, apply_retention
from blemish.station.store import NewInspection, Store

store = Store(sys.argv[1])

def inspect():
    while True:
        data = os.urandom(20_000)
        new = NewInspection("cap", 1, "0" * 64, data, ".png", Verdict.GOOD, 1.0, 2.0, {}, picture=data[:999])
        stored = store.add_inspection(new, sinks=["hook"], payload=lambda stored: {"id": stored.id})
        os.write(1, f"{stored.id} {stored.image_sha256}\\n".encode())

def teach():
    while True:
        good = store.add_good_image("cap", os.urandom(999), ".png", name="", who="anna")
        os.write(1, f"{good.id} {good.sha256}\\n".encode())
        model = store.add_model("cap", os.urandom(999), origin="accept", who="anna", activate=True)
        os.write(1, f"{model.version} {model.sha256}\\n".encode())
        apply_retention(store, Retention(image_bytes=500_000))

for work in (inspect, inspect, teach):
    threading.Thread(target=work).start()
"""


def test_a_kill_at_any_moment_loses_nothing_that_was_answered(store: Store) -> None:
    folder = store.folder
    store.close()
    rng = random.Random(0)
    answered: dict[str, str] = {}
    for _ in range(6):
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(rng.random() / 2)
            process.send_signal(signal.SIGKILL)
            lines = (first + process.stdout.read()).decode().splitlines()
        answered |= dict(line.split() for line in lines)
        with Store(folder) as again:
            kept = {each.id: each.image_sha256 for each in again.inspections(limit=10**6)}
            kept |= {each.id: each.sha256 for each in again.good_images("cap")}
            kept |= {str(each.version): each.sha256 for each in again.models("cap")}
            checked = check(again)
            waiting = {each.payload["id"] for each in again.waiting("hook", limit=10**6)}
            assert waiting == {each.id for each in again.inspections(limit=10**6)}
        assert answered.items() <= kept.items()
        assert checked.is_whole, checked
        assert checked.unnamed == ()
        assert list((folder / "incoming").iterdir()) == []
    assert len(answered) > 10


def test_files_that_a_kill_left_without_a_row_are_set_aside(store: Store) -> None:
    store.close()
    file = "images/2026/01/02/0.png"
    left = store.path(file)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    (store.folder / "incoming" / "0.json").write_text(f'["{file}", "../outside", "/etc/passwd"]')
    (store.folder / "incoming" / "1.json").write_text('["images/2026')
    with Store(store.folder) as again:
        assert not left.exists()
        assert (again.folder / "unclaimed" / file).read_bytes() == b"half"
        assert list((again.folder / "incoming").iterdir()) == []


def test_a_file_that_is_gone_at_start_up_is_said_by_its_row_and_in_the_log(store: Store) -> None:
    stored = store.add_inspection(new())
    store.close()
    assert stored.image_file is not None
    store.path(stored.image_file).unlink()
    with Store(store.folder) as again:
        assert again.inspection(stored.id).image_file is None
        assert audit.entries(again, what="file.lost")[0].detail["file"] == stored.image_file
        assert check(again).is_whole


def test_a_full_disk_while_writing_an_image_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = store.add_inspection(new())
    before = files_of(store.folder)

    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("blemish.station.store.os.fsync", no_room)
        for act in (
            lambda: store.add_inspection(new(picture=b"picture")),
            lambda: store.add_good_image("cap", b"good", ".png", name="", who="anna"),
            lambda: store.add_model("cap", b"other", origin="fit", who="anna"),
        ):
            with pytest.raises(StorageError, match="No space left"):
                act()
    assert files_of(store.folder) == before
    assert store.inspections() == [stored]
    assert store.add_inspection(new()).sequence == 2  # and it goes on when there is room again


def test_a_database_that_cannot_grow_leaves_nothing(store: Store) -> None:
    store.add_inspection(new())
    before = files_of(store.folder)
    with store.transaction() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="full"):
        store.add_inspection(new(result={"long": "x" * 100_000}))
    assert files_of(store.folder) == before
    store._writer.execute("PRAGMA max_page_count = 1000000")
    assert store.add_inspection(new()).sequence == 2
    assert check(store).is_whole


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_really_full_leaves_nothing(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        with Store(tmp_path / "station", reserve_bytes=0) as store:
            store.add_part("cap", who="anna")
            store.add_model("cap", b"model", origin="fit", who="anna", activate=True)
            stored = []
            with pytest.raises(StorageError):  # noqa: PT012 - how many fit depends on the system
                while True:
                    stored.append(store.add_inspection(new(data=os.urandom(30_000))))
            with pytest.raises(StorageError):
                store.add_inspection(new(data=os.urandom(1_000_000)))
            assert store.inspections(limit=1000)[::-1] == stored
            assert check(store).is_whole
            assert check(store).unnamed == ()
        with Store(tmp_path / "station", reserve_bytes=0) as again:
            assert len(again.inspections(limit=1000)) == len(stored) > 3
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_room_is_kept_for_the_database(tmp_path: Path) -> None:
    with Store(tmp_path / "station", reserve_bytes=2**60) as store:
        store.add_part("cap", who="anna")
        with pytest.raises(StorageError, match="must stay"):
            store.add_good_image("cap", b"good", ".png", name="", who="anna")
        assert not store.is_writable()
        assert files_of(store.folder) == set()


@pytest.mark.parametrize("begin", [b"", b"this is no database, whatever its name says, " * 99])
def test_a_damaged_database_is_set_aside_and_nothing_is_begun_anew(store: Store, begin: bytes) -> None:
    for _ in range(50):
        store.add_inspection(new(result={"long": "x" * 2000}))
    store.close()
    database = store.folder / DATABASE
    if begin:
        database.write_bytes(begin)
    else:
        damage(database)
    content, images = database.read_bytes(), files_of(store.folder)
    with pytest.raises(StationError, match=r"set aside as station\.sqlite\.damaged-.*Restore"):
        Store(store.folder)
    aside = list(store.folder.glob("*.damaged-*"))
    assert [path.read_bytes() for path in aside if path.stat().st_size] == [content]
    with pytest.raises(StationError, match="Restore a backup"):
        Store(store.folder)
    assert files_of(store.folder) == images
    assert not database.exists()


def test_damage_that_shows_while_it_runs_is_said(store: Store) -> None:
    for _ in range(50):
        store.add_inspection(new(result={"long": "x" * 2000}))
    with store.transaction():
        pass
    store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(store.folder / DATABASE)
    with pytest.raises(StationError, match="damaged"), Store(store.folder, serve=False) as beside:
        beside.inspections(limit=1000)
    assert (store.folder / DATABASE).is_file()  # a command beside the server takes nothing away from it


def test_a_second_server_is_refused_and_the_first_goes_on(store: Store) -> None:
    with pytest.raises(StationError, match="Another server"):
        Store(store.folder)
    code = "import sys; from blemish.station.store import Store; Store(sys.argv[1])"
    other = subprocess.run([sys.executable, "-c", code, store.folder], capture_output=True, text=True, check=False)
    assert "Another server" in other.stderr
    with Store(store.folder, serve=False) as beside:  # a command beside the server may
        beside.set_setting("a", 1, who="anna")
    assert store.setting("a") == 1
    store.add_inspection(new())
    store.close()
    Store(store.folder).close()


def test_order_and_log_do_not_follow_a_clock_that_jumps_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.add_inspection(new())
    store.note("anna", "one")
    shifted = SimpleNamespace(time=lambda: time.time() - 86400, monotonic=time.monotonic)
    monkeypatch.setattr("blemish.station.clock.time", shifted)
    monkeypatch.setattr("blemish.station.store.now", lambda: datetime.now(UTC) - timedelta(days=1))
    second = store.add_inspection(new())
    store.note("anna", "two")
    assert second.at < first.at
    assert [each.id for each in store.inspections()] == [second.id, first.id]
    assert [entry.what for entry in audit.entries(store, limit=3)] == ["two", "clock.jump", "one"]
    assert audit.entries(store, what="clock.jump")[0].detail["seconds"] == pytest.approx(-86400, abs=5)
    assert audit.verify(store).is_whole
    store.close()
    with Store(store.folder) as again:
        assert audit.entries(again, limit=1)[0].what == "clock.behind"


@pytest.mark.parametrize(("version", "remedy"), [(99, "Update Blemish"), (0, "version that made it")])
def test_tables_of_another_version_are_refused_and_left_alone(store: Store, version: int, remedy: str) -> None:
    store.close()
    with contextlib.closing(sqlite3.connect(store.folder / DATABASE)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = (store.folder / DATABASE).read_bytes()
    with pytest.raises(StationError, match=remedy):
        Store(store.folder)
    assert (store.folder / DATABASE).read_bytes() == before


def test_a_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    with pytest.raises(StationError, match="not made by Blemish"):
        Store(tmp_path)


def test_a_folder_without_a_station_is_not_made_one_by_a_command(tmp_path: Path) -> None:
    with pytest.raises(StationError, match="holds no station"):
        Store(tmp_path, serve=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"keep me")
    with pytest.raises(StorageError):
        Store(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"keep me"


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    for act in (store.parts, lambda: store.add_part("x", who="anna")):
        with pytest.raises(StationError, match="closed"):
            act()
