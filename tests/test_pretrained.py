"""The universal network in the package: as small as promised, honest about its origin, and what `fit` begins with."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from blemish import enroll, evaluate, fit
from blemish.errors import SettingError
from blemish.images import resize, write_image
from blemish.learning.network import NEAR, WIDE, BoundedNetwork, Sight, bounded_network
from blemish.learning.pretrained import universal_network


def test_weighs_at_most_a_megabyte() -> None:
    file = resources.files("blemish.learning").joinpath("universal.npz")
    assert len(file.read_bytes()) <= 1_000_000


def test_has_at_most_300_thousand_parameters() -> None:
    network = universal_network().network
    assert sum(parameter.numel() for parameter in network.parameters()) <= 300_000


def test_says_how_it_was_made() -> None:
    about = universal_network().about
    assert {"seed", "steps", "commit", "sha256"} <= set(about)


def test_every_caller_has_a_network_of_its_own() -> None:
    first, second = universal_network().network, universal_network().network
    with torch.no_grad():
        first.head.weight.zero_()
    assert second.head.weight.any()


def test_enroll_needs_no_other_model(category_dir: Path) -> None:
    enrolled = enroll(category_dir, alpha=0.2)
    pretrained = universal_network()
    state = pretrained.network.state_dict()
    assert all((state[name].numpy() == values).all() for name, values in enrolled.model.weights.items())
    assert enrolled.description.training["start"] == pretrained.about
    assert evaluate(enrolled, category_dir).types[-1].auroc > 0.9


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good images of a part that always lies in one place."""
    folder, rng = tmp_path_factory.mktemp("placed"), np.random.default_rng(0)
    part = resize(rng.random((12, 12), dtype=np.float32), 96, 96)
    for index in range(12):
        noise = rng.normal(0, 0.02, part.shape).astype(np.float32)
        write_image(folder / f"{index:02}.png", np.clip(part + noise, 0, 1))
    return folder


@pytest.mark.parametrize("from_scratch", [False, True])
@pytest.mark.parametrize(("folder", "sight"), [("category_dir", WIDE), ("placed", NEAR)], ids=["wide", "near"])
def test_fit_begins_with_it_unless_told_otherwise(
    folder: str, sight: Sight, from_scratch: bool, request: pytest.FixtureRequest
) -> None:
    fitted = fit(request.getfixturevalue(folder), steps=1, alpha=0.2, from_scratch=from_scratch)
    assert bounded_network(fitted.model.weights).view == sight.view
    begun = universal_network().network.state_dict()
    # The warm-up's first step moves a weight by at most a thirtieth of the learning rate, and a little for its decay.
    moved = max(abs(begun[name].numpy() - fitted.model.weights[name]).max() for name in ("head.weight", "down.weight"))
    assert (moved > 1e-3) == from_scratch
    assert (fitted.description.training["start"] is None) == from_scratch


def test_the_papers_methods_have_nothing_to_do_with_it(category_dir: Path) -> None:
    with pytest.raises(SettingError, match="from_scratch"):
        fit(category_dir, method="tayeh2020", from_scratch=True)


def test_it_has_the_wide_sight() -> None:
    shapes = {name: value.shape for name, value in BoundedNetwork(torch.Generator(), WIDE).state_dict().items()}
    assert {name: value.shape for name, value in universal_network().network.state_dict().items()} == shapes
