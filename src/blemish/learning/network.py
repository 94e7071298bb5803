"""The paper's network: grey patches in, 16 numbers per location out (Tayeh et al. 2020, sec. IV-C, Fig. 5).

Three 3x3 convolutions, a 2x2 max-pool, seven residual blocks; 16 filters and valid padding everywhere. It is fully
convolutional, so it embeds a 64 x 64 patch and a whole image with the same weights and, because nothing is padded,
to the same values: ``network(x)[..., i, j] == network(x[..., 2i:2i+64, 2j:2j+64])``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import skip_init

from blemish.errors import ModelFileError

PATCH_SIZE: Final = 64  # pixels a side that one cell of the embedding sees
STRIDE: Final = 2  # pixels from one cell to the next
DIMENSION: Final = 16  # numbers per cell: the filters of every layer
_N_BLOCKS: Final = 7
_CROP: Final = 2  # what two valid 3x3 convolutions take from every side


def _convolution(channels: int) -> nn.Conv2d:
    """Make a 3x3 convolution without weights: PyTorch would draw them from the generator of the whole process."""
    layer: nn.Conv2d = skip_init(nn.Conv2d, channels, DIMENSION, kernel_size=3)  # type: ignore[no-untyped-call]
    return layer


class ResidualBlock(nn.Module):
    """Add what two convolutions found to their cropped input (paper, Fig. 5).

    The ReLU comes before the addition, as the paper's text has it, not after it as in the original ResNet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = _convolution(DIMENSION)
        self.second = _convolution(DIMENSION)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, 16, H, W)`` to ``(B, 16, H - 4, W - 4)``."""
        found = torch.relu(self.second(torch.relu(self.first(x))))
        return x[..., _CROP:-_CROP, _CROP:-_CROP] + found


class TripletNetwork(nn.Module):
    """Embed grey images: ``(B, 1, H, W)`` in [0, 1] to ``(B, 16, h, w)`` with ``h = (H - 64) // 2 + 1``.

    37,280 parameters. 64 x 64 pixels become 1 x 1 x 16, 1024 x 1024 become 481 x 481 x 16. H and W are at least 64.

    Args:
        generator: source of the initial weights, drawn as Keras draws them (Glorot uniform, biases zero), because
            the paper's authors used Keras with its defaults (sec. IV-D).

    Example:
        >>> network = TripletNetwork(torch.Generator().manual_seed(0))
        >>> sum(parameter.numel() for parameter in network.parameters())
        37280
        >>> tuple(network(torch.zeros(1, 1, 64, 66)).shape)
        (1, 16, 1, 2)
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(_convolution(1), nn.ReLU()),
            *(_convolution(DIMENSION), nn.ReLU()),
            *(_convolution(DIMENSION), nn.ReLU()),
            nn.MaxPool2d(2),
        )
        self.blocks = nn.Sequential(*(ResidualBlock() for _ in range(_N_BLOCKS)))
        for parameter in self.parameters():
            if parameter.ndim == 4:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.zeros_(parameter)
        # Channels last is twice as fast here as the default layout: 16 channels fill one AVX-512 register.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed ``(B, 1, H, W)`` float32 pixels as ``(B, 16, h, w)`` float32."""
        embedding: Tensor = self.blocks(self.stem(pixels.contiguous(memory_format=torch.channels_last)))
        return embedding


def network_to_arrays(network: TripletNetwork) -> dict[str, NDArray[np.float32]]:
    """Copy the weights out as named float32 arrays, the form in which they are stored."""
    return {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}


def network_from_arrays(arrays: dict[str, NDArray[np.float32]]) -> TripletNetwork:
    """Rebuild a network from the arrays of `network_to_arrays`.

    Raises:
        ModelFileError: names or shapes are not those of the network.
    """
    network = TripletNetwork(torch.Generator())
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        odd = sorted(set(found.items()) ^ set(expected.items()))[0]
        raise ModelFileError(
            f"The stored weights do not fit the network: {odd[0]!r} with shape {odd[1]} is missing or extra."
        )
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return network
