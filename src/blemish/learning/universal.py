"""A learner for every surface: nearest-normal triplets on kinds of surfaces that we draw ourselves.

Five minutes on one user's images cannot teach a network what cracks, stains and dents look like on every texture. Hours
of ours can, once. Thousands of kinds of surfaces are drawn first (`draw_stock`, from `blemish.drawing`); each step
takes some of them, a few good pictures of each as its reference set, and others that are given new defects. The
reference set always comes from the same kind, so what is learned is to compare, not to remember. No photograph is
involved, so there is no licence to ask about.
"""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blemish.drawing import SURFACES, draw_surface
from blemish.errors import SettingError, TrainingError
from blemish.images import resize
from blemish.learning.defects import STRUCTURAL, SURFACE, any_defect, vary_light
from blemish.learning.nearest import Batch, DenseTriplets, DrawnAhead, NearestSettings, nearest_normal_loss, spoil
from blemish.learning.network import FILTERS, WIDE, BoundedNetwork
from blemish.learning.survey import grey_range, with_headroom
from blemish.progress import Progress, silent
from blemish.results import FloatArray

PASTED: Final = (*STRUCTURAL, *SURFACE)  # defects that are not physical
_AHEAD: Final = 4  # steps whose pictures are made while the network works on another
_LEAST_RANGE: Final = 1 / 255  # of the grey values of a kind, or it is drawn anew
_ZOOM: Final = 2.0  # pictures are drawn up to so many times as large as they are kept: details sharp and soft


@dataclass(frozen=True)
class UniversalSettings:
    """What is drawn, how a step is made, and how wide the network is."""

    filters: int = FILTERS  # of the network's layers
    seed: int = 0  # of the initial weights and of every draw
    stock: int = 2400  # kinds drawn before training: drawing them anew for every step took twice the time of the step
    n_pictures: int = 8  # of each kind in the stock
    drawn_side: int = 160  # of a picture in the stock, in pixels
    n_kinds: int = 8  # in a step; batch normalisation must see many at once, as it will see any later
    side: int = 128  # of what a step looks at, in pixels
    n_reference: int = 3  # good pictures of each kind
    n_defective: int = 3  # pictures of each kind with defects
    most_defects: int = 3  # on one of them; at least one
    physical: float = 0.6  # share of the defects that are drawn as they come about (`PHYSICAL`); the others are pasted
    triplets: int = 256  # of each kind
    clean: int = 1024  # clean locations of each kind that are looked at to find the hardest
    hard: float = 0.5  # share of the triplets whose positive is one of the hardest, in the end
    hard_after: int = 600  # steps over which it rises from none: a network that knows nothing finds them hopeless
    learning_rate: float = 2e-3  # at its highest
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        of_a_step = min(self.n_kinds, self.n_reference, self.n_defective, self.most_defects)
        least = min(self.filters, self.stock, of_a_step, self.hard_after)
        if self.seed < 0 or least < 1:
            raise SettingError(f"Found {self}; expected a seed of 0 or more, and at least one of everything.")
        if self.n_pictures < self.n_reference + self.n_defective or self.drawn_side < self.side:
            raise SettingError(f"Found {self}; expected pictures for a step, as large as it looks at them.")


def drawers(n_processes: int) -> Executor:
    """Make processes that draw: drawing is much work in Python."""
    # Spawned, because PyTorch's threads do not survive a fork.
    return ProcessPoolExecutor(n_processes, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,))


def draw_stock(path: Path, settings: UniversalSettings, processes: Executor, progress: Progress = silent) -> None:
    """Draw the kinds that training takes its pictures from; what is there already is kept.

    Args:
        path: NumPy file to write, ``(stock, n_pictures, drawn_side, drawn_side)`` uint8.
        settings: what is drawn, and the seed.
        processes: to draw in.
        progress: told after each kind.

    Raises:
        TrainingError: the file holds something else.
    """
    shape = (settings.stock, settings.n_pictures, settings.drawn_side, settings.drawn_side)
    if not path.exists():
        unfinished = path.with_name(path.name + ".part")
        stock = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
        kinds = processes.map(partial(draw_kind, settings), range(settings.stock), chunksize=4)
        for kind, pictures in enumerate(kinds):
            stock[kind] = pictures
            progress("drawing surfaces", kind + 1, settings.stock)
        stock.flush()
        unfinished.replace(path)
    found = np.load(path, mmap_mode="r").shape
    if found != shape:
        raise TrainingError(f"{path} holds pictures of shape {found}; expected {shape}. Delete it to draw them anew.")


def draw_kind(settings: UniversalSettings, kind: int) -> NDArray[np.uint8]:
    """Draw the pictures of one kind, in its grey range as a detector would prepare them.

    Args:
        settings: seed, number and size of pictures.
        kind: its number; those below ``settings.stock`` are trained on.

    Returns:
        ``(n_pictures, drawn_side, drawn_side)`` uint8.
    """
    rng = np.random.default_rng([settings.seed, kind])
    families = list(SURFACES.values())
    while True:
        surface = families[rng.integers(len(families))](rng)
        side = round(settings.drawn_side * _ZOOM ** rng.random())
        pictures = np.stack([
            resize(draw_surface(surface, rng, side, side), settings.drawn_side, settings.drawn_side)
            for _ in range(settings.n_pictures)
        ])  # fmt: skip
        darkest, brightest = grey_range(pictures[: settings.n_reference])
        if brightest - darkest > _LEAST_RANGE:  # few kinds are drawn too faint to show anything
            break
    black, white = with_headroom(darkest, brightest)
    stretched: NDArray[np.uint8] = np.rint(255 * np.clip((pictures - black) / (white - black), 0, 1)).astype(np.uint8)
    return stretched


def draw_kinds(stock_path: Path, settings: UniversalSettings, step: int) -> list[Batch]:
    """Make the pictures of a step, kind by kind; depends on nothing but its arguments."""
    stock = np.load(stock_path, mmap_mode="r")
    kinds = np.random.default_rng([settings.seed, step]).choice(len(stock), settings.n_kinds)
    return [
        _spoil_kind(stock[kind], settings, np.random.default_rng([settings.seed, step, index]))
        for index, kind in enumerate(kinds)
    ]


def _spoil_kind(kind: NDArray[np.uint8], settings: UniversalSettings, rng: np.random.Generator) -> Batch:
    """Look at some pictures of a kind through one window, and give a part of them defects."""
    n_images = settings.n_reference + settings.n_defective
    drawn = kind.shape[-1]
    window = round(settings.side * (drawn / settings.side) ** rng.random())  # of every size: another zoom each time
    top, left = rng.integers(0, drawn + 1 - window, 2)
    turns, flipped = int(rng.integers(4)), rng.random() < 0.5
    images: list[FloatArray] = []
    for picture in kind[rng.permutation(len(kind))[:n_images], top : top + window, left : left + window]:
        turned = np.rot90(picture[:, ::-1] if flipped else picture, turns)
        seen = resize(turned.astype(np.float32) / np.float32(255), settings.side, settings.side)
        images.append(np.clip(vary_light(seen, rng)[0], 0, 1))
    good, spoiled = images[: settings.n_reference], images[settings.n_reference :]
    return spoil(good, spoiled, settings.most_defects, partial(any_defect, settings.physical, PASTED, rng), rng)


class UniversalTriplets(DenseTriplets[list[Batch]]):
    """Teaches our network to compare, on drawn kinds of surfaces; a `training.Learner`.

    Args:
        stock_path: from `draw_stock` with the same settings.
        settings: how a step is made.
        processes: to make the pictures of the steps in; closed with the learner.
    """

    def __init__(self, stock_path: Path, settings: UniversalSettings, processes: Executor) -> None:
        super().__init__(
            BoundedNetwork(torch.Generator().manual_seed(settings.seed), WIDE, settings.filters),
            settings.learning_rate,
            settings.weight_decay,
            DrawnAhead(partial(draw_kinds, stock_path, settings), processes, _AHEAD),
        )
        self.key: dict[str, Any] = {"bfloat16": self.bfloat16, **asdict(settings)}
        self._settings = settings

    def loss(self, step: int, device: torch.device) -> tuple[Tensor, int]:
        """Make the kinds of a step; return the mean loss of their triplets and their number."""
        settings = self._settings
        comparison = NearestSettings(
            aligned=False,
            triplets=settings.triplets,
            clean=settings.clean,
            hard=settings.hard * min(1.0, step / settings.hard_after),
        )
        kinds = self._batches.take(step)
        embeddings = self._embed(kinds, device)  # (kinds (R + N), D, h, w)
        generator = torch.Generator().manual_seed(int(np.random.default_rng([settings.seed, step]).integers(2**62)))
        losses = [
            nearest_normal_loss(
                own[: settings.n_reference], own[settings.n_reference :], kind.defects, comparison, generator
            )
            for kind, own in zip(kinds, embeddings.chunk(settings.n_kinds), strict=True)
        ]
        return torch.stack(losses).mean(), settings.n_kinds * settings.triplets
