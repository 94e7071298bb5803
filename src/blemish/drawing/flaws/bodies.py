"""Small bodies and holes: pores."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import (
    as_field,
    blur,
    grain,
    log_uniform,
    noise,
    sampled,
    shade,
    smoothstep,
    turned_grid,
)
from blemish.drawing.flaws.canvas import FINENESS, blob, covered, draw_line, fine_canvas, walk
from blemish.drawing.flaws.contract import brightness, find_part, in_focus, inflict, place, side_light, unit_px
from blemish.results import FloatArray


def pit(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Open one to a dozen small pores: dark holes, a bright edge where the light reaches the wall."""
    part = find_part(image)
    row, column = place(part, rng)
    fine_px = FINENESS * unit_px(image)
    spread = rng.uniform(4, 16)
    canvas = fine_canvas(image)
    for pore in range(int(rng.integers(1, 12))):
        stray = rng.normal(0, spread, 2) * (pore > 0)  # the first lies at the place, so that one is always on the part
        centre = (round(column * FINENESS + fine_px * stray[0]), round(row * FINENESS + fine_px * stray[1]))
        radius = fine_px * rng.uniform(0.8, 3.2)
        axes = (round(radius), round(radius * rng.uniform(0.6, 1)))
        cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, 255, cv2.FILLED, cv2.LINE_AA)
    hole = covered(canvas)
    strength = log_uniform(rng, 0.15, 0.9)
    walls = shade(-2.0 * strength * blur(hole, 0.8), side_light(rng), gloss=0)
    return inflict(image, brightness(image) * (walls * (1 - strength * hole) - 1), part)


def inclusion(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Embed a foreign grain: angular, of its own tone and texture, sometimes drawn out to a stringer."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    radius_px = log_uniform(rng, 1.5, 9) * px
    slimness = rng.uniform(4, 12) if rng.random() < 0.25 else 2.0
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.35, slimness=slimness)
    grain_of_it = smoothstep((1 - distance) * radius_px / (1.2 * px) + 0.5)
    rim = np.exp(-(((distance - 1) * radius_px / px) ** 2))
    texture = 0.12 * grain(rng, height, width, 6, 0.8)
    strength = log_uniform(rng, 0.15, 0.95)
    tone = rng.uniform(0.02, 0.9)
    embedded = grain_of_it * (tone * (1 + texture) - image) - 0.25 * rim * brightness(image)
    return inflict(image, in_focus(strength * embedded, rng), part, bridge_px=3)


def debris(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Drop a chip, crumb or curl of swarf onto the surface: lit from the side, with its shadow."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    lamp, (row, column) = side_light(rng), place(part, rng)
    if rng.random() < 0.4:  # a curl
        n_steps = int(rng.integers(8, 30))
        bend = rng.choice([-1, 1]) * np.linspace(0.1, rng.uniform(0.15, 0.6), n_steps)
        canvas = fine_canvas(image)
        width_px = rng.uniform(1.2, 3.5) * px
        path = walk((row, column), rng.uniform(0, math.tau) + np.cumsum(bend), 2 * px)
        draw_line(canvas, path, np.full(n_steps, width_px))
        solid, thick_px = covered(canvas), width_px
    else:
        thick_px = log_uniform(rng, 2, 10) * px
        distance = blob(image, rng, (row, column), thick_px, ragged=0.3, slimness=3)
        solid = smoothstep((1 - distance) * thick_px / px + 0.5)
    facets = 0.25 * noise(rng, height, width, thick_px, thick_px)
    body = shade(0.5 * thick_px * blur(solid, 0.25 * thick_px) * (1 + facets), lamp, gloss=rng.uniform(0, 0.6))
    tone = rng.uniform(0.1, 0.7)
    away_px = 0.4 * thick_px / math.tan(lamp.elevation)
    drop = np.array([[1, 0, -away_px * math.cos(lamp.azimuth)], [0, 1, -away_px * math.sin(lamp.azimuth)]])
    shadow = blur(as_field(cv2.warpAffine(solid, drop, image.shape[::-1])), 0.25 * thick_px + 0.4)
    strength = log_uniform(rng, 0.3, 1)
    below = image * (1 - 0.6 * strength * shadow)
    return inflict(image, in_focus(below + strength * solid * (np.minimum(tone * body, 1) - below) - image, rng), part)


def dust(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Scatter specks and lint over an area, dense in the middle; bright or dark, most of them tiny."""
    part, px = find_part(image), unit_px(image)
    row, column = place(part, rng)
    spread_px = log_uniform(rng, 4, 40) * px
    canvas = fine_canvas(image)
    for speck in range(int(rng.integers(4, 50))):
        x, y = np.array([column, row]) + rng.normal(0, spread_px, 2) * (speck > 0)
        if rng.random() < 0.15:
            n_steps = int(rng.integers(2, 7))
            curl = rng.uniform(0, math.tau) + np.cumsum(rng.normal(0, 0.3, n_steps))
            draw_line(canvas, walk((y, x), curl, 1.5 * px), np.full(n_steps, 0.5 * px))
            continue
        radius = max(round(log_uniform(rng, 0.4, 1.8) * px * FINENESS), 1)
        cv2.circle(canvas, (round(x * FINENESS), round(y * FINENESS)), radius, rng.uniform(120, 255), cv2.FILLED)
    tone = 0.9 if rng.random() < 0.6 else 0.05
    return inflict(
        image, in_focus(log_uniform(rng, 0.15, 0.9) * covered(canvas) * (tone - image), rng), part, bridge_px=2
    )


def drops(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Sprinkle drops of water or oil: each a lens that bends the texture, with a dark rim and a highlight."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    row, column = place(part, rng)
    columns, rows = turned_grid(height, width, 0, (0, 0))
    at_x, at_y, relief = columns, rows, np.zeros_like(image)
    spread_px = rng.uniform(4, 30) * px
    for drop in range(int(rng.integers(1, 9))):
        y, x = np.array([row, column]) + rng.normal(0, spread_px, 2) * (drop > 0)
        radius_px = log_uniform(rng, 2, 12) * px
        away = np.hypot(columns - x, rows - y) / radius_px
        inside = away < 1
        dome = np.sqrt(np.maximum(1 - away**2, 0))
        relief = np.where(inside, 0.35 * radius_px * dome, relief)
        at_x = as_field(np.where(inside, x + (columns - x) * (1 - 0.5 * dome), at_x))
        at_y = as_field(np.where(inside, y + (rows - y) * (1 - 0.5 * dome), at_y))
    soft = blur(relief, 0.6)
    lamp, gloss = side_light(rng), rng.uniform(0.1, 0.6)
    wet = shade(soft, lamp, gloss, 60) - shade(np.zeros_like(soft), lamp, gloss, 60)
    lens = sampled(image, at_x, at_y)
    strength = log_uniform(rng, 0.2, 0.9)
    change = np.where(relief > 0, lens * 0.9 - image, 0) + 0.6 * brightness(image) * wet
    return inflict(image, in_focus(strength * change, rng), part)


def hole(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Punch or burn through: a ragged hole, dark or lit from behind, its rim curled or charred."""
    part, px = find_part(image), unit_px(image)
    radius_px = log_uniform(rng, 2, 14) * px
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.25, slimness=2.5)
    opening = smoothstep((1 - distance) * radius_px / px + 0.5)
    rim = np.exp(-(((distance - 1.15) / 0.2) ** 2))
    curl = shade(rng.uniform(-0.25, 0.25) * radius_px * rim, side_light(rng), gloss=0) - 1
    charred = rng.uniform(-0.5, 0.1) * rim
    strength = log_uniform(rng, 0.3, 1)
    behind = 0.03 if rng.random() < 0.75 else 0.95
    change = brightness(image) * (curl + charred) * (1 - opening) + opening * (behind - image)
    return inflict(image, in_focus(strength * change, rng), part)
