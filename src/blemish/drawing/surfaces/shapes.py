"""Outlines as signed distances: negative inside, positive outside, in the unit of the coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blemish.drawing.fields import as_field
from blemish.results import FloatArray


@dataclass(frozen=True)
class Shape:
    """A closed outline around the origin that fits into a circle of radius 1, about."""

    kind: str  # a name of SHAPES
    slimness: float  # width against length, up to 1
    corner: float  # how far corners are rounded, where the shape has right angles; takes a little off the size
    bore: float  # radius of a hole in the middle; 0 is none


def _disc(x: FloatArray, y: FloatArray, slimness: float) -> FloatArray:
    return as_field((np.hypot(x, y / slimness) - 1) * math.sqrt(slimness))


def _box(x: FloatArray, y: FloatArray, slimness: float) -> FloatArray:
    beside, above = np.abs(x) - 0.9, np.abs(y) - 0.9 * slimness
    outside = np.hypot(np.maximum(beside, 0), np.maximum(above, 0))
    return as_field(outside + np.minimum(np.maximum(beside, above), 0))


def _slot(x: FloatArray, y: FloatArray, slimness: float) -> FloatArray:
    straight = 1 - min(slimness, 0.95)
    return as_field(np.hypot(np.maximum(np.abs(x) - straight, 0), y) - (1 - straight))


def _lozenge(x: FloatArray, y: FloatArray, slimness: float) -> FloatArray:
    return as_field((np.abs(x) + np.abs(y) / slimness - 1) / math.hypot(1, 1 / slimness))


def _polygon(x: FloatArray, y: FloatArray, n_corners: int) -> FloatArray:
    sector = math.tau / n_corners
    turn = (np.arctan2(y, x) + sector / 2) % sector - sector / 2
    return as_field(np.hypot(x, y) * np.cos(turn) - math.cos(sector / 2))


def _cross(x: FloatArray, y: FloatArray, slimness: float) -> FloatArray:
    arm = 0.5 * slimness
    return as_field(np.minimum(_box(x, y, arm), _box(y, x, arm)))


def _lens(x: FloatArray, y: FloatArray, slimness: float) -> FloatArray:
    radius = (1 + slimness**2) / (2 * slimness)
    return as_field(np.hypot(x, np.abs(y) + radius - slimness) - radius)


SHAPES: dict[str, Callable[[FloatArray, FloatArray, float], FloatArray]] = {
    "disc": _disc,
    "box": _box,
    "slot": _slot,
    "lozenge": _lozenge,
    "hexagon": lambda x, y, slimness: _polygon(x, y, 6),
    "triangle": lambda x, y, slimness: _polygon(x, y, 3),
    "cross": _cross,
    "lens": _lens,
}


def any_shape(rng: np.random.Generator, kinds: tuple[str, ...] = tuple(SHAPES), bored: float = 0.15) -> Shape:
    """Draw a shape of one of the kinds; with the probability ``bored`` one with a hole."""
    return Shape(
        kind=str(rng.choice(kinds)),
        slimness=1.0 if rng.random() < 0.35 else rng.uniform(0.3, 1),
        corner=rng.uniform(0, 0.3),
        bore=rng.uniform(0.2, 0.5) if rng.random() < bored else 0.0,
    )


def distance_to_shape(shape: Shape, x: FloatArray, y: FloatArray, radius_px: float) -> FloatArray:
    """Return the signed distance (H, W) in pixels to the outline of a shape that is ``radius_px`` large."""
    shrink = 1 / (1 - shape.corner)  # what the rounding adds
    inner = SHAPES[shape.kind](x / radius_px * shrink, y / radius_px * shrink, shape.slimness) / shrink
    distance = inner - shape.corner * 0.5
    if shape.bore:
        distance = np.maximum(distance, shape.bore * shape.slimness - np.hypot(x, y) / radius_px)
    return as_field(distance * radius_px)
