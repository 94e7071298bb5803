"""From good images to a verdict: what `fit` makes, what `inspect` finds, and that file and memory agree."""

from pathlib import Path

import numpy as np
import pytest

from blemish import Detector, Verdict, enroll, evaluate, fit
from blemish.datasets import content_hash, read_category
from blemish.errors import DatasetError, ImageError, SettingError
from blemish.images import read_image, write_image


def images_of(category_dir: Path, defect_type: str) -> list[Path]:
    return [s.path for s in read_category(category_dir) if s.split == "test" and s.defect_type == defect_type]


def test_fit_finds_plain_defects(detector: Detector, category_dir: Path) -> None:
    good = [detector.inspect(path).score for path in images_of(category_dir, "good")]
    stained = [detector.inspect(path).score for path in images_of(category_dir, "stain")]
    assert np.mean([[s > g for g in good] for s in stained]) > 0.9


def test_verdict_score_and_regions_agree(detector: Detector, category_dir: Path) -> None:
    for defect_type in ("good", "stain"):
        for path in images_of(category_dir, defect_type):
            found = detector.inspect(path)
            assert (found.verdict is Verdict.DEFECTIVE) == (found.score > found.threshold) == bool(found.regions)


def test_the_map_has_the_size_of_the_image_and_shows_the_score(detector: Detector, category_dir: Path) -> None:
    found = detector.inspect(images_of(category_dir, "stain")[0])
    assert found.anomaly_map.shape == found.image.shape == (160, 150) == (found.height, found.width)
    assert found.anomaly_map.max() == pytest.approx(found.score, rel=1e-5)


def test_a_defect_is_found_where_it_is(detector: Detector, category_dir: Path) -> None:
    found = detector.inspect(images_of(category_dir, "stain")[0])
    y, x = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
    assert 20 <= y <= 90
    assert 30 <= x <= 110


def test_file_and_memory_score_alike(detector: Detector, model_path: Path, category_dir: Path) -> None:
    loaded = Detector.load(model_path)
    for path in images_of(category_dir, "stain"):
        assert loaded.inspect(path) == detector.inspect(path)


def test_a_file_and_its_pixels_score_alike(detector: Detector, category_dir: Path) -> None:
    path = images_of(category_dir, "stain")[0]
    assert detector.inspect(read_image(path)).score == detector.inspect(path).score


def test_same_seed_same_model_file(category_dir: Path) -> None:
    first, second = (fit(category_dir, side=128, epochs=1, seed=3) for _ in range(2))
    assert first.model.graph == second.model.graph
    assert first.threshold == second.threshold


def test_the_model_file_knows_what_it_was_made_from(detector: Detector) -> None:
    roles = list(detector.description.provenance["images"]["brushed metal"].values())
    assert (roles.count("learned"), roles.count("held out")) == (13, 3)
    assert detector.threshold.n_images == 3


def test_half_leaves_the_other_half_alone(category_dir: Path) -> None:
    half = fit(category_dir, side=128, epochs=1, half=True)
    assert len(half.description.provenance["images"]["brushed metal"]) == 12  # of 16 + 8 good images


def test_enroll_keeps_the_network_and_makes_a_new_prototype(detector: Detector, category_dir: Path) -> None:
    enrolled = enroll(detector, images_of(category_dir, "good"), category="other", prototype="location")
    assert all((enrolled.model.weights[name] == w).all() for name, w in detector.model.weights.items())
    assert enrolled.model.graph != detector.model.graph
    assert enrolled.description.category == "other"
    assert enrolled.inspect(images_of(category_dir, "stain")[0]).score > enrolled.threshold.value


def test_enroll_sets_the_threshold_on_images_the_network_has_not_learned_from(
    detector: Detector, category_dir: Path
) -> None:
    again = enroll(detector, category_dir, prototype="location")  # the same images, as one would to try the other kind
    assert again.threshold.n_images == 3
    with pytest.raises(DatasetError, match="learned from"):
        enroll(detector, learned_by(detector, category_dir))


def learned_by(detector: Detector, category_dir: Path) -> list[Path]:
    roles = detector.description.provenance["images"][category_dir.name]
    good = sorted((category_dir / "train" / "good").iterdir())
    return [path for path in good if roles[content_hash(path)] == "learned"]


def test_calibrate_moves_the_threshold_and_nothing_else(detector: Detector, category_dir: Path) -> None:
    calibrated = detector.calibrate(images_of(category_dir, "good"), alpha=0.25)
    assert calibrated.model.graph == detector.model.graph
    assert calibrated.threshold.n_images == 8
    (change,) = calibrated.description.history
    assert (change["from"], change["to"]) == (detector.threshold.value, calibrated.threshold.value)
    assert detector.description.history == []


def test_calibrate_counts_copies_once(detector: Detector, category_dir: Path) -> None:
    calibrated = detector.calibrate(images_of(category_dir, "good") * 3, alpha=0.25)
    assert calibrated.threshold.n_images == 8


def test_calibrate_refuses_images_that_were_learned_from(detector: Detector, category_dir: Path) -> None:
    with pytest.raises(DatasetError, match="learned from 13 of these 16"):
        detector.calibrate(sorted((category_dir / "train" / "good").iterdir()), alpha=0.25)


def test_images_that_set_the_threshold_do_not_judge_it(detector: Detector, category_dir: Path) -> None:
    calibrated = detector.calibrate(images_of(category_dir, "good")[:3], alpha=0.25)
    assert evaluate(calibrated, category_dir).n_good == 5


def test_copies_of_an_image_count_once(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name, np.zeros((9, 9), dtype=np.float32))
    with pytest.raises(DatasetError, match="2 different"):
        fit(tmp_path, side=128)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (64, 64), (700, 20)])
def test_any_size_gets_a_verdict(detector: Detector, shape: tuple[int, int]) -> None:
    found = detector.inspect(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert found.anomaly_map.shape == shape


@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_of_one_colour_get_a_verdict(detector: Detector, value: int) -> None:
    assert np.isfinite(detector.inspect(np.full((90, 80), value, dtype=np.uint8)).score)


def test_bit_depth_does_not_change_the_verdict(detector: Detector, category_dir: Path) -> None:
    grey8 = np.rint(read_image(images_of(category_dir, "stain")[0]) * 255).astype(np.uint8)
    scores = [
        detector.inspect(pixels).score
        for pixels in (grey8, grey8.astype(np.uint16) * 257, np.stack([grey8] * 3, axis=-1), grey8 / np.float32(255))
    ]
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-5)


def test_unreadable_images_are_refused_by_name(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"broken\.png"):
        detector.inspect(tmp_path / "broken.png")


def test_one_image_is_too_few_to_fit(tmp_path: Path) -> None:
    write_image(tmp_path / "only.png", np.zeros((9, 9), dtype=np.float32))
    with pytest.raises(DatasetError, match="at least 2"):
        fit(tmp_path, side=128)


@pytest.mark.parametrize(
    "wrong", [{"method": "other"}, {"side": 100}, {"prototype": "other"}, {"epochs": 0}, {"alpha": 2.0}]
)
def test_settings_out_of_range_are_refused(category_dir: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError, match="expected"):
        fit(category_dir, **{"side": 128, "epochs": 1, **wrong})  # type: ignore[arg-type]
