"""Known defects in training: where they are cut, how large their share is, what is refused, who remembers them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blemish.datasets import content_hash
from blemish.detection.detector import Detector
from blemish.detection.preparation import Preparation
from blemish.errors import DatasetError, SettingError, TrainingError
from blemish.evaluation.evaluate import evaluate
from blemish.evaluation.limits import choose_limit
from blemish.images import write_image
from blemish.learning import nearest
from blemish.learning.fit import fit
from blemish.learning.known import KnownDefects, marked_images
from blemish.learning.nearest import NearestSettings, NearestTriplets, PreparedImages, draw_batch
from blemish.learning.network import WIDE, BoundedNetwork
from blemish.learning.training import train
from stop_after import StopAfter

STRIDE = BoundedNetwork.STRIDE
AS_IT_IS = Preparation(None, None, 1.0, 0.0, 1.0, STRIDE, WIDE.view, STRIDE, STRIDE / 2)
SHAPES = [(96, 96), (64, 112), (120, 80)]
Draw = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def full_precision() -> Iterator[None]:
    """Leave mixed precision out, which a trial of the machine's speed decides about."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nearest, "multiplies_bfloat16_fast", lambda: False)
        yield


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Write a picture of noise, or a mask with a marked square."""

    def draw(name: str, mask: bool = False, empty: bool = False, shape: tuple[int, int] = (48, 40)) -> Path:
        picture = np.random.default_rng(abs(hash(name)) % 2**32).random(shape, dtype=np.float32)
        marked = np.zeros(shape, dtype=bool)
        marked[10:20, 12:30] = not empty
        write_image(tmp_path / name, marked if mask else picture)
        return tmp_path / name

    return draw


def prepared(folder: Path, shapes: list[tuple[int, int]], seed: int) -> PreparedImages:
    rng = np.random.default_rng(seed)
    paths = [folder / f"{seed}-{index:02}.png" for index in range(len(shapes))]
    for path, shape in zip(paths, shapes, strict=True):
        write_image(path, 0.3 + 0.4 * rng.random(shape, dtype=np.float32))
    return PreparedImages(paths, AS_IT_IS)


def masks(shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Mark one pixel of the first, a corner of the second, all of the others."""
    marked = [np.zeros(shape, dtype=bool) for shape in shapes[:2]]
    marked += [np.ones(shape, dtype=bool) for shape in shapes[2:]]
    marked[0][70, 13] = True
    marked[1][-5:, -9:] = True
    return marked


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("known")


@pytest.fixture(scope="module")
def known(folder: Path) -> KnownDefects:
    return KnownDefects(prepared(folder, SHAPES, seed=1), masks(SHAPES))


@pytest.fixture(scope="module")
def scenes(folder: Path) -> PreparedImages:
    return prepared(folder, [(96, 96)] * 14, seed=2)


@pytest.fixture(scope="module")
def aligned_known(folder: Path) -> KnownDefects:
    return KnownDefects(prepared(folder, [(96, 96)] * 2, seed=3), masks([(96, 96)] * 2))


class TestMarkedImages:
    def test_are_those_with_a_mask_and_the_others_are_counted(self, draw: Draw, tmp_path: Path) -> None:
        with_mask = [draw("bad/0.png"), draw("bad/1.png")]
        draw("bad/0_mask.png", mask=True), draw("bad/1_mask.bmp", mask=True)
        draw("bad/2.png"), draw("bad/3.png"), draw("bad/3_mask.png", mask=True, empty=True)
        found = marked_images([tmp_path / "bad"], [draw("good/0.png")])
        assert [sample.path for sample in found.samples.values()] == with_mask
        assert list(found.samples) == [content_hash(path) for path in with_mask]
        assert found.n_unmarked == 2
        assert "2 others have no mask" in found.note()

    def test_copies_count_once_and_one_mask_is_enough(self, draw: Draw, tmp_path: Path) -> None:
        first, copy = draw("a/0.png"), tmp_path / "b" / "0.png"
        copy.parent.mkdir()
        copy.write_bytes(first.read_bytes())
        draw("b/0_mask.png", mask=True)
        found = marked_images([tmp_path / "a", tmp_path / "b", tmp_path / "b"], [])
        assert [sample.path for sample in found.samples.values()] == [copy]
        assert found.n_unmarked == 0

    def test_without_any_mask_the_remedies_are_named(self, draw: Draw, tmp_path: Path) -> None:
        draw("bad/0.png"), draw("bad/1.png"), draw("bad/1_mask.png", mask=True, empty=True)
        with pytest.raises(DatasetError, match=r"None of these 2 defective images has a mask.*expected.*calibrate"):
            marked_images([tmp_path / "bad"], [])

    def test_an_image_among_the_good_is_refused(self, draw: Draw, tmp_path: Path) -> None:
        bad, good = draw("bad/0.png"), tmp_path / "good.png"
        draw("bad/0_mask.png", mask=True)
        good.write_bytes(bad.read_bytes())
        with pytest.raises(DatasetError, match="are the same image"):
            marked_images([bad], [good])

    def test_a_mask_of_another_size_is_refused(self, draw: Draw) -> None:
        image = draw("bad/0.png")
        draw("bad/0_mask.png", mask=True, shape=(40, 48))
        with pytest.raises(DatasetError, match=r"has 40 x 48 pixels.*48 x 40; expected the same"):
            marked_images([image], [])


class TestKnownDefects:
    @pytest.mark.parametrize("size", [(8, 8), (48, 32), (64, 80)])
    def test_a_window_around_a_defect_holds_some_of_it(self, known: KnownDefects, size: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        for index in range(len(known)):
            for _ in range(20):
                top, left = known.around_a_defect(index, *size, rng)
                image, mask = known.cut(index, top, left, *size)
                assert image.shape == mask.shape == size
                assert mask.any()

    def test_windows_lie_anywhere_around_a_defect(self, known: KnownDefects) -> None:
        rng = np.random.default_rng(0)
        corners = np.array([known.around_a_defect(0, 16, 16, rng) for _ in range(400)])
        assert (corners.min(axis=0) == [55, 0]).all()  # the pixel is at (70, 13)
        assert (corners.max(axis=0) == [70, 13]).all()

    def test_keeps_the_masks(self, known: KnownDefects) -> None:
        for index, mask in enumerate(masks(SHAPES)):
            assert (known.cut(index, 0, 0, *mask.shape)[1] == mask).all()

    def test_another_mask_is_another_set(self, folder: Path, aligned_known: KnownDefects) -> None:
        images = prepared(folder, [(96, 96)] * 2, seed=3)
        same, other = masks([(96, 96)] * 2), masks([(96, 96)] * 2)
        other[0][71, 13] = True
        assert KnownDefects(images, same).digest == aligned_known.digest
        assert KnownDefects(images, other).digest != aligned_known.digest

    def test_a_thin_defect_survives_shrinking(self) -> None:
        mask = np.zeros((400, 400), dtype=bool)
        mask[200, 100:300] = True
        assert replace(AS_IT_IS, scale=0.1).touched(mask, 400, 400).sum() >= 20


class TestBatches:
    def test_known_defects_come_last_and_have_numbers_of_their_own(
        self, scenes: PreparedImages, known: KnownDefects
    ) -> None:
        settings = NearestSettings(aligned=False, crop=48)
        for step in range(4):
            batch = draw_batch(scenes, settings, step, known=known)
            assert (len(batch.defective), batch.n_known) == (settings.n_defective + settings.n_known, settings.n_known)
            numbers = [set(np.unique(label)) - {0} for label in batch.defects]
            assert all(len(each) == 1 for each in numbers[settings.n_defective :])
            assert sum(map(len, numbers)) == len(set().union(*numbers))

    def test_all_are_as_large_as_the_smallest_allows(self, scenes: PreparedImages, folder: Path) -> None:
        small = KnownDefects(prepared(folder, [(40, 60)], seed=4), [np.ones((40, 60), dtype=bool)])
        batch = draw_batch(scenes, NearestSettings(aligned=False, crop=48), 0, known=small)
        assert batch.reference.shape[1:] == batch.defective.shape[1:] == (40, 48)

    def test_a_small_one_beside_large_ones_makes_no_crop_smaller(self, scenes: PreparedImages, folder: Path) -> None:
        shapes = [(40, 60), (96, 96), (60, 40)]
        some = KnownDefects(prepared(folder, shapes, seed=6), [np.ones(shape, dtype=bool) for shape in shapes])
        for step in range(6):
            batch = draw_batch(scenes, NearestSettings(aligned=False, crop=48), step, known=some)
            assert batch.defective.shape[1:] == (48, 48)
            assert (batch.defects[-batch.n_known :] > 0).all()

    def test_a_small_one_is_shown_with_small_good_images(self, folder: Path) -> None:
        good, shapes = prepared(folder, [(40, 40)] * 13, seed=7), [(40, 60), (96, 96)]
        marks = [np.ones((40, 60), dtype=bool), np.zeros((96, 96), dtype=bool)]
        marks[1][50, 50] = True
        some = KnownDefects(prepared(folder, shapes, seed=8), marks)
        batches = [draw_batch(good, NearestSettings(aligned=False, crop=48), step, known=some) for step in range(6)]
        labels = [label for batch in batches for label in batch.defects[-batch.n_known :]]
        assert {bool((label > 0).all()) for label in labels} == {True, False}

    def test_small_ones_leave_as_many_images_in_a_step(self, folder: Path) -> None:
        large = prepared(folder, [(384, 384)] * 13, seed=4)
        small = KnownDefects(prepared(folder, [(40, 60)], seed=4), [np.ones((40, 60), dtype=bool)])
        settings = NearestSettings(aligned=False, crop=384)
        batch = draw_batch(large, settings, 0, known=small)
        assert (len(batch.reference), batch.n_known) == (settings.n_reference, settings.n_known)

    def test_are_as_many_where_crops_are_large(self, folder: Path) -> None:
        large = prepared(folder, [(384, 384)] * 13, seed=4)
        known = KnownDefects(prepared(folder, [(400, 384)], seed=5), [np.ones((400, 384), dtype=bool)])
        settings = NearestSettings(aligned=False, crop=384)
        batch = draw_batch(large, settings, 0, known=known)
        assert batch.n_known == settings.n_known
        assert len(batch.defective) == settings.for_crops_of(384, 384).n_defective + settings.n_known

    def test_aligned_images_are_all_cut_at_one_place(self, scenes: PreparedImages, aligned_known: KnownDefects) -> None:
        settings = NearestSettings(aligned=True, crop=64)
        whole, shown = masks([(96, 96)] * 2), 0
        windows = [mask[t : t + 64, c : c + 64] for mask in whole for t in (0, 16, 32) for c in (0, 16, 32)]
        for step in range(6):
            batch = draw_batch(scenes, settings, step, known=aligned_known)
            for label in batch.defects[-batch.n_known :]:
                assert any(((label > 0) == window).all() for window in windows)
                shown += label.any()
        assert shown

    def test_the_same_step_is_the_same_batch(self, scenes: PreparedImages, known: KnownDefects) -> None:
        settings = NearestSettings(aligned=False, crop=48)
        first, again = (draw_batch(scenes, settings, 3, known=known) for _ in range(2))
        assert (first.defective == again.defective).all()
        assert (first.defects == again.defects).all()


class TestShare:
    WEIGHTS = torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(0))

    def drawn(self, weights: torch.Tensor, share: float, n: int = 400) -> np.ndarray:
        found = nearest._draw_negatives(weights, 2, n, share, torch.Generator().manual_seed(1))
        assert len(found) == n
        assert (weights.flatten()[found] > 0).all()
        return found.numpy() // 20  # image of each

    @pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
    def test_of_known_defects_is_as_asked_for(self, share: float) -> None:
        assert (self.drawn(self.WEIGHTS, share) >= 4).sum() == 400 * share

    def test_is_left_to_drawn_defects_where_no_known_one_shows(self) -> None:
        weights = self.WEIGHTS.clone()
        weights[4:] = 0
        assert (self.drawn(weights, 0.5) < 4).all()

    def test_is_at_most_half(self) -> None:
        assert NearestSettings(aligned=True).known <= 0.5


N_STEPS = 3


@pytest.fixture
def make(scenes: PreparedImages, known: KnownDefects) -> Callable[..., NearestTriplets]:
    settings = NearestSettings(aligned=False, crop=32, triplets=256, clean=512)

    def make(with_known: bool = True) -> NearestTriplets:
        return NearestTriplets(scenes, settings, known=known if with_known else None)

    return make


class TestResume:
    def test_ends_with_the_same_weights(self, make: Callable[..., NearestTriplets], tmp_path: Path) -> None:
        whole, part, rest = make(), make(), make()
        train(whole, n_steps=N_STEPS)
        train(part, n_steps=N_STEPS, checkpoint_path=tmp_path / "run", progress=StopAfter(1))
        train(rest, n_steps=N_STEPS, checkpoint_path=tmp_path / "run")
        pairs = zip(whole.network.state_dict().values(), rest.network.state_dict().values(), strict=True)
        assert all(torch.equal(first, second) for first, second in pairs)

    def test_is_refused_without_them(self, make: Callable[..., NearestTriplets], tmp_path: Path) -> None:
        train(make(), n_steps=N_STEPS, checkpoint_path=tmp_path / "run", progress=StopAfter(1))
        with pytest.raises(TrainingError, match="other images or settings"):
            train(make(with_known=False), n_steps=N_STEPS, checkpoint_path=tmp_path / "run")


@pytest.fixture(scope="module")
def given(category_dir: Path) -> list[Path]:
    return sorted((category_dir / "test" / "stain").iterdir())[:3]


@pytest.fixture(scope="module")
def taught(category_dir: Path, given: list[Path]) -> Detector:
    return fit(category_dir, steps=3, alpha=0.2, defective=given)


class TestFit:
    def test_remembers_them(self, taught: Detector, given: list[Path]) -> None:
        about = taught.description
        assert about.taught == {content_hash(path) for path in given}
        assert about.taught < about.learned
        assert any("marked defects of 3 defective images" in note for note in about.notes)

    def test_evaluate_leaves_them_out(self, taught: Detector, category_dir: Path) -> None:
        found = evaluate(taught, category_dir)
        assert (found.types[-1].n_images, found.n_labelled, found.n_good) == (3, 3, 8)
        assert any("3 defective images were left out" in said for said in found.sentences())

    def test_they_set_no_limit(self, taught: Detector, category_dir: Path, given: list[Path]) -> None:
        good = sorted((category_dir / "test" / "good").iterdir())
        with pytest.raises(DatasetError, match="has learned from 1 of these"):
            taught.calibrate([*good, given[0]], alpha=0.2)
        with pytest.raises(DatasetError, match="learned from 3 of these 6 defective images"):
            choose_limit(taught, good, sorted((category_dir / "test" / "stain").iterdir()), alpha=0.2)

    def test_teach_something(self, taught: Detector, category_dir: Path) -> None:
        assert fit(category_dir, steps=3, alpha=0.2).model.graph != taught.model.graph

    def test_a_folder_will_do(self, category_dir: Path) -> None:
        assert len(fit(category_dir, steps=1, defective=category_dir / "test" / "stain").description.taught) == 6

    def test_the_papers_methods_take_none(self, category_dir: Path) -> None:
        with pytest.raises(SettingError, match="Found defective with method 'tayeh2020'"):
            fit(category_dir, method="tayeh2020", defective=category_dir)
