"""Contracts that every synthetic defect keeps, what the paper says of its own, and what counts as no defect."""

import numpy as np
import pytest

from blemish.drawing import SURFACES, draw_surface
from blemish.learning.defects import (
    DEFECTS,
    ERASED_AREA,
    ERASED_ASPECT,
    LARGEST,
    NOTICED,
    SMALLEST_PX,
    STRUCTURAL,
    SURFACE,
    VISIBLE,
    Defect,
    Mask,
    any_softness,
    gaussian_noise,
    random_erasing,
    through_lens,
    through_one_camera,
    vary_light,
)
from blemish.results import FloatArray

N_SEEDS = 10


def patch(seed: int = 0, shape: tuple[int, int] = (64, 64)) -> FloatArray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def surface(name: str) -> FloatArray:
    rng = np.random.default_rng(0)
    return draw_surface(SURFACES[name](rng), rng, 96, 112)


IMAGES = {
    "noise": patch(shape=(64, 48)),
    "tiny": patch(shape=(32, 40)),
    "odd": patch(shape=(67, 51)),
    "black": np.zeros((64, 48), dtype=np.float32),
    "white": np.ones((48, 64), dtype=np.float32),
    "grey": np.full((64, 64), 0.5, dtype=np.float32),
    "tiny and black": np.zeros((32, 40), dtype=np.float32),
    "black and white": np.rint(patch()),
    "fabric": surface("woven_fabric"),
    "part": surface("cast_part"),
}


def draw(defect: Defect, good: FloatArray) -> list[tuple[FloatArray, Mask]]:
    return [defect(good, np.random.default_rng(seed)) for seed in range(N_SEEDS)]


@pytest.fixture(scope="module", params=DEFECTS.values(), ids=DEFECTS)
def defect(request: pytest.FixtureRequest) -> Defect:
    found: Defect = request.param
    return found


@pytest.fixture(scope="module", params=IMAGES.values(), ids=IMAGES)
def good(request: pytest.FixtureRequest) -> FloatArray:
    found: FloatArray = request.param
    return found


@pytest.fixture(scope="module")
def untouched(good: FloatArray) -> FloatArray:
    return good.copy()


@pytest.fixture(scope="module")
def drawn(defect: Defect, good: FloatArray, untouched: FloatArray) -> list[tuple[FloatArray, Mask]]:
    return draw(defect, good)


class TestEveryDefectOnEveryImage:
    def test_keeps_shape_and_type(self, drawn: list[tuple[FloatArray, Mask]], good: FloatArray) -> None:
        for image, mask in drawn:
            assert image.shape == mask.shape == good.shape
            assert (image.dtype, mask.dtype) == (np.float32, np.bool_)

    def test_stays_within_black_and_white(self, drawn: list[tuple[FloatArray, Mask]]) -> None:
        for image, _ in drawn:
            assert image.min() >= 0
            assert image.max() <= 1

    def test_marks_something_that_can_be_seen(self, drawn: list[tuple[FloatArray, Mask]], good: FloatArray) -> None:
        for image, mask in drawn:
            assert (np.abs(image - good)[mask] > VISIBLE).any()

    def test_is_strong_enough_to_be_noticed(self, defect: Defect, good: FloatArray) -> None:
        if defect is not gaussian_noise:  # the paper's baseline is as weak as the paper has it
            assert all(np.abs(image - good).max() >= 0.8 * NOTICED for image, _ in draw(defect, good))

    def test_changes_nothing_visibly_outside_its_mask(
        self, drawn: list[tuple[FloatArray, Mask]], good: FloatArray
    ) -> None:
        for image, mask in drawn:
            assert np.abs(image - good)[~mask].max(initial=0) <= VISIBLE

    def test_leaves_its_input_alone(
        self, drawn: list[tuple[FloatArray, Mask]], good: FloatArray, untouched: FloatArray
    ) -> None:
        assert (good == untouched).all()

    def test_same_seed_same_result(
        self, drawn: list[tuple[FloatArray, Mask]], defect: Defect, good: FloatArray
    ) -> None:
        for (first, mask), (again, same_mask) in zip(drawn, draw(defect, good), strict=True):
            assert (first == again).all()
            assert (mask == same_mask).all()


def test_other_seeds_give_other_defects(defect: Defect) -> None:
    assert len({image.tobytes() for image, _ in draw(defect, patch())}) == N_SEEDS


@pytest.mark.parametrize("family", [*STRUCTURAL, *SURFACE], ids=lambda family: family.__name__)
def test_sizes_reach_from_small_to_large(family: Defect) -> None:
    good = patch(shape=(256, 256))
    areas = sorted(int(family(good, np.random.default_rng(seed))[1].sum()) for seed in range(60))
    assert areas[3] <= 8 * SMALLEST_PX
    assert areas[-3] >= 4 * areas[3]


def test_each_doubling_of_size_has_its_share() -> None:
    good = patch(shape=(256, 256))
    areas = [
        defect(good, np.random.default_rng([seed, index]))[1].sum()
        for index, defect in enumerate((*STRUCTURAL, *SURFACE))
        for seed in range(20)
    ]
    edges = 2.0 ** np.arange(np.log2(SMALLEST_PX), np.log2(LARGEST * good.size) + 1)
    counts = np.histogram(areas, edges)[0]
    assert counts.min() >= 0.02 * len(areas)


def test_families_do_not_overlap() -> None:
    assert not set(STRUCTURAL) & set(SURFACE)


def test_families_are_known_by_their_names() -> None:
    assert all(DEFECTS[defect.__name__] is defect for defect in (*STRUCTURAL, *SURFACE))


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


def without_light(lit: FloatArray, good: FloatArray) -> tuple[FloatArray, float]:
    """Take gain, offset and slope out of a lit image by least squares; returns what is left, and the gain."""
    rows, columns = np.mgrid[-1 : 1 : good.shape[0] * 1j, -1 : 1 : good.shape[1] * 1j]
    terms = np.stack([good.ravel(), np.ones(good.size), rows.ravel(), columns.ravel()], axis=1)
    solution = np.linalg.lstsq(terms, lit.ravel(), rcond=None)[0]
    return (lit.ravel() - terms @ solution).reshape(good.shape), solution[0]


class TestLight:
    def test_marks_nothing(self) -> None:
        for _, mask in draw(vary_light, patch()):
            assert mask.dtype == np.bool_
            assert not mask.any()

    def test_changes_the_image(self) -> None:
        for image, _ in draw(vary_light, patch()):
            assert (image != patch()).mean() > 0.9

    def test_keeps_shape_and_type(self) -> None:
        good = patch(shape=(33, 50))
        for image, _ in draw(vary_light, good):
            assert (image.shape, image.dtype) == (good.shape, np.float32)

    def test_leaves_its_input_alone(self) -> None:
        good = patch()
        for _ in draw(vary_light, good):
            assert (good == patch()).all()

    def test_same_seed_same_result(self) -> None:
        first, again = (vary_light(patch(), np.random.default_rng(5))[0] for _ in range(2))
        assert (first == again).all()

    def test_is_a_gain_and_a_plane(self) -> None:
        for seed in range(50):
            lit = vary_light(patch(), np.random.default_rng(seed))[0]
            rest, gain = without_light(lit, patch())
            assert np.abs(rest).max() < 1e-5
            assert abs(gain - 1) < 0.1


def sharp_square(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """A defect of a known strength with edges of no width; away from the border, so that a blur has room."""
    mask = np.zeros(image.shape, dtype=np.bool_)
    top, left = rng.integers(16, min(image.shape) - 24, 2)
    mask[top : top + 8, left : left + 8] = True
    return np.where(mask, image - np.float32(0.4), image).astype(np.float32), mask


class TestThroughLens:
    """A defect is as soft as the lens makes it, and otherwise keeps the contract of every defect."""

    GREY: FloatArray = np.full((64, 64), 0.6, dtype=np.float32)

    def test_its_edges_are_as_soft_as_asked(self) -> None:
        steepest = [
            float(np.abs(np.diff(through_lens(sharp_square, softness)(self.GREY, np.random.default_rng(0))[0])).max())
            for softness in (0.0, 0.5, 1.0, 2.0, 4.0)
        ]
        assert steepest == sorted(steepest, reverse=True)
        # A blurred step of height a rises by at most a / (sigma sqrt(2 pi)) a pixel; half more if strengthened.
        assert steepest[3] < 1.5 * 0.4 / (2 * np.sqrt(2 * np.pi))

    @pytest.mark.parametrize("softness", [0.5, 1.0, 2.0])
    def test_it_keeps_its_strength(self, softness: float) -> None:
        soft = through_lens(sharp_square, softness)(self.GREY, np.random.default_rng(0))[0]
        assert np.abs(soft - self.GREY).max() == pytest.approx(0.4, rel=1e-3)

    def test_a_sharp_lens_changes_nothing(self) -> None:
        drawn, seen = (
            defect(patch(), np.random.default_rng(3)) for defect in (sharp_square, through_lens(sharp_square, 0.0))
        )
        assert (drawn[0] == seen[0]).all()
        assert (drawn[1] == seen[1]).all()

    def test_every_defect_keeps_its_contract(self, defect: Defect, good: FloatArray) -> None:
        untouched = good.copy()
        for image, mask in draw(through_lens(defect, 1.5), good):
            assert image.shape == mask.shape == good.shape
            assert (image.dtype, mask.dtype) == (np.float32, np.bool_)
            assert 0 <= image.min() <= image.max() <= 1
            assert (np.abs(image - good)[mask] > VISIBLE).any()
            # Beside the mask lies only the skirt of the blur.
            assert np.abs(image - good)[~mask].max(initial=0) <= max(VISIBLE, 0.15 * np.abs(image - good).max()) + 1e-6
        assert (good == untouched).all()

    def test_a_quarter_of_all_lenses_is_sharp_and_none_blurs_more_than_4_pixels(self) -> None:
        drawn = [any_softness(np.random.default_rng(seed)) for seed in range(400)]
        assert 0.2 < np.mean([softness == 0 for softness in drawn]) < 0.3
        assert 3.5 < max(drawn) <= 4


class TestOneCamera:
    """What is drawn and what it lies on are seen through the same lens and sensor."""

    def seen(self, images: FloatArray) -> list[FloatArray]:
        return [through_one_camera(images, np.random.default_rng(seed)) for seed in range(20)]

    def test_keeps_shape_type_and_range(self) -> None:
        images = np.stack([patch(0), np.rint(patch(1))])
        for pictures in self.seen(images):
            assert (pictures.shape, pictures.dtype) == (images.shape, np.float32)
            assert 0 <= pictures.min() <= pictures.max() <= 1

    def test_images_alike_stay_alike_but_for_noise(self) -> None:
        alike = 0.2 + 0.6 * np.stack([patch()] * 2)
        assert max(float((first - second).std()) for first, second in self.seen(alike)) < 0.03

    def test_an_edge_is_often_softer_and_never_sharper(self) -> None:
        edge = np.full((1, 64, 64), 0.3, dtype=np.float32)
        edge[:, :, 32:] = 0.7
        steps = [float(np.diff(picture[0].mean(axis=0)).max()) for picture in self.seen(edge)]
        assert max(steps) < 0.42
        assert np.median(steps) < 0.35

    def test_leaves_its_input_alone(self) -> None:
        images = patch()[None]
        before = images.copy()
        self.seen(images)
        assert (images == before).all()
