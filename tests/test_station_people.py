"""Who is let in, who is not, and for how long; nothing in the database lets anybody in."""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from blemish.errors import AccessError, ConflictError, NotFoundError, SettingError
from blemish.station import audit, people
from blemish.station.people import LEAST_LENGTH, SESSION_HOURS, People, Role, _Attempts
from blemish.station.store import DATABASE, Store

PASSWORD = "three words in a row"
OTHER = "some other four words"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "station") as opened:
        yield opened


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take an scrypt of a thousandth of the cost; the real one is tried by the tests that name it."""
    monkeypatch.setattr(people, "_N", 2**5)
    monkeypatch.setattr(people, "_NOBODYS", people._NOBODYS.replace(str(2**15), str(2**5)))


@pytest.fixture
def staff(store: Store, cheap: None) -> People:
    made = People(store)
    made.add_user("Anna", PASSWORD, Role.ADMIN, who="local")
    made.add_user("Ben", PASSWORD, Role.OPERATOR, who="Anna")
    return made


class Clock:
    """The machine's clocks, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.steady = datetime(2026, 5, 1, 6, tzinfo=UTC), 1000.0
        monkeypatch.setattr(people, "now", lambda: self.wall)
        monkeypatch.setattr(people, "time", SimpleNamespace(monotonic=lambda: self.steady))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def whats(store: Store) -> list[str]:
    return [entry.what for entry in audit.entries(store)][::-1]


# --------------------------------------------------------------------------------------------------------------- roles


def test_each_role_may_do_what_those_before_may() -> None:
    allowed = [[role.may(needed) for needed in Role] for role in Role]
    assert list(Role) == [Role.OPERATOR, Role.ENGINEER, Role.ADMIN]
    assert allowed == [[True, False, False], [True, True, False], [True, True, True]]


def test_another_role_counts_at_once_where_somebody_is_logged_in(staff: People) -> None:
    secret, session = staff.log_in("Ben", PASSWORD)
    assert session.user.role is Role.OPERATOR
    staff.set_role("Ben", Role.ENGINEER, who="Anna")
    again = staff.session(secret)
    assert again is not None
    assert again.user.role is Role.ENGINEER


def test_the_last_admin_stays_one(staff: People) -> None:
    with pytest.raises(ConflictError, match="last admin"):
        staff.set_role("Anna", Role.OPERATOR, who="Anna")
    with pytest.raises(ConflictError, match="last admin"):
        staff.disable("anna", who="Anna")
    staff.set_role("Anna", Role.ADMIN, who="Anna")
    staff.set_role("Ben", Role.ADMIN, who="Anna")
    staff.disable("Anna", who="Ben")
    assert staff.has_admin()
    with pytest.raises(ConflictError, match="last admin"):  # one who is disabled does not count
        staff.disable("Ben", who="Ben")
    staff.disable("Anna", who="Ben", disabled=False)
    staff.set_role("Ben", Role.OPERATOR, who="Anna")
    assert [(user.name, user.role, user.disabled) for user in staff.users()] == [
        ("Anna", Role.ADMIN, False),
        ("Ben", Role.OPERATOR, False),
    ]


def test_without_an_admin_it_is_said(store: Store, cheap: None) -> None:
    staff = People(store)
    assert not staff.has_admin()
    staff.add_user("ben", PASSWORD, Role.ENGINEER, who="local")
    assert not staff.has_admin()


# --------------------------------------------------------------------------------------------------- names, passwords


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a:b", "token:a", "a/b", "a\n", "a\0b", "<b>", "x" * 65, "\ud800", "Station", "LOCAL"]
)
def test_a_name_that_could_be_taken_for_something_else_is_refused(staff: People, name: str) -> None:
    with pytest.raises(SettingError):
        staff.add_user(name, PASSWORD, Role.ADMIN, who="Anna")
    assert len(staff.users()) == 2


def test_names_that_look_alike_are_the_same(staff: People) -> None:
    staff.add_user("J\u00fcrgen", PASSWORD, Role.OPERATOR, who="Anna")
    for name in ("ANNA", "anna", "Ju\u0308rgen", "J\u00dcRGEN"):
        with pytest.raises(ConflictError):
            staff.add_user(name, PASSWORD, Role.ADMIN, who="Anna")
    assert staff.log_in("ju\u0308rgen", PASSWORD)[1].user.name == "J\u00fcrgen"


@pytest.mark.parametrize(
    "password",
    ["", "x" * (LEAST_LENGTH - 1), "x" * 1025, "\u20ac" * 342, "zeros" + "\0" * 9, "maintenance", "MAINTENANCE"],
)
def test_a_weak_or_huge_password_is_refused(staff: People, password: str) -> None:
    with pytest.raises(SettingError, match="expected 10 or more"):
        staff.add_user("Maintenance", password, Role.OPERATOR, who="Anna")
    staff.add_user("Maintenance", PASSWORD, Role.OPERATOR, who="Anna")
    with pytest.raises(SettingError, match="expected 10 or more"):
        staff.set_password("maintenance", password, who="Anna")
    assert staff.log_in("maintenance", PASSWORD)


@pytest.mark.parametrize("password", ["x" * LEAST_LENGTH, "x" * 1024, "\ud800" * 10, "\u00fc" * 10])
def test_every_other_password_lets_in_and_nothing_near_it(staff: People, password: str) -> None:
    staff.add_user("cleo", password, Role.OPERATOR, who="Anna")
    assert staff.log_in("cleo", password)
    for wrong in ("", password[:-1], password + " ", password + "\0"):
        with pytest.raises(AccessError):
            staff.log_in("cleo", wrong)


def test_a_password_is_the_same_however_the_keyboard_writes_it(staff: People) -> None:
    staff.add_user("cleo", "gr\u00fc\u00dfe an alle", Role.OPERATOR, who="Anna")
    assert staff.log_in("cleo", "gru\u0308\u00dfe an alle")


def test_the_stored_password_is_an_scrypt_hash_of_the_documented_cost(store: Store) -> None:
    People(store).add_user("anna", PASSWORD, Role.ADMIN, who="local")
    with store.read() as connection:
        (stored,) = connection.execute("SELECT password FROM users").fetchone()
    kind, n, r, p, salt, digest = stored.split("$")
    assert (kind, int(n), int(r), int(p)) == ("scrypt", 2**15, 8, 3)
    raw = [base64.b64decode(part) for part in (salt, digest)]
    assert len(raw[0]) == 16
    memory = {"maxmem": 2**26, "dklen": 32}
    assert hashlib.scrypt(PASSWORD.encode(), salt=raw[0], n=2**15, r=8, p=3, **memory) == raw[1]


def test_the_same_password_is_stored_differently_each_time(staff: People, store: Store) -> None:
    with store.read() as connection:
        rows = connection.execute("SELECT password FROM users").fetchall()
    assert len(set(rows)) == 2


def test_a_name_that_there_is_not_costs_as_much_as_one_that_there_is(
    staff: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []
    scrypt = people._scrypt

    def counted(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        asked.append((n, r, p))
        return scrypt(password, salt, n, r, p)

    monkeypatch.setattr(people, "_scrypt", counted)
    for name in ("Anna", "nobody"):
        with pytest.raises(AccessError, match="Name or password is wrong"):
            staff.log_in(name, OTHER)
    assert asked == [(2**5, 8, 3)] * 2


def test_nothing_that_is_stored_lets_anybody_in(staff: People, store: Store) -> None:
    secret, session = staff.log_in("Anna", PASSWORD)
    token, _ = staff.add_token("camera", Role.OPERATOR, who="Anna")
    content = b"".join(path.read_bytes() for path in store.folder.glob(f"{DATABASE}*"))
    assert session.csrf.encode() in content  # so it is there that they would be found
    for hidden in (secret, token, PASSWORD):
        assert hidden.encode() not in content
    with store.read() as connection:
        stored = [row[0] for row in connection.execute("SELECT hash FROM sessions UNION SELECT hash FROM tokens")]
        passwords = [row[0] for row in connection.execute("SELECT password FROM users")]
    for each in stored:
        assert staff.session(each) is None
        assert staff.token(each) is None
    for each in passwords:
        with pytest.raises(AccessError):
            staff.log_in("Anna", each)


# ------------------------------------------------------------------------------------------------------------ sessions


def test_a_session_lasts_a_shift_and_no_longer(staff: People, clock: Clock) -> None:
    secret, session = staff.log_in("Ben", PASSWORD)
    assert staff.session(secret) == session
    clock.wall += timedelta(hours=SESSION_HOURS) - timedelta(seconds=1)
    assert staff.session(secret) == session
    clock.wall += timedelta(seconds=1)
    assert staff.session(secret) is None


def test_a_clock_that_was_set_back_does_not_make_a_session_last(staff: People, clock: Clock) -> None:
    secret, _ = staff.log_in("Ben", PASSWORD)
    clock.wall -= timedelta(minutes=4)  # as a clock that is set by the network may
    assert staff.session(secret) is not None
    clock.wall -= timedelta(days=1)
    assert staff.session(secret) is None


def test_old_sessions_are_forgotten(staff: People, store: Store, clock: Clock) -> None:
    for _ in range(3):
        staff.log_in("Ben", PASSWORD)
    clock.wall += timedelta(hours=SESSION_HOURS + 1)
    staff.log_in("Ben", PASSWORD)
    with store.read() as connection:
        assert connection.execute("SELECT COUNT(*) FROM sessions").fetchone()[0] == 1


def test_every_session_has_secrets_of_its_own(staff: People) -> None:
    first, second = staff.log_in("Ben", PASSWORD), staff.log_in("Ben", PASSWORD)
    assert len({first[0], second[0], first[1].csrf, second[1].csrf}) == 4
    staff.log_out(first[0])
    staff.log_out(first[0])
    staff.log_out("nobody's")
    assert staff.session(first[0]) is None
    assert staff.session(second[0]) == second[1]


@pytest.mark.parametrize("act", ["set_password", "disable"])
def test_a_new_password_or_being_disabled_ends_all_sessions_of_this_person(staff: People, act: str) -> None:
    ben, anna = staff.log_in("Ben", PASSWORD)[0], staff.log_in("Anna", PASSWORD)[0]
    if act == "disable":
        staff.disable("ben", who="Anna")
    else:
        staff.set_password("ben", OTHER, who="Anna")
    assert staff.session(ben) is None
    assert staff.session(anna) is not None
    with pytest.raises(AccessError, match="wrong, or this user is disabled"):
        staff.log_in("Ben", PASSWORD)


def test_who_is_enabled_again_logs_in_again(staff: People) -> None:
    secret, _ = staff.log_in("Ben", PASSWORD)
    staff.disable("Ben", who="Anna")
    staff.disable("Ben", who="Anna", disabled=False)
    assert staff.session(secret) is None
    assert staff.log_in("Ben", PASSWORD)


@pytest.mark.parametrize("act", ["set_password", "disable"])
def test_a_change_in_the_moment_of_logging_in_counts(
    staff: People, store: Store, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    matches = people._matches

    def slowly(password: str, stored: str) -> bool:
        found = matches(password, stored)
        if act == "disable":
            staff.disable("Ben", who="Anna")
        else:
            staff.set_password("Ben", OTHER, who="Anna")
        return found

    monkeypatch.setattr(people, "_matches", slowly)
    with pytest.raises(AccessError):
        staff.log_in("Ben", PASSWORD)
    with store.read() as connection:
        assert connection.execute("SELECT COUNT(*) FROM sessions").fetchone()[0] == 0


# -------------------------------------------------------------------------------------------------------------- tokens


def test_a_token_lets_in_until_it_is_revoked(staff: People) -> None:
    secret, token = staff.add_token("camera 1", Role.OPERATOR, who="Anna")
    other, _ = staff.add_token("press", Role.ENGINEER, who="Anna")
    assert secret.startswith("blemish_")
    assert staff.token(secret) == token
    assert (token.actor, token.role, token.who) == ("token:camera 1", Role.OPERATOR, "Anna")
    assert staff.revoke_token("camera 1", who="Anna").revoked is not None
    assert staff.token(secret) is None
    assert staff.token(other) is not None
    revoked = staff.tokens()[0]
    assert staff.revoke_token("camera 1", who="Anna") == revoked  # once is enough
    assert [each.name for each in staff.tokens()] == ["camera 1", "press"]
    with pytest.raises(ConflictError):  # the log names it: no other machine may have its name
        staff.add_token("camera 1", Role.OPERATOR, who="Anna")
    for wrong in ("", secret[:-1], secret.upper(), "\ud800"):
        assert staff.token(wrong) is None


@pytest.mark.parametrize("name", ["", "a:b", "a\n", "x" * 65])
def test_a_name_that_is_none_makes_no_token(staff: People, name: str) -> None:
    with pytest.raises(SettingError):
        staff.add_token(name, Role.OPERATOR, who="Anna")


def test_what_is_not_there_is_said(staff: People) -> None:
    for act in (
        lambda: staff.set_password("nobody", PASSWORD, who="Anna"),
        lambda: staff.set_role("nobody", Role.ADMIN, who="Anna"),
        lambda: staff.disable("nobody", who="Anna"),
        lambda: staff.revoke_token("nothing", who="Anna"),
    ):
        with pytest.raises(NotFoundError):
            act()


# ------------------------------------------------------------------------------------------------------------ guessing


def fail(staff: People, name: str, address: str) -> float:
    """Log in wrongly and return how long to wait, 0 where the attempt was looked at."""
    with pytest.raises(AccessError) as refused:
        staff.log_in(name, "wrong password", address=address)
    return refused.value.retry_after


def test_who_fails_often_waits_longer_and_longer(staff: People, clock: Clock) -> None:
    assert [fail(staff, "Ben", "1") for _ in range(5)] == [0.0] * 5
    waits = []
    for _ in range(12):
        wait = fail(staff, "Ben", "1")
        waits.append(wait)
        clock.steady += wait
        assert fail(staff, "Ben", "1") == 0.0  # after waiting, the next attempt is looked at
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300])


def test_while_one_waits_even_the_right_password_does_not_let_in(staff: People, clock: Clock) -> None:
    for _ in range(5):
        fail(staff, "Ben", "1")
    with pytest.raises(AccessError, match="Try again in 1 seconds"):
        staff.log_in("BEN", PASSWORD, address="2")  # the name waits, from wherever
    with pytest.raises(AccessError, match="Try again"):
        staff.log_in("Anna", PASSWORD, address="1")  # and so does the address, with whichever name
    assert staff.log_in("Anna", PASSWORD, address="2")
    clock.steady += 1.0
    assert staff.log_in("Ben", PASSWORD, address="1")
    assert [fail(staff, "Ben", "1") for _ in range(5)] == [0.0] * 5  # counted from the beginning again


def test_guesses_from_elsewhere_lock_nobody_out_where_they_have_logged_in(staff: People, clock: Clock) -> None:
    assert staff.log_in("Ben", PASSWORD, address="1")
    waits = [fail(staff, "Ben", f"10.0.0.{n}") for n in range(20)]
    assert waits[-1] > 0
    assert staff.log_in("ben", PASSWORD, address="1")
    with pytest.raises(AccessError, match="Try again"):
        staff.log_in("Ben", PASSWORD, address="2")
    assert [fail(staff, "Ben", "1") for _ in range(5)] == [0.0] * 5
    assert fail(staff, "Ben", "1") > 0  # who guesses there waits like everybody
    assert fail(staff, "known 1 ben", "3") == 0  # and no name stands for another's counter


def test_a_network_of_ipv6_waits_like_one_address(staff: People) -> None:
    assert [fail(staff, f"name {n}", f"2001:db8::{n:x}") for n in range(5)] == [0.0] * 5
    assert fail(staff, "another", "2001:db8::ffff:1") > 0
    assert fail(staff, "another", "2001:db8:0:1::1") == 0  # of the next customer


def test_a_day_of_guessing_from_one_address_leaves_three_hundred_entries(
    staff: People, store: Store, clock: Clock
) -> None:
    day, pause, n_looked_at = 24 * 3600, 5, 0
    for number in range(day // pause):
        n_looked_at += fail(staff, f"name {number}", "1") == 0
        clock.steady += pause
    entries = audit.entries(store, what="login.refuse", limit=1000)
    assert len(entries) == n_looked_at
    assert 200 < len(entries) <= 5 + 9 + day / people._MOST_WAIT  # at once, while the wait doubles, and then


def test_setting_the_clock_does_not_shorten_the_wait(staff: People, clock: Clock) -> None:
    for _ in range(5):
        fail(staff, "Ben", "1")
    clock.wall += timedelta(days=1)
    assert fail(staff, "Ben", "1") > 0


def test_guessing_for_years_makes_nobody_fail_otherwise() -> None:
    attempts = _Attempts()
    for _ in range(3000):
        attempts.failed("user ben")
    with pytest.raises(AccessError) as refused, attempts.turn("user ben"):
        pass
    assert refused.value.retry_after == pytest.approx(300, abs=1)


def test_a_flood_of_names_fills_no_memory_and_pushes_out_the_oldest() -> None:
    attempts = _Attempts()
    for _ in range(5):
        attempts.failed("old")
    for number in range(people._N_REMEMBERED):
        attempts.failed(f"{number}")
    assert len(attempts._failures) == people._N_REMEMBERED
    with attempts.turn("old"):
        pass


def test_attempts_at_once_are_looked_at_one_by_one(staff: People, monkeypatch: pytest.MonkeyPatch) -> None:
    matches, inside, most = people._matches, [0], [0]

    def watched(password: str, stored: str) -> bool:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        inside[0] -= 1
        return matches(password, stored)

    monkeypatch.setattr(people, "_matches", watched)
    waits: list[float] = []

    def guess() -> None:
        try:
            staff.log_in("Ben", "wrong password", address="1")
        except AccessError as refused:
            waits.append(refused.retry_after)

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert sorted(waits)[:5] == [0.0] * 5
    assert sum(wait > 0 for wait in waits) == 15  # none slips through because it came with others


@pytest.mark.parametrize("name", ["\ud800", "x" * 10_000, "", "'; DROP TABLE users; --", "\0"])
def test_any_name_at_all_is_refused_like_a_wrong_one(staff: People, name: str) -> None:
    with pytest.raises(AccessError, match="Name or password is wrong"):
        staff.log_in(name, PASSWORD)
    assert len(staff.users()) == 2


def test_a_huge_password_is_refused_without_being_hashed(staff: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(people, "_scrypt")
    with pytest.raises(AccessError, match="Name or password is wrong"):
        staff.log_in("Ben", "x" * 2000)


# ----------------------------------------------------------------------------------------------------------- audit log


def test_every_change_is_in_the_log_and_no_secret_is(staff: People, store: Store) -> None:
    secret, _ = staff.log_in("ben", PASSWORD, address="10.0.0.7")
    fail(staff, "ben", "10.0.0.8")
    staff.log_out(secret)
    staff.set_password("ben", OTHER, who="Anna")
    staff.set_role("ben", Role.ENGINEER, who="Anna")
    staff.disable("ben", who="Anna")
    staff.disable("ben", who="Anna", disabled=False)
    token, _ = staff.add_token("camera", Role.OPERATOR, who="Anna")
    staff.revoke_token("camera", who="Anna")
    assert whats(store) == [
        *("station.make", "user.add", "user.add", "login", "login.refuse", "logout", "user.password", "user.role"),
        *("user.disable", "user.enable", "token.add", "token.revoke"),
    ]
    entries = {entry.what: entry for entry in audit.entries(store)}
    assert (entries["login"].who, entries["login"].detail) == ("Ben", {"address": "10.0.0.7"})
    assert entries["login.refuse"].detail == {"user": "ben", "address": "10.0.0.8"}
    assert entries["user.role"].detail == {"user": "Ben", "before": "operator", "to": "engineer"}
    told = str(audit.entries(store))
    assert all(hidden not in told for hidden in (secret, token, PASSWORD, OTHER))
    assert audit.verify(store).is_whole
