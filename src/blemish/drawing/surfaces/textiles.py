"""Cloth: threads that go over and under each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import (
    Light,
    as_field,
    hollows,
    noise,
    shade,
    turned_grid,
)
from blemish.drawing.surfaces.kind import Surface, steady_camera, steady_light, swayed
from blemish.results import FloatArray

WEAVES = {  # 1 where the warp thread lies on top; rows are weft threads, columns warp threads
    "plain": np.array([[1, 0], [0, 1]]),
    "twill": np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]),
    "denim": np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]]),
    "basket": np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]),
}


@dataclass(frozen=True)
class _Weave:
    pattern: str  # a name of WEAVES
    pitch_px: tuple[float, float]  # distance of the warp threads, of the weft threads
    tones: tuple[float, float]  # brightness of the warp, of the weft
    fullness: float  # thickness of a thread as a share of its pitch
    angle: float  # direction across the warp threads
    twist: float  # angle between the fibres and their thread
    fuzz: float  # contrast of the fibres
    light: Light


def _lift(pattern: NDArray[np.int_], lines: FloatArray, along: FloatArray) -> FloatArray:
    """Return how high a thread lies at each pixel: 1 over the other threads, -1 under them, smooth between crossings.

    ``pattern`` has one row per crossing and one column per thread; ``lines`` is the number of the thread at each pixel,
    ``along`` how many crossings lie before it.
    """
    crossing = np.floor(along)
    offset = along - crossing - 0.5  # -0.5 to 0.5 within one crossing
    neighbour = crossing + np.sign(offset)
    heights = (2 * pattern - 1).astype(np.float32)
    column = lines.astype(np.int32) % pattern.shape[1]
    here = heights[crossing.astype(np.int32) % pattern.shape[0], column]
    there = heights[neighbour.astype(np.int32) % pattern.shape[0], column]
    return as_field(here + (there - here) * 2 * offset**2)


def _threads(
    weave: _Weave, rng: np.random.Generator, across: FloatArray, lift: FloatArray, lines: FloatArray, warp: bool
) -> tuple[FloatArray, FloatArray]:
    """Return height and brightness of one set of threads, as if the other were not there."""
    height, width = across.shape
    pitch_px = weave.pitch_px[0 if warp else 1]
    direction = weave.angle + (math.pi / 2 if warp else 0)
    offset = (across - lines - 0.5) / weave.fullness  # -0.5 to 0.5 across one thread
    roundness = np.sqrt(np.maximum(1 - 4 * offset**2, 0))
    fibres = noise(rng, height, width, 0.9 * pitch_px, 1.0, direction + weave.twist)
    slubs = noise(rng, height, width, 12 * pitch_px, pitch_px, direction)
    dye = rng.normal(1, 0.035, 512).astype(np.float32)[lines.astype(np.int32) % 512]
    relief = pitch_px * (0.35 * roundness + 0.13 * lift) + 0.12 * fibres
    return relief, weave.tones[0 if warp else 1] * dye * (1 + weave.fuzz * fibres + 0.05 * slubs)


def _woven_cloth(weave: _Weave, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    corner = (rng.uniform(-900, -300), rng.uniform(-900, -300))  # each image shows another piece of the roll
    across, along = turned_grid(height, width, weave.angle + rng.normal(0, 0.012), corner)
    drift = [0.10 * noise(rng, height, width, 70, 70) + 0.05 * noise(rng, height, width, 18, 18) for _ in range(2)]
    warp_at = across / weave.pitch_px[0] + drift[0]
    weft_at = along / weave.pitch_px[1] + drift[1]
    warp, weft = np.floor(warp_at), np.floor(weft_at)
    pattern = WEAVES[weave.pattern]
    warp_relief, warp_tone = _threads(weave, rng, warp_at, _lift(pattern, warp, weft_at), warp, warp=True)
    weft_relief, weft_tone = _threads(weave, rng, weft_at, _lift(1 - pattern.T, weft, warp_at), weft, warp=False)
    relief = np.maximum(warp_relief, weft_relief)
    tone = np.where(warp_relief > weft_relief, warp_tone, weft_tone)
    shadow = np.exp(-6 * hollows(relief, 0.35 * min(weave.pitch_px)) / min(weave.pitch_px))
    return as_field(tone * shadow * shade(0.8 * relief, swayed(weave.light, rng), gloss=0.1))


def woven_fabric(rng: np.random.Generator) -> Surface:
    """Draw a kind of woven cloth: threads that go over and under each other, made of twisted fibres."""
    pitch_px = rng.uniform(6, 13)
    tone = rng.uniform(0.35, 0.65)
    weave = _Weave(
        pattern=str(rng.choice(list(WEAVES))),
        pitch_px=(pitch_px, pitch_px * rng.uniform(0.85, 1.15)),
        tones=(tone, tone * rng.uniform(0.75, 1.3)),
        fullness=rng.uniform(0.9, 1.05),
        angle=rng.normal(0, 0.15),
        twist=float(rng.choice([-1, 1])) * rng.uniform(0.35, 0.7),
        fuzz=rng.uniform(0.06, 0.14),
        light=steady_light(rng),
    )
    return Surface(partial(_woven_cloth, weave), steady_camera(rng))
