"""Retention removes what it says in the order it says; a backup is whole, and what is not is refused."""

import hashlib
import io
import os
import sqlite3
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blemish.errors import OutputError, SettingError, StationError, StorageError
from blemish.results import Verdict
from blemish.station import audit, keeping
from blemish.station.keeping import (
    Removed,
    Retention,
    apply_retention,
    back_up,
    check,
    restore,
    retention_of,
    set_retention,
)
from blemish.station.people import People, Role
from blemish.station.store import DATABASE, NewInspection, Store, StoredInspection

START = datetime(2026, 5, 1, 6, tzinfo=UTC)
NOTHING = Removed(0, 0, 0, 0)


class Clock:
    """The clock on the wall, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = START
        for module in ("store", "keeping", "people"):
            monkeypatch.setattr(f"blemish.station.{module}.now", lambda: self.at)

    def go(self, **time: float) -> None:
        self.at += timedelta(**time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "station") as opened:
        opened.add_part("cap", who="anna")
        opened.add_model("cap", b"model", origin="fit", who="anna", activate=True)
        opened.add_good_image("cap", b"good", ".png", name="a.png", who="anna")
        yield opened


def add(store: Store, data: bytes = b"image", picture: bytes | None = b"pict", **more: Any) -> StoredInspection:
    new = NewInspection("cap", 1, "0" * 64, data, ".png", Verdict.GOOD, 1.0, 2.0, {"regions": []}, picture=picture)
    return store.add_inspection(replace(new, **more))


def has_files(store: Store) -> list[tuple[bool, bool]]:
    """Say of each inspection, oldest first, whether it has its image and its picture, in its row and on the disk."""
    found = []
    for each in store.inspections(after=0, limit=10**6):
        files = (each.image_file, each.picture_file)
        assert all(file is None or store.path(file).is_file() for file in files)
        found.append((files[0] is not None, files[1] is not None))
    return found


def n_files(store: Store) -> int:
    return sum(path.is_file() for top in ("images", "pictures") for path in (store.folder / top).rglob("*"))


# ----------------------------------------------------------------------------------------------------------- retention


def test_by_default_everything_is_kept(store: Store, clock: Clock) -> None:
    add(store)
    for _ in range(5):
        clock.go(days=365)
        assert apply_retention(store) == NOTHING
    assert has_files(store) == [(True, True)]
    assert retention_of(store) == Retention()
    assert retention_of(store).sentences() == ["Everything is kept for ever."]


def test_images_go_first_and_records_last(store: Store, clock: Clock) -> None:
    stored = add(store)
    store.decide(stored.id, Verdict.DEFECTIVE, who="ben")
    log = len(audit.entries(store))
    policy = Retention(image_days=1, record_days=2)
    set_retention(store, policy, who="anna")
    told = []
    for _ in range(60):
        clock.go(hours=1)
        told.append(apply_retention(store))
    assert [(hour + 1, removed) for hour, removed in enumerate(told) if removed != NOTHING] == [
        (25, Removed(1, 1, 0, 9)),
        (49, Removed(0, 0, 1, 0)),
    ]
    assert store.inspections() == []
    assert [decision.verdict for decision in store.decisions(stored.id)] == [Verdict.DEFECTIVE]
    assert len(audit.entries(store)) == log + 5  # the setting, and begin and end of two runs that removed something
    assert store.path(store.model("cap").file).read_bytes() == b"model"
    assert store.path(store.good_images("cap")[0].file).read_bytes() == b"good"
    assert n_files(store) == 0
    assert check(store).is_whole


def test_a_number_of_a_removed_record_is_never_given_again(store: Store, clock: Clock) -> None:
    last = add(store)
    set_retention(store, Retention(image_days=0.01, record_days=0.01), who="anna")
    clock.go(hours=1)
    assert apply_retention(store).records == 1
    assert add(store).sequence == last.sequence + 1


def test_the_oldest_go_until_the_rest_fits(store: Store) -> None:
    for _ in range(10):
        add(store, b"x" * 60, b"y" * 40)
    assert apply_retention(store, Retention(image_bytes=1000)) == NOTHING
    assert apply_retention(store, Retention(image_bytes=999)) == Removed(1, 1, 0, 100)
    assert apply_retention(store, Retention(image_bytes=650)) == Removed(3, 3, 0, 300)
    assert has_files(store) == [(False, False)] * 4 + [(True, True)] * 6
    assert apply_retention(store, Retention(image_bytes=1)) == Removed(6, 6, 0, 600)
    assert len(store.inspections()) == 10


def test_the_limits_hold_for_more_than_one_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_N_AT_ONCE", 3)
    for _ in range(10):
        add(store, b"x" * 60, b"y" * 40)
    assert apply_retention(store, Retention(image_bytes=250)).images == 8
    policy = Retention(image_days=1e-9, record_days=1e-9)
    assert apply_retention(store, policy) == Removed(2, 2, 10, 200)


def test_a_record_whose_image_is_still_there_stays(store: Store) -> None:
    add(store)
    with pytest.raises(SettingError, match="before their images"):
        Retention(record_days=1)
    with pytest.raises(SettingError, match="before their images"):
        Retention(image_days=2, record_days=1)
    assert keeping._old_records(store, "9999") == []


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), -float("inf"), 1e9])
@pytest.mark.parametrize("name", ["image_days", "image_bytes", "record_days"])
def test_a_policy_that_makes_no_sense_is_refused(name: str, value: float) -> None:
    if (name, value) == ("image_bytes", 1e9):
        return
    values: dict[str, Any] = {"image_days": 1.0, name: value}
    with pytest.raises(SettingError, match=rf"{name} is .*; expected"):
        Retention(**values)


@pytest.mark.parametrize("value", [0, 1e-10, -1, float("nan"), float("inf")])
def test_gigabytes_that_make_no_sense_are_refused(value: float) -> None:
    with pytest.raises(SettingError, match="image_gb"):
        Retention.of(image_gb=value)


def test_the_largest_policy_can_be_followed(store: Store) -> None:
    policy = Retention(image_days=36_500, record_days=36_500)
    add(store)
    assert apply_retention(store, policy) == NOTHING


def test_a_policy_is_said_in_words() -> None:
    policy = Retention.of(image_days=30, image_gb=0.5, record_days=400)
    assert policy == Retention(30, 500_000_000, 400)
    assert policy.sentences() == [
        "Images and pictures are removed after 30 days.",
        "Images and pictures take at most 0.5 GB; the oldest go first.",
        "Records are removed after 400 days.",
    ]


def test_what_was_delivered_leaves_the_outbox_and_what_was_not_stays(store: Store, clock: Clock) -> None:
    for _ in range(2):
        new = NewInspection("cap", 1, "0" * 64, b"i", ".png", Verdict.GOOD, 1.0, 2.0, {})
        store.add_inspection(new, sinks=["hook"], payload=lambda stored: {"id": stored.id})
    apply_retention(store)
    first, second = store.waiting("hook", limit=2)
    store.mark_delivered(first.id)
    for _ in range(24 * 9):
        clock.go(hours=1)
        apply_retention(store)
    with store.read() as connection:
        assert connection.execute("SELECT id FROM outbox").fetchall() == [(second.id,)]


def test_what_was_set_aside_goes_with_the_images(store: Store) -> None:
    old, young = store.folder / "unclaimed" / "images" / "a.png", store.folder / "unclaimed" / "b.png"
    for path in (old, young):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"whose?")
    before = datetime.now(UTC).timestamp() - 2 * 86400
    os.utime(old, (before, before))
    apply_retention(store, Retention(image_days=1))
    assert (old.exists(), young.exists()) == (False, True)


def test_what_was_removed_before_the_disk_refused_is_noted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_N_AT_ONCE", 1)
    add(store)
    stuck = add(store)
    add(store)
    assert stuck.image_file is not None
    path = store.path(stuck.image_file)
    path.unlink()
    path.mkdir()  # what no `unlink` removes
    with pytest.raises(StorageError):
        apply_retention(store, Retention(image_bytes=1))
    entry = audit.entries(store, what="retention.run")[0]
    assert (entry.who, entry.detail["images"], entry.detail["bytes"]) == ("station", 1, 9)
    assert len(list((store.folder / "incoming").iterdir())) == 1  # what is left is settled at the next start
    assert apply_retention(store, Retention(image_bytes=1)).images == 1
    path.rmdir()
    path.write_bytes(b"left")
    store.close()
    with Store(store.folder) as again:
        assert (again.folder / "unclaimed" / stuck.image_file).read_bytes() == b"left"
        assert check(again).unnamed == ()
        assert check(again).is_whole


def test_what_is_about_to_go_is_noted_before_it_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    policy = Retention(image_bytes=1)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "remove_files", killed)
        with pytest.raises(KeyboardInterrupt):
            apply_retention(store, policy)
    entry = audit.entries(store, what="retention.begin")[0]
    assert (entry.who, entry.detail["image_bytes"], entry.detail["image_days"]) == ("station", 1, None)
    assert apply_retention(store, policy).images == 1
    apply_retention(store, policy)  # which has nothing to do, and says nothing
    assert len(audit.entries(store, what="retention.begin")) == len(audit.entries(store, what="retention.run")) == 2


def test_retention_leaves_the_rest_when_the_station_closes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_N_AT_ONCE", 1)
    for _ in range(3):
        add(store)
    asked = iter((False, True))
    assert apply_retention(store, Retention(image_bytes=1), is_closing=lambda: next(asked)).images == 1
    assert apply_retention(store, Retention(image_bytes=1)).images == 2


# --------------------------------------------------------------------------------------------------- clock of retention


def test_a_clock_that_jumps_ahead_removes_two_hours_worth_a_run(store: Store, clock: Clock) -> None:
    set_retention(store, Retention(image_days=3), who="anna")
    for _ in range(3 * 24):  # three days of one image an hour
        add(store, b"i", None)
        clock.go(hours=1)
        apply_retention(store)
    assert has_files(store) == [(True, False)] * 72
    clock.go(days=3650)
    assert [apply_retention(store).images for _ in range(5)] == [2, 2, 2, 2, 2]
    clock.at = START + timedelta(days=3, hours=1)  # it was set right again: and nothing more goes than should
    assert apply_retention(store) == NOTHING
    assert len(store.inspections(limit=1000)) == 72
    clock.go(hours=10)
    assert [apply_retention(store).images for _ in range(2)] == [1, 0]


def test_a_station_that_stood_still_for_a_month_catches_up_in_another(store: Store, clock: Clock) -> None:
    set_retention(store, Retention(image_days=1), who="anna")
    clock.go(days=30)
    hours = 0
    while keeping._advance_clock(store) < clock.at:
        clock.go(hours=1)
        hours += 1
    assert hours == 30 * 24 - 2  # of two hours in each run one is its own; the first run had two to itself


def test_a_clock_that_jumps_back_removes_nothing(store: Store, clock: Clock) -> None:
    set_retention(store, Retention(image_days=1), who="anna")
    for _ in range(5):
        add(store)
    clock.go(days=-3650)
    assert apply_retention(store) == NOTHING
    clock.go(days=3650)
    assert apply_retention(store) == NOTHING
    assert has_files(store) == [(True, True)] * 5
    clock.go(days=1, hours=1)  # now they are too old; a clock that was wrong before must not keep them for years
    assert sum(apply_retention(store).images for _ in range(13)) == 5


def test_who_sets_a_policy_sets_its_clock(store: Store, clock: Clock) -> None:
    set_retention(store, Retention(image_days=100), who="anna")
    add(store)
    clock.go(days=30)
    apply_retention(store)
    set_retention(store, Retention(image_days=10), who="anna")
    assert apply_retention(store).images == 1
    entry = audit.entries(store, what="setting.set")[0]
    assert (entry.who, entry.detail["name"], entry.detail["to"]["image_days"]) == ("anna", "retention", 10)


# --------------------------------------------------------------------------------------------------------------- check


def test_check_finds_what_is_missing_changed_or_unnamed(store: Store) -> None:
    gone, changed, cut = add(store), add(store), add(store)
    assert check(store).n_files == 8
    assert check(store).is_whole
    files = [gone.picture_file, changed.image_file, cut.picture_file]
    paths = [store.path(str(file)) for file in files]
    paths[0].unlink()
    paths[1].write_bytes(b"imaGe")
    paths[2].write_bytes(b"")
    store.path(store.model("cap").file).write_bytes(b"Model")
    (store.folder / "images" / "stranger.png").write_bytes(b"?")
    found = check(store)
    assert found.missing == (files[0],)
    assert found.changed == ("parts/cap/models/1.blemish", files[1], files[2])
    assert found.unnamed == ("images/stranger.png",)
    assert not found.is_whole
    assert check(store, contents=False).changed == (files[2],)


def test_check_finds_a_broken_audit_log(store: Store) -> None:
    noted = audit.verify(store).head
    assert check(store, noted).is_whole
    found = check(store, replace(noted, hash="0" * 64))
    assert len(found.audit.faults) == 1
    assert not found.is_whole


def test_many_files_without_a_row_are_waited_for_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("blemish.station.keeping.time.sleep", waits.append)
    for number in range(50):
        (store.folder / "images" / f"{number}.png").write_bytes(b"?")
    assert len(check(store).unnamed) == 50
    assert len(waits) == 1


# -------------------------------------------------------------------------------------------------------------- backup


def rows_of(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables but those that a restore changes on purpose."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = sorted(set(tables) - {"audit", "sessions", "sqlite_sequence"})
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in kept}


def bytes_of(folder: Path) -> dict[str, bytes]:
    paths = [path for top in ("parts", "images", "pictures") for path in (folder / top).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def fill(store: Store) -> None:
    for number in range(4):
        stored = add(store, os.urandom(3000), os.urandom(500), part_id=f"{number}")
    store.decide(stored.id, Verdict.DEFECTIVE, who="ben", comment="a scratch")
    set_retention(store, Retention(image_days=30), who="anna")


@pytest.fixture
def backup(store: Store, tmp_path: Path) -> Path:
    fill(store)
    return back_up(store, tmp_path / "backup.tar", who="anna").path


def test_a_restored_station_is_the_same(store: Store, tmp_path: Path) -> None:
    fill(store)
    staff = People(store)
    staff.add_user("anna", "three words in a row", Role.ADMIN, who="local")
    cookie, _ = staff.log_in("anna", "three words in a row")
    token, _ = staff.add_token("camera", Role.OPERATOR, who="anna")
    head = audit.verify(store).head
    made = back_up(store, tmp_path / "backup.tar", who="anna")
    assert (made.n_files, made.missing, made.head) == (10, (), head)
    assert made.bytes == made.path.stat().st_size
    assert audit.entries(store, limit=1)[0].detail["head"] == str(head)
    assert restore(made.path, tmp_path / "again", who="ben") == audit.Verified(head, ())
    assert rows_of(tmp_path / "again") == rows_of(store.folder)
    assert bytes_of(tmp_path / "again") == bytes_of(store.folder)
    with Store(tmp_path / "again") as again:
        assert check(again, head).is_whole
        assert check(again).unnamed == ()
        entry = audit.entries(again, limit=1)[0]
        assert (entry.who, entry.what, entry.detail["head"]) == ("ben", "station.restore", str(head))
        assert People(again).session(cookie) is None  # everybody is logged out
        assert People(again).token(token) is not None
        assert add(again).sequence == 5  # and it goes on
    if os.name != "nt":
        assert made.path.stat().st_mode & 0o077 == 0
        assert (tmp_path / "again").stat().st_mode & 0o077 == 0


def test_the_sums_in_a_backup_are_those_of_sha256sum(backup: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xf", backup, "-C", out], check=True)
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=out, check=True)
    listed = (out / "SHA256SUMS").read_text().splitlines()
    assert len(listed) == sum(path.is_file() for path in out.rglob("*")) - 1


def test_a_backup_while_others_write_is_whole(store: Store, tmp_path: Path) -> None:
    stop = threading.Event()
    answered: list[str] = []

    def work() -> None:
        while not stop.is_set():
            answered.append(add(store, os.urandom(2000)).id)
            store.decide(answered[-1], Verdict.GOOD, who="ben")
            store.add_good_image("cap", os.urandom(99), ".png", name="", who="anna")
            if len(answered) % 5 == 0:
                apply_retention(store, Retention(image_bytes=40_000))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(3):
            before = list(answered)
            made = back_up(store, tmp_path / f"{number}.tar", who="anna")
            verified = restore(made.path, tmp_path / f"{number}", who="anna")
            assert verified == audit.Verified(made.head, ())
            with Store(tmp_path / f"{number}") as again:
                kept = {each.id for each in again.inspections(limit=10**6)}
                assert set(before) <= kept  # whatever was answered before it began is in it
                found = check(again)
                assert found.is_whole
                assert found.unnamed == ()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert check(store).is_whole


def test_a_backup_without_images_says_so_in_its_records(store: Store, tmp_path: Path) -> None:
    fill(store)
    made = back_up(store, tmp_path / "small.tar", images=False, who="anna")
    assert made.n_files == 2
    restore(made.path, tmp_path / "again", who="anna")
    with Store(tmp_path / "again") as again:
        assert has_files(again) == [(False, False)] * 4
        assert again.model("cap") == store.model("cap")
        assert check(again).is_whole


def test_a_lost_model_file_neither_stops_a_backup_nor_its_restore(store: Store, tmp_path: Path) -> None:
    lost = store.model("cap").file
    store.path(lost).unlink()
    made = back_up(store, tmp_path / "backup.tar", who="anna")
    assert made.missing == (lost,)
    restore(made.path, tmp_path / "again", who="anna")
    with Store(tmp_path / "again") as again:
        assert check(again).missing == (lost,)


def test_a_backup_never_overwrites(backup: Path, store: Store, tmp_path: Path) -> None:
    before = backup.read_bytes()
    with pytest.raises(OutputError, match="never overwritten"):
        back_up(store, backup, who="anna")
    with pytest.raises(OutputError, match="cannot be written"):
        back_up(store, tmp_path / "no" / "such" / "folder.tar", who="anna")
    assert backup.read_bytes() == before


def test_a_backup_that_fails_half_way_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    target = tmp_path / "copies" / "backup.tar"
    target.parent.mkdir()

    def no_room(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "_add", no_room)
    with pytest.raises(OutputError, match="No space left"):
        back_up(store, target, who="anna")
    assert list(target.parent.iterdir()) == []
    assert audit.entries(store, what="backup.make") == []


def test_a_damaged_database_is_not_copied(store: Store, tmp_path: Path) -> None:
    for _ in range(50):
        add(store, result={"long": "x" * 2000})
    store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database = store.folder / DATABASE
    with database.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(database.stat().st_size - 12288))
    with pytest.raises(StationError, match="damaged"):
        back_up(store, tmp_path / "backup.tar", who="anna")
    assert [path.name for path in tmp_path.iterdir()] == ["station"]


# ------------------------------------------------------------------------------------------------------------- restore


def refuse(backup: Path, folder: Path, match: str) -> None:
    """Restore in vain, and leave nothing behind."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(StationError, match=match):
        restore(backup, folder, who="anna")
    assert sorted(folder.parent.iterdir()) == before


def test_every_changed_byte_of_the_content_is_found(backup: Path, tmp_path: Path) -> None:
    content = backup.read_bytes()
    with tarfile.open(backup) as archive:
        places = [(entry.name, entry.offset_data + entry.size // 2) for entry in archive]
    assert len(places) == 12
    for name, place in places:
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        backup.write_bytes(spoilt)
        refuse(backup, tmp_path / "again", "not a usable backup")
        assert name
    backup.write_bytes(content)
    restore(backup, tmp_path / "again", who="anna")


def test_a_truncated_backup_is_refused_wherever_it_ends(backup: Path, tmp_path: Path) -> None:
    content = backup.read_bytes()
    with tarfile.open(backup) as archive:
        ends = [place for entry in archive for place in (entry.offset, entry.offset_data, entry.offset_data + 1)]
    for end in [*ends, 0, 1, 511]:
        backup.write_bytes(content[:end])
        refuse(backup, tmp_path / "again", "not a usable backup")


Member = tuple[tarfile.TarInfo, bytes]


def rewritten(backup: Path, change: Callable[[list[Member]], list[Member]]) -> None:
    """Write the tar anew with other members and sums that fit them, as somebody who means harm would."""
    with tarfile.open(backup) as archive:
        members = [(entry, archive.extractfile(entry).read()) for entry in archive]  # type: ignore[union-attr]
    members = change([member for member in members if member[0].name != "SHA256SUMS"])
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {entry.name}\n" for entry, data in members)
    with tarfile.open(backup, "w") as archive:
        for entry, data in [*members, (tarfile.TarInfo("SHA256SUMS"), sums.encode())]:
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data) if entry.isreg() else None)


def member(name: str, data: bytes = b"evil", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry, data if kind == tarfile.REGTYPE else b""


@pytest.mark.parametrize(
    "slipped_in",
    [
        *(
            member(name)
            for name in ("../evil", "images/../../evil", "/tmp/evil", "images/..", "evil", "lock", "images")
        ),
        *(member(name) for name in ("images\\..\\evil", "station.sqlite-wal", "incoming/0.json", "./images/../x")),
        member("images/evil", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        member("images/evil", kind=tarfile.LNKTYPE, link=DATABASE),
        member("images/evil", kind=tarfile.DIRTYPE),
        member("images/evil", kind=tarfile.FIFOTYPE),
        member("images/evil", kind=tarfile.CHRTYPE),
    ],
    ids=lambda each: f"{each[0].name} {each[0].type!r}",
)
def test_a_member_that_could_lead_elsewhere_is_refused(backup: Path, tmp_path: Path, slipped_in: Member) -> None:
    rewritten(backup, lambda members: [slipped_in, *members])
    refuse(backup, tmp_path / "again", "which no station has")


def test_a_small_file_that_says_it_is_huge_is_refused(backup: Path, tmp_path: Path) -> None:
    def hollow(members: list[Member]) -> list[Member]:
        entry, data = member("images/evil", b"")
        entry.pax_headers = {
            "GNU.sparse.size": str(2**50),
            "GNU.sparse.numblocks": "1",
            "GNU.sparse.map": f"{2**50},0",
        }
        return [(entry, data), *members]

    rewritten(backup, hollow)
    refuse(backup, tmp_path / "again", "which no station has")


def test_a_member_that_comes_twice_is_refused(backup: Path, tmp_path: Path) -> None:
    rewritten(backup, lambda members: [members[0], *members])
    refuse(backup, tmp_path / "again", "twice")


def test_a_backup_that_lacks_a_file_or_the_database_is_refused(backup: Path, tmp_path: Path) -> None:
    with tarfile.open(backup) as archive:
        image = next(name for name in archive.getnames() if name.startswith("images/"))
    content = backup.read_bytes()
    rewritten(backup, lambda members: [each for each in members if each[0].name != image])
    refuse(backup, tmp_path / "again", f"names {image}, which is not in it")
    backup.write_bytes(content)
    rewritten(backup, lambda members: [each for each in members if each[0].name != DATABASE])
    refuse(backup, tmp_path / "again", f"lacks {DATABASE}")


def test_a_database_that_names_files_elsewhere_is_refused(backup: Path, tmp_path: Path) -> None:
    def led_astray(members: list[Member]) -> list[Member]:
        database = tmp_path / "draft.sqlite"
        database.write_bytes(next(data for entry, data in members if entry.name == DATABASE))
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("UPDATE models SET file = 'parts/../../../etc/passwd'")
            connection.commit()
        data = database.read_bytes()
        database.unlink()
        return [(entry, data if entry.name == DATABASE else old) for entry, old in members]

    rewritten(backup, led_astray)
    refuse(backup, tmp_path / "again", "which is not in it")


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 99, b"\0" * 10240, b"PK\x03\x04" + b"x" * 999])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "backup.tar").write_bytes(content)
    refuse(tmp_path / "backup.tar", tmp_path / "again", "not a usable backup")


def test_a_backup_that_is_not_there_is_said(tmp_path: Path) -> None:
    refuse(tmp_path / "none.tar", tmp_path / "again", "No such file")
    refuse(tmp_path, tmp_path / "again", "cannot be read")


def test_a_station_is_never_overwritten(backup: Path, store: Store, tmp_path: Path) -> None:
    before = bytes_of(store.folder)
    (tmp_path / "file").write_bytes(b"keep me")
    for folder in (store.folder, tmp_path / "file"):
        with pytest.raises(OutputError, match="never overwritten"):
            restore(backup, folder, who="anna")
    assert bytes_of(store.folder) == before
    assert (tmp_path / "file").read_bytes() == b"keep me"


def test_an_empty_folder_may_be_restored_into(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    restore(backup, tmp_path / "empty", who="anna")
    restore(backup, tmp_path / "new" / "below", who="anna")
    assert bytes_of(tmp_path / "empty") == bytes_of(tmp_path / "new" / "below")


def test_a_backup_of_a_broken_log_is_restored_and_says_so(backup: Path, store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store.folder / DATABASE)) as connection:
        connection.execute("DROP TRIGGER audit_is_never_changed")
        connection.execute("UPDATE audit SET who = 'nobody' WHERE sequence = 2")
        connection.commit()
    made = back_up(store, tmp_path / "broken.tar", who="anna")
    assert restore(made.path, tmp_path / "again", who="anna").faults == ("Entry 2 was changed after it was written.",)
