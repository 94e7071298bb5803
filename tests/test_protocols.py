"""The two protocols and the SVM: definitions, and data on which solvers are known to hang."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from sklearn.svm import SVC

from blemish.errors import DatasetError, SettingError
from blemish.evaluation.protocols import (
    ALL,
    Auroc,
    LinearBoundary,
    ScoredSample,
    fit_svm,
    honest_protocol,
    paper_protocol,
)


def sample(defect_type, max_distance, mean_distance=0.0, score=None):
    """Make a sample whose score is the maximum distance, as in the paper's methods, unless it is given."""
    score = max_distance if score is None else score
    return ScoredSample("image.png", "tile", defect_type, float(score), float(max_distance), float(mean_distance))


def cloud(defect_type, rng, n, centre, spread=1.0, scale=(1.0, 1.0)):
    points = rng.normal(centre, spread, (n, 2)) * scale
    return [sample(defect_type, *point) for point in points]


def decisions(boundary, samples):
    return np.array([boundary.decision(s.max_distance, s.mean_distance) for s in samples])


def hinge_loss(boundary, good, defective):
    return np.maximum(0, 1 + decisions(boundary, good)).sum() + np.maximum(0, 1 - decisions(boundary, defective)).sum()


# --- Auroc


def test_an_auroc_needs_a_value():
    with pytest.raises(SettingError, match="at least one"):
        Auroc("tile", "crack", True, ())


# --- the SVM


@pytest.mark.parametrize("scale", [(1, 1), (1e-4, 1e5), (1e6, 1)])
def test_separable_images_are_separated_whatever_the_scale(scale):
    rng = np.random.default_rng(0)
    good, defective = cloud("good", rng, 60, (0, 0), scale=scale), cloud("crack", rng, 10, (6, 6), scale=scale)
    boundary = fit_svm(good, defective)
    assert decisions(boundary, good).max() < 0 < decisions(boundary, defective).min()


def test_on_separable_images_the_line_is_that_of_the_plain_svm():
    rng = np.random.default_rng(1)
    good, defective = cloud("good", rng, 40, (0, 0)), cloud("crack", rng, 20, (8, 3))
    points = np.array([(s.max_distance, s.mean_distance) for s in good + defective])
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    plain = SVC(kernel="linear", C=1e8).fit(scaled, [0] * 40 + [1] * 20)
    assert decisions(fit_svm(good, defective), good + defective) == pytest.approx(plain.decision_function(scaled))


def test_a_line_halfway_between_two_points():
    boundary = fit_svm([sample("good", 1, 5)], [sample("crack", 3, 5)])
    assert boundary.decision(2, 5) == pytest.approx(0)
    assert boundary.mean_weight == 0


@pytest.mark.parametrize("distance", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_on_overlapping_images_no_other_line_has_a_smaller_hinge_loss(seed, distance):
    rng = np.random.default_rng(seed)
    good, defective = cloud("good", rng, 60, (0, 0)), cloud("crack", rng, 40, (distance, 0))
    boundary = fit_svm(good, defective)
    loss = hinge_loss(boundary, good, defective)
    found = np.array([boundary.max_weight, boundary.mean_weight, boundary.offset])
    for step in rng.normal(0, 1, (200, 3)) * rng.choice([1e-3, 0.1, 2], (200, 1)):
        assert hinge_loss(LinearBoundary(*(found + step)), good, defective) >= loss - 1e-6


def test_the_memory_for_overlapping_images_grows_with_their_number_only():
    rng = np.random.default_rng(0)
    good, defective = cloud("good", rng, 1500, (0, 0)), cloud("crack", rng, 500, (1, 0))
    tracemalloc.start()
    fit_svm(good, defective)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # bytes; the square of their number alone would take 32 million


@pytest.mark.parametrize("seed", range(5))
def test_on_overlapping_images_the_line_never_points_backwards(seed):
    rng = np.random.default_rng(seed)
    samples = cloud("good", rng, 60, (0, 0)) + cloud("crack", rng, 40, (3, 3), spread=1.5)
    assert paper_protocol(samples)["crack"] > 0.9


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(([(1, 1)] * 5, [(1, 1)] * 3), id="all images alike"),
        pytest.param(([(0.1, 0.3)] * 9, [(0.1, 0.3)] * 9), id="all alike, numbers that floats cannot hold"),
        pytest.param(([(1, 5), (3, 5)], [(2, 5), (4, 5)]), id="one distance constant"),
        pytest.param(([(1, 1), (2, 2)], [(1, 1), (2, 2)]), id="same points in both"),
        pytest.param(([(0, 0), (1, 1)], [(0, 1), (1, 0)]), id="crossed"),
    ],
)
def test_degenerate_images_give_a_finite_line(points):
    good, defective = ([sample(kind, *p) for p in group] for kind, group in zip(("good", "crack"), points, strict=True))
    assert np.isfinite(decisions(fit_svm(good, defective), good + defective)).all()


def test_images_that_are_all_alike_cannot_be_told_apart():
    assert paper_protocol([sample("good", 0.1, 0.3)] * 5 + [sample("crack", 0.1, 0.3)] * 3) == {"crack": 0.5}


def test_a_nearly_touching_pair_is_still_separated():
    good, defective = [sample("good", x, 0) for x in (1, 2, 3)], [sample("crack", x, 0) for x in (3 + 1e-7, 4)]
    boundary = fit_svm(good, defective)
    assert decisions(boundary, good).max() < decisions(boundary, defective).min()


def test_an_svm_needs_both_kinds_of_images():
    with pytest.raises(DatasetError, match="0 good, 1 defective"):
        fit_svm([], [sample("crack", 1)])


def test_an_svm_refuses_distances_that_are_not_finite():
    with pytest.raises(DatasetError, match="not finite"):
        fit_svm([sample("good", float("nan"))], [sample("crack", 1)])


# --- the protocols


def test_paper_protocol_judges_each_defect_type_with_its_own_line():
    good = [sample("good", x, y) for x, y in ((0, 0), (1, 1), (-1, 0.5))]
    below, above = [sample("hole", -5, 0)], [sample("crack", 0, 5)]  # no single line has both on one side alone
    assert paper_protocol(good + below + above) == {"crack": 1.0, "hole": 1.0}


def test_paper_protocol_is_in_sample_so_it_separates_what_maxima_do_not():
    good, defective = [sample("good", x, x) for x in range(5)], [sample("crack", x, x + 1) for x in range(5)]
    assert paper_protocol(good + defective) == {"crack": 1.0}
    assert honest_protocol(good + defective) == {"crack": 0.5, ALL: 0.5}


def test_honest_protocol_compares_each_type_with_all_good_images():
    samples = [sample("good", 1), sample("good", 3), sample("hole", 2), sample("crack", 4), sample("crack", 0)]
    assert honest_protocol(samples) == {"crack": 0.5, "hole": 0.5, ALL: 0.5}


def test_honest_protocol_gives_all_defects_together():
    samples = [sample("good", 1), sample("hole", 2), sample("crack", 0), sample("crack", 0)]
    assert honest_protocol(samples)[ALL] == pytest.approx(1 / 3)


def test_honest_protocol_judges_by_the_score_alone():
    assert honest_protocol([sample("good", 5, 1), sample("crack", 0, 2)])[ALL] == 0
    assert honest_protocol([sample("good", 5, 3, score=1), sample("crack", 0, 2, score=2)])[ALL] == 1


def test_paper_protocol_judges_by_maximum_and_mean_alone():
    samples = cloud("good", np.random.default_rng(2), 20, (0, 0)) + cloud("crack", np.random.default_rng(3), 9, (1, 1))
    turned = [replace(sample, score=-sample.score) for sample in samples]
    assert paper_protocol(turned) == paper_protocol(samples)


def test_honest_protocol_is_unmoved_by_other_defect_types():
    rng = np.random.default_rng(0)
    samples = cloud("good", rng, 20, (0, 0)) + cloud("crack", rng, 10, (1, 1))
    assert honest_protocol([*samples, sample("hole", 99)])["crack"] == honest_protocol(samples)["crack"]


@pytest.mark.parametrize("protocol", [paper_protocol, honest_protocol])
def test_the_order_of_the_images_does_not_matter(protocol):
    rng = np.random.default_rng(1)
    samples = cloud("good", rng, 20, (0, 0)) + cloud("crack", rng, 10, (1, 1)) + cloud("hole", rng, 10, (8, 8))
    assert protocol(samples[::-1]) == pytest.approx(protocol(samples))


@pytest.mark.parametrize("protocol", [paper_protocol, honest_protocol])
@pytest.mark.parametrize("defect_type", ["good", "crack"])
def test_good_and_defective_images_are_needed(protocol, defect_type):
    with pytest.raises(DatasetError, match=r"'tile' has \d good and \d defective"):
        protocol([sample(defect_type, 1)])


@pytest.mark.parametrize("protocol", [paper_protocol, honest_protocol])
def test_one_category_at_a_time(protocol):
    with pytest.raises(DatasetError, match=r"found 2: \['tile', 'wood'\]"):
        protocol([sample("good", 1), replace(sample("crack", 1), category="wood")])


@pytest.mark.parametrize("protocol", [paper_protocol, honest_protocol])
def test_no_images_at_all_are_refused(protocol):
    with pytest.raises(DatasetError, match="found 0"):
        protocol([])


def test_a_defect_type_cannot_be_named_all():
    with pytest.raises(DatasetError, match="rename"):
        honest_protocol([sample("good", 1), sample("all", 1)])
