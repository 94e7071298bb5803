"""Where an image is defective: connected areas of the distance map above the threshold."""

from __future__ import annotations

import cv2
import numpy as np

from blemish.detection.scoring import Geometry
from blemish.results import FloatArray, Region


def find_regions(
    distance_map: FloatArray, limit: float, geometry: Geometry, height: int, width: int
) -> tuple[Region, ...]:
    """List the areas above a limit, strongest first.

    They are found on the cells of the distance map and then told in pixels, so that an image whose maximum exceeds the
    limit has at least one region, and one whose maximum does not has none.

    Args:
        distance_map: ``(h, w)`` float32.
        limit: a cell belongs to a region when its distance is above this.
        geometry: of the cells on the image.
        height, width: of the image, to which boxes and contours are clipped.
    """
    above = (distance_map > limit).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    regions = []
    for label in range(1, count):
        left, top, w, h, n_cells = (int(value) for value in stats[label])
        cells = labels[top : top + h, left : left + w] == label
        distances = distance_map[top : top + h, left : left + w][cells]
        outlines, _ = cv2.findContours(
            cells.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        y0, y1 = _span(geometry.row(top - 0.5), geometry.row(top + h - 0.5), height)
        x0, x1 = _span(geometry.column(left - 0.5), geometry.column(left + w - 0.5), width)
        regions.append(
            Region(
                top=y0,
                left=x0,
                height=y1 - y0,
                width=x1 - x0,
                area_px=max(1, round(n_cells * geometry.stride**2 * geometry.scale_y * geometry.scale_x)),
                peak=float(distances.max()),
                mean=float(distances.mean()),
                contour=tuple(
                    (_clip(geometry.row(y), height), _clip(geometry.column(x), width))
                    for x, y in outlines[0].reshape(-1, 2)
                ),
            )
        )
    return tuple(sorted(regions, key=lambda region: region.peak, reverse=True))


def _span(first: float, last: float, size: int) -> tuple[int, int]:
    """Return the pixels from first to last as a half-open range inside the image, at least one pixel long."""
    start = min(max(round(first), 0), size - 1)
    return start, min(max(round(last), start + 1), size)


def _clip(position: float, size: int) -> int:
    return min(max(round(position), 0), size - 1)
