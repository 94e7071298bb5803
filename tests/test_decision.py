"""The threshold keeps its promise; the verdict follows from it."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom

from blemish.detection.decision import conformal_threshold, decide, limit_exceeded, promise, threshold_at
from blemish.errors import SettingError
from blemish.results import Verdict


def test_threshold_is_the_conformal_quantile() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 99 scores: 1 .. 99
    for alpha in (0.01, 0.05, 0.1, 0.5):
        k = next(k for k in range(1, 100) if k >= 100 * (1 - alpha) - 1e-9)
        assert conformal_threshold(list(scores), alpha).value == k


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_false_alarm_rate_keeps_the_promise(alpha: float) -> None:
    """Over many draws of held-out and new good scores, the share of new ones above the limit is at most alpha."""
    rng = np.random.default_rng(1)
    n_runs, n_held_out, n_new = 400, 150, 50
    alarms = 0
    for _ in range(n_runs):
        scores = rng.lognormal(size=n_held_out + n_new)  # skewed, as distances are
        threshold = conformal_threshold(list(scores[:n_held_out]), alpha)
        alarms += sum(decide(score, threshold) is Verdict.DEFECTIVE for score in scores[n_held_out:])
    # The rate of one run varies with its held-out scores as a Beta does; both variations are in the margin.
    deviation = math.sqrt(alpha * (1 - alpha) * (1 / (n_runs * n_new) + 1 / (n_runs * n_held_out)))
    assert alarms / (n_runs * n_new) <= alpha + 3 * deviation
    assert alarms / (n_runs * n_new) >= alpha - 1 / (n_held_out + 1) - 3 * deviation


@pytest.mark.parametrize(
    ("n_held_out", "alpha"), [(99, 0.01), (19, 0.05), (150, 0.05), (12, 0.01), (5, 0.05), (1, 0.01)]
)
def test_realised_false_alarms_lie_in_the_binomial_interval_around_the_promise(n_held_out: int, alpha: float) -> None:
    """With one new image for each draw of held-out ones, alarms are independent; few images promise more than alpha."""
    rng = np.random.default_rng(8)
    n_runs, alarms = 4000, 0
    for _ in range(n_runs):
        *held_out, new = rng.lognormal(size=n_held_out + 1)
        threshold = conformal_threshold(held_out, alpha)
        alarms += decide(new, threshold) is Verdict.DEFECTIVE
    # The k-th of n scores is exceeded with a chance of (n + 1 - k) / (n + 1): the promise, down to whole images.
    n_above = max(1, math.floor(round(alpha * (n_held_out + 1), 9)))
    exact = n_above / (n_held_out + 1)
    assert binom.ppf(0.001, n_runs, exact) <= alarms <= binom.ppf(0.999, n_runs, exact)
    assert exact <= threshold.promised_alpha + 1e-12
    assert (threshold.promised_alpha > alpha) == (n_held_out < round(1 / alpha) - 1)


def test_the_share_of_good_parts_that_a_person_sees_keeps_its_promise() -> None:
    """Over many draws, the share of new good scores above the lower limit is at most `unsure`."""
    rng = np.random.default_rng(4)
    n_runs, n_held_out, n_new, unsure = 400, 150, 50, 0.1
    asked = 0
    for _ in range(n_runs):
        scores = rng.lognormal(size=n_held_out + n_new)
        threshold = conformal_threshold(list(scores[:n_held_out]), 0.01, unsure)
        asked += sum(decide(score, threshold) is not Verdict.GOOD for score in scores[n_held_out:])
    deviation = math.sqrt(unsure * (1 - unsure) * (1 / (n_runs * n_new) + 1 / (n_runs * n_held_out)))
    assert unsure - 1 / (n_held_out + 1) - 3 * deviation <= asked / (n_runs * n_new) <= unsure + 3 * deviation


def test_between_the_limits_a_person_should_look() -> None:
    threshold = conformal_threshold([float(score) for score in range(1, 20)], alpha=0.05, unsure=0.25)
    assert threshold.unsure is not None
    assert (threshold.unsure.value, threshold.value) == (15.0, 19.0)
    scores = (15.0, np.nextafter(15, 16), 19.0, np.nextafter(19, 20), math.nan)
    good, unsure, defective = Verdict
    assert [decide(score, threshold) for score in scores] == [good, unsure, unsure, defective, defective]


def test_the_lower_limit_does_not_move_the_upper_one() -> None:
    scores = list(np.random.default_rng(5).random(60))
    three_way = conformal_threshold(scores, 0.05, 0.3)
    assert replace(three_way, unsure=None) == conformal_threshold(scores, 0.05)
    assert three_way.unsure == conformal_threshold(scores, 0.3)


def test_the_promise_speaks_of_both_limits() -> None:
    said = promise(conformal_threshold([0.1] * 199, alpha=0.01, unsure=0.1))
    assert "1 in 100 good parts will be stopped," in said
    assert "1 in 10 good parts will be stopped or sent to a person" in said


def test_regions_of_an_unsure_image_lie_above_the_lower_limit() -> None:
    threshold = conformal_threshold([1.0, 2.0, 3.0], alpha=0.25, unsure=0.5)
    assert [limit_exceeded(verdict, threshold) for verdict in Verdict] == [math.inf, 2.0, 3.0]


def test_too_few_images_promise_less_and_say_so() -> None:
    threshold = conformal_threshold([1.0, 3.0, 2.0], alpha=0.01)
    assert (threshold.value, threshold.promised_alpha) == (3.0, 0.25)
    assert "at least 99 held-out images" in promise(threshold)


def test_smaller_alpha_never_lowers_the_limit() -> None:
    scores = list(np.random.default_rng(2).random(60))
    limits = [conformal_threshold(scores, alpha).value for alpha in (0.5, 0.2, 0.1, 0.02, 0.001)]
    assert all(first <= second for first, second in pairwise(limits))


def test_order_of_scores_does_not_matter() -> None:
    scores = np.random.default_rng(3).random(40)
    assert conformal_threshold(list(scores), 0.1) == conformal_threshold(list(scores[::-1]), 0.1)


def test_a_score_at_the_limit_is_good() -> None:
    threshold = conformal_threshold([0.5], alpha=0.5)
    assert decide(0.5, threshold) is Verdict.GOOD
    assert decide(np.nextafter(0.5, 1), threshold) is Verdict.DEFECTIVE


def test_a_score_that_is_not_a_number_is_never_good() -> None:
    assert decide(math.nan, conformal_threshold([0.5], alpha=0.5)) is Verdict.DEFECTIVE


@pytest.mark.parametrize(
    ("scores", "alpha"), [([], 0.1), ([1.0], 0.0), ([1.0], 1.0), ([math.nan], 0.1), ([math.inf], 0.1)]
)
def test_nonsense_is_refused(scores: list[float], alpha: float) -> None:
    with pytest.raises(SettingError, match="expected"):
        conformal_threshold(scores, alpha)


@pytest.mark.parametrize("unsure", [0.0, 0.05, 0.1, 1.0, math.nan])
def test_a_rate_of_unsure_parts_that_is_not_above_alpha_is_refused(unsure: float) -> None:
    with pytest.raises(SettingError, match="above alpha"):
        conformal_threshold([1.0, 2.0], 0.1, unsure)


def test_a_limit_set_by_hand_promises_what_the_conformal_one_below_it_does() -> None:
    scores = list(np.random.default_rng(6).random(40))
    for value in (*scores, *np.linspace(min(scores), 1.1, 50)):
        n_below = sum(score <= value for score in scores)
        by_hand = threshold_at(float(value), scores)
        conformal = conformal_threshold(scores, by_hand.promised_alpha) if n_below else None
        assert by_hand.promised_alpha == pytest.approx(1 - n_below / 41)
        assert conformal is None or conformal.value == max(score for score in scores if score <= value)


@pytest.mark.parametrize("value", [0.5, 1.0, 3.0])
def test_a_limit_set_by_hand_keeps_its_promise_on_average(value: float) -> None:
    rng = np.random.default_rng(7)
    held_out, new = rng.lognormal(size=(2000, 30)), rng.lognormal(size=60_000)
    promised = [threshold_at(value, list(scores)).promised_alpha for scores in held_out]
    rate = float((new > value).mean())
    assert rate <= np.mean(promised) + 0.01
    assert np.mean(promised) <= rate + 1 / 31 + 0.01


@pytest.mark.parametrize("scores", [[], [2.0, 3.0]])
def test_a_limit_below_all_good_scores_promises_nothing_and_says_so(scores: list[float]) -> None:
    threshold = threshold_at(1.0, scores)
    assert threshold.promised_alpha == 1
    assert promise(threshold).startswith("Nothing is promised")


@pytest.mark.parametrize(("value", "unsure"), [(math.nan, None), (math.inf, None), (1.5, 0.3), (9.0, 1.5)])
def test_a_limit_by_hand_that_makes_no_sense_is_refused(value: float, unsure: float | None) -> None:
    with pytest.raises(SettingError, match=r"(?i)expected"):
        threshold_at(value, [1.0, 2.0, 3.0], unsure)
