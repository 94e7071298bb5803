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
    gamma: float = 1.0  # exponent of the tone curve; below 1 opens the shadows
    jpeg_quality: int | None = None  # of the stored file, 1 to 100; None loses nothing


def as_field(array: NDArray[Any]) -> FloatArray:
    """Return an array as float32, which the types of OpenCV and NumPy leave open."""
    return np.asarray(array, np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a size or a strength; each doubling is as likely as the next, so that the small ones are not rare."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


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


@dataclass(frozen=True)
class Spectrum:
    """Which waves a texture is made of."""

    slope: float  # amplitude falls with the frequency to this power: 0 is sand, 1 clouds, 2 smooth hills
    shortest_px: float  # wavelengths between these two pass
    longest_px: float
    stretch: float = 1.0  # length of the waves along the angle against their length across it
    angle: float = 0.0


def coloured_noise(rng: np.random.Generator, height: int, width: int, spectrum: Spectrum) -> FloatArray:
    """Draw Gaussian noise of any spectrum.

    Returns:
        (H, W) float32 of mean 0 and standard deviation about 1.
    """
    # The transform is periodic; what it wraps around lies beyond the border of the image.
    rows, columns = (
        cv2.getOptimalDFTSize(size + min(math.ceil(spectrum.longest_px), size)) for size in (height, width)
    )
    down = np.fft.fftfreq(rows).astype(np.float32)[:, None]
    right = np.fft.rfftfreq(columns).astype(np.float32)[None, :]
    cos, sin = math.cos(spectrum.angle), math.sin(spectrum.angle)
    even = math.sqrt(spectrum.stretch)
    frequency = np.hypot((right * cos + down * sin) * even, (down * cos - right * sin) / even)
    frequency[0, 0] = 1 / rows  # the mean, taken out below
    low, high = 1 / spectrum.longest_px, 1 / spectrum.shortest_px
    amplitude = frequency**-spectrum.slope * np.exp(-((frequency / high) ** 4) - (low / frequency) ** 4)
    amplitude[0, 0] = 0
    amplitude /= max(math.sqrt(float((amplitude**2).mean())), 1e-12)
    white = rng.standard_normal((rows, columns), dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(rows, columns))
    return as_field(field[:height, :width])


def cells(rng: np.random.Generator, height: int, width: int, cell_px: float) -> tuple[NDArray[np.int32], FloatArray]:
    """Grow cells from random seeds until they meet.

    Returns:
        (H, W) number of the cell that each pixel belongs to, and its distance to the nearest border between cells.
    """
    rows, columns = np.mgrid[0 : height + cell_px : cell_px, 0 : width + cell_px : cell_px]
    seeds = np.stack([rows, columns]) + rng.uniform(-0.5, 0.5, (2, *rows.shape)) * cell_px
    at = np.clip(seeds.round().astype(int), 0, np.array([height - 1, width - 1])[:, None, None])
    ground = np.full((height, width), 255, np.uint8)
    ground[at[0], at[1]] = 0
    _, owner = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    inside = np.full((height, width), 255, np.uint8)
    inside[:-1][owner[:-1] != owner[1:]] = 0
    inside[:, :-1][owner[:, :-1] != owner[:, 1:]] = 0
    return np.asarray(owner, np.int32), as_field(cv2.distanceTransform(inside, cv2.DIST_L2, 5))


def sampled(field: Field, column: Field, row: Field, interpolation: int = cv2.INTER_LINEAR) -> FloatArray:
    """Look a field up at other places, given for each pixel; beyond its border it is mirrored."""
    at_x, at_y = as_field(column), as_field(row)
    return as_field(cv2.remap(as_field(field), at_x, at_y, interpolation, borderMode=cv2.BORDER_REFLECT))


def crooked_cells(
    rng: np.random.Generator,
    height: int,
    width: int,
    cell_px: float,
    sway: float,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> tuple[NDArray[np.int32], FloatArray]:
    """Grow cells as `cells` does, then stretch them along a direction and bend their borders.

    Args:
        cell_px: mean size of a cell.
        sway: how far borders leave a straight line, as a share of a cell.
        stretch: length of a cell along ``angle`` against its width.
    """
    even = math.sqrt(stretch)
    fine = max(1.0, 3.0 / cell_px)  # cells of a few pixels are grown larger, so that they have room for borders
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    columns = math.ceil(fine * ((width * cos + height * sin) / even + 4 * cell_px))
    rows = math.ceil(fine * ((height * cos + width * sin) * even + 4 * cell_px))
    owner, border_px = cells(rng, rows, columns, fine * cell_px)
    along, across = turned_grid(height, width, angle, (height / 2, width / 2))
    bent = [sway * cell_px * noise(rng, height, width, 1.5 * cell_px, 1.5 * cell_px) for _ in range(2)]
    at_x, at_y = fine * (along / even + bent[0]) + columns / 2, fine * (across * even + bent[1]) + rows / 2
    # Numbers below 2**24 are whole in float32, which is all that the look-up takes.
    numbers = sampled(as_field(owner), at_x, at_y, cv2.INTER_NEAREST).astype(np.int32)
    return numbers, sampled(border_px, at_x, at_y) / fine


def shadowed(relief: Field, light: Light, softness_px: float = 0.7) -> FloatArray:
    """Return the share of light (H, W) that each pixel keeps where higher places stand between it and the lamp."""
    height_px = as_field(relief)
    height, width = height_px.shape
    fall = math.tan(light.elevation)  # pixels that the edge of a shadow sinks per pixel of way
    reach_px = min(float(height_px.max() - height_px.min()) / fall, 0.25 * math.hypot(height, width))
    horizon, way_px = height_px, 1.0
    while way_px < reach_px + 1:  # each round looks twice as far towards the lamp
        step = np.array([[1, 0, way_px * math.cos(light.azimuth)], [0, 1, way_px * math.sin(light.azimuth)]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        ahead = cv2.warpAffine(horizon, step, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        horizon = np.maximum(horizon, as_field(ahead) - way_px * fall)
        way_px *= 2
    return 1 - (1 - AMBIENT) * 0.8 * smoothstep((horizon - height_px) / (2 * softness_px))


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
    """Take the picture: uneven light, vignette, exposure, lens blur, sensor noise, tone curve and compression.

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
    stored = as_field(np.clip(noisy, 0, 1)) ** camera.gamma
    return stored if camera.jpeg_quality is None else _compressed(stored, camera.jpeg_quality)


def _compressed(picture: FloatArray, quality: int) -> FloatArray:
    """What is left of a picture after it was stored as JPEG."""
    levels = (picture * 255).round().astype(np.uint8)
    _, file = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return as_field(np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)) / np.float32(255))
