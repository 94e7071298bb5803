"""How well scores tell defective from good: image-level AUROC, average precision and F1-max; pixel AUROC, AUPRO.

Scores or anomaly maps with their truth come in, one number in [0, 1] comes out; higher scores are more anomalous.
Pixels are tallied by value as the maps pass by, so hundreds of 1024 x 1024 maps need no more memory than one, and are
seen once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from blemish.errors import DatasetError, SettingError

Scores = Sequence[float] | NDArray[np.floating[Any]]

AUPRO_LIMIT = 0.3  # false positive rate up to which the overlap is integrated (Bergmann et al. 2019)
_DROPPED_BITS = 10  # of the 32 in a float32; 13 bits of the fraction stay, so bins are 1/8192 of a value wide or less
_BINS = 2 ** (32 - _DROPPED_BITS)


def image_auroc(good_scores: Scores, defective_scores: Scores) -> float:
    """Give the chance that a defective image scores higher than a good one; ties count half.

    Args:
        good_scores: one finite score per good image, higher is more anomalous.
        defective_scores: the same for the defective images.

    Raises:
        DatasetError: one of the two is empty or holds a score that is not finite.

    Example:
        >>> image_auroc([1.0, 2.0], [2.0, 3.0])
        0.875
    """
    return float(roc_auc_score(*_labelled(good_scores, defective_scores)))


def average_precision(good_scores: Scores, defective_scores: Scores) -> float:
    """Give the mean precision over the defective images, each stopped with all that score at least as high.

    Unlike the AUROC it depends on the mixture: guessing gives the share of defective images.

    Args:
        good_scores: one finite score per good image, higher is more anomalous.
        defective_scores: the same for the defective images.

    Raises:
        DatasetError: one of the two is empty or holds a score that is not finite.

    Example:
        >>> average_precision([1.0, 3.0], [2.0, 4.0])
        0.8333333333333333
    """
    return float(average_precision_score(*_labelled(good_scores, defective_scores)))


def f1_max(good_scores: Scores, defective_scores: Scores) -> float:
    """Give the F1 of the best of all limits: an oracle, for that limit is chosen on the very images it judges.

    Args:
        good_scores: one finite score per good image, higher is more anomalous.
        defective_scores: the same for the defective images.

    Raises:
        DatasetError: one of the two is empty or holds a score that is not finite.

    Example:
        >>> f1_max([1.0, 3.0], [2.0, 4.0])
        0.8
    """
    precision, recall, _ = precision_recall_curve(*_labelled(good_scores, defective_scores))
    return float((2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)).max())


def _labelled(good_scores: Scores, defective_scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Join the scores, and say of each whether its image is defective."""
    good, defective = finite_scores(good_scores, "good"), finite_scores(defective_scores, "defective")
    return np.repeat([0, 1], [good.size, defective.size]), np.concatenate([good, defective])


def finite_scores(scores: Scores, state: str) -> NDArray[np.float64]:
    """Return scores as an array; refuse none, and scores that are not finite.

    Raises:
        DatasetError: there are none, or one is not finite; the message says of which state the images are.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.size == 0:
        raise DatasetError(f"no {state} images were scored; an AUROC needs at least one good and one defective image")
    broken = int(np.count_nonzero(~np.isfinite(array)))
    if broken:
        raise DatasetError(
            f"{broken} of {array.size} scores of {state} images are not finite; expected finite numbers. "
            "Training has probably not been stable: fit again with another --seed"
        )
    return array


class PixelTally:
    """Count good and defective pixels by their distance, map after map, then read the pixel metrics off the counts.

    A bin holds the float32 values that share sign, exponent and the first 13 bits of the fraction. The bins are thus
    fixed beforehand, whatever the scale of the distances, and a single huge value costs the others nothing. Pixels in
    one bin count as ties. Hence the error bounds: `auroc` is off by at most half the share of (good, defective) pixel
    pairs that are tied; `aupro` by at most the sum over the bins of (step in false positive rate x step in overlap) /
    limit.

    Memory: at most 3 x 32 MiB, and only for the range of values that occurs.

    Example:
        >>> tally = PixelTally()
        >>> tally.add(np.array([[0.1, 0.2, 0.9]]), np.array([[False, False, True]]))
        >>> tally.auroc()
        1.0
    """

    def __init__(self) -> None:
        self._good = np.zeros(_BINS, dtype=np.int64)
        self._defective = np.zeros(_BINS, dtype=np.int64)
        self._overlap = np.zeros(_BINS)  # every region of a mask weighs 1, shared equally among its pixels
        self._maps = 0

    def add(self, anomaly_map: NDArray[Any], mask: NDArray[Any]) -> None:
        """Count the pixels of one image.

        Args:
            anomaly_map: ``(H, W)`` finite floats, higher is more anomalous.
            mask: ``(H, W)``, non-zero where defective; all zero for a good image. A defective image with an empty mask
                counts as good pixels throughout, so leave such images out.

        Raises:
            DatasetError: the shapes differ or a value is not finite.
        """
        self._maps += 1
        values = np.ascontiguousarray(anomaly_map, dtype=np.float32)
        if values.shape != mask.shape or values.ndim != 2:
            raise DatasetError(
                f"anomaly map {self._maps} has shape {values.shape} and its mask {mask.shape}; "
                "expected the same (H, W). Resize the map to the size of the mask"
            )
        if not np.isfinite(values).all():
            raise DatasetError(f"anomaly map {self._maps} holds values that are not finite; expected finite distances")
        bins, defective = _bins(values), mask != 0
        _count(self._good, bins[~defective])
        _count(self._defective, bins[defective])
        _count(self._overlap, bins[defective], _region_weights(defective))

    def auroc(self) -> float:
        """Give the chance that a defective pixel has a larger distance than a good one; see the class for its error.

        Raises:
            DatasetError: there is no good or no defective pixel.
        """
        false_positive_rate, true_positive_rate = self._curve(self._defective)
        return float(auc(false_positive_rate, true_positive_rate))

    def aupro(self, limit: float = AUPRO_LIMIT) -> float:
        """Give the area under the per-region overlap up to a false positive rate, over that rate; never above 1.

        The overlap is the mean, over all 8-connected regions of all masks, of the share of the region that is found: a
        small defect counts as much as a large one. Guessing gives ``limit / 2``.

        Args:
            limit: largest false positive rate among good pixels, above 0 and at most 1.

        Raises:
            SettingError: the limit is out of range.
            DatasetError: there is no good or no defective pixel.

        Source: Bergmann et al. 2019 (MVTec AD), sec. 4.2.
        """
        if not 0 < limit <= 1:
            raise SettingError(f"the false positive rate limit is {limit}; expected above 0 and at most 1, such as 0.3")
        false_positive_rate, overlap = self._curve(self._overlap)
        kept = false_positive_rate <= limit
        x = np.append(false_positive_rate[kept], limit)
        y = np.append(overlap[kept], np.interp(limit, false_positive_rate, overlap))
        return min(1.0, float(auc(x, y)) / limit)

    def _curve(self, found: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower the threshold bin by bin: shares of the good pixels and of ``found`` at or above it, from 0 to 1."""
        if not self._good.any() or not self._defective.any():
            missing = "defective" if self._good.any() else "good"
            raise DatasetError(
                f"the masks of {self._maps} images hold no {missing} pixel; pixel-level AUROC and AUPRO need both. "
                "Add images with masks, or use the image-level AUROC"
            )
        occupied = np.flatnonzero(self._good + self._defective)[::-1]
        good, rising = np.cumsum(self._good[occupied]), np.cumsum(found[occupied])
        return np.append(0.0, good / good[-1]), np.append(0.0, rising / rising[-1])


def pixel_auroc(maps: Iterable[NDArray[Any]], masks: Iterable[NDArray[Any]]) -> float:
    """Give the chance that a defective pixel has a larger distance than a good one, over all images.

    Args:
        maps: ``(H, W)`` anomaly maps, read once and not kept; sizes may differ between images.
        masks: ``(H, W)`` each, non-zero where defective, in the same order.

    Raises:
        DatasetError: numbers or shapes differ, values are not finite, or no pixel is good or none defective.

    Source: see `PixelTally`, also for the error bound (below 1e-4 on all but nearly constant maps).
    """
    return _tally(maps, masks).auroc()


def aupro(maps: Iterable[NDArray[Any]], masks: Iterable[NDArray[Any]], limit: float = AUPRO_LIMIT) -> float:
    """Give the area under the per-region overlap, up to a false positive rate of ``limit``; see `PixelTally.aupro`.

    Args:
        maps: ``(H, W)`` anomaly maps, read once and not kept; sizes may differ between images.
        masks: ``(H, W)`` each, non-zero where defective, in the same order.
        limit: largest false positive rate, above 0 and at most 1.
    """
    return _tally(maps, masks).aupro(limit)


def _tally(maps: Iterable[NDArray[Any]], masks: Iterable[NDArray[Any]]) -> PixelTally:
    tally = PixelTally()
    for anomaly_map, mask in zip_longest(maps, masks):
        if anomaly_map is None or mask is None:
            raise DatasetError("there are not as many anomaly maps as masks; expected one mask for every map")
        tally.add(anomaly_map, mask)
    return tally


def _bins(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Number the bins so that larger values never lie in smaller bins: the bits of floats sort like integers."""
    bits = (values + np.float32(0.0)).view(np.uint32)  # adding zero turns -0.0 into 0.0
    ordered = np.where(values < 0, ~bits, bits | np.uint32(0x8000_0000))
    return ordered >> np.uint32(_DROPPED_BITS)


def _count(histogram: NDArray[Any], bins: NDArray[np.uint32], weights: NDArray[np.float64] | None = None) -> None:
    if bins.size == 0:
        return
    low = int(bins.min())
    counts = np.bincount(bins - np.uint32(low), weights)
    histogram[low : low + counts.size] += counts  # only the pages that are used are ever touched


def _region_weights(defective: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weigh every defective pixel, in reading order, with one over the area of its 8-connected region."""
    _, regions = cv2.connectedComponents(defective.astype(np.uint8), connectivity=8)
    areas = np.bincount(regions.ravel())
    weights: NDArray[np.float64] = 1.0 / areas[regions[defective]]
    return weights
