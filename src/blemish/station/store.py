"""The folder of a station: one database, the image files beside it, and the rules by which nothing is lost.

    station.sqlite     SQLite in WAL mode; every commit is on the disk before the call returns
    lock               held by the one server of this folder as long as it lives
    parts/KEY/good/    good images of a part, the very bytes that came
    parts/KEY/models/  its model files, VERSION.blemish; none is ever changed or overwritten
    images/YYYY/MM/DD/ inspected images, the very bytes that came
    pictures/...       overlays of them, small JPEGs
    incoming/          notes of files that are being written, empty when nothing is
    unclaimed/         files whose row was never committed, because the process was killed between the two

What is guaranteed, whenever the process is killed:

- What a method returned is stored. Files are on the disk before the row that names them is committed.
- No row names a missing file; after the folder was opened by a server, no file is without a row.
- Nothing is deleted but by `keeping`; what cannot be told to belong to anything is set aside, not deleted.
- Order is told by ``sequence``, which only grows, never by the clock.

A `Store` may be used from many threads. One process serves a folder at a time; others may open it beside the server
with ``serve=False``, as ``blemish station`` does.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self, TypeVar

from blemish.errors import BlemishError, ConflictError, NotFoundError, SettingError, StationError, StorageError
from blemish.images import IMAGE_SUFFIXES
from blemish.locks import take
from blemish.results import Verdict
from blemish.station import audit
from blemish.station.clock import JumpWatch, as_text, as_time, now

DATABASE: Final = "station.sqlite"
SCHEMA_VERSION: Final = 1  # raised with every change of the tables
RESERVE_BYTES: Final = 64 * 2**20  # of the disk that stay free of images, so that the database can still be written
_APPLICATION_ID: Final = 0x626C656D  # "blem", in the header of the database: no other program's file is opened
_BUSY_SECONDS: Final = 20  # how long to wait for another process that writes, such as a command beside the server
_N_CHECKED: Final = 1000  # newest inspections whose files are looked for at start-up
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NO_ROOM: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
NAME: Final = re.compile(r"\w(?:[\w .+-]{0,62}\w)?")
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # names that Windows keeps for devices
_FINAL: Final = "COALESCE(decided, verdict)"  # in SQL: what counts
_DECIDED: Final = frozenset({Verdict.GOOD.value, Verdict.DEFECTIVE.value})

JOB_STATES: Final = ("queued", "running", "done", "failed", "cancelled", "interrupted")
ORIGINS: Final = ("fit", "enroll", "threshold", "zones", "accept", "upload", "demo")

_SCHEMA: Final = """
CREATE TABLE parts (
    name TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL,
    active INTEGER,
    archived INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE good_images (
    id TEXT PRIMARY KEY,
    part TEXT NOT NULL REFERENCES parts (name),
    name TEXT NOT NULL,
    file TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created TEXT NOT NULL,
    who TEXT NOT NULL,
    used INTEGER NOT NULL DEFAULT 1,
    UNIQUE (part, sha256)
);
CREATE TABLE models (
    part TEXT NOT NULL REFERENCES parts (name),
    version INTEGER NOT NULL,
    file TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created TEXT NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    origin TEXT NOT NULL,
    parent INTEGER,
    summary TEXT NOT NULL,
    PRIMARY KEY (part, version)
);
CREATE TABLE activations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    part TEXT NOT NULL,
    version INTEGER NOT NULL,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    back INTEGER NOT NULL,
    FOREIGN KEY (part, version) REFERENCES models (part, version)
);
CREATE TABLE inspections (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    request_id TEXT UNIQUE,
    part TEXT NOT NULL,
    version INTEGER NOT NULL,
    model_sha256 TEXT NOT NULL,
    at TEXT NOT NULL,
    part_id TEXT NOT NULL,
    lot_id TEXT NOT NULL,
    source TEXT NOT NULL,
    verdict TEXT NOT NULL,
    decided TEXT,
    score REAL NOT NULL,
    threshold REAL NOT NULL,
    seconds REAL NOT NULL,
    result TEXT NOT NULL,
    image_sha256 TEXT NOT NULL,
    image_bytes INTEGER NOT NULL,
    image_file TEXT,
    picture_bytes INTEGER NOT NULL,
    picture_file TEXT,
    FOREIGN KEY (part, version) REFERENCES models (part, version)
);
CREATE INDEX inspections_of_part ON inspections (part, sequence);
CREATE INDEX inspections_at ON inspections (at);
CREATE INDEX inspections_of_lot ON inspections (lot_id) WHERE lot_id != '';
CREATE INDEX inspections_of_part_id ON inspections (part_id) WHERE part_id != '';
CREATE INDEX inspections_with_files ON inspections (sequence)
    WHERE image_file IS NOT NULL OR picture_file IS NOT NULL;
CREATE INDEX inspections_stopped ON inspections (verdict, sequence) WHERE verdict != 'good';
CREATE UNIQUE INDEX inspections_with_image ON inspections (image_file) WHERE image_file IS NOT NULL;
CREATE UNIQUE INDEX inspections_with_picture ON inspections (picture_file) WHERE picture_file IS NOT NULL;
CREATE TABLE decisions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    inspection TEXT NOT NULL,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    found TEXT NOT NULL,
    verdict TEXT,
    comment TEXT NOT NULL
);
CREATE INDEX decisions_of_inspection ON decisions (inspection);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    part TEXT NOT NULL REFERENCES parts (name),
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    options TEXT NOT NULL,
    progress TEXT NOT NULL,
    message TEXT NOT NULL,
    version INTEGER,
    who TEXT NOT NULL,
    created TEXT NOT NULL,
    started TEXT,
    ended TEXT
);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    payload TEXT NOT NULL,
    created TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    delivered TEXT
);
CREATE INDEX outbox_delivered ON outbox (delivered) WHERE delivered IS NOT NULL;
CREATE INDEX outbox_waiting ON outbox (sink, id) WHERE delivered IS NULL;
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    password TEXT NOT NULL,
    created TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE sessions (
    hash TEXT PRIMARY KEY,
    user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    csrf TEXT NOT NULL,
    created TEXT NOT NULL,
    expires TEXT NOT NULL
);
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    hash TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    created TEXT NOT NULL,
    who TEXT NOT NULL,
    revoked TEXT
);
CREATE VIEW files AS
    SELECT image_file AS path, image_bytes AS bytes, image_sha256 AS sha256, 'image' AS kind
        FROM inspections WHERE image_file IS NOT NULL
    UNION ALL SELECT picture_file, picture_bytes, '', 'picture' FROM inspections WHERE picture_file IS NOT NULL
    UNION ALL SELECT file, bytes, sha256, 'good' FROM good_images
    UNION ALL SELECT file, bytes, sha256, 'model' FROM models;
"""


@dataclass(frozen=True)
class Part:
    """A category of parts that one model judges."""

    name: str
    created: datetime
    active: int | None  # version of the model that inspects; None: not taught yet
    archived: bool  # not shown any more; everything of it is kept


@dataclass(frozen=True)
class GoodImage:
    """A good image to teach a part from."""

    id: str  # 24 hexadecimal digits
    part: str
    name: str  # of the file as it came, for people; never used as a path
    file: str  # below the folder of the station, with slashes; `Store.path` gives the whole path
    sha256: str
    bytes: int
    created: datetime
    who: str
    used: bool  # False: a person took it out; it is kept, but not learned from


@dataclass(frozen=True)
class ModelVersion:
    """One model file of a part. It never changes: another threshold or other zones are another version."""

    part: str
    version: int  # 1, 2, 3, ... of this part
    file: str  # below the folder of the station
    sha256: str  # of the file
    bytes: int
    created: datetime
    who: str
    why: str
    origin: str  # one of ORIGINS: how it was made
    parent: int | None  # version that it was made from; None: from images alone
    summary: dict[str, Any]  # plain JSON for lists: threshold, number of images and the like


@dataclass(frozen=True)
class Activation:
    """A version was made the one that inspects."""

    sequence: int
    part: str
    version: int
    at: datetime
    who: str
    why: str
    back: bool  # by rolling back


@dataclass(frozen=True)
class NewInspection:
    """What `Store.add_inspection` is given."""

    part: str
    version: int  # of the model that judged
    model_sha256: str  # of its file
    data: bytes  # of the image file, as they came
    suffix: str  # one of `images.IMAGE_SUFFIXES`, found by decoding, never taken from a name
    verdict: Verdict
    score: float
    threshold: float
    result: Mapping[str, Any]  # `results.Inspection.to_dict()`, and whatever else is plain JSON
    picture: bytes | None = None  # overlay, JPEG; None: none was drawn
    part_id: str = ""  # serial number of the one part
    lot_id: str = ""
    source: str = ""  # who or what brought it: "api", "folder:NAME", a user
    seconds: float = 0.0  # that the inspection took
    request_id: str | None = None  # chosen by the client; the same one again gives the stored inspection, not a second


@dataclass(frozen=True)
class StoredInspection:
    """An inspection as it is kept. The verdict of the model never changes; what a person decided stands beside it."""

    sequence: int  # grows with every inspection of the station, never used twice
    id: str  # 24 hexadecimal digits, not to be guessed
    request_id: str | None
    part: str
    version: int
    model_sha256: str
    at: datetime  # when it was stored, UTC
    part_id: str
    lot_id: str
    source: str
    verdict: Verdict
    decided: Verdict | None  # the last decision of a person; None: nobody decided
    score: float
    threshold: float
    seconds: float
    result: dict[str, Any]
    image_sha256: str
    image_bytes: int
    image_file: str | None  # below the folder of the station; None: removed by retention
    picture_bytes: int
    picture_file: str | None

    @property
    def final(self) -> Verdict:
        """What counts: the decision of a person where there is one, else the verdict."""
        return self.decided or self.verdict


@dataclass(frozen=True)
class Decision:
    """What a person said about an inspection; all of them are kept, the last verdict counts."""

    sequence: int
    inspection: str  # id
    at: datetime
    who: str
    found: Verdict  # verdict of the model
    verdict: Verdict | None  # good or defective; None: a comment alone
    comment: str

    @property
    def overrules(self) -> bool:
        """Say whether the person decided otherwise than the model."""
        return self.verdict is not None and self.verdict is not self.found


@dataclass(frozen=True)
class Job:
    """Teaching that runs beside the inspection."""

    id: int
    part: str
    kind: str  # "fit", "enroll" and the like
    state: str  # one of JOB_STATES
    options: dict[str, Any]
    progress: dict[str, Any]  # plain JSON: stage, done, total, note; empty before the first step
    message: str  # what went wrong, or what came out
    version: int | None  # of the model that it made
    who: str
    created: datetime
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Delivery:
    """A result that waits in the outbox for its sink."""

    id: int
    sink: str
    sequence: int  # of the inspection
    payload: dict[str, Any]
    created: datetime
    attempts: int
    next_try: datetime
    error: str  # of the last attempt


@dataclass(frozen=True)
class Filter:
    """Which inspections are meant; what is None does not matter."""

    part: str | None = None
    version: int | None = None
    verdict: Verdict | None = None  # of the model
    final: Verdict | None = None  # that counts
    decided: bool | None = None  # by a person
    overruled: bool | None = None  # decided otherwise than the model found
    part_id: str | None = None  # exactly
    lot_id: str | None = None  # exactly
    source: str | None = None
    since: datetime | None = None  # by the clock
    until: datetime | None = None  # before this
    least_score: float | None = None
    most_score: float | None = None

    def conditions(self) -> tuple[str, list[Any]]:
        """Return an SQL condition on the table ``inspections`` and the values for its question marks."""
        wanted: list[tuple[str, Any]] = [
            ("part = ?", self.part),
            ("version = ?", self.version),
            ("verdict = ?", None if self.verdict is None else self.verdict.value),
            (f"{_FINAL} = ?", None if self.final is None else self.final.value),
            ("(decided IS NOT NULL) = ?", self.decided),
            (f"({_FINAL} != verdict) = ?", self.overruled),
            ("part_id = ?", self.part_id),
            ("lot_id = ?", self.lot_id),
            ("source = ?", self.source),
            ("at >= ?", None if self.since is None else as_text(self.since)),
            ("at < ?", None if self.until is None else as_text(self.until)),
            ("score >= ?", self.least_score),
            ("score <= ?", self.most_score),
        ]
        chosen = [(text, value) for text, value in wanted if value is not None]
        return " AND ".join(["1", *(text for text, _ in chosen)]), [value for _, value in chosen]


@dataclass
class _Readers:
    """Connections that read, lent to one thread at a time."""

    idle: list[sqlite3.Connection] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_closed: bool = False


class Store:
    """A station's folder, open."""

    def __init__(self, folder: Path | str, *, serve: bool = True, reserve_bytes: int = RESERVE_BYTES) -> None:
        """Open the folder; a server makes it where there is none, and settles what a killed one left behind.

        Args:
            folder: of the station.
            serve: as its one server. False: beside the server, or without one; the folder must be a station's already.
            reserve_bytes: inspections and images are refused when less than this would stay free on the disk.

        Raises:
            StationError: another server has the folder; its database is damaged (it is set aside under another name,
                never deleted), foreign, of another version, or missing although there are images.
            StorageError: the folder cannot be written.
        """
        self.folder = Path(folder).absolute()
        self._reserve_bytes = reserve_bytes
        self._writing = threading.RLock()
        self._depth = 0
        self._readers = _Readers()
        self._watch = JumpWatch()
        self._lock: sqlite3.Connection | None = None
        try:
            if serve:
                self._make_folder()
                self._lock = _hold(self.folder)
            self._writer = _open_database(self.folder, may_make=serve)
        except BaseException:
            self._release()
            raise
        if serve:
            try:
                self._settle()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and give the folder back. What is running in other threads fails with a StationError."""
        with self._writing, self._readers.lock:
            self._readers.is_closed = True
            for connection in self._readers.idle:
                connection.close()
            self._readers.idle.clear()
            self._writer.close()
            self._release()

    # ------------------------------------------------------------------------------------------------- transactions

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write: all that is done on the connection is kept when the block ends, or nothing where it raises.

        One thread writes at a time; a block inside a block joins it. Read what must not change meanwhile inside.

        Raises:
            StorageError: the disk is full or refuses, or another process does not stop writing.
            StationError: the database is damaged.
        """
        with self._writing, _told(self.folder):
            if self._depth:
                yield self._writer
                return
            self._writer.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                self._depth = 0
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Read a state that does not change while the block lasts, without waiting for writers.

        Raises:
            StorageError, StationError: as for `transaction`.
        """
        with self._readers.lock:
            if self._readers.is_closed:
                raise StationError(f"The station in {self.folder} is closed.")
            connection = self._readers.idle.pop() if self._readers.idle else None
        with _told(self.folder):
            connection = connection or connect(self.folder / DATABASE, read_only=True)
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                with self._readers.lock:
                    if self._readers.is_closed:
                        connection.close()
                    else:
                        self._readers.idle.append(connection)

    def note(self, who: str, what: str, part: str = "", **detail: Any) -> audit.Head:
        """Add an entry to the audit log, inside the transaction that is open or in one of its own.

        Args:
            who: changed something.
            what: kind of change, such as ``"sink.add"``.
            part: that it concerns; empty: none.
            detail: plain JSON, no secrets.
        """
        with self.transaction() as connection:
            jumped = self._watch.jumped()
            at = as_text(now())
            if jumped:
                told = {"seconds": round(jumped, 1)}
                audit.append(connection, at, "station", "clock.jump", "", told)
            return audit.append(connection, at, who, what, part, detail)

    def is_writable(self) -> bool:
        """Say whether the next inspection could be stored: for readiness; it writes nothing."""
        try:
            self._require_room(0)
            with self.read() as connection:
                connection.execute("SELECT 1 FROM settings LIMIT 1").fetchone()
        except BlemishError:
            return False
        return True

    def path(self, file: str) -> Path:
        """Return the whole path of a file that a record names."""
        return self.folder / PurePosixPath(file)

    def image_path(self, stored: StoredInspection) -> Path:
        """Return the whole path of the image that was inspected.

        Raises:
            NotFoundError: retention has removed it.
        """
        if stored.image_file is None:
            raise NotFoundError(f"The image of inspection {stored.id} was removed, as the retention of images says.")
        return self.path(stored.image_file)

    # -------------------------------------------------------------------------------------------------------- parts

    def add_part(self, name: str, *, who: str) -> Part:
        """Add a part.

        Args:
            name: 1 to 64 letters, digits, spaces and ``. _ + -``; it begins and ends with a letter, digit or ``_``.
            who: adds it.

        Raises:
            SettingError: the name is none.
            ConflictError: there is one of this name already, upper and lower case being the same.
        """
        name = unicodedata.normalize("NFC", name)
        key = name.casefold()
        if not NAME.fullmatch(name) or _RESERVED.fullmatch(key):
            raise SettingError(
                f"'{name[:80]}' cannot be the name of a part; expected 1 to 64 letters, digits, spaces and . _ + -, "
                "with a letter or digit at both ends."
            )
        with self.transaction() as connection:
            if connection.execute("SELECT 1 FROM parts WHERE key = ?", (key,)).fetchone():
                raise ConflictError(f"There is a part '{name}' already. Choose another name.")
            connection.execute("INSERT INTO parts (name, key, created) VALUES (?, ?, ?)", (name, key, as_text(now())))
            self.note(who, "part.add", name)
            return _part_of(connection, name)

    def parts(self, *, archived: bool = False) -> list[Part]:
        """Return all parts by name; those that are archived only where asked for."""
        with self.read() as connection:
            rows = connection.execute(f"SELECT {_PART} FROM parts WHERE archived <= ? ORDER BY key", (archived,))
            return [_record(Part, row) for row in rows]

    def part(self, name: str) -> Part:
        """Return a part.

        Raises:
            NotFoundError: there is none of this name.
        """
        with self.read() as connection:
            return _part_of(connection, name)

    def archive_part(self, name: str, *, who: str, archived: bool = True) -> Part:
        """Show a part no longer, or again. Nothing of it is deleted.

        Raises:
            NotFoundError: there is none of this name.
        """
        with self.transaction() as connection:
            _part_of(connection, name)
            connection.execute("UPDATE parts SET archived = ? WHERE name = ?", (archived, name))
            self.note(who, "part.archive" if archived else "part.show", name)
            return _part_of(connection, name)

    # -------------------------------------------------------------------------------------------------- good images

    def add_good_image(self, part: str, data: bytes, suffix: str, *, name: str, who: str) -> GoodImage:
        """Keep a good image; the same bytes again give the image that is there.

        Args:
            part: name.
            data: bytes of an image file that was decoded already.
            suffix: one of `images.IMAGE_SUFFIXES`, found by decoding.
            name: of the file as it came, for people.
            who: brought it.

        Raises:
            NotFoundError: no such part.
            StorageError: the disk is full or refuses.
        """
        digest, key = hashlib.sha256(data).hexdigest(), _new_id()
        folder = f"parts/{_part_folder(self.part(part).name)}/good"
        file = f"{folder}/{key}{_checked_suffix(suffix)}"
        query = f"SELECT {_GOOD} FROM good_images WHERE part = ? AND sha256 = ?"
        with self.read() as connection:
            row = connection.execute(query, (part, digest)).fetchone()
        if row is not None:
            return _record(GoodImage, row)
        values = (key, part, name[:200], file, digest, len(data), as_text(now()), who)
        try:
            with self._written({file: data}), self.transaction() as connection:
                row = connection.execute(query, (part, digest)).fetchone()
                if row is not None:  # another thread brought the same meanwhile
                    raise _KnownError(_record(GoodImage, row))
                connection.execute(
                    "INSERT INTO good_images (id, part, name, file, sha256, bytes, created, who) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
                self.note(who, "good.add", part, image=key, name=name[:200], sha256=digest)
                return _record(GoodImage, connection.execute(query, (part, digest)).fetchone())
        except _KnownError as known:
            record: GoodImage = known.record
            return record

    def good_images(self, part: str, *, used_only: bool = False) -> list[GoodImage]:
        """Return the good images of a part, oldest first."""
        with self.read() as connection:
            rows = connection.execute(
                f"SELECT {_GOOD} FROM good_images WHERE part = ? AND used >= ? ORDER BY rowid", (part, used_only)
            )
            return [_record(GoodImage, row) for row in rows]

    def good_image(self, key: str) -> GoodImage:
        """Return a good image by its id.

        Raises:
            NotFoundError: there is none.
        """
        with self.read() as connection:
            return _good_of(connection, key)

    def use_good_image(self, key: str, used: bool, *, who: str) -> GoodImage:
        """Take a good image out of what is learned from, or in again. The file stays.

        Raises:
            NotFoundError: there is none.
        """
        with self.transaction() as connection:
            image = _good_of(connection, key)
            connection.execute("UPDATE good_images SET used = ? WHERE id = ?", (used, key))
            self.note(who, "good.use" if used else "good.leave", image.part, image=key, name=image.name)
        return self.good_image(key)

    # ------------------------------------------------------------------------------------------------------- models

    def add_model(
        self,
        part: str,
        data: bytes,
        *,
        origin: str,
        who: str,
        why: str = "",
        parent: int | None = None,
        summary: Mapping[str, Any] | None = None,
        activate: bool = False,
    ) -> ModelVersion:
        """Keep a model file as the next version of a part, and let it inspect from now on where asked for.

        Args:
            part: name.
            data: bytes of a ``.blemish`` file that was read and checked already.
            origin: one of ``ORIGINS``.
            who: made it.
            why: reason, in the words of that person.
            parent: version that it was made from.
            summary: plain JSON for lists.
            activate: let it inspect, in the same transaction.

        Raises:
            NotFoundError: no such part.
            StorageError: the disk is full or refuses.
        """
        if origin not in ORIGINS:
            raise SettingError(f"Origin '{origin}' is none of {', '.join(ORIGINS)}.")
        folder, digest = _part_folder(self.part(part).name), hashlib.sha256(data).hexdigest()
        with self._writing:  # so that nobody else takes the number between the file and its row
            with self.transaction() as connection:
                query = "SELECT COALESCE(MAX(version), 0) + 1 FROM models WHERE part = ?"
                version = int(connection.execute(query, (part,)).fetchone()[0])
            file = f"parts/{folder}/models/{version}.blemish"
            values = (part, version, file, digest, len(data), as_text(now()), who, why, origin, parent)
            with self._written({file: data}), self.transaction() as connection:
                connection.execute(
                    "INSERT INTO models (part, version, file, sha256, bytes, created, who, why, origin, parent, "
                    "summary) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*values, _json(summary or {})),
                )
                self.note(who, "model.add", part, version=version, origin=origin, parent=parent, sha256=digest, why=why)
                if activate:
                    self._activate(connection, part, version, who, why, back=False)
                return _model_of(connection, part, version)

    def models(self, part: str) -> list[ModelVersion]:
        """Return the versions of a part, newest first."""
        with self.read() as connection:
            rows = connection.execute(f"SELECT {_MODEL} FROM models WHERE part = ? ORDER BY version DESC", (part,))
            return [_record(ModelVersion, row) for row in rows]

    def model(self, part: str, version: int | None = None) -> ModelVersion:
        """Return a version of a part; by default the one that inspects.

        Raises:
            NotFoundError: no such part or version, or none inspects yet.
        """
        with self.read() as connection:
            chosen = _part_of(connection, part).active if version is None else version
            if chosen is None:
                raise NotFoundError(f"Part '{part}' has no model yet. Teach it from good images first.")
            return _model_of(connection, part, chosen)

    def activate(self, part: str, version: int, *, who: str, why: str = "") -> ModelVersion:
        """Let a version inspect from now on.

        Raises:
            NotFoundError: no such part or version.
        """
        with self.transaction() as connection:
            model = _model_of(connection, part, version)
            if _part_of(connection, part).active != version:
                self._activate(connection, part, version, who, why, back=False)
            return model

    def roll_back(self, part: str, *, who: str, why: str = "") -> ModelVersion:
        """Let the version inspect again that did so before the present one; the next time, the one before that.

        Raises:
            NotFoundError: no such part.
            ConflictError: there was none before.
        """
        with self.transaction() as connection:
            _part_of(connection, part)
            standing: list[int] = []
            query = "SELECT version, back FROM activations WHERE part = ? ORDER BY sequence"
            for version, back in connection.execute(query, (part,)):
                if back:
                    standing.pop()
                else:
                    standing.append(version)
            if len(standing) < 2:
                raise ConflictError(f"Part '{part}' had no other model before the present one.")
            self._activate(connection, part, standing[-2], who, why, back=True)
            return _model_of(connection, part, standing[-2])

    def activations(self, part: str) -> list[Activation]:
        """Return which version inspected from when on, newest first."""
        query = f"SELECT {_ACTIVATION} FROM activations WHERE part = ? ORDER BY sequence DESC"
        with self.read() as connection:
            return [_record(Activation, row) for row in connection.execute(query, (part,))]

    def _activate(
        self, connection: sqlite3.Connection, part: str, version: int, who: str, why: str, *, back: bool
    ) -> None:
        before = _part_of(connection, part).active
        connection.execute("UPDATE parts SET active = ? WHERE name = ?", (version, part))
        connection.execute(
            "INSERT INTO activations (part, version, at, who, why, back) VALUES (?, ?, ?, ?, ?, ?)",
            (part, version, as_text(now()), who, why, back),
        )
        self.note(who, "model.back" if back else "model.activate", part, version=version, before=before, why=why)

    # -------------------------------------------------------------------------------------------------- inspections

    def add_inspection(
        self,
        new: NewInspection,
        *,
        sinks: Sequence[str] = (),
        payload: Callable[[StoredInspection], Mapping[str, Any]] | None = None,
    ) -> StoredInspection:
        """Store an inspection; when this returns, image, picture, record and outbox entries are on the disk.

        Args:
            new: what was found out.
            sinks: that the result goes to: one entry of the outbox for each, in the same transaction.
            payload: makes what is delivered; needed where there are sinks.

        Returns:
            The stored inspection; the earlier one, and nothing new is stored, where `request_id` was seen before.

        Raises:
            NotFoundError: no such part or version.
            StorageError: the disk is full or refuses; nothing is stored.
        """
        key = _new_id()
        at = now()
        image_file = f"images/{at:%Y/%m/%d}/{key}{_checked_suffix(new.suffix)}"
        files = {image_file: new.data}
        picture_file = None
        if new.picture is not None:
            picture_file = f"pictures/{at:%Y/%m/%d}/{key}.jpg"
            files[picture_file] = new.picture
        values = {
            "id": key,
            "request_id": new.request_id,
            "part": new.part,
            "version": new.version,
            "model_sha256": new.model_sha256,
            "at": as_text(at),
            "part_id": new.part_id,
            "lot_id": new.lot_id,
            "source": new.source,
            "verdict": Verdict(new.verdict).value,
            "score": float(new.score),
            "threshold": float(new.threshold),
            "seconds": float(new.seconds),
            "result": _json(new.result),
            "image_sha256": hashlib.sha256(new.data).hexdigest(),
            "image_bytes": len(new.data),
            "image_file": image_file,
            "picture_bytes": len(new.picture or b""),
            "picture_file": picture_file,
        }
        columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        try:
            with self._written(files), self.transaction() as connection:
                earlier = None if new.request_id is None else _of_request(connection, new.request_id)
                if earlier is not None:
                    raise _KnownError(earlier)
                _model_of(connection, new.part, new.version)
                connection.execute(f"INSERT INTO inspections ({columns}) VALUES ({marks})", values)
                stored = _inspection_of(connection, key)
                for sink in sinks:
                    self._post(connection, sink, stored, payload)
                return stored
        except _KnownError as known:
            record: StoredInspection = known.record
            return record

    def inspection_of_request(self, request_id: str) -> StoredInspection | None:
        """Return what was stored for a client's request, None where there is nothing."""
        with self.read() as connection:
            return _of_request(connection, request_id)

    def inspection(self, key: str) -> StoredInspection:
        """Return an inspection by its id.

        Raises:
            NotFoundError: there is none (any more).
        """
        with self.read() as connection:
            return _inspection_of(connection, key)

    def inspections(
        self,
        wanted: Filter = Filter(),
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> list[StoredInspection]:
        """Return a page of inspections, in the order of their sequence.

        Args:
            wanted: which.
            before: newest first, only those with a smaller sequence: the next page of a history.
            after: oldest first, only those with a larger sequence: what came since, or an export.
            limit: at most so many.
        """
        condition, values = wanted.conditions()
        if before is not None:
            condition, values = f"{condition} AND sequence < ?", [*values, before]
        if after is not None:
            condition, values = f"{condition} AND sequence > ?", [*values, after]
        order = "DESC" if after is None else "ASC"
        query = f"SELECT {_INSPECTION} FROM inspections WHERE {condition} ORDER BY sequence {order} LIMIT ?"
        with self.read() as connection:
            return [_record(StoredInspection, row) for row in connection.execute(query, (*values, limit))]

    def count(self, wanted: Filter = Filter()) -> dict[Verdict, int]:
        """Return how many inspections have each verdict that counts."""
        condition, values = wanted.conditions()
        query = f"SELECT {_FINAL}, COUNT(*) FROM inspections WHERE {condition} GROUP BY {_FINAL}"
        with self.read() as connection:
            found = dict(connection.execute(query, values).fetchall())
        return {verdict: found.get(verdict.value, 0) for verdict in Verdict}

    def decide(self, key: str, verdict: Verdict | None, *, who: str, comment: str = "") -> Decision:
        """Keep what a person says about an inspection: confirm, overrule or comment.

        Args:
            key: id of the inspection.
            verdict: good or defective; None: a comment alone.
            who: decides.
            comment: in the words of that person.

        Raises:
            NotFoundError: no such inspection.
            SettingError: the verdict is unsure, or there is neither verdict nor comment.
        """
        if (verdict is None and not comment) or (verdict is not None and verdict not in _DECIDED):
            raise SettingError("Expected a verdict, good or defective, or a comment.")
        with self.transaction() as connection:
            about = _inspection_of(connection, key)
            decision = None if verdict is None else Verdict(verdict).value
            cursor = connection.execute(
                "INSERT INTO decisions (inspection, at, who, found, verdict, comment) VALUES (?, ?, ?, ?, ?, ?)",
                (key, as_text(now()), who, about.verdict.value, decision, comment),
            )
            if decision is not None:
                connection.execute("UPDATE inspections SET decided = ? WHERE id = ?", (decision, key))
            what = "comment" if decision is None else "confirm" if decision == about.verdict else "overrule"
            detail = {"inspection": key, "found": about.verdict.value, "verdict": decision, "comment": comment}
            self.note(who, f"decision.{what}", about.part, **detail)
            row = connection.execute(f"SELECT {_DECISION} FROM decisions WHERE sequence = ?", (cursor.lastrowid,))
            return _record(Decision, row.fetchone())

    def decisions(self, key: str) -> list[Decision]:
        """Return what people said about an inspection, oldest first."""
        query = f"SELECT {_DECISION} FROM decisions WHERE inspection = ? ORDER BY sequence"
        with self.read() as connection:
            return [_record(Decision, row) for row in connection.execute(query, (key,))]

    # ----------------------------------------------------------------------------------------------- jobs, settings

    def add_job(self, part: str, kind: str, options: Mapping[str, Any], *, who: str) -> Job:
        """Queue a job.

        Raises:
            NotFoundError: no such part.
        """
        with self.transaction() as connection:
            _part_of(connection, part)
            cursor = connection.execute(
                "INSERT INTO jobs (part, kind, state, options, progress, message, who, created) "
                "VALUES (?, ?, 'queued', ?, '{}', '', ?, ?)",
                (part, kind, _json(options), who, as_text(now())),
            )
            self.note(who, "job.add", part, job=cursor.lastrowid, kind=kind, options=dict(options))
            return _job_of(connection, cursor.lastrowid)

    def update_job(
        self,
        key: int,
        *,
        state: str | None = None,
        progress: Mapping[str, Any] | None = None,
        message: str | None = None,
        version: int | None = None,
        who: str = "station",
    ) -> Job:
        """Keep where a job stands; a new state is noted in the audit log, and its time with it.

        Raises:
            NotFoundError: no such job.
        """
        if state is not None and state not in JOB_STATES:
            raise SettingError(f"State '{state}' is none of {', '.join(JOB_STATES)}.")
        with self.transaction() as connection:
            job = _job_of(connection, key)
            changes: dict[str, Any] = {"message": message, "version": version, "state": state}
            changes["progress"] = None if progress is None else _json(progress)
            if state is not None and state != job.state:
                if state != "queued":
                    changes["started" if state == "running" else "ended"] = as_text(now())
                self.note(who, f"job.{state}", job.part, job=key, message=message or "", version=version)
            given = {name: value for name, value in changes.items() if value is not None}
            if given:
                settings = ", ".join(f"{name} = ?" for name in given)
                connection.execute(f"UPDATE jobs SET {settings} WHERE id = ?", (*given.values(), key))
            return _job_of(connection, key)

    def job(self, key: int) -> Job:
        """Return a job.

        Raises:
            NotFoundError: there is none of this number.
        """
        with self.read() as connection:
            return _job_of(connection, key)

    def jobs(self, *, part: str | None = None, states: Sequence[str] = JOB_STATES, limit: int = 100) -> list[Job]:
        """Return jobs, newest first."""
        marks = ", ".join("?" for _ in states)
        condition = f"state IN ({marks})" + ("" if part is None else " AND part = ?")
        values = [*states, *([] if part is None else [part]), limit]
        with self.read() as connection:
            rows = connection.execute(f"SELECT {_JOB} FROM jobs WHERE {condition} ORDER BY id DESC LIMIT ?", values)
            return [_record(Job, row) for row in rows]

    def setting(self, name: str, default: Any = None) -> Any:
        """Return a setting, plain JSON."""
        with self.read() as connection:
            row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set_setting(self, name: str, value: Any, *, who: str) -> None:
        """Keep a setting and note it in the audit log with its value: no secrets here."""
        with self.transaction() as connection:
            row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
            connection.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, _json(value)))
            self.note(who, "setting.set", "", name=name, before=None if row is None else json.loads(row[0]), to=value)

    # ------------------------------------------------------------------------------------------------------- outbox

    def waiting(self, sink: str, *, limit: int = 1) -> list[Delivery]:
        """Return what a sink has still to get, oldest first: deliver in this order, the next only after the first."""
        query = f"SELECT {_DELIVERY} FROM outbox WHERE sink = ? AND delivered IS NULL ORDER BY id LIMIT ?"
        with self.read() as connection:
            return [_record(Delivery, row) for row in connection.execute(query, (sink, limit))]

    def n_waiting(self, sink: str | None = None) -> int:
        """Return how many results wait, for one sink or all."""
        condition, values = ("", ()) if sink is None else (" AND sink = ?", (sink,))
        with self.read() as connection:
            query = f"SELECT COUNT(*) FROM outbox WHERE delivered IS NULL{condition}"
            return int(connection.execute(query, values).fetchone()[0])

    def mark_delivered(self, key: int) -> None:
        """Note that a sink has it."""
        with self.transaction() as connection:
            connection.execute("UPDATE outbox SET delivered = ? WHERE id = ?", (as_text(now()), key))

    def mark_failed(self, key: int, error: str, *, next_try: datetime) -> None:
        """Note that an attempt failed, and when to try again."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE outbox SET attempts = attempts + 1, error = ?, next_try = ? WHERE id = ?",
                (error[:500], as_text(next_try), key),
            )

    def _post(
        self,
        connection: sqlite3.Connection,
        sink: str,
        stored: StoredInspection,
        payload: Callable[[StoredInspection], Mapping[str, Any]] | None,
    ) -> None:
        if payload is None:
            raise SettingError("Results go to sinks only with a payload.")
        at = as_text(now())
        connection.execute(
            "INSERT INTO outbox (sink, sequence, payload, created, next_try) VALUES (?, ?, ?, ?, ?)",
            (sink, stored.sequence, _json(payload(stored)), at, at),
        )

    # -------------------------------------------------------------------------------------------------------- files

    @contextmanager
    def _written(self, files: Mapping[str, bytes]) -> Iterator[None]:
        """Write files, then let the block commit the rows that name them; when it raises, the files go again.

        A note in ``incoming`` says which files these are, so that after a kill the next start finds them without
        looking through all others.
        """
        self._require_room(sum(map(len, files.values())))
        with self._noted(list(files)):
            try:
                with _told(self.folder):
                    for file, data in files.items():
                        _write_durably(self.path(file), data)
                    for folder in {self.path(file).parent for file in files}:
                        sync_folder(folder)
                yield
            except BaseException:
                self._put_away(list(files))
                raise

    @contextmanager
    def _noted(self, files: Sequence[str]) -> Iterator[None]:
        """Keep a note of files that come or go, as long as the block lasts; one that is left is settled at start-up.

        It is left, too, where the block failed and files stay that it would have removed.
        """
        note = self.folder / "incoming" / f"{_new_id()}.json"
        with _told(self.folder):
            note.write_text(json.dumps(files), encoding="utf-8")
        is_settled = False
        try:
            yield
            is_settled = True
        finally:
            if is_settled or not any(self.path(file).exists() for file in files):
                with contextlib.suppress(OSError):
                    note.unlink(missing_ok=True)

    def _put_away(self, files: Sequence[str]) -> None:
        """Delete files that were not answered for: those that no row names."""
        for file in files:
            with contextlib.suppress(OSError, BlemishError):
                if not self.is_named(file):
                    self.path(file).unlink(missing_ok=True)

    def is_named(self, file: str) -> bool:
        """Say whether a row names a file."""
        with self.read() as connection:
            return connection.execute("SELECT 1 FROM files WHERE path = ?", (file,)).fetchone() is not None

    def _require_room(self, n_bytes: int) -> None:
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise _no_storage(self.folder, error.strerror or str(error)) from error
        if free - n_bytes < self._reserve_bytes:
            raise _no_storage(
                self.folder, f"{free // 2**20} MB are free, and {self._reserve_bytes // 2**20} MB must stay so"
            )

    def remove_files(self, files: Sequence[str]) -> None:
        """Delete images and pictures; their rows stay and say that they are gone. For retention alone."""
        with self._noted(files):
            with self.transaction() as connection:
                forget_files(connection, files)
            for file in files:
                with _told(self.folder):
                    self.path(file).unlink(missing_ok=True)

    def set_aside(self, files: Sequence[str]) -> None:
        """Move files that belong to no row below ``unclaimed``, where retention removes them with the images."""
        with _told(self.folder):
            for file in files:
                found = self.path(file)
                if found.is_file():
                    target = self.folder / "unclaimed" / PurePosixPath(file)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    found.replace(target)

    def forget_file(self, file: str, *, why: str) -> None:
        """Say in the row of an image or picture that its file is no more."""
        with self.transaction() as connection:
            forget_files(connection, [file])
            self.note("station", "file.lost", "", file=file, why=why)

    def _make_folder(self) -> None:
        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True, mode=0o700)  # images and password hashes are nobody else's business
            for name in ("parts", "images", "pictures", "incoming", "unclaimed"):
                (self.folder / name).mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot be written ({error.strerror}). Choose another folder, or free space."
            ) from error

    def _settle(self) -> None:
        """Set aside what a killed server left half done, and note where the clock stands wrong."""
        with _told(self.folder):
            for note in sorted((self.folder / "incoming").iterdir()):
                self.set_aside([file for file in _files_of(note) if not self.is_named(file)])
                note.unlink()
        with self.read() as connection:
            newest = connection.execute("SELECT MAX(at) FROM inspections").fetchone()[0]
            rows = connection.execute(
                "SELECT image_file, picture_file FROM inspections ORDER BY sequence DESC LIMIT ?", (_N_CHECKED,)
            ).fetchall()
        for file in [file for row in rows for file in row if file is not None and not self.path(file).is_file()]:
            self.forget_file(file, why="it was missing when the station started")
        if newest is not None and newest > as_text(now()):
            self.note("station", "clock.behind", "", newest=newest)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class _KnownError(Exception):
    """Leaves a transaction, and takes its files away, when what was to be added is there."""

    def __init__(self, record: Any) -> None:
        super().__init__()
        self.record = record


# ------------------------------------------------------------------------------------------------------------ database


def connect(database: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database file with the settings that the guarantees rest on.

    Raises:
        sqlite3.Error: it is damaged, no database, or cannot be opened.
    """
    uri = f"{database.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")  # a foreign file's views and triggers call nothing harmful
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk before it is answered
            connection.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        connection.close()
        raise
    return connection


def forget_files(connection: sqlite3.Connection, files: Sequence[str]) -> None:
    """Let the rows of images and pictures say that these files are gone."""
    for column in ("image_file", "picture_file"):
        query = f"UPDATE inspections SET {column} = NULL WHERE {column} = ?"
        connection.executemany(query, [(file,) for file in files])


def check_database(connection: sqlite3.Connection) -> str:
    """Return what is wrong with a database, in SQLite's words; empty: nothing."""
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error)
    return "" if found == ["ok"] else "; ".join(found)


def _open_database(folder: Path, *, may_make: bool) -> sqlite3.Connection:
    database = folder / DATABASE
    if not database.is_file():
        if not may_make:
            raise StationError(f"{folder} holds no station; expected {DATABASE} in it. `blemish serve` makes one.")
        _refuse_files_without_database(folder)
    connection = None
    with _told(folder):
        try:
            connection = connect(database)
            damage = check_database(connection)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            damage = str(error)
        if damage:
            if connection is not None:
                connection.close()
            raise _damaged(folder, damage, aside=may_make)
        assert connection is not None
        try:
            _prepare_schema(connection, folder)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare_schema(connection: sqlite3.Connection, folder: Path) -> None:
    """Make the tables in an empty database, and refuse one that is not ours or not of this version."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        is_empty = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0
        if is_empty:
            for statement in _statements(_SCHEMA + audit.SCHEMA):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            audit.append(connection, as_text(now()), "station", "station.make", "", {"schema": SCHEMA_VERSION})
        elif application != _APPLICATION_ID:
            raise StationError(f"{folder / DATABASE} was not made by Blemish. Choose another folder.")
        elif version != SCHEMA_VERSION:
            remedy = "Update Blemish" if version > SCHEMA_VERSION else "Open it with the version that made it"
            raise StationError(
                f"The station in {folder} has tables of version {version}; this Blemish reads {SCHEMA_VERSION}. "
                f"{remedy}; nothing was changed."
            )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    """Cut a script into statements; `executescript` would commit the transaction that they belong in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _refuse_files_without_database(folder: Path) -> None:
    """Do not begin anew where a database is missing: its images would look like nobody's."""
    if any((folder / name).is_dir() and any((folder / name).iterdir()) for name in ("parts", "images")):
        aside = sorted(path.name for path in folder.glob(f"{DATABASE}.damaged-*"))
        found = f"a damaged one was set aside as {aside[-1]}" if aside else "there is none"
        raise StationError(
            f"{folder} holds images but no database {DATABASE} ({found}). Restore a backup into a new folder with "
            "`blemish station restore`; nothing here was changed."
        )


def _damaged(folder: Path, damage: str, *, aside: bool) -> StationError:
    """Set a damaged database aside, with its journal, and say what to do."""
    database = folder / DATABASE
    told = f"The database {database} is damaged ({damage})."
    remedy = "Restore the last backup into a new folder with `blemish station restore`, and serve that one."
    if not aside:
        return StationError(f"{told} {remedy}")
    name = f"{DATABASE}.damaged-{now():%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    for ending in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            database.with_name(DATABASE + ending).replace(folder / (name + ending))
    return StationError(f"{told} It was set aside as {name}, and no image was touched. {remedy}")


def _hold(folder: Path) -> sqlite3.Connection:
    """Take the lock of the folder, which the system gives back when the process ends, however it ends."""
    path = folder / "lock"
    try:
        lock = take(path)
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path} cannot be locked ({error}). Check its permissions.") from error
    except sqlite3.DatabaseError as error:
        raise StationError(f"{path} is no lock of a station ({error}). Delete this file.") from error
    if lock is None:
        raise StationError(f"Another server has the station in {folder}. Stop it first, or choose another folder.")
    return lock


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Say whether SQLite found the file itself damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into errors that say what to do."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):
            raise
        raise StationError(f"The station in {folder} is closed.") from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGE:
            raise StationError(
                f"The database in {folder} is damaged ({error}). Stop the server and start it again; it then says "
                "what to do."
            ) from error
        if code in _NO_ROOM or code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise _no_storage(folder, str(error)) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StorageError(f"Another program holds the database in {folder} ({error}). Try again.") from error
        raise
    except OSError as error:
        raise _no_storage(folder, error.strerror or str(error)) from error
    except (UnicodeEncodeError, OverflowError) as error:  # half a character, or a number of more than 64 bits
        raise SettingError(f"This cannot be kept ({error}); expected whole characters and 64-bit numbers.") from error


def _no_storage(folder: Path, reason: str) -> StorageError:
    return StorageError(
        f"The station cannot store anything in {folder} ({reason}). Free space on its disk or shorten the retention; "
        "nothing that was answered is lost."
    )


# --------------------------------------------------------------------------------------------------------------- files


def _write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it is on the disk whole; its folder must be synced afterwards.

    It needs no other name first: nobody knows of it before its row is committed, and a part of it is set aside.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in list(path.parents)[1:4]:  # those that may be new: year, month, and what holds them
            sync_folder(folder)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    if os.name == "nt":
        return  # Windows opens no folder; NTFS keeps names in its journal
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot, such as some network shares
            raise
    finally:
        os.close(handle)


def _files_of(note: Path) -> list[str]:
    """Return which files a note in ``incoming`` names; none where it was cut short, for then none was begun."""
    try:
        files = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        return []
    is_ours = isinstance(files, list) and all(isinstance(file, str) for file in files)
    return [file for file in files if is_file_of_a_station(file)] if is_ours else []


def is_file_of_a_station(file: str) -> bool:
    """Say whether a name, with slashes, is one that a row may have: below the folder, in one of its known parts."""
    parts = PurePosixPath(file).parts
    return len(parts) > 1 and parts[0] in ("parts", "images", "pictures") and ".." not in parts and "\\" not in file


def _checked_suffix(suffix: str) -> str:
    if suffix.lower() not in IMAGE_SUFFIXES:
        raise SettingError(f"'{suffix}' is no suffix of an image; expected one of {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return suffix.lower()


def _part_folder(name: str) -> str:
    """Return the folder of a part: its name in small letters, so that no two fall together on any file system."""
    return name.casefold()


def _new_id() -> str:
    return secrets.token_hex(12)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingError(f"This cannot be kept as JSON ({error}); expected plain data without NaN.") from error


# ------------------------------------------------------------------------------------------------- from rows to records


_Record = TypeVar("_Record", Part, GoodImage, ModelVersion, Activation, StoredInspection, Decision, Job, Delivery)


def _columns(kind: type[Any]) -> str:
    """Name the columns that a record is made of: its fields are called the same."""
    return ", ".join(each.name for each in fields(kind))


_PART: Final = _columns(Part)
_GOOD: Final = _columns(GoodImage)
_MODEL: Final = _columns(ModelVersion)
_ACTIVATION: Final = _columns(Activation)
_DELIVERY: Final = _columns(Delivery)
_DECISION: Final = _columns(Decision)
_JOB: Final = _columns(Job)
_INSPECTION: Final = _columns(StoredInspection)


def _one(connection: sqlite3.Connection, query: str, values: Sequence[Any], what: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
    if row is None:
        raise NotFoundError(f"There is no {what} {' '.join(repr(value) for value in values)}.")
    return row


def _part_of(connection: sqlite3.Connection, name: str) -> Part:
    return _record(Part, _one(connection, f"SELECT {_PART} FROM parts WHERE name = ?", (name,), "part"))


def _good_of(connection: sqlite3.Connection, key: str) -> GoodImage:
    query = f"SELECT {_GOOD} FROM good_images WHERE id = ?"
    return _record(GoodImage, _one(connection, query, (key,), "good image"))


def _model_of(connection: sqlite3.Connection, part: str, version: int) -> ModelVersion:
    query = f"SELECT {_MODEL} FROM models WHERE part = ? AND version = ?"
    return _record(ModelVersion, _one(connection, query, (part, version), "model"))


def _inspection_of(connection: sqlite3.Connection, key: str) -> StoredInspection:
    query = f"SELECT {_INSPECTION} FROM inspections WHERE id = ?"
    return _record(StoredInspection, _one(connection, query, (key,), "inspection"))


def _of_request(connection: sqlite3.Connection, request_id: str) -> StoredInspection | None:
    query = f"SELECT {_INSPECTION} FROM inspections WHERE request_id = ?"
    row = connection.execute(query, (request_id,)).fetchone()
    return None if row is None else _record(StoredInspection, row)


def _job_of(connection: sqlite3.Connection, key: int | None) -> Job:
    return _record(Job, _one(connection, f"SELECT {_JOB} FROM jobs WHERE id = ?", (key,), "job"))


def _record(kind: type[_Record], row: Sequence[Any]) -> _Record:
    """Make a record of a row with its `_columns`, each value with the type of its field."""
    named: dict[str, Any] = {
        each.name: value if value is None else _FROM_ROW.get(each.name, _as_it_is)(value)
        for each, value in zip(fields(kind), row, strict=True)
    }
    return kind(**named)


def _as_it_is(value: Any) -> Any:
    return value


_FROM_ROW: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("at", "created", "started", "ended", "next_try"), as_time),
    **dict.fromkeys(("archived", "used", "back"), bool),
    **dict.fromkeys(("verdict", "decided", "found"), Verdict),
    **dict.fromkeys(("summary", "result", "options", "progress", "payload"), json.loads),
}
