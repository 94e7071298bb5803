"""Patches: dents, stains, print rubbed off."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import (
    Spectrum,
    as_field,
    blur,
    coloured_noise,
    grain,
    log_uniform,
    noise,
    sampled,
    shade,
    smoothstep,
    turned_grid,
)
from blemish.drawing.flaws.canvas import blob
from blemish.drawing.flaws.contract import VISIBLE, brightness, find_part, in_focus, inflict, place, side_light, unit_px
from blemish.results import FloatArray


def dent(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Press a hollow with a raised rim: one flank dark, the other bright, the texture drawn along."""
    part = find_part(image)
    radius_px = rng.uniform(0.04, 0.13) * min(image.shape)
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.15)
    depth_px = log_uniform(rng, 0.07, 0.45) * radius_px
    hollow = -smoothstep(1.1 - distance) + 0.25 * np.exp(-(((distance - 1.1) / 0.2) ** 2))
    relief = blur(depth_px * hollow, max(0.06 * radius_px, 0.5))
    pull_x = as_field(cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=1 / 8))
    pull_y = as_field(cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=1 / 8))
    rows, columns = np.indices(image.shape, np.float32)
    drawn = cv2.remap(image, columns + 2 * pull_x, rows + 2 * pull_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    lit = brightness(as_field(drawn)) * shade(relief, side_light(rng), gloss=0)
    return inflict(image, (lit - image) * (distance < 2), part, bridge_px=radius_px)


def stain(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Soak the surface: a soft outline, a darker rim where it dried, a halo; the texture stays visible below."""
    part = find_part(image)
    radius_px = rng.uniform(0.05, 0.2) * min(image.shape)
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.3)
    height, width = image.shape
    clouds = 1 + 0.25 * noise(rng, height, width, 0.6 * radius_px, 0.6 * radius_px)
    body = smoothstep((1 - distance) / rng.uniform(0.15, 0.8))
    rim = rng.uniform(0, 0.8) * np.exp(-(((distance - 0.92) / 0.1) ** 2))
    halo = rng.uniform(0, 0.3) * smoothstep((1.6 - distance) / 0.8)
    density = log_uniform(rng, 0.1, 0.9) * (body * clouds + rim + halo)
    if rng.random() < 0.25:  # dried soap or lime is lighter than what it covers
        return inflict(image, 0.5 * brightness(1 - image) * (1 - np.exp(-density)), part)
    return inflict(image, brightness(image) * (np.exp(-density) - 1), part)


def missing_print(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Rub detail off a patch or a streak: print, letters or grain fade into what surrounds them."""
    part, px = find_part(image), unit_px(image)
    # The median over a window sees past strokes and threads, as long as they cover less than half of it.
    window = 2 * min(round(7 * px), 127) + 1
    median = cv2.medianBlur((image * 255).round().astype(np.uint8), window)
    shine = 1 + rng.uniform(-0.06, 0.06)
    bare = shine * blur(as_field(median / 255), 2 * px)
    # Where there is much to rub off it is most likely to be missed.
    detail = blur(np.abs(image - bare), 4 * px) * part
    at = place((detail > np.quantile(detail, 0.8)) * part if detail.max() > VISIBLE else part, rng)
    distance = blob(image, rng, at, rng.uniform(9, 28) * px, ragged=0.35, slimness=5)
    rubbed = log_uniform(rng, 0.4, 0.95) * smoothstep((1 - distance) / rng.uniform(0.2, 0.6))
    sensor = 0.01 * rng.standard_normal(image.shape, dtype=np.float32)
    return inflict(image, rubbed * (brightness(bare) + sensor - image), part)


def bulge(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Raise a blister: a smooth dome, bright towards the lamp, sometimes with a highlight."""
    part = find_part(image)
    radius_px = max(rng.uniform(0.03, 0.12) * min(image.shape), 1.5)
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.12)
    height_px = log_uniform(rng, 0.06, 0.45) * radius_px
    relief = blur(height_px * np.sqrt(np.maximum(1 - np.minimum(distance, 1) ** 2, 0)), max(0.1 * radius_px, 0.5))
    gloss = rng.uniform(0.05, 0.5) if rng.random() < 0.5 else 0.0
    lamp = side_light(rng)
    highlight = shade(relief, lamp, gloss, 25) - shade(np.zeros_like(relief), lamp, gloss, 25)
    return inflict(image, in_focus(brightness(image) * highlight * (distance < 1.5), rng), part, bridge_px=radius_px)


def smear(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Wipe grease, ink or glue along: a streaky film that gets thinner, darker or brighter than the surface."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    heading = rng.uniform(0, math.tau)
    along, across = turned_grid(height, width, heading, place(part, rng))
    long_px, wide_px = rng.uniform(15, 90) * px, rng.uniform(3, 20) * px
    bent = across + 0.3 * wide_px * noise(rng, height, width, long_px, long_px)
    streaks = noise(rng, height, width, 0.8 * long_px, 1.5 * px, heading)
    begin = smoothstep(along / (0.15 * long_px) + 0.5)
    fade = begin * smoothstep(1 - along / long_px)
    film = fade * np.exp(-((bent / wide_px) ** 4)) * smoothstep(0.6 + 0.35 * streaks)
    strength = log_uniform(rng, 0.08, 0.7)
    tone = float(rng.choice([0.05, 0.85, float(np.median(image)) * 0.7]))
    change = strength * film * (tone - image) if rng.random() < 0.5 else brightness(image) * (0.6 * strength * film)
    return inflict(image, in_focus(change, rng), part)


def haze(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Dull or polish a patch: the texture loses contrast below a veil, or is worn smooth."""
    part, px = find_part(image), unit_px(image)
    radius_px = rng.uniform(0.05, 0.2) * min(image.shape)
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.35, slimness=3)
    veil = log_uniform(rng, 0.25, 1) * smoothstep((1 - distance) / rng.uniform(0.2, 0.9))
    smooth = blur(image, rng.uniform(1, 4) * px)
    shift = rng.choice([-1, 1]) * log_uniform(rng, 0.03, 0.25)
    return inflict(image, in_focus(veil * (smooth - image + shift * brightness(smooth)), rng), part)


def discolouration(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Shift the tone over a wide area without any outline: heat tint, uneven coating, mura."""
    part = find_part(image)
    radius_px = rng.uniform(0.1, 0.35) * min(image.shape)
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.4, slimness=4)
    shift = rng.choice([-1, 1]) * log_uniform(rng, 0.06, 0.4) * smoothstep((1.3 - distance) / 1.2)
    if rng.random() < 0.25:  # heat leaves rings
        shift = shift * (0.5 + 0.5 * np.cos(rng.uniform(4, 9) * distance))
    return inflict(image, in_focus(brightness(image) * shift, rng), part)


def corrosion(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Eat into the surface: a rough patch of pits and crusts with a ragged edge, islands around it."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    radius_px = rng.uniform(0.04, 0.16) * min(image.shape)
    distance = blob(image, rng, place(part, rng), radius_px, ragged=0.5, slimness=2.5)
    eaten = coloured_noise(rng, height, width, Spectrum(1.2, 1.5, max(0.8 * radius_px, 6)))
    cover = smoothstep((1.1 - distance + 0.5 * eaten) / rng.uniform(0.15, 0.6)) * (distance < 2.2)
    crust = grain(rng, height, width, 6 * px + 2, 0.9)
    strength = log_uniform(rng, 0.15, 0.9)
    tone = rng.uniform(-0.6, 0.3) + 0.3 * crust
    lit = shade(0.5 * strength * cover * (crust - 0.6), side_light(rng), gloss=0)
    return inflict(image, in_focus(brightness(image) * (lit * (1 + strength * cover * tone) - 1), rng), part)


def distortion(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Pull the texture out of shape: pinched, twisted or sheared, as if it had slipped; slightly buckled too."""
    part = find_part(image)
    radius_px = rng.uniform(0.06, 0.2) * min(image.shape)
    row, column = place(part, rng)
    rows, columns = np.indices(image.shape, np.float32)
    x, y = columns - column, rows - row
    distance = np.hypot(x, y) / radius_px
    held = np.exp(-(distance**2))
    strength = log_uniform(rng, 0.15, 0.9)
    pinch, twist = rng.normal(0, 0.6, 2) * strength
    shear = rng.normal(0, 0.35, 2) * strength * radius_px
    at_x = columns + held * (pinch * x - twist * y + shear[0])
    at_y = rows + held * (pinch * y + twist * x + shear[1])
    buckle = shade(0.12 * strength * radius_px * held, side_light(rng), gloss=0)
    drawn = sampled(image, at_x, at_y)
    return inflict(image, in_focus((brightness(drawn) * buckle - image) * (distance < 2), rng), part)
