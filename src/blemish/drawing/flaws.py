"""Draw defects onto a finished image, each with its mask: onto pictures of `surfaces`, or photographs of good parts.

Every function of `FLAWS` takes an image (H, W) float32 in [0, 1] and a generator, and returns the image with one defect
and the mask (H, W) of the pixels where it can be seen. Place, size, shape and strength come from the generator; they
reach from obvious to barely visible. Sizes follow the shorter side of the image. The input is not modified.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import Field, Light, as_field, blur, noise, shade, smoothstep, turned_grid
from blemish.results import FloatArray

Flaw = Callable[[FloatArray, np.random.Generator], tuple[FloatArray, NDArray[np.bool_]]]

VISIBLE = 0.02  # smallest change of brightness that counts as part of a defect: five of 255 grey levels
FAINTEST = 0.06  # a defect changes its strongest pixel at least so much, and more on a texture that would hide it
FINENESS = 4  # lines are drawn so many times larger, then shrunk: a width below a pixel becomes a share of one


def find_part(image: FloatArray) -> FloatArray:
    """Find where the inspected part lies, so that defects fall on it and not on what is behind it.

    An image shows a part on a background when its brightness falls into two clearly different groups and nearly all of
    its border belongs to one of them. Otherwise the surface fills the image.

    Returns:
        (H, W) float32: 1 on the part, 0 beside it; 1 everywhere when the surface fills the image.
    """
    side = min(image.shape)
    levels = (blur(image, max(0.006 * side, 0.5)) * 255).astype(np.uint8)
    _, bright = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    groups = as_field(bright)
    border = float(np.concatenate([groups[0], groups[-1], groups[:, 0], groups[:, -1]]).mean())
    part = 1 - groups if border > 0.5 else groups
    if not 0.05 < part.mean() < 0.95 or 0.05 < border < 0.95:
        return np.ones_like(image)
    if abs(float(image[part == 1].mean()) - float(image[part == 0].mean())) < 0.15:
        return np.ones_like(image)
    reach = max(round(0.05 * side), 1)
    # Print and shadows on the part belong to it.
    return as_field(cv2.morphologyEx(part, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8)))


def _place(part: FloatArray, rng: np.random.Generator) -> tuple[float, float]:
    """Choose a point (row, column) on the part, away from its edge where there is room."""
    inside = np.pad(part > 0.5, 1).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    room = np.flatnonzero(depth >= min(0.04 * min(part.shape), float(depth.max())))
    row, column = divmod(int(rng.choice(room)), part.shape[1])
    return row + rng.random(), column + rng.random()


def _strength(rng: np.random.Generator, faint: float, obvious: float) -> float:
    """Draw a strength; each doubling is as likely as the next, so that faint defects are not rare."""
    return math.exp(rng.uniform(math.log(faint), math.log(obvious)))


def _inflict(
    image: FloatArray, change: Field, part: FloatArray, bridge_px: float = 5
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Add a change to the image where the part is, make sure it can be seen, and mask where.

    ``bridge_px`` is the size of gaps in the mask that are closed: inside a stain some pixels happen to look the same.
    """
    on_part = change * part
    if np.abs(on_part).max() > 0.1 * np.abs(change).max():
        change = on_part  # else it missed the part, and is better beside it than nowhere
    strength = np.abs(change)
    peak = max(float(strength.max()), 1e-6)
    texture = (image - blur(image, 3 * _unit_px(image)))[strength >= 0.5 * strength.max()]
    least = min(FAINTEST + 3 * float(texture.std()), 0.3)
    change = change * max(least / peak, 1)
    flawed = as_field(np.clip(image + change, 0, 1))
    if float(np.abs(flawed - image).max()) < FAINTEST / 2:  # black cannot get darker, nor white brighter
        flawed = as_field(np.clip(image - change, 0, 1))
    visible = (np.abs(flawed - image) > VISIBLE).astype(np.uint8)
    size = 2 * math.ceil(bridge_px / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return flawed, cv2.morphologyEx(visible, cv2.MORPH_CLOSE, disc) > 0


def _side_light(rng: np.random.Generator) -> Light:
    return Light(azimuth=rng.uniform(0, math.tau), elevation=math.radians(rng.uniform(30, 50)))


def _unit_px(image: FloatArray) -> float:
    """The pixel of an image of 256 pixels, in which defects are measured; in tiny images not less than can be seen."""
    return float(max(min(image.shape) / 256, 0.6))


def _brightness(image: Field) -> FloatArray:
    """What a relative change is relative to: even black reflects a little."""
    return as_field(np.maximum(image, 0.05))


# Lines ----------------------------------------------------------------------------------------------------------------


def _walk(start: tuple[float, float], headings: NDArray[np.float64], step_px: float) -> NDArray[np.float64]:
    """Walk from a point (row, column), one step per heading; (N + 1, 2) of columns and rows."""
    steps = step_px * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.cumsum(np.concatenate([[start[::-1]], steps]), axis=0)


def _draw_line(canvas: NDArray[np.uint8], path: NDArray[np.float64], widths_px: NDArray[np.float64]) -> None:
    """Draw a line, one width per step, into a canvas `FINENESS` times the size of the image; too narrow is a gap."""
    corners = np.round(path * FINENESS * 16).astype(int).tolist()
    thickness = np.round(widths_px * FINENESS).astype(int).tolist()
    for (start, end), width in zip(pairwise(corners), thickness, strict=True):
        if width > 0:
            cv2.line(canvas, start, end, 255, width, cv2.LINE_AA, shift=4)


def _fine_canvas(image: FloatArray) -> NDArray[np.uint8]:
    height, width = image.shape
    return np.zeros((height * FINENESS, width * FINENESS), np.uint8)


def _covered(canvas: NDArray[np.uint8]) -> FloatArray:
    """Shrink a fine canvas to the share of each pixel of the image that is covered, as a lens would see it."""
    height, width = (size // FINENESS for size in canvas.shape)
    return blur(as_field(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA) / 255), 0.5)


def scratch(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Draw one to four parallel grooves with a raised burr: one bank in the light, the other in the shade."""
    part, unit_px = find_part(image), _unit_px(image)
    (row, column), heading = _place(part, rng), rng.uniform(0, math.tau)
    n_steps, width_px = int(rng.uniform(20, 90)), rng.uniform(0.5, 1.8) * unit_px
    canvas = _fine_canvas(image)
    for _ in range(int(rng.integers(1, 5))):
        back_px, aside_px = n_steps * unit_px, rng.normal(0, 3) * width_px  # the place is the middle of a groove
        start = (
            row - back_px * math.sin(heading) + aside_px * math.cos(heading),
            column - back_px * math.cos(heading) - aside_px * math.sin(heading),
        )
        headings = heading + rng.normal(0, 0.02) + np.cumsum(rng.normal(0, 0.012, n_steps))
        press = np.sin(np.linspace(0, math.pi, n_steps)) ** 0.5  # the tool comes down and lifts off
        chatter = 1 + 0.35 * np.convolve(rng.standard_normal(n_steps + 4), np.ones(5) / 5**0.5, "valid")
        _draw_line(canvas, _walk(start, headings, 2 * unit_px), width_px * press * chatter)
    groove = _covered(canvas)
    strength = _strength(rng, 0.2, 1.2)
    relief = strength * width_px * (1.4 * blur(groove, 1.2 * width_px) - 1.2 * groove)
    bare = rng.uniform(-0.5, 0.7) * strength * groove  # what lies below is brighter or darker than the skin
    lit = shade(relief, _side_light(rng), gloss=0)
    return _inflict(image, _brightness(image) * (lit - 1 + bare), part)


def crack(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Draw a dark crack that zigzags, branches, and narrows towards its ends."""
    part, unit_px = find_part(image), _unit_px(image)
    canvas = _fine_canvas(image)
    n_steps, width_px = int(rng.uniform(30, 110)), rng.uniform(0.7, 2.4) * unit_px
    growing = [(_place(part, rng), rng.uniform(0, math.tau), n_steps, width_px)]
    while growing:
        start, heading, n_steps, width_px = growing.pop()
        # It keeps its direction on the whole, and breaks along the grains of the material step by step.
        headings = heading + np.cumsum(rng.normal(0, 0.07, n_steps)) + rng.normal(0, 0.6, n_steps)
        path = _walk(start, headings, 2 * unit_px)
        _draw_line(canvas, path, width_px * np.linspace(1, 0.25, n_steps) * rng.normal(1, 0.3, n_steps))
        for at in rng.integers(n_steps, size=rng.poisson(n_steps / 35)) if width_px > 0.7 * unit_px else ():
            fork = headings[: at + 1].mean() + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
            growing.append(((path[at, 1], path[at, 0]), fork, int(n_steps * rng.uniform(0.2, 0.5)) + 2, 0.6 * width_px))
    gap = _covered(canvas)
    strength = _strength(rng, 0.2, 0.95)
    lips = shade(0.5 * strength * blur(gap, 1.0), _side_light(rng), gloss=0)
    return _inflict(image, _brightness(image) * (lips * (1 - strength * gap) - 1), part)


def fibre(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Lay a curled hair or thread on the surface, light or dark, with its soft shadow."""
    part, unit_px = find_part(image), _unit_px(image)
    n_steps = int(rng.uniform(20, 80))
    curl = np.cumsum(rng.normal(0, 0.008, n_steps)) + rng.normal(0, 0.015)  # it bends smoothly: its curvature drifts
    path = _walk(_place(part, rng), rng.uniform(0, math.tau) + np.cumsum(curl), 2 * unit_px)
    canvas = _fine_canvas(image)
    _draw_line(canvas, path, np.full(n_steps, rng.uniform(0.7, 1.6) * unit_px))
    hair = _covered(canvas)
    drop = np.array([[1, 0, rng.uniform(-3, 3) * unit_px], [0, 1, rng.uniform(1, 3) * unit_px]])
    shadow = blur(as_field(cv2.warpAffine(hair, drop, image.shape[::-1])), 1.2 * unit_px)
    strength, tone = _strength(rng, 0.2, 0.9), float(rng.choice([0.08, 0.9]))
    below = image * (1 - 0.35 * strength * shadow)
    return _inflict(image, below + (tone - below) * strength * hair - image, part)


# Areas ----------------------------------------------------------------------------------------------------------------


def _blob(
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


def dent(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Press a hollow with a raised rim: one flank dark, the other bright, the texture drawn along."""
    part = find_part(image)
    radius_px = rng.uniform(0.04, 0.13) * min(image.shape)
    distance = _blob(image, rng, _place(part, rng), radius_px, ragged=0.15)
    depth_px = _strength(rng, 0.07, 0.45) * radius_px
    hollow = -smoothstep(1.1 - distance) + 0.25 * np.exp(-(((distance - 1.1) / 0.2) ** 2))
    relief = blur(depth_px * hollow, max(0.06 * radius_px, 0.5))
    pull_x = as_field(cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=1 / 8))
    pull_y = as_field(cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=1 / 8))
    rows, columns = np.indices(image.shape, np.float32)
    drawn = cv2.remap(image, columns + 2 * pull_x, rows + 2 * pull_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    lit = _brightness(as_field(drawn)) * shade(relief, _side_light(rng), gloss=0)
    return _inflict(image, (lit - image) * (distance < 2), part, bridge_px=radius_px)


def pit(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Open one to a dozen small pores: dark holes, a bright edge where the light reaches the wall."""
    part = find_part(image)
    row, column = _place(part, rng)
    fine_px = FINENESS * _unit_px(image)
    spread = rng.uniform(4, 16)
    canvas = _fine_canvas(image)
    for pore in range(int(rng.integers(1, 12))):
        stray = rng.normal(0, spread, 2) * (pore > 0)  # the first lies at the place, so that one is always on the part
        centre = (round(column * FINENESS + fine_px * stray[0]), round(row * FINENESS + fine_px * stray[1]))
        radius = fine_px * rng.uniform(0.8, 3.2)
        axes = (round(radius), round(radius * rng.uniform(0.6, 1)))
        cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, 255, cv2.FILLED, cv2.LINE_AA)
    hole = _covered(canvas)
    strength = _strength(rng, 0.15, 0.9)
    walls = shade(-2.0 * strength * blur(hole, 0.8), _side_light(rng), gloss=0)
    return _inflict(image, _brightness(image) * (walls * (1 - strength * hole) - 1), part)


def stain(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Soak the surface: a soft outline, a darker rim where it dried, a halo; the texture stays visible below."""
    part = find_part(image)
    radius_px = rng.uniform(0.05, 0.2) * min(image.shape)
    distance = _blob(image, rng, _place(part, rng), radius_px, ragged=0.3)
    height, width = image.shape
    clouds = 1 + 0.25 * noise(rng, height, width, 0.6 * radius_px, 0.6 * radius_px)
    body = smoothstep((1 - distance) / rng.uniform(0.15, 0.8))
    rim = rng.uniform(0, 0.8) * np.exp(-(((distance - 0.92) / 0.1) ** 2))
    halo = rng.uniform(0, 0.3) * smoothstep((1.6 - distance) / 0.8)
    density = _strength(rng, 0.1, 0.9) * (body * clouds + rim + halo)
    if rng.random() < 0.25:  # dried soap or lime is lighter than what it covers
        return _inflict(image, 0.5 * _brightness(1 - image) * (1 - np.exp(-density)), part)
    return _inflict(image, _brightness(image) * (np.exp(-density) - 1), part)


def missing_print(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Rub detail off a patch or a streak: print, letters or grain fade into what surrounds them."""
    part, unit_px = find_part(image), _unit_px(image)
    # The median over a window sees past strokes and threads, as long as they cover less than half of it.
    window = 2 * min(round(7 * unit_px), 127) + 1
    median = cv2.medianBlur((image * 255).round().astype(np.uint8), window)
    shine = 1 + rng.uniform(-0.06, 0.06)
    bare = shine * blur(as_field(median / 255), 2 * unit_px)
    # Where there is much to rub off it is most likely to be missed.
    detail = blur(np.abs(image - bare), 4 * unit_px) * part
    place = _place((detail > np.quantile(detail, 0.8)) * part if detail.max() > VISIBLE else part, rng)
    distance = _blob(image, rng, place, rng.uniform(9, 28) * unit_px, ragged=0.35, slimness=5)
    rubbed = _strength(rng, 0.4, 0.95) * smoothstep((1 - distance) / rng.uniform(0.2, 0.6))
    sensor = 0.01 * rng.standard_normal(image.shape, dtype=np.float32)
    return _inflict(image, rubbed * (_brightness(bare) + sensor - image), part)


FLAWS: dict[str, Flaw] = {
    "scratch": scratch,
    "crack": crack,
    "fibre": fibre,
    "dent": dent,
    "pit": pit,
    "stain": stain,
    "missing_print": missing_print,
}
