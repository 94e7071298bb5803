"""Long and thin: scratches, cracks, fibres."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import (
    as_field,
    blur,
    crooked_cells,
    log_uniform,
    noise,
    sampled,
    shade,
    smoothstep,
    turned_grid,
)
from blemish.drawing.flaws.canvas import blob, covered, draw_line, fine_canvas, walk
from blemish.drawing.flaws.contract import brightness, find_part, in_focus, inflict, place, side_light, unit_px
from blemish.results import FloatArray


def scratch(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Draw one to four parallel grooves with a raised burr: one bank in the light, the other in the shade."""
    part, px = find_part(image), unit_px(image)
    (row, column), heading = place(part, rng), rng.uniform(0, math.tau)
    n_steps, width_px = int(rng.uniform(20, 90)), rng.uniform(0.5, 1.8) * px
    canvas = fine_canvas(image)
    for _ in range(int(rng.integers(1, 5))):
        back_px, aside_px = n_steps * px, rng.normal(0, 3) * width_px  # the place is the middle of a groove
        start = (
            row - back_px * math.sin(heading) + aside_px * math.cos(heading),
            column - back_px * math.cos(heading) - aside_px * math.sin(heading),
        )
        headings = heading + rng.normal(0, 0.02) + np.cumsum(rng.normal(0, 0.012, n_steps))
        press = np.sin(np.linspace(0, math.pi, n_steps)) ** 0.5  # the tool comes down and lifts off
        chatter = 1 + 0.35 * np.convolve(rng.standard_normal(n_steps + 4), np.ones(5) / 5**0.5, "valid")
        draw_line(canvas, walk(start, headings, 2 * px), width_px * press * chatter)
    groove = covered(canvas)
    strength = log_uniform(rng, 0.2, 1.2)
    relief = strength * width_px * (1.4 * blur(groove, 1.2 * width_px) - 1.2 * groove)
    bare = rng.uniform(-0.5, 0.7) * strength * groove  # what lies below is brighter or darker than the skin
    lit = shade(relief, side_light(rng), gloss=0)
    return inflict(image, brightness(image) * (lit - 1 + bare), part)


def crack(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Draw a dark crack that zigzags, branches, and narrows towards its ends."""
    part, px = find_part(image), unit_px(image)
    canvas = fine_canvas(image)
    n_steps, width_px = int(rng.uniform(30, 110)), rng.uniform(0.7, 2.4) * px
    growing = [(place(part, rng), rng.uniform(0, math.tau), n_steps, width_px)]
    while growing:
        start, heading, n_steps, width_px = growing.pop()
        # It keeps its direction on the whole, and breaks along the grains of the material step by step.
        headings = heading + np.cumsum(rng.normal(0, 0.07, n_steps)) + rng.normal(0, 0.6, n_steps)
        path = walk(start, headings, 2 * px)
        draw_line(canvas, path, width_px * np.linspace(1, 0.25, n_steps) * rng.normal(1, 0.3, n_steps))
        for at in rng.integers(n_steps, size=rng.poisson(n_steps / 35)) if width_px > 0.7 * px else ():
            fork = headings[: at + 1].mean() + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
            growing.append(((path[at, 1], path[at, 0]), fork, int(n_steps * rng.uniform(0.2, 0.5)) + 2, 0.6 * width_px))
    gap = covered(canvas)
    strength = log_uniform(rng, 0.2, 0.95)
    lips = shade(0.5 * strength * blur(gap, 1.0), side_light(rng), gloss=0)
    return inflict(image, brightness(image) * (lips * (1 - strength * gap) - 1), part)


def fibre(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Lay a curled hair or thread on the surface, light or dark, with its soft shadow."""
    part, px = find_part(image), unit_px(image)
    n_steps = int(rng.uniform(20, 80))
    curl = np.cumsum(rng.normal(0, 0.008, n_steps)) + rng.normal(0, 0.015)  # it bends smoothly: its curvature drifts
    path = walk(place(part, rng), rng.uniform(0, math.tau) + np.cumsum(curl), 2 * px)
    canvas = fine_canvas(image)
    draw_line(canvas, path, np.full(n_steps, rng.uniform(0.7, 1.6) * px))
    hair = covered(canvas)
    drop = np.array([[1, 0, rng.uniform(-3, 3) * px], [0, 1, rng.uniform(1, 3) * px]])
    shadow = blur(as_field(cv2.warpAffine(hair, drop, image.shape[::-1])), 1.2 * px)
    strength, tone = log_uniform(rng, 0.2, 0.9), float(rng.choice([0.08, 0.9]))
    below = image * (1 - 0.35 * strength * shadow)
    return inflict(image, below + (tone - below) * strength * hair - image, part)


def gouge(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Plough a wide groove that ends in a heap of what came out of it; its floor is bare and shiny."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    n_steps, width_px = int(rng.uniform(6, 26)), rng.uniform(2, 6) * px
    headings = rng.uniform(0, math.tau) + np.cumsum(rng.normal(0, 0.03, n_steps))
    path = walk(place(part, rng), headings, 2 * px)
    deeper = np.linspace(0.3, 1, n_steps) ** 0.5 * (1 + 0.15 * rng.standard_normal(n_steps))
    canvas, heap = fine_canvas(image), fine_canvas(image)
    draw_line(canvas, path, width_px * deeper)
    draw_line(heap, path[-2:], np.array([1.6 * width_px]))
    groove = covered(canvas)
    strength = log_uniform(rng, 0.2, 1.0)
    banks = blur(groove, 0.6 * width_px) * (1 - groove)
    relief = strength * width_px * (0.9 * banks - 0.5 * blur(groove, 0.25 * width_px))
    relief = relief + 0.4 * strength * width_px * blur(covered(heap), 0.4 * width_px) * (1 - groove)
    tears = 1 + 0.5 * noise(rng, height, width, 12 * px, 1.2 * px, float(headings.mean()))
    bare = rng.uniform(-0.4, 0.6) * strength * groove * tears
    lamp, gloss = side_light(rng), rng.uniform(0, 0.3)
    lit = shade(relief, lamp, gloss, 12) - shade(np.zeros_like(relief), lamp, gloss, 12)
    return inflict(image, in_focus(brightness(image) * (lit + bare), rng), part)


def scuff(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Rub the surface: many fine parallel scratches, close together in one patch, bright or dark."""
    part, px = find_part(image), unit_px(image)
    (row, column), heading = place(part, rng), rng.uniform(0, math.tau)
    long_px, spread_px = rng.uniform(8, 45) * px, rng.uniform(3, 20) * px
    canvas = fine_canvas(image)
    for _ in range(int(rng.integers(8, 60))):
        along, aside = rng.normal(0, 0.3) * long_px, rng.normal(0, 0.5) * spread_px
        start = (
            row + along * math.sin(heading) + aside * math.cos(heading),
            column + along * math.cos(heading) - aside * math.sin(heading),
        )
        n_steps = max(int(rng.uniform(0.2, 0.7) * long_px / px / 2), 1)
        headings = heading + rng.normal(0, 0.06) + np.cumsum(rng.normal(0, 0.02, n_steps))
        press = np.sin(np.linspace(0.25, math.pi - 0.25, n_steps))
        draw_line(canvas, walk(start, headings, 2 * px), rng.uniform(0.3, 1.1) * px * press)
    strength = log_uniform(rng, 0.1, 0.7) * (1 if rng.random() < 0.65 else -1)
    return inflict(image, in_focus(brightness(image) * strength * covered(canvas), rng), part)


def crazing(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Break a skin into flakes: a net of fine cracks, as in glaze, paint and dried mud."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    radius_px = rng.uniform(0.06, 0.22) * min(image.shape)
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.3)
    flake_px = rng.uniform(0.2, 0.7) * radius_px + 2
    flake, border_px = crooked_cells(rng, height, width, flake_px, 0.12)
    gap_px = rng.uniform(0.4, 1.1) * px
    open_there = smoothstep(1.3 - distance + 0.2 * noise(rng, height, width, flake_px, flake_px))
    gap = np.exp(-((border_px / gap_px) ** 1.5)) * open_there
    lifted = rng.standard_normal(4096).astype(np.float32)[flake % 4096] * open_there
    strength = log_uniform(rng, 0.15, 0.9)
    lips = shade(0.4 * strength * blur(gap, 0.8), side_light(rng), gloss=0)
    change = lips * (1 - strength * gap) * (1 + 0.06 * strength * lifted) - 1
    return inflict(image, in_focus(brightness(image) * change, rng), part, bridge_px=3)


def crease(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Fold the surface along a long soft line: one flank bright, the other dark, sometimes a sharp kink."""
    part, px = find_part(image), unit_px(image)
    n_steps, width_px = int(rng.uniform(20, 110)), rng.uniform(1.5, 8) * px
    headings = rng.uniform(0, math.tau) + np.cumsum(rng.normal(0, 0.02, n_steps)) + rng.normal(0, 0.004, n_steps)
    canvas = fine_canvas(image)
    swell = np.sin(np.linspace(0.05, math.pi - 0.05, n_steps))
    draw_line(canvas, walk(place(part, rng), headings, 2 * px), np.maximum(width_px * swell, 0.3 * px))
    fold = covered(canvas)
    strength = log_uniform(rng, 0.15, 0.9)
    relief = rng.choice([-1, 1]) * strength * width_px * blur(fold, 0.6 * width_px)
    kink = rng.uniform(-0.3, 0.3) * strength * blur(fold, 0.2 * width_px)
    lit = shade(relief, side_light(rng), gloss=0)
    return inflict(image, in_focus(brightness(image) * (lit - 1 + kink), rng), part)


# Threads --------------------------------------------------------------------------------------------------------------


def _thread_direction(image: FloatArray, at: tuple[float, float], reach_px: float) -> float:
    """Return the direction in which the texture runs around a point: that of the least change."""
    top, left = (int(max(place - reach_px, 0)) for place in at)
    window = blur(image[top : top + int(2 * reach_px) + 3, left : left + int(2 * reach_px) + 3], 0.8)
    down = as_field(cv2.Sobel(window, cv2.CV_32F, 0, 1))
    right = as_field(cv2.Sobel(window, cv2.CV_32F, 1, 0))
    # The structure tensor: its main axis is that of the greatest change (Bigun, Granlund 1987).
    return 0.5 * math.atan2(2 * float((down * right).sum()), float((right**2 - down**2).sum())) + math.pi / 2


def broken_thread(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Tear a thread: a gap along the texture through which the ground shows, frayed fibres at both ends."""
    part, px = find_part(image), unit_px(image)
    middle = place(part, rng)
    heading = _thread_direction(image, middle, 12 * px) + rng.choice([0, math.pi / 2], p=[0.8, 0.2])
    long_px, thick_px = rng.uniform(8, 50) * px, rng.uniform(1.5, 5) * px
    n_steps = max(int(long_px / px / 2), 2)
    start = (middle[0] - long_px / 2 * math.sin(heading), middle[1] - long_px / 2 * math.cos(heading))
    path = walk(start, heading + rng.normal(0, 0.03, n_steps), 2 * px)
    canvas = fine_canvas(image)
    draw_line(canvas, path, thick_px * (0.5 + 0.5 * np.sin(np.linspace(0.1, math.pi - 0.1, n_steps))))
    fray = fine_canvas(image)
    for end, outwards in ((path[0], heading), (path[-1], heading + math.pi)):
        for _ in range(int(rng.integers(3, 9))):
            n_pieces = int(rng.integers(2, 8))
            curl = outwards + rng.normal(0, 0.7) + np.cumsum(rng.normal(0, 0.25, n_pieces))
            draw_line(fray, walk((end[1], end[0]), curl, 1.5 * px), np.full(n_pieces, rng.uniform(0.3, 0.8) * px))
    gap, fibres = covered(canvas), covered(fray)
    strength = log_uniform(rng, 0.2, 0.9)
    below = image - brightness(image) * strength * gap
    bright = float(np.quantile(image, 0.9))
    return inflict(image, in_focus(below + 0.8 * strength * fibres * (bright - below) - image, rng), part, bridge_px=3)


def pulled_thread(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Pull a thread: it stands out as a tight line along the texture, which is drawn towards it from both sides."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    middle = place(part, rng)
    heading = _thread_direction(image, middle, 12 * px) + rng.choice([0, math.pi / 2], p=[0.8, 0.2])
    along, across = turned_grid(height, width, heading + rng.normal(0, 0.02), middle)
    long_px, reach_px = rng.uniform(15, 80) * px, rng.uniform(3, 10) * px
    held = np.exp(-((along / (0.5 * long_px)) ** 4))
    strength = log_uniform(rng, 0.15, 0.9)
    wave_px = 0.4 * px * noise(rng, height, width, 20 * px, 20 * px)
    aside = across + wave_px
    pull = 0.5 * strength * reach_px * np.tanh(aside / px) * np.exp(-np.abs(aside) / reach_px) * held
    rows, columns = np.indices(image.shape, np.float32)
    drawn = sampled(image, columns - pull * math.sin(heading), rows + pull * math.cos(heading))
    thread = np.exp(-((aside / rng.uniform(0.6, 1.4) / px) ** 2)) * held
    relief = strength * px * 1.5 * thread + 0.5 * strength * px * np.exp(-np.abs(aside) / reach_px) * held
    lit = shade(relief, side_light(rng), gloss=0)
    reached = (held > 0.02) & (np.abs(aside) < 3 * reach_px)
    return inflict(
        image, in_focus((brightness(drawn) * lit * (1 + 0.25 * strength * thread) - image) * reached, rng), part
    )
