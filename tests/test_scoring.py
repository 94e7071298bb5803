"""Cells lie where the network saw them; the map at image size neither moves nor loses a peak."""

import numpy as np
import pytest

from blemish.detection import scoring
from blemish.detection.regions import find_regions
from blemish.detection.scoring import Geometry, anomaly_map, map_at, mean_of_worst

SAME_SIZE = Geometry(centre=32, stride=2, scale_y=1, scale_x=1)


def peak_at(i: int, j: int, shape: tuple[int, int] = (97, 97)) -> np.ndarray:
    distance_map = np.zeros(shape, dtype=np.float32)
    distance_map[i, j] = 1
    return distance_map


def test_a_cell_speaks_for_the_centre_of_its_patch() -> None:
    assert SAME_SIZE.row(0) == (0 + 63) / 2
    assert SAME_SIZE.column(5) == (10 + 10 + 63) / 2


def test_a_cell_speaks_for_stride_pixels_around_its_centre() -> None:
    padded = Geometry(centre=2, stride=4, scale_y=1, scale_x=0.5)
    assert (padded.top(0), padded.top(1), padded.row(0)) == (0, 4, 1.5)
    assert (padded.left(0), padded.left(1), padded.column(0)) == (0, 2, 0.5)


def test_a_peak_stays_in_place() -> None:
    full = anomaly_map(peak_at(30, 50), SAME_SIZE, 256, 256)
    assert full.shape == (256, 256)
    y, x = np.argwhere(full == 1).mean(axis=0)
    assert (y, x) == pytest.approx((2 * 30 + 31.5, 2 * 50 + 31.5))


def test_a_stretched_image_stretches_the_map() -> None:
    geometry = Geometry(centre=32, stride=2, scale_y=0.5, scale_x=3)
    full = anomaly_map(peak_at(30, 50), geometry, 128, 768)
    y, x = np.argwhere(full == 1).mean(axis=0)
    assert (y, x) == pytest.approx((geometry.row(30), geometry.column(50)), abs=1)


def test_borders_continue_the_outermost_cells() -> None:
    full = anomaly_map(peak_at(0, 0), SAME_SIZE, 256, 256)
    assert full[0, 0] == 1


@pytest.mark.parametrize("side", [256, 64, 20, 5])
def test_a_smaller_image_keeps_every_peak(side: int) -> None:
    geometry = Geometry(centre=32, stride=2, scale_y=side / 256, scale_x=side / 256)
    full = anomaly_map(peak_at(41, 17), geometry, side, side)
    assert full.max() == 1


@pytest.mark.parametrize("factor", [0.25, 1, 2])
def test_the_map_of_a_resized_picture_has_the_peak_at_the_same_part_of_it(factor: float) -> None:
    height, width = round(256 * factor), round(512 * factor)
    geometry = Geometry(centre=32, stride=2, scale_y=1, scale_x=2)
    full = map_at(peak_at(30, 50), geometry, (256, 512), height, width)
    assert full.shape == (height, width)
    y, x = np.argwhere(full == full.max()).mean(axis=0)
    assert (y + 0.5, x + 0.5) == pytest.approx((factor * 92.5, factor * 265), abs=2 * factor + 1)


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
    assert (other.top, other.left, other.height, other.width) == (51, 91, 20, 40)
    assert set(other.contour) == {(51, 91), (51, 130), (70, 91), (70, 130)}
    assert (other.area_px, other.mean) == (800, 1.0)


@pytest.mark.parametrize(
    ("scale_y", "scale_x", "box"),
    [
        (0.5, 2.5, (25, 227, 11, 101)),  # rows from edge 25.5 to 35.5, columns from edge 227.5 to 327.5
        (0.75, 1.25, (38, 113, 16, 51)),  # 38.25 to 53.25, 113.75 to 163.75
        (3, 0.125, (153, 11, 60, 6)),  # 153 to 213, 11.375 to 16.375
    ],
)
def test_a_box_holds_every_pixel_that_its_cells_touch(
    scale_y: float, scale_x: float, box: tuple[int, int, int, int]
) -> None:
    distance_map = np.zeros((97, 97), dtype=np.float32)
    distance_map[10:20, 30:50] = 1
    geometry = Geometry(centre=32, stride=2, scale_y=scale_y, scale_x=scale_x)
    (region,) = find_regions(distance_map, 0.5, geometry, round(256 * scale_y), round(256 * scale_x))
    top, left, height, width = box
    assert (region.top, region.left, region.height, region.width) == box
    assert set(region.contour) == {(y, x) for y in (top, top + height - 1) for x in (left, left + width - 1)}


def test_a_cell_is_outlined_around_the_pixels_it_speaks_for() -> None:
    geometry = Geometry(centre=32, stride=2, scale_y=4, scale_x=4)
    (region,) = find_regions(peak_at(0, 96), 0.5, geometry, 1024, 1024)
    assert (region.top, region.left, region.height, region.width) == (124, 892, 8, 8)
    assert set(region.contour) == {(124, 892), (124, 899), (131, 892), (131, 899)}
    assert region.area_px == 64


def test_areas_are_told_in_square_millimetres_where_the_size_of_a_pixel_is_known() -> None:
    distance_map = np.zeros((97, 97), dtype=np.float32)
    distance_map[10:20, 30:50] = 1
    geometry = Geometry(centre=32, stride=2, scale_y=0.5, scale_x=2.5)
    (region,) = find_regions(distance_map, 0.5, geometry, 128, 640, mm_per_pixel=0.1)
    assert region.area_px == 1000  # 10 x 0.5 x 2 rows of 20 x 2.5 x 2 columns
    assert region.area_mm2 == pytest.approx(10)
    (unknown,) = find_regions(distance_map, 0.5, geometry, 128, 640)
    assert unknown.area_mm2 is None


def test_an_image_of_one_pixel_has_a_region_of_one_pixel() -> None:
    geometry = Geometry(centre=32, stride=2, scale_y=1 / 256, scale_x=1 / 256)
    (region,) = find_regions(np.ones((97, 97), dtype=np.float32), 0.5, geometry, 1, 1)
    assert (region.top, region.left, region.height, region.width, region.area_px) == (0, 0, 1, 1, 1)
    assert region.contour == ((0, 0),)


def test_cells_that_touch_at_a_corner_are_one_region() -> None:
    assert len(find_regions(np.eye(97, dtype=np.float32), 0.5, SAME_SIZE, 256, 256)) == 1


@pytest.mark.parametrize(("height", "width"), [(256, 256), (1, 1), (3, 900), (171, 333)])
def test_contours_lie_inside_their_box_and_boxes_inside_the_image(height: int, width: int) -> None:
    geometry = Geometry(centre=32, stride=2, scale_y=height / 256, scale_x=width / 256)
    distance_map = np.random.default_rng(2).random((97, 97), dtype=np.float32)
    for limit in (-1, 0.5, 0.8, 0.99):
        for region in find_regions(distance_map, limit, geometry, height, width):
            assert 0 <= region.top < region.top + region.height <= height
            assert 0 <= region.left < region.left + region.width <= width
            assert all(0 <= y - region.top < region.height for y, _ in region.contour)
            assert all(0 <= x - region.left < region.width for _, x in region.contour)
            assert region.area_px <= region.height * region.width


@pytest.mark.parametrize(("height", "width"), [(3, 33_000), (33_000, 2)])
def test_images_longer_than_opencv_can_resample_at_once(height: int, width: int) -> None:
    geometry = Geometry(centre=32, stride=2, scale_y=height / 256, scale_x=width / 256)
    full = anomaly_map(peak_at(41, 17), geometry, height, width)
    assert full.shape == (height, width)
    y, x = np.argwhere(full == 1).mean(axis=0)
    assert (y, x) == pytest.approx((geometry.row(41), geometry.column(17)), abs=1)


@pytest.mark.parametrize("tile", [1, 7, 64, 255, 300])
def test_the_map_does_not_depend_on_its_tiles(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    distance_map = np.random.default_rng(3).random((97, 97), dtype=np.float32)
    geometry = Geometry(centre=32, stride=2, scale_y=301 / 256, scale_x=457 / 256)
    whole = anomaly_map(distance_map, geometry, 301, 457)
    monkeypatch.setattr(scoring, "_TILE", tile)
    assert (anomaly_map(distance_map, geometry, 301, 457) == whole).all()


@pytest.mark.parametrize("rows", [slice(0, 1), slice(40, 123), slice(250, 500)], ids=str)
def test_rows_of_a_map_are_those_of_the_whole(rows: slice) -> None:
    distance_map = np.random.default_rng(3).random((97, 97), dtype=np.float32)
    geometry = Geometry(centre=32, stride=2, scale_y=301 / 256, scale_x=457 / 256)
    assert (
        anomaly_map(distance_map, geometry, 301, 457, rows) == anomaly_map(distance_map, geometry, 301, 457)[rows]
    ).all()


@pytest.mark.parametrize(
    ("n_worst", "n_counted", "expected"), [(1, 100, 100), (50, 100, 99.5), (50, 9, 100), (3, 150, 99)]
)
def test_the_score_of_a_map_is_the_mean_of_its_worst(n_worst: int, n_counted: int, expected: float) -> None:
    distance_map = np.random.default_rng(0).permutation(np.arange(1, 101, dtype=np.float32)).reshape(10, 10)
    assert mean_of_worst(distance_map, n_worst, n_counted) == expected
