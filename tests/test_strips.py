"""A picture that is made strip by strip is the picture that is made whole, and never whole in memory."""

from collections.abc import Callable

import numpy as np
import pytest

from blemish import strips
from blemish.detection import drift
from blemish.detection.drift import image_statistics
from blemish.detection.preparation import Preparation
from blemish.errors import ImageError
from blemish.images import as_image, resize
from blemish.report.overlay import grey_picture
from blemish.results import FloatArray
from blemish.strips import GreyImage

ROUNDING = 1e-6  # of grey values in [0, 1]
SHAPES = [(1, 1), (7, 11), (130, 90), (200, 33), (3, 500)]


def noise(height: int, width: int) -> FloatArray:
    return np.random.default_rng(0).random((height, width), dtype=np.float32)


@pytest.fixture(params=[1, 100, 1000])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Make every picture a large one, with strips of so many pixels."""
    monkeypatch.setattr(strips, "KEPT", 0)
    monkeypatch.setattr(strips, "STRIP", request.param)
    assert isinstance(request.param, int)
    return request.param


def counting(image: FloatArray, most: list[int]) -> GreyImage:
    """A picture that notes how many pixels are asked of it at once."""

    def make(top: int, bottom: int) -> FloatArray:
        most.append((bottom - top) * image.shape[1])
        return image[top:bottom]

    return GreyImage(*image.shape, make)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestALargePicture:
    def test_is_its_strips(self, large: int, shape: tuple[int, int]) -> None:
        image = GreyImage.of(noise(*shape))
        assert (np.concatenate([strip for _, strip in image.strips()]) == noise(*shape)).all()
        assert (image.whole() == noise(*shape)).all()

    def test_has_the_range_of_all_strips(self, large: int, shape: tuple[int, int]) -> None:
        assert GreyImage.of(noise(*shape)).range() == (noise(*shape).min(), noise(*shape).max())

    @pytest.mark.parametrize("size", [(1, 1), (5, 6), (64, 64), (130, 90), (301, 20)], ids=str)
    def test_is_resized_like_a_small_one(self, large: int, shape: tuple[int, int], size: tuple[int, int]) -> None:
        found = GreyImage.of(noise(*shape)).resized(*size).whole()
        np.testing.assert_allclose(found, resize(noise(*shape), *size), atol=ROUNDING)

    def test_is_resized_the_same_whatever_rows_are_asked_for(self, large: int, shape: tuple[int, int]) -> None:
        resized = GreyImage.of(noise(*shape)).resized(40, 30)
        np.testing.assert_allclose(resized.rows(13, 29), resized.whole()[13:29], atol=1e-7)

    def test_is_never_whole_in_memory(self, large: int, shape: tuple[int, int]) -> None:
        most: list[int] = []
        size = max(shape[0] // 2, 1), max(shape[1] // 3, 1)
        for _ in counting(noise(*shape), most).resized(*size).strips():
            pass
        a_row_of_the_result = 3 * shape[1]  # of two, and of parts of another
        assert max(most) <= max(large + shape[1], a_row_of_the_result)

    @pytest.mark.parametrize("black", [None, 0.2])
    @pytest.mark.parametrize("height", [None, 60])
    def test_is_prepared_like_a_small_one(
        self, shape: tuple[int, int], black: float | None, height: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        white = None if black is None else 0.7
        width = None if height is None else 44
        preparation = Preparation(height, width, 0.7, black, white, 16, 60, 4, 2)
        expected = preparation.apply(noise(*shape))
        ignored = noise(*shape) > 0.9
        counted = preparation.counted(ignored, *shape)
        monkeypatch.setattr(strips, "KEPT", 0)
        monkeypatch.setattr(strips, "STRIP", 500)
        found = preparation.prepared(GreyImage.of(noise(*shape)))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.whole(), expected, atol=5 * ROUNDING)  # its grey range is stretched
        assert (preparation.counted(ignored, *shape) == counted).all()

    def test_is_drawn_like_a_small_one(self, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        expected = grey_picture(GreyImage.of(noise(*shape)).fitted(50)).astype(int)
        monkeypatch.setattr(strips, "KEPT", 0)
        monkeypatch.setattr(strips, "STRIP", 100)
        assert np.abs(grey_picture(GreyImage.of(noise(*shape)).fitted(50)) - expected).max() <= 1


def test_a_small_picture_is_made_once_and_only_when_it_is_asked_for() -> None:
    made: list[int] = []
    image = counting(noise(9, 9), made)
    assert not made
    assert (image.rows(2, 4) == noise(9, 9)[2:4]).all()
    image.whole()
    image.range()
    assert made == [81]


@pytest.mark.parametrize("make", [lambda a: a, lambda a: (a * 255).astype(np.uint8), lambda a: np.dstack([a] * 3)])
def test_an_array_is_the_picture_that_as_image_makes_of_it(make: Callable[[FloatArray], FloatArray]) -> None:
    array = make(noise(9, 7))
    assert (GreyImage.of(array).whole() == as_image(array)).all()


def test_an_array_of_another_shape_is_refused_at_once() -> None:
    with pytest.raises(ImageError, match=r"expected \(H, W\)"):
        GreyImage.of(np.zeros((2, 3, 4, 5), np.uint8))


@pytest.mark.parametrize("strip", [1, 60, 100, 10_000])
@pytest.mark.parametrize("height", [1, 20, 333])
def test_the_numbers_of_an_image_do_not_depend_on_its_strips(
    height: int, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise(height, 5) ** 2
    whole = image_statistics(GreyImage.of(image), 0.0)
    monkeypatch.setattr(drift, "STRIP", strip)
    found = image_statistics(GreyImage.of(image), 0.0)
    assert found == pytest.approx(whole, rel=1e-9)
    assert found["brightness"] == pytest.approx(image.mean(dtype=float), rel=1e-6)
    assert found["contrast"] == pytest.approx(image.std(dtype=float), rel=1e-6)
