"""What every drawn picture is made of: noise, side light on a height map, and the camera.

Lengths are in pixels, angles in radians. An angle turns from the column axis towards the row axis: 0 points right and
pi / 2 points down, as the picture is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.results import FloatArray

Field = NDArray[np.floating[Any]]  # (H, W), any quantity that has a value at each pixel

AMBIENT = 0.2  # share of the light that comes from everywhere, so that slopes in the shade are not black


@dataclass(frozen=True)
class Light:
    """A lamp far away: where it stands and how high."""

    azimuth: float  # radians, the side of the picture the light comes from
    elevation: float  # radians above the surface; low light makes relief strong


@dataclass(frozen=True)
class Camera:
    """What stands between a surface and its picture; one per kind, because a station keeps its camera."""

    blur_px: float  # standard deviation of the lens blur
    noise: float  # standard deviation of the sensor noise at full brightness
    vignette: float  # share of light lost in the corners
    unevenness: float  # how much the light may fall off from one side to the other, differently in each image
    exposure_spread: float  # relative standard deviation of the brightness from image to image


def as_field(array: NDArray[Any]) -> FloatArray:
    """Return an array as float32, which the types of OpenCV and NumPy leave open."""
    return np.asarray(array, np.float32)


def blur(field: Field, sigma_px: float) -> FloatArray:
    """Smooth a field with a Gaussian."""
    return as_field(cv2.GaussianBlur(as_field(field), (0, 0), sigma_px))


def smoothstep(field: Field) -> FloatArray:
    """Rise from 0 to 1 while the field goes from 0 to 1, without a kink at either end."""
    rising = as_field(np.clip(field, 0, 1))
    return rising * rising * (3 - 2 * rising)


def turned_grid(height: int, width: int, angle: float, centre: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Return how far each pixel lies from the centre (row, column) along a direction, and across it; both (H, W)."""
    rows = np.arange(height, dtype=np.float32)[:, None] - centre[0]  # (H, 1)
    columns = np.arange(width, dtype=np.float32)[None, :] - centre[1]  # (1, W)
    cos, sin = math.cos(angle), math.sin(angle)
    return columns * cos + rows * sin, rows * cos - columns * sin


def noise(
    rng: np.random.Generator, height: int, width: int, along_px: float, across_px: float, angle: float = 0.0
) -> FloatArray:
    """Draw Gaussian noise whose grains have a length, a width and a direction.

    Args:
        along_px: length of a grain; much larger than ``across_px`` gives streaks.
        across_px: width of a grain.
        angle: direction of the length.

    Returns:
        (H, W) float32 of mean 0 and standard deviation about 1; grains as fine as a pixel lose a little when turned.
    """
    # Three cells to a grain, smoothed, then stretched and turned: as even as filtered white noise, but cheap.
    cells = [max(size_px / 3, 1.0) for size_px in (across_px, along_px)]
    sigmas = [max(size_px / 3 / cell, 0.3) for size_px, cell in zip((across_px, along_px), cells, strict=True)]
    reach = math.hypot(height, width)
    grid = rng.standard_normal([math.ceil(reach / cell) + 4 for cell in cells], dtype=np.float32)
    kernels = [cv2.getGaussianKernel(2 * math.ceil(3 * sigma) + 1, sigma) for sigma in sigmas]
    grid = as_field(cv2.sepFilter2D(grid, -1, kernels[1], kernels[0]))
    gain = math.prod(1 / math.sqrt(float((kernel**2).sum())) for kernel in kernels)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos / cells[1], sin / cells[1]], [-sin / cells[0], cos / cells[0]]])
    shift = np.array(grid.shape[::-1]) / 2 - turn @ (width / 2, height / 2)
    to_grid = np.column_stack([turn, shift])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    field = cv2.warpAffine(grid, to_grid, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return as_field(field) * gain


def grain(rng: np.random.Generator, height: int, width: int, coarsest_px: float, roughness: float) -> FloatArray:
    """Sum noise of halving sizes: clouds, cast skin, paper.

    Args:
        coarsest_px: size of the largest grains; the smallest are one to two pixels.
        roughness: how strong each halving is against the one before; near 0 clouds, near 1 sand.

    Returns:
        (H, W) float32 of mean 0 and standard deviation about 1.
    """
    octaves = max(1, round(math.log2(coarsest_px)))
    strengths = [roughness**octave for octave in range(octaves)]
    field = np.zeros((height, width), np.float32)
    for octave, strength in enumerate(strengths):
        size_px = coarsest_px / 2**octave
        field += strength * noise(rng, height, width, size_px, size_px)
    return field / math.hypot(*strengths)


def shade(relief: Field, light: Light, gloss: float, shininess: float = 20.0) -> FloatArray:
    """Light a height map from the side: matt reflection plus a highlight.

    Args:
        relief: (H, W), height in pixels.
        gloss: brightness of the highlight on a facet that mirrors the light into the camera; 0 is matt.
        shininess: how narrow the highlight is.

    Returns:
        (H, W) float32, 0 or more; a flat matt surface has 1 everywhere.
    """
    height_px = as_field(relief)
    slope_x = as_field(cv2.Scharr(height_px, cv2.CV_32F, 1, 0, scale=1 / 32))
    slope_y = as_field(cv2.Scharr(height_px, cv2.CV_32F, 0, 1, scale=1 / 32))
    upright = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    level, to_z = math.cos(light.elevation), math.sin(light.elevation)
    climb = (slope_x * math.cos(light.azimuth) + slope_y * math.sin(light.azimuth)) * level  # towards the lamp
    facing = np.maximum((to_z - climb) * upright, 0)
    matt = AMBIENT + (1 - AMBIENT) * facing / to_z
    if gloss == 0:
        return as_field(matt)
    half = math.sqrt(2 + 2 * to_z)  # length of light + view, the view being straight down
    mirrored = np.maximum((1 + to_z - climb) * upright / half, 0)
    return as_field(matt + gloss * mirrored**shininess)


def hollows(relief: Field, reach_px: float) -> FloatArray:
    """Return how deep each pixel lies below its surroundings, in pixels; hollows see less of the sky and are darker."""
    return as_field(np.maximum(blur(relief, reach_px) - relief, 0))


def photograph(scene: Field, camera: Camera, rng: np.random.Generator) -> FloatArray:
    """Take the picture: uneven light, vignette, exposure, lens blur and sensor noise.

    Args:
        scene: (H, W), brightness of the surface; 1 is white.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = scene.shape
    centre = (height / 2, width / 2)
    towards, across = turned_grid(height, width, rng.uniform(0, math.tau), centre)
    reach = math.hypot(*centre)
    falloff = 1 - camera.vignette * (towards**2 + across**2) / reach**2
    light = falloff * (1 + rng.normal(0, camera.unevenness) * towards / reach)
    exposure = math.exp(rng.normal(0, camera.exposure_spread))
    picture = blur(scene * light * exposure, camera.blur_px)
    # Photons are counted, so the noise grows with the square root of the light; a little remains in the dark.
    shot = camera.noise * np.sqrt(np.maximum(picture, 0.02))
    noisy = picture + shot * rng.standard_normal(picture.shape, dtype=np.float32)
    return as_field(np.clip(noisy, 0, 1))
