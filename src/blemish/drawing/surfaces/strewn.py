"""What several materials share: scattered fibres and round pores."""

from __future__ import annotations

import math

import cv2
import numpy as np

from blemish.drawing.fields import as_field
from blemish.results import FloatArray


def scattered_fibres(
    rng: np.random.Generator,
    height: int,
    width: int,
    n_fibres: int,
    length_px: float,
    curl: float,
    angle: float,
    spread: float,
) -> FloatArray:
    """Lay fibres over each other, dark and bright.

    Returns:
        (H, W) in [-1, 1]: how bright the topmost fibre is at each pixel, 0 where there is none.
    """
    n_pieces = 6
    turns = rng.normal(0, curl, (n_fibres, n_pieces)).cumsum(axis=1)
    headings = angle + rng.normal(0, spread, (n_fibres, 1)) + turns
    lengths = length_px * rng.uniform(0.5, 1.5, (n_fibres, 1)) / n_pieces
    steps = lengths[..., None] * np.stack([np.cos(headings), np.sin(headings)], axis=-1)
    starts = rng.uniform(-0.1, 1.1, (n_fibres, 1, 2)) * (width, height)
    paths = np.concatenate([starts, starts + steps.cumsum(axis=1)], axis=1)  # (fibre, point, column and row)
    canvas = np.full((height, width), 128, np.uint8)
    levels = np.clip(rng.normal(128, 50, n_fibres), 0, 255).tolist()
    for path, level in zip(np.round(paths * 16).astype(np.int32), levels, strict=True):
        cv2.polylines(canvas, [path], False, level, 1, cv2.LINE_AA, shift=4)
    return as_field(canvas / np.float32(128) - 1)


def round_pores(rng: np.random.Generator, height: int, width: int, share: float, largest_px: float) -> FloatArray:
    """Return round holes (H, W), 1 inside; many small ones and few large ones, covering about the given share."""
    fine = 4
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    area_px = share * height * width
    n_at_most = math.ceil(area_px / (math.pi * 0.4**2))
    radii = largest_px / 2 * rng.uniform(0.12, 1, n_at_most) ** 2.5 + 0.4
    n_pores = int(np.searchsorted(np.cumsum(math.pi * radii**2), area_px))
    at = rng.random((n_pores, 2)) * (width * fine, height * fine)
    for (x, y), radius in zip(at.round().astype(int).tolist(), radii[:n_pores], strict=True):
        axes = (round(radius * fine), round(radius * fine * rng.uniform(0.7, 1)))
        cv2.ellipse(canvas, (x, y), axes, rng.uniform(0, 180), 0, 360, 255, cv2.FILLED)
    return as_field(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255))
