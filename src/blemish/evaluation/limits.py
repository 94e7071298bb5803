"""Choose the limit on the score with labelled images: what every limit would cost, and whether choosing is worth it.

Good images that the model has not learned from and a few defective ones come in, with what a miss costs. Out comes a
detector with the limit that costs least on images it was not chosen on: that of the good images alone, or that of
lowest cost. The paper's SVM on (maximum, mean) is judged beside them, but not stored: a model file has one limit on one
score, which regions, reports and the promise about false alarms rest on as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.model_selection import RepeatedStratifiedKFold

from blemish.datasets import GOOD, by_content
from blemish.detection.decision import conformal_threshold, threshold_at
from blemish.detection.detector import Detector
from blemish.detection.model_file import LABELLED
from blemish.errors import DatasetError, SettingError
from blemish.evaluation.metrics import Scores, finite_scores
from blemish.evaluation.protocols import ScoredSample, fit_svm
from blemish.progress import Progress, silent
from blemish.report.page import Table
from blemish.results import Threshold

COST_RATIO: Final = 10.0  # false alarms that a miss costs, where the user does not say
LEAST_IMAGES: Final = 5  # of either kind: one for each fold
_FOLDS: Final = LEAST_IMAGES
_REPEATS: Final = 10
_N_ROWS: Final = 12  # of the table of limits, about

CONFORMAL: Final = "limit from good images alone"
CHEAPEST: Final = "limit of lowest cost"
SVM: Final = "the paper's SVM on (maximum, mean)"


@dataclass(frozen=True)
class Costs:
    """What mistakes cost, in false alarms per 100 parts."""

    ratio: float  # a miss costs as much as so many false alarms
    defect_rate: float  # share of the parts that is defective, 0 to 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and self.ratio > 0):
            raise SettingError(
                f"the cost ratio is {self.ratio}; expected how many false alarms a miss costs, above 0, such as 10."
            )
        if not 0 < self.defect_rate < 1:
            raise SettingError(
                f"the defect rate is {self.defect_rate}; expected the share of defective parts in production, above 0 "
                "and below 1, such as 0.02."
            )

    def of(self, false_alarm_rate: float, miss_rate: float) -> float:
        """Give the cost of 100 parts: false alarms among the good ones, misses among the defective ones."""
        return 100 * ((1 - self.defect_rate) * false_alarm_rate + self.ratio * self.defect_rate * miss_rate)


@dataclass(frozen=True)
class LimitCost:
    """What a limit would have cost on the images it was chosen on."""

    limit: float
    false_alarms: int
    missed: int
    cost: float  # false alarms per 100 parts


@dataclass(frozen=True)
class RuleCost:
    """What a rule costs on images that did not choose its limit, by cross-validation."""

    rule: str
    false_alarm_rate: float
    miss_rate: float
    cost: float  # false alarms per 100 parts


@dataclass(frozen=True)
class LimitChoice:
    """Which limit was chosen, and what the others would have cost."""

    threshold: Threshold
    rule: str  # CONFORMAL or CHEAPEST
    costs: Costs
    n_good: int
    n_defective: int
    now: LimitCost  # of the threshold
    limits: tuple[LimitCost, ...]  # those worth having, from the lowest
    rules: tuple[RuleCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready plain data."""
        return asdict(self)

    def tables(self) -> tuple[Table, Table]:
        """Lay out what each limit would have cost, and what each rule costs in cross-validation."""
        cheapest = _cheapest(self.limits)
        shown = sorted({*_thinned(self.limits), cheapest, self.now}, key=lambda row: row.limit)
        marks = {cheapest: CHEAPEST}
        marks[self.now] = "the new limit" if self.now not in marks else f"{CHEAPEST}: the new limit"
        limits = [
            (
                f"{row.limit:.4g}",
                f"{row.false_alarms} ({row.false_alarms / self.n_good:.1%})",
                f"{row.missed} ({row.missed / self.n_defective:.1%})",
                f"{row.cost:.2f}",
                marks.get(row, ""),
            )
            for row in shown
        ]
        rules = [(r.rule, f"{r.false_alarm_rate:.1%}", f"{r.miss_rate:.1%}", f"{r.cost:.2f}") for r in self.rules]
        return (
            Table(
                ("limit", f"false alarms of {self.n_good}", f"missed of {self.n_defective}", "cost", ""),
                tuple(limits),
                caption="What each limit would have cost on these very images.",
            ),
            Table(
                ("rule", "false alarms", "missed", "cost"),
                tuple(rules),
                caption=f"In cross-validation: set on four fifths of the images, judged on the rest, {_REPEATS} times.",
            ),
        )

    def sentences(self) -> list[str]:
        """Say what the cost is, and what was chosen and why."""
        cost = {rule.rule: rule.cost for rule in self.rules}
        if self.rule == CHEAPEST:
            choice = (
                f"The new limit is that of lowest cost: {cost[CHEAPEST]:.2f} in cross-validation, against "
                f"{cost[CONFORMAL]:.2f} with the limit from good images alone."
            )
        else:
            choice = (
                "The new limit is that of the good images alone: choosing one for its cost did not do better on images "
                f"that it was not chosen on ({cost[CHEAPEST]:.2f} against {cost[CONFORMAL]:.2f})."
            )
        said = [
            f"Cost is in false alarms per 100 parts; a miss counts {self.costs.ratio:g}, and "
            f"{self.costs.defect_rate:.2%} of the parts are taken to be defective.",
            choice,
        ]
        if cost[SVM] < min(cost[CHEAPEST], cost[CONFORMAL]):
            said.append(f"The SVM would cost less ({cost[SVM]:.2f}), but a model file holds one limit on one score.")
        return said


def choose_limit(
    detector: Detector,
    good: Sequence[Path],
    defective: Sequence[Path],
    *,
    alpha: float,
    cost_ratio: float | None = None,
    defect_rate: float | None = None,
    who: str = "",
    why: str = "",
    progress: Progress = silent,
) -> tuple[Detector, LimitChoice]:
    """Set the threshold anew from good and defective images.

    `Detector.calibrate` sets it from the good images first. Then it moves to the limit of lowest cost, but only where
    that costs less in cross-validation. So an undo brings back the limit from the good images alone.

    Args:
        detector: whose threshold is to be set.
        good: images that the model has not learned from, at least five. Copies count once.
        defective: images, at least five; they may be those of an earlier call, but no others that the model has seen.
        alpha: accepted false-alarm rate of the limit from good images alone, above 0 and below 1.
        cost_ratio: how many false alarms a miss costs, above 0; by default 10.
        defect_rate: share of defective parts in production, above 0 and below 1; by default that of the images.
        who, why: for the model's history, as for `Detector.calibrate`; by default the costs are the reason.
        progress: told after each image.

    Returns:
        A new detector with the same graph, and how the limit was chosen. All images are among those it has seen, so
        `evaluate` leaves them out.

    Raises:
        DatasetError: there are too few images, one is both good and defective, or the model has learned from one.
        ImageError: an image cannot be used. SettingError: a number is out of range.
    """
    goods, defectives = by_content(good), by_content(defective)
    _check_images(detector, goods, defectives)
    share_given = len(defectives) / (len(goods) + len(defectives))
    costs = Costs(
        ratio=COST_RATIO if cost_ratio is None else cost_ratio,
        defect_rate=share_given if defect_rate is None else defect_rate,
    )
    calibrated = detector.calibrate(list(goods.values()), alpha=alpha, who=who, why=why, progress=progress)
    samples: list[ScoredSample] = []
    for path in (*goods.values(), *defectives.values()):
        samples.append(_scored(detector, path, GOOD if len(samples) < len(goods) else "defective"))
        progress("weighing limits", len(samples), len(goods) + len(defectives))
    choice = weigh_limits(samples[: len(goods)], samples[len(goods) :], alpha, costs)
    if choice.rule == CHEAPEST:
        reason = (
            why or f"lowest cost: a miss counts {costs.ratio:g}, {costs.defect_rate:.2%} of the parts are defective"
        )
        calibrated = calibrated.with_threshold(choice.threshold.value, who=who, why=reason)
    return _remembering(calibrated, list(defectives)), choice


def weigh_limits(
    good: Sequence[ScoredSample], defective: Sequence[ScoredSample], alpha: float, costs: Costs
) -> LimitChoice:
    """Choose between the limit from good images alone and that of lowest cost, by cross-validation.

    Args:
        good, defective: at least five each.
        alpha: accepted false-alarm rate of the limit from good images alone, above 0 and below 1.
        costs: of mistakes.

    Raises:
        DatasetError: a score or distance is not finite. SettingError: alpha is out of range.
    """
    scores = _scores(good), _scores(defective)
    rules = cross_validate(good, defective, alpha, costs)
    limits = cost_table(*scores, costs)
    cost = {rule.rule: rule.cost for rule in rules}
    is_worth_it = cost[CHEAPEST] < cost[CONFORMAL]
    conformal, cheapest = conformal_threshold(scores[0], alpha), threshold_at(_cheapest(limits).limit, scores[0])
    threshold = cheapest if is_worth_it else conformal
    return LimitChoice(
        threshold=threshold,
        rule=CHEAPEST if is_worth_it else CONFORMAL,
        costs=costs,
        n_good=len(good),
        n_defective=len(defective),
        now=_limit_cost(threshold.value, *scores, costs),
        limits=limits,
        rules=rules,
    )


def cost_table(good_scores: Scores, defective_scores: Scores, costs: Costs) -> tuple[LimitCost, ...]:
    """List the limits worth having, from the lowest: no other one has fewer misses with as few false alarms.

    Each lies halfway between the scores beside it. A limit that stops all images is none.

    Args:
        good_scores: one finite score per good image, higher is more anomalous.
        defective_scores: the same for the defective images.
        costs: of mistakes.

    Raises:
        DatasetError: one of the two is empty or holds a score that is not finite.

    Example:
        >>> for row in cost_table([1.0, 2.0, 4.0, 2.5], [3.0, 5.0], Costs(ratio=10, defect_rate=0.5)):
        ...     print(row)
        LimitCost(limit=2.75, false_alarms=1, missed=0, cost=12.5)
        LimitCost(limit=4.5, false_alarms=0, missed=1, cost=250.0)
    """
    good, defective = finite_scores(good_scores, "good"), finite_scores(defective_scores, "defective")
    scores = np.sort(np.concatenate([good, defective]))
    rows: list[LimitCost] = []
    for lowest_stopped in (*np.unique(defective), np.inf):
        passed = scores[scores < lowest_stopped]
        if not passed.size:
            continue
        limit = float(passed[-1] if lowest_stopped == np.inf else (passed[-1] + lowest_stopped) / 2)
        row = _limit_cost(limit, good, defective, costs)
        if not rows or row.false_alarms < rows[-1].false_alarms:
            rows.append(row)
    return tuple(rows)


def cross_validate(
    good: Sequence[ScoredSample], defective: Sequence[ScoredSample], alpha: float, costs: Costs, *, seed: int = 0
) -> tuple[RuleCost, ...]:
    """Give the cost of each rule on images that it was not set on: five folds, stratified, ten times.

    Args:
        good, defective: at least five each.
        alpha: accepted false-alarm rate of the limit from good images alone.
        costs: of mistakes.
        seed: of the folds.

    Raises:
        DatasetError: a score or distance is not finite.
    """
    samples = (*good, *defective)
    is_defective = np.repeat([False, True], [len(good), len(defective)])
    stopped: dict[str, list[int]] = {}  # rule -> how many good, how many defective images it stopped, over all folds
    folds = RepeatedStratifiedKFold(n_splits=_FOLDS, n_repeats=_REPEATS, random_state=seed)
    for chosen_on, judged in folds.split(is_defective, is_defective):
        parts = [[samples[index] for index in chosen_on if is_defective[index] == kind] for kind in (False, True)]
        for name, rule in _rules(parts[0], parts[1], alpha, costs).items():
            counts = stopped.setdefault(name, [0, 0])
            for index in judged:
                counts[int(is_defective[index])] += rule(samples[index])
    results = []
    for name, (alarms, found) in stopped.items():
        rates = alarms / (_REPEATS * len(good)), 1 - found / (_REPEATS * len(defective))
        results.append(RuleCost(name, *rates, cost=costs.of(*rates)))
    return tuple(results)


def _rules(
    good: Sequence[ScoredSample], defective: Sequence[ScoredSample], alpha: float, costs: Costs
) -> dict[str, Callable[[ScoredSample], bool]]:
    """Set each rule on some images; it then says of others whether it would stop them."""
    scores = _scores(good), _scores(defective)
    conformal = conformal_threshold(scores[0], alpha).value
    cheapest = _cheapest(cost_table(*scores, costs)).limit
    boundary = fit_svm(good, defective)
    return {
        CONFORMAL: lambda sample: sample.score > conformal,
        CHEAPEST: lambda sample: sample.score > cheapest,
        SVM: lambda sample: boundary.decision(sample.max_distance, sample.mean_distance) > 0,
    }


def _scores(samples: Sequence[ScoredSample]) -> list[float]:
    return [sample.score for sample in samples]


def _limit_cost(limit: float, good: Scores, defective: Scores, costs: Costs) -> LimitCost:
    false_alarms = int(np.sum(np.asarray(good) > limit))
    missed = int(np.sum(np.asarray(defective) <= limit))
    return LimitCost(limit, false_alarms, missed, costs.of(false_alarms / len(good), missed / len(defective)))


def _cheapest(limits: Sequence[LimitCost]) -> LimitCost:
    return min(limits, key=lambda row: row.cost)  # of equal ones the lowest, which misses fewest


def _thinned(limits: Sequence[LimitCost]) -> list[LimitCost]:
    return [limits[index] for index in np.unique(np.linspace(0, len(limits) - 1, _N_ROWS).round().astype(int))]


def _remembering(detector: Detector, defective: Sequence[str]) -> Detector:
    """Note which defective images helped to choose the limit, so that `evaluate` will not judge it by them."""
    about = detector.description
    images = about.provenance["images"]
    noted = {**images[about.category], **dict.fromkeys(defective, LABELLED)}
    provenance = {**about.provenance, "images": {**images, about.category: noted}}
    return detector.with_description(replace(about, provenance=provenance))


def _check_images(detector: Detector, good: dict[str, Path], defective: dict[str, Path]) -> None:
    if min(len(good), len(defective)) < LEAST_IMAGES:
        raise DatasetError(
            f"Found {len(good)} different good and {len(defective)} different defective images; expected at least "
            f"{LEAST_IMAGES} of each, to choose on some and judge on others."
        )
    if both := set(good) & set(defective):
        content = min(both)
        raise DatasetError(
            f"'{good[content]}' and '{defective[content]}' are the same image, but one is given as good and one as "
            "defective. Remove one of them."
        )
    about = detector.description
    if known := about.taught & set(defective):
        raise DatasetError(
            f"The model has learned from {len(known)} of these {len(defective)} defective images, such as "
            f"'{defective[min(known)]}'; it would miss fewer of them than of others. Give defective images that took "
            "no part in `fit`."
        )
    if known := (about.seen - about.labelled) & set(defective):
        raise DatasetError(
            f"{len(known)} of these defective images, such as '{defective[min(known)]}', were among the good ones that "
            "this model was made from. Take them out of the good images and fit anew."
        )


def _scored(detector: Detector, path: Path, defect_type: str) -> ScoredSample:
    found = detector.inspect(path)
    return ScoredSample(
        str(path), detector.description.category, defect_type, found.score, found.max_distance, found.mean_distance
    )
