"""Intervals against their definitions, recomputed slowly and plainly; none of them is a point."""

from __future__ import annotations

import math

import numpy as np
import pytest

from blemish.errors import DatasetError
from blemish.evaluation.intervals import Interval, auroc_difference_interval, auroc_interval, share_interval
from blemish.evaluation.metrics import image_auroc


def binomial_tail(hits: int, n: int, share: float) -> float:
    """Give the chance of at least so many hits."""
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits, n + 1))


def wins(good: list[float], defective: list[float]) -> list[list[float]]:
    """Compare every defective image (rows) with every good one (columns): 1 for a win, 0.5 for a tie."""
    return [[(d > g) + 0.5 * (d == g) for g in good] for d in defective]


def plain_covariance(first: list[float], second: list[float]) -> float:
    a, b = sum(first) / len(first), sum(second) / len(second)
    return sum((x - a) * (y - b) for x, y in zip(first, second, strict=True)) / (len(first) - 1)


def plain_delong(first: tuple[list[float], list[float]], second: tuple[list[float], list[float]]) -> float:
    """Give the covariance of two AUROCs, pair by pair: DeLong et al. 1988, eq. 4 to 6."""
    tables = [wins(*scores) for scores in (first, second)]
    rows = [[sum(row) / len(row) for row in table] for table in tables]
    columns = [[sum(column) / len(column) for column in zip(*table, strict=True)] for table in tables]
    return plain_covariance(*rows) / len(rows[0]) + plain_covariance(*columns) / len(columns[0])


def scores(seed: int, n_good: int = 21, n_defective: int = 13) -> tuple[list[float], list[float]]:
    """Draw scores with many ties."""
    rng = np.random.default_rng(seed)
    return [float(x) for x in rng.integers(0, 9, n_good)], [float(x) for x in rng.integers(2, 11, n_defective)]


# --- shares


@pytest.mark.parametrize(("hits", "n"), [(1, 1), (1, 7), (4, 60), (12, 12), (30, 40)])
def test_at_the_ends_of_a_share_a_count_as_far_off_has_a_chance_of_a_fortieth(hits: int, n: int) -> None:
    found = share_interval(hits, n)
    assert binomial_tail(hits, n, found.low) == pytest.approx(0.025)
    if hits < n:
        assert 1 - binomial_tail(hits + 1, n, found.high) == pytest.approx(0.025)


def test_none_of_ten_may_still_be_three_of_ten() -> None:
    assert share_interval(0, 10) == Interval(0.0, pytest.approx(1 - 0.025**0.1))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_at_least_95_of_100_intervals_hold_the_true_share(share: float) -> None:
    n = 40
    chances = [binomial_tail(k, n, share) - binomial_tail(k + 1, n, share) for k in range(n + 1)]
    intervals = [share_interval(k, n) for k in range(n + 1)]
    assert sum(c for c, i in zip(chances, intervals, strict=True) if i.low <= share <= i.high) >= 0.95


# --- one AUROC


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_an_auroc_is_delongs_on_the_logit_scale(seed: int) -> None:
    drawn = scores(seed)
    auroc = image_auroc(*drawn)
    reach = 1.959964 * math.sqrt(plain_delong(drawn, drawn)) / (auroc * (1 - auroc))
    ends = [1 / (1 + math.exp(-(math.log(auroc / (1 - auroc)) + side * reach))) for side in (-1, 1)]
    found = auroc_interval(*drawn)
    assert [found.low, found.high] == pytest.approx(ends, abs=1e-6)


@pytest.mark.parametrize(("n_good", "n_defective", "n_pairs"), [(60, 10, 10), (8, 300, 8), (1, 1, 1)])
def test_images_all_in_order_are_no_proof_of_1(n_good: int, n_defective: int, n_pairs: int) -> None:
    good, defective = np.arange(n_good), 1000 + np.arange(n_defective)
    assert auroc_interval(good, defective) == Interval(pytest.approx(0.025 ** (1 / n_pairs)), 1.0)
    assert auroc_interval(defective, good) == Interval(0.0, pytest.approx(1 - 0.025 ** (1 / n_pairs)))


@pytest.mark.parametrize(
    ("good", "defective"), [([3.0] * 9, [3.0] * 7), ([1.0, 3.0], [2.0]), ([2.0], [1.0, 3.0]), ([0.3], [0.3])]
)
def test_no_interval_is_a_point(good: list[float], defective: list[float]) -> None:
    found = auroc_interval(good, defective)
    assert 0 <= found.low < image_auroc(good, defective) < found.high <= 1


@pytest.mark.parametrize("shift", [0.7, 2.0, 3.5])
def test_about_95_of_100_intervals_hold_the_true_auroc(shift: float) -> None:
    rng = np.random.default_rng(0)
    truth = 0.5 * math.erfc(-shift / 2)  # chance that a normal number with this mean exceeds one with mean 0
    found = [auroc_interval(rng.normal(0, 1, 60), rng.normal(shift, 1, 30)) for _ in range(400)]
    assert sum(each.low <= truth <= each.high for each in found) >= 0.92 * 400


def test_more_images_narrow_the_interval() -> None:
    few, many = (auroc_interval(*scores(0, 20 * times, 10 * times)) for times in (1, 10))
    assert many.high - many.low < (few.high - few.low) / 2


def test_the_order_of_images_does_not_matter() -> None:
    good, defective = scores(1)
    forth, back = auroc_interval(good, defective), auroc_interval(good[::-1], defective[::-1])
    assert (back.low, back.high) == pytest.approx((forth.low, forth.high))


@pytest.mark.parametrize(("good", "defective"), [([], [1.0]), ([1.0], []), ([1.0], [math.nan])])
def test_an_interval_needs_scores(good: list[float], defective: list[float]) -> None:
    with pytest.raises(DatasetError, match=r"expected finite|needs"):
        auroc_interval(good, defective)


# --- two AUROCs on the same images


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_a_difference_is_delongs_paired_one(seed: int) -> None:
    first, second = scores(seed), scores(seed + 100)
    difference = image_auroc(*first) - image_auroc(*second)
    variance = plain_delong(first, first) + plain_delong(second, second) - 2 * plain_delong(first, second)
    found = auroc_difference_interval(first, second)
    assert [found.low, found.high] == pytest.approx([difference + s * 1.959964 * math.sqrt(variance) for s in (-1, 1)])


def test_pairing_narrows_the_interval_of_detectors_that_err_alike() -> None:
    good, defective = scores(2)
    rng = np.random.default_rng(0)
    alike = np.add(good, rng.normal(0, 0.5, len(good))), np.add(defective, rng.normal(0, 0.5, len(defective)))
    found, alone = auroc_difference_interval((good, defective), alike), auroc_interval(good, defective)
    assert found.high - found.low < alone.high - alone.low


def test_detectors_that_order_all_images_alike_may_still_differ() -> None:
    good, defective = scores(3)
    found = auroc_difference_interval((good, defective), (np.exp(good), np.exp(defective)))
    reach = 1 - 0.025 ** (1 / len(defective))
    assert (found.low, found.high) == pytest.approx((-reach, reach))
