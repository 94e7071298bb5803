"""What the surface is made of, in the wrong place."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import as_field, blur, log_uniform, noise, shade, smoothstep
from blemish.drawing.flaws.bodies import inclusion
from blemish.drawing.flaws.canvas import blob
from blemish.drawing.flaws.contract import VISIBLE, brightness, find_part, in_focus, inflict, place, side_light, unit_px
from blemish.results import FloatArray


def _edge_place(image: FloatArray, part: FloatArray, rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Choose a point (row, column) on an edge, of the part if it has one, and the direction out of the body there."""
    body = part if part.min() < 0.5 else image
    smooth = blur(body, 1.5 * unit_px(image))
    right, down = (as_field(cv2.Sobel(smooth, cv2.CV_32F, *way, scale=1 / 8)) for way in ((1, 0), (0, 1)))
    steep = np.hypot(right, down)
    sharp = np.flatnonzero(steep >= max(float(np.quantile(steep, 0.97)), 1e-3))
    if len(sharp) == 0:
        return place(part, rng), rng.uniform(0, math.tau)
    row, column = divmod(int(rng.choice(sharp)), image.shape[1])
    outwards = math.atan2(-float(down[row, column]), -float(right[row, column]))
    inner = body is image and rng.random() < 0.5  # either side of an edge inside a surface may be the body
    return (float(row), float(column)), outwards + math.pi * inner


def chip(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Break a piece out of an edge: what lay beside it is seen in its place, and facets of the fracture."""
    part, px = find_part(image), unit_px(image)
    height, width = image.shape
    (row, column), outwards = _edge_place(image, part, rng)
    radius_px = log_uniform(rng, 3, 16) * px
    inset_px = 0.3 * radius_px
    middle = (row - inset_px * math.sin(outwards), column - inset_px * math.cos(outwards))
    distance = blob(image, rng, middle, radius_px, ragged=0.3, slimness=2)
    bite = smoothstep((1 - distance) * radius_px / (1.2 * px) + 0.5)
    shift = np.array([[1, 0, -1.6 * radius_px * math.cos(outwards)], [0, 1, -1.6 * radius_px * math.sin(outwards)]])
    beside = as_field(cv2.warpAffine(image, shift, image.shape[::-1], borderMode=cv2.BORDER_REFLECT))
    facets = np.abs(noise(rng, height, width, 0.9 * radius_px, 0.9 * radius_px))
    fracture = shade(-0.4 * radius_px * bite * (1 + 0.5 * facets), side_light(rng), gloss=0.2)
    broken = brightness(image) * rng.uniform(0.5, 1.3) * fracture
    depth = smoothstep(rng.uniform(0.2, 1.2) - distance)  # the middle of the bite goes through, its border is fracture
    strength = log_uniform(rng, 0.35, 1)
    return inflict(image, in_focus(strength * bite * (broken + depth * (beside - broken) - image), rng), part)


# Elements -------------------------------------------------------------------------------------------------------------


def _find_element(image: FloatArray, part: FloatArray, rng: np.random.Generator) -> FloatArray | None:
    """Find something that stands out from its surroundings: a stitch, a letter, a pad, a grain.

    Returns:
        (H, W) opacity: 1 on the element, soft at its outline; None where nothing stands out.
    """
    px = unit_px(image)
    wide = rng.uniform(5, 18) * px
    detail = blur(image, 0.7 * px) - blur(image, wide)
    spread = float(detail.std())
    if spread < VISIBLE:
        return None
    standing_out = (rng.choice([-1, 1]) * detail > rng.uniform(0.5, 1.3) * spread) & (part > 0.5)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(standing_out.astype(np.uint8))
    area, side = stats[:, cv2.CC_STAT_AREA], min(image.shape)
    longest = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    fitting = np.flatnonzero((area >= 8 * px**2) & (longest < 0.3 * side))
    fitting = fitting[fitting > 0]
    if len(fitting) == 0:
        return None
    chosen = rng.choice(fitting, p=area[fitting] / area[fitting].sum())
    grown = cv2.dilate((labels == chosen).astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(round(2 * px), 1))
    return blur(as_field(grown), 0.8)


def _without(image: FloatArray, element: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Fill in what the element covers from around it, with the grain of the picture."""
    covers = (element > 0.1).astype(np.uint8)
    height, width = image.shape
    levels = (image * 255).round().astype(np.uint8)
    filled = as_field(cv2.inpaint(levels, covers, 3, cv2.INPAINT_TELEA) / np.float32(255))
    around = cv2.dilate(covers, np.ones((7, 7), np.uint8)) > covers
    roughness = float((image - blur(image, 1.5))[around].std()) if around.any() else 0.01
    grainy = filled + roughness * noise(rng, height, width, 2, 2)
    return as_field(image + element * (grainy - image))


def _moved(
    image: FloatArray, element: FloatArray, shift_px: tuple[float, float], turn: float
) -> tuple[FloatArray, FloatArray]:
    """Return how the element differs from its surroundings, and its opacity, both (H, W) at another place, turned."""
    height, width = image.shape
    rows, columns = np.nonzero(element > 0.3)
    rim = (element > 0.02) & (element < 0.5)
    contrast = (image - float(np.median(image[rim]))) * element
    centre = (float(columns.mean()), float(rows.mean()))
    move = cv2.getRotationMatrix2D(centre, math.degrees(turn), 1.0) + np.array(
        [[0, 0, shift_px[0]], [0, 0, shift_px[1]]]
    )
    return (
        as_field(cv2.warpAffine(contrast, move, (width, height))),
        as_field(cv2.warpAffine(element, move, (width, height))),
    )


def missing_element(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Take away something that stands out: what lies around it closes over the gap."""
    part = find_part(image)
    element = _find_element(image, part, rng)
    if element is None:
        return inclusion(image, rng)
    return inflict(image, in_focus(log_uniform(rng, 0.5, 1) * (_without(image, element, rng) - image), rng), part)


def extra_element(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Put something that belongs to the surface where it does not belong."""
    part = find_part(image)
    element = _find_element(image, part, rng)
    if element is None:
        return inclusion(image, rng)
    rows, columns = np.nonzero(element > 0.3)
    row, column = place(part, rng)
    shift_px = (column - float(columns.mean()), row - float(rows.mean()))
    contrast, opacity = _moved(image, element, shift_px, rng.uniform(-math.pi, math.pi))
    ground = blur(image, 4 * unit_px(image))
    return inflict(image, in_focus(log_uniform(rng, 0.4, 1) * (contrast + opacity * (ground - image)), rng), part)


def displaced_element(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Shift or turn something that stands out by a little or by its own size."""
    part = find_part(image)
    element = _find_element(image, part, rng)
    if element is None:
        return inclusion(image, rng)
    size_px = math.sqrt(float((element > 0.3).sum()))
    heading, way_px = rng.uniform(0, math.tau), log_uniform(rng, 0.15, 1.2) * size_px + 1
    shift_px = (way_px * math.cos(heading), way_px * math.sin(heading))
    contrast, opacity = _moved(image, element, shift_px, rng.normal(0, 0.4))
    bare = _without(image, element, rng)
    ground = blur(bare, 3 * unit_px(image))
    return inflict(image, in_focus(bare + contrast + opacity * (ground - bare) - image, rng), part)
