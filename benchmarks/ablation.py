"""What each ingredient is worth: two halves, one row each, by the honest protocol.

    python benchmarks/ablation.py DATA -o benchmarks/results/ablation.json [--half 1|2|both] [--seeds 3]
    python benchmarks/ablation.py DATA -o benchmarks/results/ablation.json --half 1 --variants "base,CutPaste"

Half 1 is the paper's method with one thing changed, mostly what its last section leaves to future work. Every row
trains for the same time, because some of the changes make a step cheaper. Half 2 begins with the paper's idea on our
network, adds one ingredient of our method after the other, and ends with our method less one each. Every row trains
for the same number of steps, on images prepared in the same way and with maps averaged over 3 x 3 cells; colours,
which are not trained, are left out of all.

Training sees good images only, a fifth of them is held out as `blemish.fit` does, and the last step is the model.
Variants live in this file: they are subclasses of the learners and networks, and functions that stand in for some of
`blemish.learning.nearest`. Rows that differ only in how a network is used share the network, as far as one call goes.

Every finished run is written to the JSON at once; the same command goes on where it was, and tries again what failed.
The tables on stdout are made from that file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accuracy import Run, commit, some_good, spread
from blemish.datasets import Sample, content_hash, find_categories, read_category
from blemish.detection.preparation import Preparation
from blemish.detection.scoring import N_WORST
from blemish.evaluation.protocols import ScoredSample, honest_protocol
from blemish.images import prepare, read_image, write_text
from blemish.learning import nearest
from blemish.learning.assembly import MOST_REFERENCES, SMOOTHING, find_suspects, hold_out, within_memory
from blemish.learning.defects import DEFECTS, Defect, erased_area, vary_light
from blemish.learning.fit import scales_for
from blemish.learning.graph import DistanceModel, smooth
from blemish.learning.losses import euclidean_distance, triplet_softmax_loss
from blemish.learning.nearest import NearestSettings, NearestTriplets, PreparedImages, locations
from blemish.learning.network import DIMENSION, PATCH_SIZE, STRIDE, BoundedNetwork, ResidualBlock, TripletNetwork
from blemish.learning.pretrained import universal_network
from blemish.learning.reference import Reference, ToPrototype, embed, mean_embedding, nearest_reference
from blemish.learning.survey import Survey, survey
from blemish.learning.training import TrainingSummary, train
from blemish.learning.triplets import (
    LEVELS,
    EpochPlan,
    PatchPyramid,
    PatchSettings,
    PatchTriplets,
    TrainingImage,
    cut_triplets,
)
from blemish.results import FloatArray

_MARGIN: Final = 1.0  # of the losses that have one
_SHRINKAGE: Final = 0.1  # share of the average variance in every covariance
_EPOCHS: Final = 5000  # planned, so that the minutes end first
_GRID: Final = 8  # pixels from one patch to the next whose contrast is measured
_POOLED_AFTER: Final = (1, 3)  # residual blocks after which the padded network pools once more
_POOLED_STRIDE: Final = 2 ** (1 + len(_POOLED_AFTER))

PairLoss = Callable[[Tensor, Tensor], Tensor]  # (d_positive, d_negative), (B,) each, to a scalar
Distance = Callable[[Tensor, Tensor], Tensor]  # (B, D) twice to (B,)
MakeReference = Callable[[TripletNetwork, Sequence[Path], int, Reference], nn.Module]  # from good images, at a side


# The images ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """The images of one category, divided by what they are for, and what a look at them has shown."""

    learned: tuple[Path, ...]  # train the network and make the reference set
    held_out: tuple[Path, ...]  # good, unseen in training
    test: tuple[Sample, ...]
    seen: Survey


@lru_cache(maxsize=1)
def divide(folder: Path, seed: int) -> Images:
    """Divide a category as `blemish.fit` and `blemish.evaluate` do: no copy of a test image was ever learned from."""
    good = hold_out(some_good(folder, {"seed": seed, "n_good": None}), folder.name, seed)
    used = {content_hash(path) for path in (*good.learned, *good.held_out)}
    test = tuple(sample for sample in read_category(folder) if content_hash(sample.path) not in used)
    return Images(good.learned, good.held_out, test, survey(good.learned))


@lru_cache(maxsize=1)
def prepared(paths: tuple[Path, ...], preparation: Preparation) -> PreparedImages:
    """Prepare images for our learner, once for all variants."""
    return PreparedImages(paths, preparation)


@lru_cache(maxsize=2)
def pyramid(paths: tuple[Path, ...], side: int) -> ContrastPyramid:
    """Prepare images for the paper's learner, once for all variants of a side."""
    return ContrastPyramid([TrainingImage(path, "") for path in paths], scales_for(side))


def auroc(model: DistanceModel, preparation: Preparation, test: Sequence[Sample]) -> dict[str, float]:
    """Judge a model on test images: AUROC per defect type and of all, rounded."""
    scored = []
    with torch.inference_mode():
        for sample in test:
            pixels = preparation.apply(read_image(sample.path))
            _, score, largest, mean = model(torch.from_numpy(pixels)[None, None], torch.ones(1, 1))
            scored.append(
                ScoredSample(
                    path=str(sample.path),
                    category=sample.category,
                    defect_type=sample.defect_type,
                    score=score.item(),
                    max_distance=largest.item(),
                    mean_distance=mean.item(),
                )
            )
    return {name: round(value, 4) for name, value in honest_protocol(scored).items()}


# Half 1: what can be changed about the paper's method ----------------------------------------------------------------


class NormalisedNetwork(TripletNetwork):
    """The paper's network with batch normalisation after every convolution; the same initial weights."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(generator)
        layers: list[nn.Module] = []
        for layer in self.stem:
            layers += [layer, nn.BatchNorm2d(DIMENSION)] if isinstance(layer, nn.Conv2d) else [layer]
        self.stem = nn.Sequential(*layers)
        for block in self.blocks:
            for name in ("first", "second"):
                setattr(block, name, nn.Sequential(getattr(block, name), nn.BatchNorm2d(DIMENSION)))


class PooledNetwork(TripletNetwork):
    """The paper's network with same padding, and pooling where that leaves cells too many; the same initial weights.

    Stride 8 instead of 2. A patch is still one embedding, the mean of its 8 x 8 cells; that mean, moved from cell to
    cell, makes the map of an image.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(generator)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                layer.padding = (1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed ``(B, 1, H, W)`` as ``(B, 16, h, w)`` with ``h = (H - 64) // 8 + 1``."""
        x: Tensor = self.stem(pixels.contiguous(memory_format=torch.channels_last))
        for index, block in enumerate(self.blocks):
            assert isinstance(block, ResidualBlock)
            x = x + torch.relu(block.second(torch.relu(block.first(x))))
            if index in _POOLED_AFTER:
                x = nn.functional.max_pool2d(x, 2)
        return nn.functional.avg_pool2d(x, PATCH_SIZE // _POOLED_STRIDE, stride=1)


def contrastive_loss(d_positive: Tensor, d_negative: Tensor) -> Tensor:
    """Pull positives to distance 0 and push negatives beyond a margin (Hadsell et al. 2006)."""
    return (d_positive.square() + torch.relu(_MARGIN - d_negative).square()).mean() / 2


def margin_loss(d_positive: Tensor, d_negative: Tensor) -> Tensor:
    """Ask that negatives be farther than positives by a margin (Schroff et al. 2015, of plain distances)."""
    return torch.relu(d_positive - d_negative + _MARGIN).mean()


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Measure one less the cosine between embeddings, pair by pair: ``(B, D)`` twice to ``(B,)``."""
    return 1 - nn.functional.cosine_similarity(a, b, dim=1)


class ToDirection(nn.Module):
    """Cosine distance to a prototype ``(D, h, w)`` or ``(D, 1, 1)``."""

    prototype: Tensor

    def __init__(self, prototype: Tensor) -> None:
        super().__init__()
        self.register_buffer("prototype", prototype)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings ``(B, D, h, w)`` to distances ``(B, h, w)``."""
        return cosine_distance(embeddings, self.prototype[None])


class ToDistribution(nn.Module):
    """Mahalanobis distance to good embeddings, per location or for the category.

    Args:
        mean: ``(D, h, w)`` or ``(D, 1, 1)``.
        whitening: ``(h, w, D, D)`` or ``(1, 1, D, D)``; what turns a deviation into one of unit covariance.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, mean: Tensor, whitening: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("whitening", whitening)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings ``(B, D, h, w)`` to distances ``(B, h, w)``."""
        deviations = (embeddings - self.mean).permute(0, 2, 3, 1).unsqueeze(-1)  # (B, h, w, D, 1)
        distances: Tensor = torch.linalg.vector_norm((self.whitening @ deviations).squeeze(-1), dim=3)
        return distances


def euclidean_reference(network: TripletNetwork, paths: Sequence[Path], side: int, kind: Reference) -> nn.Module:
    """Make the paper's reference."""
    return ToPrototype(mean_embedding(network, paths, side, kind))


def cosine_reference(network: TripletNetwork, paths: Sequence[Path], side: int, kind: Reference) -> nn.Module:
    """Take the paper's prototype, but measure angles."""
    return ToDirection(mean_embedding(network, paths, side, kind))


def mahalanobis_reference(network: TripletNetwork, paths: Sequence[Path], side: int, kind: Reference) -> nn.Module:
    """Take the paper's prototype, and the covariance around it.

    Every covariance is shrunk towards the average variance of the whole map, so that a place where good images never
    differ does not become infinitely strict.
    """
    mean = mean_embedding(network, paths, side, kind)
    total: Tensor | float = 0.0
    with torch.inference_mode():
        for path in paths:
            pixels = torch.from_numpy(prepare(read_image(path), side, side))[None, None]
            deviation = (network(pixels)[0] - mean).permute(1, 2, 0).double()  # (h, w, D)
            if kind is Reference.CATEGORY:
                cells = deviation.flatten(0, 1)
                total = total + (cells.T @ cells / len(cells))[None, None]
            else:
                total = total + deviation.unsqueeze(3) * deviation.unsqueeze(2)
        assert isinstance(total, Tensor), "there is at least one good image"
        covariance = total / len(paths)  # (h, w, D, D)
        average = covariance.diagonal(dim1=2, dim2=3).mean().clamp_min(1e-12)
        identity = torch.eye(covariance.shape[2], dtype=torch.float64)
        factor = torch.linalg.cholesky((1 - _SHRINKAGE) * covariance + _SHRINKAGE * average * identity)
        whitening = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    return ToDistribution(mean, whitening.float())


class ContrastPyramid(PatchPyramid):
    """The paper's images, and where on them patches show more than background."""

    def __init__(self, images: Sequence[TrainingImage], scales: dict[int, int]) -> None:
        super().__init__(images, scales)
        self._contrast: dict[tuple[int, int], NDArray[np.float64]] = {}  # image, side -> summed up over a grid

    def measure(self) -> None:
        """Look at all images, before training is timed."""
        for image in range(len(self)):
            for side in self.scales:
                self._contrast[image, side] = np.cumsum(self._deviations(image, side))

    def follow(self, places: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Move patches: a place is as likely as the standard deviation of the patch there is large. First, `measure`.

        Args:
            places: ``(n, 4)`` int: image, side of the scale, top, left; the last two are drawn anew.
            rng: of the draw.
        """
        moved = places.copy()
        for place in moved:
            side = int(place[1])
            cumulative = self._contrast[int(place[0]), side]  # (cells,)
            columns = len(range(0, side - PATCH_SIZE + 1, _GRID))
            cell = min(int(np.searchsorted(cumulative, rng.random() * cumulative[-1])), len(cumulative) - 1)
            corner = np.array(divmod(cell, columns)) * _GRID + rng.integers(_GRID, size=2)
            place[2:] = np.minimum(corner, side - PATCH_SIZE)
        return moved

    def _deviations(self, image: int, side: int) -> NDArray[np.float64]:
        """Measure the standard deviations of an image's patches over a grid: ``(rows, columns)``."""
        pixels = self._levels[side][image] / np.float64(LEVELS)
        window = (PATCH_SIZE, PATCH_SIZE)
        n = side - PATCH_SIZE + 1
        mean, square = (
            cv2.boxFilter(values, -1, window, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)[:n:_GRID, :n:_GRID]
            for values in (pixels, pixels**2)
        )
        # The least is above 0: an even image has no object to follow.
        return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)) + 1e-6, dtype=np.float64)


@dataclass(frozen=True)
class PaperLearning:
    """How a network of half 1 is taught; the defaults are the paper's."""

    network: Callable[[torch.Generator], TripletNetwork] = TripletNetwork
    loss: PairLoss = triplet_softmax_loss
    distance: Distance = euclidean_distance
    defect: str = "random_erasing"  # a name from `defects.DEFECTS`
    learning_rate: float = 1e-4
    shrunk: int = 1  # how many times smaller images are, so that a patch covers more
    on_object: bool = False  # patches follow contrast
    light: bool = False  # anchors and positives are lit differently


class PaperTriplets(PatchTriplets):
    """The paper's learner with something changed; without changes, its steps are those of `PatchTriplets`."""

    def __init__(self, pyramid: ContrastPyramid, learning: PaperLearning, seed: int) -> None:
        settings = PatchSettings(
            epochs=_EPOCHS, learning_rate=learning.learning_rate, defect=learning.defect, seed=seed
        )
        super().__init__(pyramid, settings)
        self.network = learning.network(torch.Generator().manual_seed(seed))
        self._images, self._learning = pyramid, learning
        if learning.on_object:
            pyramid.measure()

    def loss(self, step: int, device: torch.device) -> tuple[Tensor, int]:
        """Cut the batch of a step, and return the mean loss of its triplets and their number."""
        learning = self._learning
        plan, start, rng = self._batch(step)
        batch = slice(start, start + self._settings.batch_size)
        places = [part[batch] for part in (plan.anchors, plan.positives, plan.negatives)]
        if learning.on_object:
            places = [self._images.follow(part, rng) for part in places]
        patches = cut_triplets(self._images, EpochPlan(*places), slice(None), DEFECTS[learning.defect], rng)
        if learning.light:
            for patch in (*patches[0], *patches[1]):
                patch[:] = np.clip(vary_light(patch, rng)[0], 0, 1)
        pixels = torch.from_numpy(np.concatenate(patches)).unsqueeze(1).to(device)  # (3B, 1, 64, 64)
        anchors, positives, negatives = self.network(pixels).flatten(1).chunk(3)  # (B, 16) each
        d_positive, d_negative = learning.distance(anchors, positives), learning.distance(anchors, negatives)
        return learning.loss(d_positive, d_negative), len(anchors)


@cache
def taught_by_paper(
    learning: PaperLearning, images: Images, side: int, minutes: float, seed: int
) -> tuple[TripletNetwork, TrainingSummary]:
    """Teach a network of half 1, once for all variants that differ in something else."""
    learner = PaperTriplets(pyramid(images.learned, side), learning, seed)
    return learner.network, completed(train(learner, minutes=minutes))


# Half 2: what can be missing from our method -------------------------------------------------------------------------


class RandomTriplets(NearestTriplets):
    """The paper's triplets, dense: a random good location, a clean one and a defective one of other images."""

    def loss(self, step: int, device: torch.device) -> tuple[Tensor, int]:
        """Draw the batch of a step; return the mean loss of its triplets and their number."""
        batch, settings = self._batches.take(step), self._settings
        embeddings = self._embed([batch], device)  # (R + N, D, h, w)
        cells = embeddings.permute(0, 2, 3, 1)  # (R + N, h, w, D)
        good = cells[: len(batch.reference)].flatten(0, 2)
        others = cells[len(batch.reference) :].flatten(0, 2)
        generator = torch.Generator().manual_seed(int(np.random.default_rng([settings.seed, step, 1]).integers(2**62)))
        n = settings.triplets
        anchors = torch.randint(len(good), (n,), generator=generator)
        positives, negatives = (
            torch.multinomial(weights.flatten(), n, replacement=True, generator=generator)
            for weights in nearest.locations(batch.defects, settings.margin)
        )
        anchor = good.index_select(0, anchors.to(device))
        d_positive = euclidean_distance(anchor, others.index_select(0, positives.to(device)))
        d_negative = euclidean_distance(anchor, others.index_select(0, negatives.to(device)))
        return triplet_softmax_loss(d_positive, d_negative), n


def erasing_only(physical: float, others: Sequence[Defect], rng: np.random.Generator) -> Defect:
    """Stand in for the draw of a defect."""
    return erased_area


def no_camera(images: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Stand in for the camera."""
    return images


def sharp(rng: np.random.Generator) -> float:
    """Stand in for the lens."""
    return 0.0


def locations_by_area(
    defects: NDArray[np.int32], margin: int, counted: FloatArray | None = None
) -> tuple[Tensor, Tensor]:
    """Stand in for `nearest.locations`: a cell is defective when half of it is, and all such cells weigh the same.

    What is clean stays as it is, so that no defect is taught to be good.
    """
    clean, defective = locations(defects, margin, counted)
    covered = (torch.from_numpy(defects) > 0).float().unsqueeze(1)
    half = (nn.functional.avg_pool2d(covered, BoundedNetwork.STRIDE).squeeze(1) >= 0.5).float()
    return clean, half if half.any() else (defective > 0).float()


@contextmanager
def in_place_of(**functions: Callable[..., Any]) -> Iterator[None]:
    """Let `blemish.learning.nearest` work with other functions of these names for a while."""
    before = {name: getattr(nearest, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(nearest, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(nearest, name, function)


@dataclass(frozen=True)
class OurLearning:
    """How a network of half 2 is taught: the ingredients of our method that take part."""

    nearest: bool = True  # nearest-normal triplets and a reference set, not random triplets and a prototype
    same_place: bool = True  # compared at the same location where parts are aligned
    surface: bool = True  # all surface defects, not erased areas only
    structural: bool = True
    per_defect: bool = True  # every defect weighs the same, and any pixel makes a cell defective
    hard: bool = True
    elsewhere: bool = True
    camera: bool = True
    lens: bool = True
    physical: bool = True
    levels: bool = True
    universal: bool = True

    def kind(self, seen: Survey) -> Reference:
        """Say where embeddings are compared."""
        return seen.reference if self.same_place else Reference.CATEGORY

    def settings(self, seen: Survey, seed: int) -> NearestSettings:
        """Make the learner's settings."""
        ours = NearestSettings.of(self.kind(seen), seen.explained_as_they_lie, seed)
        return replace(
            ours,
            physical=ours.physical if self.physical else 0.0,
            structural=ours.structural if self.structural else 0.0,
            hard=ours.hard if self.hard else 0.0,
            elsewhere=ours.elsewhere if self.elsewhere else 0.0,
            near=ours.near or not self.levels,
        )

    def functions(self) -> dict[str, Callable[..., Any]]:
        """List what stands in for functions of `blemish.learning.nearest`."""
        stand_ins: dict[str, tuple[bool, Callable[..., Any]]] = {
            "any_defect": (self.surface, erasing_only),
            "locations": (self.per_defect, locations_by_area),
            "through_one_camera": (self.camera, no_camera),
            "any_softness": (self.lens, sharp),
        }
        return {name: function for name, (is_ours, function) in stand_ins.items() if not is_ours}


def taught_by_us(
    learning: OurLearning, images: Images, steps: int, seed: int
) -> tuple[BoundedNetwork, TrainingSummary]:
    """Teach a network of half 2, once for all variants that come to the same on these images."""
    # What the settings hold already is left out of the key: some ingredients mean nothing where parts are not aligned.
    effective = replace(learning, same_place=True, physical=True, structural=True, hard=True, elsewhere=True)
    return _taught_by_us(effective, learning.settings(images.seen, seed), images, steps)


@cache
def _taught_by_us(
    learning: OurLearning, settings: NearestSettings, images: Images, steps: int
) -> tuple[BoundedNetwork, TrainingSummary]:
    pixels = prepared(images.learned, images.seen.preparation(images.seen.reference))
    learner_type = NearestTriplets if learning.nearest else RandomTriplets
    start = universal_network() if learning.universal else None
    with in_place_of(**learning.functions()), closing(learner_type(pixels, settings, start)) as learner:
        return learner.network, completed(train(learner, n_steps=steps))


class Standardised(nn.Module):
    """Distances less their mean on good images, in units of their spread there.

    Args:
        reference: turns embeddings into distances, which are then smoothed.
        mean, spread: ``(h, w)`` of smoothed distances, or single numbers.
    """

    def __init__(self, reference: nn.Module, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.reference, self.mean, self.spread = reference, mean, spread

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings ``(B, D, h, w)`` to standardised distances ``(B, h, w)``."""
        return (smooth(self.reference(embeddings), SMOOTHING) - self.mean) / self.spread


def standardised(reference: nn.Module, held_out: Sequence[Tensor], kind: Reference) -> Standardised:
    """Standardise distances by those of held-out good images, per location where these are aligned.

    Args:
        reference: turns embeddings into distances.
        held_out: ``(D, h, w)`` embeddings.
        kind: elsewhere one mean and spread serve all locations, which leaves the order of images as it is.
    """
    with torch.inference_mode():
        maps = [smooth(reference(embedding[None]), SMOOTHING)[0] for embedding in held_out]
    if kind is Reference.CATEGORY:
        cells = torch.cat([distances.flatten() for distances in maps])
        return Standardised(reference, cells.mean(), cells.std().clamp_min(1e-6))
    stacked = torch.stack(maps)  # (n, h, w)
    deviation = stacked.std(dim=0, correction=0)
    # A place that happens to differ little in a few images must not drown all others.
    return Standardised(reference, stacked.mean(dim=0), deviation.clamp_min(max(0.1 * deviation.mean().item(), 1e-6)))


def our_reference(
    learning: OurLearning, network: BoundedNetwork, pixels: PreparedImages, kind: Reference, seed: int
) -> nn.Module:
    """Make the reference as `assembly.nearest_detector` does, or the mean embedding of the category."""
    generator = torch.Generator().manual_seed(seed)
    chosen = sorted(within_memory(pixels, torch.randperm(len(pixels), generator=generator).tolist()))
    embeddings = [embed(network, [pixels.whole(index)])[0] for index in chosen]
    if not learning.nearest:
        return ToPrototype(torch.stack([e.mean(dim=(1, 2), keepdim=True) for e in embeddings]).mean(dim=0))
    suspects = find_suspects(embeddings, kind, generator)
    usual = [embedding for index, embedding in enumerate(embeddings) if index not in suspects]
    return nearest_reference(usual, kind, generator)


# The variants --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """What a variant comes to on a category."""

    model: DistanceModel
    preparation: Preparation
    summary: TrainingSummary
    kind: Reference


@dataclass(frozen=True)
class Variant(ABC):
    """One row of the table."""

    name: str
    why: str

    @abstractmethod
    def build(self, images: Images, wanted: Run) -> Built:
        """Train a network, unless that has been done, and make the model that judges."""


@dataclass(frozen=True)
class PaperVariant(Variant):
    """A row of half 1."""

    learning: PaperLearning = PaperLearning()
    reference: MakeReference = euclidean_reference

    def build(self, images: Images, wanted: Run) -> Built:
        """Train for some minutes; the score is the maximum of the map."""
        side, seed = wanted["side"] // self.learning.shrunk, wanted["seed"]
        network, summary = taught_by_paper(self.learning, images, side, wanted["minutes"], seed)
        order = np.random.default_rng(seed).permutation(len(images.learned))[:MOST_REFERENCES]
        kind = images.seen.reference
        reference = self.reference(network, [images.learned[index] for index in sorted(order)], side, kind)
        preparation = Preparation.of_squares(side, PATCH_SIZE, STRIDE)
        return Built(DistanceModel(network, reference).eval(), preparation, summary, kind)


@dataclass(frozen=True)
class OurVariant(Variant):
    """A row of half 2."""

    learning: OurLearning = OurLearning()
    n_worst: int | None = N_WORST  # cells whose mean is the score; None: the single maximum
    standardised: bool = False  # the map is, by held-out good images

    def build(self, images: Images, wanted: Run) -> Built:
        """Train for some steps; images are prepared alike, however they are compared."""
        network, summary = taught_by_us(self.learning, images, wanted["steps"], wanted["seed"])
        preparation = images.seen.preparation(images.seen.reference)
        kind = self.learning.kind(images.seen)
        pixels = prepared(images.learned, preparation)
        reference, smoothing = our_reference(self.learning, network, pixels, kind, wanted["seed"]), SMOOTHING
        if self.standardised:
            held_out = embed(network, (preparation.apply(read_image(path)) for path in images.held_out))
            reference, smoothing = standardised(reference, held_out, kind), 1  # it smooths by itself
        model = DistanceModel(network, reference, smoothing, self.n_worst).eval()
        return Built(model, preparation, summary, kind)


PAPER: Final[tuple[PaperVariant, ...]] = (
    PaperVariant("base", "the paper's method"),
    PaperVariant(
        "batch normalisation",
        "future work of the paper; steadier and faster training",
        PaperLearning(network=NormalisedNetwork),
    ),
    PaperVariant(
        "same padding",
        "future work: same padding with more pooling, cheaper steps",
        PaperLearning(network=PooledNetwork),
    ),
    PaperVariant(
        "contrastive loss",
        "future work: another loss, of distances and not of order",
        PaperLearning(loss=contrastive_loss),
    ),
    PaperVariant("margin triplet loss", "future work: another loss, with a margin", PaperLearning(loss=margin_loss)),
    PaperVariant(
        "cosine distance",
        "future work: a bounded distance, in training and scoring",
        PaperLearning(distance=cosine_distance),
        cosine_reference,
    ),
    PaperVariant(
        "Mahalanobis distance", "future work: scoring by how good embeddings scatter", reference=mahalanobis_reference
    ),
    PaperVariant("larger patches", "future work: images at half the size", PaperLearning(shrunk=2)),
    PaperVariant("object patches", "future work: patches follow contrast", PaperLearning(on_object=True)),
    PaperVariant("light changes", "future work: augmented anchors and positives", PaperLearning(light=True)),
    PaperVariant("CutPaste", "negatives with a piece from elsewhere", PaperLearning(defect="cut_paste")),
    PaperVariant("learning rate 1e-3", "future work: tuned settings", PaperLearning(learning_rate=1e-3)),
    PaperVariant("Gaussian noise", "the paper's baseline, Staar et al. 2019", PaperLearning(defect="gaussian_noise")),
)

_STEPS: Final = (  # name, why, field of `OurLearning`
    ("nearest-normal", "train the distance that is measured, to the nearest of a bank", "nearest"),
    ("same location", "what belongs where, on aligned parts", "same_place"),
    ("surface defects", "stains, scratches, cracks and others beside erasing", "surface"),
    ("structural defects", "pieces of a part in the wrong place", "structural"),
    (
        "equal weight",
        "small and thin defects count: any pixel makes a cell defective, and all defects weigh the same",
        "per_defect",
    ),
    ("hard clean locations", "an image is judged by its worst locations", "hard"),
    ("elsewhere", "negatives without a seam, on aligned parts", "elsewhere"),
    ("one camera", "drawn defects are no sharper and no cleaner than photographs", "camera"),
    ("any lens", "drawn defects are as soft as photographs that are larger than what their lens resolves", "lens"),
    ("physical defects", "defects drawn as they come about, beside those that are pasted", "physical"),
    ("three levels where a place does not say it all", "fine and coarse defects on one map", "levels"),
    ("universal network", "training begins with a network that has seen surfaces and defects", "universal"),
)


def on_the_way() -> Iterator[OurVariant]:
    """Begin with random triplets and add one ingredient after the other."""
    learning = OurLearning(**{field: False for _, _, field in _STEPS})
    yield OurVariant("random triplets", "the paper's idea, dense on our network", learning, n_worst=None)
    for name, why, field in _STEPS:
        learning = replace(learning, **{field: True})
        yield OurVariant(f"+ {name}", why, learning, n_worst=None)
    yield OurVariant("ours", "+ mean of the 50 worst cells, steadier than the worst", learning)


OURS: Final[tuple[OurVariant, ...]] = (
    *on_the_way(),
    OurVariant("without elsewhere", "ours less one", OurLearning(elsewhere=False)),
    OurVariant("without camera", "ours less one", OurLearning(camera=False)),
    OurVariant("without lens", "ours less one", OurLearning(lens=False)),
    OurVariant("without physical defects", "ours less one", OurLearning(physical=False)),
    OurVariant("without hard", "ours less one", OurLearning(hard=False)),
    OurVariant("without levels", "ours less one", OurLearning(levels=False)),
    OurVariant("from scratch", "ours less one", OurLearning(universal=False)),
    OurVariant("single maximum", "ours less the mean of the worst", n_worst=None),
    OurVariant("standardised map", "ours and, per location, what held-out good images show", standardised=True),
)

HALVES: Final[dict[int, tuple[Variant, ...]]] = {1: PAPER, 2: OURS}


# Running and telling -------------------------------------------------------------------------------------------------


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of categories")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON file of the runs")
    parser.add_argument("--categories", default="transistor,magnetic_tile", help="comma-separated")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, ...")
    parser.add_argument("--half", choices=("1", "2", "both"), default="both")
    parser.add_argument("--variants", default="", help="names, comma-separated; by default all")
    parser.add_argument("--paper-minutes", type=float, default=2.0, help="of training in half 1")
    parser.add_argument(
        "--side", type=int, choices=(1024, 512, 256), default=512, help="pixels to which images are scaled in half 1"
    )
    parser.add_argument("--steps", type=int, default=600, help="of training in half 2")
    options = parser.parse_args()
    known = [variant.name for variants in HALVES.values() for variant in variants]
    if unknown := [name for name in options.variants.split(",") if name and name not in known]:
        parser.error(f"found variants {', '.join(unknown)}; expected some of: {', '.join(known)}")

    found = find_categories(options.data)
    if missing := [name for name in options.categories.split(",") if name not in found]:
        parser.error(f"found no category {', '.join(missing)} in {options.data}; it holds: {', '.join(found)}")
    runs: list[Run] = json.loads(options.output.read_text()) if options.output.exists() else []
    code, failures = commit(), []  # now: the code that was loaded, not what it is changed to meanwhile
    for wanted, variant in plan(options):
        if any(wanted.items() <= run.items() for run in runs):
            continue
        try:
            run = {**wanted, **carry_out(wanted, variant, found[wanted["category"]]), "commit": code}
        except Exception as error:  # one bad run must not cost the others
            failures.append(f"{wanted}: {error!r}")
            print(f"failed, {failures[-1]}", file=sys.stderr, flush=True)
            continue
        runs.append(run)
        write_text(options.output, json.dumps(runs, indent=1))
        print(f"{wanted}: {run['auroc']['all']:.3f}", flush=True)
    print(tables(runs))
    if failures:
        sys.exit("\n".join([f"{len(failures)} runs failed:", *failures]))


def plan(options: argparse.Namespace) -> Iterator[tuple[Run, Variant]]:
    """List the runs that were asked for, by what makes them different; one seed of all before the next."""
    chosen = options.variants.split(",") if options.variants else None
    settings: dict[int, Run] = {
        1: {"minutes": options.paper_minutes, "side": options.side},
        2: {"steps": options.steps},
    }
    for seed in range(options.seeds):
        for half in (1, 2) if options.half == "both" else (int(options.half),):
            for category in options.categories.split(","):
                for variant in HALVES[half]:
                    if chosen is None or variant.name in chosen:
                        run = {"half": half, "variant": variant.name, "category": category, "seed": seed}
                        yield {**run, **settings[half]}, variant


def carry_out(wanted: Run, variant: Variant, folder: Path) -> Run:
    """Build a variant, judge it, and report."""
    images = divide(folder, wanted["seed"])
    built = variant.build(images, wanted)
    return {
        "auroc": auroc(built.model, built.preparation, images.test),
        "reference": built.kind.value,
        "steps": built.summary.steps,
        "training_s": built.summary.elapsed_s,
        "final_loss": round(built.summary.final_loss, 4),
    }


def completed(summary: TrainingSummary) -> TrainingSummary:
    """Pass on what a finished training run did.

    Raises:
        KeyboardInterrupt: the user stopped it; what was learned so far is no result.
    """
    if summary.interrupted:
        raise KeyboardInterrupt
    return summary


def tables(runs: list[Run]) -> str:
    """Lay out every half and setting as Markdown: a row per variant, a column per category."""
    parts = []
    for half, variants in HALVES.items():
        ours = [run for run in runs if run["half"] == half]
        for setting in sorted({setting_of(run) for run in ours}):
            group = [run for run in ours if setting_of(run) == setting]
            parts += [f"Half {half}, {setting}", table(group, variants)]
    return "\n\n".join(parts)


def setting_of(run: Run) -> str:
    """Say in words with what all rows of a table were run."""
    return f"{run['minutes']:g} minutes at side {run['side']}" if run["half"] == 1 else f"{run['steps']} steps"


def table(runs: list[Run], variants: Sequence[Variant]) -> str:
    """Lay out AUROC, mean and spread over the seeds, and in brackets the mean change from the first variant."""
    categories = sorted({run["category"] for run in runs})
    results = {(run["variant"], run["category"], run["seed"]): run["auroc"]["all"] for run in runs}
    lines = [
        "| " + " | ".join(["variant", *categories, "mean change", "steps", "why"]) + " |",
        "| :-- |" + " --: |" * (len(categories) + 2) + " :-- |",
    ]
    first = variants[0].name
    for variant in variants:
        its_runs = [run for run in runs if run["variant"] == variant.name]
        if not its_runs:
            continue
        cells, changes = [], []
        for category in categories:
            own = {run["seed"]: run["auroc"]["all"] for run in its_runs if run["category"] == category}
            shared = [seed for seed in own if (first, category, seed) in results and variant.name != first]
            cell = spread([*own.values()])
            if shared:  # seeds are compared with themselves
                changes.append(statistics.mean(own[seed] - results[first, category, seed] for seed in shared))
                cell += f" ({changes[-1]:+.3f})"
            cells.append(cell)
        change = f"{statistics.mean(changes):+.3f}" if changes else ""
        steps = f"{statistics.mean(run['steps'] for run in its_runs):.0f}"
        lines.append("| " + " | ".join([variant.name, *cells, change, steps, variant.why]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
