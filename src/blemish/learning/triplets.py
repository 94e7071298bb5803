"""Triplets of patches, cut at several scales from good images (Tayeh et al. 2020, sec. IV-A and IV-B).

Prepared images go into a `PatchPyramid` once; every epoch is planned as plain numbers (`plan_epoch`) and cut batch by
batch (`cut_triplets`). Plan and batch depend on nothing but the seed, the epoch and the batch number, so a run that
is resumed in the middle of an epoch meets exactly the triplets it would have met.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blemish.errors import OutputError, SettingError, TrainingError
from blemish.images import prepare, read_all, resize
from blemish.learning.defects import Defect
from blemish.learning.network import PATCH_SIZE
from blemish.progress import Progress, silent
from blemish.results import FloatArray

# Side in pixels to which the image is resized -> patches then taken from it (paper, sec. IV-B).
PAPER_SCALES: Final[dict[int, int]] = {1024: 16, 512: 16, 256: 8, 128: 8}
_LEVELS = 65535  # prepared pixels are kept as 16-bit numbers: half the memory, an error of at most 7.6e-6


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

        def keep(index: int, pixels: FloatArray) -> None:
            prepared = prepare(pixels, largest, largest)
            for side, level in self._levels.items():
                level[index] = np.rint(resize(prepared, side, side) * _LEVELS)
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
        return patches / np.float32(_LEVELS)


def _on_disk(shape: tuple[int, int, int]) -> NDArray[np.uint16]:
    """Map a nameless temporary file that is really there: a full disk must show now, not as a crash later."""
    n_bytes = 2 * math.prod(shape)
    try:
        with tempfile.TemporaryFile(prefix="blemish-") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            return np.memmap(file, dtype=np.uint16, mode="w+", shape=shape)
    except OSError as error:
        raise OutputError(
            f"No room for {n_bytes // 2**20} MB of prepared images in {tempfile.gettempdir()} ({error.strerror}). "
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
