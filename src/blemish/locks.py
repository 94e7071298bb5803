"""Locks of files, which the system gives back when the process ends, however it ends."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def take(path: Path) -> sqlite3.Connection | None:
    """Take the lock of an empty file, which is made if it is not there.

    SQLite locks files on every system in the way that this system has; so no package is needed for it.

    Returns:
        What holds the lock until it is closed; None when it is held already, by another process or by this one.

    Raises:
        sqlite3.OperationalError: the file cannot be opened or locked.
        sqlite3.DatabaseError: the file is not empty.
    """
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return None
        raise
    return connection
