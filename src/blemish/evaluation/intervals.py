"""How far a measured rate or AUROC may lie from the true one: 95% intervals.

Scores or counts of test images come in, an `Interval` comes out. None of them shrinks to a point when everything went
well: ten defects found out of ten are no proof of a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import beta, norm, rankdata

from blemish.evaluation.metrics import Scores, finite_scores

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
_Z = float(norm.isf(_TAIL))
_LEAST_VARIANCE = 1e-15  # below it lies only the rounding of placements that are all alike


@dataclass(frozen=True)
class Interval:
    """Two ends; of 100 test sets, about 95 have the true value between them."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3f} to {self.high:.3f}"

    def as_percent(self) -> str:
        """Write the interval of a share."""
        return f"{self.low:.1%} to {self.high:.1%}"


def share_interval(hits: float, n: int) -> Interval:
    """Give the interval of a share from a count, by Clopper and Pearson.

    Args:
        hits: 0 to ``n``; ties may make halves.
        n: at least 1.

    Source: Clopper, Pearson 1934. It never covers the true share less often than it says.

    Example:
        >>> str(share_interval(10, 10))
        '0.692 to 1.000'
    """
    low = float(beta.ppf(_TAIL, hits, n - hits + 1)) if hits > 0 else 0.0
    high = float(beta.isf(_TAIL, hits + 1, n - hits)) if hits < n else 1.0
    return Interval(low, high)


def auroc_interval(good_scores: Scores, defective_scores: Scores) -> Interval:
    """Give the interval of the image-level AUROC.

    With DeLong's variance, on the logit scale, so that it stays within 0 and 1. Where that variance is zero or unknown
    (all defective images above all good ones, all scores equal, a single image of one kind) it would be a point. There
    each image is used once: k = min(good, defective) pairs are k independent trials that the AUROC is the chance to
    win, so the interval is Clopper and Pearson's for the same share of k. That is cautious: many good images do not
    make up for few defective ones.

    Args:
        good_scores: one finite score per good image, higher is more anomalous.
        defective_scores: the same for the defective images.

    Raises:
        DatasetError: one of the two is empty or holds a score that is not finite.

    Source: DeLong, DeLong, Clarke-Pearson 1988; the logit as in Pepe 2003.

    Example:
        >>> str(auroc_interval([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0]))
        '0.292 to 1.000'
    """
    good, defective = _placements(good_scores, defective_scores)
    auroc = float(defective.mean())
    variance = _variance(good, defective)
    if variance < _LEAST_VARIANCE:
        n_pairs = min(good.size, defective.size)
        return share_interval(auroc * n_pairs, n_pairs)
    reach = _Z * variance**0.5 / (auroc * (1 - auroc))
    return Interval(float(expit(logit(auroc) - reach)), float(expit(logit(auroc) + reach)))


def auroc_difference_interval(first: tuple[Scores, Scores], second: tuple[Scores, Scores]) -> Interval:
    """Give the interval of the AUROC of one detector less that of another on the same images.

    With DeLong's variance of the paired difference. Where that is zero, because both order all images alike, each image
    is again used once: of k = min(good, defective) pairs none was ordered otherwise, so by Clopper and Pearson the
    difference is within 1 - 0.025^(1/k).

    Args:
        first, second: (scores of the good images, scores of the defective images), the same images in the same order.

    Raises:
        DatasetError: there are no good or no defective images, or a score is not finite.

    Source: DeLong, DeLong, Clarke-Pearson 1988.
    """
    (good_a, defective_a), (good_b, defective_b) = _placements(*first), _placements(*second)
    good, defective = good_a - good_b, defective_a - defective_b
    difference = float(defective.mean())
    variance = _variance(good, defective)
    n_pairs = min(good.size, defective.size)
    reach = _Z * variance**0.5 if variance >= _LEAST_VARIANCE else share_interval(0, n_pairs).high
    return Interval(max(-1.0, difference - reach), min(1.0, difference + reach))


def _placements(good_scores: Scores, defective_scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Say of each good image which share of the defective ones lies above it, of each defective one the reverse."""
    good, defective = finite_scores(good_scores, "good"), finite_scores(defective_scores, "defective")
    ranks = rankdata(np.concatenate([good, defective]))  # ties share their mean rank, and so count half
    below_defective = (ranks[good.size :] - rankdata(defective)) / good.size
    above_good = 1 - (ranks[: good.size] - rankdata(good)) / defective.size
    return above_good, below_defective


def _variance(good: NDArray[np.float64], defective: NDArray[np.float64]) -> float:
    """Give DeLong's variance of a mean placement; 0 where a single image leaves it unknown."""
    if min(good.size, defective.size) < 2:
        return 0.0
    return float(good.var(ddof=1) / good.size + defective.var(ddof=1) / defective.size)
