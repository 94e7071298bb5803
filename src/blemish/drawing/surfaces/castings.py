"""A cast flange on a mat: the part that the demo inspects."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from blemish.drawing.fields import Light, as_field, blur, grain, hollows, shade, smoothstep, turned_grid
from blemish.drawing.surfaces.kind import Surface, steady_camera, steady_light, swayed
from blemish.drawing.surfaces.lettering import lettering
from blemish.results import FloatArray


@dataclass(frozen=True)
class _Flange:
    """Lengths are shares of half the shorter side of the image, so 1 reaches from the centre to the border."""

    radius: float  # of the plate
    lugs: bool  # ears around the bolts that stand out of a smaller plate
    n_bolts: int
    bolt_circle: float  # distance of the bolts from the centre
    bolt_radius: float
    hub_radius: float  # of the raised, machined ring around the bore
    bore_radius: float
    mark: FloatArray = field(repr=False, compare=False)  # (h, w) strip of raised writing, bent around the centre
    mark_at: float  # direction from the centre to the middle of the writing
    mark_height: float  # of the letters in pixels at a 256-pixel image; negative when stamped
    tones: tuple[float, float]  # brightness of the cast skin, of machined metal
    roughness_px: float  # height of the grains of the skin
    light: Light


def _flange_outline(flange: _Flange, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the signed distance to the outline (negative on metal), and the distance to the nearest bolt's centre."""
    radius = np.hypot(x, y)
    turns = math.tau / flange.n_bolts
    spoke = (np.arctan2(y, x) + turns / 2) % turns - turns / 2  # angle to the nearest bolt: one sector stands for all
    bolt = np.hypot(radius * np.cos(spoke) - flange.bolt_circle, radius * np.sin(spoke))
    plate = radius - flange.radius
    if flange.lugs:
        lug = bolt - 2.1 * flange.bolt_radius
        blend = np.maximum(0.15 - np.abs(plate - lug), 0) / 0.15
        plate = np.minimum(plate, lug) - blend**2 * 0.15 / 4  # a smooth minimum casts a fillet where the two meet
    holes = np.minimum(radius - flange.bore_radius, bolt - flange.bolt_radius)
    return as_field(np.maximum(plate, -holes)), bolt


def _writing(flange: _Flange, radius: FloatArray, angle: FloatArray, unit_px: float) -> FloatArray:
    """Bend the strip of letters around the centre, between hub and bolts."""
    outer = flange.bolt_circle - flange.bolt_radius if not flange.lugs else flange.radius
    middle, tall = (flange.hub_radius + outer) / 2, 0.6 * (outer - flange.hub_radius)
    turned = (angle - flange.mark_at + math.pi) % math.tau - math.pi
    scale = len(flange.mark) / tall  # strip pixels per unit
    at_x = turned * middle * scale + flange.mark.shape[1] / 2
    at_y = (middle - radius) * scale + len(flange.mark) / 2
    smooth = blur(flange.mark, max(0.5 * scale / unit_px, 0.3))  # as fine as the image can show
    return as_field(cv2.remap(smooth, at_x, at_y, cv2.INTER_LINEAR))


def _shadowed_mat(rng: np.random.Generator, solid: FloatArray, light: Light, shadow_px: float) -> FloatArray:
    """Draw the dark rubber below a part, and the part's shadow on the side away from the lamp."""
    height, width = solid.shape
    drop = np.array([[1, 0, -shadow_px * math.cos(light.azimuth)], [0, 1, -shadow_px * math.sin(light.azimuth)]])
    shadow = blur(as_field(cv2.warpAffine(solid, drop, (width, height))), 0.5 * shadow_px)
    return 0.07 * (1 + 0.15 * grain(rng, height, width, 5, 0.9)) * (1 - 0.7 * shadow)


def _flange_on_mat(flange: _Flange, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    unit_px = min(height, width) / 2
    centre = (height / 2 + unit_px * rng.normal(0, 0.012), width / 2 + unit_px * rng.normal(0, 0.012))
    turn = rng.normal(0, 0.012)
    x, y = (axis / unit_px for axis in turned_grid(height, width, turn, centre))
    light = swayed(flange.light, rng)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    outline, bolt = _flange_outline(flange, x, y)
    hub = smoothstep((flange.hub_radius - radius) / 0.04)
    seat = smoothstep((1.6 * flange.bolt_radius - bolt) / 0.02)  # spot face under each bolt head
    machined = np.maximum(smoothstep((flange.hub_radius - 0.035 - radius) / 0.01), seat)
    writing = _writing(flange, radius, angle, unit_px)
    skin = flange.roughness_px * grain(rng, height, width, 6, 0.8) * (1 - machined)
    edge = 1 - np.clip(1 + outline / 0.05, 0, 1) ** 2  # rounded on top, steep at the outline
    body = 0.04 * edge + 0.06 * hub - 0.015 * seat * (1 - hub)
    relief = unit_px * (body + flange.mark_height / 128 * writing) + skin
    # A tool on a lathe leaves rings; they mirror the light in two fans that point towards and away from the lamp.
    rings = rng.standard_normal(1024, dtype=np.float32)
    ridges = rings[(radius * unit_px * 0.9).astype(np.int32) % 1024]
    fans = 1 + 0.3 * np.cos(2 * (angle + turn - light.azimuth)) + 0.05 * ridges
    tone = flange.tones[0] * (1 + 0.06 * grain(rng, height, width, 48, 0.7))
    tone += (flange.tones[1] * fans - tone) * machined
    metal = tone * np.exp(-0.12 * hollows(relief, 0.05 * unit_px)) * shade(relief, light, gloss=0.25)
    solid = as_field(np.clip(0.5 - outline * unit_px, 0, 1))
    mat = _shadowed_mat(rng, solid, light, 0.08 * unit_px)
    return as_field(mat + (metal - mat) * solid)


def cast_part(rng: np.random.Generator) -> Surface:
    """Draw a kind of cast flange on a dark mat: bolt holes, a turned hub, writing; nearly always in the same place."""
    lugs = bool(rng.integers(2))
    bolt_radius = rng.uniform(0.065, 0.1)
    bolt_circle = rng.uniform(0.64, 0.7)
    bore_radius = rng.uniform(0.12, 0.2)
    text = str(rng.choice(["GJS-400", "DN 40 PN16", "EN-1563", "CF8M 7731", "A216 WCB", "GG25 0482", "1.4408 DN25"]))
    flange = _Flange(
        radius=bolt_circle - 0.02 if lugs else bolt_circle + 2.4 * bolt_radius,
        lugs=lugs,
        n_bolts=int(rng.integers(3, 7)) if lugs else int(rng.integers(4, 9)),
        bolt_circle=bolt_circle,
        bolt_radius=bolt_radius,
        hub_radius=bore_radius + rng.uniform(0.14, 0.24),
        bore_radius=bore_radius,
        mark=lettering(text),
        mark_at=rng.uniform(-math.pi, math.pi),
        mark_height=float(rng.choice([-1, 1])) * rng.uniform(1.0, 2.5),
        tones=(rng.uniform(0.28, 0.48), rng.uniform(0.45, 0.6)),
        roughness_px=rng.uniform(0.15, 0.5),
        light=steady_light(rng),
    )
    return Surface(partial(_flange_on_mat, flange), steady_camera(rng))
