"""What a distance map says of the image: where a cell lies, the map at image resolution, and the score of a map."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import cv2
import numpy as np

from blemish.results import FloatArray

# Pixels a side that are resampled at once: OpenCV takes 32,767 at most, and their coordinates need memory.
_TILE: Final = 4096
N_WORST: Final = 50  # our score is the mean of the worst 50 cells: steadier than the single worst
WORST_OF: Final = 50  # cells, of which at most one goes into the score: on a tiny image the worst are few


@dataclass(frozen=True)
class Geometry:
    """How cells of the distance map lie on an image: a fact of the network and of the image's size.

    Cell (i, j) sees many pixels, but speaks for the ``stride`` prepared pixels a side around their centre.
    """

    centre: float  # prepared pixels from the upper (left) edge of the image to the centre of the first cell
    stride: int  # prepared pixels from cell to cell
    scale_y: float  # image rows per prepared row
    scale_x: float  # image columns per prepared column

    def row(self, i: float) -> float:
        """Return the image row (0 = centre of the first) that map row i speaks for."""
        return (self.stride * i + self.centre) * self.scale_y - 0.5

    def column(self, j: float) -> float:
        """Return the image column that map column j speaks for."""
        return (self.stride * j + self.centre) * self.scale_x - 0.5

    def prepared_pixel(self, i: int, j: int) -> tuple[int, int]:
        """Return row and column of the prepared pixel that begins at the centre of cell (i, j)."""
        return round(self.stride * i + self.centre), round(self.stride * j + self.centre)

    def top(self, i: int) -> float:
        """Return the edge where the image rows of map row i begin (0 = upper edge of the first); i + 1 ends them."""
        return (self.stride * (i - 0.5) + self.centre) * self.scale_y

    def left(self, j: int) -> float:
        """Return the edge where the image columns of map column j begin (0 = left edge of the first)."""
        return (self.stride * (j - 0.5) + self.centre) * self.scale_x


def mean_of_worst(distance_map: FloatArray, n_worst: int, n_counted: int) -> float:
    """Score a map as the graph does: the mean of its largest distances.

    Args:
        distance_map: ``(h, w)`` float32, 0 where cells do not count.
        n_worst: how many of them: `N_WORST` of our method, 1 of the paper's; but no more than one in `WORST_OF`.
        n_counted: how many cells count.
    """
    n = n_scored(n_worst, n_counted)
    return float(np.partition(distance_map, distance_map.size - n, axis=None)[-n:].mean())


def n_scored(n_worst: int, n_counted: int) -> int:
    """Return how many cells make a score: ``n_worst``, but no more than one in `WORST_OF` of those that count."""
    return max(1, min(n_worst, n_counted // WORST_OF))


def anomaly_map(
    distance_map: FloatArray, geometry: Geometry, height: int, width: int, rows: slice = slice(None)
) -> FloatArray:
    """Bring a distance map to image resolution.

    Args:
        distance_map: ``(h, w)`` float32.
        geometry: of the cells on the image.
        height, width: of the image.
        rows: which of its rows are made, all by default.

    Returns:
        ``(height, width)`` float32, or some rows of it: bilinear between the centres of the cells, each of which first
        takes the largest value around it. The outermost cells are continued to the border: valid convolutions leave
        half a patch there without a cell of its own.
    """
    # Bilinear sampling alone would step over the peak of a single cell; an image's map must show what its score says.
    cell_height, cell_width = geometry.stride * geometry.scale_y, geometry.stride * geometry.scale_x
    peaks = cv2.dilate(distance_map, np.ones((_reach(cell_height), _reach(cell_width)), dtype=np.uint8))
    begin, end, _ = rows.indices(height)
    resampled = np.empty((end - begin, width), dtype=np.float32)
    for top, left in product(range(begin, end, _TILE), range(0, width, _TILE)):
        tile = resampled[top - begin : top - begin + _TILE, left : left + _TILE]
        down = (np.arange(top, top + tile.shape[0]) - geometry.row(0)) / cell_height
        across = (np.arange(left, left + tile.shape[1]) - geometry.column(0)) / cell_width
        grid_x, grid_y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
        tile[:] = cv2.remap(peaks, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return resampled


def map_at(
    distance_map: FloatArray,
    geometry: Geometry,
    size: tuple[int, int],
    height: int,
    width: int,
    rows: slice = slice(None),
) -> FloatArray:
    """Bring a distance map to a picture of the image, of any size.

    Args:
        distance_map, geometry, rows: as for `anomaly_map`.
        size: rows and columns of the image that the geometry speaks of.
        height, width: of the picture.
    """
    scale_y, scale_x = geometry.scale_y * height / size[0], geometry.scale_x * width / size[1]
    return anomaly_map(distance_map, replace(geometry, scale_y=scale_y, scale_x=scale_x), height, width, rows)


def _reach(pixels_per_cell: float) -> int:
    """Return the cells a side among which the largest value is taken, an odd number: those near one pixel."""
    return 2 * math.ceil(max(1 / pixels_per_cell, 1) / 2) + 1
