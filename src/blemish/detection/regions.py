"""Where an image is defective: connected areas of the distance map above the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.detection.scoring import Geometry
from blemish.results import FloatArray, Region


def find_regions(
    distance_map: FloatArray,
    limit: float,
    geometry: Geometry,
    height: int,
    width: int,
    *,
    mm_per_pixel: float | None = None,
) -> tuple[Region, ...]:
    """List the areas above a limit, strongest first.

    They are found on the cells of the distance map and then told in pixels. A score is a mean of the largest distances,
    so an image whose score exceeds the limit has at least one region. The box holds every pixel that a cell of the
    region touches; the contour runs through the outermost of them.

    Args:
        distance_map: ``(h, w)`` float32.
        limit: a cell belongs to a region when its distance is above this.
        geometry: of the cells on the image.
        height, width: of the image, to which boxes and contours are clipped.
        mm_per_pixel: side of a pixel of the image on the surface; None: not known.
    """
    above = (distance_map > limit).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    cell_px = geometry.stride**2 * geometry.scale_y * geometry.scale_x
    regions = []
    for label in range(1, count):
        left, top, w, h, n_cells = (int(value) for value in stats[label])
        cells = labels[top : top + h, left : left + w] == label
        distances = distance_map[top : top + h, left : left + w][cells]
        contour = _contour(cells, top, left, geometry, height, width)
        rows, columns = zip(*contour, strict=True)
        regions.append(
            Region(
                top=min(rows),
                left=min(columns),
                height=max(rows) - min(rows) + 1,
                width=max(columns) - min(columns) + 1,
                area_px=max(1, round(n_cells * cell_px)),
                peak=float(distances.max()),
                mean=float(distances.mean()),
                contour=contour,
                area_mm2=None if mm_per_pixel is None else n_cells * cell_px * mm_per_pixel**2,
            )
        )
    return tuple(sorted(regions, key=lambda region: region.peak, reverse=True))


def _contour(
    cells: NDArray[np.bool_], top: int, left: int, geometry: Geometry, height: int, width: int
) -> tuple[tuple[int, int], ...]:
    """Follow the outermost pixels of connected cells, the first of which lies at (top, left) of the map."""
    # Two points a side and cell, so that one can stand for the cell's first pixel and the other for its last.
    doubled = cells.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)
    outlines, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(2 * left, 2 * top))
    points = (
        (_pixel(int(y), geometry.top, height), _pixel(int(x), geometry.left, width))
        for x, y in outlines[0].reshape(-1, 2)
    )
    return tuple(point for point, _ in groupby(points))  # on a small image many cells share a pixel


def _pixel(half_cell: int, edge: Callable[[int], float], size: int) -> int:
    """Return the first pixel that a cell touches when the half is even, the last when it is odd."""
    cell, is_last = divmod(half_cell, 2)
    pixel = math.ceil(edge(cell + 1)) - 1 if is_last else math.floor(edge(cell))
    return min(max(pixel, 0), size - 1)
