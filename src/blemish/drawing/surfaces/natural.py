"""What has grown: leather."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from blemish.drawing.fields import (
    Light,
    as_field,
    blur,
    cells,
    grain,
    noise,
    shade,
    turned_grid,
)
from blemish.drawing.surfaces.kind import Surface, steady_camera, steady_light, swayed
from blemish.results import FloatArray


@dataclass(frozen=True)
class _Hide:
    tone: float  # brightness of the dye
    cell_px: float  # size of one grain of the skin
    stretch: float  # length of a grain against its width
    angle: float  # direction of the length
    depth: float  # of the creases, as a share of the cell
    gloss: float
    light: Light


def _tanned_hide(hide: _Hide, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    along, across = turned_grid(height, width, hide.angle, (height / 2, width / 2))
    reach = math.ceil(math.hypot(height, width)) + 4 * math.ceil(hide.cell_px)
    sway = [0.2 * hide.cell_px * noise(rng, height, width, hide.cell_px, hide.cell_px) for _ in range(2)]
    at = [(along / hide.stretch + sway[0] + reach / 2), (across + sway[1] + reach / 2)]
    _, creases = cells(rng, reach, reach, hide.cell_px)
    distance = as_field(cv2.remap(creases, at[0], at[1], cv2.INTER_LINEAR))
    dome = 1 - np.exp(-3.5 * distance / hide.cell_px)
    swell = 1 + 0.15 * noise(rng, height, width, 60, 60)  # the skin is not equally tight everywhere
    relief = hide.depth * hide.cell_px * swell * blur(dome, 0.09 * hide.cell_px)
    relief += 0.10 * grain(rng, height, width, 4, 0.9) + 0.35 * noise(rng, height, width, 90, 90)
    dye = 1 + 0.05 * grain(rng, height, width, 64, 0.6)
    shadow = np.exp(-0.7 * (1 - dome) * swell)
    return as_field(hide.tone * dye * shadow * shade(relief, swayed(hide.light, rng), hide.gloss))


def leather(rng: np.random.Generator) -> Surface:
    """Draw a kind of leather: a skin of small domes between creases, a little glossy."""
    hide = _Hide(
        tone=rng.uniform(0.35, 0.65),
        cell_px=rng.uniform(6, 14),
        stretch=rng.uniform(1.0, 1.7),
        angle=rng.uniform(0, math.pi),
        depth=rng.uniform(0.15, 0.3),
        gloss=rng.uniform(0.1, 0.5),
        light=steady_light(rng),
    )
    return Surface(partial(_tanned_hide, hide), steady_camera(rng))
