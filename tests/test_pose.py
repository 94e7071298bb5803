"""How a part lies is found, and what is found on the turned image is told where it lies on the image as it was."""

from pathlib import Path

import numpy as np
import pytest

import blemish
from blemish import Detector, Verdict
from blemish.detection.pose import SIDE, Pose, PoseFinder, middle_square, normalised, picture_of, picture_to_text
from blemish.detection.verification import verify
from blemish.detection.zones import to_text
from blemish.errors import SettingError
from blemish.images import write_image
from blemish.learning.accept import accept
from blemish.learning.survey import survey
from blemish.results import FloatArray
from conftest import LABEL_PX as PX
from conftest import labels, lying

UPRIGHT = Pose(0, 0, 0)


def with_a_stain(image: FloatArray, row: int, column: int) -> FloatArray:
    stained = image.copy()
    stained[row - 8 : row + 8, column - 8 : column + 8] = np.random.default_rng(0).random((16, 16), dtype=np.float32)
    return stained


# --- poses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0.0, 1.0, 10.0, 44.5, 90.0, 180.0, 271.0, 359.0])
@pytest.mark.parametrize("moved", [(0.0, 0.0), (0.05, -0.03), (-0.06, 0.06)])
def test_a_pose_is_found(degrees: float, moved: tuple[float, float]) -> None:
    part = labels(1)[0]
    there = Pose(-degrees, 0, 0).turned(Pose(0, -moved[0], -moved[1]).turned(part))  # moved first, then turned
    found = PoseFinder(middle_square(part)).pose(middle_square(there))
    assert abs((found.degrees - degrees + 180) % 360 - 180) <= 1
    alike = normalised(middle_square(found.turned(there))) * normalised(middle_square(part))
    assert alike.sum() > 0.8  # a correlation; what was moved out of the picture is lost


def test_a_pose_does_not_hang_on_light() -> None:
    part = labels(1)[0]
    finder = PoseFinder(middle_square(part))
    assert finder.pose(middle_square(0.1 + 0.5 * lying(part, 75))) == finder.pose(middle_square(lying(part, 75)))


def test_only_turns_of_good_parts_are_tried() -> None:
    square = middle_square(labels(1)[0])
    finder = PoseFinder(square, first=340, beyond=40)
    for degrees in range(0, 360, 20):
        found = finder.pose(middle_square(lying(labels(1)[0], degrees)))
        assert (found.degrees - 338.5) % 360 <= 45  # beyond the last by less than a step and a half
        if degrees in (0, 340, 20):
            assert abs((found.degrees - degrees + 180) % 360 - 180) <= 1


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_picture_without_a_part_has_some_pose(value: float) -> None:
    PoseFinder(middle_square(labels(1)[0])).pose(np.full((SIDE, SIDE), value, dtype=np.float32))


@pytest.mark.parametrize("shape", [(40, 40), (41, 60), (90, 64)])
def test_upright_changes_nothing(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random(shape, dtype=np.float32)
    assert (UPRIGHT.turned(picture) == picture).all()
    assert (UPRIGHT.as_it_lay(picture) == picture).all()
    assert UPRIGHT.on_image(*shape).all()
    assert UPRIGHT.whence(3, 5, *shape) == (3, 5)


@pytest.mark.parametrize("shape", [(64, 64), (48, 64)])
@pytest.mark.parametrize("pose", [Pose(30, 0.05, 0.02), Pose(90, 0, 0), Pose(200, -0.1, 0.1)])
def test_what_is_found_goes_back_to_where_it_lay(shape: tuple[int, int], pose: Pose) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        i, j = (int(rng.integers(side // 4, 3 * side // 4)) for side in shape)
        turned = np.zeros(shape, dtype=np.float32)
        turned[i, j] = 2
        lay = np.argwhere(pose.as_it_lay(turned) == 2)
        assert len(lay) >= 1
        assert np.abs(lay - pose.whence(i, j, *shape)).max() <= 1.5


@pytest.mark.parametrize("pose", [Pose(45, 0, 0), Pose(123, 0.1, 0.1)])
def test_no_peak_is_lost_on_the_way_back(pose: Pose) -> None:
    turned = np.random.default_rng(0).random((50, 50), dtype=np.float32)
    assert pose.as_it_lay(turned).max() == turned.max()


def test_turning_there_and_back_is_right_where_the_image_is() -> None:
    picture = middle_square(labels(1)[0])
    y, x = np.indices(picture.shape)
    marked = np.hypot(y - 20, x - 40) < 5
    pose = Pose(70, 0.03, 0.01)
    back = pose.as_it_lay(pose.turned(marked.astype(np.float32)))
    assert (back[marked] > 0).mean() > 0.95
    assert not (back[np.hypot(y - 20, x - 40) > 8]).any()


def test_a_normalised_picture_has_no_mean_and_a_length_of_one() -> None:
    picture = normalised(middle_square(labels(1)[0]))
    assert abs(picture.sum()) < 1e-3
    assert abs((picture**2).sum() - 1) < 1e-3


def test_a_template_comes_back_from_text() -> None:
    picture = middle_square(labels(1)[0])
    found = picture_of(picture_to_text(picture))
    assert np.abs(found * np.ptp(picture) + picture.min() - picture).max() <= np.ptp(picture) / 500
    with pytest.raises(ValueError, match="16 x 16"):
        picture_of(to_text(np.ones((16, 16), dtype=bool)))


# --- detectors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 40, 135, 250])
def test_a_defect_is_told_where_it_lies_on_the_image(turned_detector: Detector, degrees: int) -> None:
    assert turned_detector.description.preparation.turning is not None
    image = with_a_stain(lying(labels(1, seed=9)[0], degrees), 80, 125)
    found = turned_detector.inspect(image)
    assert found.verdict is Verdict.DEFECTIVE
    region = found.regions[0]
    assert region.top <= 80 <= region.top + region.height
    assert region.left <= 125 <= region.left + region.width
    assert region.peak == found.max_distance
    evidence = found.evidence
    assert evidence is not None
    assert np.hypot(evidence.row - 80, evidence.column - 125) < 20
    whole = found.map_at(PX, PX)
    assert np.hypot(*(np.argwhere(whole == whole.max()).mean(axis=0) - (80, 125))) < 20


def test_notes_say_that_images_are_turned(turned_detector: Detector) -> None:
    assert "turned until its part lies as on the others" in turned_detector.description.notes[0]


def test_parts_in_other_turns_are_not_stopped_for_that(turned_detector: Detector, turned_images: list[Path]) -> None:
    assert sum(turned_detector.inspect(path).verdict is Verdict.DEFECTIVE for path in turned_images[24:]) <= 2


def test_the_model_file_decides_the_same(turned_detector: Detector, turned_images: list[Path], tmp_path: Path) -> None:
    turned_detector.save(tmp_path / "part.blemish")
    again = Detector.load(tmp_path / "part.blemish")
    assert [again.inspect(path).score for path in turned_images] == [
        turned_detector.inspect(path).score for path in turned_images
    ]
    assert all(each.agrees for each in verify(again.model, turned_images[:6]))


def test_zones_lie_on_the_image_and_not_on_the_part(turned_detector: Detector, turned_images: list[Path]) -> None:
    ignored = np.zeros((PX, PX), dtype=bool)
    ignored[60:100, 105:145] = True
    zoned = turned_detector.with_zones(ignored, turned_images[24:], alpha=0.2)
    for degrees in (0, 100, 200):
        part = lying(labels(1, seed=9)[0], degrees)
        inside, outside = with_a_stain(part, 80, 125), with_a_stain(part, 120, 80)
        assert zoned.inspect(inside).score < 0.7 * turned_detector.inspect(inside).score
        assert zoned.inspect(outside).score > 0.9 * turned_detector.inspect(outside).score
        assert not zoned.inspect(inside).map_at(PX, PX)[70:90, 115:135].any()


def test_training_takes_parts_as_they_lie_where_it_ignores_zones(turned_images: list[Path], tmp_path: Path) -> None:
    ignored = np.zeros((PX, PX), dtype=bool)
    ignored[:40] = True
    with pytest.raises(SettingError, match="fit without them"):
        blemish.fit(turned_images[:24], steps=1, ignored=ignored)
    little = [
        Pose(degrees, 0, 0).turned(image) for degrees, image in zip(np.linspace(-3, 3, 8), labels(8), strict=True)
    ]
    for index, image in enumerate(little):
        write_image(tmp_path / f"{index}.png", image)
    assert survey(sorted(tmp_path.iterdir())).turned is not None
    fitted = blemish.fit(sorted(tmp_path.iterdir()), steps=1, ignored=ignored)
    assert fitted.description.preparation.turning is None


def test_fit_and_accept_turn_images_and_masks(turned_images: list[Path], tmp_path: Path) -> None:
    mask = np.zeros((PX, PX), dtype=bool)
    mask[72:88, 117:133] = True
    write_image(tmp_path / "stained.png", with_a_stain(lying(labels(1, seed=7)[0], 200), 80, 125))
    write_image(tmp_path / "stained_mask.png", mask)
    fitted = blemish.fit(turned_images[:24], steps=3, alpha=0.1, defective=tmp_path)
    assert fitted.description.preparation.turning is not None
    accepted = accept(fitted, [tmp_path / "stained.png"])
    assert accepted.inspect(tmp_path / "stained.png").score < fitted.inspect(tmp_path / "stained.png").score
