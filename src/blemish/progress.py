"""How long work tells its listener where it stands: one call per step, no printing in the library."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener. The command line draws a bar with time left; the default listens to nothing."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Take note that ``done`` of ``total`` steps of ``stage`` are finished.

        Args:
            stage: what is being done, in the user's words ("training", "inspecting").
            done: 0 to total; the same stage is reported again and again with a growing ``done``.
            total: number of steps, known from the start.
            note: a short extra, such as the current loss.
        """


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Listen to nothing: the default of every library function that takes a ``Progress``."""
