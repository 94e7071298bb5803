"""Cells lie where the network saw them; the map at image size neither moves nor loses a peak."""

import numpy as np
import pytest

from blemish.detection.regions import find_regions
from blemish.detection.scoring import Geometry, anomaly_map

SAME_SIZE = Geometry(patch_size=64, stride=2, scale_y=1, scale_x=1)


def peak_at(i: int, j: int, shape: tuple[int, int] = (97, 97)) -> np.ndarray:
    distance_map = np.zeros(shape, dtype=np.float32)
    distance_map[i, j] = 1
    return distance_map


def test_a_cell_speaks_for_the_centre_of_its_patch() -> None:
    assert SAME_SIZE.row(0) == (0 + 63) / 2
    assert SAME_SIZE.column(5) == (10 + 10 + 63) / 2


def test_a_peak_stays_in_place() -> None:
    full = anomaly_map(peak_at(30, 50), SAME_SIZE, 256, 256)
    assert full.shape == (256, 256)
    y, x = np.argwhere(full == 1).mean(axis=0)
    assert (y, x) == pytest.approx((2 * 30 + 31.5, 2 * 50 + 31.5))


def test_a_stretched_image_stretches_the_map() -> None:
    geometry = Geometry(patch_size=64, stride=2, scale_y=0.5, scale_x=3)
    full = anomaly_map(peak_at(30, 50), geometry, 128, 768)
    y, x = np.argwhere(full == 1).mean(axis=0)
    assert (y, x) == pytest.approx((geometry.row(30), geometry.column(50)), abs=1)


def test_borders_continue_the_outermost_cells() -> None:
    full = anomaly_map(peak_at(0, 0), SAME_SIZE, 256, 256)
    assert full[0, 0] == 1


@pytest.mark.parametrize("side", [256, 64, 20, 5])
def test_a_smaller_image_keeps_every_peak(side: int) -> None:
    geometry = Geometry(patch_size=64, stride=2, scale_y=side / 256, scale_x=side / 256)
    full = anomaly_map(peak_at(41, 17), geometry, side, side)
    assert full.max() == 1


def test_values_stay_within_those_of_the_map() -> None:
    distance_map = np.random.default_rng(0).random((97, 97), dtype=np.float32)
    full = anomaly_map(distance_map, SAME_SIZE, 256, 256)
    assert distance_map.min() <= full.min()
    assert full.max() <= distance_map.max()


def test_regions_exist_exactly_where_the_limit_is_exceeded() -> None:
    distance_map = np.random.default_rng(1).random((97, 97), dtype=np.float32)
    assert find_regions(distance_map, float(distance_map.max()), SAME_SIZE, 256, 256) == ()
    assert find_regions(distance_map, float(np.nextafter(distance_map.max(), 0)), SAME_SIZE, 256, 256)


def test_regions_are_told_in_image_pixels_strongest_first() -> None:
    distance_map = np.zeros((97, 97), dtype=np.float32)
    distance_map[10:20, 30:50] = 1.0
    distance_map[60:64, 60:64] = 2.0
    strongest, other = find_regions(distance_map, 0.5, SAME_SIZE, 256, 256)
    assert (strongest.peak, strongest.area_px) == (2.0, 4 * 4 * 4)
    assert (other.top, other.left) == pytest.approx((2 * 10 + 31, 2 * 30 + 31), abs=1)
    assert (other.height, other.width) == (20, 40)
    assert (other.area_px, other.mean) == (800, 1.0)


def test_cells_that_touch_at_a_corner_are_one_region() -> None:
    assert len(find_regions(np.eye(97, dtype=np.float32), 0.5, SAME_SIZE, 256, 256)) == 1


@pytest.mark.parametrize(("height", "width"), [(256, 256), (1, 1), (3, 900)])
def test_boxes_and_contours_lie_inside_the_image(height: int, width: int) -> None:
    geometry = Geometry(patch_size=64, stride=2, scale_y=height / 256, scale_x=width / 256)
    for region in find_regions(np.ones((97, 97), dtype=np.float32), 0.5, geometry, height, width):
        assert 0 <= region.top < region.top + region.height <= height
        assert 0 <= region.left < region.left + region.width <= width
        assert all(0 <= y < height and 0 <= x < width for y, x in region.contour)
