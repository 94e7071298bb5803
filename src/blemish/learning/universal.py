"""A learner for every surface: nearest-normal triplets on kinds of surfaces that we draw ourselves.

Five minutes on one user's images cannot teach a network what cracks, stains and dents look like on every texture. Hours
of ours can, once: each step draws new kinds of surfaces (`blemish.drawing`), a few good images of each as its reference
set, and others with defects. The reference set always comes from the same kind, so what is learned is to compare, not
to remember. No photograph is involved, so there is no licence to ask about.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor

from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.errors import SettingError
from blemish.images import resize
from blemish.learning.defects import STRUCTURAL, SURFACE, Defect, vary_light
from blemish.learning.nearest import Batch, DenseTriplets, DrawnAhead, NearestSettings, nearest_normal_loss, spoil
from blemish.learning.network import WIDE
from blemish.learning.survey import LEAST_RANGE, grey_range, with_headroom
from blemish.results import FloatArray

_AHEAD: Final = 4  # steps whose pictures are drawn while the network works on another
_ZOOM: Final = 2.0  # pictures are drawn up to so many times as large as they are looked at


@dataclass(frozen=True)
class UniversalSettings:
    """How a step is made."""

    seed: int = 0  # of the initial weights and of every draw
    n_kinds: int = 8  # in a step; batch normalisation must see many at once, as it will see any later
    side: int = 128  # of a picture, in pixels
    n_reference: int = 3  # good pictures of each kind
    n_defective: int = 3  # pictures of each kind with defects
    most_defects: int = 3  # on one of them; at least one
    physical: float = 0.6  # share of the defects that are drawn as they come about (`FLAWS`); the others are pasted
    triplets: int = 256  # of each kind
    hard: float = (
        0.0  # share of the triplets whose positive is one of the hardest; with half, nothing is learned at all
    )
    learning_rate: float = 2e-3  # at its highest
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.seed, self.n_kinds - 1, self.n_reference - 1, self.n_defective - 1) < 0:
            raise SettingError(f"Found {self}; expected a seed of 0 or more, and at least one of everything.")


def draw_kinds(settings: UniversalSettings, step: int) -> list[Batch]:
    """Draw the pictures of a step, kind by kind; depends on nothing but its arguments."""
    generators = (np.random.default_rng([settings.seed, step, kind]) for kind in range(settings.n_kinds))
    return [_draw_kind(settings, rng) for rng in generators]


def _draw_kind(settings: UniversalSettings, rng: np.random.Generator) -> Batch:
    n_images = settings.n_reference + settings.n_defective
    while True:
        pictures = _draw_pictures(settings.side, n_images, rng)
        darkest, brightest = grey_range(np.stack(pictures[: settings.n_reference]))
        if brightest - darkest > LEAST_RANGE:  # few kinds are drawn too faint to show anything
            break
    black, white = with_headroom(darkest, brightest)
    prepared = [
        np.clip(vary_light((picture - np.float32(black)) / np.float32(white - black), rng)[0], 0, 1)
        for picture in pictures
    ]
    good, spoiled = prepared[: settings.n_reference], prepared[settings.n_reference :]
    return spoil(good, spoiled, settings.most_defects, partial(_any_defect, settings.physical, rng), rng)


def _draw_pictures(side: int, n: int, rng: np.random.Generator) -> list[FloatArray]:
    """Draw pictures of one new kind, larger than they are looked at: details of every size, sharp and soft."""
    families = list(SURFACES.values())
    surface = families[rng.integers(len(families))](rng)
    drawn = round(side * _ZOOM ** rng.random())
    return [resize(draw_surface(surface, rng, drawn, drawn), side, side) for _ in range(n)]


def _any_defect(physical: float, rng: np.random.Generator) -> Defect:
    family = [*FLAWS.values()] if rng.random() < physical else [*STRUCTURAL, *SURFACE]
    return family[int(rng.integers(len(family)))]


class UniversalTriplets(DenseTriplets[list[Batch]]):
    """Teaches our network to compare, on drawn kinds of surfaces; a `training.Learner`.

    Args:
        settings: how a step is made.
        n_processes: that draw; more than the processor has cores make nothing faster.
    """

    def __init__(self, settings: UniversalSettings, n_processes: int = os.cpu_count() or 1) -> None:
        # Processes, because drawing is much work in Python; spawned, because PyTorch's threads do not survive a fork.
        drawer = ProcessPoolExecutor(n_processes, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,))
        super().__init__(
            WIDE,
            settings.seed,
            settings.learning_rate,
            settings.weight_decay,
            DrawnAhead(partial(draw_kinds, settings), drawer, _AHEAD),
        )
        self.key: dict[str, Any] = {"bfloat16": self.bfloat16, **asdict(settings)}
        self._settings = settings
        self._comparison = NearestSettings(
            aligned=False, triplets=settings.triplets, clean=settings.triplets, hard=settings.hard
        )

    def loss(self, step: int, device: torch.device) -> tuple[Tensor, int]:
        """Draw the kinds of a step; return the mean loss of their triplets and their number."""
        settings = self._settings
        kinds = self._batches.take(step)
        embeddings = self._embed(kinds, device)  # (kinds (R + N), D, h, w)
        generator = torch.Generator().manual_seed(int(np.random.default_rng([settings.seed, step]).integers(2**62)))
        losses = [
            nearest_normal_loss(
                own[: settings.n_reference], own[settings.n_reference :], kind.defects, self._comparison, generator
            )
            for kind, own in zip(kinds, embeddings.chunk(settings.n_kinds), strict=True)
        ]
        return torch.stack(losses).mean(), settings.n_kinds * settings.triplets
