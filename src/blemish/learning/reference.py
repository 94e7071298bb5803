"""What good looks like: the reference set that an image's embeddings are compared with.

The paper's is a prototype, the mean embedding of good images (Tayeh et al. 2020, sec. IV-E). Ours keeps a few real
embeddings instead, chosen so that every good one has a kept one near: per location for aligned parts, one bank for
surfaces without fixed places. Each kind is a small module that maps embeddings to distances; `graph` writes it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from blemish.detection.preparation import as_batch
from blemish.errors import SettingError
from blemish.images import prepare, read_image
from blemish.learning.network import COLOURED, BoundedNetwork, ColouredNetwork, TripletNetwork
from blemish.progress import Progress, silent
from blemish.results import FloatArray

MEDOIDS: Final = 8  # embeddings kept per location
BANK: Final = 1024  # embeddings kept where places do not matter
SHARES: Final = 24  # good images whose embeddings are chosen without a look at other images, where few set the limit
SHARED_BANK: Final = 2048  # embeddings of all these shares where places do not matter; for shares overlap
_MOST_MEDOIDS: Final = 32  # embeddings per location, and where places do not matter, when good images are added later
_MOST_IN_BANK: Final = 3072
_MOST_ADDED: Final = 256  # embeddings that are added to a bank at once
_CELLS_AT_ONCE: Final = 512  # whose products with a bank are in memory together: so few stay in the processor's cache
SHIFT: Final = 1  # cells that aligned parts may be out of place
_N_CANDIDATES: Final = 100_000  # embeddings among which a bank, or what is added to it, is chosen
_RARE: Final = 0.25  # share of a bank that is chosen among the rarest cells of each image, which a draw would miss
_RAREST: Final = 64  # so many of each image
# Least square of a distance. Near 0 it is the difference of two numbers near 32, of which rounding leaves little; with
# this floor, a distance of 0.03 where the largest is 8, every runtime agrees to 1e-4.
SQUARE_FLOOR: Final = 1e-3


class Reference(StrEnum):
    """Where an image's embeddings are looked for in good ones."""

    LOCATION = "location"  # at the same location: for parts that always lie the same way
    CATEGORY = "category"  # anywhere: for textures and parts that lie freely


class ToPrototype(nn.Module):
    """Distance to one mean embedding, per location or for the category (Tayeh et al. 2020, sec. IV-E).

    Args:
        prototype: ``(D, h, w)`` or ``(D, 1, 1)`` float32.
    """

    prototype: Tensor

    def __init__(self, prototype: Tensor) -> None:
        super().__init__()
        self.register_buffer("prototype", prototype)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings ``(B, D, h, w)`` to distances ``(B, h, w)``."""
        distances: Tensor = torch.linalg.vector_norm(embeddings - self.prototype, dim=1)
        return distances


class ToNearestHere(nn.Module):
    """Distance to the nearest of some good embeddings at the same location, or at most one cell beside it.

    Args:
        medoids: ``(k, D, h, w)`` float32, every vector of length `BoundedNetwork.RADIUS`.
        origins: ``(k h w,)`` int64, the good image that each of ``vectors`` comes from, where it is known.
    """

    medoids: Tensor

    def __init__(self, medoids: Tensor, origins: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("medoids", medoids)
        self.origins = origins

    @property
    def vectors(self) -> Tensor:
        """All embeddings, ``(k h w, D)``: the first of every location row by row, then the second, and so on."""
        return self.medoids.permute(0, 2, 3, 1).flatten(0, 2)

    def without(self, image: int) -> ToNearestHere:
        """Leave out what comes from one image, of a set made by `reference_of_shares`."""
        assert self.origins is not None
        kept = self.origins.reshape(len(self.medoids), -1)[:, 0] != image
        return ToNearestHere(self.medoids[kept])

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings ``(B, D, h, w)`` to distances ``(B, h, w)``."""
        h, w = embeddings.shape[2:]
        around = nn.functional.pad(self.medoids, [SHIFT] * 4, mode="replicate")  # (k, D, h + 2, w + 2)
        best = torch.full_like(embeddings[:, 0], -torch.inf)  # (B, h, w)
        for y in range(2 * SHIFT + 1):
            for x in range(2 * SHIFT + 1):
                medoids = around[:, :, y : y + h, x : x + w]  # (k, D, h, w)
                products = torch.einsum("bdhw,kdhw->bkhw", embeddings, medoids)
                best = torch.maximum(best, products.amax(dim=1))
        return distance_of_product(best)


class ToNearest(nn.Module):
    """Distance to the nearest of a bank of good embeddings, wherever they came from.

    Args:
        bank: ``(k, D)`` float32, every vector of length `BoundedNetwork.RADIUS`.
        origins: ``(k, 3)`` int64, the good image that each comes from, and row and column of its cell there, where
            they are known.
    """

    bank: Tensor

    def __init__(self, bank: Tensor, origins: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("bank", bank)
        self.origins = origins

    @property
    def vectors(self) -> Tensor:
        """All embeddings, ``(k, D)``."""
        return self.bank

    def without(self, image: int) -> ToNearest:
        """Leave out what comes from one image, of a set made by `reference_of_shares`."""
        assert self.origins is not None
        return ToNearest(self.bank[self.origins[:, 0] != image])

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings ``(B, D, h, w)`` to distances ``(B, h, w)``."""
        B, _, h, w = embeddings.shape
        cells = embeddings.flatten(2).transpose(1, 2)  # (B, h w, D)
        return distance_of_product(_nearest_products(cells, self.bank)).reshape(B, h, w)


def distance_of_product(product: Tensor) -> Tensor:
    """Turn the inner product of two vectors of length r into their distance: |a - b|^2 = 2 r^2 - 2 a b."""
    return (2 * BoundedNetwork.RADIUS**2 - 2 * product).clamp_min(SQUARE_FLOOR).sqrt()


def kept(embeddings: Tensor) -> Tensor:
    """Round embeddings ``(n, D, ...)`` to what a model file keeps of them: half precision, at half the size.

    The last number of those with colours is usually large, and rounded it would spoil the length by which distances are
    told from products. It is not kept, but follows from the others (`completed`).
    """
    rounded = embeddings.half().float()
    return completed(rounded[:, :-1]) if embeddings.shape[1] == COLOURED else rounded.contiguous()


def completed(numbers: Tensor) -> Tensor:
    """Add to all but the last number of embeddings with colours, ``(n, 34, ...)``, the last one, which is above 0."""
    square = BoundedNetwork.RADIUS**2 - numbers.square().sum(dim=1, keepdim=True)
    return torch.cat([numbers, square.clamp_min(0).sqrt()], dim=1)


def nearest_reference(
    embeddings: Sequence[Tensor], kind: Reference, generator: torch.Generator, size: int = BANK
) -> ToNearestHere | ToNearest:
    """Choose the embeddings that stand for all good ones.

    Farthest first (Gonzalez 1985; as a coreset: Roth et al. 2022, "PatchCore", sec. 3.2): start in the middle, then
    add again and again the one that is farthest from all that were chosen. Three quarters of a bank are chosen among
    cells drawn at random, and serve what is usual; the last quarter among those of each image that are farthest first
    in it, so that what is rare but good is not left to the draw. Kept in half precision, which makes a model file half
    as large.

    Args:
        embeddings: ``(D, h, w)`` float32 of every good image; of one size where they are aligned.
        kind: per location or for the category.
        generator: of the candidates for a bank.
        size: embeddings of a bank, if there are so many; the candidates are in proportion.
    """
    if kind is Reference.LOCATION:
        stacked = torch.stack(list(embeddings))  # (n, D, h, w)
        h, w = stacked.shape[2:]
        places = stacked.permute(2, 3, 0, 1).flatten(0, 1)  # (h w, n, D)
        chosen, origins = _farthest_first(places, min(MEDOIDS, len(stacked)))  # (h w, k, D), (h w, k)
        medoids = chosen.reshape(h, w, *chosen.shape[1:]).permute(2, 3, 0, 1)  # (k, D, h, w)
        return ToNearestHere(kept(medoids), origins.T.flatten())
    candidates, whence = some_cells(embeddings, _N_CANDIDATES * size // BANK, generator)
    if len(candidates) <= size:
        return ToNearest(kept(candidates), whence)
    usual, index = _farthest_first(candidates[None], round((1 - _RARE) * size))
    left = size - usual.shape[1]
    rarest, rare_whence = _farthest_of_each(
        map(_all_cells, embeddings), max(_RAREST, math.ceil(left / len(embeddings)))
    )
    rare, rare_index = _farthest_first(rarest[None], min(left, len(rarest)), usual)
    bank = torch.cat([usual[0], rare[0]])
    return ToNearest(kept(bank), torch.cat([whence[index[0]], rare_whence[rare_index[0]]]))


def reference_of_shares(
    embeddings: Sequence[Tensor], kind: Reference, generator: torch.Generator
) -> ToNearestHere | ToNearest:
    """Choose the embeddings of every image without a look at the others, equally many of each.

    So the set without one image is what the others alone would have made with such shares, and nothing is nearer to it
    than to the whole: with both, the scores of images that are left out in turn promise something.

    Args:
        embeddings: ``(D, h, w)`` float32 of at most `SHARES` good images, at least two; of one size where aligned.
        kind: per location, where all of them are kept; or for the category, where each image's are farthest first.
        generator: of the candidates for a bank.
    """
    if kind is Reference.LOCATION:
        medoids = torch.stack(list(embeddings))  # (n, D, h, w)
        origins = torch.arange(len(medoids)).repeat_interleave(math.prod(medoids.shape[2:]))
        return ToNearestHere(kept(medoids), origins)
    n = len(embeddings)
    drawn = (some_cells([embedding], _N_CANDIDATES // n, generator) for embedding in embeddings)
    bank, whence = _farthest_of_each(((cells, places[:, 1:]) for cells, places in drawn), SHARED_BANK // n)
    return ToNearest(kept(bank), whence)


def _farthest_of_each(images: Iterable[tuple[Tensor, Tensor]], k: int) -> tuple[Tensor, Tensor]:
    """Choose k cells of every image, farthest first, without a look at the others.

    Args:
        images: of each, embeddings ``(n, D)`` to choose among, and ``(n, 2)`` int64, their rows and columns.
        k: how many of each; all where it has no more.

    Returns:
        Their embeddings ``(m, D)``, and ``(m, 3)`` int64: image, row, column.
    """
    chosen, whence = [], []
    for image, (cells, places) in enumerate(images):
        vectors, index = _farthest_first(cells[None], min(k, len(cells)))
        chosen.append(vectors[0])
        whence.append(torch.cat([torch.full((len(index[0]), 1), image), places[index[0]]], dim=1))
    return torch.cat(chosen), torch.cat(whence)


def _all_cells(embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Return the embeddings of an image ``(D, h, w)`` as ``(h w, D)``, and their rows and columns, ``(h w, 2)``."""
    h, w = embedding.shape[1:]
    return embedding.flatten(1).T.contiguous(), torch.cartesian_prod(torch.arange(h), torch.arange(w))


def some_cells(embeddings: Sequence[Tensor], n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw some cells of images, or take all of them if there are no more than n.

    Args:
        embeddings: ``(D, h, w)`` of every image.
        n: how many of all images together, about.
        generator: of the draw.

    Returns:
        Their embeddings ``(m, D)``, and ``(m, 3)`` int64: image, row, column.
    """
    cells, whence = [], []
    for image, embedding in enumerate(embeddings):
        h, w = embedding.shape[1:]
        drawn = torch.randperm(h * w, generator=generator)[: n // len(embeddings)]
        cells.append(embedding.flatten(1).T[drawn])
        whence.append(torch.stack([torch.full_like(drawn, image), drawn // w, drawn % w], dim=1))
    return torch.cat(cells), torch.cat(whence)


def _farthest_first(points: Tensor, k: int, there: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Choose k of n points in each of several sets, ``(S, n, D)`` of one length.

    Args:
        points: of all sets.
        k: how many of each.
        there: ``(S, m, D)``, points that were chosen before and are not chosen again; None: begin in the middle.

    Returns:
        The points, ``(S, k, D)``, and which they are, ``(S, k)``.
    """
    sets = torch.arange(len(points))
    if there is None:
        middle = (points @ points.mean(dim=1).unsqueeze(2)).squeeze(2).argmax(dim=1)  # (S,)
        nearest = (points @ points[sets, middle].unsqueeze(2)).squeeze(2)
        index = torch.stack([middle, *_farthest(points, nearest, k - 1)], dim=1)
    else:
        index = torch.stack(_farthest(points, _nearest_products(points, there), k), dim=1)
    return points[sets[:, None], index], index


def _farthest(points: Tensor, nearest: Tensor, most: int, least: float = math.inf) -> list[Tensor]:
    """Choose again and again, of each set, the point that is farthest from all that were chosen.

    Args:
        points: ``(S, n, D)``, in several sets.
        nearest: ``(S, n)``, product of each with the nearest that was chosen before.
        most: so many of each set at most.
        least: stop when no product is below this.

    Returns:
        Which they are, ``(S,)`` for each step.
    """
    sets = torch.arange(len(points))
    indices: list[Tensor] = []
    while len(indices) < most and float(nearest.min()) < least:
        indices.append(nearest.argmin(dim=1))
        chosen = points[sets, indices[-1]]
        nearest = torch.maximum(nearest, (points @ chosen.unsqueeze(2)).squeeze(2))
    return indices


def _nearest_products(points: Tensor, there: Tensor) -> Tensor:
    """Return the product of each point ``(S, n, D)`` with the nearest of ``(S, k, D)`` or ``(k, D)``: ``(S, n)``."""
    parts = torch.split(points, _CELLS_AT_ONCE, dim=1)
    return torch.cat([(part @ there.transpose(-2, -1)).amax(dim=2) for part in parts], dim=1)


def extended(
    reference: ToNearestHere | ToNearest,
    embeddings: Sequence[Tensor],
    counted: Sequence[FloatArray],
    near_enough: float,
) -> tuple[ToNearestHere | ToNearest, ToNearestHere | ToNearest]:
    """Add from more good images the embeddings that a reference set lacks, farthest first.

    Args:
        reference: what is there.
        embeddings: ``(D, h, w)`` of every image.
        counted: ``(h, w)`` for every image, 0 for cells that are ignored, else 1.
        near_enough: distance up to which an embedding is not lacked.

    Returns:
        The whole set, whose ``vectors`` begin with those that were there; and the additional ones alone, with their
        origins among these images.

    Raises:
        SettingError: nothing is lacked, or there is no room for more.
    """
    if isinstance(reference, ToNearestHere):
        k, _, h, w = reference.medoids.shape
        places = torch.stack(list(embeddings)).permute(2, 3, 0, 1).flatten(0, 1)  # (h w, n, D)
        there = reference.medoids.permute(2, 3, 0, 1).flatten(0, 1)  # (h w, k, D)
        lacked = torch.from_numpy(np.stack(counted)).flatten(1).T > 0  # (h w, n)
        most = min(MEDOIDS, _MOST_MEDOIDS - k)
        chosen, index = _farthest_from(places, there, lacked, near_enough, most)
        medoids = chosen.reshape(h, w, *chosen.shape[1:]).permute(2, 3, 0, 1)
        added = ToNearestHere(kept(medoids), index.T.flatten())
        return ToNearestHere(torch.cat([reference.medoids, added.medoids])), added
    candidates, whence, lacked = _farthest_cells(reference.bank, embeddings, counted, _N_CANDIDATES)
    most = min(_MOST_ADDED, _MOST_IN_BANK - len(reference.bank))
    chosen, index = _farthest_from(candidates[None], reference.bank[None], lacked[None], near_enough, most)
    more = ToNearest(kept(chosen[0]), whence[index[0]])
    return ToNearest(torch.cat([reference.bank, more.bank])), more


def _farthest_cells(
    bank: Tensor, embeddings: Sequence[Tensor], counted: Sequence[FloatArray], n: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the cells of every image that are farthest from a bank: those that it lacks are not left to a draw.

    Args:
        bank: ``(k, D)``.
        embeddings: ``(D, h, w)`` of every image.
        counted: ``(h, w)`` for every image, 0 for cells that are ignored and come last, else 1.
        n: how many of all images together, equally many of each; all where one has no more.

    Returns:
        Their embeddings ``(m, D)``; ``(m, 3)`` int64: image, row, column; and ``(m,)`` bool, false for ignored ones.
    """
    taken, whence, not_ignored = [], [], []
    for image, (embedding, counts) in enumerate(zip(embeddings, counted, strict=True)):
        cells, places = _all_cells(embedding)
        nearest = _nearest_products(cells[None], bank)[0]
        nearest[torch.from_numpy(counts).flatten() == 0] = torch.inf
        farthest = nearest.topk(min(n // len(embeddings), len(nearest)), largest=False)
        taken.append(cells[farthest.indices])
        whence.append(nn.functional.pad(places[farthest.indices], (1, 0), value=image))
        not_ignored.append(farthest.values < torch.inf)
    return torch.cat(taken), torch.cat(whence), torch.cat(not_ignored)


def _farthest_from(
    points: Tensor, there: Tensor, lacked: Tensor, near_enough: float, most: int
) -> tuple[Tensor, Tensor]:
    """Choose at most so many points, the farthest first, until all that are lacked have one near.

    Args:
        points: ``(S, n, D)``, in several sets.
        there: ``(S, k, D)``.
        lacked: ``(S, n)`` bool, false for points that need none near.
        near_enough, most: as the names say; as many are chosen from every set.

    Returns:
        The points, ``(S, m, D)``, and which they are, ``(S, m)``.
    """
    if most <= 0:
        raise SettingError(
            "The reference set has no room for more embeddings. Learn anew with `blemish fit`, with these images among "
            "the good ones."
        )
    nearest = _nearest_products(points, there)
    nearest[~lacked] = torch.inf
    least = BoundedNetwork.RADIUS**2 - near_enough**2 / 2  # the product of two embeddings so far apart
    indices = _farthest(points, nearest, most, least)
    if not indices:
        raise SettingError(
            "Every place of these images is as near to the reference set as in a usual good image. There is nothing to "
            "add; if they are stopped all the same, move the limit with `blemish threshold`."
        )
    index = torch.stack(indices, dim=1)
    return points[torch.arange(len(points))[:, None], index], index


def embed(network: BoundedNetwork | ColouredNetwork, images: Iterable[FloatArray]) -> list[Tensor]:
    """Embed prepared images, as `as_batch` takes them, one by one: ``(D, h, w)`` each."""
    with torch.inference_mode():
        return [network(torch.from_numpy(as_batch(image)))[0] for image in images]


def mean_embedding(
    network: TripletNetwork, paths: Sequence[Path], side: int, kind: Reference, progress: Progress = silent
) -> Tensor:
    """Average the embeddings of good images: the paper's prototype.

    Args:
        network: in evaluation mode.
        paths: good images, at least one.
        side: pixels a side to which images are prepared.
        kind: one mean per location, or one for all.
        progress: told after each image.

    Returns:
        ``(16, h, w)`` float32 per location, or ``(16, 1, 1)`` per category. One image is in memory at a time.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device)
    total: Tensor | None = None
    with torch.inference_mode():
        for done, path in enumerate(paths, start=1):
            pixels = torch.from_numpy(prepare(read_image(path), side, side))[None, None].to(device)  # (1, 1, H, W)
            embedding = network(pixels)[0].double()  # (16, h, w)
            if kind is Reference.CATEGORY:
                embedding = embedding.mean(dim=(1, 2), keepdim=True)  # (16, 1, 1)
            total = embedding if total is None else total + embedding
            progress("averaging good images", done, len(paths))
    assert total is not None, "callers give at least one image"
    network.cpu()
    return (total / len(paths)).float().cpu()
