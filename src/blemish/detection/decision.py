"""From scores to verdicts: the threshold and its promise, and the one function that decides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from blemish.errors import SettingError
from blemish.results import Threshold, Verdict


def decide(score: float, threshold: Threshold) -> Verdict:
    """Decide about one image. Every verdict is made here.

    Defective when the score is above the threshold; unsure when it is only above the lower limit, where there is one.
    """
    # This way round, a score that is not a number stops the part.
    lower = threshold if threshold.unsure is None else threshold.unsure
    if score <= lower.value:
        return Verdict.GOOD
    return Verdict.UNSURE if score <= threshold.value else Verdict.DEFECTIVE


def limit_exceeded(verdict: Verdict, threshold: Threshold) -> float:
    """Return the limit that an image of this verdict lies above, and its regions with it; infinite for a good one."""
    if verdict is Verdict.GOOD:
        return math.inf
    return threshold.unsure.value if verdict is Verdict.UNSURE and threshold.unsure else threshold.value


def require_alpha(alpha: float, unsure: float | None = None) -> None:
    """Refuse rates that are none; called before long work as well as where they are used.

    Raises:
        SettingError: alpha is not above 0 and below 1, or unsure not above alpha and below 1.
    """
    if not 0 < alpha < 1:
        raise SettingError(f"alpha is {alpha}; expected a false-alarm rate above 0 and below 1, such as 0.01.")
    if unsure is not None and not alpha < unsure < 1:
        raise SettingError(
            f"unsure is {unsure}; expected a rate above alpha, {alpha:g}, and below 1, such as 0.1: the parts that are "
            "stopped are among those that are not waved through."
        )


def least_images(alpha: float) -> int:
    """Return how many good images that took no part it takes to promise a false-alarm rate.

    Example:
        >>> least_images(0.05)
        19
    """
    return math.ceil(round(1 / alpha, 9)) - 1  # the rounding guards against 1 / alpha a hair above a whole number


def conformal_threshold(good_scores: Sequence[float], alpha: float, unsure: float | None = None) -> Threshold:
    """Choose the limit that at most a share alpha of good images will exceed, and the lower one for a larger share.

    With n held-out good scores and k = ceil((n + 1)(1 - alpha)), the k-th smallest is exceeded by a new good image
    with probability at most alpha, whatever the distribution, as long as held-out and new images are exchangeable
    and took no part in training. When k > n there are too few images for this promise: the largest score is taken,
    and what it does promise, 1 / (n + 1), is said in ``promised_alpha``.

    Args:
        good_scores: scores of good images that took no part in training, at least one; order does not matter.
        alpha: accepted false-alarm rate, above 0 and below 1.
        unsure: share of good images that may be stopped or sent to a person, above alpha; None: no lower limit.

    Raises:
        SettingError: a rate out of range, no scores, or scores that are not finite.

    Source: Vovk, Gammerman, Shafer 2005, split conformal prediction. Departure from Tayeh et al. 2020, who fit an SVM
    on good and defective test images: here nothing defective is needed.

    Example:
        >>> conformal_threshold([0.3, 0.1, 0.2, 0.4], alpha=0.25).value
        0.4
        >>> conformal_threshold([0.3, 0.1, 0.2, 0.4], alpha=0.01).promised_alpha
        0.2
    """
    require_alpha(alpha, unsure)
    scores = np.sort(np.asarray(good_scores, dtype=np.float64))
    n = len(scores)
    if n == 0 or not np.isfinite(scores).all():
        raise SettingError(
            f"Found {n} good scores ({np.isfinite(scores).sum()} finite); expected at least one, all finite."
        )
    # The rounding guards against (n + 1)(1 - alpha) landing a hair above a whole number.
    k = math.ceil(round((n + 1) * (1 - alpha), 9))
    promised = alpha if k <= n else 1 / (n + 1)
    return Threshold(
        value=float(scores[min(k, n) - 1]),
        alpha=alpha,
        promised_alpha=promised,
        n_images=n,
        unsure=None if unsure is None else conformal_threshold(good_scores, unsure),
    )


def threshold_at(value: float, good_scores: Sequence[float], unsure: float | None = None) -> Threshold:
    """Take a limit that someone sets by hand, and work out what it promises.

    With m of n held-out good scores above it, it promises what the conformal threshold just below it does: at most
    (m + 1) / (n + 1) of new good images will exceed it. When all are above, or there are none, that is no promise.

    Args:
        value: the limit.
        good_scores: as for `conformal_threshold`, but there may be none.
        unsure: as for `conformal_threshold`.

    Raises:
        SettingError: the value is not finite, or below the lower limit; or what `conformal_threshold` refuses.

    Example:
        >>> threshold_at(0.25, [0.3, 0.1, 0.2, 0.4]).promised_alpha
        0.6
    """
    if not math.isfinite(value):
        raise SettingError(f"The threshold is {value}; expected a finite number, on the scale of the scores.")
    if unsure is not None:
        require_alpha(unsure)
    lower = None if unsure is None else conformal_threshold(good_scores, unsure)
    if lower is not None and lower.value > value:
        raise SettingError(
            f"The lower limit for unsure {unsure:g} is {lower.value:g}, which is above the threshold, {value:g}. "
            "Expected a higher threshold, or a larger share of parts to look at."
        )
    n_above = sum(score > value for score in good_scores)
    return Threshold(
        value=float(value),
        alpha=None,
        promised_alpha=(n_above + 1) / (len(good_scores) + 1),
        n_images=len(good_scores),
        unsure=lower,
    )


def promise(threshold: Threshold) -> str:
    """Say in plain words what a threshold promises.

    Example:
        >>> promise(conformal_threshold([0.1] * 199, alpha=0.01))
        'At most 1 in 100 good parts will be stopped, judging from 199 held-out good images.'
    """
    said = _promise(threshold, "be stopped")
    if threshold.unsure is not None:
        said += " " + _promise(threshold.unsure, "be stopped or sent to a person")
    return said


def _promise(limit: Threshold, fate: str) -> str:
    if limit.promised_alpha == 1:
        known = f"all {limit.n_images} held-out good images lie above it"
        found = known if limit.n_images else "the model file has no scores of good images"
        return f"Nothing is promised about how many good parts will {fate}: {found}."
    one_in = f"At most 1 in {1 / limit.promised_alpha:.3g} good parts will {fate}"
    said = f"{one_in}, judging from {limit.n_images} held-out good images."
    if limit.alpha is not None and limit.promised_alpha > limit.alpha:
        needed = least_images(limit.alpha)
        said += f" For the {limit.alpha:g} that was asked for, at least {needed} held-out images are needed."
    return said
