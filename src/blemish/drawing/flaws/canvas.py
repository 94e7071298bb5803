"""Drawing tools: lines of varying width, and blobs."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import as_field, blur, noise, turned_grid
from blemish.results import FloatArray

FINENESS = 4  # lines are drawn so many times larger, then shrunk: a width below a pixel becomes a share of one


def walk(start: tuple[float, float], headings: NDArray[np.float64], step_px: float) -> NDArray[np.float64]:
    """Walk from a point (row, column), one step per heading; (N + 1, 2) of columns and rows."""
    steps = step_px * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.cumsum(np.concatenate([[start[::-1]], steps]), axis=0)


def draw_line(canvas: NDArray[np.uint8], path: NDArray[np.float64], widths_px: NDArray[np.float64]) -> None:
    """Draw a line, one width per step, into a canvas `FINENESS` times the size of the image; too narrow is a gap."""
    corners = np.round(path * FINENESS * 16).astype(int).tolist()
    thickness = np.round(widths_px * FINENESS).astype(int).tolist()
    for (start, end), width in zip(pairwise(corners), thickness, strict=True):
        if width > 0:
            cv2.line(canvas, start, end, 255, width, cv2.LINE_AA, shift=4)


def fine_canvas(image: FloatArray) -> NDArray[np.uint8]:
    height, width = image.shape
    return np.zeros((height * FINENESS, width * FINENESS), np.uint8)


def covered(canvas: NDArray[np.uint8]) -> FloatArray:
    """Shrink a fine canvas to the share of each pixel of the image that is covered, as a lens would see it."""
    height, width = (size // FINENESS for size in canvas.shape)
    return blur(as_field(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA) / 255), 0.5)


def blob(
    image: FloatArray,
    rng: np.random.Generator,
    place: tuple[float, float],
    radius_px: float,
    ragged: float,
    slimness: float = 1.7,
) -> FloatArray:
    """Return the distance from the middle of an irregular patch: 0 in the middle, 1 on its outline, growing outwards.

    ``slimness`` is the largest ratio of length to width, ``ragged`` how far the outline departs from an ellipse.
    """
    height, width = image.shape
    along, across = turned_grid(height, width, rng.uniform(0, math.tau), place)
    stretch = rng.uniform(1, slimness) ** 0.5
    ellipse = np.hypot(along / stretch, across * stretch) / radius_px
    wobble = noise(rng, height, width, 1.2 * radius_px, 1.2 * radius_px)
    wobble += 0.5 * noise(rng, height, width, 0.4 * radius_px, 0.4 * radius_px)
    return as_field(ellipse * (1 + ragged * np.tanh(wobble)))
