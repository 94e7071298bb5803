"""Nearest-normal triplets: what counts as clean and defective, distances by their definition, runs that can be redone.

Our network is tested here too: what a cell sees, and that its embeddings have one length.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from blemish import evaluate, fit
from blemish.detection.preparation import Preparation
from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.errors import SettingError
from blemish.images import write_image
from blemish.learning import nearest
from blemish.learning.defects import VISIBLE
from blemish.learning.nearest import (
    Batch,
    NearestSettings,
    NearestTriplets,
    PreparedImages,
    draw_batch,
    elsewhere_distance,
    locations,
    multiplies_bfloat16_fast,
    nearest_distance,
)
from blemish.learning.network import (
    NEAR,
    WIDE,
    BoundedNetwork,
    Sight,
    bounded_network,
    weights_from_arrays,
    weights_to_arrays,
)
from blemish.learning.reference import SHIFT, Reference
from blemish.learning.training import train
from blemish.results import FloatArray
from stop_after import StopAfter

STRIDE = BoundedNetwork.STRIDE
RADIUS = BoundedNetwork.RADIUS
AS_IT_IS = Preparation(None, None, 1.0, 0.0, 1.0, STRIDE, WIDE.view, STRIDE, STRIDE / 2)
ALIGNED = NearestSettings(aligned=True, elsewhere=0.4, crop=48)
ANYWHERE = NearestSettings(aligned=False, crop=48)


@pytest.fixture(scope="module", autouse=True)
def full_precision() -> Iterator[None]:
    """Leave mixed precision out, which a trial of the machine's speed decides about."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nearest, "multiplies_bfloat16_fast", lambda: False)
        yield


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def embeddings(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random ``(N, D, h, w)`` or ``(N, D)`` of the length that all embeddings have."""
    return torch.nn.functional.normalize(torch.randn(shape, generator=generator(seed)), dim=1) * RADIUS


def prepared(folder: Path, images: list[FloatArray]) -> PreparedImages:
    paths = [folder / f"{index:02}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        write_image(path, np.rint(image * 65535).astype(np.uint16))
    return PreparedImages(paths, AS_IT_IS)


def scene(height: int = 96, width: int = 96) -> FloatArray:
    """A picture of which each part is found at one place only, with room for brighter and darker light."""
    return 0.2 + 0.6 * np.random.default_rng(7).random((height, width), dtype=np.float32)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> PreparedImages:
    return prepared(tmp_path_factory.mktemp("scenes"), [scene()] * 14)


@pytest.fixture(scope="module")
def textures(tmp_path_factory: pytest.TempPathFactory) -> PreparedImages:
    rng = np.random.default_rng(0)
    surface = SURFACES["brushed_metal"](rng)
    return prepared(tmp_path_factory.mktemp("textures"), [draw_surface(surface, rng, 96, 96) for _ in range(12)])


def place(crop: FloatArray) -> tuple[int, int]:
    """Find the corner in `scene` from which a crop was cut, whatever its light."""
    found = cv2.matchTemplate(scene(), crop, cv2.TM_CCOEFF_NORMED)
    top, left = np.unravel_index(found.argmax(), found.shape)
    return int(top), int(left)


def unlike_scene(crop: FloatArray, where: np.ndarray) -> float:
    """Return how far a crop is from the same place of `scene` when gain, offset and slope are fitted to some pixels."""
    top, left = place(crop)
    height, width = crop.shape
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    window = scene()[top : top + height, left : left + width]
    terms = np.stack([window[where], np.ones(where.sum()), rows[where], columns[where]], axis=1)
    rest = crop[where] - terms @ np.linalg.lstsq(terms, crop[where], rcond=None)[0]
    return float(rest.std())


class TestPreparedImages:
    def test_gives_images_back(self, tmp_path: Path) -> None:
        images = [scene(40, 52), scene(64, 32)]
        kept = prepared(tmp_path, images)
        for index, image in enumerate(images):
            np.testing.assert_allclose(kept.whole(index), image, atol=2 / 65535)

    def test_cuts_windows_of_the_whole(self, scenes: PreparedImages) -> None:
        assert (scenes.cut(3, 5, 7, 20, 30) == scenes.whole(3)[5:25, 7:37]).all()

    def test_knows_number_and_shapes(self, tmp_path: Path) -> None:
        kept = prepared(tmp_path, [scene(40, 52), scene(64, 32)])
        assert [kept.shape(index) for index in range(len(kept))] == [(40, 52), (64, 32)]


@pytest.fixture(scope="module", params=[ALIGNED, ANYWHERE], ids=["aligned", "anywhere"])
def settings(request: pytest.FixtureRequest) -> NearestSettings:
    found: NearestSettings = request.param
    return found


@pytest.fixture(scope="module")
def batch(scenes: PreparedImages, settings: NearestSettings) -> Batch:
    return draw_batch(scenes, settings, step=3)


@pytest.fixture
def in_focus(scenes: PreparedImages, settings: NearestSettings, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """A batch before the camera, which blurs good and defective images alike."""
    monkeypatch.setattr(nearest, "through_one_camera", lambda images, rng: images)
    return draw_batch(scenes, settings, step=3)


class TestBatch:
    def test_depends_on_nothing_but_its_arguments(
        self, batch: Batch, scenes: PreparedImages, settings: NearestSettings
    ) -> None:
        draw_batch(scenes, settings, step=4)
        again = draw_batch(scenes, settings, step=3)
        assert (batch.reference == again.reference).all()
        assert (batch.defective == again.defective).all()
        assert (batch.defects == again.defects).all()

    @pytest.mark.parametrize("other", [{"step": 4}, {"seed": 1}])
    def test_another_step_or_seed_gives_another_batch(
        self, batch: Batch, scenes: PreparedImages, settings: NearestSettings, other: dict[str, int]
    ) -> None:
        drawn = draw_batch(scenes, replace(settings, seed=other.get("seed", 0)), other.get("step", 3))
        assert (drawn.reference != batch.reference).any()
        assert (drawn.defective != batch.defective).any()

    def test_holds_as_many_images_as_the_settings_say(self, batch: Batch, settings: NearestSettings) -> None:
        assert len(batch.reference) == settings.n_reference
        assert len(batch.defective) == len(batch.defects) == settings.n_defective

    def test_pixels_are_float32_from_0_to_1(self, batch: Batch) -> None:
        for pixels in (batch.reference, batch.defective):
            assert pixels.dtype == np.float32
            assert pixels.min() >= 0
            assert pixels.max() <= 1

    def test_reference_images_are_good(self, in_focus: Batch) -> None:
        for crop in in_focus.reference:
            assert unlike_scene(crop, np.ones(crop.shape, dtype=np.bool_)) < VISIBLE

    def test_other_images_are_good_outside_their_defects(self, in_focus: Batch) -> None:
        for crop, label in zip(in_focus.defective, in_focus.defects, strict=True):
            assert unlike_scene(crop, label == 0) < VISIBLE

    def test_other_images_are_not_good_under_their_defects(self, batch: Batch) -> None:
        everywhere = np.ones(batch.defects.shape[1:], dtype=np.bool_)
        assert sum(unlike_scene(crop, everywhere) > VISIBLE for crop in batch.defective) > len(batch.defective) / 2

    def test_each_has_one_to_the_most_defects(self, batch: Batch, settings: NearestSettings) -> None:
        for label in batch.defects:
            assert 1 <= len(np.unique(label[label > 0])) <= settings.most_defects

    def test_each_defect_has_a_number_of_its_own(self, batch: Batch) -> None:
        numbers = np.concatenate([np.unique(label[label > 0]) for label in batch.defects])
        assert len(numbers) == len(set(numbers.tolist()))

    def test_aligned_images_are_cut_at_one_place(self, scenes: PreparedImages) -> None:
        for step in range(3):
            batch = draw_batch(scenes, ALIGNED, step)
            assert len({place(crop) for crop in batch.reference}) == 1

    def test_aligned_images_with_defects_are_cut_at_that_place_too(self, scenes: PreparedImages) -> None:
        for step in range(3):
            batch = draw_batch(scenes, ALIGNED, step)
            assert {place(crop) for crop in batch.defective} == {place(batch.reference[0])}

    def test_aligned_images_are_cut_at_whole_cells(self, scenes: PreparedImages) -> None:
        corners = np.array([place(draw_batch(scenes, ALIGNED, step).reference[0]) for step in range(6)])
        assert not (corners % STRIDE).any()

    def test_aligned_images_are_cut_at_another_place_each_step(self, scenes: PreparedImages) -> None:
        assert len({place(draw_batch(scenes, ALIGNED, step).reference[0]) for step in range(6)}) > 3

    def test_other_images_are_cut_anywhere(self, scenes: PreparedImages) -> None:
        batch = draw_batch(scenes, ANYWHERE, step=0)
        assert len({place(crop) for crop in batch.reference}) > ANYWHERE.n_reference / 2

    @pytest.mark.parametrize("n_images", [2, 4, 13, 15])
    def test_reference_images_and_images_with_defects_are_different_ones(
        self, tmp_path: Path, settings: NearestSettings, n_images: int
    ) -> None:
        all_of_them = 0.2 + 0.6 * np.random.default_rng(3).random((n_images, 64, 64), dtype=np.float32)
        drawn = draw_batch(prepared(tmp_path, list(all_of_them)), replace(settings, crop=64), step=0)

        def which(crop: FloatArray) -> int:
            return int(np.argmax([np.corrcoef(crop.ravel(), image.ravel())[0, 1] for image in all_of_them]))

        assert {which(crop) for crop in drawn.reference}.isdisjoint(which(crop) for crop in drawn.defective)

    def test_crops_of_images_of_different_sizes_fit_into_the_smallest(self, tmp_path: Path) -> None:
        sides = [(40 + 4 * (index % 4), 72 - 4 * (index % 5)) for index in range(14)]
        images = prepared(tmp_path, [scene(*side) for side in sides])
        for step in range(4):
            height, width = draw_batch(images, replace(ANYWHERE, crop=256), step).reference.shape[1:]
            assert height % STRIDE == width % STRIDE == 0
            assert min(rows for rows, _ in sides) <= height <= max(rows for rows, _ in sides)
            assert min(columns for _, columns in sides) <= width <= max(columns for _, columns in sides)

    def test_the_smallest_image_seldom_decides_what_is_cut(self, tmp_path: Path) -> None:
        images = prepared(tmp_path, [scene(32, 32), *[scene()] * 29])
        shapes = [draw_batch(images, replace(ANYWHERE, crop=64), step).reference.shape[1:] for step in range(30)]
        assert shapes.count((64, 64)) >= 25

    def test_a_small_image_is_learned_from_too(self, tmp_path: Path) -> None:
        images = prepared(tmp_path, [scene(32, 32), *[scene()] * 9])
        shapes = {draw_batch(images, replace(ANYWHERE, crop=64), step).reference.shape[1:] for step in range(30)}
        assert shapes == {(32, 32), (64, 64)}

    @pytest.mark.parametrize("side", [64, 80, 84, 96])
    def test_aligned_crops_reach_every_edge_alike(self, tmp_path: Path, side: int) -> None:
        images = prepared(tmp_path, [scene()[:side, :side]] * 2)
        tops = []
        for step in range(60):
            batch = draw_batch(images, replace(ALIGNED, crop=48), step)
            tops.append(place(batch.reference[0])[0])
        assert max(tops) + batch.reference.shape[1] == side
        share = 1 / (max(tops) // BoundedNetwork.COARSEST + 1)
        assert tops.count(0) / 60 == pytest.approx(share, abs=0.2)
        assert tops.count(max(tops)) / 60 == pytest.approx(share, abs=0.2)

    def test_images_smaller_than_the_crop_are_used_whole(self, scenes: PreparedImages) -> None:
        for settings in (ALIGNED, ANYWHERE):
            assert draw_batch(scenes, replace(settings, crop=256), step=0).reference.shape[1:] == (96, 96)

    def test_crops_are_no_larger_than_asked_for(self, scenes: PreparedImages, settings: NearestSettings) -> None:
        assert draw_batch(scenes, replace(settings, crop=50), step=0).reference.shape[1:] == (48, 48)

    @pytest.mark.parametrize("n_images", [2, 5])
    def test_fewer_images_than_a_step_needs_are_used_again(
        self, tmp_path: Path, settings: NearestSettings, n_images: int
    ) -> None:
        batch = draw_batch(prepared(tmp_path, [scene()] * n_images), settings, step=0)
        assert (len(batch.reference), len(batch.defective)) == (settings.n_reference, settings.n_defective)


class TestLargeCrops:
    SIDES = (256, 320, 384, 512)

    @pytest.mark.parametrize("side", SIDES)
    def test_are_as_much_work_a_step(self, side: int) -> None:
        usual, large = NearestSettings(aligned=False), NearestSettings(aligned=False).for_crops_of(side, side)
        pixels = (large.n_reference + large.n_defective) * side**2
        assert pixels == pytest.approx((usual.n_reference + usual.n_defective) * 256**2, rel=0.1)

    @pytest.mark.parametrize("side", SIDES)
    def test_have_as_many_defects_a_step(self, side: int) -> None:
        usual, large = NearestSettings(aligned=False), NearestSettings(aligned=False).for_crops_of(side, side)
        assert large.n_defective * large.most_defects == pytest.approx(usual.n_defective * usual.most_defects, rel=0.15)

    def test_leave_at_least_one_image_of_each_sort(self) -> None:
        vast = NearestSettings(aligned=False).for_crops_of(4096, 4096)
        assert min(vast.n_reference, vast.n_defective) == 1

    @pytest.mark.parametrize("shape", [(256, 256), (16, 64), (128, 512)])
    def test_usual_ones_and_smaller_ones_are_as_the_settings_say(self, shape: tuple[int, int]) -> None:
        usual = NearestSettings(aligned=False)
        assert usual.for_crops_of(*shape) == usual

    def test_are_drawn_so(self, tmp_path: Path) -> None:
        images = prepared(tmp_path, [np.full((384, 448), 0.5, np.float32)] * 13)
        settings = NearestSettings.of(Reference.CATEGORY, 0.0, seed=0)
        large = settings.for_crops_of(384, 384)
        batch = draw_batch(images, settings, step=0)
        assert batch.reference.shape == (large.n_reference, 384, 384)
        assert batch.defective.shape == (large.n_defective, 384, 384)

    def test_are_for_what_is_compared_anywhere(self) -> None:
        anywhere, aligned = (NearestSettings.of(kind, 0.4, seed=0) for kind in (Reference.CATEGORY, Reference.LOCATION))
        assert anywhere.crop > aligned.crop


def test_the_more_the_mean_explains_the_more_is_learned_from_other_places() -> None:
    shares = [NearestSettings.of(Reference.LOCATION, explained, seed=0).elsewhere for explained in (0.0, 0.3, 0.5, 1.0)]
    assert shares[:3] == [0.0, 0.3, 0.5]
    assert 0.5 < shares[3] < 1  # drawn defects are needed too


@pytest.mark.parametrize(
    ("reference", "explained", "near"),
    [
        (Reference.LOCATION, 0.4, False),
        (Reference.LOCATION, 0.6, True),
        (Reference.CATEGORY, 0.6, False),
    ],
)
def test_only_where_a_place_says_most_of_what_belongs_there_the_sight_is_near(
    reference: Reference, explained: float, near: bool
) -> None:
    assert NearestSettings.of(reference, explained, seed=0).near is near


def test_nothing_is_learned_from_other_places_where_places_mean_nothing() -> None:
    assert NearestSettings.of(Reference.CATEGORY, 0.9, seed=0).elsewhere == 0


def some_defects() -> np.ndarray:
    """Two images of 12 x 15 cells with four defects: one pixel, a crack, a blot on a border, a blot inside."""
    defects = np.zeros((2, 12 * STRIDE, 15 * STRIDE), dtype=np.int32)
    defects[0, 5, 6] = 1
    np.fill_diagonal(defects[0, 20:40, 20:40], 2)
    defects[1, :7, 30:] = 3
    defects[1, 30:41, 9:22] = 4
    return defects


def cells_of(defects: np.ndarray) -> np.ndarray:
    """Number cells by the defects that touch them, by looking at each pixel."""
    N, H, W = defects.shape
    cells = np.zeros((N, H // STRIDE, W // STRIDE), dtype=int)
    for n, y, x in zip(*np.nonzero(defects), strict=True):
        cells[n, y // STRIDE, x // STRIDE] = max(cells[n, y // STRIDE, x // STRIDE], defects[n, y, x])
    return cells


class TestZones:
    COUNTED = np.kron(np.array([[0, 1], [1, 1]], dtype=np.float32), np.ones((12, 12), dtype=np.float32))  # of 96 x 96

    def test_are_cut_with_the_images(self, scenes: PreparedImages) -> None:
        for step in range(4):
            batch = draw_batch(scenes, ALIGNED, step, self.COUNTED)
            top, left = (start // STRIDE for start in place(batch.reference[0]))
            h, w = (side // STRIDE for side in batch.reference.shape[1:])
            assert batch.counted is not None
            assert (batch.counted == self.COUNTED[top : top + h, left : left + w]).all()

    def test_do_not_change_what_is_drawn_where_defects_lie_outside(self, scenes: PreparedImages) -> None:
        plain, zoned = draw_batch(scenes, ALIGNED, 3), draw_batch(scenes, ALIGNED, 3, self.COUNTED)
        assert (plain.defective == zoned.defective).all()

    def test_leave_a_defect_in_every_batch_however_small_the_rest(self, scenes: PreparedImages) -> None:
        little = np.zeros((24, 24), dtype=np.float32)
        little[12, 12] = 1
        for step in range(3):
            batch = draw_batch(scenes, ALIGNED, step, little)
            assert batch.counted is not None
            assert locations(batch.defects, 2, batch.counted)[1].any()

    def test_are_cut_where_they_leave_something(self, scenes: PreparedImages, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nearest, "_shows_a_defect", lambda batch: True)  # the first draw is taken
        corner = np.zeros((24, 24), dtype=np.float32)
        corner[-2:, -2:] = 1
        for step in range(4):
            batch = draw_batch(scenes, ALIGNED, step, corner)
            assert batch.counted is not None
            assert batch.counted.any()

    def test_that_leave_nothing_are_refused(self, scenes: PreparedImages, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nearest, "_MOST_DRAWS", 2)
        with pytest.raises(SettingError, match="ignored zones"):
            draw_batch(scenes, ALIGNED, 0, np.zeros((24, 24), dtype=np.float32))

    def test_have_no_part_in_negatives_of_other_places(self) -> None:
        images = torch.zeros(2, 3, 8, 8)
        images[:, 0] = 1
        images[:, :, :, :4] = torch.tensor([0.0, 5.0, 0.0])[:, None, None]  # the ignored half
        counted = np.ones((8, 8), dtype=np.float32)
        counted[:, :4] = 0
        reference = torch.zeros(1, 3, 8, 8)
        assert elsewhere_distance(images, reference, 200, generator(), counted).tolist() == pytest.approx([1] * 200)


class TestLocations:
    def test_a_cell_is_defective_when_any_of_its_pixels_is(self) -> None:
        defective = locations(some_defects(), margin=2)[1].numpy()
        assert ((defective > 0) == (cells_of(some_defects()) > 0)).all()

    def test_every_defect_weighs_the_same(self) -> None:
        defective, cells = locations(some_defects(), margin=2)[1].numpy(), cells_of(some_defects())
        assert [defective[cells == number].sum() for number in (1, 2, 3, 4)] == pytest.approx([1, 1, 1, 1])

    def test_all_cells_of_a_defect_weigh_the_same(self) -> None:
        defective, cells = locations(some_defects(), margin=2)[1].numpy(), cells_of(some_defects())
        assert all(np.ptp(defective[cells == number]) == 0 for number in (1, 2, 3, 4))

    @pytest.mark.parametrize("margin", [0, 1, 2, 4])
    def test_clean_cells_keep_the_margin(self, margin: int) -> None:
        clean, cells = locations(some_defects(), margin)[0].numpy(), cells_of(some_defects())
        expected = np.ones(cells.shape)
        for n, y, x in zip(*np.nonzero(cells), strict=True):
            expected[n, max(y - margin, 0) : y + margin + 1, max(x - margin, 0) : x + margin + 1] = 0
        assert (clean == expected).all()

    def test_there_are_clean_cells_even_among_nothing_but_defects(self) -> None:
        clean, defective = locations(np.ones((2, 8 * STRIDE, 8 * STRIDE), dtype=np.int32), margin=2)
        assert clean.sum() > 0
        assert defective.sum() > 0

    def test_ignored_cells_are_neither_clean_nor_defective(self) -> None:
        cells = cells_of(some_defects())
        counted = np.ones(cells.shape[1:], dtype=np.float32)
        counted[:, : counted.shape[1] // 2] = 0
        clean, defective = (weights.numpy() for weights in locations(some_defects(), margin=2, counted=counted))
        everywhere = locations(some_defects(), margin=2)[0].numpy()
        assert (clean == everywhere * counted).all()
        assert ((defective > 0) == (cells * counted > 0)).all()
        seen = np.unique(cells[cells * counted > 0])
        assert [defective[cells == number].sum() for number in seen] == pytest.approx([1] * len(seen))

    def test_large_numbers_stay_apart(self) -> None:
        defects = np.zeros((1, STRIDE, 2 * STRIDE), dtype=np.int32)
        defects[0, 0, 0], defects[0, 0, -1] = 100_000, 100_001
        assert locations(defects, margin=0)[1].flatten().tolist() == [1, 1]


def slow_nearest_anywhere(images: np.ndarray, where: list[int], bank: np.ndarray) -> list[float]:
    N, _, h, w = images.shape
    found = []
    for index in where:
        n, y, x = np.unravel_index(index, (N, h, w))
        found.append(min(float(np.linalg.norm(images[n, :, y, x] - kept)) for kept in bank))
    return found


def slow_nearest_here(images: np.ndarray, where: list[int], reference: np.ndarray) -> list[float]:
    N, _, h, w = images.shape
    found = []
    for index in where:
        n, y, x = (int(i) for i in np.unravel_index(index, (N, h, w)))
        around = [
            reference[r, :, i, j]
            for r in range(len(reference))
            for i in range(max(y - SHIFT, 0), min(y + SHIFT + 1, h))
            for j in range(max(x - SHIFT, 0), min(x + SHIFT + 1, w))
        ]
        found.append(min(float(np.linalg.norm(images[n, :, y, x] - kept)) for kept in around))
    return found


class TestNearestDistance:
    @pytest.mark.parametrize("at_once", [4096, 7])
    def test_to_a_bank_is_the_distance_to_its_nearest(self, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
        monkeypatch.setattr(nearest, "_CELLS_AT_ONCE", at_once)
        images, bank = embeddings(2, 8, 3, 5), embeddings(20, 8, seed=1)
        expected = slow_nearest_anywhere(images.numpy(), list(range(30)), bank.numpy())
        assert nearest_distance(images, torch.arange(30), bank).tolist() == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("at_once", [4096, 7])
    @pytest.mark.parametrize("cells", [(4, 5), (1, 1), (1, 3), (3, 1)], ids=str)
    def test_to_aligned_references_is_the_distance_to_the_nearest_nearby(
        self, monkeypatch: pytest.MonkeyPatch, cells: tuple[int, int], at_once: int
    ) -> None:
        monkeypatch.setattr(nearest, "_CELLS_AT_ONCE", at_once)
        images, reference = embeddings(2, 8, *cells), embeddings(3, 8, *cells, seed=1)
        where = list(range(2 * cells[0] * cells[1]))  # so borders and corners too
        expected = slow_nearest_here(images.numpy(), where, reference.numpy())
        assert nearest_distance(images, torch.tensor(where), reference).tolist() == pytest.approx(expected, abs=1e-5)

    def test_keeps_the_order_of_the_locations(self) -> None:
        images, reference = embeddings(2, 8, 4, 5), embeddings(3, 8, 4, 5, seed=1)
        where = torch.randint(40, (60,), generator=generator())
        assert torch.equal(
            nearest_distance(images, where, reference), nearest_distance(images, torch.arange(40), reference)[where]
        )

    @pytest.mark.parametrize("references", [embeddings(3, 8, 4, 5, seed=1), embeddings(20, 8, seed=1)], ids=["R", "k"])
    def test_teaches_the_chosen_locations_and_only_those(self, references: torch.Tensor) -> None:
        images = embeddings(2, 8, 4, 5).requires_grad_()
        nearest_distance(images, torch.tensor([7, 23]), references).sum().backward()
        assert images.grad is not None
        taught = images.grad.abs().sum(dim=1).flatten().nonzero().flatten()
        assert taught.tolist() == [7, 23]

    @pytest.mark.parametrize("references", [embeddings(3, 8, 4, 5, seed=1), embeddings(20, 8, seed=1)], ids=["R", "k"])
    def test_teaches_one_embedding_of_the_reference_set_for_each(self, references: torch.Tensor) -> None:
        references = references.clone().requires_grad_()
        nearest_distance(embeddings(2, 8, 4, 5), torch.tensor([7]), references).sum().backward()
        assert references.grad is not None
        assert int((references.grad.abs().sum(dim=1) > 0).sum()) == 1


def encoding_their_place(n: int, h: int, w: int) -> torch.Tensor:
    """Make ``(n, 2, h, w)``: each embedding is its own row and column."""
    rows, columns = torch.meshgrid(torch.arange(float(h)), torch.arange(float(w)), indexing="ij")
    return torch.stack([rows, columns]).expand(n, -1, -1, -1)


SMALL_MAPS = [(h, w) for h in (2, 3, 4) for w in (2, 3, 4)] + [(2, 20), (20, 3), (1, 5), (7, 1)]


class TestElsewhere:
    @pytest.mark.parametrize("cells", [*SMALL_MAPS, (16, 16), (13, 30)], ids=str)
    def test_is_never_the_same_place(self, cells: tuple[int, int]) -> None:
        places = encoding_their_place(3, *cells)
        assert elsewhere_distance(places, places[:1], 500, generator()).min() >= 1

    @pytest.mark.parametrize("cells", [(16, 16), (13, 30), (12, 12)], ids=str)
    def test_is_surely_another_place_on_larger_maps(self, cells: tuple[int, int]) -> None:
        places = encoding_their_place(3, *cells)
        assert elsewhere_distance(places, places[:1], 500, generator()).min() >= nearest._FAR

    def test_looks_at_every_place(self) -> None:
        images = encoding_their_place(2, 13, 14).clone().requires_grad_()
        elsewhere_distance(images, encoding_their_place(1, 13, 14), 4000, generator()).sum().backward()
        assert images.grad is not None
        assert (images.grad.abs().sum(dim=1) > 0).all()

    def test_is_the_distance_to_the_nearest_of_the_reference_images(self) -> None:
        images, reference = embeddings(2, 8, 14, 14), embeddings(4, 8, 14, 14, seed=1)
        together = elsewhere_distance(images, reference, 200, generator())
        apart = torch.stack([elsewhere_distance(images, one[None], 200, generator()) for one in reference])
        torch.testing.assert_close(together, apart.amin(dim=0))

    def test_teaches_both_sides(self) -> None:
        images, reference = embeddings(2, 8, 14, 14).requires_grad_(), embeddings(4, 8, 14, 14, seed=1).requires_grad_()
        elsewhere_distance(images, reference, 200, generator()).sum().backward()
        for side in (images, reference):
            assert side.grad is not None
            assert side.grad.abs().sum() > 0


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


N_STEPS = 3  # of a whole run
MakeLearner = Callable[..., NearestTriplets]


@pytest.fixture(scope="module", params=[True, False], ids=["aligned", "anywhere"])
def make(request: pytest.FixtureRequest, scenes: PreparedImages) -> MakeLearner:
    def make(seed: int = 0) -> NearestTriplets:
        settings = NearestSettings(aligned=request.param, seed=seed, crop=32, triplets=256, clean=512)
        return NearestTriplets(scenes, settings)

    return make


@pytest.fixture(scope="module")
def whole(make: MakeLearner) -> NearestTriplets:
    """A run without interruption."""
    learner = make()
    train(learner, n_steps=N_STEPS)
    return learner


class TestLearner:
    def test_same_seed_same_weights(self, make: MakeLearner, whole: NearestTriplets) -> None:
        again = make()
        train(again, n_steps=N_STEPS)
        assert same(again.network, whole.network)

    def test_another_seed_gives_other_weights(self, make: MakeLearner, whole: NearestTriplets) -> None:
        other = make(seed=1)
        train(other, n_steps=N_STEPS)
        assert not same(other.network, whole.network)

    def test_an_interrupted_run_resumes_to_the_same_weights(
        self, make: MakeLearner, whole: NearestTriplets, tmp_path: Path
    ) -> None:
        part, rest = make(), make()
        train(part, n_steps=N_STEPS, checkpoint_path=tmp_path / "run", progress=StopAfter(1))
        assert not same(part.network, whole.network)
        summary = train(rest, n_steps=N_STEPS, checkpoint_path=tmp_path / "run")
        assert summary.steps == N_STEPS
        assert same(rest.network, whole.network)

    def test_a_killed_run_resumes_to_the_same_weights(
        self,
        make: MakeLearner,
        whole: NearestTriplets,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("blemish.learning.training._CHECKPOINT_EVERY_S", 0.0)
        rest = make()
        with pytest.raises(SystemExit):
            train(make(), n_steps=N_STEPS, checkpoint_path=tmp_path / "run", progress=StopAfter(2, SystemExit))
        train(rest, n_steps=N_STEPS, checkpoint_path=tmp_path / "run")
        assert same(rest.network, whole.network)

    def test_the_generators_of_others_are_left_alone(self, make: MakeLearner) -> None:
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
        train(make(), n_steps=1)
        assert torch.equal(torch_state, torch.get_rng_state())
        assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002

    def test_the_key_of_a_run_names_every_setting(self, make: MakeLearner) -> None:
        assert make(seed=5).key["seed"] == 5
        assert set(NearestSettings.__dataclass_fields__) <= set(make().key)

    def test_the_learning_rate_rises_and_then_falls(self, make: MakeLearner) -> None:
        learner = make()
        rates = [learner.learning_rate(step, 200) for step in range(200)]
        top = int(np.argmax(rates))
        assert 0 < top < 100
        assert np.diff(rates[: top + 1]).min() > 0
        assert np.diff(rates[top:]).max() < 0

    def test_the_learning_rate_of_the_first_tenth_knows_nothing_of_the_end(self, make: MakeLearner) -> None:
        learner = make()
        for n_steps in (10, 200, 999):
            early = range(n_steps // 10 + 1)
            assert [learner.learning_rate(step, n_steps) for step in early] == [
                learner.learning_rate(step, 2**62) for step in early
            ]

    def test_the_learning_rate_never_exceeds_that_of_the_settings(self, make: MakeLearner) -> None:
        learner, highest = make(), NearestSettings(aligned=True).learning_rate
        assert max(learner.learning_rate(step, 50) for step in range(50)) <= highest


@pytest.mark.parametrize("gpu", [None, "native", "emulated"])
@pytest.mark.parametrize("processor", [True, False])
def test_bfloat16_is_for_what_multiplies_it_natively(
    gpu: str | None, processor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return gpu == "native" or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: processor, raising=False)
    assert multiplies_bfloat16_fast() is (processor if gpu is None else gpu == "native")


def test_learns_to_tell_defects_from_a_texture(textures: PreparedImages) -> None:
    learner = NearestTriplets(textures, NearestSettings(aligned=False, crop=64))
    train(learner, n_steps=80)
    learner.network.train()  # as the loss is measured in training
    with torch.no_grad():
        unseen = [learner.loss(step, torch.device("cpu"))[0].item() for step in range(100, 106)]
    assert np.mean(unseen) < 0.35


def test_a_small_training_finds_scratches_that_random_weights_do_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    surface = SURFACES["brushed_metal"](rng)
    for part, count in (("train/good", 16), ("test/good", 12), ("test/scratch", 12)):
        for index in range(count):
            image = draw_surface(surface, rng, 128, 128)
            if part == "test/scratch":
                image, _ = FLAWS["scratch"](image, rng)
            write_image(tmp_path / part / f"{index:02}.png", image)
    begun, trained = (
        evaluate(fit(tmp_path, steps=steps, alpha=0.2, from_scratch=True), tmp_path).types[-1].auroc
        for steps in (1, 80)
    )
    assert begun < 0.85
    assert trained >= 0.95


@pytest.fixture(scope="module", params=[NEAR, WIDE], ids=["near", "wide"])
def sight(request: pytest.FixtureRequest) -> Sight:
    found: Sight = request.param
    return found


@pytest.fixture(scope="module")
def network(sight: Sight) -> BoundedNetwork:
    return BoundedNetwork(generator(3), sight).eval()


def noise(height: int, width: int, n: int = 1) -> torch.Tensor:
    return torch.rand(n, 1, height, width, generator=generator(1))


def embed(network: BoundedNetwork, pixels: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = network(pixels)
    return found


REACH = WIDE.view // 2  # pixels that a cell sees on either side of its centre, give or take a coarse cell
BORDER = (REACH + BoundedNetwork.COARSEST) // STRIDE  # cells at a border that see beyond it


class TestBoundedNetwork:
    @pytest.mark.parametrize(("height", "width"), [(4, 4), (64, 64), (40, 100), (4, 60)])
    def test_every_four_pixels_have_a_cell(self, network: BoundedNetwork, height: int, width: int) -> None:
        assert embed(network, noise(height, width)).shape[2:] == (height // STRIDE, width // STRIDE)

    @pytest.mark.parametrize("pixels", [noise(64, 80, 2), torch.ones(1, 1, 64, 64)], ids=["noise", "white"])
    def test_embeddings_have_one_length(self, network: BoundedNetwork, pixels: torch.Tensor) -> None:
        lengths = embed(network, pixels).norm(dim=1)
        torch.testing.assert_close(lengths, torch.full_like(lengths, RADIUS))

    def test_embeddings_have_one_length_in_training_too(self, sight: Sight) -> None:
        lengths = BoundedNetwork(generator(), sight).train()(noise(32, 32, 4)).norm(dim=1)
        torch.testing.assert_close(lengths, torch.full_like(lengths, RADIUS))

    def test_distances_are_at_most_twice_that_length(self, network: BoundedNetwork) -> None:
        cells = embed(network, noise(64, 80, 2)).permute(0, 2, 3, 1).flatten(0, 2)
        assert torch.cdist(cells, cells).max() <= 2 * RADIUS + 1e-4

    def test_images_of_a_batch_do_not_know_each_other(self, network: BoundedNetwork) -> None:
        pixels = noise(40, 48, 3)
        alone = torch.cat([embed(network, one[None]) for one in pixels])
        torch.testing.assert_close(embed(network, pixels), alone, atol=1e-5, rtol=1e-5)

    def test_moves_with_the_image(self, network: BoundedNetwork) -> None:
        step, side = BoundedNetwork.COARSEST, 20 * BoundedNetwork.COARSEST
        pixels = noise(side + step, side + step)
        here, moved = embed(network, pixels[..., :side, :side]), embed(network, pixels[..., step:, step:])
        cells = step // STRIDE
        h = side // STRIDE
        inside, before = slice(BORDER, h - BORDER - cells), slice(BORDER + cells, h - BORDER)
        torch.testing.assert_close(moved[..., inside, inside], here[..., before, before], atol=1e-5, rtol=1e-5)

    def seen(self, network: BoundedNetwork, axis: int) -> tuple[int, int]:
        """Return from where to where a cell sees, in pixels from its centre, by changing one line at a time."""
        n_cells = 2 * BORDER + 5
        middle = n_cells // 2
        pixels = noise(STRIDE * n_cells, STRIDE * n_cells)
        centre = STRIDE * middle + STRIDE // 2
        before = embed(network, pixels)[..., middle, middle]

        def is_seen(line: int) -> bool:
            changed = pixels.clone()
            changed.select(axis, line).add_(100)
            return not torch.equal(embed(network, changed)[..., middle, middle], before)

        lines = [line for line in range(STRIDE * n_cells) if is_seen(line)]
        return lines[0] - centre, lines[-1] + 1 - centre

    @pytest.mark.parametrize("axis", [2, 3], ids=["rows", "columns"])
    def test_a_cell_sees_what_it_says(self, network: BoundedNetwork, axis: int) -> None:
        first, last = self.seen(network, axis)
        assert last - first == network.view
        assert first > -REACH - BoundedNetwork.COARSEST

    def test_same_seed_same_weights(self, sight: Sight) -> None:
        assert same(BoundedNetwork(generator(7), sight), BoundedNetwork(generator(7), sight))

    def test_weights_survive_the_way_through_arrays(self, sight: Sight) -> None:
        trained = BoundedNetwork(generator(7), sight)
        trained.train()(noise(32, 32, 4))  # batch normalisation has something to remember
        assert same(bounded_network(weights_to_arrays(trained)), trained)

    def test_a_rebuilt_network_is_ready_to_inspect(self, sight: Sight) -> None:
        assert not bounded_network(weights_to_arrays(BoundedNetwork(generator(), sight))).training

    def test_both_sights_are_small(self, sight: Sight) -> None:
        assert sum(parameter.numel() for parameter in BoundedNetwork(generator(), sight).parameters()) < 300_000

    def test_weights_can_be_put_into_another_network(self) -> None:
        first, second = BoundedNetwork(generator(1), WIDE), BoundedNetwork(generator(2), WIDE)
        weights_from_arrays(second, weights_to_arrays(first))
        assert same(first, second)
