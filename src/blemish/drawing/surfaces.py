"""Draw surfaces: a kind is drawn once from a seed, then any number of images of that kind, each a little different.

A family (`SURFACES`) draws the parameters of one kind: thread pitch, grain direction, geometry of a part, light and
camera. The result, a `Surface`, is handed to `draw_surface` with a generator and a size. Textures have their sizes in
pixels: a larger image shows more of them. Parts and prints fit the shorter side: a larger image shows them finer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import (
    Camera,
    Light,
    as_field,
    blur,
    grain,
    hollows,
    noise,
    photograph,
    shade,
    smoothstep,
    turned_grid,
)
from blemish.results import FloatArray

Scene = Callable[[np.random.Generator, int, int], FloatArray]
WEAVES = {  # 1 where the warp thread lies on top; rows are weft threads, columns warp threads
    "plain": np.array([[1, 0], [0, 1]]),
    "twill": np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]),
    "denim": np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]]),
    "basket": np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]),
}


@dataclass(frozen=True)
class Surface:
    """One kind of surface: what stands before the camera, and the camera. Made by a function of `SURFACES`."""

    scene: Scene  # draws the lit surface (H, W); a partial of a function and the parameters it has in this kind
    camera: Camera


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
        >>> rng = np.random.default_rng(0)
        >>> steel = SURFACES["brushed_metal"](rng)
        >>> draw_surface(steel, rng, height=48, width=64).shape
        (48, 64)
    """
    return photograph(surface.scene(rng, height, width), surface.camera, rng)


def _draw_camera(rng: np.random.Generator) -> Camera:
    return Camera(
        blur_px=rng.uniform(0.45, 0.8),
        noise=rng.uniform(0.008, 0.02),
        vignette=rng.uniform(0.05, 0.25),
        unevenness=rng.uniform(0.02, 0.08),
        exposure_spread=rng.uniform(0.01, 0.04),
    )


def _draw_light(rng: np.random.Generator) -> Light:
    return Light(azimuth=rng.uniform(0, math.tau), elevation=math.radians(rng.uniform(30, 60)))


def _swayed(light: Light, rng: np.random.Generator) -> Light:
    """The lamp as one image sees it: a mount gives a little."""
    return Light(light.azimuth + rng.normal(0, 0.06), light.elevation + rng.normal(0, 0.02))


# Brushed metal --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Brushing:
    tone: float  # mean brightness
    angle: float  # direction of the grain
    length_px: float  # of the longest strokes
    contrast: float  # of the strokes against the mean
    hairlines: float  # strength of the single bright strokes
    glare: float  # strength of the band of reflected light


def _brushed_sheet(brushing: _Brushing, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    angle = brushing.angle + rng.normal(0, 0.01)
    strokes = np.zeros((height, width), np.float32)
    for share, thickness_px, strength in ((1.5, 0.8, 0.9), (1.0, 2.0, 0.45), (4.0, 7.0, 0.15), (0.15, 0.8, 0.6)):
        strokes += strength * noise(rng, height, width, share * brushing.length_px, thickness_px, angle)
    pressure = 1 + 0.15 * grain(rng, height, width, 120, 0.6)  # the belt does not press evenly
    hairlines = np.maximum(noise(rng, height, width, 0.7 * brushing.length_px, 0.9, angle) - 2.0, 0)
    # Grooves spread the light across themselves, so a lamp shows as a band across the grain.
    along, _ = turned_grid(height, width, angle, (height / 2, width / 2))
    reach = math.hypot(height, width) / 2
    band = np.exp(-(((along / reach - rng.normal(0, 0.25)) / 0.55) ** 2))
    clouds = 0.03 * grain(rng, height, width, 90, 0.5)
    metal = 1 + brushing.contrast * pressure * strokes + brushing.hairlines * hairlines + clouds
    return as_field(brushing.tone * metal * (1 + brushing.glare * (band - 0.5)))


def brushed_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of brushed sheet metal: strokes of many lengths in one direction, under a band of light."""
    brushing = _Brushing(
        tone=rng.uniform(0.3, 0.6),
        angle=float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.06),
        length_px=rng.uniform(80, 300),
        contrast=rng.uniform(0.07, 0.16),
        hairlines=rng.uniform(0.05, 0.25),
        glare=rng.uniform(0.1, 0.45),
    )
    return Surface(partial(_brushed_sheet, brushing), _draw_camera(rng))


# Woven fabric ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weave:
    pattern: str  # a name of WEAVES
    pitch_px: tuple[float, float]  # distance of the warp threads, of the weft threads
    tones: tuple[float, float]  # brightness of the warp, of the weft
    fullness: float  # thickness of a thread as a share of its pitch
    angle: float  # direction across the warp threads
    twist: float  # angle between the fibres and their thread
    fuzz: float  # contrast of the fibres
    light: Light


def _lift(pattern: NDArray[np.int_], lines: FloatArray, along: FloatArray) -> FloatArray:
    """Return how high a thread lies at each pixel: 1 over the other threads, -1 under them, smooth between crossings.

    ``pattern`` has one row per crossing and one column per thread; ``lines`` is the number of the thread at each pixel,
    ``along`` how many crossings lie before it.
    """
    crossing = np.floor(along)
    offset = along - crossing - 0.5  # -0.5 to 0.5 within one crossing
    neighbour = crossing + np.sign(offset)
    heights = (2 * pattern - 1).astype(np.float32)
    column = lines.astype(np.int32) % pattern.shape[1]
    here = heights[crossing.astype(np.int32) % pattern.shape[0], column]
    there = heights[neighbour.astype(np.int32) % pattern.shape[0], column]
    return as_field(here + (there - here) * 2 * offset**2)


def _threads(
    weave: _Weave, rng: np.random.Generator, across: FloatArray, lift: FloatArray, lines: FloatArray, warp: bool
) -> tuple[FloatArray, FloatArray]:
    """Return height and brightness of one set of threads, as if the other were not there."""
    height, width = across.shape
    pitch_px = weave.pitch_px[0 if warp else 1]
    direction = weave.angle + (math.pi / 2 if warp else 0)
    offset = (across - lines - 0.5) / weave.fullness  # -0.5 to 0.5 across one thread
    roundness = np.sqrt(np.maximum(1 - 4 * offset**2, 0))
    fibres = noise(rng, height, width, 0.9 * pitch_px, 1.0, direction + weave.twist)
    slubs = noise(rng, height, width, 12 * pitch_px, pitch_px, direction)
    dye = rng.normal(1, 0.035, 512).astype(np.float32)[lines.astype(np.int32) % 512]
    relief = pitch_px * (0.35 * roundness + 0.13 * lift) + 0.12 * fibres
    return relief, weave.tones[0 if warp else 1] * dye * (1 + weave.fuzz * fibres + 0.05 * slubs)


def _woven_cloth(weave: _Weave, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    corner = (rng.uniform(-900, -300), rng.uniform(-900, -300))  # each image shows another piece of the roll
    across, along = turned_grid(height, width, weave.angle + rng.normal(0, 0.012), corner)
    drift = [0.10 * noise(rng, height, width, 70, 70) + 0.05 * noise(rng, height, width, 18, 18) for _ in range(2)]
    warp_at = across / weave.pitch_px[0] + drift[0]
    weft_at = along / weave.pitch_px[1] + drift[1]
    warp, weft = np.floor(warp_at), np.floor(weft_at)
    pattern = WEAVES[weave.pattern]
    warp_relief, warp_tone = _threads(weave, rng, warp_at, _lift(pattern, warp, weft_at), warp, warp=True)
    weft_relief, weft_tone = _threads(weave, rng, weft_at, _lift(1 - pattern.T, weft, warp_at), weft, warp=False)
    relief = np.maximum(warp_relief, weft_relief)
    tone = np.where(warp_relief > weft_relief, warp_tone, weft_tone)
    shadow = np.exp(-6 * hollows(relief, 0.35 * min(weave.pitch_px)) / min(weave.pitch_px))
    return as_field(tone * shadow * shade(0.8 * relief, _swayed(weave.light, rng), gloss=0.1))


def woven_fabric(rng: np.random.Generator) -> Surface:
    """Draw a kind of woven cloth: threads that go over and under each other, made of twisted fibres."""
    pitch_px = rng.uniform(6, 13)
    tone = rng.uniform(0.35, 0.65)
    weave = _Weave(
        pattern=str(rng.choice(list(WEAVES))),
        pitch_px=(pitch_px, pitch_px * rng.uniform(0.85, 1.15)),
        tones=(tone, tone * rng.uniform(0.75, 1.3)),
        fullness=rng.uniform(0.9, 1.05),
        angle=rng.normal(0, 0.15),
        twist=float(rng.choice([-1, 1])) * rng.uniform(0.35, 0.7),
        fuzz=rng.uniform(0.06, 0.14),
        light=_draw_light(rng),
    )
    return Surface(partial(_woven_cloth, weave), _draw_camera(rng))


# Leather --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Hide:
    tone: float  # brightness of the dye
    cell_px: float  # size of one grain of the skin
    stretch: float  # length of a grain against its width
    angle: float  # direction of the length
    depth: float  # of the creases, as a share of the cell
    gloss: float
    light: Light


def _creases(rng: np.random.Generator, height: int, width: int, cell_px: float) -> FloatArray:
    """Return the distance of each pixel to the nearest border between cells that have grown from random seeds."""
    rows, columns = np.mgrid[0 : height + cell_px : cell_px, 0 : width + cell_px : cell_px]
    seeds = np.stack([rows, columns]) + rng.uniform(-0.5, 0.5, (2, *rows.shape)) * cell_px
    at = np.clip(seeds.round().astype(int), 0, np.array([height - 1, width - 1])[:, None, None])
    ground = np.full((height, width), 255, np.uint8)
    ground[at[0], at[1]] = 0
    _, cells = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    inside = np.full((height, width), 255, np.uint8)
    inside[:-1][cells[:-1] != cells[1:]] = 0
    inside[:, :-1][cells[:, :-1] != cells[:, 1:]] = 0
    return as_field(cv2.distanceTransform(inside, cv2.DIST_L2, 5))


def _tanned_hide(hide: _Hide, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    along, across = turned_grid(height, width, hide.angle, (height / 2, width / 2))
    reach = math.ceil(math.hypot(height, width)) + 4 * math.ceil(hide.cell_px)
    sway = [0.2 * hide.cell_px * noise(rng, height, width, hide.cell_px, hide.cell_px) for _ in range(2)]
    at = [(along / hide.stretch + sway[0] + reach / 2), (across + sway[1] + reach / 2)]
    distance = as_field(cv2.remap(_creases(rng, reach, reach, hide.cell_px), at[0], at[1], cv2.INTER_LINEAR))
    dome = 1 - np.exp(-3.5 * distance / hide.cell_px)
    swell = 1 + 0.15 * noise(rng, height, width, 60, 60)  # the skin is not equally tight everywhere
    relief = hide.depth * hide.cell_px * swell * blur(dome, 0.09 * hide.cell_px)
    relief += 0.10 * grain(rng, height, width, 4, 0.9) + 0.35 * noise(rng, height, width, 90, 90)
    dye = 1 + 0.05 * grain(rng, height, width, 64, 0.6)
    shadow = np.exp(-0.7 * (1 - dome) * swell)
    return as_field(hide.tone * dye * shadow * shade(relief, _swayed(hide.light, rng), hide.gloss))


def leather(rng: np.random.Generator) -> Surface:
    """Draw a kind of leather: a skin of small domes between creases, a little glossy."""
    hide = _Hide(
        tone=rng.uniform(0.35, 0.65),
        cell_px=rng.uniform(6, 14),
        stretch=rng.uniform(1.0, 1.7),
        angle=rng.uniform(0, math.pi),
        depth=rng.uniform(0.15, 0.3),
        gloss=rng.uniform(0.1, 0.5),
        light=_draw_light(rng),
    )
    return Surface(partial(_tanned_hide, hide), _draw_camera(rng))


# Cast part ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Flange:
    """Lengths are shares of half the shorter side of the image, so 1 reaches from the centre to the border."""

    radius: float  # of the plate
    lugs: bool  # ears around the bolts that stand out of a smaller plate
    n_bolts: int
    bolt_circle: float  # distance of the bolts from the centre
    bolt_radius: float
    hub_radius: float  # of the raised, machined ring around the bore
    bore_radius: float
    mark: FloatArray = field(repr=False, compare=False)  # (h, w) strip of raised writing, bent around the centre
    mark_at: float  # direction from the centre to the middle of the writing
    mark_height: float  # of the letters in pixels at a 256-pixel image; negative when stamped
    tones: tuple[float, float]  # brightness of the cast skin, of machined metal
    roughness_px: float  # height of the grains of the skin
    light: Light


def _print(plate: NDArray[np.uint8], text: str, left: int, foot: int, size: float, weight: int) -> None:
    """Put a line of text into a plate, its baseline at row ``foot``."""
    cv2.putText(plate, text, (left, foot), cv2.FONT_HERSHEY_SIMPLEX, size, 255, weight, cv2.LINE_AA)


def _lettering(text: str) -> FloatArray:
    """Return a strip (48, w) that is 1 on the strokes of the text."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.2, 4)
    strip = np.zeros((48, width + 16), np.uint8)
    _print(strip, text, left=8, foot=38, size=1.2, weight=4)
    return as_field(strip / 255)


def _flange_outline(flange: _Flange, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the signed distance to the outline (negative on metal), and the distance to the nearest bolt's centre."""
    radius = np.hypot(x, y)
    turns = math.tau / flange.n_bolts
    spoke = (np.arctan2(y, x) + turns / 2) % turns - turns / 2  # angle to the nearest bolt: one sector stands for all
    bolt = np.hypot(radius * np.cos(spoke) - flange.bolt_circle, radius * np.sin(spoke))
    plate = radius - flange.radius
    if flange.lugs:
        lug = bolt - 2.1 * flange.bolt_radius
        blend = np.maximum(0.15 - np.abs(plate - lug), 0) / 0.15
        plate = np.minimum(plate, lug) - blend**2 * 0.15 / 4  # a smooth minimum casts a fillet where the two meet
    holes = np.minimum(radius - flange.bore_radius, bolt - flange.bolt_radius)
    return as_field(np.maximum(plate, -holes)), bolt


def _writing(flange: _Flange, radius: FloatArray, angle: FloatArray, unit_px: float) -> FloatArray:
    """Bend the strip of letters around the centre, between hub and bolts."""
    outer = flange.bolt_circle - flange.bolt_radius if not flange.lugs else flange.radius
    middle, tall = (flange.hub_radius + outer) / 2, 0.6 * (outer - flange.hub_radius)
    turned = (angle - flange.mark_at + math.pi) % math.tau - math.pi
    scale = len(flange.mark) / tall  # strip pixels per unit
    at_x = turned * middle * scale + flange.mark.shape[1] / 2
    at_y = (middle - radius) * scale + len(flange.mark) / 2
    smooth = blur(flange.mark, max(0.5 * scale / unit_px, 0.3))  # as fine as the image can show
    return as_field(cv2.remap(smooth, at_x, at_y, cv2.INTER_LINEAR))


def _shadowed_mat(rng: np.random.Generator, solid: FloatArray, light: Light, shadow_px: float) -> FloatArray:
    """Draw the dark rubber below a part, and the part's shadow on the side away from the lamp."""
    height, width = solid.shape
    drop = np.array([[1, 0, -shadow_px * math.cos(light.azimuth)], [0, 1, -shadow_px * math.sin(light.azimuth)]])
    shadow = blur(as_field(cv2.warpAffine(solid, drop, (width, height))), 0.5 * shadow_px)
    return 0.07 * (1 + 0.15 * grain(rng, height, width, 5, 0.9)) * (1 - 0.7 * shadow)


def _flange_on_mat(flange: _Flange, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    unit_px = min(height, width) / 2
    centre = (height / 2 + unit_px * rng.normal(0, 0.012), width / 2 + unit_px * rng.normal(0, 0.012))
    turn = rng.normal(0, 0.012)
    x, y = (axis / unit_px for axis in turned_grid(height, width, turn, centre))
    light = _swayed(flange.light, rng)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    outline, bolt = _flange_outline(flange, x, y)
    hub = smoothstep((flange.hub_radius - radius) / 0.04)
    seat = smoothstep((1.6 * flange.bolt_radius - bolt) / 0.02)  # spot face under each bolt head
    machined = np.maximum(smoothstep((flange.hub_radius - 0.035 - radius) / 0.01), seat)
    writing = _writing(flange, radius, angle, unit_px)
    skin = flange.roughness_px * grain(rng, height, width, 6, 0.8) * (1 - machined)
    edge = 1 - np.clip(1 + outline / 0.05, 0, 1) ** 2  # rounded on top, steep at the outline
    body = 0.04 * edge + 0.06 * hub - 0.015 * seat * (1 - hub)
    relief = unit_px * (body + flange.mark_height / 128 * writing) + skin
    # A tool on a lathe leaves rings; they mirror the light in two fans that point towards and away from the lamp.
    rings = rng.standard_normal(1024, dtype=np.float32)
    ridges = rings[(radius * unit_px * 0.9).astype(np.int32) % 1024]
    fans = 1 + 0.3 * np.cos(2 * (angle + turn - light.azimuth)) + 0.05 * ridges
    tone = flange.tones[0] * (1 + 0.06 * grain(rng, height, width, 48, 0.7))
    tone += (flange.tones[1] * fans - tone) * machined
    metal = tone * np.exp(-0.12 * hollows(relief, 0.05 * unit_px)) * shade(relief, light, gloss=0.25)
    solid = as_field(np.clip(0.5 - outline * unit_px, 0, 1))
    mat = _shadowed_mat(rng, solid, light, 0.08 * unit_px)
    return as_field(mat + (metal - mat) * solid)


def cast_part(rng: np.random.Generator) -> Surface:
    """Draw a kind of cast flange on a dark mat: bolt holes, a turned hub, writing; nearly always in the same place."""
    lugs = bool(rng.integers(2))
    bolt_radius = rng.uniform(0.065, 0.1)
    bolt_circle = rng.uniform(0.64, 0.7)
    bore_radius = rng.uniform(0.12, 0.2)
    text = str(rng.choice(["GJS-400", "DN 40 PN16", "EN-1563", "CF8M 7731", "A216 WCB", "GG25 0482", "1.4408 DN25"]))
    flange = _Flange(
        radius=bolt_circle - 0.02 if lugs else bolt_circle + 2.4 * bolt_radius,
        lugs=lugs,
        n_bolts=int(rng.integers(3, 7)) if lugs else int(rng.integers(4, 9)),
        bolt_circle=bolt_circle,
        bolt_radius=bolt_radius,
        hub_radius=bore_radius + rng.uniform(0.14, 0.24),
        bore_radius=bore_radius,
        mark=_lettering(text),
        mark_at=rng.uniform(-math.pi, math.pi),
        mark_height=float(rng.choice([-1, 1])) * rng.uniform(1.0, 2.5),
        tones=(rng.uniform(0.28, 0.48), rng.uniform(0.45, 0.6)),
        roughness_px=rng.uniform(0.15, 0.5),
        light=_draw_light(rng),
    )
    return Surface(partial(_flange_on_mat, flange), _draw_camera(rng))


# Printed label --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Label:
    artwork: FloatArray = field(repr=False, compare=False)  # (S, S) the printing plate, 1 where ink goes
    tones: tuple[float, float]  # brightness of the paper, of the ink
    housing: float  # brightness of the housing that the label sticks on
    size: float  # side of the label as a share of the shorter side of the image; above 1 nothing of the housing is seen
    grain_px: float  # size of the fibres of the paper
    light: Light


def _bars(plate: NDArray[np.uint8], rng: np.random.Generator, top: int, bottom: int, left: int, right: int) -> None:
    """Put a bar code into a field of the plate."""
    edges = left + np.cumsum(rng.integers(1, 4, 400) * 3)
    plate[top:bottom, left:right] = 255 * (np.searchsorted(edges, np.arange(left, right)) % 2)


def _cells(plate: NDArray[np.uint8], rng: np.random.Generator, top: int, left: int, n_cells: int) -> None:
    """Put a data matrix of 6-pixel cells into the plate: left and lower edge solid, right and upper edge dotted."""
    code = rng.integers(0, 2, (n_cells, n_cells), dtype=np.uint8)
    code[0, ::2], code[0, 1::2], code[1::2, -1], code[::2, -1] = 1, 0, 1, 0
    code[:, 0], code[-1] = 1, 1
    plate[top : top + 6 * n_cells, left : left + 6 * n_cells] = np.kron(code * 255, np.ones((6, 6), np.uint8))


def _word(rng: np.random.Generator, n_letters: int) -> str:
    return "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXZ0123456789"), n_letters))


def _draw_artwork(rng: np.random.Generator) -> FloatArray:
    """Lay out a type plate: maker, ruled lines of data, codes and a sign; (512, 512), 1 where ink goes."""
    plate = np.zeros((512, 512), np.uint8)
    cv2.rectangle(plate, (28, 22), (484, 490), 255, 3)
    for row in (112, 330):
        cv2.line(plate, (32, row), (480, row), 255, 3)
    _print(plate, _word(rng, 6), left=36, foot=84, size=1.9, weight=6)
    cv2.circle(plate, (440, 66), 34, 255, 5, cv2.LINE_AA)
    _print(plate, _word(rng, 2), left=414, foot=79, size=1.1, weight=4)
    lines = int(rng.integers(3, 6))
    for line in range(lines):
        entry = f"{_word(rng, 3)}: {_word(rng, int(rng.integers(5, 12)))}"
        _print(plate, entry, left=40, foot=152 + line * 170 // lines, size=0.85, weight=2)
    _cells(plate, rng, top=150, left=362, n_cells=18)
    _bars(plate, rng, top=352, bottom=438, left=48, right=464)
    _print(plate, f"{rng.integers(10**13, 10**14)}", left=110, foot=474, size=0.9, weight=2)
    return as_field(plate / 255)


def _label_on_housing(label: _Label, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    side_px = label.size * min(height, width)
    centre = (height / 2 + rng.normal(0, 0.006) * side_px, width / 2 + rng.normal(0, 0.006) * side_px)
    along, across = turned_grid(height, width, rng.normal(0, 0.006), centre)
    scale = len(label.artwork) / side_px  # plate pixels per image pixel
    fine = blur(label.artwork, max(0.45 * scale, 0.3))  # as fine as the image can show
    middle = len(label.artwork) / 2
    ink = as_field(cv2.remap(fine, along * scale + middle, across * scale + middle, cv2.INTER_LINEAR))
    fibres = grain(rng, height, width, label.grain_px, 0.8)
    opacity = 0.95 + 0.03 * grain(rng, height, width, 64, 0.6) - 0.05 * np.maximum(fibres - 0.5, 0)
    paper = label.tones[0] * (1 + 0.012 * fibres + 0.02 * noise(rng, height, width, 120, 120))
    printed = paper + (label.tones[1] - paper) * ink * opacity
    border = np.maximum(np.abs(along), np.abs(across)) - side_px / 2
    sheet = smoothstep(-border + 0.5)
    housing = label.housing * shade(0.25 * grain(rng, height, width, 5, 0.9), label.light, gloss=0.1)
    shadow = 1 - 0.5 * np.exp(-np.maximum(border, 0) / 2)
    return as_field(housing * shadow + (printed - housing * shadow) * sheet)


def printed_label(rng: np.random.Generator) -> Surface:
    """Draw a kind of printed type plate, dark on light or light on dark, stuck on a grained housing."""
    paper, ink = rng.uniform(0.6, 0.85), rng.uniform(0.06, 0.2)
    label = _Label(
        artwork=_draw_artwork(rng),
        tones=(paper, ink) if rng.random() < 0.7 else (ink, paper),
        housing=rng.uniform(0.15, 0.4),
        size=rng.uniform(0.84, 1.1),
        grain_px=rng.uniform(2, 5),
        light=_draw_light(rng),
    )
    return Surface(partial(_label_on_housing, label), _draw_camera(rng))


SURFACES: dict[str, Callable[[np.random.Generator], Surface]] = {
    "brushed_metal": brushed_metal,
    "woven_fabric": woven_fabric,
    "leather": leather,
    "cast_part": cast_part,
    "printed_label": printed_label,
}
