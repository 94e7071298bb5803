"""What is kept how long, copies while the station runs, and the way back from a copy.

Retention removes pictures and images first, oldest first, and records last. Decisions of people, the audit log, model
files and good images are never removed.

A backup is one tar file: the database as it was at one moment, the files that it names, and ``SHA256SUMS`` over all of
them. Others read it with ``tar`` and ``sha256sum -c``. It holds the hashes of passwords: keep it like the station.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, astuple, dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final

from blemish.errors import OutputError, SettingError, StationError
from blemish.progress import Progress, silent
from blemish.station import audit
from blemish.station.clock import as_text, as_time, now
from blemish.station.store import (
    DATABASE,
    Store,
    check_database,
    connect,
    forget_files,
    is_damage,
    is_file_of_a_station,
    sync_folder,
)

SETTING: Final = "retention"  # name under which the store keeps the policy
_CLOCK: Final = "retention.clock"
_STEP: Final = timedelta(hours=2)  # by which one run of the retention believes the clock
_DELIVERED_DAYS: Final = 7  # that a delivered result stays in the outbox, for whoever looks for a fault
_MOMENT: Final = 0.5  # seconds in which a file that was just written gets its row
_N_AT_ONCE: Final = 200  # inspections in one transaction, so that those that come in wait for milliseconds
_SUMS: Final = "SHA256SUMS"
_CHUNK: Final = 2**20
MOST_DAYS: Final = 36_500  # a hundred years; far beyond, there are no dates to count back to


@dataclass(frozen=True)
class Retention:
    """How long what is kept; None: for ever."""

    image_days: float | None = None  # images and pictures
    image_bytes: int | None = None  # images and pictures together; the oldest go first
    record_days: float | None = None  # the rows themselves; not shorter than the images

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            SettingError: a number is not above 0, or records would go before their images.
        """
        for name, value in asdict(self).items():
            most = float("inf") if name == "image_bytes" else MOST_DAYS
            if value is not None and not (0 < value <= most and value != float("inf")):
                told = "a number above 0" if name == "image_bytes" else f"days above 0, at most {MOST_DAYS}"
                raise SettingError(f"Retention {name} is {value}; expected {told}, or none.")
        if self.record_days is not None and (self.image_days is None or self.image_days > self.record_days):
            raise SettingError(
                f"Records would go after {self.record_days:g} days, before their images. Give image_days, at most as "
                "many."
            )

    @classmethod
    def of(
        cls, *, image_days: float | None = None, image_gb: float | None = None, record_days: float | None = None
    ) -> Retention:
        """Make a policy of what a person says, in days and in gigabytes of 10^9 bytes.

        Raises:
            SettingError: as for the class.
        """
        if image_gb is not None and not 1e-9 <= image_gb < float("inf"):
            raise SettingError(f"Retention image_gb is {image_gb}; expected a number above 0, or none.")
        return cls(image_days, None if image_gb is None else round(image_gb * 1e9), record_days)

    def sentences(self) -> list[str]:
        """Say it in words, one sentence a line."""
        told = []
        if self.image_days is not None:
            told.append(f"Images and pictures are removed after {self.image_days:g} days.")
        if self.image_bytes is not None:
            told.append(f"Images and pictures take at most {self.image_bytes / 1e9:g} GB; the oldest go first.")
        if self.record_days is not None:
            told.append(f"Records are removed after {self.record_days:g} days.")
        return told or ["Everything is kept for ever."]


@dataclass(frozen=True)
class Removed:
    """What a run of the retention removed."""

    images: int
    pictures: int
    records: int
    bytes: int


def retention_of(store: Store) -> Retention:
    """Return the policy that the station keeps; by default everything stays for ever."""
    return Retention(**store.setting(SETTING, {}))


def set_retention(store: Store, policy: Retention, *, who: str) -> None:
    """Keep a policy; `apply_retention` follows it from then on. Whoever sets it is taken to have a right clock."""
    with store.transaction() as connection:
        store.set_setting(SETTING, asdict(policy), who=who)
        _keep_clock(connection, now())


def apply_retention(
    store: Store, policy: Retention | None = None, *, is_closing: Callable[[], bool] = lambda: False
) -> Removed:
    """Remove what is older or larger than the policy says; to be called every hour.

    The audit log is told before the first file goes, under which policy and by which clock, and afterwards how much
    went: also where the process is killed between the two, it says that something was removed and why.

    A clock that jumps ahead must not empty the station. So the retention has a clock of its own, which follows the
    machine's by two hours in a run at most, and stands still while the machine's lies behind it. While the machine's
    is ahead, each hour removes two hours' worth of the oldest images and no more; a station that stood still for a
    month has caught up after another month.

    Args:
        store: whose files are removed.
        policy: by default `retention_of` the store.
        is_closing: asked between two steps; once true, the rest is left to the next run.

    Raises:
        StorageError: the disk or database refuses; what was removed until then is noted.
    """
    policy = retention_of(store) if policy is None else policy
    at = _advance_clock(store)
    removed = Removed(0, 0, 0, 0)
    has_begun = False
    try:
        for remove in _steps(store, policy, at):
            if is_closing():
                break
            if not has_begun:
                store.note("station", "retention.begin", "", **asdict(policy), clock=as_text(at))
                has_begun = True
            removed = _sum(removed, remove())
    finally:
        if has_begun:
            store.note("station", "retention.run", "", **asdict(removed), clock=as_text(at))
    _remove_delivered(store, at - timedelta(days=_DELIVERED_DAYS))
    return removed


@dataclass(frozen=True)
class Checked:
    """What `check` found."""

    database: str  # what is wrong with it; empty: nothing
    audit: audit.Verified
    n_files: int  # that rows name
    missing: tuple[str, ...]  # named, but not there
    changed: tuple[str, ...]  # there, but not with the bytes that were stored
    unnamed: tuple[str, ...]  # there, but named by no row

    @property
    def is_whole(self) -> bool:
        """Say whether nothing is missing or changed; a file without a row harms nothing."""
        return not (self.database or self.audit.faults or self.missing or self.changed)


def check(
    store: Store, expected: audit.Head | None = None, *, contents: bool = True, progress: Progress = silent
) -> Checked:
    """Look at everything: database, audit log, every file that a row names; while the station runs, too.

    Args:
        store: to look at; nothing is changed.
        expected: a head of the audit log that was noted in another place.
        contents: read every file and compare its SHA-256, which takes as long as reading the disk.
        progress: told how many files are done.
    """
    with store.read() as connection:
        damage = check_database(connection)
        verified = audit.verify_chain(connection, expected)
        n_files = int(connection.execute("SELECT COUNT(*) FROM files").fetchone()[0])
    missing, changed = [], []
    for done, (file, n_bytes, digest) in enumerate(_named_files(store)):
        try:
            is_same = store.path(file).stat().st_size == n_bytes
            if is_same and contents and digest:
                is_same = _digest(store.path(file)) == digest
        except OSError:
            if store.is_named(file):  # else retention has removed it meanwhile
                missing.append(file)
        else:
            if not is_same:
                changed.append(file)
        progress("checking", min(done + 1, n_files), n_files)
    unnamed = tuple(_unnamed_files(store))
    return Checked(damage, verified, n_files, tuple(missing), tuple(changed), unnamed)


# ------------------------------------------------------------------------------------------------------------- backup


@dataclass(frozen=True)
class Backup:
    """What `back_up` wrote."""

    path: Path
    bytes: int
    n_files: int
    head: audit.Head  # of the audit log in it
    missing: tuple[str, ...]  # files that a row names and that were not there


def back_up(store: Store, target: Path | str, *, images: bool = True, who: str, progress: Progress = silent) -> Backup:
    """Write everything into one tar file while the station runs; the file appears whole or not at all.

    Args:
        store: to copy.
        target: the tar file; it must not exist.
        images: with the inspected images and their pictures. Without, the copy has every record, model, good image and
            user, and its records say that the images were removed.
        who: makes the copy.
        progress: told how many files are done.

    Raises:
        OutputError: the file exists or cannot be written.
        StationError: the database is damaged, so that it cannot be copied.
    """
    target = Path(os.path.realpath(target))
    if target.exists():
        raise OutputError(f"{target} exists already. Choose another name; a backup is never overwritten.")
    draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".blemish-") as folder:
            snapshot = Path(folder) / DATABASE
            _copy_database(store, snapshot)
            try:
                written = _write_tar(store, snapshot, draft, images=images, progress=progress)
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
            sync_folder(target.parent)
    except (OSError, sqlite3.OperationalError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{target} cannot be written ({reason}). Choose another place or free space.") from error
    store.note(who, "backup.make", "", name=target.name, images=images, head=str(written[1]))
    return Backup(target, target.stat().st_size, written[0], written[1], written[2])


def restore(backup: Path | str, folder: Path | str, *, who: str, progress: Progress = silent) -> audit.Verified:
    """Make a station from a backup, and check every byte of it before it gets its name.

    Everybody is logged out; users and tokens are as they were. Results that had not been delivered are delivered.
    A model or good image that the station had lost already when it was copied is missing here too, and `check` says so.

    Args:
        backup: file that `back_up` wrote.
        folder: that the station shall have; it must not exist, or be empty.
        who: restores it; the audit log says so.
        progress: told how many files are done.

    Returns:
        What the audit log in it looks like.

    Raises:
        StationError: the backup is truncated, damaged, changed or none; nothing is left behind.
        OutputError: the folder is not empty or cannot be written.
    """
    folder, backup = Path(folder).absolute(), Path(backup)
    _require_readable(backup)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is not empty. Choose a new folder; a station is never overwritten.")
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.restoring")
    try:
        draft.mkdir(parents=True, mode=0o700)
        try:
            _unpack(backup, draft, progress)
            verified = _check_restored(draft, backup)
            with Store(draft) as store, store.transaction() as connection:
                connection.execute("DELETE FROM sessions")
                store.note(who, "station.restore", "", backup=backup.name, head=str(verified.head))
            if folder.exists():
                folder.rmdir()
            draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror or error}). Choose another place or free space."
        ) from error
    return verified


def _copy_database(store: Store, snapshot: Path) -> None:
    """Copy the database as it is at one moment; writers are not held up, for the copy reads an older state."""
    try:
        with (
            closing(sqlite3.connect(snapshot, isolation_level=None)) as copy,
            closing(connect(store.folder / DATABASE, read_only=True)) as original,
        ):
            original.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a journal beside it
            damage = check_database(copy)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise OSError(str(error)) from error
        damage = str(error)
    if damage:
        raise StationError(
            f"The database in {store.folder} is damaged ({damage}), so that a copy of it would be worth nothing. "
            "Restore an earlier backup."
        )


def _write_tar(
    store: Store, snapshot: Path, draft: Path, *, images: bool, progress: Progress
) -> tuple[int, audit.Head, tuple[str, ...]]:
    """Write files, then the database, which says which of them are in, then the sums."""
    sums: list[str] = []
    missing: list[str] = []
    with closing(sqlite3.connect(snapshot, isolation_level=None)) as copy:
        kinds = "" if images else "WHERE kind IN ('good', 'model')"
        n_files = int(copy.execute(f"SELECT COUNT(*) FROM files {kinds}").fetchone()[0])
        files = copy.execute(f"SELECT path FROM files {kinds}")
        with open(draft, "xb", opener=_private) as target, tarfile.open(fileobj=target, mode="w") as archive:
            for done, (file,) in enumerate(files):
                try:
                    source = store.path(file).open("rb")
                except FileNotFoundError:
                    missing.append(file)
                    continue
                with source:
                    sums.append(f"{_add(archive, file, source)}  {file}\n")
                progress("copying", done + 1, n_files)
            _forget(copy, missing, images=images)
            head = audit.head(copy)
            copy.close()
            with snapshot.open("rb") as source:
                sums.append(f"{_add(archive, DATABASE, source)}  {DATABASE}\n")
            _add(archive, _SUMS, io.BytesIO("".join(sums).encode()))
            archive.close()
            target.flush()
            os.fsync(target.fileno())
    return n_files - len(missing), head, tuple(missing)


def _forget(copy: sqlite3.Connection, missing: list[str], *, images: bool) -> None:
    """Let the rows of the copy name no file that is not in it."""
    copy.execute("BEGIN")
    if images:
        forget_files(copy, missing)
    else:
        copy.execute("UPDATE inspections SET image_file = NULL, picture_file = NULL")
    copy.execute("COMMIT")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Hashing(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self.sum = source, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.sum.update(data)
        return data


def _add(archive: tarfile.TarFile, name: str, source: IO[bytes]) -> str:
    entry = tarfile.TarInfo(name)
    entry.size = source.seek(0, os.SEEK_END)
    source.seek(0)
    entry.mtime, entry.mode = int(time.time()), 0o600
    reader = _Hashing(source)
    archive.addfile(entry, reader)
    return reader.sum.hexdigest()


def _require_readable(backup: Path) -> None:
    try:
        backup.open("rb").close()
    except OSError as error:
        raise StationError(f"{backup} cannot be read ({error.strerror}); expected a backup of a station.") from error


def _unpack(backup: Path, draft: Path, progress: Progress) -> None:
    """Take out what the sums name, and nothing else."""
    found: dict[str, str] = {}
    sums: dict[str, str] | None = None
    try:
        n_bytes = backup.stat().st_size
        with tarfile.open(backup, "r:") as archive:
            for entry in archive:
                is_plain = entry.isreg() and not entry.issparse()  # a sparse one may hold more than any disk
                source = archive.extractfile(entry) if is_plain else None
                if source is None or not (entry.name in (DATABASE, _SUMS) or is_file_of_a_station(entry.name)):
                    raise _no_backup(backup, f"it holds {entry.name!r}, which no station has")
                if entry.name == _SUMS:
                    sums = _parsed(source.read().decode())
                    continue
                if entry.name in found:
                    raise _no_backup(backup, f"it holds {entry.name!r} twice")
                found[entry.name] = _take_out(source, draft / PurePosixPath(entry.name))
                progress("restoring", min(entry.offset_data + entry.size, n_bytes), n_bytes)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _no_backup(backup, str(error)) from error
    if sums is None:
        raise _no_backup(backup, f"it is cut off before its {_SUMS}")
    if sums != found:
        names = sorted(name for name in sums.keys() | found.keys() if sums.get(name) != found.get(name))
        raise _no_backup(backup, f"{len(names)} files are missing or were changed, {names[0]} among them")
    if DATABASE not in found:
        raise _no_backup(backup, f"it lacks {DATABASE}")


def _take_out(source: IO[bytes], target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _parsed(text: str) -> dict[str, str]:
    return {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}


def _check_restored(draft: Path, backup: Path) -> audit.Verified:
    """Refuse a database that is damaged or names files that are not there."""
    try:
        with closing(connect(draft / DATABASE)) as connection:
            damage = check_database(connection)
            if damage:
                raise _no_backup(backup, f"its database is damaged: {damage}")
            for file, kind in connection.execute("SELECT path, kind FROM files"):
                may_lack = kind in ("good", "model")  # rows of these cannot say that the file was lost
                if not is_file_of_a_station(file) or not (may_lack or (draft / PurePosixPath(file)).is_file()):
                    raise _no_backup(backup, f"its database names {file}, which is not in it")
            return audit.verify_chain(connection)
    except sqlite3.Error as error:
        raise _no_backup(backup, f"its database is damaged: {error}") from error


def _no_backup(backup: Path, reason: str) -> StationError:
    return StationError(f"{backup} is not a usable backup: {reason}. Take another copy; nothing was restored.")


# ----------------------------------------------------------------------------------------------------------- retention


def _steps(store: Store, policy: Retention, at: datetime) -> Iterator[Callable[[], Removed]]:
    """Yield what removes something, one after the other; each must be called before the next is asked for."""
    if policy.image_days is not None:
        limit = at - timedelta(days=policy.image_days)
        while batch := _oldest_with_files(store, as_text(limit)):
            yield partial(_remove, store, batch)
        if left := _old_unclaimed(store, limit):
            yield partial(_remove_unclaimed, left)
    if policy.image_bytes is not None:
        excess = _n_bytes(store) - policy.image_bytes
        while excess > 0 and (batch := _up_to(_oldest_with_files(store), excess)):
            yield partial(_remove, store, batch)
            excess -= sum(size for _, size in batch)
    if policy.record_days is not None:
        limit = at - timedelta(days=policy.record_days)
        while records := _old_records(store, as_text(limit)):
            yield partial(_remove_records, store, records)


def _advance_clock(store: Store) -> datetime:
    """Return the time that the retention believes in: by its own clock, which never goes back, or an earlier one."""
    wall = now()
    with store.transaction() as connection:
        row = connection.execute("SELECT value FROM settings WHERE name = ?", (_CLOCK,)).fetchone()
        own = wall if row is None else as_time(json.loads(row[0]))
        believed = min(wall, own + _STEP)
        _keep_clock(connection, max(own, believed))
    return believed


def _keep_clock(connection: sqlite3.Connection, at: datetime) -> None:
    query = "INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)"
    connection.execute(query, (_CLOCK, json.dumps(as_text(at))))


def _oldest_with_files(store: Store, before: str | None = None) -> list[tuple[list[str], int]]:
    """Return the files of the oldest inspections that have some, with their bytes."""
    condition, values = ("", ()) if before is None else (" AND at < ?", (before,))
    query = (
        "SELECT image_file, image_bytes, picture_file, picture_bytes FROM inspections "
        f"WHERE (image_file IS NOT NULL OR picture_file IS NOT NULL){condition} ORDER BY sequence LIMIT {_N_AT_ONCE}"
    )
    with store.read() as connection:
        rows = connection.execute(query, values).fetchall()
    pairs = [[(row[0], row[1]), (row[2], row[3])] for row in rows]
    return [
        ([file for file, _ in pair if file is not None], sum(size for file, size in pair if file is not None))
        for pair in pairs
    ]


def _up_to(batch: list[tuple[list[str], int]], n_bytes: int) -> list[tuple[list[str], int]]:
    """Return as many from the beginning as are needed to free so many bytes."""
    taken, freed = [], 0
    for files, size in batch:
        if freed >= n_bytes:
            break
        taken.append((files, size))
        freed += size
    return taken


def _remove(store: Store, batch: list[tuple[list[str], int]]) -> Removed:
    files = [file for files, _ in batch for file in files]
    store.remove_files(files)
    n_images = sum(file.startswith("images/") for file in files)
    return Removed(n_images, len(files) - n_images, 0, sum(size for _, size in batch))


def _old_records(store: Store, before: str) -> list[int]:
    """Return some rows, by their sequence, whose files are gone already."""
    query = (
        "SELECT sequence FROM inspections WHERE at < ? AND image_file IS NULL AND picture_file IS NULL "
        f"LIMIT {_N_AT_ONCE}"
    )
    with store.read() as connection:
        return [int(row[0]) for row in connection.execute(query, (before,))]


def _remove_records(store: Store, records: Sequence[int]) -> Removed:
    """Delete rows; what people decided about them stays."""
    with store.transaction() as connection:
        connection.executemany("DELETE FROM inspections WHERE sequence = ?", [(record,) for record in records])
    return Removed(0, 0, len(records), 0)


def _remove_delivered(store: Store, before: datetime) -> None:
    with store.transaction() as connection:
        connection.execute("DELETE FROM outbox WHERE delivered < ?", (as_text(before),))


def _old_unclaimed(store: Store, before: datetime) -> list[Path]:
    """Return old files that were set aside, because they belong to no row."""
    found = []
    for path in (store.folder / "unclaimed").rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and path.stat().st_mtime < before.timestamp():
                found.append(path)
    return found


def _remove_unclaimed(paths: Sequence[Path]) -> Removed:
    """Delete files that were set aside, as far as the disk lets them go; all count as images."""
    sizes = []
    for path in paths:
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            sizes.append(size)
    return Removed(len(sizes), 0, 0, sum(sizes))


def _n_bytes(store: Store) -> int:
    with store.read() as connection:
        query = "SELECT COALESCE(SUM(bytes), 0) FROM files WHERE kind IN ('image', 'picture')"
        return int(connection.execute(query).fetchone()[0])


def _sum(one: Removed, other: Removed) -> Removed:
    return Removed(*(a + b for a, b in zip(astuple(one), astuple(other), strict=True)))


# --------------------------------------------------------------------------------------------------------------- files


def _named_files(store: Store) -> Iterator[tuple[str, int, str]]:
    """Yield path, bytes and SHA-256 (empty: not known) of every file that a row names, without a long transaction."""
    with store.read() as connection:
        query = "SELECT path, bytes, sha256 FROM files WHERE kind IN ('good', 'model')"
        page = connection.execute(query).fetchall()
    yield from page
    query = (
        "SELECT sequence, image_file, image_bytes, image_sha256, picture_file, picture_bytes FROM inspections "
        "WHERE sequence > ? AND (image_file IS NOT NULL OR picture_file IS NOT NULL) ORDER BY sequence LIMIT 1000"
    )
    last = 0
    while True:
        with store.read() as connection:
            page = connection.execute(query, (last,)).fetchall()
        if not page:
            return
        for _, image, n_image, digest, picture, n_picture in page:
            if image is not None:
                yield image, n_image, digest
            if picture is not None:
                yield picture, n_picture, ""
        last = page[-1][0]


def _files_below(folder: Path) -> Iterator[str]:
    """Yield the files that rows should name, as rows name them."""
    for top in ("parts", "images", "pictures"):
        for path in (folder / top).rglob("*"):
            if path.is_file():
                yield path.relative_to(folder).as_posix()


def _unnamed_files(store: Store) -> list[str]:
    """Return files that no row names; those that are being stored right now get a moment, all of them the same."""
    found = [file for file in _files_below(store.folder) if not store.is_named(file)]
    if found:
        time.sleep(_MOMENT)
    return [file for file in found if not store.is_named(file) and store.path(file).exists()]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
