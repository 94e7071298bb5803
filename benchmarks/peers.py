"""The networks of three peers with random weights, for `speed.py`: speed does not depend on the weights.

Each maps one prepared image to its score, by all that its method does for it: PatchCore's search included. Written from
the papers and the public code named at each; pretrained weights would be needed to find anything with them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

_CORESET = 0.1  # share of the good patches that PatchCore keeps; its usual setting
_N_GOOD = 209  # good images, the mean over MVTec AD's categories


def _conv(n_in: int, n_out: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
    )


class _Block(nn.Module):
    """A residual block (He et al. 2016): two 3x3 convolutions, or with a bottleneck 1x1, 3x3, 1x1."""

    def __init__(self, n_in: int, width: int, n_out: int, stride: int, *, has_bottleneck: bool) -> None:
        super().__init__()
        convolutions = (
            [_conv(n_in, width, 1), _conv(width, width, 3, stride), _conv(width, n_out, 1)[:2]]
            if has_bottleneck
            else [_conv(n_in, n_out, 3, stride), _conv(n_out, n_out, 3)[:2]]
        )
        self.residual = nn.Sequential(*convolutions)
        is_same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if is_same else _conv(n_in, n_out, 1, stride)[:2]

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


class _ResNet(nn.Module):
    """A residual network up to its third stage; returns what each stage gives, at stride 4, 8 and 16."""

    def __init__(self, n_blocks: tuple[int, int, int], width: int, expansion: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList()
        n_in = 64
        for stage, n in enumerate(n_blocks):
            n_out = 64 * expansion * 2**stage
            blocks = []
            for index in range(n):
                stride = 2 if stage and index == 0 else 1
                blocks.append(_Block(n_in, width * 2**stage, n_out, stride, has_bottleneck=expansion > 1))
                n_in = n_out
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class PatchCore(nn.Module):
    """WideResNet-50-2, patches of stages 2 and 3, the nearest of a coreset of 10 % (Roth et al. 2022)."""

    SIDE = 224
    coreset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = _ResNet((3, 4, 6), width=128, expansion=4)
        n_patches = (self.SIDE // 8) ** 2
        self.register_buffer("coreset", torch.randn(int(_CORESET * _N_GOOD * n_patches), 512 + 1024))

    def forward(self, pixels: Tensor) -> Tensor:
        fine, coarse = (avg_pool2d(each, 3, 1, 1) for each in self.network(pixels)[1:])
        coarse = interpolate(coarse, size=(self.SIDE // 8, self.SIDE // 8), mode="bilinear")
        patches = torch.cat([fine, coarse], dim=1).flatten(2).transpose(1, 2)[0]  # (784, 1536)
        squares = (patches**2).sum(1, keepdim=True) - 2 * patches @ self.coreset.T + (self.coreset**2).sum(1)
        return squares.amin(dim=1).amax().sqrt()


class PaDiM(nn.Module):
    """ResNet-18, 100 of its 448 features, the Mahalanobis distance at every place (Defard et al. 2021)."""

    SIDE = 224
    chosen: Tensor
    mean: Tensor
    inverse: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = _ResNet((2, 2, 2), width=64, expansion=1)
        cells = (self.SIDE // 4) ** 2
        self.register_buffer("chosen", torch.randperm(448)[:100])
        self.register_buffer("mean", torch.randn(cells, 100))
        self.register_buffer("inverse", torch.randn(cells, 100, 100))

    def forward(self, pixels: Tensor) -> Tensor:
        stages = self.network(pixels)
        size = (self.SIDE // 4, self.SIDE // 4)
        features = torch.cat([interpolate(each, size=size) for each in stages], dim=1)  # (1, 448, 56, 56)
        features = features.index_select(1, self.chosen).flatten(2).transpose(1, 2)[0]  # (3136, 100)
        offset = (features - self.mean)[:, None]  # (3136, 1, 100)
        return (offset @ self.inverse @ offset.transpose(1, 2)).abs().amax().sqrt()


class EfficientAD(nn.Module):
    """The small patch description networks, teacher and student, and the autoencoder (Batzner et al. 2024)."""

    SIDE = 256

    def __init__(self) -> None:
        super().__init__()
        self.teacher, self.student, self.autoencoder = self._description(384), self._description(768), self._encoder()

    @staticmethod
    def _description(n_out: int) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Conv2d(3, 128, 4), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(128, 256, 4), nn.ReLU(), nn.AvgPool2d(2)),
            *(nn.Conv2d(256, 256, 3), nn.ReLU(), nn.Conv2d(256, n_out, 4)),
        )

    @staticmethod
    def _encoder() -> nn.Sequential:
        layers: list[nn.Module] = []
        for n_in, n_out in ((3, 32), (32, 32), (32, 64), (64, 64), (64, 64)):
            layers += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.ReLU()]
        layers.append(nn.Conv2d(64, 64, 8))
        for side in (3, 8, 15, 32, 63, 127):
            layers += [nn.Upsample((side, side), mode="bilinear"), nn.Conv2d(64, 64, 4, 1, 2), nn.ReLU()]
        layers.append(nn.Upsample((56, 56), mode="bilinear"))
        return nn.Sequential(*layers, nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 384, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        teacher, student, autoencoder = self.teacher(pixels), self.student(pixels), self.autoencoder(pixels)
        local = ((teacher - student[:, :384]) ** 2).mean(dim=1)
        whole = ((autoencoder - student[:, 384:]) ** 2).mean(dim=1)
        score: Tensor = ((local + whole) / 2).amax()
        return score


PEERS: dict[str, type[PatchCore] | type[PaDiM] | type[EfficientAD]] = {
    "PatchCore": PatchCore,
    "PaDiM": PaDiM,
    "EfficientAD-S": EfficientAD,
}
