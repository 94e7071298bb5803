"""The metrics against their definitions, recomputed slowly and plainly."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from blemish.errors import DatasetError, SettingError
from blemish.evaluation.metrics import PixelTally, aupro, average_precision, f1_max, image_auroc, pixel_auroc


def count_pairs(good, defective):
    wins = sum((d > g) + 0.5 * (d == g) for g in good for d in defective)
    return wins / (len(good) * len(defective))


def regions_of(masks):
    """Return (image index, boolean pixels) of every 8-connected region."""
    regions = []
    for index, mask in enumerate(masks):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [(index, labels == label) for label in range(1, count)]
    return regions


def plain_curve(maps, masks):
    """Lower the threshold over every value that occurs: false positive rates and mean overlaps, from (0, 0)."""
    good = np.concatenate([m[mask == 0] for m, mask in zip(maps, masks, strict=True)])
    regions = regions_of(masks)
    curve = [(0.0, 0.0)]
    for threshold in sorted({float(value) for m in maps for value in m.ravel()}, reverse=True):
        overlaps = [float((maps[index][pixels] >= threshold).mean()) for index, pixels in regions]
        curve.append((float((good >= threshold).mean()), sum(overlaps) / len(overlaps)))
    return curve


def plain_aupro(maps, masks, limit):
    area = 0.0
    curve = plain_curve(maps, masks)
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x1 > limit:
            if x0 < limit:
                at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
                area += (limit - x0) * (y0 + at_limit) / 2
            break
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def blobs(rng, n=4, side=24):
    """Draw maps and masks: one good image, the others with a few rectangles, from single pixels to touching ones."""
    masks = np.zeros((n, side, side), dtype=np.uint8)
    for mask in masks[1:]:
        for _ in range(rng.integers(1, 4)):
            top, left = rng.integers(0, side - 1, 2)
            height, width = rng.integers(1, 8, 2)
            mask[top : top + height, left : left + width] = 255
    maps = rng.gamma(2.0, 0.5, masks.shape) + rng.random() * (masks > 0)
    return maps.astype(np.float32), masks


def tied_share(good, defective):
    """Share of (good, defective) pairs whose values agree in all but the last 10 bits."""
    kept = [np.asarray(values, dtype=np.float32).view(np.uint32) >> 10 for values in (good, defective)]
    return float((kept[0][:, None] == kept[1][None, :]).mean())


# --- image-level AUROC


@pytest.mark.parametrize("seed", range(5))
def test_image_auroc_is_the_share_of_ordered_pairs(seed):
    rng = np.random.default_rng(seed)
    good, defective = rng.integers(0, 10, 23), rng.integers(3, 13, 17)  # few values, so many ties
    assert image_auroc(good, defective) == pytest.approx(count_pairs(good, defective), abs=1e-12)


@pytest.mark.parametrize(("good", "defective", "expected"), [([1], [2], 1), ([2], [1], 0), ([3, 3], [3], 0.5)])
def test_image_auroc_of_perfect_reversed_and_equal_scores(good, defective, expected):
    assert image_auroc(good, defective) == expected


@pytest.mark.parametrize(("good", "defective", "named"), [([], [1.0], "good"), ([1.0], [], "defective")])
def test_image_auroc_needs_good_and_defective_images(good, defective, named):
    with pytest.raises(DatasetError, match=f"no {named} images"):
        image_auroc(good, defective)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_image_auroc_refuses_scores_that_are_not_finite(broken):
    with pytest.raises(DatasetError, match="1 of 2 scores of defective images are not finite"):
        image_auroc([1.0], [2.0, broken])


# --- average precision and F1-max


def found_at(limit, good, defective):
    """Count what is stopped when a score of the limit or more is: false alarms and hits."""
    return sum(g >= limit for g in good), sum(d >= limit for d in defective)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_precision_at_each_defective_image(seed):
    rng = np.random.default_rng(seed)
    good, defective = rng.integers(0, 10, 23), rng.integers(3, 13, 17)
    counts = [found_at(limit, good, defective) for limit in defective]
    precisions = [hits / (alarms + hits) for alarms, hits in counts]
    assert average_precision(good, defective) == pytest.approx(sum(precisions) / len(precisions))


@pytest.mark.parametrize("seed", range(5))
def test_f1_max_is_the_best_of_all_limits(seed):
    rng = np.random.default_rng(seed)
    good, defective = rng.integers(0, 13, 23), rng.integers(3, 13, 17)
    counts = [found_at(limit, good, defective) for limit in {*good, *defective}]
    assert f1_max(good, defective) == pytest.approx(max(2 * hits / (alarms + hits + 17) for alarms, hits in counts))


@pytest.mark.parametrize("metric", [average_precision, f1_max])
def test_images_in_order_have_precision_and_f1_1(metric):
    assert metric([1, 2], [3, 4]) == 1


@pytest.mark.parametrize(("metric", "expected"), [(average_precision, 0.25), (f1_max, 0.4)])
def test_equal_scores_have_the_precision_and_f1_of_stopping_all(metric, expected):
    assert metric([5] * 6, [5] * 2) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [average_precision, f1_max])
def test_precision_and_f1_need_both_kinds_of_images(metric):
    with pytest.raises(DatasetError, match="no defective images"):
        metric([1.0], [])


# --- pixel-level AUROC


@pytest.mark.parametrize("seed", range(3))
def test_pixel_auroc_is_the_share_of_ordered_pixel_pairs(seed):
    maps, masks = blobs(np.random.default_rng(seed), side=16)
    expected = count_pairs(maps[masks == 0], maps[masks > 0])
    assert pixel_auroc(maps, masks) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("width", [1e-4, 1e-2, 1.0])
def test_pixel_auroc_keeps_its_error_bound_on_nearly_constant_maps(width):
    maps, masks = blobs(np.random.default_rng(0), side=16)
    maps = (100 + width * maps).astype(np.float32)
    good, defective = maps[masks == 0], maps[masks > 0]
    error = abs(pixel_auroc(maps, masks) - count_pairs(good, defective))
    assert error <= tied_share(good, defective) / 2 + 1e-12


def test_pixel_auroc_orders_negative_values_zeros_and_positive_values():
    values = np.array([[-5.0, -1e-3, -0.0, 0.0, 1e-3, 5.0]])
    for split in range(1, 6):
        mask = np.arange(6)[None] >= split
        expected = count_pairs(values[~mask], values[mask])
        assert pixel_auroc([values], [mask]) == expected


def test_pixel_auroc_does_not_suffer_from_one_huge_distance():
    maps, masks = blobs(np.random.default_rng(1), side=16)
    maps[0, 0, 0] = 1e30
    assert pixel_auroc(maps, masks) == pytest.approx(count_pairs(maps[masks == 0], maps[masks > 0]), abs=1e-4)


def test_pixel_auroc_of_equal_maps_is_one_half():
    maps, masks = blobs(np.random.default_rng(2))
    assert pixel_auroc(np.full_like(maps, 0.7), masks) == 0.5


def test_pixel_auroc_does_not_depend_on_the_order_of_the_images():
    maps, masks = blobs(np.random.default_rng(3))
    assert pixel_auroc(maps, masks) == pixel_auroc(maps[::-1], masks[::-1])


def test_maps_may_differ_in_size_and_are_read_once():
    maps, masks = blobs(np.random.default_rng(4))
    pairs = [(maps[1], masks[1]), (maps[2, :10], masks[2, :10])]
    tally = PixelTally()
    for anomaly_map, mask in pairs:
        tally.add(anomaly_map, mask)
    assert pixel_auroc((m for m, _ in pairs), (mask for _, mask in pairs)) == tally.auroc()


# --- AUPRO


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_aupro_equals_the_plain_reference(seed, limit):
    maps, masks = blobs(np.random.default_rng(seed))
    assert aupro(maps, masks, limit) == pytest.approx(plain_aupro(maps, masks, limit), abs=1e-4)


def test_aupro_equals_the_plain_reference_where_values_are_tied():
    maps, masks = blobs(np.random.default_rng(5))
    maps = np.round(maps)
    assert aupro(maps, masks) == pytest.approx(plain_aupro(maps, masks, 0.3), abs=1e-12)


@pytest.mark.parametrize("width", [1e-4, 1e-2, 1.0])
def test_aupro_keeps_its_error_bound_on_nearly_constant_maps(width):
    maps, masks = blobs(np.random.default_rng(6))
    maps = (100 + width * maps).astype(np.float32)
    binned = ((maps.view(np.uint32) >> 10) << 10).view(np.float32)  # what is left of each value
    steps = np.diff(np.array(plain_curve(binned, masks)), axis=0)
    bound = float(np.prod(steps, axis=1).sum()) / 0.3
    assert abs(aupro(maps, masks) - plain_aupro(maps, masks, 0.3)) <= bound + 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_aupro_stays_between_0_and_1(seed):
    rng = np.random.default_rng(seed)
    maps, masks = blobs(rng)
    maps = maps * rng.choice([0, 1, 1000], maps.shape) + (masks > 0) * rng.choice([0, 1e4])
    assert 0 <= aupro(maps, masks, rng.choice([0.01, 0.3, 1.0])) <= 1


def test_aupro_of_a_perfect_map_is_1():
    _, masks = blobs(np.random.default_rng(7))
    assert aupro(masks / 255, masks) == 1.0


def test_aupro_of_equal_maps_is_that_of_guessing():
    maps, masks = blobs(np.random.default_rng(8))
    assert aupro(np.ones_like(maps), masks) == pytest.approx(0.15)


def test_a_small_region_counts_as_much_as_a_large_one():
    mask = np.zeros((8, 8))
    mask[:4, :4] = mask[7, 7] = 1
    found = np.zeros((8, 8))
    found[7, 7] = 1  # only the region of one pixel is found: overlap 1/2 until all the rest comes in at once
    assert aupro([found], [mask]) == pytest.approx(0.5 + 0.5 * 0.15)


def test_pixels_that_touch_at_a_corner_are_one_region():
    mask = np.zeros((8, 8))
    mask[0, 0] = mask[1, 1] = mask[7, 7] = 1
    found = np.zeros((8, 8))
    found[0, 0] = 1  # half of one of two regions
    assert aupro([found], [mask]) == pytest.approx(0.25 + 0.75 * 0.15)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, float("nan")])
def test_aupro_refuses_a_limit_out_of_range(limit):
    maps, masks = blobs(np.random.default_rng(9))
    with pytest.raises(SettingError, match="at most 1"):
        aupro(maps, masks, limit)


# --- what both pixel metrics refuse


@pytest.mark.parametrize("metric", [pixel_auroc, aupro])
@pytest.mark.parametrize(("value", "missing"), [(0, "defective"), (1, "good")])
def test_masks_must_hold_good_and_defective_pixels(metric, value, missing):
    maps = np.random.default_rng(0).random((2, 5, 5))
    with pytest.raises(DatasetError, match=f"no {missing} pixel"):
        metric(maps, np.full((2, 5, 5), value))


@pytest.mark.parametrize("metric", [pixel_auroc, aupro])
def test_no_images_at_all_are_refused(metric):
    with pytest.raises(DatasetError, match="0 images"):
        metric([], [])


def test_a_map_must_have_the_size_of_its_mask():
    with pytest.raises(DatasetError, match=r"map 1 has shape \(4, 4\) and its mask \(8, 8\)"):
        pixel_auroc([np.zeros((4, 4))], [np.zeros((8, 8))])


def test_every_map_must_have_a_mask():
    with pytest.raises(DatasetError, match="not as many"):
        pixel_auroc(np.zeros((2, 4, 4)), np.zeros((1, 4, 4)))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_map_must_be_finite(broken):
    with pytest.raises(DatasetError, match="map 1 holds values that are not finite"):
        pixel_auroc([np.full((4, 4), broken)], [np.zeros((4, 4))])
