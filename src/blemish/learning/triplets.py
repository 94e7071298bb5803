"""The paper's learner: triplets of patches, cut at several scales from good images (Tayeh et al. 2020, sec. IV).

Prepared images go into a `PatchPyramid` once; every epoch is planned as plain numbers (`plan_epoch`) and cut batch by
batch (`cut_triplets`). Plan and batch depend on nothing but the seed, the epoch and the batch number, so a run that
is resumed in the middle of an epoch meets exactly the triplets it would have met.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blemish.errors import OutputError, SettingError, TrainingError
from blemish.images import prepare, resize
from blemish.learning.defects import DEFECTS, Defect
from blemish.learning.losses import euclidean_distance, triplet_softmax_loss
from blemish.learning.network import PATCH_SIZE, TripletNetwork
from blemish.progress import Progress, silent
from blemish.results import FloatArray
from blemish.strips import GreyImage, read_all

# Side in pixels to which the image is resized -> patches then taken from it (paper, sec. IV-B).
PAPER_SCALES: Final[dict[int, int]] = {1024: 16, 512: 16, 256: 8, 128: 8}
LEVELS: Final = 65535  # prepared pixels are kept as 16-bit numbers: half the memory, an error of at most 7.6e-6


@dataclass(frozen=True)
class PatchSettings:
    """How long and with what to train; the defaults are the paper's (sec. IV-D)."""

    epochs: int = 40  # passes over the images, each at a new random scale
    batch_size: int = 256  # triplets a step
    learning_rate: float = 1e-4  # fixed
    defect: str = "random_erasing"  # what makes a negative: a name from `defects.DEFECTS`
    seed: int = 0  # of the initial weights and of every draw

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0 or self.seed < 0:
            raise SettingError(
                f"Found {self.epochs} epochs, batch size {self.batch_size}, learning rate {self.learning_rate}, "
                f"seed {self.seed}; expected at least 1, at least 1, above 0, at least 0."
            )
        if self.defect not in DEFECTS:
            raise SettingError(f"Found defect {self.defect!r}; expected one of {', '.join(DEFECTS)}.")


@dataclass(frozen=True)
class TrainingImage:
    """A good image to learn from, and the category whose triplets it may join."""

    path: Path
    category: str


class PatchPyramid:
    """All training images at all scales, on disk behind memory maps, ready to be cut.

    Memory stays flat however many images there are: 2.8 MB an image lie in a temporary file that the operating
    system pages in and out, and that vanishes with the object.

    Args:
        images: what to learn from; at least one.
        scales: side in pixels -> number of patches, largest first; every side at least 64.
        progress: told after each image.

    Raises:
        ImageError: some images cannot be read; all of them are named.
        OutputError: the temporary folder has no room.
    """

    def __init__(self, images: Sequence[TrainingImage], scales: dict[int, int], progress: Progress = silent) -> None:
        if not images:
            raise TrainingError("There are no images to learn from; give at least one good image.")
        if not scales or min(scales) < PATCH_SIZE:
            raise SettingError(
                f"Scales are {sorted(scales)}; expected sides of at least {PATCH_SIZE} pixels, one patch."
            )
        self.scales = scales
        self.categories = np.unique([image.category for image in images], return_inverse=True)[1]  # (n,) int
        self._levels = {side: _on_disk((len(images), side, side)) for side in scales}
        self._fill(images, progress)

    def _fill(self, images: Sequence[TrainingImage], progress: Progress) -> None:
        largest = max(self.scales)

        def keep(index: int, image: GreyImage) -> None:
            prepared = prepare(image.whole(), largest, largest)
            for side, level in self._levels.items():
                level[index] = np.rint(resize(prepared, side, side) * LEVELS)
            progress("reading images", index + 1, len(images))

        read_all([image.path for image in images], keep)

    def __len__(self) -> int:
        return len(self.categories)

    def cut(self, places: NDArray[np.int64]) -> FloatArray:
        """Cut patches.

        Args:
            places: ``(n, 4)`` int: image, side of the scale, top, left.

        Returns:
            ``(n, 64, 64)`` float32 in [0, 1].
        """
        patches = np.empty((len(places), PATCH_SIZE, PATCH_SIZE), dtype=np.float32)
        for patch, (image, side, top, left) in zip(patches, places, strict=True):
            patch[:] = self._levels[int(side)][image, top : top + PATCH_SIZE, left : left + PATCH_SIZE]
        return patches / np.float32(LEVELS)


def _on_disk(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Map a nameless temporary file that is really there: a full disk must show now, not as a crash later."""
    with temporary_file() as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, 2 * math.prod(shape))
        return np.memmap(file, dtype=np.uint16, mode="w+", shape=shape)


@contextmanager
def temporary_file() -> Iterator[IO[bytes]]:
    """Open a nameless file that vanishes with its last user.

    Raises:
        OutputError: there is no room for it, or for what is written to it.
    """
    try:
        with tempfile.TemporaryFile(prefix="blemish-") as file:
            yield file
    except OSError as error:
        raise OutputError(
            f"No room for prepared images in {tempfile.gettempdir()} ({error.strerror}). "
            "Free some space there, or set TMPDIR to a folder on a larger disk."
        ) from error


@dataclass(frozen=True)
class EpochPlan:
    """Where the patches of one epoch's triplets lie: three ``(n, 4)`` int arrays of image, side, top, left."""

    anchors: NDArray[np.int64]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]  # before they are made defective

    def __len__(self) -> int:
        return len(self.anchors)


def epoch_size(n_images: int, scales: dict[int, int], seed: int, epoch: int) -> int:
    """Count the triplets of the epoch that `plan_epoch` would plan, at the price of drawing the scales alone."""
    return int(_draw_sides(n_images, scales, np.random.default_rng([seed, epoch]))[1].sum())


def _draw_sides(
    n_images: int, scales: dict[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a scale for every image; return the sides ``(n,)`` and the numbers of patches ``(n,)``."""
    sides = rng.choice(np.array(list(scales)), size=n_images)
    return sides, np.array([scales[int(side)] for side in sides])


def plan_epoch(categories: NDArray[np.int64], scales: dict[int, int], seed: int, epoch: int) -> EpochPlan:
    """Choose the triplets of one epoch: every image once, at one random scale.

    Args:
        categories: ``(n,)`` int, the category of every image.
        scales: side in pixels -> patches taken at that scale.
        seed: of the run. epoch: 0 and up.

    Returns:
        The plan, in random order; as many triplets as the chosen scales yield anchors.

    Source: Tayeh et al. 2020, sec. IV-B: the image is randomly resized to one of the scales, then 16 or 8 random
    patches are taken. The paper says of positives and negatives only that the former are of the anchor's class and
    the latter defective. Taken here: both are random patches of the anchor's category and scale, from another image
    where there is one; the negative is then given a defect.
    """
    rng = np.random.default_rng([seed, epoch])
    sides, n_patches = _draw_sides(len(categories), scales, rng)
    image = rng.permutation(np.repeat(np.arange(len(categories)), n_patches))  # (m,), m triplets
    side = sides[image]
    anchors, positives, negatives = (
        np.column_stack([index, side, _corner(side, rng), _corner(side, rng)])
        for index in (image, _other_image(image, categories, rng), _other_image(image, categories, rng))
    )
    return EpochPlan(anchors, positives, negatives)


def _corner(side: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(0, side - PATCH_SIZE + 1)


def _other_image(
    image: NDArray[np.int64], categories: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw for every image another one of its category, or itself where it is the only one."""
    other = image.copy()
    for category in np.unique(categories):
        members = np.flatnonzero(categories == category)
        chosen = np.flatnonzero(categories[image] == category)
        if len(members) > 1:
            step = rng.integers(1, len(members), size=len(chosen))  # 1 .. k-1 places further on, round the circle
            other[chosen] = members[(np.searchsorted(members, image[chosen]) + step) % len(members)]
    return other


def cut_triplets(
    pyramid: PatchPyramid, plan: EpochPlan, batch: slice, defect: Defect, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cut one batch of a plan and give every negative its defect.

    Returns:
        Anchors, positives, negatives: each ``(B, 64, 64)`` float32 in [0, 1].
    """
    negatives = pyramid.cut(plan.negatives[batch])
    for negative in negatives:
        negative[:] = defect(negative, rng)[0]
    return pyramid.cut(plan.anchors[batch]), pyramid.cut(plan.positives[batch]), negatives


class PatchTriplets:
    """Teaches the paper's network, batch by batch; a `training.Learner`.

    Args:
        pyramid: the images.
        settings: how long and with what.
    """

    def __init__(self, pyramid: PatchPyramid, settings: PatchSettings) -> None:
        self.network = TripletNetwork(torch.Generator().manual_seed(settings.seed))
        self.key: dict[str, Any] = {"scales": pyramid.scales, "n_images": len(pyramid), **asdict(settings)}
        self._pyramid, self._settings = pyramid, settings
        self._n_batches = [
            math.ceil(epoch_size(len(pyramid), pyramid.scales, settings.seed, epoch) / settings.batch_size)
            for epoch in range(settings.epochs)
        ]
        self._planned = -1, EpochPlan(*(np.empty((0, 4), dtype=np.int64) for _ in range(3)))  # the epoch at hand

    @property
    def n_steps(self) -> int:
        """Batches in all epochs together."""
        return sum(self._n_batches)

    def optimiser(self) -> torch.optim.Optimizer:
        """Make Adam (paper, sec. IV-D)."""
        return torch.optim.Adam(self.network.parameters(), lr=self._settings.learning_rate)

    def learning_rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate, the same for every step (paper, sec. IV-D)."""
        return self._settings.learning_rate

    def loss(self, step: int, device: torch.device) -> tuple[Tensor, int]:
        """Cut the batch of a step, and return the mean loss of its triplets and their number."""
        settings = self._settings
        plan, start, rng = self._batch(step)
        batch = slice(start, min(start + settings.batch_size, len(plan)))
        triplets = cut_triplets(self._pyramid, plan, batch, DEFECTS[settings.defect], rng)
        pixels = torch.from_numpy(np.concatenate(triplets)).unsqueeze(1).to(device)  # (3B, 1, 64, 64)
        anchors, positives, negatives = self.network(pixels).flatten(1).chunk(3)  # (B, 16) each
        d_positive, d_negative = euclidean_distance(anchors, positives), euclidean_distance(anchors, negatives)
        return triplet_softmax_loss(d_positive, d_negative), len(anchors)

    def _batch(self, step: int) -> tuple[EpochPlan, int, np.random.Generator]:
        """Find the epoch of a step, plan it when it begins, and say where in it the step's batch starts."""
        epoch = 0
        while step >= self._n_batches[epoch]:
            step -= self._n_batches[epoch]
            epoch += 1
        if self._planned[0] != epoch:
            pyramid = self._pyramid
            self._planned = epoch, plan_epoch(pyramid.categories, pyramid.scales, self._settings.seed, epoch)
        start = step * self._settings.batch_size
        return self._planned[1], start, np.random.default_rng([self._settings.seed, epoch, start])
