"""From the graph's distance map to the image: where a cell lies, and the map at image resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from blemish.results import FloatArray


@dataclass(frozen=True)
class Geometry:
    """How cells of the distance map lie on an image: a fact of the network and of the image's size.

    Cell (i, j) sees the ``patch_size`` prepared pixels from (stride i, stride j); it speaks for their centre.
    """

    patch_size: int  # prepared pixels a side
    stride: int  # prepared pixels from cell to cell
    scale_y: float  # image rows per prepared row
    scale_x: float  # image columns per prepared column

    def row(self, i: float) -> float:
        """Return the image row (0 = centre of the first) that map row i speaks for."""
        return (self.stride * i + self.patch_size / 2) * self.scale_y - 0.5

    def column(self, j: float) -> float:
        """Return the image column that map column j speaks for."""
        return (self.stride * j + self.patch_size / 2) * self.scale_x - 0.5


def anomaly_map(distance_map: FloatArray, geometry: Geometry, height: int, width: int) -> FloatArray:
    """Bring a distance map to image resolution.

    Args:
        distance_map: ``(h, w)`` float32.
        geometry: of the cells on the image.
        height, width: of the image.

    Returns:
        ``(height, width)`` float32, bilinear between the centres of the cells, each of which first takes the largest
        value around it. The outermost cells are continued to the border: valid convolutions leave half a patch there
        without a cell of its own.
    """
    rows = (np.arange(height, dtype=np.float32) - geometry.row(0)) / (geometry.stride * geometry.scale_y)
    columns = (np.arange(width, dtype=np.float32) - geometry.column(0)) / (geometry.stride * geometry.scale_x)
    # Bilinear sampling alone would step over the peak of a single cell; an image's map must show what its score says.
    cells_per_pixel = 1 / (geometry.stride * min(geometry.scale_y, geometry.scale_x))
    reach = 2 * math.ceil(max(cells_per_pixel, 1) / 2) + 1
    peaks = cv2.dilate(distance_map, np.ones((reach, reach), dtype=np.uint8))
    grid_x, grid_y = np.meshgrid(columns, rows)
    resampled = cv2.remap(peaks, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return resampled.astype(np.float32, copy=False)
