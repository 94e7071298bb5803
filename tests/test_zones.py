"""What lies in an ignored zone counts for nothing: not for the score, not for a region, not on the map."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish import fit
from blemish.datasets import read_category
from blemish.detection.detector import Detector
from blemish.detection.preparation import Preparation
from blemish.detection.zones import from_text, read_zones, to_text
from blemish.errors import BlemishError, DatasetError, ImageError, SettingError
from blemish.images import read_image, write_image

OWN_SIZE = Preparation(
    height=None, width=None, scale=1.0, black=0.0, white=1.0, multiple=4, patch_size=58, stride=4, centre=2.0
)
SQUARES = Preparation.of_squares(128, 64, 2)


def labelme(path: Path, *shapes: dict[str, Any], height: int = 20, width: int = 30) -> Path:
    """Write what labelme saves, with the fields that nobody needs."""
    drawn = {"version": "5.4.1", "flags": {}, "imageData": None, "imageHeight": height, "imageWidth": width}
    path.write_text(json.dumps({**drawn, "shapes": [{"label": "serial", **shape} for shape in shapes]}))
    return path


def rectangle(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    return {"shape_type": "rectangle", "points": [[left, top], [right, bottom]]}


def box(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


# --- files -------------------------------------------------------------------------------------------------------


def test_a_polygon_and_a_rectangle_are_filled(tmp_path: Path) -> None:
    square = {"shape_type": "polygon", "points": [[2, 1], [6, 1], [6, 4], [2, 4]]}
    ignored = read_zones(labelme(tmp_path / "z.json", square, rectangle(20, 10, 25, 12)))
    assert (ignored == (box(1, 5, 2, 7) | box(10, 13, 20, 26))).all()


def test_zones_that_overlap_add_up(tmp_path: Path) -> None:
    ignored = read_zones(labelme(tmp_path / "z.json", rectangle(0, 0, 9, 9), rectangle(5, 5, 14, 14)))
    assert (ignored == (box(0, 10, 0, 10) | box(5, 15, 5, 15))).all()


def test_a_region_of_interest_ignores_all_else(tmp_path: Path) -> None:
    drawn = labelme(tmp_path / "z.json", rectangle(5, 5, 14, 14))
    assert (read_zones(only=drawn) == ~read_zones(drawn)).all()


def test_a_zone_inside_a_region_of_interest_is_ignored_too(tmp_path: Path) -> None:
    hole = labelme(tmp_path / "hole.json", rectangle(8, 8, 9, 9))
    ignored = read_zones(hole, labelme(tmp_path / "only.json", rectangle(5, 5, 14, 14)))
    assert (ignored == (~box(5, 15, 5, 15) | box(8, 10, 8, 10))).all()


def test_in_a_mask_image_all_but_black_is_ignored(tmp_path: Path) -> None:
    mask = box(3, 9, 4, 20)
    write_image(tmp_path / "z.png", mask.astype(np.uint8))  # 1 is nearly black, but not black
    assert (read_zones(tmp_path / "z.png") == mask).all()


def test_a_mask_comes_back_from_text() -> None:
    mask = np.random.default_rng(0).random((37, 53)) > 0.5
    assert (from_text(to_text(mask)) == mask).all()


@pytest.mark.parametrize(
    "shape",
    [
        {"shape_type": "circle", "points": [[1, 1], [2, 2]]},
        {"shape_type": "polygon", "points": [[1, 1], [2, 2]]},
        {"shape_type": "polygon", "points": [[1, 1], [2, "x"], [3, 3]]},
        {"shape_type": "polygon", "points": [[1, 1], [2, float("nan")], [3, 3]]},
        {"shape_type": "polygon"},
    ],
)
def test_shapes_that_are_no_zones_are_refused_by_the_name_of_the_file(tmp_path: Path, shape: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match=r"z\.json.*labelme"):
        read_zones(labelme(tmp_path / "z.json", shape))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"imageHeight": 0, "imageWidth": 5, "shapes": []}', "[" * 100_000])
def test_foreign_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "z.json").write_text(text)
    with pytest.raises(DatasetError, match="holds no zones"):
        read_zones(tmp_path / "z.json")


@pytest.mark.parametrize("name", ["none.json", "none.png"])
def test_a_missing_file_is_an_error_of_ours(tmp_path: Path, name: str) -> None:
    with pytest.raises(BlemishError, match=name):
        read_zones(tmp_path / name)


def test_zones_that_leave_nothing_or_everything_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="everything"):
        read_zones(labelme(tmp_path / "all.json", rectangle(-5, -5, 99, 1e30)))
    with pytest.raises(SettingError, match="nothing"):
        read_zones(labelme(tmp_path / "none.json"))


def test_zones_of_different_images_are_refused(tmp_path: Path) -> None:
    small = labelme(tmp_path / "small.json", rectangle(1, 1, 5, 5))
    large = labelme(tmp_path / "large.json", rectangle(1, 1, 5, 5), height=40)
    with pytest.raises(DatasetError, match="20 x 30 and 40 x 30"):
        read_zones(small, large)


# --- cells -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preparation", "size"), [(OWN_SIZE, (64, 81)), (OWN_SIZE, (33, 40)), (SQUARES, (128, 128))])
def test_a_cell_counts_when_it_speaks_for_no_ignored_pixel(preparation: Preparation, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    ignored = rng.random(size) < 0.01
    geometry = preparation.geometry(*size)
    counted = preparation.counted(ignored, *size)
    for i, j in np.ndindex(*counted.shape):
        rows, columns = (
            slice(int(geometry.top(i)), int(geometry.top(i + 1))),
            slice(int(geometry.left(j)), int(geometry.left(j + 1))),
        )
        assert counted[i, j] == (not ignored[rows, columns].any())


def test_zones_are_scaled_with_the_image() -> None:
    ignored = box(0, 20, 0, 15)  # the left half
    for size in ((20, 30), (200, 300), (80, 64)):
        counted = OWN_SIZE.counted(ignored, *size)
        assert counted[:, : counted.shape[1] // 2 - 1].sum() == 0
        assert counted[:, (counted.shape[1] + 1) // 2 + 1 :].all()


# --- detectors ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["detector", "nearest_detector"])
def either(request: pytest.FixtureRequest) -> Detector:
    """A detector of the paper's method, then one of ours."""
    made: Detector = request.getfixturevalue(request.param)
    return made


def images_of(category_dir: Path, defect_type: str) -> list[Path]:
    return [s.path for s in read_category(category_dir) if s.split == "test" and s.defect_type == defect_type]


STAIN = box(0, 110, 10, 130, (160, 150))  # the stains of the drawn category, with what their surroundings see of them


def zoned(detector: Detector, ignored: np.ndarray) -> Detector:
    return Detector(replace(detector.model, description=replace(detector.description, ignored=to_text(ignored))))


def test_an_ignored_defect_is_on_no_map_and_in_no_region(either: Detector, category_dir: Path) -> None:
    path = images_of(category_dir, "stain")[0]
    alert = either.with_threshold(0.9 * either.inspect(path).score)
    assert alert.inspect(path).regions
    found = zoned(alert, STAIN).inspect(path)
    assert found.anomaly_map[20:100, 20:120].max() == 0
    assert all(region.top + region.height > 100 or region.left + region.width > 120 for region in found.regions)


def test_what_is_not_ignored_is_measured_as_before(either: Detector, category_dir: Path) -> None:
    path = images_of(category_dir, "good")[0]
    whole, part = either.inspect(path), zoned(either, STAIN).inspect(path)
    assert (part.anomaly_map[125:] == whole.anomaly_map[125:]).all()


def test_the_score_is_the_mean_of_the_worst_cells_that_count(nearest_detector: Detector, category_dir: Path) -> None:
    about = nearest_detector.description
    pixels = about.preparation.apply(read_image(images_of(category_dir, "stain")[0]))
    counted = about.preparation.counted(STAIN, 160, 150)
    found = nearest_detector._runtime.run(pixels, counted)
    cells = np.sort(nearest_detector._runtime.run(pixels).distance_map[counted > 0])
    assert found.score == pytest.approx(cells[-max(1, min(50, len(cells) // 50)) :].mean(), rel=1e-5)
    assert (found.max_distance, found.mean_distance) == pytest.approx((cells[-1], cells.mean()), rel=1e-5)


def test_zones_set_the_threshold_anew_on_images_not_learned_from(either: Detector, category_dir: Path) -> None:
    everything = sorted((category_dir / "train" / "good").iterdir())  # what it was fitted to: 13 learned, 3 held out
    made = either.with_zones(STAIN, everything, alpha=0.25)
    assert made.threshold.n_images == 3
    assert made.model.graph == either.model.graph
    held_out = {path for path in everything if made.inspect(path).score in made.description.good_scores.values()}
    assert len(held_out) >= 3


def test_zones_are_cleared_and_undone(either: Detector, category_dir: Path) -> None:
    good = images_of(category_dir, "good")
    made = either.with_zones(STAIN, good, alpha=0.25)
    assert made.with_zones(None, good, alpha=0.25).threshold == either.calibrate(good, alpha=0.25).threshold
    back = made.undo().description
    assert (back.ignored, back.threshold, back.good_scores) == (
        *(None, either.threshold),
        either.description.good_scores,
    )


def test_zones_come_back_from_the_file(either: Detector, category_dir: Path, tmp_path: Path) -> None:
    made = either.with_zones(STAIN, images_of(category_dir, "good"), alpha=0.25)
    made.save(tmp_path / "m.blemish")
    path = images_of(category_dir, "stain")[0]
    assert Detector.load(tmp_path / "m.blemish").inspect(path) == made.inspect(path)


def test_what_is_ignored_can_be_drawn_and_is_no_part_of_the_record(either: Detector, category_dir: Path) -> None:
    path = images_of(category_dir, "stain")[0]
    found = zoned(either, STAIN).inspect(path)
    assert found.ignored is not None
    assert (found.ignored == STAIN).all()
    assert "ignored" not in found.to_dict()
    assert either.inspect(path).ignored is None


def test_images_that_were_learned_from_cannot_set_the_threshold_of_zones(
    detector: Detector, category_dir: Path
) -> None:
    learned = [
        path for path in (category_dir / "train" / "good").iterdir()
        if detector.inspect(path).score not in detector.description.good_scores.values()
    ]  # fmt: skip
    with pytest.raises(DatasetError, match="learned from all"):
        detector.with_zones(STAIN, learned, alpha=0.25)


def test_an_image_of_which_nothing_is_left_is_refused(nearest_detector: Detector) -> None:
    thin = ~box(70, 72, 70, 72, (160, 150))
    with pytest.raises(ImageError, match="leave nothing"):
        zoned(nearest_detector, thin).inspect(np.zeros((160, 150), dtype=np.uint8))


# --- training ----------------------------------------------------------------------------------------------------


def test_fit_learns_and_sets_the_threshold_without_the_zones(category_dir: Path) -> None:
    zones, whole = (fit(category_dir, steps=1, reference="location", ignored=mask) for mask in (STAIN, None))
    assert zones.description.ignored == to_text(STAIN)
    assert zones.description.history == []
    found = zones.inspect(images_of(category_dir, "stain")[0])
    assert found.anomaly_map[20:100, 20:120].max() == 0
    assert any((zones.model.weights[name] != array).any() for name, array in whole.model.weights.items())


def test_zones_in_training_are_refused_where_parts_do_not_lie_alike(category_dir: Path) -> None:
    with pytest.raises(SettingError, match=r"anywhere.*only where parts lie alike"):
        fit(category_dir, steps=1, ignored=STAIN)
