"""From an image to the pixels that a graph takes, and back from cells to the image."""

import numpy as np
import pytest

from blemish.detection.preparation import Preparation
from blemish.images import prepare
from blemish.results import FloatArray

STRIDE = 4
SCALED = Preparation(None, None, 0.5, 0.2, 0.7, STRIDE, 60, STRIDE, STRIDE / 2)
FIXED = Preparation(64, 96, 0.5, 0.2, 0.7, STRIDE, 60, STRIDE, STRIDE / 2)
AS_IT_IS = Preparation(None, None, 1.0, 0.0, 1.0, STRIDE, 60, STRIDE, STRIDE / 2)
KINDS = {"scaled": SCALED, "fixed": FIXED, "as it is": AS_IT_IS}
SHAPES = [(1, 1), (3, 500), (500, 3), (37, 41), (64, 64), (130, 90), (33, 200)]


def noise(height: int, width: int) -> FloatArray:
    return np.random.default_rng(0).random((height, width), dtype=np.float32)


@pytest.mark.parametrize("preparation", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestAnyImage:
    def test_has_its_size_continued_to_the_multiple(self, preparation: Preparation, shape: tuple[int, int]) -> None:
        rows, columns = preparation.size(*shape)
        height, width = preparation.apply(noise(*shape)).shape
        assert height % STRIDE == width % STRIDE == 0
        assert 0 <= height - rows < STRIDE
        assert 0 <= width - columns < STRIDE

    def test_is_float32_from_0_to_1(self, preparation: Preparation, shape: tuple[int, int]) -> None:
        prepared = preparation.apply(noise(*shape))
        assert prepared.dtype == np.float32
        assert prepared.min() >= 0
        assert prepared.max() <= 1

    def test_is_continued_by_its_last_row_and_column(self, preparation: Preparation, shape: tuple[int, int]) -> None:
        rows, columns = preparation.size(*shape)
        prepared = preparation.apply(noise(*shape))
        assert (prepared[rows - 1 :] == prepared[rows - 1]).all()
        assert (prepared[:, columns - 1 :] == prepared[:, columns - 1 : columns]).all()

    def test_is_left_alone(self, preparation: Preparation, shape: tuple[int, int]) -> None:
        image = noise(*shape)
        preparation.apply(image)
        assert (image == noise(*shape)).all()

    def test_of_one_colour_stays_so(self, preparation: Preparation, shape: tuple[int, int]) -> None:
        assert np.ptp(preparation.apply(np.full(shape, 0.45, dtype=np.float32))) < 1e-6

    def test_cells_cover_it_edge_to_edge(self, preparation: Preparation, shape: tuple[int, int]) -> None:
        geometry = preparation.geometry(*shape)
        height, width = preparation.apply(noise(*shape)).shape
        assert (geometry.top(0), geometry.left(0)) == pytest.approx((0, 0))
        assert geometry.top(height // STRIDE) >= shape[0] - 1e-6
        assert geometry.left(width // STRIDE) >= shape[1] - 1e-6


class TestSize:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_is_fixed_where_it_is_given(self, shape: tuple[int, int]) -> None:
        assert FIXED.size(*shape) == (64, 96)

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_is_the_images_own_at_scale_1(self, shape: tuple[int, int]) -> None:
        assert AS_IT_IS.size(*shape) == shape

    def test_is_a_share_of_the_images_own(self) -> None:
        assert SCALED.size(200, 333) == pytest.approx((100, 166.5), abs=0.5)

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_is_never_larger_than_the_images_own(self, shape: tuple[int, int]) -> None:
        rows, columns = SCALED.size(*shape)
        assert 1 <= rows <= shape[0]
        assert 1 <= columns <= shape[1]

    def test_of_small_images_is_not_shrunk_away(self) -> None:
        assert SCALED.size(20, 3) == (20, 3)


class TestGreyValues:
    def test_black_becomes_0_and_white_1(self) -> None:
        image = np.array([[0.2, 0.45], [0.7, 0.7]], dtype=np.float32)
        assert SCALED.apply(image)[:2, :2].ravel() == pytest.approx([0, 0.5, 1, 1], abs=1e-6)

    def test_what_lies_beyond_is_cut_off(self) -> None:
        image = np.array([[0.1, 0.9], [0.0, 1.0]], dtype=np.float32)
        assert SCALED.apply(image)[:2, :2].ravel().tolist() == [0, 1, 0, 1]

    def test_a_brighter_image_stays_brighter(self) -> None:
        image = 0.3 + 0.1 * noise(64, 64)
        assert SCALED.apply(image + 0.2).mean() == pytest.approx(SCALED.apply(image).mean() + 0.2 / 0.5, abs=1e-5)

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_of_each_image_are_stretched_as_in_the_paper(self, shape: tuple[int, int]) -> None:
        paper = Preparation(128, 128, 1.0, None, None, 1, 64, 2, centre=32)
        assert (paper.apply(noise(*shape)) == prepare(noise(*shape), 128, 128)).all()

    def test_of_an_image_of_one_colour_are_black_as_in_the_paper(self) -> None:
        paper = Preparation(128, 128, 1.0, None, None, 1, 64, 2, centre=32)
        assert not paper.apply(np.full((30, 40), 0.6, dtype=np.float32)).any()


@pytest.mark.parametrize("preparation", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shape", [(90, 130), (131, 77), (400, 399)], ids=str)
class TestGeometry:
    def test_a_bright_pixel_lies_in_its_cell(self, preparation: Preparation, shape: tuple[int, int]) -> None:
        geometry = preparation.geometry(*shape)
        for y, x in np.random.default_rng(1).integers(0, shape, (20, 2)):
            image = np.full(shape, 0.3, dtype=np.float32)
            image[y, x] = 0.6
            prepared = preparation.apply(image)
            row, column = (int(i) // STRIDE for i in np.unravel_index(prepared.argmax(), prepared.shape))
            # A pixel that is shared between two cells may be brightest in either.
            slack_y, slack_x = max(geometry.scale_y, 1), max(geometry.scale_x, 1)
            assert geometry.top(row) - slack_y <= y + 0.5 <= geometry.top(row + 1) + slack_y
            assert geometry.left(column) - slack_x <= x + 0.5 <= geometry.left(column + 1) + slack_x

    def test_the_centre_of_a_cell_is_the_middle_of_its_pixels(
        self, preparation: Preparation, shape: tuple[int, int]
    ) -> None:
        rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        wide = Preparation(**{**vars(preparation), "black": 0.0, "white": 1.0})
        geometry = preparation.geometry(*shape)
        for axis, coordinate, at in ((0, rows, geometry.row), (1, columns, geometry.column)):
            largest = float(coordinate.max())
            prepared = wide.apply(coordinate / largest) * largest  # each pixel tells where on the image it lies
            cells = np.moveaxis(prepared, axis, 0)[:, 0]
            for cell in range(1, preparation.size(*shape)[axis] // STRIDE - 1):
                pixels = cells[STRIDE * cell : STRIDE * (cell + 1)]
                assert pixels.mean() == pytest.approx(at(cell), abs=0.05)
