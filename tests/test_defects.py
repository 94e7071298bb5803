"""Contracts that every synthetic defect keeps, and what the paper says of its own."""

import numpy as np
import pytest

from blemish.learning.defects import DEFECTS, ERASED_AREA, ERASED_ASPECT, Defect, random_erasing


def patch(seed: int = 0, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
class TestEveryDefect:
    def test_keeps_shape_type_and_range(self, defect: Defect) -> None:
        for seed in range(20):
            image, mask = defect(patch(shape=(64, 48)), np.random.default_rng(seed))
            assert image.shape == mask.shape == (64, 48)
            assert (image.dtype, mask.dtype) == (np.float32, np.bool_)
            assert image.min() >= 0
            assert image.max() <= 1

    def test_changes_something_and_only_under_the_mask(self, defect: Defect) -> None:
        good = patch()
        image, mask = defect(good, np.random.default_rng(1))
        assert (image[mask] != good[mask]).any()
        assert (image[~mask] == good[~mask]).all()

    def test_leaves_its_input_alone(self, defect: Defect) -> None:
        good = patch()
        defect(good, np.random.default_rng(2))
        assert (good == patch()).all()

    def test_same_seed_same_result(self, defect: Defect) -> None:
        first, second = (defect(patch(), np.random.default_rng(5))[0] for _ in range(2))
        assert (first == second).all()


def test_erased_rectangles_have_the_papers_area_and_aspect() -> None:
    for seed in range(200):
        mask = random_erasing(patch(), np.random.default_rng(seed))[1]
        height, width = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert mask.sum() == height * width
        assert ERASED_AREA[0] * 0.8 <= mask.mean() <= ERASED_AREA[1] * 1.1  # sides are whole pixels
        assert ERASED_ASPECT[0] * 0.8 <= height / width <= ERASED_ASPECT[1] * 1.25


def test_erased_pixels_are_random_over_the_whole_range() -> None:
    image, mask = random_erasing(np.zeros((64, 64), dtype=np.float32), np.random.default_rng(0))
    assert np.unique(image[mask]).size > mask.sum() / 2
    assert image[mask].mean() == pytest.approx(0.5, abs=0.1)
