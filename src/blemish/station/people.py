"""Who may do what: users with roles, sessions of the pages, tokens of machines, and how guessing is slowed down.

Of passwords only an scrypt hash is stored, of sessions and tokens only a SHA-256: who reads the database cannot log in
with what is there. A session has a CSRF token besides, which a page must send back with every change.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import sqlite3
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from blemish.errors import AccessError, ConflictError, NotFoundError, SettingError
from blemish.station.clock import as_text, as_time, now
from blemish.station.store import Store

SESSION_HOURS: Final = 12  # a long shift; then a person logs in again
LEAST_LENGTH: Final = 10  # of a password, in characters
_MOST_BYTES: Final = 1024  # of a password: more is no password but an attempt to keep the processor busy
_N, _R, _P = 2**15, 8, 3  # scrypt: 32 MB and some tenths of a second for each guess (OWASP's minimum, 2024)
_N_FREE: Final = 5  # failed attempts before somebody has to wait
_MOST_WAIT: Final = 300.0  # seconds: long for a guesser, bearable for a person
_N_REMEMBERED: Final = 4096  # names and addresses whose failures are counted; a flood pushes out the oldest
_CLOCK_SLACK: Final = timedelta(minutes=5)
_NAME: Final = re.compile(r"\w(?:[\w .@+-]{0,62}\w)?")
_ACTORS: Final = frozenset({"station", "local"})  # who the audit log means by these is no person
_TOKEN_BEGIN: Final = "blemish_"  # so that one that got into a repository is recognised
_REFUSED: Final = "Name or password is wrong, or this user is disabled."


class Role(StrEnum):
    """What somebody may do; each may do what those before may."""

    OPERATOR = "operator"  # sees, inspects, decides
    ENGINEER = "engineer"  # teaches, moves thresholds and zones, activates models
    ADMIN = "admin"  # users, tokens, sinks, sources, retention

    def may(self, needed: Role) -> bool:
        """Say whether this role may do what needs ``needed``.

        Example:
            >>> Role.ENGINEER.may(Role.OPERATOR), Role.ENGINEER.may(Role.ADMIN)
            (True, False)
        """
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)


@dataclass(frozen=True)
class User:
    """A person who may log in."""

    name: str
    role: Role
    created: datetime
    disabled: bool


@dataclass(frozen=True)
class Session:
    """A person who is logged in."""

    user: User
    csrf: str  # must come back with every change
    created: datetime
    expires: datetime


@dataclass(frozen=True)
class Token:
    """A machine that may use the API."""

    id: int
    name: str
    role: Role
    created: datetime
    who: str  # made it
    revoked: datetime | None

    @property
    def actor(self) -> str:
        """What the audit log calls it."""
        return f"token:{self.name}"


class People:
    """The users, sessions and tokens of a station."""

    def __init__(self, store: Store) -> None:
        """Take the store they are kept in. Failed attempts are counted by this object, so make one for a server."""
        self._store = store
        self._attempts = _Attempts()
        # A browser does not tell stations on other ports of a machine apart: under one name, logging in to one station
        # would log out of the other, and show it the secret.
        self.cookie = f"blemish_session_{hashlib.sha256(os.fsencode(store.folder)).hexdigest()[:8]}"

    # -------------------------------------------------------------------------------------------------------- users

    def add_user(self, name: str, password: str, role: Role, *, who: str) -> User:
        """Add a person.

        Raises:
            SettingError: the name is none or means the station itself in the audit log, or the password is too short,
                too long or the name itself.
            ConflictError: there is one of this name, upper and lower case being the same.
        """
        name = unicodedata.normalize("NFC", name)
        if not _NAME.fullmatch(name):
            raise SettingError(
                f"'{name[:80]}' cannot be a user's name; expected 1 to 64 letters, digits and . _ @ + -."
            )
        if name.casefold() in _ACTORS:
            raise SettingError(f"'{name}' stands for something else in the audit log. Choose another name.")
        hashed = _hashed(name, password)
        with self._store.transaction() as connection:
            if connection.execute("SELECT 1 FROM users WHERE key = ?", (name.casefold(),)).fetchone():
                raise ConflictError(f"There is a user '{name}' already.")
            connection.execute(
                "INSERT INTO users (name, key, role, password, created) VALUES (?, ?, ?, ?, ?)",
                (name, name.casefold(), Role(role).value, hashed, as_text(now())),
            )
            self._store.note(who, "user.add", user=name, role=Role(role).value)
            return _user_of(connection, name)

    def users(self) -> list[User]:
        """Return all users by name."""
        with self._store.read() as connection:
            return [_user(row) for row in connection.execute(f"SELECT {_USER} FROM users ORDER BY key")]

    def has_admin(self) -> bool:
        """Say whether somebody can administer the station; without, it is not opened beyond this machine."""
        return any(user.role is Role.ADMIN and not user.disabled for user in self.users())

    def set_password(self, name: str, password: str, *, who: str) -> None:
        """Give a person another password; whoever is logged in as this person is logged out.

        Raises:
            NotFoundError: no such user.
            SettingError: the password is too short, too long or the name itself.
        """
        hashed = _hashed(name, password)
        with self._store.transaction() as connection:
            user = _user_of(connection, name)
            connection.execute("UPDATE users SET password = ? WHERE name = ?", (hashed, user.name))
            connection.execute("DELETE FROM sessions WHERE user = ?", (user.name,))
            self._store.note(who, "user.password", user=user.name)

    def set_role(self, name: str, role: Role, *, who: str) -> User:
        """Give a person another role, at once also where they are logged in.

        Raises:
            NotFoundError: no such user.
            ConflictError: this is the last admin.
        """
        with self._store.transaction() as connection:
            user = _user_of(connection, name)
            if role is not Role.ADMIN:
                _keep_an_admin(connection, user)
            connection.execute("UPDATE users SET role = ? WHERE name = ?", (Role(role).value, user.name))
            self._store.note(who, "user.role", user=user.name, before=user.role.value, to=Role(role).value)
            return _user_of(connection, user.name)

    def disable(self, name: str, *, who: str, disabled: bool = True) -> User:
        """Let a person in no longer, or again, and log them out. Users are never deleted: the log names them.

        Raises:
            NotFoundError: no such user.
            ConflictError: this is the last admin.
        """
        with self._store.transaction() as connection:
            user = _user_of(connection, name)
            if disabled:
                _keep_an_admin(connection, user)
            connection.execute("UPDATE users SET disabled = ? WHERE name = ?", (disabled, user.name))
            connection.execute("DELETE FROM sessions WHERE user = ?", (user.name,))
            self._store.note(who, "user.disable" if disabled else "user.enable", user=user.name)
            return _user_of(connection, user.name)

    # ----------------------------------------------------------------------------------------------------- sessions

    def log_in(self, name: str, password: str, *, address: str = "") -> tuple[str, Session]:
        """Let a person in.

        Args:
            name: of the user, in any case.
            password: as typed.
            address: where the request comes from; failures are counted for names and for addresses, see `network_of`,
                and for a name at an address where it has logged in before by themselves.

        Returns:
            The secret for the cookie, which is stored nowhere, and the session.

        Raises:
            AccessError: wrong, disabled, or too many failures; then with `retry_after`. It takes equally long for
                a name that there is and one that there is not.
        """
        key = unicodedata.normalize("NFC", name).casefold()[:200].encode("utf-8", "replace").decode()
        network = network_of(address)
        # A name from where it has logged in before is counted apart, so that guesses from elsewhere lock nobody out.
        known = f"known {network} {key}"
        counted = (known if self._attempts.is_known(known) else f"user {key}", f"address {network}")
        with self._attempts.turn(*counted):
            with self._store.read() as connection:
                row = connection.execute("SELECT name, password, disabled FROM users WHERE key = ?", (key,)).fetchone()
            is_right = _matches(password, _NOBODYS if row is None else row[1])
            if row is None or not is_right or row[2]:
                self._attempts.failed(*counted)
                self._store.note("station", "login.refuse", user=key, address=address)
                raise AccessError(_REFUSED)
            self._attempts.succeeded(*counted, known=known)
        secret, csrf, at = secrets.token_urlsafe(32), secrets.token_urlsafe(32), now()
        with self._store.transaction() as connection:
            query = "SELECT 1 FROM users WHERE name = ? AND password = ? AND NOT disabled"
            if connection.execute(query, row[:2]).fetchone() is None:  # changed while the password was looked at
                raise AccessError(_REFUSED)
            connection.execute("DELETE FROM sessions WHERE expires < ?", (as_text(at),))
            connection.execute(
                "INSERT INTO sessions (hash, user, csrf, created, expires) VALUES (?, ?, ?, ?, ?)",
                (_digest(secret), row[0], csrf, as_text(at), as_text(at + timedelta(hours=SESSION_HOURS))),
            )
            self._store.note(row[0], "login", address=address)
            user = _user_of(connection, row[0])
        return secret, Session(user, csrf, at, at + timedelta(hours=SESSION_HOURS))

    def session(self, secret: str) -> Session | None:
        """Return whose session this is; None: nobody's, expired, logged out or disabled.

        A session that seems to begin in the future is refused: the clock was set back, and it would never expire.
        """
        query = (
            "SELECT u.name, u.role, u.created, u.disabled, s.csrf, s.created, s.expires "
            "FROM sessions s JOIN users u ON u.name = s.user WHERE s.hash = ? AND NOT u.disabled"
        )
        with self._store.read() as connection:
            row = connection.execute(query, (_digest(secret),)).fetchone()
        if row is None:
            return None
        session = Session(_user(row[:4]), row[4], as_time(row[5]), as_time(row[6]))
        return session if session.created - _CLOCK_SLACK <= now() < session.expires else None

    def log_out(self, secret: str) -> None:
        """End a session; one that is not there is ended already."""
        with self._store.transaction() as connection:
            row = connection.execute("SELECT user FROM sessions WHERE hash = ?", (_digest(secret),)).fetchone()
            if row is not None:
                connection.execute("DELETE FROM sessions WHERE hash = ?", (_digest(secret),))
                self._store.note(row[0], "logout")

    # ------------------------------------------------------------------------------------------------------- tokens

    def add_token(self, name: str, role: Role, *, who: str) -> tuple[str, Token]:
        """Make a token for a machine.

        Returns:
            The secret, which is shown once and stored nowhere, and the token.

        Raises:
            SettingError: the name is none.
            ConflictError: there is one of this name; also a revoked one, for the log names it.
        """
        if not _NAME.fullmatch(name):
            raise SettingError(f"'{name[:80]}' cannot be a token's name; expected 1 to 64 letters, digits, . _ @ + -.")
        secret = _TOKEN_BEGIN + secrets.token_urlsafe(32)
        with self._store.transaction() as connection:
            if connection.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                raise ConflictError(f"There is a token '{name}' already. Choose another name.")
            connection.execute(
                "INSERT INTO tokens (name, hash, role, created, who) VALUES (?, ?, ?, ?, ?)",
                (name, _digest(secret), Role(role).value, as_text(now()), who),
            )
            self._store.note(who, "token.add", token=name, role=Role(role).value)
            return secret, _token_of(connection, name)

    def tokens(self) -> list[Token]:
        """Return all tokens, revoked ones too."""
        with self._store.read() as connection:
            return [_token(row) for row in connection.execute(f"SELECT {_TOKEN} FROM tokens ORDER BY id")]

    def revoke_token(self, name: str, *, who: str) -> Token:
        """Let a machine in no longer, for good.

        Raises:
            NotFoundError: no such token.
        """
        with self._store.transaction() as connection:
            token = _token_of(connection, name)
            if token.revoked is None:
                connection.execute("UPDATE tokens SET revoked = ? WHERE name = ?", (as_text(now()), name))
                self._store.note(who, "token.revoke", token=name)
            return _token_of(connection, name)

    def token(self, secret: str) -> Token | None:
        """Return whose token this is; None: nobody's, or revoked."""
        with self._store.read() as connection:
            query = f"SELECT {_TOKEN} FROM tokens WHERE hash = ? AND revoked IS NULL"
            row = connection.execute(query, (_digest(secret),)).fetchone()
        return None if row is None else _token(row)


def network_of(address: str) -> str:
    """Return whose requests are counted together: an IPv4 address, or the 64 bits of IPv6 that one customer gets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


class _Attempts:
    """Counts failed attempts, and makes who fails often wait longer and longer; kept in memory only."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # key -> how many, not before
        self._known: OrderedDict[str, None] = OrderedDict()  # names and where they have logged in
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def turn(self, *keys: str) -> Iterator[None]:
        """Let one attempt after the other be looked at, so that many at once neither slip through nor fill the memory.

        Who has to wait is told so before and not while others are looked at: a flood of them holds up nobody.
        """
        self._require_no_wait(*keys)
        with self._one_at_a_time:
            self._require_no_wait(*keys)
            yield

    def _require_no_wait(self, *keys: str) -> None:
        with self._lock:
            wait = max(self._failures.get(key, (0, 0.0))[1] for key in keys) - time.monotonic()
        if wait > 0:
            raise AccessError(f"Too many failed attempts. Try again in {wait:.0f} seconds.", retry_after=wait)

    def failed(self, *keys: str) -> None:
        with self._lock:
            for key in keys:
                n_failed = self._failures.pop(key, (0, 0.0))[0] + 1
                wait = min(2.0 ** (n_failed - _N_FREE), _MOST_WAIT) if n_failed >= _N_FREE else 0.0
                n_counted = min(n_failed, _N_FREE + 99)  # more make nobody wait longer, and 2.0**1024 is no number
                self._failures[key] = (n_counted, time.monotonic() + wait)
            while len(self._failures) > _N_REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, *keys: str, known: str) -> None:
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)
            self._known[known] = None
            self._known.move_to_end(known)
            if len(self._known) > _N_REMEMBERED:
                self._known.popitem(last=False)

    def is_known(self, key: str) -> bool:
        """Say whether a name has logged in from an address."""
        with self._lock:
            return key in self._known


_USER: Final = "name, role, created, disabled"
_TOKEN: Final = "id, name, role, created, who, revoked"
_SALT: Final = secrets.token_bytes(16)


def _user(row: Any) -> User:
    return User(row[0], Role(row[1]), as_time(row[2]), bool(row[3]))


def _user_of(connection: sqlite3.Connection, name: str) -> User:
    key = unicodedata.normalize("NFC", name).casefold()
    row = connection.execute(f"SELECT {_USER} FROM users WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no user '{name}'.")
    return _user(row)


def _token(row: Any) -> Token:
    return Token(row[0], row[1], Role(row[2]), as_time(row[3]), row[4], None if row[5] is None else as_time(row[5]))


def _token_of(connection: sqlite3.Connection, name: str) -> Token:
    row = connection.execute(f"SELECT {_TOKEN} FROM tokens WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no token '{name}'.")
    return _token(row)


def _keep_an_admin(connection: sqlite3.Connection, user: User) -> None:
    """Refuse to take away the last one who could give it back."""
    query = "SELECT COUNT(*) FROM users WHERE role = 'admin' AND NOT disabled AND name != ?"
    if user.role is Role.ADMIN and not user.disabled and connection.execute(query, (user.name,)).fetchone()[0] == 0:
        raise ConflictError(f"'{user.name}' is the last admin. Make somebody else one first.")


def _digest(secret: str) -> str:
    """SHA-256 is enough for what is random and long: nobody can guess 256 bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _hashed(name: str, password: str) -> str:
    """Check a new password and return ``scrypt$N$R$P$SALT$HASH``."""
    if len(password) < LEAST_LENGTH or not _may_be_one(password) or password.casefold() == name.casefold():
        raise SettingError(
            f"The password has {len(password)} characters; expected {LEAST_LENGTH} or more, at most {_MOST_BYTES} "
            "bytes, none of them 0, and not the name. Several words in a row are easy to remember and hard to guess."
        )
    salt = secrets.token_bytes(16)
    text = (base64.b64encode(part).decode() for part in (salt, _scrypt(password, salt, _N, _R, _P)))
    return "$".join(["scrypt", str(_N), str(_R), str(_P), *text])


def _may_be_one(password: str) -> bool:
    """Say whether scrypt may be given this: zeros at the end count for nothing there, so there must be none."""
    return len(password.encode("utf-8", "surrogatepass")) <= _MOST_BYTES and "\0" not in password


def _matches(password: str, stored: str) -> bool:
    if not _may_be_one(password):
        return False
    _, n, r, p, salt, expected = stored.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(expected))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    """Compute the hash; Unicode is brought to one form first, for keyboards differ in how they write an umlaut."""
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r, dklen=32)


# A hash that nothing matches: a name that there is not takes as long as one that there is.
_NOBODYS: Final = "$".join(["scrypt", str(_N), str(_R), str(_P), *[base64.b64encode(_SALT).decode()] * 2])
