"""The paper's network: its size, its shapes, that a patch equals its cell; and the near part of ours."""

import numpy as np
import pytest
import torch
from torch import nn

from blemish.errors import ModelFileError
from blemish.learning.network import (
    DIMENSION,
    PATCH_SIZE,
    STRIDE,
    WIDE,
    BoundedNetwork,
    ResidualBlock,
    Sight,
    TripletNetwork,
    bounded_network,
    near_part,
    triplet_network,
    weights_to_arrays,
)


@pytest.fixture(scope="module")
def network() -> TripletNetwork:
    return TripletNetwork(torch.Generator().manual_seed(3)).eval()


def test_has_the_papers_37280_parameters(network: TripletNetwork) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == 37_280


@pytest.mark.parametrize(("pixels", "cells"), [((64, 64), (1, 1)), ((1024, 1024), (481, 481)), ((70, 101), (4, 19))])
def test_maps_pixels_to_cells(network: TripletNetwork, pixels: tuple[int, int], cells: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, *pixels)).shape == (1, DIMENSION, *cells)


def test_a_patch_equals_its_cell(network: TripletNetwork) -> None:
    image = torch.rand(1, 1, 90, 84, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        embedding = network(image)
        for i, j in [(0, 0), (3, 7), (13, 10)]:
            y, x = STRIDE * i, STRIDE * j
            patch = network(image[..., y : y + PATCH_SIZE, x : x + PATCH_SIZE])[..., 0, 0]
            torch.testing.assert_close(embedding[..., i, j], patch, atol=1e-6, rtol=0)


def test_every_convolution_is_3x3_with_16_filters_and_no_padding(network: TripletNetwork) -> None:
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 3 + 7 * 2
    for layer in convolutions:
        assert (layer.kernel_size, layer.out_channels, layer.padding) == ((3, 3), 16, (0, 0))


def test_a_block_adds_what_it_found_to_the_cropped_input() -> None:
    block = ResidualBlock()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = torch.rand(1, 16, 9, 8)
    found = torch.relu(block.second(torch.relu(block.first(x))))
    torch.testing.assert_close(block(x), x[:, :, 2:7, 2:6] + found)


def test_same_seed_same_weights() -> None:
    first, second = (TripletNetwork(torch.Generator().manual_seed(7)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_survive_the_way_through_arrays(network: TripletNetwork) -> None:
    copy = triplet_network(weights_to_arrays(network)).state_dict()
    assert all(torch.equal(value, copy[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("spoil", ["drop", "reshape", "add"])
def test_foreign_weights_are_refused(network: TripletNetwork, spoil: str) -> None:
    arrays = weights_to_arrays(network)
    name = next(iter(arrays))
    if spoil == "drop":
        del arrays[name]
    else:
        arrays["extra" if spoil == "add" else name] = np.zeros((2, 2), dtype=np.float32)
    with pytest.raises(ModelFileError, match="do not fit"):
        triplet_network(arrays)


def test_the_near_part_does_what_the_finest_level_of_the_wide_network_does() -> None:
    wide = BoundedNetwork(torch.Generator().manual_seed(0), WIDE)
    pixels = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wide(pixels)  # in training mode: its normalisations have seen something
        wide.eval()
        near = near_part(wide)
        x = torch.relu(wide.down_norm(wide.down(torch.relu(wide.stem_norm(wide.stem(pixels))))))
        x = wide.head(wide.finer[-1](wide.coarser[0](x)))
        torch.testing.assert_close(near(pixels), nn.functional.normalize(x, dim=1) * BoundedNetwork.RADIUS)


def test_the_near_part_leaves_the_wide_network_as_it_is() -> None:
    wide = BoundedNetwork(torch.Generator().manual_seed(0), WIDE)
    before = weights_to_arrays(wide)
    near = near_part(wide)
    with torch.no_grad():
        for parameter in near.parameters():
            parameter.zero_()
    assert all((before[name] == value).all() for name, value in weights_to_arrays(wide).items())


def test_near_networks_of_former_model_files_are_read() -> None:
    former = BoundedNetwork(torch.Generator().manual_seed(0), Sight(n_levels=1, n_blocks=3, view=58)).eval()
    read = bounded_network(weights_to_arrays(former))
    pixels = torch.rand(1, 1, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(read(pixels), former(pixels))
    assert read.view == former.view
