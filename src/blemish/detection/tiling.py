"""Runs the graph on an image of any size, tile by tile where it is large; what comes out is that of the whole image.

A cell of the distance map sees a part of the image only: its view, whose size the model file tells, and the views of
the cells beside it over which distances are averaged. So a tile reaches that far beyond the cells that it is there for,
and gives them the distances that they have on the whole image, but for rounding. Tiles begin where the coarsest level
of a network has a cell, so that all levels lie as they do on the whole image.

What belongs to the whole image is not left to a tile: its grey range (`Preparation.prepared`), and score, maximum and
mean, which are taken from the joined map. That they are taken as the graph takes them is proved on every tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from blemish.detection.preparation import Preparation, Prepared
from blemish.detection.runtime import TOLERANCE, Distances, Runtime
from blemish.detection.scoring import mean_of_worst
from blemish.errors import ModelFileError
from blemish.results import FloatArray

WHOLE: Final = 2**20  # prepared pixels that the graph is given at once; with a bank it takes 0.3 GB for them
_CORE: Final = 512  # prepared pixels a side for whose cells a tile is there
_GRID: Final = 16  # prepared pixels: stride of the coarsest level of any network, a multiple of all other strides
_AVERAGED: Final = 1  # cells on every side of one over which its distance is averaged


def at_once(image: FloatArray, preparation: Preparation) -> FloatArray:
    """Return the pixels of a prepared image, or its upper left part where the whole is too large for a graph at once.

    Args:
        image: ``(..., H, W)``.
        preparation: how it was prepared.
    """
    if preparation.height is not None or math.prod(image.shape[-2:]) <= WHOLE:
        return image
    side = math.isqrt(WHOLE)
    return np.ascontiguousarray(image[..., :side, :side])


@dataclass(frozen=True)
class _Span:
    """A tile along one axis."""

    start: int  # prepared pixels
    stop: int
    cells: slice  # of the whole map, that the tile is there for
    inner: slice  # the same cells on its own map


def measure(
    runtime: Runtime, image: Prepared, preparation: Preparation, n_worst: int, counted: FloatArray | None = None
) -> Distances:
    """Measure one prepared image of any size.

    Args:
        runtime: runs the graph.
        image: prepared, of ``(H, W)`` pixels.
        preparation: how.
        n_worst: the graph's score is `scoring.mean_of_worst` of so many cells.
        counted: ``(h, w)`` float32, 1 for cells that count, of which there are some, and 0 for others; None: all count.

    Returns:
        What `Runtime.run` says of the whole image: exactly, where it is no larger than ``WHOLE``, and where all images
        have one size, because a graph may take no other. Of a larger one to 1e-5 (above 1: that share), because a
        runtime may sum in another order.

    Raises:
        ModelFileError: as for `Runtime.run`, or the graph scores by another rule.
    """
    if preparation.height is not None or image.shape[0] * image.shape[1] <= WHOLE or not runtime.takes_zones:
        return runtime.run(image.all_pixels(), counted)
    h, w = preparation.cells(*image.shape)
    distance_map = np.zeros((h, w), dtype=np.float32)
    total, n_counted, nearest = 0.0, 0, {}
    for rows in _spans(image.shape[0], h, preparation):
        strip = image.pixels(rows.start, rows.stop)
        for columns in _spans(image.shape[1], w, preparation):
            pixels = strip[:, :, columns.start : columns.stop]
            inside = np.zeros(preparation.cells(*pixels.shape[1:]), dtype=np.float32)
            inside[rows.inner, columns.inner] = 1 if counted is None else counted[rows.cells, columns.cells]
            n = int(inside.sum())
            if n == 0:
                continue
            found = runtime.run(pixels, inside)
            _check_score(found, n_worst, n)
            distance_map[rows.cells, columns.cells] = found.distance_map[rows.inner, columns.inner]
            total += found.mean_distance * n
            n_counted += n
            nearest[rows.cells.start, columns.cells.start] = found.nearest
    i, j = (int(index) for index in np.unravel_index(distance_map.argmax(), (h, w)))
    core = _CORE // preparation.stride
    return Distances(
        distance_map,
        score=mean_of_worst(distance_map, n_worst, n_counted),
        max_distance=float(distance_map[i, j]),
        mean_distance=total / n_counted,
        nearest=nearest.get((i - i % core, j - j % core)),
    )


def reach(preparation: Preparation) -> float:
    """Return how far from its centre a cell may see, in prepared pixels, with the cells it is averaged with.

    Its view need not lie around its centre: with coarse levels, it lies around that of a coarse cell.
    """
    return preparation.patch_size / 2 + _GRID + _AVERAGED * preparation.stride


def _spans(side: int, n_cells: int, preparation: Preparation) -> Iterator[_Span]:
    """Cut one axis of a prepared image of so many pixels and cells into tiles, all of one length.

    With lengths of all kinds a runtime would keep memory for each of them.
    """
    stride, beyond = preparation.stride, reach(preparation)
    length = math.ceil((_CORE + 2 * beyond) / _GRID + 1) * _GRID + side % _GRID  # the last one begins on the grid too
    for first in range(0, n_cells, _CORE // stride):
        end = min(first + _CORE // stride, n_cells)
        start = math.floor((preparation.centre + stride * first - beyond) / _GRID) * _GRID
        start = max(min(start, side - length), 0)
        offset = start // stride
        yield _Span(start, min(start + length, side), slice(first, end), slice(first - offset, end - offset))


def _check_score(found: Distances, n_worst: int, n_counted: int) -> None:
    ours = mean_of_worst(found.distance_map, n_worst, n_counted)
    if abs(ours - found.score) > TOLERANCE * max(found.score, 1):
        raise ModelFileError(
            f"The graph in the model file scores by a rule that this Blemish does not know: {found.score:.6g} where "
            f"{ours:.6g} was expected. So it cannot take images of more than {WHOLE:,} prepared pixels. Give smaller "
            "images, or make the model file anew with `blemish fit` or `blemish enroll`."
        )
