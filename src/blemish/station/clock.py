"""Times as the station keeps them: UTC, as text of one length, so that text and time sort alike."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

JUMP_SECONDS: Final = 60.0  # a clock set by NTP moves by less between two looks at it


def now() -> datetime:
    """Return the time of the machine's clock, in UTC."""
    return datetime.now(UTC)


def as_text(when: datetime) -> str:
    """Write a time with a zone as text.

    Example:
        >>> as_text(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
        '2026-01-02T03:04:05.000000Z'
    """
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def as_time(text: str) -> datetime:
    """Read what `as_text` wrote."""
    return datetime.fromisoformat(text)


class JumpWatch:
    """Notices when the clock on the wall moves otherwise than the machine's own, which only counts on.

    A machine that slept looks like a clock that jumped ahead; nobody can tell them apart, and both are worth knowing.
    """

    def __init__(self) -> None:
        self._wall, self._steady = time.time(), time.monotonic()

    def jumped(self) -> float:
        """Return by how many seconds the clock jumped since the last call, 0 where it did not; negative: back."""
        wall, steady = time.time(), time.monotonic()
        moved = (wall - self._wall) - (steady - self._steady)
        self._wall, self._steady = wall, steady
        return moved if abs(moved) > JUMP_SECONDS else 0.0
