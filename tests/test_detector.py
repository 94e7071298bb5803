"""From good images to a verdict: what `fit` makes, what `inspect` finds, and that file and memory agree."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish import Detector, Verdict, enroll, evaluate, fit
from blemish.datasets import content_hash, read_category
from blemish.errors import DatasetError, ImageError, SettingError
from blemish.images import read_image, write_image

PAPER: dict[str, Any] = {"method": "tayeh2020", "side": 128, "epochs": 1}  # the shortest training of either kind
NEAREST: dict[str, Any] = {"steps": 1}


@pytest.fixture(params=["detector", "nearest_detector"])
def either(request: pytest.FixtureRequest) -> Detector:
    """A detector of the paper's method, then one of ours."""
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Detector)
    return made


def images_of(category_dir: Path, defect_type: str) -> list[Path]:
    return [s.path for s in read_category(category_dir) if s.split == "test" and s.defect_type == defect_type]


def test_fit_finds_plain_defects(either: Detector, category_dir: Path) -> None:
    good = [either.inspect(path).score for path in images_of(category_dir, "good")]
    stained = [either.inspect(path).score for path in images_of(category_dir, "stain")]
    assert np.mean([[s > g for g in good] for s in stained]) > 0.9


def test_verdict_score_and_regions_agree(either: Detector, category_dir: Path) -> None:
    for defect_type in ("good", "stain"):
        for path in images_of(category_dir, defect_type):
            found = either.inspect(path)
            assert (found.verdict is Verdict.DEFECTIVE) == (found.score > found.threshold) == bool(found.regions)
            assert all(region.peak > found.threshold for region in found.regions)


def test_a_good_image_has_no_region_even_where_single_cells_exceed_the_threshold(
    nearest_detector: Detector, category_dir: Path
) -> None:
    path = images_of(category_dir, "good")[0]
    found = nearest_detector.inspect(path)
    assert found.score < found.max_distance  # a mean of the worst cells
    between = replace(nearest_detector.threshold, value=(found.score + found.max_distance) / 2)
    description = replace(nearest_detector.description, threshold=between)
    found = Detector(replace(nearest_detector.model, description=description)).inspect(path)
    assert (found.verdict, found.regions) == (Verdict.GOOD, ())


def test_an_image_between_the_limits_is_unsure_and_shows_where_to_look(
    nearest_detector: Detector, category_dir: Path
) -> None:
    path = images_of(category_dir, "stain")[0]
    score = nearest_detector.inspect(path).score
    lower = replace(nearest_detector.threshold, value=0.9 * score)
    about = replace(nearest_detector.description, threshold=replace(lower, value=1.1 * score, unsure=lower))
    found = Detector(replace(nearest_detector.model, description=about)).inspect(path)
    assert found.verdict is Verdict.UNSURE
    assert found.regions
    assert found.regions[0].peak > lower.value


def test_the_map_has_the_size_of_the_image_and_shows_the_largest_distance(either: Detector, category_dir: Path) -> None:
    found = either.inspect(images_of(category_dir, "stain")[0])
    assert found.anomaly_map.shape == found.image.shape == (160, 150) == (found.height, found.width)
    assert found.anomaly_map.max() == pytest.approx(found.max_distance, rel=1e-5)


def test_the_papers_score_is_the_largest_distance(detector: Detector, category_dir: Path) -> None:
    found = detector.inspect(images_of(category_dir, "stain")[0])
    assert found.score == found.max_distance


def test_a_defect_is_found_where_it_is(either: Detector, category_dir: Path) -> None:
    found = either.inspect(images_of(category_dir, "stain")[0])
    y, x = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
    assert 20 <= y <= 90
    assert 30 <= x <= 110


def test_file_and_memory_score_alike(either: Detector, tmp_path: Path, category_dir: Path) -> None:
    either.save(tmp_path / "metal.blemish")
    loaded = Detector.load(tmp_path / "metal.blemish")
    for path in images_of(category_dir, "stain"):
        assert loaded.inspect(path) == either.inspect(path)


def test_a_file_and_its_pixels_score_alike(either: Detector, category_dir: Path) -> None:
    path = images_of(category_dir, "stain")[0]
    assert either.inspect(read_image(path)).score == either.inspect(path).score


@pytest.mark.parametrize("shortest", [PAPER, NEAREST])
def test_same_seed_same_model_file(category_dir: Path, shortest: dict[str, Any]) -> None:
    first, second = (fit(category_dir, seed=3, **shortest) for _ in range(2))
    assert first.model.graph == second.model.graph
    assert first.threshold == second.threshold


def test_the_model_file_knows_what_it_was_made_from(either: Detector) -> None:
    roles = list(either.description.provenance["images"]["brushed metal"].values())
    assert (roles.count("learned"), roles.count("held out")) == (13, 3)
    assert either.threshold.n_images == 3


def test_the_model_file_says_what_was_chosen_and_how_long_was_trained(nearest_detector: Detector) -> None:
    about = nearest_detector.description
    assert (about.method, about.reference) == ("nearest", "category")
    (note,) = about.notes
    assert "anywhere" in note
    assert (about.training["steps"], about.training["steps_planned"]) == (40, 40)


@pytest.mark.parametrize("shortest", [PAPER, NEAREST])
def test_half_leaves_the_other_half_alone(category_dir: Path, shortest: dict[str, Any]) -> None:
    half = fit(category_dir, half=True, **shortest)
    assert len(half.description.provenance["images"]["brushed metal"]) == 12  # of 16 + 8 good images


def test_enroll_keeps_the_network_and_makes_a_new_reference_set(either: Detector, category_dir: Path) -> None:
    enrolled = enroll(images_of(category_dir, "good"), network=either, category="other", reference="location")
    assert all((enrolled.model.weights[name] == w).all() for name, w in either.model.weights.items())
    assert enrolled.model.graph != either.model.graph
    assert enrolled.description.category == "other"
    assert (enrolled.description.method, enrolled.description.reference) == (either.description.method, "location")
    assert enrolled.inspect(images_of(category_dir, "stain")[0]).score > enrolled.threshold.value


def test_enroll_compares_as_the_papers_network_did_or_as_the_images_ask_for(
    either: Detector, category_dir: Path
) -> None:
    assert enroll(images_of(category_dir, "good"), network=either, category="other").description.reference == "category"


def test_enroll_sets_the_threshold_on_images_the_network_has_not_learned_from(
    either: Detector, category_dir: Path
) -> None:
    again = enroll(
        category_dir, network=either, reference="location"
    )  # the same images, as one would to try the other kind
    assert again.threshold.n_images == 3
    with pytest.raises(DatasetError, match="learned from"):
        enroll(learned_by(either, category_dir), network=either)


def learned_by(detector: Detector, category_dir: Path) -> list[Path]:
    roles = detector.description.provenance["images"][category_dir.name]
    good = sorted((category_dir / "train" / "good").iterdir())
    return [path for path in good if roles[content_hash(path)] == "learned"]


def test_calibrate_moves_the_threshold_and_nothing_else(either: Detector, category_dir: Path) -> None:
    calibrated = either.calibrate(images_of(category_dir, "good"), alpha=0.25)
    assert calibrated.model.graph == either.model.graph
    assert calibrated.threshold.n_images == 8
    (change,) = calibrated.description.history
    assert (change["from"], change["to"]) == (either.threshold.value, calibrated.threshold.value)
    assert either.description.history == []


def test_the_threshold_is_one_of_the_scores_it_was_set_by(either: Detector, category_dir: Path) -> None:
    good = images_of(category_dir, "good")
    scores = sorted(either.inspect(path).score for path in good)
    assert either.calibrate(good, alpha=0.25).threshold.value == scores[6]  # ceil(9 * 0.75) = 7 of 8


def test_calibrate_sets_both_limits(either: Detector, category_dir: Path) -> None:
    calibrated = either.calibrate(images_of(category_dir, "good"), alpha=0.2, unsure=0.5)
    scores = sorted(calibrated.description.good_scores.values())
    assert calibrated.threshold.unsure is not None
    assert (calibrated.threshold.unsure.value, calibrated.threshold.value) == (scores[4], scores[7])


def test_unsure_images_are_neither_false_alarms_nor_missed(either: Detector, category_dir: Path) -> None:
    limits = replace(either.threshold, value=1e9, unsure=replace(either.threshold, value=-1.0))  # all are unsure
    about = replace(either.description, threshold=limits)
    found = evaluate(Detector(replace(either.model, description=about)), category_dir)
    assert (found.false_alarms, found.unsure, found.types[-1].missed, found.types[-1].unsure) == (0, 8, 0, 6)
    assert found.types[-1].n_images == 6
    assert found.table().headers[-1] == "unsure"
    assert any("14 of 14 images (100.0%) would be sent to a person" in said for said in found.sentences())


def test_the_threshold_moves_to_another_rate_without_new_images(either: Detector, category_dir: Path) -> None:
    good = images_of(category_dir, "good")
    moved = either.calibrate(good, alpha=0.25).with_alpha(0.5, unsure=0.75)
    assert moved.threshold == either.calibrate(good, alpha=0.5, unsure=0.75).threshold
    assert moved.model.graph == either.model.graph


def test_the_threshold_set_by_hand_decides(either: Detector, category_dir: Path) -> None:
    path = images_of(category_dir, "stain")[0]
    score = either.inspect(path).score
    above, below = (either.with_threshold(factor * score) for factor in (1.01, 0.99))
    assert (above.inspect(path).verdict, below.inspect(path).verdict) == (Verdict.GOOD, Verdict.DEFECTIVE)
    assert above.threshold.alpha is None


def test_undo_goes_back_to_what_was_calibrated_before(either: Detector, category_dir: Path) -> None:
    moved = either.calibrate(images_of(category_dir, "good"), alpha=0.25).with_threshold(9.0)
    back = moved.undo().undo()
    assert (back.threshold, back.description.good_scores) == (either.threshold, either.description.good_scores)
    assert [change["what"] for change in back.description.history] == ["calibrate", "set", "undo", "undo"]
    assert back.description.seen == moved.description.seen  # what set a threshold once must not judge it later


def test_without_scores_of_good_images_only_a_limit_by_hand_can_be_set(detector: Detector) -> None:
    about = replace(detector.description, good_scores={})
    bare = Detector(replace(detector.model, description=about))
    assert bare.with_threshold(1.0).threshold.promised_alpha == 1
    for move in (lambda: bare.with_alpha(0.1), lambda: bare.with_threshold(1.0, unsure=0.1)):
        with pytest.raises(SettingError, match="calibrate"):
            move()


def test_the_size_of_a_pixel_stays_with_what_is_made_of_a_detector(detector: Detector, category_dir: Path) -> None:
    measured = Detector(detector.model, mm_per_pixel=0.5).with_threshold(9.0).undo().with_threshold(0.0)
    region = measured.inspect(images_of(category_dir, "stain")[0]).regions[0]
    assert region.area_mm2 == pytest.approx(region.area_px / 4, abs=0.25)


@pytest.mark.parametrize("side", [0.0, -1.0, math.nan, math.inf])
def test_a_pixel_without_a_size_is_refused(detector: Detector, side: float) -> None:
    with pytest.raises(SettingError, match="mm per pixel"):
        Detector(detector.model, mm_per_pixel=side)


def test_the_statistics_of_the_images_that_set_the_threshold_are_kept(either: Detector, category_dir: Path) -> None:
    good = images_of(category_dir, "good")
    kept = either.calibrate(good, alpha=0.25).description.good_statistics
    assert kept["height"] == [160] * 8
    assert kept["brightness"] == pytest.approx([read_image(path).mean() for path in good])
    assert kept["distance"] == [either.inspect(path).mean_distance for path in good]


def test_calibrate_counts_copies_once(detector: Detector, category_dir: Path) -> None:
    calibrated = detector.calibrate(images_of(category_dir, "good") * 3, alpha=0.25)
    assert calibrated.threshold.n_images == 8


def test_calibrate_refuses_images_that_were_learned_from(detector: Detector, category_dir: Path) -> None:
    with pytest.raises(DatasetError, match="learned from 13 of these 16"):
        detector.calibrate(sorted((category_dir / "train" / "good").iterdir()), alpha=0.25)


def test_images_that_set_the_threshold_do_not_judge_it(detector: Detector, category_dir: Path) -> None:
    calibrated = detector.calibrate(images_of(category_dir, "good")[:3], alpha=0.25)
    assert evaluate(calibrated, category_dir).n_good == 5


def test_evaluate_judges_by_the_score_that_makes_the_verdicts(either: Detector, category_dir: Path) -> None:
    found = evaluate(either, category_dir)
    scores = {sample.path: sample.score for sample in found.samples}
    good, stained = ({str(path) for path in images_of(category_dir, kind)} for kind in ("good", "stain"))
    assert scores == {path: either.inspect(path).score for path in good | stained}
    wins = [scores[defective] > scores[path] for defective in stained for path in good]
    assert found.types[-1].auroc == pytest.approx(np.mean(wins))
    assert found.false_alarms == sum(scores[path] > either.threshold.value for path in good)


def test_copies_of_an_image_count_once(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name, np.zeros((9, 9), dtype=np.float32))
    with pytest.raises(DatasetError, match="2 different"):
        fit(tmp_path, **PAPER)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (64, 64), (700, 20)])
def test_any_size_gets_a_verdict(either: Detector, shape: tuple[int, int]) -> None:
    found = either.inspect(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert found.anomaly_map.shape == shape


@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_of_one_colour_get_a_verdict(either: Detector, value: int) -> None:
    assert np.isfinite(either.inspect(np.full((90, 80), value, dtype=np.uint8)).score)


def test_bit_depth_does_not_change_the_verdict(either: Detector, category_dir: Path) -> None:
    grey8 = np.rint(read_image(images_of(category_dir, "stain")[0]) * 255).astype(np.uint8)
    scores = [
        either.inspect(pixels).score
        for pixels in (grey8, grey8.astype(np.uint16) * 257, np.stack([grey8] * 3, axis=-1), grey8 / np.float32(255))
    ]
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-5)


def test_unreadable_images_are_refused_by_name(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"broken\.png"):
        detector.inspect(tmp_path / "broken.png")


def test_one_image_is_too_few_to_fit(tmp_path: Path) -> None:
    write_image(tmp_path / "only.png", np.zeros((9, 9), dtype=np.float32))
    for shortest in (PAPER, NEAREST):
        with pytest.raises(DatasetError, match="at least 2"):
            fit(tmp_path, **shortest)


def test_four_images_are_too_few_for_our_method(category_dir: Path) -> None:
    with pytest.raises(DatasetError, match=r"4 different good images(?s:.)*at least 5"):
        fit(images_of(category_dir, "good")[:4], **NEAREST)


@pytest.mark.parametrize(
    ("shortest", "wrong"),
    [
        *((PAPER, wrong) for wrong in ({"method": "other"}, {"side": 100}, {"epochs": 0})),
        *((NEAREST, wrong) for wrong in ({"steps": 0}, {"minutes": 1.0}, {"steps": None, "minutes": 0.0})),
        *((NEAREST, {"steps": None, "minutes": wrong}) for wrong in (-1.0, math.nan, math.inf)),
        *(
            (each, wrong)
            for each in (PAPER, NEAREST)
            for wrong in ({"reference": "other"}, {"alpha": 2.0}, {"seed": -1})
        ),
    ],
)
def test_settings_out_of_range_are_refused(
    category_dir: Path, shortest: dict[str, Any], wrong: dict[str, object]
) -> None:
    with pytest.raises(SettingError, match="expected"):
        fit(category_dir, **{**shortest, **wrong})


@pytest.mark.parametrize(
    ("shortest", "foreign"),
    [
        *((PAPER, {"minutes": 1.0}), (PAPER, {"steps": 1}), (PAPER, {"ignored": np.eye(4, dtype=bool)})),
        *((NEAREST, {"side": 128}), (NEAREST, {"epochs": 1})),
    ],
)
def test_settings_of_another_method_are_refused(
    category_dir: Path, shortest: dict[str, Any], foreign: dict[str, object]
) -> None:
    with pytest.raises(SettingError, match="does not use it"):
        fit(category_dir, **shortest, **foreign)
