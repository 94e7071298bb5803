"""Parts on a ground: plates, rings, gears, turned parts, packages, connectors, cables, kernels.

The geometry of a kind is drawn once, in the part's own coordinates (`Blank`); every image places it, turns it, gives it
a skin and lights it. Coordinates are shares of half the shorter side of the image: 1 reaches from its middle to its
border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import as_field, blur, grain, log_uniform, noise, sampled, smoothstep, turned_grid
from blemish.drawing.surfaces.backdrops import any_backdrop, contrasting_tone, laid_on
from blemish.drawing.surfaces.kind import Family, Finish, Scene, Surface, any_camera, any_finish, lit
from blemish.drawing.surfaces.lettering import lettering
from blemish.drawing.surfaces.metal import blasted_metal, brushed_metal, cast_skin, scaled_metal
from blemish.drawing.surfaces.natural import concrete, moulded_grain, pressed_board, wood
from blemish.drawing.surfaces.shapes import any_shape, distance_to_shape
from blemish.drawing.surfaces.textiles import cloth, felt
from blemish.results import FloatArray

_BODIES: tuple[Family, ...] = (cast_skin, blasted_metal, brushed_metal, scaled_metal, wood, moulded_grain, concrete,
                               pressed_board, cloth, felt)  # fmt: skip
SIDE = 320  # pixels a side of a blank
REACH = 1.15  # what a blank holds: from -REACH to REACH both ways


@dataclass(frozen=True)
class Blank:
    """The geometry of a part; every field is (SIDE, SIDE)."""

    outline: FloatArray = field(repr=False, compare=False)  # signed distance, negative on the part
    relief: FloatArray = field(repr=False, compare=False)  # height
    tint: FloatArray = field(repr=False, compare=False)  # brightness against the body: 1 is the same


@dataclass(frozen=True)
class _Stand:
    """Where parts come to lie before the camera."""

    shift: float  # standard deviation of the place, as a share of half the shorter side
    turn: float  # standard deviation of the direction, radians; large is any
    heading: float  # mean direction
    size: float  # of the part as a share of the image; above 1 its outline is not seen


@dataclass(frozen=True)
class _Part:
    blank: Blank
    stand: _Stand
    tone: float
    ground: Scene
    material: Scene | None  # what gives the body its texture; None is plain
    rough_px: float  # height of the grains of the skin
    rough_size_px: float
    mottle: float  # contrast of the clouds on the skin
    brushing: float  # contrast of strokes along the part's own direction
    thickness: float  # height of its top above the ground
    finish: Finish


def _coordinates() -> tuple[FloatArray, FloatArray]:
    rows, columns = np.mgrid[-REACH : REACH : SIDE * 1j, -REACH : REACH : SIDE * 1j]
    return as_field(columns), as_field(rows)


def _placed(blank: Blank, stand: _Stand, rng: np.random.Generator, height: int, width: int) -> tuple[Blank, float]:
    """Return the blank as it lies in one image, its fields (H, W) and lengths in pixels, and its direction."""
    unit_px = stand.size * min(height, width) / 2
    heading = stand.heading + rng.normal(0, stand.turn)
    middle = [size / 2 + rng.normal(0, stand.shift) * min(height, width) / 2 for size in (height, width)]
    along, across = turned_grid(height, width, heading, (middle[0], middle[1]))
    scale = SIDE / (2 * REACH * unit_px)
    at = [axis * scale + (SIDE - 1) / 2 for axis in (along, across)]
    soften = max(0.4 * scale, 0.3)  # as fine as the image can show

    def look_up(share: FloatArray) -> FloatArray:
        seen = cv2.remap(blur(share, soften), at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return as_field(seen)

    return Blank(look_up(blank.outline) * unit_px, look_up(blank.relief) * unit_px, look_up(blank.tint)), heading


def _body_and_solid(part: _Part, rng: np.random.Generator, height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Return the lit part (H, W) as one image shows it, and the share of each pixel that it covers."""
    placed, heading = _placed(part.blank, part.stand, rng, height, width)
    skin = part.rough_px * grain(rng, height, width, part.rough_size_px, 0.8)
    clouds = 1 + part.mottle * grain(rng, height, width, 48, 0.7)
    strokes = 1 + part.brushing * noise(rng, height, width, 120, 1.2, heading)
    tone = part.tone * placed.tint * clouds * strokes
    if part.material is not None:
        texture = part.material(rng, height, width)
        tone = tone * texture / max(float(texture.mean()), 0.02)
    body = lit(np.minimum(tone, 1.2), placed.relief + skin, part.finish, rng)
    return body, as_field(np.clip(0.5 - placed.outline, 0, 1))


def _laid_part(part: _Part, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    ground = part.ground(rng, height, width)
    body, solid = _body_and_solid(part, rng, height, width)
    return laid_on(ground, body, solid, part.finish.light, part.thickness * min(height, width) / 2)


def _any_stand(rng: np.random.Generator, size: tuple[float, float], loose: float) -> _Stand:
    """Draw how parts lie: in a fixture, or loose with the given probability."""
    heading = float(rng.choice([0, math.pi / 2])) if rng.random() < 0.8 else rng.uniform(0, math.tau)
    if rng.random() < loose:
        return _Stand(rng.uniform(0.02, 0.15), 6.0, heading, rng.uniform(size[0], 0.9 * size[1]))
    return _Stand(log_uniform(rng, 0.003, 0.03), log_uniform(rng, 0.003, 0.05), heading, rng.uniform(*size))


def _drawn_part(
    rng: np.random.Generator,
    blank: Blank,
    size: tuple[float, float] = (0.7, 0.95),
    loose: float = 0.35,
    glossy: float = 0.6,
    tone: float | None = None,
    textured: float = 0.35,
) -> _Part:
    """Draw everything about a part but its geometry: how it lies and on what, its material, light and camera.

    Args:
        size: of the part as a share of the image, from and to.
        loose: probability that parts of this kind lie turned at random.
        glossy: probability of a glossy finish.
        tone: brightness of its body; None is any that can be told from the ground.
        textured: probability that its body shows the texture of a material.
    """
    ground, ground_tone = any_backdrop(rng)
    return _Part(
        blank=blank,
        stand=_any_stand(rng, size, loose),
        tone=contrasting_tone(rng, ground_tone) if tone is None else tone,
        ground=ground,
        material=_BODIES[rng.integers(len(_BODIES))](rng).scene if rng.random() < textured else None,
        rough_px=log_uniform(rng, 0.01, 0.3),
        rough_size_px=log_uniform(rng, 3, 12),
        mottle=log_uniform(rng, 0.01, 0.08),
        brushing=log_uniform(rng, 0.005, 0.1),
        thickness=log_uniform(rng, 0.01, 0.2),
        finish=any_finish(rng, hollow_px=6, glossy=glossy),
    )


def _on_its_own(part: _Part, rng: np.random.Generator) -> Surface:
    return Surface(partial(_laid_part, part), any_camera(rng))


def _rounded(outline: FloatArray, edge: float, top: float) -> FloatArray:
    """Return a body with a rounded edge: 0 at the outline, ``top`` from the distance ``edge`` inwards."""
    inwards = np.clip(1 + outline / edge, 0, 1)
    return as_field(top * np.sqrt(np.maximum(1 - inwards**2, 0)))


def _distance_to_mask(inside: NDArray[np.bool_]) -> FloatArray:
    """Return the signed distance to the border of a mask drawn on a blank."""
    solid = np.pad(inside, 1).astype(np.uint8)
    inner, outer = (cv2.distanceTransform(side, cv2.DIST_L2, 5)[1:-1, 1:-1] for side in (solid, 1 - solid))
    return blur(as_field(outer) - as_field(inner), 1.2) * (2 * REACH / SIDE)


# Plates ---------------------------------------------------------------------------------------------------------------


def _bean(rng: np.random.Generator, x: FloatArray, y: FloatArray) -> NDArray[np.bool_]:
    angle, bulge = np.arctan2(y, x), np.zeros_like(x)
    for wave in range(1, 6):
        bulge += rng.normal(0, 0.2) / wave**1.3 * np.cos(wave * (angle - rng.uniform(0, math.tau)))
    return np.hypot(x, y) < 0.95 * (1 + bulge) / float((1 + bulge).max())


def _polygon(rng: np.random.Generator, x: FloatArray, y: FloatArray) -> NDArray[np.bool_]:
    n_corners = int(rng.integers(3, 10))
    uneven = 0.0 if rng.random() < 0.3 else rng.uniform(0.1, 0.45)
    spokes = math.tau / n_corners * (np.arange(n_corners) + uneven * rng.uniform(-1, 1, n_corners))
    reach = 0.95 * (1 - 0.9 * uneven * rng.uniform(0, 1, n_corners))
    corners = reach[:, None] * np.stack([np.cos(spokes), np.sin(spokes)], axis=1)
    plate = np.zeros(x.shape, np.uint8)
    cv2.fillPoly(plate, [np.round((corners / REACH + 1) * SIDE / 2 * 16).astype(np.int32)], 1, shift=4)
    return plate > 0


def _bracket(rng: np.random.Generator, x: FloatArray, y: FloatArray) -> NDArray[np.bool_]:
    inside = (np.abs(x) < rng.uniform(0.3, 0.9)) & (np.abs(y) < rng.uniform(0.3, 0.9))
    for _ in range(int(rng.integers(0, 4))):
        middle, half = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.1, 0.5, 2)
        inside |= (np.abs(x - middle[0]) < half[0]) & (np.abs(y - middle[1]) < half[1])
    return inside & (np.maximum(np.abs(x), np.abs(y)) < 0.95)


def _any_outline(rng: np.random.Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """Draw the outline of a plate: a smooth bean, a polygon, or boxes joined to a bracket; sharp or rounded."""
    inside = (_bean, _polygon, _bracket)[rng.integers(3)](rng, x, y)
    distance = _distance_to_mask(inside)
    return blur(distance, rng.uniform(1, 10)) if rng.random() < 0.5 else distance  # a smoothed distance has fillets


def _any_plate(rng: np.random.Generator) -> Blank:
    x, y = _coordinates()
    outline = _any_outline(rng, x, y)
    edge = rng.uniform(0.01, 0.08)
    relief, tint = _rounded(outline, edge, edge), np.ones_like(x)
    if rng.random() < 0.5:  # a pocket or a raised field along the outline
        pocket = smoothstep((-outline - rng.uniform(0.08, 0.25)) / 0.02)
        relief = relief + rng.uniform(0.01, 0.05) * rng.choice([-1, 1]) * pocket
        tint = tint * (1 + rng.uniform(-0.3, 0.2) * pocket)
    for _ in range(int(rng.integers(0, 4))):
        angle, place, width = rng.uniform(0, math.pi), rng.uniform(-0.5, 0.5), rng.uniform(0.015, 0.05)
        rib = np.abs(x * math.sin(angle) - y * math.cos(angle) - place)
        relief = relief + rng.uniform(0.01, 0.04) * smoothstep((width - rib) / 0.02) * smoothstep(-outline / 0.1 - 0.5)
    if rng.random() < 0.4:
        mark = _any_mark(rng, x, y)
        relief = relief + rng.choice([-1, 1]) * rng.uniform(0.005, 0.015) * mark
        tint = tint * (1 + rng.choice([0, 0, -0.5]) * mark)
    return _drilled(Blank(outline, as_field(relief), as_field(tint)), rng, x, y, edge)


def _any_mark(rng: np.random.Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """Write a word somewhere near the middle; (SIDE, SIDE), 1 on its strokes."""
    mark = lettering("".join(rng.choice(list("ABCDEFHKLMNPRSTUVX0123456789-"), int(rng.integers(3, 9)))))
    scale = rng.uniform(250, 420)  # pixels of the lettering per unit
    at_x, at_y = (x - rng.normal(0, 0.15)) * scale + mark.shape[1] / 2, (y - rng.normal(0, 0.3)) * scale + 24
    return as_field(cv2.remap(mark, as_field(at_x), as_field(at_y), cv2.INTER_LINEAR))


def _drilled(blank: Blank, rng: np.random.Generator, x: FloatArray, y: FloatArray, thick: float) -> Blank:
    """Drill holes where there is room, or turn bosses; each has a machined collar."""
    holes, relief, tint = np.full_like(x, 9), blank.relief, blank.tint
    seats = np.argwhere(blank.outline < -0.14)
    for row, column in rng.permutation(seats)[: int(rng.integers(0, 8))]:
        radius = min(log_uniform(rng, 0.04, 0.25), float(-blank.outline[row, column]) - 0.05)
        if float(holes[row, column]) < radius + 0.03:
            continue  # it would cut into another
        away = np.hypot(x - x[row, column], y - y[row, column])
        collar = smoothstep((radius + 0.05 - away) / 0.02)
        relief = relief + (thick + rng.uniform(-0.02, 0.03) - relief) * collar
        tint = tint * (1 + rng.uniform(0, 0.25) * collar)
        if rng.random() < 0.8:
            holes = np.minimum(holes, away - radius)
    return Blank(as_field(np.maximum(blank.outline, -holes)), as_field(relief), as_field(tint))


def plate(rng: np.random.Generator) -> Surface:
    """Draw a kind of plate, bracket or cover: any outline, with holes, collars, ribs, pockets, writing."""
    return _on_its_own(_drawn_part(rng, _any_plate(rng)), rng)


# Round parts ----------------------------------------------------------------------------------------------------------


def _to_nearest(angle: FloatArray, n_places: int) -> FloatArray:
    """Return the angle to the nearest of places around a circle: one sector stands for all."""
    sector = math.tau / n_places
    return as_field((angle + sector / 2) % sector - sector / 2)


def _any_rim(rng: np.random.Generator, angle: FloatArray, outer: float) -> FloatArray:
    """Draw the outer radius over the angle: round, or that of a gear, a spline or a scalloped cap."""
    if rng.random() > 0.35:
        return np.full_like(angle, outer)
    n_teeth, depth, flank = int(rng.integers(8, 48)), rng.uniform(0.03, 0.14), rng.uniform(0.1, 1)
    return as_field(outer - depth * (1 - smoothstep(0.5 + np.cos(n_teeth * angle) / (2 * flank))))


def _with_balls(
    rng: np.random.Generator, radius: FloatArray, angle: FloatArray, bounds: tuple[float, float], blank: Blank
) -> Blank:
    """Turn a groove between two radii and put balls into it."""
    n_balls, middle, ball = int(rng.integers(6, 18)), sum(bounds) / 2, 0.28 * (bounds[1] - bounds[0])
    spoke = _to_nearest(angle, n_balls)
    away = np.hypot(radius * np.cos(spoke) - middle, radius * np.sin(spoke)) / ball
    groove, sphere = smoothstep((1.3 * ball - np.abs(radius - middle)) / 0.02), smoothstep((1 - away) / 0.05)
    relief = blank.relief - 0.06 * groove + sphere * (0.06 + ball * np.sqrt(np.maximum(1 - away**2, 0)))
    tint = blank.tint * (1 - 0.7 * groove)
    return Blank(blank.outline, as_field(relief), as_field(tint + (1.2 - tint) * sphere))


def _any_ring(rng: np.random.Generator) -> Blank:
    x, y = _coordinates()
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    outer, bore = 0.9, rng.uniform(0.12, 0.65)
    outline = radius - _any_rim(rng, angle, outer)
    relief, tint = _rounded(outline, 0.04, 0.04), np.ones_like(x)
    for bound in np.sort(rng.uniform(bore, outer, int(rng.integers(1, 6)))):  # steps, each with its own finish
        inside = smoothstep((bound - radius) / rng.uniform(0.01, 0.05))
        relief = relief + rng.uniform(-0.05, 0.05) * inside
        tint = tint * (1 + rng.uniform(-0.4, 0.3) * inside)
    blank = Blank(outline, as_field(relief), as_field(tint))
    if rng.random() < 0.3 and outer - bore > 0.3:
        blank = _with_balls(rng, radius, angle, (bore, outer), blank)
    holes = radius - bore
    if rng.random() < 0.5 and outer - bore > 0.25:
        n_holes, at = int(rng.integers(2, 10)), rng.uniform(bore + 0.12, outer - 0.12)
        spoke = _to_nearest(angle, n_holes)
        size = min(rng.uniform(0.03, 0.1), 0.35 * (outer - bore), 0.7 * at * math.pi / n_holes)
        holes = np.minimum(holes, np.hypot(radius * np.cos(spoke) - at, radius * np.sin(spoke)) - size)
    if rng.random() < 0.25:  # closed: a cap, a cup or a bottle seen from above
        relief = blank.relief - rng.uniform(0.02, 0.15) * smoothstep(-holes / 0.05 + 0.5)
        tint = blank.tint * (1 - rng.uniform(0.2, 0.8) * smoothstep(-holes / 0.02 + 0.5))
        return Blank(outline, as_field(relief), as_field(tint))
    return replace(blank, outline=as_field(np.maximum(outline, -holes)))


def ring(rng: np.random.Generator) -> Surface:
    """Draw a kind of ring, washer, bearing, gear, cap or bottle neck, seen along its axis."""
    return _on_its_own(_drawn_part(rng, _any_ring(rng), size=(0.7, 1.05)), rng)


def _any_turning(rng: np.random.Generator) -> Blank:
    x, y = _coordinates()
    n_steps = int(rng.integers(1, 7))
    bounds = np.sort(rng.uniform(-0.9, 0.9, n_steps - 1))
    bounds = np.concatenate([[-0.95], bounds, [0.95]])
    radius, tint = np.full(SIDE, -0.02), np.ones(SIDE)
    at = x[0]
    lean = np.zeros(SIDE)
    thick = rng.uniform(0.12, 0.45)
    for start, end in pairwise(bounds):
        here = (at >= start) & (at < end)
        step = thick * rng.uniform(0.55, 1)
        radius[here] = step + rng.choice([0, 0, rng.uniform(-0.15, 0.15)]) * (at[here] - (start + end) / 2)
        tint[here] = rng.uniform(0.75, 1.15)
        if rng.random() < 0.35 and end - start > 0.2:
            pitch = rng.uniform(0.03, 0.09)
            radius[here] += rng.uniform(0.2, 0.45) * pitch * np.sin(math.tau * at[here] / pitch)
            lean[here] = pitch * 0.5
    if rng.random() < 0.5:  # rounded or pointed ends
        tip = rng.uniform(0.05, 0.4)
        inwards = np.clip((0.95 - np.abs(at)) / tip, 0, 1)
        radius = radius * (np.sqrt(np.maximum(1 - (1 - inwards) ** 2, 0)) if rng.random() < 0.6 else inwards)
    profile = as_field(cv2.GaussianBlur(as_field(radius)[None], (0, 0), 0.8))
    # A thread runs around: its crests lean from one flank to the other.
    shift = as_field(lean)[None] * y / thick / (2 * REACH) * SIDE
    column = np.broadcast_to(np.arange(SIDE, dtype=np.float32), x.shape) + shift
    wide = sampled(profile, column, np.zeros_like(x))
    colour = sampled(as_field(tint)[None], column, np.zeros_like(x))
    outline = as_field(np.maximum(np.abs(y) - wide, np.abs(x) - 0.95))
    bulge = np.sqrt(np.maximum(wide**2 - y**2, 0))
    return Blank(outline, as_field(0.8 * bulge), colour)


def turning(rng: np.random.Generator) -> Surface:
    """Draw a kind of turned or moulded long part from the side: screws, shafts, pins, vials, pens, capsules."""
    return _on_its_own(_drawn_part(rng, _any_turning(rng), loose=0.4, glossy=0.7), rng)


# Several of one kind -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    part: _Part  # its stand says how each lies around its own place
    places: tuple[tuple[float, float], ...]  # of the middles (row, column), as shares of the image
    side: float  # of the window that holds one, as a share of the shorter side of the image
    melange: float  # contrast between them


def _laid_group(group: _Group, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    scene = group.part.ground(rng, height, width)
    side = math.ceil(group.side * min(height, width))
    for row, column in group.places:
        top, left = round(row * height) - side // 2, round(column * width) - side // 2
        rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
        inside = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        body, solid = _body_and_solid(group.part, rng, side, side)
        tone = max(1 + rng.normal(0, group.melange), 0.2)
        thickness_px = group.part.thickness * side / 2
        lamp = group.part.finish.light
        window = scene[rows, columns]
        scene[rows, columns] = laid_on(window, np.minimum(tone * body[inside], 1), solid[inside], lamp, thickness_px)
    return scene


def part_group(rng: np.random.Generator) -> Surface:
    """Draw a kind of several equal parts: in the places of a tray, or scattered and turned."""
    blank = (_any_kernel, _any_turning, _any_ring, _any_plate, _any_package)[rng.integers(5)](rng)
    n_rows, n_columns = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    loose = rng.random() < 0.5
    middles = [
        ((row + 0.5) / n_rows, (column + 0.5) / n_columns) for row in range(n_rows) for column in range(n_columns)
    ]
    side = 1.3 / max(n_rows, n_columns)  # windows overlap, so that what strays is not cut
    stand = _Stand(rng.uniform(0.03, 0.12) if loose else 0.015, 6.0 if loose else 0.03, rng.uniform(0, math.tau), 0.7)
    part = replace(_drawn_part(rng, blank, textured=0.15), stand=stand)
    group = _Group(part, tuple(middles), side, log_uniform(rng, 0.01, 0.12))
    return Surface(partial(_laid_group, group), any_camera(rng))


# Electronics ----------------------------------------------------------------------------------------------------------


def _any_package(rng: np.random.Generator) -> Blank:
    x, y = _coordinates()
    half_x, half_y = rng.uniform(0.35, 0.75), rng.uniform(0.3, 0.7)
    body = np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)
    relief, tint = 0.06 + _rounded(as_field(body), 0.06, 0.05), np.full_like(x, 1.0)
    metal = rng.uniform(1.6, 4)
    outline = body
    sides = [(x, y, half_x, half_y)] if rng.random() < 0.5 else [(x, y, half_x, half_y), (y, x, half_y, half_x)]
    for along, across, half_along, half_across in sides:
        n_leads = int(rng.integers(2, 15))
        pitch = 2 * half_along / (n_leads + 0.5)
        thick, reach = rng.uniform(0.2, 0.35) * pitch, half_across + rng.uniform(0.08, 0.2)
        offset = (along / pitch + (0.5 if n_leads % 2 == 0 else 0) + 0.5) % 1 - 0.5
        lead = np.maximum(np.abs(offset) * pitch - thick, np.abs(across) - reach)
        lead = np.maximum(lead, np.abs(along) - half_along)
        foot = 0.04 * smoothstep((reach - np.abs(across)) / 0.1)
        on_lead = (lead < 0) & (body > 0)
        relief = np.where(on_lead, 0.02 + foot - 0.02 * (offset * 2) ** 2, relief)
        tint = np.where(on_lead, metal, tint)
        outline = np.minimum(outline, lead)
    if rng.random() < 0.7:
        corner = np.hypot(x + half_x - 0.12, y + half_y - 0.12)
        relief = relief - 0.02 * smoothstep((0.05 - corner) / 0.02)
    for line in range(int(rng.integers(0, 4))):
        mark = lettering("".join(rng.choice(list("ABCDEFHKLMNPRSTUVX0123456789"), int(rng.integers(3, 9)))))
        scale = max(380.0, mark.shape[1] / (1.7 * half_x))
        at = x * scale + mark.shape[1] / 2, (y - 0.16 * (line - 1)) * scale + 24
        print_ = as_field(cv2.remap(mark, as_field(at[0]), as_field(at[1]), cv2.INTER_LINEAR)) * (body < -0.03)
        tint = tint + rng.uniform(0.8, 2.5) * print_
    return Blank(as_field(outline), as_field(relief), as_field(tint))


def chip_package(rng: np.random.Generator) -> Surface:
    """Draw a kind of electronic package on its board: dark body, bright leads on two or four sides, print."""
    return _on_its_own(
        _drawn_part(rng, _any_package(rng), size=(0.75, 1.1), loose=0.15, tone=rng.uniform(0.06, 0.25), textured=0), rng
    )


def _any_connector(rng: np.random.Generator) -> Blank:
    x, y = _coordinates()
    n_columns, n_rows = int(rng.integers(2, 12)), int(rng.integers(1, 4))
    pitch = min(1.7 / n_columns, 0.45)
    half_x, half_y = pitch * (n_columns / 2 + 0.3), pitch * (n_rows / 2 + 0.3)
    outline = np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)
    cell_x = (x / pitch + (0.5 if n_columns % 2 else 0)) % 1 - 0.5
    cell_y = (y / pitch + (0.5 if n_rows % 2 else 0)) % 1 - 0.5
    populated = (np.abs(x) < pitch * n_columns / 2) & (np.abs(y) < pitch * n_rows / 2)
    cavity_shape, pin_shape = any_shape(rng, ("box", "disc", "box")), any_shape(rng, ("box", "disc"), bored=0)
    cavity = distance_to_shape(cavity_shape, as_field(cell_x), as_field(cell_y), 0.42)
    pin = distance_to_shape(pin_shape, as_field(cell_x), as_field(cell_y), rng.uniform(0.12, 0.25))
    hole, metal = smoothstep(0.5 - cavity / 0.06) * populated, smoothstep(0.5 - pin / 0.06) * populated
    relief = _rounded(outline, 0.05, 0.06) - 0.12 * hole + rng.uniform(0.05, 0.2) * metal
    tint = (1 - 0.75 * hole) * (1 - metal) + rng.uniform(1.0, 1.8) * metal
    return Blank(as_field(outline), as_field(relief), as_field(tint))


def connector(rng: np.random.Generator) -> Surface:
    """Draw a kind of connector: rows of pins in the cavities of a housing."""
    return _on_its_own(_drawn_part(rng, _any_connector(rng), size=(0.75, 1.05), loose=0.15), rng)


def _bundle(away_x: FloatArray, away_y: FloatArray, strand: float) -> FloatArray:
    """Return how far each point is from the middle of its wire: 0 in the middle, 1 on its outline."""
    row = np.floor(away_y / (1.75 * strand))
    offset = (away_x / (2 * strand) + 0.5 * (row % 2)) % 1 - 0.5
    return as_field(np.hypot(offset * 2 * strand, away_y - (row + 0.5) * 1.75 * strand) / strand)


def _any_cable(rng: np.random.Generator) -> Blank:
    x, y = _coordinates()
    outline = as_field(np.hypot(x, y) - 0.92)
    inner = 0.92 - rng.uniform(0.05, 0.12)  # radius inside the jacket
    filler = smoothstep((inner - 0.92 - outline) / 0.02)
    relief, tint = _rounded(outline, 0.03, 0.02), 1 - filler * rng.uniform(0.2, 0.7)
    n_cores = int(rng.choice([1, 2, 3, 3, 4, 7]))
    # Circles of one size in a circle: how large they may be (the packing is known for these numbers).
    share = {1: 0.9, 2: 0.49, 3: 0.46, 4: 0.41, 7: 0.33}[n_cores]
    core_radius = inner * share
    strand, copper = core_radius * rng.uniform(0.09, 0.22), rng.uniform(1.2, 2.2)
    bent = [0.2 * strand * noise(rng, SIDE, SIDE, 25, 25) for _ in range(2)]  # strands do not lie in exact rows
    for core in range(n_cores):
        in_the_middle = n_cores == 1 or (n_cores == 7 and core == 0)
        reach, turn = 0 if in_the_middle else inner * (1 - share), core * math.tau / (6 if n_cores == 7 else n_cores)
        away_x, away_y = x - reach * math.cos(turn), y - reach * math.sin(turn)
        away = np.hypot(away_x + 0.3 * bent[0], away_y + 0.3 * bent[1])
        wire = _bundle(away_x + bent[0], away_y + bent[1], strand)
        sleeve, bare = smoothstep((core_radius - away) / 0.02), smoothstep((0.72 * core_radius - away) / 0.02)
        shine = copper * (0.25 + 0.75 * smoothstep((1 - wire) / 0.2))
        tint = tint + (rng.uniform(0.5, 1.6) - tint) * sleeve
        tint = tint + (shine - tint) * bare
        dome = np.sqrt(np.maximum(1 - wire**2, 0))
        relief = as_field(relief + 0.02 * sleeve + bare * (strand * 0.7 * dome - 0.02))
    return Blank(outline, relief, as_field(tint))


def cable(rng: np.random.Generator) -> Surface:
    """Draw a kind of cut cable: strands of copper in insulated cores in a jacket, seen from its end."""
    return _on_its_own(_drawn_part(rng, _any_cable(rng), loose=0.1), rng)


# What grows or is moulded ---------------------------------------------------------------------------------------------


def _any_kernel(rng: np.random.Generator) -> Blank:
    x, y = _coordinates()
    angle = np.arctan2(y, x)
    bulge = np.ones_like(x)
    for wave in range(1, 5):
        bulge += rng.normal(0, 0.08) / wave * np.cos(wave * (angle - rng.uniform(0, math.tau)))
    slim = rng.uniform(0.5, 1)
    radius = np.hypot(x, y / slim) / (0.85 * bulge / float(bulge.max()))
    outline = (radius - 1) * 0.85 * slim
    relief = rng.uniform(0.2, 0.7) * np.sqrt(np.maximum(1 - radius**2, 0)) ** rng.uniform(0.7, 1.4)
    stripes = noise(rng, 64, 512, 3, 60)[0]
    from_pole = np.arctan2(y, x + 0.8)  # the streaks run from where it was attached
    streaks = sampled(stripes[None], as_field((from_pole + math.pi) / math.tau * 511), np.zeros_like(x))
    tint = (
        1
        + rng.uniform(0, 0.2) * streaks * smoothstep(np.hypot(x + 0.8, y) / 0.4)
        + rng.uniform(0, 0.15) * grain(rng, SIDE, SIDE, 32, 0.8)
    )
    cap = smoothstep((rng.uniform(-0.9, -0.3) - x) / 0.05)
    tint = tint * (1 + rng.uniform(-0.4, 0.5) * cap)
    return Blank(as_field(outline), as_field(relief), as_field(np.maximum(tint, 0.1)))


def kernel(rng: np.random.Generator) -> Surface:
    """Draw a kind of nut, seed, stone or pastry: a bulged body of uneven outline, lying as it fell."""
    return _on_its_own(_drawn_part(rng, _any_kernel(rng), size=(0.55, 0.9), loose=0.7, glossy=0.4), rng)
