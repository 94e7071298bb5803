"""The networks: pixels in, an embedding for every location out.

`TripletNetwork` is the paper's (Tayeh et al. 2020, sec. IV-C, Fig. 5): three 3x3 convolutions, a 2x2 max-pool, seven
residual blocks; 16 filters and valid padding everywhere. It is fully convolutional, so it embeds a 64 x 64 patch and a
whole image with the same weights and, because nothing is padded, to the same values:
``network(x)[..., i, j] == network(x[..., 2i:2i+64, 2j:2j+64])``. `BoundedNetwork` is ours. Both see grey;
`ColouredNetwork` adds to ours the colour of every location.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

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

_STEM: Final = 16  # filters of the first layer of our network
FILTERS: Final = 48  # of its other layers; other widths: docs/universal.md
_EMBEDDING: Final = 32  # numbers per cell of our network
COLOURED: Final = _EMBEDDING + 3  # the same with colours
# Of the length of an embedding with colours. The sphere of colours is large, so that strong colours can be told apart.
GREY_SHARE: Final = 1 / 65**0.5
COLOUR_SHARE: Final = 8 / 65**0.5


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


class BoundedBlock(nn.Module):
    """Add what two padded convolutions found to their input (He et al. 2016, with batch normalisation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _padded(channels, channels, size=3)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = _padded(channels, channels, size=3)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, h, w)`` to the same shape."""
        found = self.second_norm(self.second(torch.relu(self.first_norm(self.first(x)))))
        return torch.relu(x + found)


@dataclass(frozen=True)
class Sight:
    """How far a cell of our network sees, and through how many levels."""

    n_levels: int  # strides 4, 8, ...
    n_blocks: int  # residual blocks of each level on the way to the coarsest
    view: int  # pixels a side that a cell may see; it gives most weight to the nearest


# A wide view finds what is large and faint on a texture. On aligned parts it would do harm: asked what belongs at a
# place, the network would tell the place by what lies around it and not look at what lies there. The near one is the
# finest level of the wide one, and begins as such (`near_part`).
NEAR: Final = Sight(n_levels=1, n_blocks=2, view=42)
WIDE: Final = Sight(n_levels=3, n_blocks=1, view=182)
_FORMER_NEAR: Final = Sight(n_levels=1, n_blocks=3, view=58)  # of model files made before 2026-11-27


class BoundedNetwork(nn.Module):
    """Embed grey images at stride 4 in vectors of constant length: ``(B, 1, H, W)`` to ``(B, 32, H / 4, W / 4)``.

    Two strided convolutions lead to stride 4. From there residual blocks look at the image at stride 4, with a wide
    sight also at 8 and 16; one block per level on the way back adds what the coarser level saw. A 1x1 convolution ends
    it, and every vector is scaled to length 4: distances lie in [0, 8], so that the softmax of the loss cannot
    saturate. H and W are multiples of 4. Cell (i, j) speaks for the pixels [4i, 4i + 4) x [4j, 4j + 4); what lies
    outside the image is 0.

    Args:
        generator: source of the initial weights.
        sight: `NEAR` or `WIDE`.
        filters: of every layer between the first and the embedding; another number than `FILTERS` only for comparison.

    Source: the paper's residual network (sec. IV-C); levels as in a U-Net (Ronneberger et al. 2015), with sums instead
    of concatenation. Departures from the paper: padded, so that every pixel has a cell; strided convolutions and coarse
    levels, for more steps a minute; batch normalisation; bounded embeddings, because without a bound the paper's
    distances grow until the loss saturates (docs/method.md).
    """

    STRIDE: Final = 4
    COARSEST: Final = 16  # stride of the coarsest level of any sight
    RADIUS: Final = 4.0  # length of every embedding

    def __init__(self, generator: torch.Generator, sight: Sight, filters: int = FILTERS) -> None:
        super().__init__()
        self.view = sight.view
        self.stem = _padded(1, _STEM, size=4, stride=2)
        self.stem_norm = nn.BatchNorm2d(_STEM)
        self.down = _padded(_STEM, filters, size=4, stride=2)
        self.down_norm = nn.BatchNorm2d(filters)
        self.coarser = nn.ModuleList(
            nn.Sequential(*(BoundedBlock(filters) for _ in range(sight.n_blocks))) for _ in range(sight.n_levels)
        )
        self.finer = nn.ModuleList(BoundedBlock(filters) for _ in range(sight.n_levels - 1))
        self.head = skip_init(nn.Conv2d, filters, _EMBEDDING, kernel_size=1)  # type: ignore[no-untyped-call]
        for parameter in self.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)
        nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed ``(B, 1, H, W)`` pixels as ``(B, 32, H / 4, W / 4)`` float32 of length 4."""
        x = pixels.contiguous(memory_format=torch.channels_last)
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = torch.relu(self.down_norm(self.down(x)))
        levels: list[Tensor] = []
        for blocks in self.coarser:
            if levels:
                x = nn.functional.max_pool2d(x, 2, ceil_mode=True)  # sides need not be even
            x = blocks(x)
            levels.append(x)
        x = levels.pop()
        for block in self.finer:
            finer = levels.pop()
            enlarged = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
            x = block(finer + enlarged[:, :, : finer.shape[2], : finer.shape[3]])
        embedding = self.head(x).float()  # also under mixed precision
        return nn.functional.normalize(embedding, dim=1) * self.RADIUS


class ColouredNetwork(nn.Module):
    """Join what our network sees in grey and the colour of every cell: ``(B, 3, H, W)`` to ``(B, 35, H / 4, W / 4)``.

    A stain of another hue but the same grey is not there for a network that sees grey. So the mean of the two colour
    differences (`images.colour_difference`) over the pixels of a cell becomes three more numbers of its embedding: less
    the usual ones and times ``gain``, they are a place on a plane that touches a sphere, which is projected onto the
    sphere. So near the usual colour the distance goes with the difference of colours, and no colour is infinitely far.
    All 35 numbers are scaled to length 4 again, so that all that is done with embeddings can be done with these.

    Nothing of it is trained: how much a difference of colours is worth follows from how much good ones differ
    (`assembly.coloured_network`). It is not of the paper, whose images are grey (sec. IV-A).

    Args:
        network: sees grey.
        usual: ``(2,)`` float32, colour differences as they are prepared, in [0, 1].
        gain: how much a difference of them is worth, above 0.
    """

    usual: Tensor
    gain: Tensor

    def __init__(self, network: BoundedNetwork, usual: Tensor, gain: float) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("usual", usual)
        self.register_buffer("gain", torch.tensor(gain, dtype=torch.float32))

    @property
    def view(self) -> int:
        """Pixels a side that a cell may see."""
        return self.network.view

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed ``(B, 3, H, W)`` pixels, grey and the two colour differences, as ``(B, 35, H / 4, W / 4)``."""
        return self.joined(self.network(pixels[:, :1]), cell_colours(pixels[:, 1:]))

    def joined(self, grey: Tensor, colours: Tensor) -> Tensor:
        """Join what the network saw in grey, ``(B, 32, h, w)``, and `cell_colours`, ``(B, 2, h, w)``."""
        place = (colours - self.usual[:, None, None]) * self.gain
        touching = torch.cat([place, torch.ones_like(place[:, :1])], dim=1)
        colour = nn.functional.normalize(touching, dim=1) * (COLOUR_SHARE * BoundedNetwork.RADIUS)
        return torch.cat([grey * GREY_SHARE, colour], dim=1)


def cell_colours(differences: Tensor) -> Tensor:
    """Return the mean colour of every cell: ``(..., 2, H, W)`` to ``(..., 2, H / 4, W / 4)``."""
    return nn.functional.avg_pool2d(differences, BoundedNetwork.STRIDE)


def near_part(wide: BoundedNetwork) -> BoundedNetwork:
    """Make a network of near sight out of what a trained one of wide sight does at its finest level.

    Args:
        wide: with `WIDE` sight and `FILTERS` filters; it is not changed.

    Returns:
        Its layers up to stride 4, its two blocks at stride 4 and its head, in evaluation mode. What its coarser levels
        would have told the second of these is missing: a network to begin training with, not to inspect with.
    """
    near = BoundedNetwork(torch.Generator(), NEAR)
    names = {name: name for name in ("stem", "stem_norm", "down", "down_norm", "coarser.0.0", "head")}
    names |= {"coarser.0.1": f"finer.{len(wide.finer) - 1}"}
    for ours, theirs in names.items():
        near.get_submodule(ours).load_state_dict(wide.get_submodule(theirs).state_dict())
    return near.eval()


def _padded(channels: int, filters: int, *, size: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution without weights and bias whose output cells lie in the middle of the pixels they stand for."""
    padding = (size - stride) // 2
    layer: nn.Conv2d = skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, channels, filters, kernel_size=size, stride=stride, padding=padding, bias=False
    )
    return layer


def triplet_network(arrays: dict[str, NDArray[Any]]) -> TripletNetwork:
    """Rebuild the paper's network from the arrays of `weights_to_arrays`, in evaluation mode.

    Raises:
        ModelFileError: names or shapes are not those of the network.
    """
    network = TripletNetwork(torch.Generator())
    weights_from_arrays(network, arrays)
    return network.eval()


def our_network(arrays: dict[str, NDArray[Any]]) -> BoundedNetwork | ColouredNetwork:
    """Rebuild our network, with or without colours, from the arrays of `weights_to_arrays`, in evaluation mode.

    Raises:
        ModelFileError: names or shapes are not those of the network.
    """
    if "gain" not in arrays:
        return bounded_network(arrays)
    network = ColouredNetwork(bounded_network(arrays), torch.zeros(2), 1.0)
    weights_from_arrays(network, arrays)
    return network.eval()


def bounded_network(arrays: dict[str, NDArray[Any]]) -> BoundedNetwork:
    """Rebuild our network that sees grey, of either sight, from the arrays of `weights_to_arrays`, in evaluation mode.

    Args:
        arrays: of it, or of one with colours, of which it is a part.

    Raises:
        ModelFileError: names or shapes are not those of the network.
    """
    part = "network."  # of `ColouredNetwork`
    if "gain" in arrays:
        arrays = {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
    if any(name.startswith("finer") for name in arrays):
        sight = WIDE
    else:
        sight = _FORMER_NEAR if any(name.startswith("coarser.0.2") for name in arrays) else NEAR
    network = BoundedNetwork(torch.Generator(), sight)
    weights_from_arrays(network, arrays)
    return network.eval()


def weights_to_arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """Copy the weights out as named arrays, the form in which they are stored."""
    return {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}


def weights_from_arrays(network: nn.Module, arrays: dict[str, NDArray[Any]]) -> None:
    """Put the arrays of `weights_to_arrays` back into a network.

    Raises:
        ModelFileError: names or shapes are not those of the network.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        odd = sorted(set(found.items()) ^ set(expected.items()))[0]
        raise ModelFileError(
            f"The stored weights do not fit the network: {odd[0]!r} with shape {odd[1]} is missing or extra."
        )
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
