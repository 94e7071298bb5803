"""What all flaws share: where the part lies, where a flaw may fall, how it is laid on the image and masked."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import Field, Light, as_field, blur, log_uniform
from blemish.results import FloatArray

Flaw = Callable[[FloatArray, np.random.Generator], tuple[FloatArray, NDArray[np.bool_]]]

VISIBLE = 0.02  # smallest change of brightness that counts as part of a defect: five of 255 grey levels
FAINTEST = 0.06  # a defect changes its strongest pixel at least so much, and more on a texture that would hide it


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


def place(part: FloatArray, rng: np.random.Generator) -> tuple[float, float]:
    """Choose a point (row, column) on the part, away from its edge where there is room."""
    inside = np.pad(part > 0.5, 1).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    room = np.flatnonzero(depth >= min(0.04 * min(part.shape), float(depth.max())))
    row, column = divmod(int(rng.choice(room)), part.shape[1])
    return row + rng.random(), column + rng.random()


def in_focus(change: Field, rng: np.random.Generator) -> FloatArray:
    """Soften a change as a lens does, from sharp to washed out: no photograph has an edge of no width."""
    return blur(change, log_uniform(rng, 0.3, 1.3))


def inflict(
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
    texture = (image - blur(image, 3 * unit_px(image)))[strength >= 0.5 * strength.max()]
    least = min(FAINTEST + 3 * float(texture.std()), 0.3)
    change = change * max(least / peak, 1)
    flawed = as_field(np.clip(image + change, 0, 1))
    if float(np.abs(flawed - image).max()) < FAINTEST / 2:  # black cannot get darker, nor white brighter
        flawed = as_field(np.clip(image - change, 0, 1))
    visible = (np.abs(flawed - image) > VISIBLE).astype(np.uint8)
    size = 2 * math.ceil(bridge_px / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return flawed, cv2.morphologyEx(visible, cv2.MORPH_CLOSE, disc) > 0


def side_light(rng: np.random.Generator) -> Light:
    return Light(azimuth=rng.uniform(0, math.tau), elevation=math.radians(rng.uniform(30, 50)))


def unit_px(image: FloatArray) -> float:
    """The pixel of an image of 256 pixels, in which defects are measured; in tiny images not less than can be seen."""
    return float(max(min(image.shape) / 256, 0.6))


def brightness(image: Field) -> FloatArray:
    """What a relative change is relative to: even black reflects a little."""
    return as_field(np.maximum(image, 0.05))
