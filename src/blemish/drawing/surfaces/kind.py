"""A kind of surface: what stands before the camera, the lamp that lights it, and the camera."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blemish.drawing.fields import Camera, Field, Light, as_field, hollows, log_uniform, photograph, shade, shadowed
from blemish.results import FloatArray

Scene = Callable[[np.random.Generator, int, int], FloatArray]


@dataclass(frozen=True)
class Surface:
    """One kind of surface: what stands before the camera, and the camera. Made by a function of `SURFACES`."""

    scene: Scene  # draws the lit surface (H, W); a partial of a function and the parameters it has in this kind
    camera: Camera


Family = Callable[[np.random.Generator], Surface]


def draw_surface(surface: Surface, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Draw one image of a kind, with the variation that good images have among themselves.

    Args:
        surface: the kind.
        rng: draws what differs between images: position, light, texture, noise.
        height: rows of the image.
        width: columns of the image.

    Returns:
        (H, W) float32 in [0, 1].

    Example:
        >>> from blemish.drawing import SURFACES
        >>> rng = np.random.default_rng(0)
        >>> steel = SURFACES["brushed_metal"](rng)
        >>> draw_surface(steel, rng, height=48, width=64).shape
        (48, 64)
    """
    return photograph(surface.scene(rng, height, width), surface.camera, rng)


# The station ----------------------------------------------------------------------------------------------------------


def steady_camera(rng: np.random.Generator) -> Camera:
    """A camera as a careful station has it: sharp, little noise, nothing lost when the image is stored."""
    return Camera(
        blur_px=rng.uniform(0.45, 0.8),
        noise=rng.uniform(0.008, 0.02),
        vignette=rng.uniform(0.05, 0.25),
        unevenness=rng.uniform(0.02, 0.08),
        exposure_spread=rng.uniform(0.01, 0.04),
    )


def steady_light(rng: np.random.Generator) -> Light:
    """A lamp as a careful station has it: from any side, neither grazing nor from above."""
    return Light(azimuth=rng.uniform(0, math.tau), elevation=math.radians(rng.uniform(30, 60)))


def any_camera(rng: np.random.Generator) -> Camera:
    """Any camera that one meets: sharp or soft, clean or noisy, often with a tone curve, sometimes with JPEG files."""
    return Camera(
        blur_px=log_uniform(rng, 0.35, 1.3),
        noise=log_uniform(rng, 0.003, 0.03),
        vignette=rng.uniform(0, 0.3),
        unevenness=rng.uniform(0, 0.1),
        exposure_spread=rng.uniform(0.005, 0.05),
        gamma=log_uniform(rng, 0.55, 1.15),
        jpeg_quality=int(rng.integers(40, 96)) if rng.random() < 0.4 else None,
    )


def any_light(rng: np.random.Generator) -> Light:
    """Any lamp: grazing light that shows each grain, up to light from above that shows only tones."""
    return Light(azimuth=rng.uniform(0, math.tau), elevation=math.radians(rng.uniform(20, 70)))


def swayed(light: Light, rng: np.random.Generator) -> Light:
    """The lamp as one image sees it: a mount gives a little."""
    return Light(light.azimuth + rng.normal(0, 0.06), light.elevation + rng.normal(0, 0.02))


# The answer of a surface to light -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finish:
    """How a relief answers the lamp."""

    light: Light
    gloss: float  # brightness of the highlight; 0 is matt
    shininess: float  # how narrow the highlight is
    hollow_px: float  # reach within which walls keep light from what lies between them


def any_finish(rng: np.random.Generator, hollow_px: float, glossy: float = 0.5) -> Finish:
    """Draw a finish; with the given probability a glossy one."""
    return Finish(
        light=any_light(rng),
        gloss=rng.uniform(0.1, 0.9) if rng.random() < glossy else 0.0,
        shininess=log_uniform(rng, 8, 80),
        hollow_px=hollow_px,
    )


def lit(tone: Field | float, relief: Field, finish: Finish, rng: np.random.Generator) -> FloatArray:
    """Light a relief (H, W), heights in pixels, whose own brightness is ``tone``: shading, shadows, dark hollows."""
    light = swayed(finish.light, rng)
    sky = np.exp(-1.2 * hollows(relief, finish.hollow_px) / finish.hollow_px)
    bright = tone * sky * shadowed(relief, light) * shade(relief, light, finish.gloss, finish.shininess)
    return rolled_off(bright)


def rolled_off(bright: Field) -> FloatArray:
    """Bend brightness above 0.7 towards 1, as film and tone curves do, so that highlights keep their shape."""
    excess = np.maximum(bright - 0.7, 0)
    return as_field(np.minimum(bright, 0.7) + 0.28 * (1 - np.exp(-excess / 0.28)))
