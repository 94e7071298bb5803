"""Whatever is changed, removed or slipped into the audit log shows, and reading it never fails."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from blemish.errors import StorageError
from blemish.station import audit
from blemish.station.audit import FIRST, Head
from blemish.station.store import DATABASE, Store

N = 7  # entries: the one about making the station, and six more


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "station") as opened:
        for number in range(N - 1):
            opened.note("anna" if number % 2 else "ben", "test.note", "cap", number=number, text="ümlaut \u2028 \\ñ")
        yield opened


def tamper(store: Store, *statements: str) -> None:
    """Do what somebody can who may write the file: take the guards away, change, put them back."""
    with closing(sqlite3.connect(store.folder / DATABASE)) as connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in guards:
            connection.execute(sql)
        connection.commit()


def compute_anew(store: Store, start: int) -> None:
    """Do what `audit` says that somebody may do: compute the whole chain anew from an entry on."""
    with store.read() as connection:
        rows = connection.execute("SELECT sequence, at, who, what, part, detail, hash FROM audit ORDER BY sequence")
        entries = rows.fetchall()
    before = FIRST if start == 1 else entries[start - 2][-1]
    statements = []
    for sequence, *content, _ in entries[start - 1 :]:
        text = json.dumps([sequence, *content], ensure_ascii=False, separators=(",", ":"))
        digest = hashlib.sha256((before + text).encode()).hexdigest()
        statements.append(f"UPDATE audit SET previous = '{before}', hash = '{digest}' WHERE sequence = {sequence}")
        before = digest
    tamper(store, *statements)


def test_the_chain_is_what_the_docstring_says(store: Store) -> None:
    before = FIRST
    with store.read() as connection:
        rows = connection.execute(
            "SELECT previous, hash, sequence, at, who, what, part, detail FROM audit ORDER BY sequence"
        ).fetchall()
    assert [row[2] for row in rows] == list(range(1, N + 1))
    for previous, digest, *content in rows:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        assert previous == before
        assert digest == hashlib.sha256((before + text).encode()).hexdigest()
        before = digest
    assert audit.verify(store) == audit.Verified(Head(N, before), ())


def test_an_entry_says_who_what_when_and_about_what(store: Store) -> None:
    store.note("anna", "sink.add", "cap", name="hook")
    entry = audit.entries(store, limit=1)[0]
    assert (entry.sequence, entry.who, entry.what, entry.part, entry.detail) == (
        *(N + 1, "anna", "sink.add", "cap"),
        {"name": "hook"},
    )
    assert entry.hash == audit.verify(store).head.hash


def test_entries_are_found_by_person_kind_part_and_page(store: Store) -> None:
    store.note("anna", "model.add", "cap")
    store.note("anna", "model.activate", "lid")
    store.note("anna", "model", "lid")
    assert [entry.what for entry in audit.entries(store, what="model.")] == ["model.activate", "model.add"]
    assert [entry.what for entry in audit.entries(store, what="model")] == ["model"]
    assert [entry.what for entry in audit.entries(store, part="lid")] == ["model", "model.activate"]
    assert {entry.who for entry in audit.entries(store, who="ben")} == {"ben"}
    seen: list[int] = []
    while page := audit.entries(store, before=seen[-1] if seen else None, limit=4):
        seen += [entry.sequence for entry in page]
    assert seen == list(range(N + 3, 0, -1))


def test_the_database_refuses_to_change_or_remove_an_entry(store: Store) -> None:
    before = audit.entries(store)
    for statement in ("UPDATE audit SET who = 'ben'", "DELETE FROM audit WHERE sequence = 3"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), store.transaction() as connection:
            connection.execute(statement)
    assert audit.entries(store) == before


def test_an_entry_goes_with_the_change_that_failed(store: Store) -> None:
    with pytest.raises(StorageError), store.transaction():  # noqa: PT012 - fails after the entry on purpose
        store.note("anna", "test.note")
        raise OSError(28, "No space left on device")
    assert audit.verify(store).head.sequence == N
    store.note("anna", "test.note")
    assert audit.verify(store).is_whole


@pytest.mark.parametrize("column", ["at", "who", "what", "part", "detail", "hash", "previous"])
@pytest.mark.parametrize("value", ["'x'", "x'ff00'", "CAST(x'ff' AS TEXT)", "7", "''"])
def test_a_changed_entry_is_found_at_its_place(store: Store, column: str, value: str) -> None:
    tamper(store, f"UPDATE audit SET {column} = {value} WHERE sequence = 4")
    found = audit.verify(store)
    assert not found.is_whole
    assert "Entry 4" in found.faults[0]
    assert audit.entries(store)[N - 4].sequence == 4  # and it can still be read


@pytest.mark.parametrize("value", ["x'ff00'", "CAST(x'ff' AS TEXT)", "7", "''"])
def test_a_newest_entry_without_a_hash_shows_and_the_log_goes_on(store: Store, value: str) -> None:
    tamper(store, f"UPDATE audit SET hash = {value} WHERE sequence = {N}")
    store.note("anna", "test.note")
    found = audit.verify(store)
    assert found.head.sequence == N + 1
    assert f"Entry {N} was changed" in found.faults[0]


def test_bytes_that_are_shown_like_the_text_that_was_there_are_found(store: Store) -> None:
    store.note("\\xff", "test.note")
    tamper(store, f"UPDATE audit SET who = CAST(x'ff' AS TEXT) WHERE sequence = {N + 1}")
    assert audit.entries(store, limit=1)[0].who == "\\xff"
    assert not audit.verify(store).is_whole


@pytest.mark.parametrize("gone", [1, 3, N - 1])
def test_a_removed_entry_is_found_at_its_place(store: Store, gone: int) -> None:
    tamper(store, f"DELETE FROM audit WHERE sequence = {gone}")
    assert audit.verify(store).faults[0] == f"Between entries {gone - 1} and {gone + 1} some are missing."


def test_a_removed_entry_whose_gap_was_closed_is_found(store: Store) -> None:
    tamper(
        store,
        "DELETE FROM audit WHERE sequence = 3",
        *(f"UPDATE audit SET sequence = {number - 1} WHERE sequence = {number}" for number in range(4, N + 1)),
    )
    assert audit.verify(store).faults


def test_an_entry_that_was_slipped_in_is_found(store: Store) -> None:
    tamper(
        store,
        *(f"UPDATE audit SET sequence = {number + 1} WHERE sequence = {number}" for number in range(N, 3, -1)),
        "INSERT INTO audit SELECT 4, at, who, 'user.add', part, detail, previous, hash FROM audit WHERE sequence = 3",
    )
    assert "Entry 4" in audit.verify(store).faults[0]


@pytest.mark.parametrize(("first", "second"), [(2, 3), (3, 6)])
def test_entries_that_changed_places_are_found(store: Store, first: int, second: int) -> None:
    moves = ((first, 99), (second, first), (99, second))
    tamper(store, *(f"UPDATE audit SET sequence = {to} WHERE sequence = {old}" for old, to in moves))
    assert audit.verify(store).faults


@pytest.mark.parametrize("kept", [0, 1, N - 1])
def test_a_log_that_was_cut_short_is_found(store: Store, kept: int) -> None:
    tamper(store, f"DELETE FROM audit WHERE sequence > {kept}")
    assert audit.verify(store).faults == (f"Entries {kept + 1} to {N} are missing at the end.",)


@pytest.mark.parametrize("kept", [0, 3])
def test_a_noted_head_finds_what_was_cut_off_without_a_trace(store: Store, kept: int) -> None:
    noted = audit.verify(store).head
    tamper(
        store,
        f"DELETE FROM audit WHERE sequence > {kept}",
        f"UPDATE sqlite_sequence SET seq = {kept} WHERE name = 'audit'",
    )
    assert audit.verify(store).is_whole  # nobody can tell from the file alone
    assert audit.verify(store, noted).faults == (f"Entries {kept + 1} to {N} are missing at the end.",)


@pytest.mark.parametrize("start", [1, 3, N])
def test_a_noted_head_finds_a_chain_that_was_computed_anew(store: Store, start: int) -> None:
    noted = audit.verify(store).head
    tamper(store, f"UPDATE audit SET who = 'nobody' WHERE sequence = {start}")
    compute_anew(store, start)
    store.note("anna", "test.note")
    assert audit.verify(store).is_whole  # nobody can tell from the file alone
    assert audit.verify(store, noted).faults == (
        f"Entry {N} is not the one whose hash was noted: the log was computed anew.",
    )


def test_a_noted_head_stands_while_the_log_grows(store: Store) -> None:
    noted = [Head(0, FIRST), audit.verify(store).head]
    for _ in range(3):
        store.note("anna", "test.note")
        noted.append(audit.verify(store).head)
    assert all(audit.verify(store, head).is_whole for head in noted)
    assert all(Head.parse(str(head)) == head for head in noted)
    assert Head.parse(f" {noted[1]}\n") == noted[1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text.replace(":", "-"),
        lambda text: f"-{text}",
        lambda text: f"x{text}",
        lambda text: f"²{text}",
        lambda text: text.partition(":")[2],
        lambda text: text[:-1] + "G",
        lambda text: text.upper() + "A",
    ],
)
def test_what_is_no_head_is_refused(spoil: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match="expected SEQUENCE:HASH"):
        Head.parse(spoil(str(Head(12, "0f" * 32))))


def test_a_number_or_text_that_cannot_be_kept_is_refused_and_the_log_stays_whole(store: Store) -> None:
    with pytest.raises(ValueError, match="whole characters"):
        store.note("half \ud800 a character", "test.note")
    with pytest.raises(ValueError, match="64-bit"):
        audit.entries(store, before=2**70)
    assert audit.verify(store).head.sequence == N
