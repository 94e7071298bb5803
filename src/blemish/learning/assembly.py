"""From a trained network and good images to a Detector: reference set, graph, proof, threshold, provenance."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

import blemish
from blemish.datasets import by_content, content_hash, spread_over
from blemish.detection.decision import least_images
from blemish.detection.detector import Detector, limited
from blemish.detection.drift import image_statistics
from blemish.detection.evidence import Patches
from blemish.detection.model_file import HELD_OUT, LEARNED, Description, Model
from blemish.detection.preparation import Preparation
from blemish.detection.scoring import N_WORST
from blemish.detection.tiling import at_once
from blemish.detection.zones import to_text
from blemish.errors import DatasetError, SettingError
from blemish.learning.graph import DistanceModel, build_graph, check_graph, mean_of_worst, smooth
from blemish.learning.nearest import PreparedImages
from blemish.learning.network import (
    COLOUR_SHARE,
    GREY_SHARE,
    PATCH_SIZE,
    STRIDE,
    BoundedNetwork,
    ColouredNetwork,
    TripletNetwork,
    cell_colours,
    weights_to_arrays,
)
from blemish.learning.pictures import patches_of
from blemish.learning.reference import (
    BANK,
    SHARES,
    SQUARE_FLOOR,
    Reference,
    ToNearest,
    ToNearestHere,
    ToPrototype,
    embed,
    mean_embedding,
    nearest_reference,
    reference_of_shares,
)
from blemish.progress import Progress, silent
from blemish.results import FloatArray, Threshold
from blemish.strips import GreyImage

SMOOTHING: Final = 3  # cells a side over which our distances are averaged: single cells are noise
MOST_REFERENCES: Final = 200  # good images behind our reference set; more of them add little but time
_MOST_CELLS: Final = 4_000_000  # of all of them together, which are in memory at once: 512 MB
MOST_CELLS_OF_ONE: Final = 400_000  # of one of them, which the network embeds whole: some 400 MB for a while
_HELD_OUT_SHARE: Final = 0.2  # share of the good images that set the threshold and are kept out of training
_LEAST_REFERENCE: Final = 16  # good images left for the reference set where more than a fifth is held out
_COLOUR_WORTH: Final = 4.0  # distance of good colours from each other, as a multiple of that in grey
_MOST_GAIN: Final = 100.0  # of colours: one level of 255 then weighs as much as nearly the farthest in grey
_FARTHEST_USUAL: Final = 2.0  # times gain, from the usual colour, of most good ones: farther out a fifth is told apart
_MOST_COLOURS: Final = 0.95
_N_FOR_COLOUR: Final = 16  # images that tell what they are worth
_CELLS_COMPARED: Final = 1024  # of each of them
_CANDIDATES: Final = 8  # times as many cells of the others, among which the most alike is looked for
_N_CHECKED: Final = 2  # images on which graph and PyTorch are compared
_SUSPECT: Final = 8.0  # robust standard deviations above the usual score at which a good image is suspected
_FEWEST_JUDGED: Final = 10  # scores that tell what is usual
_MOST_SUSPECTS: Final = 0.05  # share of the images that may be left out as suspects


@dataclass(frozen=True)
class GoodImages:
    """Good images of one category, divided by what they are for."""

    category: str
    learned: tuple[Path, ...]  # train the network and make the reference set
    held_out: tuple[Path, ...]  # set the threshold
    in_turn: tuple[Path, ...] = ()  # where none is held out, those of `learned` that set it, each left out in turn


@dataclass(frozen=True)
class Terms:
    """What is asked of a detector, beside the images that it is made from.

    Raises:
        SettingError: the seed is none that NumPy and PyTorch both take.
    """

    alpha: float  # accepted false-alarm rate
    unsure: float | None = None  # that of the lower limit, as for `Detector.calibrate`
    ignored: NDArray[np.bool_] | None = None  # where nothing counts, as for `Detector.with_zones`
    seed: int = 0  # of every draw

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:  # NumPy takes none below, PyTorch none above
            raise SettingError(f"Seed is {self.seed}; expected 0 or more, and less than 2^64.")

    def counted(self, preparation: Preparation, prepared: PreparedImages, index: int) -> FloatArray | None:
        """Say which cells of a prepared image count, as `Preparation.counted` does."""
        return preparation.counted(self.ignored, *prepared.size(index), prepared.pose(index))


@dataclass(frozen=True)
class Making:
    """How a detector came about; goes into its model file as it is."""

    method: str  # "nearest", "tayeh2020" or "staar2019"
    training: dict[str, Any]  # settings and summary of the training run
    hashes: dict[str, dict[str, str]]  # from `provenance`


def hold_out(paths: Sequence[Path], category: str, seed: int, learned: frozenset[str] = frozenset()) -> GoodImages:
    """Divide good images at random: a fifth, at least one, is kept out of training to set the threshold.

    Copies of an image count once, or a held-out image could be one that was learned from. Of images that a borrowed
    network has learned from none is held out as long as there are others; else `Detector.calibrate` will refuse them.

    Args:
        paths: good images.
        category: theirs.
        seed: of the draw.
        learned: content hashes of images that a borrowed network has learned from.

    Raises:
        DatasetError: fewer than two different images.
    """
    different = by_content(paths)
    is_learned = [content in learned for content in different]
    paths = list(different.values())
    if len(paths) < 2:
        raise DatasetError(
            f"Found {len(paths)} good image; expected at least 2 different ones, one to learn from and one to set the "
            "threshold. Some 50 or more make a useful detector."
        )
    drawn = np.random.default_rng(seed).permutation(len(paths)).tolist()
    order = sorted(drawn, key=lambda index: is_learned[index])  # stable: those learned from come last
    n_fresh = len(paths) - sum(is_learned)
    n_held_out = min(max(1, round(_HELD_OUT_SHARE * len(paths))), n_fresh or len(paths))
    first, rest = sorted(order[:n_held_out]), sorted(order[n_held_out:])
    return GoodImages(category, learned=tuple(paths[i] for i in rest), held_out=tuple(paths[i] for i in first))


def divide_unseen(
    paths: Sequence[Path], category: str, seed: int, alpha: float, learned: frozenset[str] = frozenset()
) -> GoodImages:
    """Divide good images that the network was not trained on, so that alpha can be promised if at all.

    A fifth is held out, as for training. Where that is too few for alpha, as many are held out as it takes, or as many
    as leave `_LEAST_REFERENCE` for the reference set, if those are `SHARES` at least, or all that were not learned
    from. Else up to `SHARES` images, drawn at random, do both, each left out of the reference set in turn: that
    promises as much as if all of them were held out (docs/method.md, section 3.2). Of more than these there are at most
    so many that the others would have been held out, and they are not used. Nor are more than the reference set takes
    (`MOST_REFERENCES`), drawn at random: to look at thousands would take minutes and tell little more.

    Args:
        paths, category, seed, learned: as for `hold_out`. Images that were learned from only make the reference set.
        alpha: accepted false-alarm rate.

    Raises:
        DatasetError: fewer than two different images.
    """
    divided = hold_out(paths, category, seed, learned)
    needed = least_images(alpha)
    whole = sorted((*divided.learned, *divided.held_out))
    fresh = [path for path in whole if content_hash(path) not in learned]
    if len(divided.held_out) >= min(needed, len(fresh)):
        return replace(divided, learned=_references(divided.learned, seed))
    drawn = [fresh[index] for index in np.random.default_rng(seed).permutation(len(fresh)).tolist()]
    n_held_out = min(needed, len(fresh), len(whole) - _LEAST_REFERENCE)
    if n_held_out >= min(needed, SHARES, len(fresh)):
        held_out = sorted(drawn[:n_held_out])
        rest = [path for path in whole if path not in held_out]
        return GoodImages(category, learned=_references(rest, seed), held_out=tuple(held_out))
    in_turn = sorted(drawn[:SHARES])
    known = [path for path in whole if path not in fresh][: SHARES - len(in_turn)]
    return GoodImages(category, learned=(*in_turn, *known), held_out=(), in_turn=tuple(in_turn))


def _references(paths: Sequence[Path], seed: int) -> tuple[Path, ...]:
    """Draw as many as the reference set takes, in the order in which they were given."""
    drawn = np.random.default_rng(seed).permutation(len(paths))[:MOST_REFERENCES]
    return tuple(paths[index] for index in sorted(drawn.tolist()))


def nearest_detector(
    network: BoundedNetwork,
    prepared: PreparedImages,
    images: GoodImages,
    terms: Terms,
    *,
    kind: Reference,
    preparation: Preparation,
    notes: Sequence[str],
    making: Making,
    progress: Progress = silent,
) -> Detector:
    """Join our network and good images of a category to a detector.

    Args:
        network: trained.
        prepared: ``images.learned``, prepared; at most `MOST_REFERENCES` and `_MOST_CELLS` make the reference set.
        images: which set the threshold.
        terms: what is asked.
        kind: where embeddings are compared.
        preparation: how images were prepared.
        notes: what was chosen for the images, and why.
        making: how the network came about.
        progress: told after every image.

    Raises:
        DatasetError: one of the images that are left out in turn is too large to be embedded whole. TrainingError: the
        graph does not score like PyTorch (`learning.graph.check_graph`).
    """
    generator = torch.Generator().manual_seed(terms.seed)
    order = torch.randperm(len(prepared), generator=generator).tolist()
    chosen = _all_of(prepared, images.learned) if images.in_turn else sorted(within_memory(prepared, order))
    counted = [terms.counted(preparation, prepared, index) for index in chosen]
    embeddings: list[Tensor] = []
    for done, index in enumerate(chosen, start=1):
        embeddings += embed(network, [prepared.whole(index)])
        progress("making the reference set", done, len(chosen))
    whole: BoundedNetwork | ColouredNetwork = network
    if preparation.coloured:
        colours = [cell_colours(torch.from_numpy(prepared.colours(index))) for index in chosen]
        whole = coloured_network(network, embeddings, colours, kind, generator, counted)
        for index, colour in enumerate(colours):  # in place: all together may take half a gigabyte
            embeddings[index] = whole.joined(embeddings[index][None], colour[None])[0]
    # Of the few that set the limit too, none is left out: it would promise more than is known of parts like them.
    suspects = [] if images.in_turn else find_suspects(embeddings, kind, generator, counted)
    usual = [index for index in range(len(chosen)) if index not in suspects]
    good = [embeddings[index] for index in usual]
    reference = (reference_of_shares if images.in_turn else nearest_reference)(good, kind, generator)
    patches = patches_of(reference, good, lambda index: prepared.picture(chosen[usual[index]]))
    model = DistanceModel(whole, reference, SMOOTHING, N_WORST).eval()
    said = list(notes)
    if suspects:
        named = ", ".join(images.learned[chosen[index]].name for index in suspects)
        said.append(
            f"Left out of the reference set, because they look unlike the other good images: {named}. "
            "Look at them: are they really good?"
        )
    preparation = replace(preparation, patch_size=network.view)
    found = scores_in_turn(model, images, embeddings, counted, progress) if images.in_turn else {}
    return build_detector(
        model,
        images,
        terms,
        kind=kind,
        preparation=preparation,
        notes=said,
        making=making,
        patches=patches,
        in_turn=found,
        progress=progress,
    )


def coloured_network(
    network: BoundedNetwork,
    embeddings: Sequence[Tensor],
    colours: Sequence[Tensor],
    kind: Reference,
    generator: torch.Generator,
    counted: Sequence[FloatArray | None] = (),
) -> ColouredNetwork:
    """Add colours to a network that sees grey, so that they are worth what they tell of good images.

    `_N_FOR_COLOUR` of them, spread over all, tell it. Every cell is compared with that cell of the other good
    images which looks most like it in grey. How far their colours lie apart is what good colours do; it is made
    `_COLOUR_WORTH` times as much of a distance as what lies between the two in grey. So the steadier the colours of
    good parts are, the more a difference of them counts; but never so much that most good colours lie where the
    sphere tells them hardly apart (`_FARTHEST_USUAL`).

    Args:
        network: trained.
        embeddings: ``(D, h, w)`` of every good image, in grey.
        colours: from `cell_colours`, ``(2, h, w)`` of every good image.
        kind: where embeddings are compared.
        generator: of the cells that are compared.
        counted: as for `scores_in_turn`.
    """
    seen = [
        _Seen(embeddings[index], colours[index], _weights(counted, index).expand(colours[index].shape[1:]) > 0)
        for index in spread_over(range(len(colours)), _N_FOR_COLOUR)
    ]
    apart = [_from_most_alike(seen, index, kind, generator) for index in range(len(seen))]
    apart = [each for each in apart if len(each)]
    if not apart:  # nothing counts, or nowhere on two images
        return ColouredNetwork(network, torch.full((2,), 0.5), 1.0).eval()
    cells = [each.colours[:, each.counts] for each in seen if each.counts.any()]  # (2, n) each
    usual = torch.cat(cells, dim=1).median(dim=1).values  # (2,)
    grey, colour = (_usual_square([each[:, part] for each in apart]) for part in (slice(None, -2), slice(-2, None)))
    worth = _COLOUR_WORTH * (grey.clamp_min(SQUARE_FLOOR) / colour).sqrt()
    gain = float(worth * GREY_SHARE / (COLOUR_SHARE * BoundedNetwork.RADIUS))
    far = [float((each - usual[:, None]).norm(dim=0).quantile(_MOST_COLOURS)) for each in cells]
    gain = min(gain, _MOST_GAIN, _FARTHEST_USUAL / max(float(np.median(far)), 1e-6))
    return ColouredNetwork(network, usual, gain).eval()


def _usual_square(vectors: Sequence[Tensor]) -> Tensor:
    """Return the usual square of the length of vectors ``(n, D)``, at least one of each image.

    It is the median over images of the mean of the four fifths that are shortest: one image among the good ones that is
    of another colour, whose cells others are compared with too, must not say what good colours do.
    """
    squares = [each.square().sum(dim=1).sort().values for each in vectors]
    return torch.stack([each[: -(len(each) // 5) or None].mean() for each in squares]).median()


@dataclass(frozen=True)
class _Seen:
    """What one good image shows."""

    grey: Tensor  # (D, h, w), its embedding
    colours: Tensor  # (2, h, w)
    counts: Tensor  # (h, w) bool: which cells do

    def some(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw at most n of the cells that count: their rows and columns, ``(2, n)``."""
        where = self.counts.nonzero()
        return where[torch.randperm(len(where), generator=generator)[:n]].T

    def at(self, places: Tensor) -> Tensor:
        """Return embeddings and colours at rows and columns ``(2, n)``: ``(n, D + 2)``."""
        rows, columns = places
        return torch.cat([self.grey[:, rows, columns], self.colours[:, rows, columns]]).T


def _from_most_alike(seen: Sequence[_Seen], index: int, kind: Reference, generator: torch.Generator) -> Tensor:
    """Tell some cells of an image from those of the others that look most like them in grey.

    Args:
        seen: every image.
        index: of the image; where there is no other, it is compared with itself.
        kind: at the same location, or among some cells from anywhere.
        generator: of the cells.

    Returns:
        The differences, ``(n, D + 2)``; none where no cell counts.
    """
    places = seen[index].some(_CELLS_COMPARED, generator)
    cells = seen[index].at(places)  # (n, D + 2)
    others = [each for other, each in enumerate(seen) if other != index] or list(seen)
    if kind is Reference.LOCATION:
        there = torch.stack([each.at(places) for each in others], dim=1)  # (n, others, D + 2)
        alike = (there[..., :-2] @ cells[:, :-2, None]).squeeze(2)  # (n, others)
        alike[~torch.stack([each.counts[*places] for each in others], dim=1)] = -torch.inf
        nearest = alike.max(dim=1)
        return (cells - there[torch.arange(len(cells)), nearest.indices])[nearest.values > -torch.inf]
    n_candidates = _CELLS_COMPARED * _CANDIDATES // len(others)
    there = torch.cat([each.at(each.some(n_candidates, generator)) for each in others])  # (m, D + 2)
    return cells - there[(cells[:, :-2] @ there[:, :-2].T).argmax(dim=1)] if len(there) else cells[:0]


def within_memory(prepared: PreparedImages, order: Sequence[int]) -> list[int]:
    """Choose images for the reference set, in this order, as many as `MOST_REFERENCES` and `_MOST_CELLS` allow.

    None has more than `_most_of_one` allows.
    """
    cells = _cells(prepared)
    chosen: list[int] = []
    most, left = _most_of_one(cells), max(_MOST_CELLS, int(cells.min()))
    for index in order:
        if len(chosen) < MOST_REFERENCES and cells[index] <= min(left, most):
            chosen.append(index)
            left -= int(cells[index])
    return chosen


def _all_of(prepared: PreparedImages, paths: Sequence[Path]) -> list[int]:
    """Choose all images for the reference set, where none can be passed over because each sets the limit too.

    Raises:
        DatasetError: one has more cells than `_most_of_one` allows.
    """
    cells = _cells(prepared)
    largest, most = int(cells.argmax()), _most_of_one(cells)
    if cells[largest] > most:
        raise DatasetError(too_large(paths[largest], prepared.size(largest), prepared.shape(largest), most))
    return list(range(len(prepared)))


def _cells(prepared: PreparedImages) -> NDArray[np.int64]:
    """Count the cells of every image: ``(n,)``."""
    n_cells: NDArray[np.int64] = prepared.shapes.prod(axis=1) // BoundedNetwork.STRIDE**2
    return n_cells


def _most_of_one(cells: NDArray[np.int64]) -> int:
    """Say how many cells an image may have: `MOST_CELLS_OF_ONE`, or what the smallest of all has, which always may."""
    return max(MOST_CELLS_OF_ONE, int(cells.min()))


def too_large(path: Path, size: tuple[int, ...], shape: tuple[int, int], most: int) -> str:
    """Say that an image of this size, and of this shape once prepared, has more than so many cells, and what to do."""
    return (
        f"'{path}' has {size[0]} x {size[1]} pixels, {shape[0]} x {shape[1]} once it is prepared; expected at most "
        f"{most * BoundedNetwork.STRIDE**2:,} of these, for it is embedded whole. Leave it out, or cut it into images "
        "about as large as the others."
    )


def scores_in_turn(
    model: DistanceModel,
    images: GoodImages,
    embeddings: Sequence[Tensor],
    counted: Sequence[FloatArray | None] = (),
    progress: Progress = silent,
) -> dict[Path, tuple[float, float]]:
    """Score images as if they were new: each against the reference set without its own embeddings.

    Args:
        model: with a reference set from `reference_of_shares`.
        images: those of ``in_turn`` are scored.
        embeddings: ``(D, h, w)`` of ``images.learned``, in this order, of which those of ``in_turn`` are the first; all
            of them are in the reference set.
        counted: of each ``(h, w)``, 0 for cells that do not count, else 1, or None where all count; empty: all of all.
        progress: told after every image.

    Returns:
        Score and mean distance of each.
    """
    reference = model.reference
    assert isinstance(reference, (ToNearest, ToNearestHere)), "as from `reference_of_shares`"
    found: dict[Path, tuple[float, float]] = {}
    for index, path in enumerate(images.in_turn):  # the first of those learned from
        others = DistanceModel(model.network, reference.without(index), model.smoothing, model.n_worst)
        with torch.inference_mode():
            _, score, _, mean = others.of_embeddings(embeddings[index][None], _weights(counted, index))
        found[path] = (score.item(), mean.item())
        progress("leaving out images in turn", len(found), len(images.in_turn))
    return found


def _weights(counted: Sequence[FloatArray | None], index: int) -> Tensor:
    """Return which cells of an image count, ``(h, w)``, or ``(1, 1)`` where all do."""
    cells = counted[index] if counted else None
    return torch.ones(1, 1) if cells is None else torch.from_numpy(cells)


def find_suspects(
    embeddings: Sequence[Tensor],
    kind: Reference,
    generator: torch.Generator,
    counted: Sequence[FloatArray | None] = (),
) -> list[int]:
    """Find images that look unlike the other good ones: a training set is seldom as good as its name.

    Each half of the images is compared with a reference set of the other half, which is half as large. An image is
    suspected when its score is `_SUSPECT` robust standard deviations (1.48 times the median absolute deviation) above
    the median.

    Args:
        embeddings: ``(D, h, w)`` of every image.
        kind: where they are compared.
        generator: of the halves and the candidates.
        counted: as for `scores_in_turn`.

    Returns:
        Indices of the suspects, the most unusual first; at most one in twenty.
    """
    n = len(embeddings)
    most = int(_MOST_SUSPECTS * n)
    if most == 0:
        return []
    order = torch.randperm(n, generator=generator).tolist()
    scores = np.empty(n)
    for judged, others in ((order[: n // 2], order[n // 2 :]), (order[n // 2 :], order[: n // 2])):
        reference = nearest_reference([embeddings[index] for index in others], kind, generator, BANK // 2)
        for index in judged:
            distances = smooth(reference(embeddings[index][None]), SMOOTHING) * _weights(counted, index)  # (1, h, w)
            scores[index] = mean_of_worst(distances, N_WORST).item()
    return _unusual(scores)[:most]


def _unusual(scores: NDArray[np.float64]) -> list[int]:
    """Return the indices of scores that lie far above the others, the highest first."""
    if len(scores) < _FEWEST_JUDGED:
        return []
    median = np.median(scores)
    spread = 1.48 * np.median(np.abs(scores - median))
    return [index for index in np.argsort(-scores).tolist() if scores[index] > median + _SUSPECT * spread]


def prototype_detector(
    network: TripletNetwork,
    images: GoodImages,
    terms: Terms,
    *,
    kind: Reference,
    side: int,
    making: Making,
    progress: Progress = silent,
) -> Detector:
    """Join the paper's network and good images of a category to a detector.

    Args:
        network: trained.
        images: whose prototype is made, and which set the threshold.
        terms: what is asked; nothing is drawn.
        kind: one prototype per location, or one for all.
        side: pixels a side to which images are scaled.
        making: how the network came about.
        progress: told after every image.

    Raises:
        TrainingError: the graph does not score like PyTorch (`learning.graph.check_graph`).
    """
    prototype = mean_embedding(network, images.learned, side, kind, progress)
    preparation = Preparation.of_squares(side, PATCH_SIZE, STRIDE)
    model = DistanceModel(network, ToPrototype(prototype)).eval()
    return build_detector(
        model, images, terms, kind=kind, preparation=preparation, notes=[], making=making, progress=progress
    )


def build_detector(
    model: DistanceModel,
    images: GoodImages,
    terms: Terms,
    *,
    kind: Reference,
    preparation: Preparation,
    notes: Sequence[str],
    making: Making,
    patches: Patches | None = None,
    in_turn: Mapping[Path, tuple[float, float]] = MappingProxyType({}),
    progress: Progress = silent,
) -> Detector:
    """Write the graph of a model, prove it, and set the threshold, by held-out images or those left out in turn."""
    graph = build_graph(model)
    first = (*images.held_out, *images.learned)[:_N_CHECKED]
    prepared = (preparation.prepared(GreyImage.open(path)) for path in first)
    checked = (at_once(image.all_pixels(), preparation) for image in prepared)
    description = Description(
        category=images.category,
        method=making.method,
        reference=kind.value,
        preparation=preparation,
        threshold=Threshold(value=math.inf, alpha=1.0, promised_alpha=1.0, n_images=0),  # for the moment
        good_scores={},
        graph_difference=check_graph(graph, model, checked),
        notes=list(notes),
        training=making.training,
        provenance={"images": making.hashes, "made": _made()},
        history=[],
        ignored=None if terms.ignored is None else to_text(terms.ignored),
    )
    packed = None if patches is None else patches.to_bytes()
    uncalibrated = Detector(Model(description, graph, weights_to_arrays(model.network), packed))
    if in_turn:
        about = _set_in_turn(uncalibrated, in_turn, terms, progress)
    else:
        about = uncalibrated.calibrate(
            images.held_out, alpha=terms.alpha, unsure=terms.unsure, progress=progress
        ).description
    said = [*about.notes, *_odd_images(images.in_turn or images.held_out, about.good_scores)]
    return Detector(replace(uncalibrated.model, description=replace(about, notes=said, history=[])))


def _set_in_turn(
    detector: Detector,
    in_turn: Mapping[Path, tuple[float, float]],
    terms: Terms,
    progress: Progress,
) -> Description:
    """Set the threshold by images that were left out in turn."""
    scores, own, statistics = {}, {}, []
    for path, (score, mean_distance) in in_turn.items():
        found, content = detector.inspect(path), content_hash(path)
        scores[content], own[content] = score, found.score
        statistics.append(image_statistics(found.grey, mean_distance))
        progress("setting the threshold", len(scores), len(in_turn))
    note = (
        f"So few good images are not divided: {len(scores)} make the reference set and set the threshold too, for "
        "which each was compared with the others only."
    )
    about = limited(detector.description, scores, statistics, terms.alpha, terms.unsure)
    return replace(about, own_scores=own, notes=[*about.notes, note])


def _odd_images(images: Sequence[Path], scores: dict[str, float]) -> list[str]:
    """Name images that look unlike the others that set the threshold: a few can lift it above every defect."""
    odd = _unusual(np.array(list(scores.values())))  # in the order of the images, which are all different
    if not odd:
        return []
    named = ", ".join(images[index].name for index in odd)
    return [
        f"Look unlike the other good images that set the threshold, and may have raised it: {named}. "
        "Look at them: if they are not really good, remove them and fit again."
    ]


def provenance(images: Sequence[GoodImages]) -> dict[str, dict[str, str]]:
    """Record which images were used for what.

    Returns:
        Category -> {SHA-256 of the file: "learned" or "held out"}, in the order of the images.
    """
    return {
        part.category: {
            **{content_hash(path): HELD_OUT for path in part.held_out},
            **{content_hash(path): LEARNED for path in part.learned},
        }
        for part in images
    }


def run_id(hashes: dict[str, dict[str, str]]) -> str:
    """Name a training run by what its result depends on beside the settings.

    That is the images it learns from, in their order, and the versions of Blemish and PyTorch. A checkpoint of a run
    with another name is never continued.

    Args:
        hashes: of the images of the run, from `provenance`.
    """
    contents = [(name, [sha for sha, role in part.items() if role == LEARNED]) for name, part in hashes.items()]
    return hashlib.sha256(repr((contents, blemish.__version__, torch.__version__)).encode()).hexdigest()


def _made() -> dict[str, str]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "blemish": blemish.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }
