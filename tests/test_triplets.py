"""Triplets are cut as the paper says: scales, counts, categories; and the same seed cuts the same ones."""

from pathlib import Path

import numpy as np
import pytest

from blemish.errors import ImageError, SettingError, TrainingError
from blemish.images import prepare, read_image, write_image
from blemish.learning.defects import random_erasing
from blemish.learning.triplets import PAPER_SCALES, PatchPyramid, TrainingImage, cut_triplets, plan_epoch

SCALES = {128: 8, 64: 4}


@pytest.fixture
def images(tmp_path: Path) -> list[TrainingImage]:
    rng = np.random.default_rng(0)
    made = []
    for index in range(5):
        path = tmp_path / f"{index}.png"
        write_image(path, rng.random((150, 140), dtype=np.float32))
        made.append(TrainingImage(path, category="ab"[index % 2]))
    return made


def categories(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_scales_and_counts_are_the_papers() -> None:
    assert PAPER_SCALES == {1024: 16, 512: 16, 256: 8, 128: 8}


def test_every_image_gives_16_or_8_anchors_at_one_scale() -> None:
    plan = plan_epoch(categories(30), PAPER_SCALES, seed=0, epoch=0)
    for image in range(30):
        sides = set(plan.anchors[plan.anchors[:, 0] == image, 1])
        assert len(sides) == 1
        assert (plan.anchors[:, 0] == image).sum() == PAPER_SCALES[sides.pop()]


def test_all_scales_are_used_alike() -> None:
    plans = [plan_epoch(categories(100), PAPER_SCALES, seed=0, epoch=epoch) for epoch in range(10)]
    chosen = [side for plan in plans for side in dict(plan.anchors[:, :2].tolist()).values()]
    shares = [chosen.count(side) / len(chosen) for side in PAPER_SCALES]
    assert shares == pytest.approx([0.25] * 4, abs=0.06)


def test_patches_lie_inside_their_scale_and_reach_its_borders() -> None:
    plan = plan_epoch(categories(400), {128: 8}, seed=0, epoch=0)
    for corner in plan.anchors[:, 2:].T:
        assert (corner.min(), corner.max()) == (0, 128 - 64)


def test_a_triplet_stays_in_one_category_and_at_one_scale() -> None:
    belongs = categories(4, 7, 2)
    plan = plan_epoch(belongs, PAPER_SCALES, seed=1, epoch=3)
    for other in (plan.positives, plan.negatives):
        assert (belongs[other[:, 0]] == belongs[plan.anchors[:, 0]]).all()
        assert (other[:, 1] == plan.anchors[:, 1]).all()


def test_positive_and_negative_come_from_other_images_where_there_are_any() -> None:
    plan = plan_epoch(categories(4, 1), PAPER_SCALES, seed=1, epoch=0)
    for other in (plan.positives, plan.negatives):
        same = other[:, 0] == plan.anchors[:, 0]
        assert (same == (plan.anchors[:, 0] == 4)).all()  # image 4 is alone in its category


def test_epochs_differ_and_seeds_repeat() -> None:
    first, again, later = (plan_epoch(categories(9), SCALES, seed=2, epoch=epoch).anchors for epoch in (0, 0, 1))
    assert (first == again).all()
    assert first.shape != later.shape or (first != later).any()


def test_a_cut_patch_is_the_prepared_image_there(images: list[TrainingImage]) -> None:
    pyramid = PatchPyramid(images, SCALES)
    prepared = prepare(read_image(images[3].path), 128, 128)
    patch = pyramid.cut(np.array([[3, 128, 10, 20]]))[0]
    np.testing.assert_allclose(patch, prepared[10:74, 20:84], atol=0.5 / 65535 + 1e-7)


def test_only_the_negative_is_defective(images: list[TrainingImage]) -> None:
    pyramid = PatchPyramid(images, SCALES)
    plan = plan_epoch(pyramid.categories, SCALES, seed=0, epoch=0)
    anchors, positives, negatives = cut_triplets(pyramid, plan, slice(0, 6), random_erasing, np.random.default_rng(0))
    assert (anchors == pyramid.cut(plan.anchors[:6])).all()
    assert (positives == pyramid.cut(plan.positives[:6])).all()
    assert ((negatives != pyramid.cut(plan.negatives[:6])).any(axis=(1, 2))).all()


def test_every_broken_image_is_named_at_once(images: list[TrainingImage], tmp_path: Path) -> None:
    for index in (1, 4):
        images[index].path.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"2 of 5(?s:.)*1\.png(?s:.)*4\.png"):
        PatchPyramid(images, SCALES)


def test_no_images_and_scales_below_a_patch_are_refused(images: list[TrainingImage]) -> None:
    with pytest.raises(TrainingError, match="at least one"):
        PatchPyramid([], SCALES)
    with pytest.raises(SettingError, match="64"):
        PatchPyramid(images, {32: 8})
