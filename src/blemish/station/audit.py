"""The audit log: who changed what, when; entries can be added and read, never changed, and removal shows.

Each entry carries the SHA-256 of the hash before it, followed by its own content, so an entry that is changed, removed
or slipped in later breaks the chain from there on; `verify` finds the place. An entry is written in the same
transaction as the change it tells of: there is neither one without the other. The database itself refuses UPDATE and
DELETE on the log.

What a chain cannot show alone: somebody who can write the file may compute all of it anew from some entry on. Whoever
fears that notes the `Head` from time to time in another place (``blemish station verify`` prints it) and hands it to
`verify`, which then proves that this entry still stands as it did.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from blemish.station.clock import as_time

if TYPE_CHECKING:
    from blemish.station.store import Store

FIRST: Final = "0" * 64  # stands for the hash before the first entry

SCHEMA: Final = """
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    part TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""


@dataclass(frozen=True)
class Entry:
    """One entry of the audit log."""

    sequence: int  # 1, 2, 3, ... without gaps
    at: datetime  # UTC, by the clock of the machine; order is told by `sequence`. Year 1: overwritten, no time any more
    who: str  # user, "token:NAME", "command:LOGIN" at this machine, "local" where nobody has to log in, or "station"
    what: str  # kind of change, such as "part.add" or "model.activate"
    part: str  # that it concerns; empty: none
    detail: dict[str, Any]  # plain JSON; {"unreadable": text} where somebody overwrote it with what is none
    hash: str  # SHA-256, 64 hexadecimal digits


@dataclass(frozen=True)
class Head:
    """The newest entry, which stands for all before it."""

    sequence: int  # 0: the log is empty
    hash: str

    def __str__(self) -> str:
        """Write it as ``SEQUENCE:HASH``, as `parse` reads it."""
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what ``str`` wrote.

        Raises:
            ValueError: it is no such text.
        """
        sequence, _, digest = text.strip().partition(":")
        is_number = sequence.isascii() and sequence.isdecimal()
        if not is_number or len(digest) != len(FIRST) or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"'{text}' is no head of an audit log; expected SEQUENCE:HASH, as the command prints it.")
        return cls(int(sequence), digest)


@dataclass(frozen=True)
class Verified:
    """What `verify` found."""

    head: Head  # the last entry that was read
    faults: tuple[str, ...]  # one sentence for each break of the chain; empty: the log is whole

    @property
    def is_whole(self) -> bool:
        """Say whether nothing was changed, removed or slipped in."""
        return not self.faults


def append(connection: sqlite3.Connection, at: str, who: str, what: str, part: str, detail: Mapping[str, Any]) -> Head:
    """Add an entry inside the transaction that is open on ``connection``; use `Store.note`, which knows the time.

    Returns:
        The new head of the log.
    """
    last = head(connection)
    sequence = last.sequence + 1
    text = json.dumps(detail, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    digest = _hash(last.hash, sequence, at, who, what, part, text)
    connection.execute(
        "INSERT INTO audit (sequence, at, who, what, part, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (sequence, at, who, what, part, text, last.hash, digest),
    )
    return Head(sequence, digest)


def head(connection: sqlite3.Connection) -> Head:
    """Return the newest entry's number and hash."""
    query = "SELECT sequence, CAST(hash AS BLOB) FROM audit ORDER BY sequence DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    return Head(0, FIRST) if row is None else Head(*_as_text(row, "backslashreplace"))


def entries(
    store: Store,
    *,
    before: int | None = None,
    limit: int = 100,
    who: str | None = None,
    what: str | None = None,
    part: str | None = None,
) -> list[Entry]:
    """Return entries, newest first.

    Args:
        store: whose log is read.
        before: only entries with a smaller sequence than this, for the next page.
        limit: at most so many.
        who: only of this person or token.
        what: only changes of this kind; ``"model."`` with a dot at the end takes all that begin so.
        part: only what concerns this part.
    """
    conditions, values = ["1"], list[Any]()
    for condition, value in (("sequence < ?", before), ("who = ?", who), ("part = ?", part)):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if what is not None:
        conditions.append("substr(what, 1, ?) = ?" if what.endswith(".") else "what = ?")
        values += [len(what), what] if what.endswith(".") else [what]
    query = f"SELECT {_AS_BYTES} FROM audit WHERE {' AND '.join(conditions)} ORDER BY sequence DESC LIMIT ?"
    with store.read() as connection:
        return [_entry(row) for row in connection.execute(query, (*values, limit))]


def verify(store: Store, expected: Head | None = None) -> Verified:
    """Compute the whole chain anew and compare it with what is stored.

    Args:
        store: whose log is read.
        expected: a head that was noted earlier in another place: this entry must still be there, unchanged.

    Returns:
        What was found; it never raises because of what the log holds.
    """
    with store.read() as connection:
        return verify_chain(connection, expected)


def verify_chain(connection: sqlite3.Connection, expected: Head | None = None) -> Verified:
    """Do what `verify` does, on a connection."""
    faults: list[str] = []
    last = Head(0, FIRST)
    for sequence, fault, digest in _checked(connection):
        if fault:
            faults.append(fault)
        if expected is not None and sequence == expected.sequence and digest != expected.hash:
            faults.append(f"Entry {sequence} is not the one whose hash was noted: the log was computed anew.")
        last = Head(sequence, digest)
    written = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
    longest = max(0 if written is None else written[0], 0 if expected is None else expected.sequence)
    if longest > last.sequence:
        faults.append(f"Entries {last.sequence + 1} to {longest} are missing at the end.")
    return Verified(last, tuple(faults))


def _checked(connection: sqlite3.Connection) -> Iterator[tuple[int, str, str]]:
    """Yield each entry's number, what is wrong with it (empty: nothing) and its stored hash."""
    before, number = FIRST, 0
    for row in connection.execute(f"SELECT {_AS_BYTES} FROM audit ORDER BY sequence"):
        sequence, *content, previous, digest = _as_text(row, "surrogateescape")
        fault = ""
        if sequence != number + 1:
            fault = f"Between entries {number} and {sequence} some are missing."
        elif previous != before:
            fault = f"Entry {sequence} does not follow from entry {number}: one of them was replaced."
        elif digest != _hash(previous, sequence, *content):
            fault = f"Entry {sequence} was changed after it was written."
        yield sequence, fault, digest
        before, number = digest, sequence


_CONTENT: Final = ("at", "who", "what", "part", "detail", "previous", "hash")
_AS_BYTES: Final = ", ".join(["sequence", *(f"CAST({name} AS BLOB)" for name in _CONTENT)])


def _as_text(row: Sequence[Any], errors: str) -> tuple[Any, ...]:
    """Read a row of `_AS_BYTES`; what is no UTF-8 was not written by us, and must show as changed, not stop anybody."""
    return row[0], *((value or b"").decode("utf-8", errors) for value in row[1:])


def _entry(row: Sequence[Any]) -> Entry:
    sequence, at, who, what, part, text, _, digest = _as_text(row, "backslashreplace")
    try:
        when = as_time(at)
    except ValueError:
        when = datetime.min.replace(tzinfo=UTC)
    try:
        detail = json.loads(text)
    except ValueError:
        detail = None
    return Entry(sequence, when, who, what, part, detail if isinstance(detail, dict) else {"unreadable": text}, digest)


def _hash(previous: str, sequence: int, *content: str) -> str:
    """SHA-256 of the hash before and the entry as JSON: unambiguous, and anybody can compute it without Blemish."""
    text = json.dumps([sequence, *content], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(previous.encode() + text.encode("utf-8", "surrogatepass")).hexdigest()
