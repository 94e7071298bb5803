"""Metal sheet, as mills, belts and tools leave it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from blemish.drawing.fields import (
    as_field,
    grain,
    noise,
    turned_grid,
)
from blemish.drawing.surfaces.kind import Surface, steady_camera
from blemish.results import FloatArray


@dataclass(frozen=True)
class _Brushing:
    tone: float  # mean brightness
    angle: float  # direction of the grain
    length_px: float  # of the longest strokes
    contrast: float  # of the strokes against the mean
    hairlines: float  # strength of the single bright strokes
    glare: float  # strength of the band of reflected light


def _brushed_sheet(brushing: _Brushing, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    angle = brushing.angle + rng.normal(0, 0.01)
    strokes = np.zeros((height, width), np.float32)
    for share, thickness_px, strength in ((1.5, 0.8, 0.9), (1.0, 2.0, 0.45), (4.0, 7.0, 0.15), (0.15, 0.8, 0.6)):
        strokes += strength * noise(rng, height, width, share * brushing.length_px, thickness_px, angle)
    pressure = 1 + 0.15 * grain(rng, height, width, 120, 0.6)  # the belt does not press evenly
    hairlines = np.maximum(noise(rng, height, width, 0.7 * brushing.length_px, 0.9, angle) - 2.0, 0)
    # Grooves spread the light across themselves, so a lamp shows as a band across the grain.
    along, _ = turned_grid(height, width, angle, (height / 2, width / 2))
    reach = math.hypot(height, width) / 2
    band = np.exp(-(((along / reach - rng.normal(0, 0.25)) / 0.55) ** 2))
    clouds = 0.03 * grain(rng, height, width, 90, 0.5)
    metal = 1 + brushing.contrast * pressure * strokes + brushing.hairlines * hairlines + clouds
    return as_field(brushing.tone * metal * (1 + brushing.glare * (band - 0.5)))


def brushed_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of brushed sheet metal: strokes of many lengths in one direction, under a band of light."""
    brushing = _Brushing(
        tone=rng.uniform(0.3, 0.6),
        angle=float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.06),
        length_px=rng.uniform(80, 300),
        contrast=rng.uniform(0.07, 0.16),
        hairlines=rng.uniform(0.05, 0.25),
        glare=rng.uniform(0.1, 0.45),
    )
    return Surface(partial(_brushed_sheet, brushing), steady_camera(rng))
