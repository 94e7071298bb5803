"""Two detectors on the same images: what is counted, what is left out, and when a difference is called one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from blemish.detection.detector import Detector
from blemish.errors import DatasetError
from blemish.evaluation.compare import Comparison, compare
from blemish.evaluation.evaluate import evaluate
from blemish.evaluation.intervals import Interval
from blemish.results import Verdict


@pytest.fixture(scope="module")
def found(detector: Detector, nearest_detector: Detector, category_dir: Path) -> Comparison:
    return compare(detector, nearest_detector, [category_dir], names=("old", "new"))


def with_limit(detector: Detector, value: float) -> Detector:
    threshold = replace(detector.threshold, value=value)
    return Detector(replace(detector.model, description=replace(detector.description, threshold=threshold)))


def test_each_is_judged_as_evaluate_judges_it(
    found: Comparison, detector: Detector, nearest_detector: Detector, category_dir: Path
) -> None:
    assert found.labelled is not None
    for result, each in zip(found.labelled, (detector, nearest_detector), strict=True):
        alone = evaluate(each, category_dir)
        assert (result.auroc, result.auroc_interval) == (alone.types[-1].auroc, alone.types[-1].auroc_interval)
        assert (result.false_alarms, result.missed) == (alone.false_alarms, alone.types[-1].missed)


def test_every_image_is_in_the_table_of_agreement_once(found: Comparison) -> None:
    agreement = found.tables()[0]
    assert sum(int(cell) for row in agreement.rows for cell in row[1:]) == len(found.images) == 8 + 6


def test_ranks_begin_at_the_most_anomalous(found: Comparison) -> None:
    for which in (0, 1):
        worst = max(found.images, key=lambda image: image.scores[which])
        assert worst.ranks[which] == 1
    expected = spearmanr([image.scores[0] for image in found.images], [image.scores[1] for image in found.images])
    assert found.rank_correlation == pytest.approx(expected.statistic)


def test_images_that_are_judged_differently_are_named(detector: Detector, category_dir: Path) -> None:
    found = compare(detector, with_limit(detector, -1.0), [category_dir / "test"])
    assert {image.path for image in found.differing} == {
        image.path for image in found.images if image.verdicts == (Verdict.GOOD, Verdict.DEFECTIVE)
    }
    assert [row[0] for row in found.tables()[-1].rows] == [image.path for image in found.differing]


def test_a_detector_agrees_with_itself_but_chance_is_not_ruled_out(detector: Detector, category_dir: Path) -> None:
    found = compare(detector, detector, [category_dir])
    assert (found.differing, found.rank_correlation) == ((), pytest.approx(1))
    interval = found.auroc_difference_interval
    assert interval is not None
    assert interval.low == -interval.high < 0


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (Interval(-0.1, 0.2), "do not tell which of the two"),
        (Interval(0.01, 0.2), "old ranks better"),
        (Interval(-0.2, -0.01), "new ranks better"),
    ],
)
def test_one_is_called_better_only_where_chance_is_ruled_out(found: Comparison, interval: Interval, said: str) -> None:
    assert found.labelled is not None
    first, second = found.labelled
    labelled = replace(first, auroc=0.6 + (interval.low + interval.high) / 2), replace(second, auroc=0.6)
    assert said in replace(found, labelled=labelled, auroc_difference_interval=interval).sentences()[-1]


def test_without_labels_nothing_is_called_better(detector: Detector, category_dir: Path) -> None:
    found = compare(detector, detector, [category_dir / "test" / "good", category_dir / "test" / "stain"])
    assert (found.labelled, found.auroc_difference_interval) == (None, None)
    assert len(found.images) == 8 + 6
    assert {image.defect_type for image in found.images} == {""}


def test_images_that_one_of_the_two_has_seen_are_left_out(detector: Detector, category_dir: Path) -> None:
    good = sorted((category_dir / "test" / "good").iterdir())
    calibrated = detector.calibrate(good[:3], alpha=0.2)
    for pair in ((detector, calibrated), (calibrated, detector)):
        found = compare(*pair, [category_dir])
        assert (len(found.images), found.n_left_out) == (5 + 6, 16 + 3)


def test_images_that_all_were_seen_are_too_few(detector: Detector, category_dir: Path) -> None:
    with pytest.raises(DatasetError, match="Each of these 16 images"):
        compare(detector, detector, [category_dir / "train" / "good"])


def test_copies_count_once(detector: Detector, category_dir: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy(category_dir / "test" / "good" / "000.png", tmp_path / name)
    found = compare(detector, detector, [tmp_path])
    assert (len(found.images), found.n_left_out, found.rank_correlation) == (1, 1, None)


def test_page_and_json_hold_what_was_found(found: Comparison) -> None:
    page, written = found.page(), json.loads(json.dumps(found.to_dict()))
    assert all(sentence.split(";")[0] in page for sentence in found.sentences())
    assert len(written["images"]) == len(found.images)
    assert written["images"][0]["verdicts"] == list(found.images[0].verdicts)
