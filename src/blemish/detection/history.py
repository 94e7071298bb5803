"""What was changed on a model file after it was made, by whom and why, and the way back.

A change is an entry of `Description.history`. What it replaced stays in the entry, so that it can be undone; an undo is
a change itself, and the next one goes a change further back. Nothing is ever erased.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

from blemish.detection.model_file import Description, as_description
from blemish.errors import ModelFileError, SettingError

_UNDO: Final = "undo"
# Fields of the description that a change may replace.
_CHANGEABLE: Final = (
    "threshold",
    "good_scores",
    "good_statistics",
    "own_scores",
    "ignored",
    "graph",
    "graph_difference",
    "precision",
    "notes",
)


def changed(old: Description, new: Description, what: str, *, who: str, why: str) -> Description:
    """Note a change.

    Args:
        old: before it.
        new: after it.
        what: kind of change, one word.
        who: made it; empty: the user of this process.
        why: reason, in the words of that person; may be empty.

    Returns:
        ``new``, with the history of ``old`` and one entry more.
    """
    values, others = asdict(old), asdict(new)
    entry = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": who or _user(),
        "what": what,
        "why": why,
        "from": old.threshold.value,
        "to": new.threshold.value,
        "alpha": new.threshold.alpha,
        "n_images": new.threshold.n_images,
        "before": {name: values[name] for name in _CHANGEABLE if values[name] != others[name]},
    }
    return replace(new, history=[*old.history, entry])


def undone(about: Description, *, who: str, why: str) -> Description:
    """Restore what was before the last change that still stands, and note that as a change.

    Raises:
        SettingError: there is none, or an older Blemish made it and did not keep what was before.
        ModelFileError: what the file says was before makes no sense.
    """
    standing = _standing(about.history)
    if not standing:
        raise SettingError("Found no change to undo: the threshold is the one that the model file was made with.")
    change = standing[-1]
    if "before" not in change:
        raise SettingError(
            f"The last change, of {change['when']}, was made by an older Blemish, which did not keep what was "
            "before it. Set the threshold by hand or calibrate."
        )
    try:
        restored = as_description({**asdict(about), **change["before"]})
    except Exception as error:  # whatever foreign values make Python raise
        raise ModelFileError(f"The change of {change['when']} cannot be undone: {error}. Calibrate.") from error
    return changed(about, restored, _UNDO, who=who, why=why)


def scores_are_current(about: Description) -> bool:
    """Say whether the scores of good images are by the graph at hand: not where it alone was replaced since.

    `learning.accept` leaves them as they are, for it leaves the limit, which they set.
    """
    current = True
    for entry in _standing(about.history):
        before = entry.get("before", ())  # which older files do not have
        current = "good_scores" in before or (current and "graph" not in before)
    return current


def _standing(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the changes that no later undo has taken back, oldest first."""
    standing: list[dict[str, Any]] = []
    for entry in history:
        if entry["what"] == _UNDO:
            del standing[-1:]
        else:
            standing.append(entry)
    return standing


def _user() -> str:
    try:
        return getpass.getuser()
    except Exception:  # a container without a name for its user; what is raised differs between versions of Python
        return "unknown"
