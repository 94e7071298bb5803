"""Turn the distances of test images into AUROCs: the paper's in-sample protocol, and the honest one.

Scored samples of one category come in, an AUROC per defect type comes out. The honest protocol sweeps a threshold over
the score by which the detector itself decides; for the paper's methods that is the maximum distance, as in the method
of Staar et al.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC

from blemish.datasets import GOOD, Sample
from blemish.errors import DatasetError, SettingError
from blemish.evaluation.metrics import image_auroc
from blemish.results import Inspection

ALL = "all"  # stands for the defects of all types together
IN_SAMPLE = "in-sample: measures separability, not detection"  # goes wherever a result of the paper protocol goes

SVM_C = 1e8  # Tayeh et al. 2020, sec. IV-E
_SVM_ITERATIONS = 20_000  # separable classes need far fewer; overlapping ones would not be done after millions


@dataclass(frozen=True)
class ScoredSample:
    """One test image and what it is judged by; higher is more anomalous."""

    path: str
    category: str
    defect_type: str  # "good", or the name of the defect's folder, such as "bent_lead"
    score: float  # what the detector compares with its threshold; the honest protocol judges by it
    max_distance: float  # largest distance on the map; the paper's protocol judges by this and the next
    mean_distance: float  # mean distance on the map


def scored_sample(place: str, sample: Sample, found: Inspection) -> ScoredSample:
    """Keep of an inspection what the protocols need.

    Args:
        place: by which name the image goes into tables.
        sample: what is known about it.
        found: what the detector says.
    """
    return ScoredSample(
        path=place,
        category=sample.category,
        defect_type=sample.defect_type,
        score=found.score,
        max_distance=found.max_distance,
        mean_distance=found.mean_distance,
    )


@dataclass(frozen=True)
class Auroc:
    """How well one defect type of one category is told from good, over the repeats of an experiment."""

    category: str
    defect_type: str
    known: bool  # whether the network was trained on this category
    values: tuple[float, ...]  # one AUROC per repeat, 0 to 1

    def __post_init__(self) -> None:
        if not self.values:
            raise SettingError(
                f"{self.category}/{self.defect_type} has no AUROC; expected one per repeat, at least one"
            )


@dataclass(frozen=True)
class LinearBoundary:
    """A straight line in the plane of maximum and mean distance, with the defective images on its positive side."""

    max_weight: float
    mean_weight: float
    offset: float

    def decision(self, max_distance: float, mean_distance: float) -> float:
        """Say how far on the defective side of the line an image lies; negative on the good side, no fixed unit."""
        return self.max_weight * max_distance + self.mean_weight * mean_distance + self.offset


def fit_svm(good: Sequence[ScoredSample], defective: Sequence[ScoredSample]) -> LinearBoundary:
    """Find the line between good and defective images, as a linear SVM with C = 1e8.

    Raises:
        DatasetError: one of the two is empty or holds a distance that is not finite.

    Source: Tayeh et al. 2020, sec. IV-E. Departures, so that it always ends, and in milliseconds: both distances are
    standardised first, and the scaling is folded back into the weights. Where the classes overlap, the usual solver
    does not converge for so large a C, and stopping it early yields lines that point anywhere, backwards too. There
    the margin no longer matters beside 1e8 times the hinge loss, so the line of least hinge loss is computed as a
    linear programme.
    """
    points, signs = _points(good, defective)
    centre, scale = points.mean(axis=0), points.std(axis=0)
    scale[np.ptp(points, axis=0) == 0] = 1.0
    scaled = (points - centre) / scale
    weights, offset = _widest_margin(scaled, signs) or _least_hinge_loss(scaled, signs)
    weights = weights / scale
    return LinearBoundary(float(weights[0]), float(weights[1]), float(offset - weights @ centre))


def paper_protocol(samples: Sequence[ScoredSample]) -> dict[str, float]:
    """Give the AUROC per defect type with an SVM fitted to the very images it judges (in-sample).

    It measures whether a line can separate the images, not whether unseen defects would be detected. Use it only
    beside the paper's Figures 6 to 8, and with the label `IN_SAMPLE`. The paper does not say what the AUROC is taken
    over; here it is the signed decision value. Where most defective images look good, the line of least loss may call
    every image alike, and the AUROC is 0.5.

    Args:
        samples: the test images of one category, good and defective.

    Returns:
        Defect type -> AUROC, one SVM each, in alphabetical order.

    Raises:
        DatasetError: the samples are of several categories, or there are no good or no defective ones.

    Source: Tayeh et al. 2020, sec. IV-E.
    """
    good, defective_by_type = _by_defect_type(samples)
    results = {}
    for defect_type, defective in defective_by_type.items():
        boundary = fit_svm(good, defective)
        results[defect_type] = image_auroc(_decisions(boundary, good), _decisions(boundary, defective))
    return results


def honest_protocol(samples: Sequence[ScoredSample]) -> dict[str, float]:
    """Give the AUROC per defect type, and of all defects together, with nothing fitted to test images.

    The detector's own score judges an image. With the paper's methods that is the maximum distance, and the protocol is
    the method of Staar et al. as the paper describes it.

    Args:
        samples: the test images of one category, good and defective.

    Returns:
        Defect type -> AUROC against all good images, in alphabetical order; under `ALL` that of all defective images.

    Raises:
        DatasetError: the samples are of several categories, or there are no good or no defective ones.

    Example:
        >>> samples = [ScoredSample(f"{n}.png", "tile", kind, score=n, max_distance=n, mean_distance=0)
        ...            for n, kind in enumerate(["good", "crack", "good", "hole"])]
        >>> honest_protocol(samples)
        {'crack': 0.5, 'hole': 1.0, 'all': 0.75}
    """
    good, defective_by_type = _by_defect_type(samples)
    defective_by_type[ALL] = [sample for defective in defective_by_type.values() for sample in defective]
    good_scores = [sample.score for sample in good]
    return {
        name: image_auroc(good_scores, [sample.score for sample in group]) for name, group in defective_by_type.items()
    }


def _decisions(boundary: LinearBoundary, samples: Sequence[ScoredSample]) -> list[float]:
    return [boundary.decision(sample.max_distance, sample.mean_distance) for sample in samples]


def _by_defect_type(samples: Sequence[ScoredSample]) -> tuple[list[ScoredSample], dict[str, list[ScoredSample]]]:
    categories = sorted({sample.category for sample in samples})
    if len(categories) != 1:
        raise DatasetError(f"a protocol judges one category at a time; found {len(categories)}: {categories}")
    groups: dict[str, list[ScoredSample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.defect_type):
        groups.setdefault(sample.defect_type, []).append(sample)
    good = groups.pop(GOOD, [])
    if not good or not groups:
        raise DatasetError(
            f"category '{categories[0]}' has {len(good)} good and {len(samples) - len(good)} defective test images; "
            "expected at least one of each"
        )
    if ALL in groups:
        raise DatasetError(f"category '{categories[0]}' has a defect type named '{ALL}'; please rename that folder")
    return good, groups


def _points(
    good: Sequence[ScoredSample], defective: Sequence[ScoredSample]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lay the samples out as ``(N, 2)`` points (max, mean) and ``(N,)`` signs, -1 for good and 1 for defective."""
    if not good or not defective:
        raise DatasetError(
            f"an SVM needs good and defective images; found {len(good)} good, {len(defective)} defective"
        )
    points = np.array([(sample.max_distance, sample.mean_distance) for sample in (*good, *defective)], dtype=np.float64)
    if not np.isfinite(points).all():
        raise DatasetError("some distances are not finite; the network has probably diverged, train it again")
    return points, np.repeat([-1.0, 1.0], [len(good), len(defective)])


def _widest_margin(points: NDArray[np.float64], signs: NDArray[np.float64]) -> tuple[NDArray[np.float64], float] | None:
    """Let the usual SVM solver try; None where it does not converge, which is where the classes overlap."""
    svm = SVC(kernel="linear", C=SVM_C, max_iter=_SVM_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said by returning None
        svm.fit(points, signs)
    return None if svm.fit_status_ else (svm.coef_[0], float(svm.intercept_[0]))


def _least_hinge_loss(points: NDArray[np.float64], signs: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Minimise the sum of the slacks s_i >= 0 subject to sign_i (w . point_i + b) >= 1 - s_i."""
    n = len(points)
    line = -signs[:, None] * np.column_stack([points, np.ones(n)])
    constraints = hstack([csr_array(line), -eye_array(n)])  # (N, 3 + N): w, b, slacks; sparse, or it would be gigabytes
    costs = np.concatenate([np.zeros(3), np.ones(n)])
    bounds = [(None, None)] * 3 + [(0, None)] * n
    solution = linprog(costs, A_ub=constraints, b_ub=-np.ones(n), bounds=bounds, method="highs")
    assert solution.status == 0, solution.message  # w = 0, s = 2 is always allowed, and no loss is below 0
    return solution.x[:2], float(solution.x[2])
