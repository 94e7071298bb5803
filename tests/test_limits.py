"""Choosing a limit with labelled images: what it costs, on which images that is told, and what is remembered."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.datasets import content_hash
from blemish.detection.decision import threshold_at
from blemish.detection.detector import Detector
from blemish.errors import DatasetError, SettingError
from blemish.evaluation.evaluate import evaluate
from blemish.evaluation.limits import (
    CHEAPEST,
    CONFORMAL,
    SVM,
    Costs,
    choose_limit,
    cost_table,
    cross_validate,
    weigh_limits,
)
from blemish.evaluation.protocols import ScoredSample

COSTS = Costs(ratio=10, defect_rate=0.5)


def samples(defect_type: str, scores: Any, others: Any = None) -> list[ScoredSample]:
    """Make samples whose largest distance is the score, and whose mean distance is given apart."""
    means = np.zeros(len(scores)) if others is None else others
    pairs = zip(scores, means, strict=True)
    return [ScoredSample(f"{s}.png", "tile", defect_type, float(s), float(s), float(mean)) for s, mean in pairs]


def images_of(category_dir: Path, defect_type: str) -> list[Path]:
    return sorted((category_dir / "test" / defect_type).iterdir())


# --- costs


def test_a_cost_is_in_false_alarms_per_100_parts() -> None:
    # 98 good parts of which half are stopped, 2 defective ones of which half are missed, each worth 30.
    assert Costs(ratio=30, defect_rate=0.02).of(0.5, 0.5) == pytest.approx(98 / 2 + 30 * 2 / 2)


@pytest.mark.parametrize(("ratio", "rate"), [(0, 0.1), (-1, 0.1), (np.nan, 0.1), (np.inf, 0.1), (1, 0), (1, 1)])
def test_senseless_costs_are_refused(ratio: float, rate: float) -> None:
    with pytest.raises(SettingError, match="expected"):
        Costs(ratio, rate)


@pytest.mark.parametrize("ratio", [0.1, 1, 10, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_no_limit_at_all_costs_less_than_the_cheapest_of_the_table(seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    good, defective = rng.integers(0, 12, 30), rng.integers(4, 16, 12)  # few values, so many ties
    costs = Costs(ratio, 0.1)
    limits = np.arange(min(*good, *defective), 17, 0.5)  # every one that stops something but not everything
    plain = [costs.of(float((good > limit).mean()), float((defective <= limit).mean())) for limit in limits]
    assert min(row.cost for row in cost_table(good, defective, costs)) == pytest.approx(min(plain))


def test_each_limit_of_the_table_is_worth_having() -> None:
    rng = np.random.default_rng(1)
    good, defective = rng.random(40), 0.3 + rng.random(20)
    rows = cost_table(good, defective, COSTS)
    assert [row.missed for row in rows] == sorted({row.missed for row in rows})
    assert [row.false_alarms for row in rows] == sorted({row.false_alarms for row in rows}, reverse=True)
    for row in rows:
        assert row.false_alarms == (good > row.limit).sum()
        assert row.missed == (defective <= row.limit).sum()


def test_images_in_order_are_parted_halfway() -> None:
    assert [astuple(row) for row in cost_table([1, 2], [4, 5], COSTS)] == [(3.0, 0, 0, 0.0)]


def test_a_limit_that_stops_everything_is_none() -> None:
    assert [row.limit for row in cost_table([5, 6], [1, 7], COSTS)] == [6.5]


# --- cross-validation


def test_rules_are_judged_on_images_that_did_not_set_them() -> None:
    """Scores that say nothing: on the images themselves a limit does better than guessing, on others it cannot."""
    rng = np.random.default_rng(0)
    good, defective = rng.random(60), rng.random(60)
    costs = Costs(ratio=1, defect_rate=0.5)  # guessing costs 50
    (cheapest,) = (
        rule.cost
        for rule in cross_validate(samples("good", good), samples("crack", defective), 0.05, costs)
        if rule.rule == CHEAPEST
    )
    assert min(row.cost for row in cost_table(good, defective, costs)) < 45
    assert cheapest > 47


def test_the_svm_sees_what_the_score_does_not() -> None:
    rng = np.random.default_rng(0)
    good = samples("good", rng.random(30), rng.random(30))
    defective = samples("crack", rng.random(10), 3 + rng.random(10))
    cost = {rule.rule: rule.cost for rule in cross_validate(good, defective, 0.1, COSTS)}
    assert cost[SVM] == 0 < min(cost[CHEAPEST], cost[CONFORMAL])


def test_a_smaller_alpha_stops_fewer_in_cross_validation() -> None:
    rng = np.random.default_rng(0)
    parts = samples("good", rng.random(60)), samples("crack", 0.5 + rng.random(10))
    strict, loose = (cross_validate(*parts, alpha, COSTS)[0] for alpha in (0.05, 0.5))
    assert (strict.rule, loose.rule) == (CONFORMAL, CONFORMAL)
    assert strict.false_alarm_rate < loose.false_alarm_rate
    assert strict.miss_rate > loose.miss_rate


# --- the choice


def chosen(detector: Detector, category_dir: Path, **options: Any) -> Any:
    good, defective = images_of(category_dir, "good"), images_of(category_dir, "stain")
    return choose_limit(detector, good, defective, **{"alpha": 0.2, **options})


def test_the_cheaper_rule_in_cross_validation_sets_the_limit(detector: Detector, category_dir: Path) -> None:
    for ratio in (0.01, 1, 100):
        made, choice = chosen(detector, category_dir, cost_ratio=ratio)
        cost = {rule.rule: rule.cost for rule in choice.rules}
        assert choice.rule == (CHEAPEST if cost[CHEAPEST] < cost[CONFORMAL] else CONFORMAL)
        assert made.threshold == choice.threshold
        if choice.rule == CONFORMAL:
            conformal = detector.calibrate(images_of(category_dir, "good"), alpha=0.2)
            assert made.threshold == conformal.threshold
        else:
            assert choice.now == min(choice.limits, key=lambda row: row.cost)


def test_a_chosen_limit_promises_what_the_good_images_say() -> None:
    good, defective = samples("good", range(20)), samples("crack", range(17, 40))
    choice = weigh_limits(good, defective, 0.05, Costs(100, 0.5))
    assert choice.rule == CHEAPEST
    assert choice.threshold == threshold_at(choice.threshold.value, range(20))
    assert choice.threshold.promised_alpha == (choice.now.false_alarms + 1) / 21


def test_the_graph_stays_and_the_history_grows(detector: Detector, category_dir: Path, tmp_path: Path) -> None:
    made, choice = chosen(detector, category_dir)
    assert made.model.graph == detector.model.graph
    assert made.description.history[0]["from"] == detector.threshold.value
    assert made.description.history[-1]["to"] == choice.threshold.value
    made.save(tmp_path / "m.blemish")
    again = Detector.load(tmp_path / "m.blemish").description
    assert (again.threshold, again.history) == (made.description.threshold, made.description.history)


def test_undoing_a_limit_chosen_for_its_cost_brings_back_that_of_the_good_images(
    detector: Detector, category_dir: Path
) -> None:
    ratio = next(r for r in (0.001, 1, 1000) if chosen(detector, category_dir, cost_ratio=r)[1].rule == CHEAPEST)
    made, _ = chosen(detector, category_dir, cost_ratio=ratio)
    conformal = detector.calibrate(images_of(category_dir, "good"), alpha=0.2)
    assert f"a miss counts {ratio:g}" in made.description.history[-1]["why"]
    assert made.undo().threshold == conformal.threshold
    assert len(made.undo().description.labelled) == 6


def test_images_that_chose_the_limit_do_not_judge_it(detector: Detector, category_dir: Path) -> None:
    good, defective = images_of(category_dir, "good"), images_of(category_dir, "stain")
    made, _ = choose_limit(detector, good[:6], defective[:5], alpha=0.2)
    found = evaluate(made, category_dir)
    assert (found.n_good, found.types[-1].n_images, found.n_labelled) == (2, 1, 5)
    assert any("5 defective images were left out" in said for said in found.sentences())
    assert made.description.labelled == {content_hash(path) for path in defective[:5]}


def test_without_any_defective_image_left_nothing_is_judged(detector: Detector, category_dir: Path) -> None:
    made, _ = choose_limit(detector, images_of(category_dir, "good")[:6], images_of(category_dir, "stain"), alpha=0.2)
    with pytest.raises(DatasetError, match="0 defective ones"):
        evaluate(made, category_dir)


def test_a_limit_may_be_chosen_again(detector: Detector, category_dir: Path) -> None:
    made, choice = chosen(detector, category_dir)
    assert chosen(made, category_dir)[1] == choice


def test_the_defect_rate_is_that_of_the_images_unless_it_is_given(detector: Detector, category_dir: Path) -> None:
    assert chosen(detector, category_dir)[1].costs == Costs(10, 6 / 14)
    assert chosen(detector, category_dir, defect_rate=0.01)[1].costs == Costs(10, 0.01)


def test_what_is_shown_is_what_was_counted(detector: Detector, category_dir: Path) -> None:
    _, choice = chosen(detector, category_dir)
    limits, rules = choice.tables()
    (new,) = (row for row in limits.rows if "the new limit" in row[-1])
    assert new[0] == f"{choice.threshold.value:.4g}"
    assert new[1].startswith(f"{choice.now.false_alarms} (")
    assert [row[0] for row in rules.rows] == [CONFORMAL, CHEAPEST, SVM]
    assert json.loads(json.dumps(choice.to_dict()))["rule"] == choice.rule


@pytest.mark.parametrize(("n_good", "n_defective"), [(4, 6), (8, 4)])
def test_five_images_of_each_kind_are_needed(
    detector: Detector, category_dir: Path, n_good: int, n_defective: int
) -> None:
    good, defective = images_of(category_dir, "good")[:n_good], images_of(category_dir, "stain")[:n_defective]
    with pytest.raises(DatasetError, match=f"{n_good} different good and {n_defective} different defective"):
        choose_limit(detector, good * 2, defective * 2, alpha=0.2)


def test_an_image_is_good_or_defective(detector: Detector, category_dir: Path) -> None:
    good, defective = images_of(category_dir, "good"), images_of(category_dir, "stain")
    with pytest.raises(DatasetError, match="same image"):
        choose_limit(detector, good, [*defective, good[0]], alpha=0.2)


def test_images_that_the_model_took_for_good_cannot_be_defective(detector: Detector, category_dir: Path) -> None:
    learned = sorted((category_dir / "train" / "good").iterdir())
    with pytest.raises(DatasetError, match="16 of these defective images"):
        choose_limit(detector, images_of(category_dir, "good"), learned, alpha=0.2)


def test_good_images_that_were_learned_from_are_refused(detector: Detector, category_dir: Path) -> None:
    learned = sorted((category_dir / "train" / "good").iterdir())
    with pytest.raises(DatasetError, match="learned from 13"):
        choose_limit(detector, learned, images_of(category_dir, "stain"), alpha=0.2)
