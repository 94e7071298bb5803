"""The learner of drawn kinds: pictures follow from the seed, whoever draws them, and a run can be redone."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from blemish.errors import SettingError
from blemish.learning import nearest
from blemish.learning.training import train
from blemish.learning.universal import UniversalSettings, UniversalTriplets, draw_kinds

SMALL = UniversalSettings(n_kinds=2, side=64, n_reference=2, n_defective=3, triplets=64)


@pytest.fixture(scope="module", autouse=True)
def full_precision() -> Iterator[None]:
    """Leave mixed precision out, which a trial of the machine's speed decides about."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nearest, "multiplies_bfloat16_fast", lambda: False)
        yield


class TestPictures:
    def test_are_as_many_and_as_large_as_the_settings_say(self) -> None:
        kinds = draw_kinds(SMALL, step=0)
        assert len(kinds) == 2
        for kind in kinds:
            assert kind.reference.shape == (2, 64, 64)
            assert kind.defective.shape == kind.defects.shape == (3, 64, 64)

    def test_are_float32_from_0_to_1(self) -> None:
        for kind in draw_kinds(SMALL, step=1):
            for pictures in (kind.reference, kind.defective):
                assert pictures.dtype == np.float32
                assert 0 <= pictures.min() < pictures.max() <= 1

    def test_have_one_to_the_most_defects_each(self) -> None:
        for kind in draw_kinds(SMALL, step=2):
            for labels in kind.defects:
                assert 1 <= len(set(labels[labels > 0].tolist())) <= SMALL.most_defects

    def test_depend_on_nothing_but_seed_and_step(self) -> None:
        first, again = draw_kinds(SMALL, step=3), draw_kinds(SMALL, step=3)
        for kind, same in zip(first, again, strict=True):
            assert (kind.defective == same.defective).all()
        for other in (draw_kinds(SMALL, step=4), draw_kinds(replace(SMALL, seed=1), step=3)):
            assert (other[0].reference != first[0].reference).any()

    def test_of_one_kind_are_more_alike_than_those_of_two(self) -> None:
        kinds = [kind.reference for step in range(6) for kind in draw_kinds(SMALL, step)]
        spectra = np.stack([np.log(np.abs(np.fft.rfft2(kind - kind.mean())) + 1) for kind in kinds])  # (K, 2, h, w)
        within = np.abs(spectra[:, 0] - spectra[:, 1]).mean()
        between = np.abs(spectra[:-1, 0] - spectra[1:, 1]).mean()
        assert within < 0.8 * between


def test_processes_draw_the_same_and_a_run_can_be_redone() -> None:
    weights = []
    for n_processes in (1, 2):
        with closing(UniversalTriplets(SMALL, n_processes)) as learner:
            train(learner, n_steps=3)
        weights.append(list(learner.network.state_dict().values()))
    assert all(torch.equal(first, again) for first, again in zip(*weights, strict=True))


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"n_kinds": 0}, {"n_reference": 0}, {"n_defective": 0}], ids=str)
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="expected"):
        UniversalSettings(**wrong)  # type: ignore[arg-type]
