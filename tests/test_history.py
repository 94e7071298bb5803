"""Every change of a model file is kept, with who made it and why, and can be taken back."""

import getpass
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from blemish.detection.history import changed, undone
from blemish.detection.model_file import Description, as_description
from blemish.detection.preparation import Preparation
from blemish.errors import ModelFileError, SettingError
from blemish.results import Threshold

MADE = Description(
    category="plate",
    method="nearest",
    reference="category",
    preparation=Preparation.of_squares(128, 64, 2),
    threshold=Threshold(value=1.0, alpha=0.05, promised_alpha=0.1, n_images=9),
    good_scores={"ab": 1.0},
    graph_difference=0.0,
    notes=[],
    training={},
    provenance={"images": {}, "made": {}},
    history=[],
)


def moved(about: Description, value: float, **scores: float) -> Description:
    """Set another threshold, and other good scores if there are some."""
    threshold = replace(about.threshold, value=value)
    new = replace(about, threshold=threshold, good_scores=scores or about.good_scores)
    return changed(about, new, "calibrate" if scores else "set", who="anna", why="new lamp")


def undo(about: Description) -> Description:
    return undone(about, who="", why="")


def state(about: Description) -> tuple[float, dict[str, float]]:
    return about.threshold.value, about.good_scores


def test_a_change_says_who_when_why_from_and_to() -> None:
    (change,) = moved(MADE, 2.0).history
    assert (change["who"], change["why"], change["from"], change["to"]) == ("anna", "new lamp", 1.0, 2.0)
    assert change["when"].endswith("+00:00")


def test_who_is_the_user_of_the_process_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "bert")
    assert changed(MADE, MADE, "set", who="", why="").history[0]["who"] == "bert"


def test_a_process_without_a_user_can_change_things(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert changed(MADE, MADE, "set", who="", why="").history[0]["who"] == "unknown"


@pytest.mark.parametrize("change", [lambda about: moved(about, 2.0), lambda about: moved(about, 2.0, cd=2.0, ef=1.5)])
def test_undo_restores_threshold_and_good_scores(change: Callable[[Description], Description]) -> None:
    assert replace(undo(change(MADE)), history=[]) == MADE


def test_undo_again_goes_a_change_further_back() -> None:
    one = moved(MADE, 2.0, cd=2.0)
    two = moved(one, 3.0)
    assert [state(undo(two)), state(undo(undo(two)))] == [state(one), state(MADE)]


def test_a_change_after_an_undo_is_the_next_to_be_undone() -> None:
    one = moved(MADE, 2.0)
    again = moved(undo(moved(one, 3.0)), 4.0)
    assert [state(undo(again)), state(undo(undo(again)))] == [state(one), state(MADE)]


def test_undoing_erases_nothing() -> None:
    calibrated = moved(MADE, 2.0, cd=2.0)
    first, second = undo(calibrated).history
    assert first == calibrated.history[0]
    assert second["what"] == "undo"
    assert second["before"]["good_scores"] == {"cd": 2.0}


def test_a_description_with_a_history_comes_back_from_plain_data() -> None:
    about = undo(moved(moved(MADE, 2.0, cd=2.0), 3.0))
    assert as_description(asdict(about)) == about


@pytest.mark.parametrize("about", [MADE, undo(moved(MADE, 2.0))], ids=["as made", "all undone"])
def test_without_a_change_there_is_nothing_to_undo(about: Description) -> None:
    with pytest.raises(SettingError, match="no change to undo"):
        undo(about)


def test_a_change_of_an_older_blemish_cannot_be_undone() -> None:
    old = {"when": "2026-01-02T03:04:05+00:00", "what": "calibrate", "from": 1.0, "to": 2.0}
    with pytest.raises(SettingError, match="older Blemish"):
        undo(replace(MADE, history=[old]))


@pytest.mark.parametrize("before", [None, [], {"threshold": {"value": "high"}}, {"good_scores": {"ab": "1"}}])
def test_what_makes_no_sense_is_not_restored(before: Any) -> None:
    entry = {**moved(MADE, 2.0).history[0], "before": before}
    with pytest.raises(ModelFileError, match="cannot be undone"):
        undo(replace(MADE, history=[entry]))
