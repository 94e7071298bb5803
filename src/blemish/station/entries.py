"""Sinks and sources as they are kept: a list in the settings, each entry known by its name, secrets apart from it.

Settings are noted in the audit log with their values, and people see them; so a key or password is never one. Those
lie in ``secrets.json`` below the folder of the station, readable by its owner alone. A backup leaves this file out:
whoever restores one sets the secrets anew.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blemish.errors import ConflictError, NotFoundError, SettingError, StationError, StorageError
from blemish.station.store import NAME, Store, sync_folder

SECRETS: Final = "secrets.json"
SINKS: Final = "sinks"  # names of the settings
SOURCES: Final = "sources"
Entry = dict[str, Any]
Records = list[Entry]
_MOST_SECRET: Final = 1024  # characters


class _Required:
    """Stands for the default of a field that has none."""


@dataclass(frozen=True)
class Field:
    """One field of an entry."""

    check: Callable[[Any], Any]  # returns the value as it is kept, or raises SettingError
    default: Any = _Required


def checked(what: str, spec: Mapping[str, Any], kinds: Mapping[str, Mapping[str, Field]]) -> Entry:
    """Return an entry with all fields of its kind.

    Args:
        what: word for an entry, such as ``"sink"``.
        spec: what was asked for.
        kinds: for each kind, the fields beside ``name`` and ``kind``.

    Raises:
        SettingError: a field is missing, unknown, or has a value that makes no sense.
    """
    kind = spec.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise SettingError(f"The kind of a {what} is {kind!r}; expected one of {', '.join(kinds)}.")
    fields = {"name": Field(_name), **kinds[kind]}
    unknown = sorted(set(map(str, spec)) - set(fields) - {"kind"})
    if unknown:
        known = ", ".join(fields)
        raise SettingError(f"A {what} of kind '{kind}' has no field {', '.join(unknown)}; expected {known}.")
    entry: Entry = {"kind": kind}
    for name, field in fields.items():
        if name not in spec and field.default is _Required:
            raise SettingError(f"A {what} of kind '{kind}' needs the field '{name}'.")
        try:
            entry[name] = field.check(spec[name]) if name in spec else field.default
        except SettingError as error:
            raise SettingError(f"Field '{name}' of a {what} of kind '{kind}': {error}") from None
    return entry


class Entries:
    """A list in the settings of a station; a subclass says what an entry must look like."""

    what: str  # word for an entry
    setting: str  # under which the list is kept

    def __init__(self, store: Store) -> None:
        """Take the list of a store."""
        self._store = store

    def list(self) -> Records:
        """Return the entries in the order in which they were added, without secrets."""
        found: Records = self._store.setting(self.setting, [])
        return found

    def entry(self, name: str) -> Entry:
        """Return one.

        Raises:
            NotFoundError: there is none of this name.
        """
        for entry in self.list():
            if entry["name"] == name:
                return entry
        raise NotFoundError(f"There is no {self.what} '{name}'.")

    def add(self, spec: Mapping[str, Any], *, who: str) -> Entry:
        """Add an entry.

        Args:
            spec: its fields; ``secret`` is taken out and kept apart.
            who: adds it.

        Returns:
            The entry as it is kept.

        Raises:
            SettingError: a field makes no sense.
            ConflictError: there is one of this name.
        """
        fields = dict(spec)
        secret = fields.pop("secret", None)
        entry = self.check(fields)
        if secret is not None or self.needs_secret(entry):
            _check_secret(secret)
        with self._store.transaction():
            entries = self.list()
            if any(other["name"].casefold() == entry["name"].casefold() for other in entries):
                raise ConflictError(f"There is a {self.what} '{entry['name']}' already. Choose another name.")
            self._keep_secret(entry["name"], secret)
            self._store.set_setting(self.setting, [*entries, entry], who=who)
        return entry

    def remove(self, name: str, *, who: str) -> None:
        """Remove an entry and its secret.

        Raises:
            NotFoundError: there is none of this name.
        """
        with self._store.transaction():
            self.entry(name)
            self._store.set_setting(self.setting, [entry for entry in self.list() if entry["name"] != name], who=who)
            self._keep_secret(name, None)

    def set_secret(self, name: str, secret: str, *, who: str) -> None:
        """Replace the secret of an entry; that it was replaced is noted, the secret is not.

        Raises:
            NotFoundError: there is none of this name.
            SettingError: it is too short or too long.
        """
        _check_secret(secret)
        with self._store.transaction():
            self.entry(name)
            self._keep_secret(name, secret)
            self._store.note(who, f"{self.what}.secret", name=name)

    def secret(self, name: str) -> str | None:
        """Return the secret of an entry, None where there is none; never to be shown."""
        return _read_secrets(self._store.folder).get(self._key(name))

    def check(self, spec: Mapping[str, Any]) -> Entry:
        """Return the entry that is meant, or raise SettingError."""
        raise NotImplementedError

    def needs_secret(self, entry: Entry) -> bool:
        """Say whether an entry cannot be without one."""
        raise NotImplementedError

    def _key(self, name: str) -> str:
        return f"{self.what}:{name}"

    def _keep_secret(self, name: str, secret: str | None) -> None:
        """Change the file; inside a transaction, so that nobody else does so at the same time."""
        known = _read_secrets(self._store.folder)
        changed = {key: value for key, value in known.items() if key != self._key(name)}
        if secret is not None:
            changed[self._key(name)] = secret
        if changed != known:
            _write_secrets(self._store.folder, changed)


def _read_secrets(folder: Path) -> dict[str, str]:
    path = folder / SECRETS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise StationError(f"{path} is damaged. Move it away, and set the keys and passwords anew.")
    return found


def _write_secrets(folder: Path, content: Mapping[str, str]) -> None:
    try:
        write_durably(folder / SECRETS, json.dumps(content).encode(), mode=0o600)
    except OSError as error:
        raise StorageError(
            f"{folder / SECRETS} cannot be written ({error.strerror}). Free space on its disk."
        ) from error


def write_durably(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that it appears whole or not at all, and is on the disk when this returns.

    Args:
        path: of the file; its folder must be there.
        data: its content.
        mode: permissions that it may have at most; it never has others, not for a moment.

    Raises:
        OSError: the folder or disk refuses; a file that was there before is untouched.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


# -------------------------------------------------------------------------------------------------------------- checks


def text(least: int = 1, most: int = 200) -> Callable[[Any], str]:
    """Make a check for printable text of so many characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
            raise SettingError(f"found {_shown(value)}; expected text of {least} to {most} characters.")
        return value

    return check


def number(low: float, high: float) -> Callable[[Any], float]:
    """Make a check for a number from low to high."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise SettingError(f"found {_shown(value)}; expected a number from {low:g} to {high:g}.")
        return value

    return check


def whole(low: int, high: int) -> Callable[[Any], int]:
    """Make a check for a whole number from low to high."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise SettingError(f"found {_shown(value)}; expected a whole number from {low} to {high}.")
        return value

    return check


def flag(value: Any) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise SettingError(f"found {_shown(value)}; expected true or false.")
    return value


def optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a check that lets None through."""
    return lambda value: None if value is None else check(value)


def absolute_path(value: Any) -> str:
    """Check for a whole path: what a relative one means depends on where the server was started."""
    path = text(1, 4096)(value)
    if not Path(path).is_absolute():
        raise SettingError(f"found '{path[:80]}'; expected a whole path that begins at the root.")
    return os.path.normpath(path)


def folder_for(store: Store, path: str) -> None:
    """Refuse a folder that is not there, belongs to the station, or is another sink's or source's.

    It must be there: if it were made, results would land below the mount point of a share that is not mounted. And a
    source that watches the folder of a sink would inspect the station's own pictures without end.

    Raises:
        SettingError: with the reason.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise SettingError(f"there is no folder '{path}'. Make it first, or mount its disk.")
    real, own = Path(os.path.realpath(folder)), Path(os.path.realpath(store.folder))
    if real == own or own in real.parents:
        raise SettingError(f"'{path}' lies inside the station's own folder. Choose another one.")
    for entry in [*store.setting(SINKS, []), *store.setting(SOURCES, [])]:
        if entry["kind"] == "folder" and Path(os.path.realpath(entry["folder"])) == real:
            raise SettingError(f"'{path}' is the folder of '{entry['name']}' already. Choose another one.")


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise SettingError(
            f"found {_shown(value)}; expected 1 to 64 letters, digits, spaces and . _ + -, with a letter or digit at "
            "both ends."
        )
    return value


def _check_secret(secret: Any) -> None:
    if not isinstance(secret, str) or not 8 <= len(secret) <= _MOST_SECRET:
        raise SettingError(
            f"The field 'secret' must be text of 8 to {_MOST_SECRET} characters: the key that signs, or the password."
        )


def _shown(value: Any) -> str:
    return repr(value)[:80]
