"""Has the camera changed? Compares the images of a batch, as a whole, with the good ones that set the threshold.

A lamp that dims, a lens out of focus or a part that lies elsewhere makes every image unlike the good ones, and the
verdicts then speak of that. So a few numbers are taken of every image, and a batch is warned of when both hold: by a
rank test it is no chance that its numbers differ, and its middle image lies outside of where most good ones lie. The
second keeps large batches quiet about differences too small to matter. Defects do not warn unless most parts have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.results import FloatArray
from blemish.strips import STRIP, GreyImage

RATE: Final = 0.01  # at most 1 in 100 batches of images like the good ones is warned of
_CHECKS: Final = {  # statistic -> what to check when it has moved
    "brightness": "the light and the exposure",
    "contrast": "the light, the exposure and the lens",
    "sharpness": "the focus, and whether parts move while they are photographed",
    "height": "the settings of the camera",
    "width": "the settings of the camera",
    "distance": "how parts lie before the camera, the tint of the light, and whether most of them are defective",
}
_MOST: Final = 95.0  # percent of the good images that are called most: those in the middle
_N_SHUFFLES: Final = 2999  # of the rank test; the smallest share they can show, 1 in 3000, is far below the rate
_MOST_IMAGES: Final = 300  # of either side that are compared; more of them show nothing new


@dataclass(frozen=True)
class Drift:
    """One statistic by which a batch as a whole has moved away from the good images."""

    statistic: str
    found: float  # of the middle image of the batch
    low: float  # most good images lie from here
    high: float  # to here

    def sentence(self) -> str:
        """Say in plain words what has moved, how far, and what to look at."""
        return (
            f"The {self.statistic} of this batch as a whole is {self.found:.3g}, but {self.low:.3g} to {self.high:.3g} "
            f"in most of the good images that set the threshold: check {_CHECKS[self.statistic]}."
        )


def image_statistics(image: GreyImage, mean_distance: float) -> dict[str, float]:
    """Measure what a camera fault would change.

    Args:
        image: ``(H, W)`` in [0, 1], as it was read.
        mean_distance: of its map: a single defect hardly moves it.

    Returns:
        Brightness and contrast, mean and standard deviation of the grey values; sharpness, how much of the contrast is
        between neighbours (standard deviation of the Laplacian over that of the grey values), which light alone does
        not change; height and width; and the mean distance.
    """
    greys, edges = [], []
    height, width = image.shape
    step = max(STRIP // width, 1)
    for top in range(0, height, step):
        first = max(top - 1, 0)  # a row more on either side, so that the Laplacian of all strips joins
        strip = image.rows(first, min(top + step + 1, height))
        greys.append(_moments(strip[top - first :][:step]))
        edges.append(_moments(np.asarray(cv2.Laplacian(strip, cv2.CV_32F), np.float32)[top - first :][:step]))
    (brightness, contrast), (_, sharpness) = _joined(greys), _joined(edges)
    return {
        "brightness": brightness,
        "contrast": contrast,
        "sharpness": sharpness / contrast if contrast > 0 else 0.0,
        "height": float(height),
        "width": float(width),
        "distance": mean_distance,
    }


def _moments(values: FloatArray) -> tuple[int, float, float]:
    """Return how many values there are, their mean and their standard deviation."""
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(values))
    return values.size, mean, deviation


def _joined(parts: Sequence[tuple[int, float, float]]) -> tuple[float, float]:
    """Return mean and standard deviation of all parts together, from those of each."""
    n, means, deviations = np.array(parts).T
    mean = float(n @ means / n.sum())
    return mean, float(np.sqrt(n @ (deviations**2 + (means - mean) ** 2) / n.sum()))


def find_drift(good: Mapping[str, Sequence[float]], batch: Mapping[str, Sequence[float]]) -> tuple[Drift, ...]:
    """Find the statistics by which a batch as a whole has moved away.

    Args:
        good: statistic -> its value for each of the good images that set the threshold; none are compared of an older
            model file, which has none.
        batch: the same for the images of the batch.

    Returns:
        At most `RATE` of the batches that are exchangeable with the good images have any. A handful of images may be
        too few to show anything: of 3 images, 20 good ones can show it, 10 cannot.
    """
    compared = [name for name in _CHECKS if good.get(name) and batch.get(name)]
    found = []
    for name in compared:
        usual, new = np.array(good[name]), np.array(batch[name])
        low, high = usual_range(good[name])
        at = float(np.median(new))
        is_outside = at > high or (at < low and name != "distance")  # nearer to good ones than they are: no fault
        if is_outside and _chance(_evenly(usual), _evenly(new)) <= RATE / len(compared):
            found.append(Drift(name, at, low, high))
    return tuple(found)


def usual_range(good: Sequence[float]) -> tuple[float, float]:
    """Return from where to where a statistic reaches in most of the good images, at least one."""
    low, high = np.percentile(good, (50 - _MOST / 2, 50 + _MOST / 2))
    return float(low), float(high)


def _chance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the share of all divisions of the values into two groups whose ranks differ at least as much as these do.

    Shuffled, not computed from a formula: so it holds for any number of images and any ties.

    Source: Wilcoxon 1945, as a permutation test.
    """
    ranks = _ranks(np.concatenate([first, second]))
    n, centre = len(first), len(first) * (len(ranks) + 1) / 2
    shuffled = np.random.default_rng(0).permuted(np.tile(ranks, (_N_SHUFFLES, 1)), axis=1)[:, :n].sum(axis=1)
    as_far = np.abs(shuffled - centre) >= abs(ranks[:n].sum() - centre)
    return float((as_far.sum() + 1) / (_N_SHUFFLES + 1))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number values from 1 by size; equal ones share the mean of their numbers."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def _evenly(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take at most `_MOST_IMAGES` values, evenly over all."""
    evenly: NDArray[np.float64] = values[np.linspace(0, len(values) - 1, min(len(values), _MOST_IMAGES)).astype(int)]
    return evenly
