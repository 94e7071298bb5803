"""The learner of drawn kinds: pictures follow from the seed, whoever draws them, and a run can be redone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blemish.errors import SettingError, TrainingError
from blemish.learning import nearest
from blemish.learning.training import train
from blemish.learning.universal import (
    UniversalSettings,
    UniversalTriplets,
    draw_kind,
    draw_kinds,
    draw_stock,
    drawers,
)

SMALL = UniversalSettings(
    stock=12, n_pictures=5, drawn_side=80, n_kinds=2, side=64, n_reference=2, n_defective=3, triplets=64, clean=64
)


@pytest.fixture(scope="module", autouse=True)
def full_precision() -> Iterator[None]:
    """Leave mixed precision out, which a trial of the machine's speed decides about."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nearest, "multiplies_bfloat16_fast", lambda: False)
        yield


@pytest.fixture(scope="module")
def stock_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("universal") / "stock.npy"
    with ThreadPoolExecutor(1) as drawer:
        draw_stock(path, SMALL, drawer)
    return path


class TestStock:
    def test_holds_the_pictures_of_every_kind(self, stock_path: Path) -> None:
        stock = np.load(stock_path)
        assert (stock.shape, stock.dtype) == ((12, 5, 80, 80), np.uint8)
        assert all((stock[kind] == draw_kind(SMALL, kind)).all() for kind in (0, 11))

    def test_is_not_drawn_twice(self, stock_path: Path) -> None:
        before = stock_path.stat().st_mtime_ns
        with ThreadPoolExecutor(1) as drawer:
            draw_stock(stock_path, SMALL, drawer)
        assert stock_path.stat().st_mtime_ns == before

    def test_of_other_settings_is_refused(self, stock_path: Path) -> None:
        with ThreadPoolExecutor(1) as drawer, pytest.raises(TrainingError, match="Delete it"):
            draw_stock(stock_path, replace(SMALL, stock=13), drawer)

    def test_pictures_of_one_kind_are_more_alike_than_those_of_two(self, stock_path: Path) -> None:
        pictures = np.load(stock_path) / 255  # (kinds, n, H, W)
        spectra = np.log(np.abs(np.fft.rfft2(pictures - pictures.mean(axis=(2, 3), keepdims=True))) + 1)
        within = np.abs(spectra[:, 0] - spectra[:, 1]).mean()
        between = np.abs(spectra[:-1, 0] - spectra[1:, 1]).mean()
        assert within < 0.8 * between


class TestStep:
    def test_has_pictures_as_many_and_as_large_as_the_settings_say(self, stock_path: Path) -> None:
        kinds = draw_kinds(stock_path, SMALL, step=0)
        assert len(kinds) == 2
        for kind in kinds:
            assert kind.reference.shape == (2, 64, 64)
            assert kind.defective.shape == kind.defects.shape == (3, 64, 64)

    def test_has_pictures_of_float32_from_0_to_1(self, stock_path: Path) -> None:
        for kind in draw_kinds(stock_path, SMALL, step=1):
            for pictures in (kind.reference, kind.defective):
                assert pictures.dtype == np.float32
                assert 0 <= pictures.min() < pictures.max() <= 1

    def test_gives_every_picture_one_to_the_most_defects(self, stock_path: Path) -> None:
        for kind in draw_kinds(stock_path, SMALL, step=2):
            for labels in kind.defects:
                assert 1 <= len(set(labels[labels > 0].tolist())) <= SMALL.most_defects

    def test_depends_on_nothing_but_seed_and_step(self, stock_path: Path) -> None:
        first, again = draw_kinds(stock_path, SMALL, step=3), draw_kinds(stock_path, SMALL, step=3)
        for kind, same in zip(first, again, strict=True):
            assert (kind.defective == same.defective).all()
        for settings, step in ((SMALL, 4), (replace(SMALL, seed=1), 3)):
            assert (draw_kinds(stock_path, settings, step)[0].reference != first[0].reference).any()


def test_processes_draw_the_same_and_a_run_can_be_redone(stock_path: Path) -> None:
    weights = []
    for n_processes in (1, 2):
        with closing(UniversalTriplets(stock_path, SMALL, drawers(n_processes))) as learner:
            train(learner, n_steps=3)
        weights.append(list(learner.network.state_dict().values()))
    assert all(torch.equal(first, again) for first, again in zip(*weights, strict=True))


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"n_kinds": 0}, {"n_reference": 0}, {"n_pictures": 5}, {"drawn_side": 64}], ids=str
)
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="expected"):
        UniversalSettings(**wrong)  # type: ignore[arg-type]
