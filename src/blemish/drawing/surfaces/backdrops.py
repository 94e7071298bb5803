"""What lies behind a part, and how a part lies on it."""

from __future__ import annotations

import math
from functools import partial

import cv2
import numpy as np

from blemish.drawing.fields import Light, as_field, blur, grain, log_uniform
from blemish.drawing.surfaces.kind import Family, Scene
from blemish.drawing.surfaces.metal import blasted_metal, brushed_metal, lacquer, rolled_metal
from blemish.drawing.surfaces.natural import concrete, moulded_grain, paper, pressed_board, wood
from blemish.drawing.surfaces.textiles import cloth, felt
from blemish.results import FloatArray

_MATS: tuple[Family, ...] = (rolled_metal, brushed_metal, blasted_metal, lacquer, cloth, felt, concrete, paper, wood,
                             moulded_grain, pressed_board)  # fmt: skip


def _even_ground(
    tone: float, grain_px: float, contrast: float, rng: np.random.Generator, height: int, width: int
) -> FloatArray:
    return as_field(tone * (1 + contrast * grain(rng, height, width, grain_px, 0.8)))


def _toned(mat: Scene, tone: float, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    ground = mat(rng, height, width)
    return as_field(np.minimum(ground * (tone / max(float(ground.mean()), 0.02)), 0.95))


def any_backdrop(rng: np.random.Generator) -> tuple[Scene, float]:
    """Draw what a part lies on: an even ground, lit from behind, or a mat of some material.

    Returns:
        The scene, and its mean brightness.
    """
    way = rng.random()
    if way < 0.15:
        return partial(_even_ground, 0.88, 60, 0.01), 0.88  # light from behind
    tone = log_uniform(rng, 0.03, 0.7)
    if way < 0.6:
        return partial(_even_ground, tone, log_uniform(rng, 3, 60), log_uniform(rng, 0.01, 0.12)), tone
    return partial(_toned, _MATS[rng.integers(len(_MATS))](rng).scene, tone), tone


def contrasting_tone(rng: np.random.Generator, ground: float) -> float:
    """Draw the brightness of a part that can be told from the ground it lies on."""
    return rng.uniform(0.35, 0.75) if ground < 0.3 else rng.uniform(0.08, 0.75 * ground)


def laid_on(ground: FloatArray, part: FloatArray, solid: FloatArray, light: Light, thickness_px: float) -> FloatArray:
    """Lay a part on the ground: its shadow falls away from the lamp, and where it touches no light gets in.

    Args:
        part: (H, W) brightness of the part.
        solid: (H, W) share of each pixel that the part covers.
        thickness_px: how far its top lies above the ground.
    """
    height, width = solid.shape
    away_px = min(thickness_px / math.tan(light.elevation), 0.15 * min(height, width))
    drop = np.array([[1, 0, -away_px * math.cos(light.azimuth)], [0, 1, -away_px * math.sin(light.azimuth)]])
    cast = blur(as_field(cv2.warpAffine(solid, drop, (width, height))), 0.35 * away_px + 0.5)
    contact = blur(solid, 0.5 * thickness_px + 0.7)
    shaded = ground * (1 - 0.6 * cast) * (1 - 0.35 * contact)
    return as_field(shaded + (part - shaded) * solid)
