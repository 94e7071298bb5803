"""Where surfaces end or meet: edges of sheets, welds, seams sewn with thread, stripes of coating."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from blemish.drawing.fields import as_field, blur, grain, log_uniform, noise, smoothstep, turned_grid
from blemish.drawing.surfaces.backdrops import any_backdrop, laid_on
from blemish.drawing.surfaces.kind import Family, Finish, Scene, Surface, any_camera, any_finish, lit, rolled_off
from blemish.drawing.surfaces.metal import blasted_metal, brushed_metal, cast_skin, lacquer, rolled_metal, scaled_metal
from blemish.drawing.surfaces.natural import concrete, leather, moulded_grain, paper, pressed_board, wood
from blemish.drawing.surfaces.textiles import cloth, felt, knit, woven_fabric
from blemish.results import FloatArray

_SHEETS: tuple[Family, ...] = (brushed_metal, rolled_metal, cast_skin, blasted_metal, lacquer, scaled_metal, wood,
                               moulded_grain, paper, concrete, pressed_board, felt)  # fmt: skip
_SOFT: tuple[Family, ...] = (leather, leather, moulded_grain, cloth, woven_fabric, felt, knit)


@dataclass(frozen=True)
class _Line:
    """Where a seam runs through the image."""

    angle: float
    place: float  # distance from the middle of the image, as a share of half its shorter side
    sway_px: float  # how far it leaves a straight line
    shift: float  # standard deviation of the place from image to image


def _any_line(rng: np.random.Generator, farthest: float) -> _Line:
    return _Line(
        angle=float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.08),
        place=rng.uniform(-farthest, farthest),
        sway_px=log_uniform(rng, 0.2, 3),
        shift=log_uniform(rng, 0.005, 0.06),
    )


def _beside(line: _Line, rng: np.random.Generator, height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Return how far each pixel lies along the line and beside it, in pixels."""
    along, across = turned_grid(height, width, line.angle + rng.normal(0, 0.006), (height / 2, width / 2))
    bent = line.sway_px * noise(rng, height, width, 70, 70)
    place_px = (line.place + rng.normal(0, line.shift)) * min(height, width) / 2
    return along + rng.uniform(0, 999), as_field(across + bent - place_px)


# Edges ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Edge:
    sheet: Scene
    ground: Scene
    line: _Line
    width: float  # of a strip, as a share of half the shorter side; 9 has only one edge
    round_px: float  # radius of the edge
    ragged_px: float
    bare: float  # brightness of the cut edge against the sheet
    thickness_px: float
    finish: Finish


def _edged_sheet(edge: _Edge, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    _, beside = _beside(edge.line, rng, height, width)
    strip_px = edge.width * min(height, width) / 2
    outline = np.maximum(-beside, beside - strip_px) + edge.ragged_px * noise(rng, height, width, 6, 3, edge.line.angle)
    relief = -edge.round_px * np.clip(1 + outline / edge.round_px, 0, 1) ** 2
    cut = 1 + edge.bare * np.exp(-((outline / edge.round_px + 0.5) ** 2) * 4)
    sheet = rolled_off(edge.sheet(rng, height, width) * cut * lit(1.0, relief, edge.finish, rng) / 0.95)
    solid = as_field(np.clip(0.5 - outline, 0, 1))
    return laid_on(edge.ground(rng, height, width), sheet, solid, edge.finish.light, edge.thickness_px)


def sheet_edge(rng: np.random.Generator) -> Surface:
    """Draw a kind of sheet or strip that ends within the image: rounded, cut or ragged, on some ground."""
    ground, _ = any_backdrop(rng)
    edge = _Edge(
        sheet=_SHEETS[rng.integers(len(_SHEETS))](rng).scene,
        ground=ground,
        line=_any_line(rng, 0.7),
        width=9 if rng.random() < 0.6 else rng.uniform(0.3, 1.2),
        round_px=log_uniform(rng, 1, 10),
        ragged_px=log_uniform(rng, 0.05, 0.8),
        bare=rng.uniform(-0.3, 0.4),
        thickness_px=log_uniform(rng, 1, 14),
        finish=any_finish(rng, hollow_px=5),
    )
    return Surface(partial(_edged_sheet, edge), any_camera(rng))


# Welds ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weld:
    plates: Scene
    line: _Line
    width_px: float
    height: float  # of the bead as a share of its width
    ripple_px: float  # distance of the ripples
    ripples: float  # their height against the bead
    tone: float  # of the bead against the plates
    tint: float  # how dark heat has made the plates beside it
    roughness_px: float
    finish: Finish


def _welded_plates(weld: _Weld, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    along, beside = _beside(weld.line, rng, height, width)
    half = 0.5 * weld.width_px * (1 + 0.06 * noise(rng, height, width, 25, 25, weld.line.angle))
    share = np.clip(np.abs(beside) / half, 0, 1)
    bead = np.sqrt(1 - share**2)
    bow = along + 0.5 * half * share**2 + 0.8 * noise(rng, height, width, 15, 15)  # the pool solidifies in bows
    ripple = np.abs(np.sin(math.pi * bow / weld.ripple_px)) ** 0.7
    relief = weld.height * weld.width_px * bead * (1 + weld.ripples * (ripple - 0.6))
    relief += weld.roughness_px * grain(rng, height, width, 5, 0.8)
    inside = smoothstep((1 - np.abs(beside) / half) * half / 1.5 + 0.5)
    heat = 1 - weld.tint * np.exp(-np.maximum(np.abs(beside) - half, 0) / weld.width_px)
    plates = weld.plates(rng, height, width)
    metal = float(plates.mean()) * weld.tone * (1 + 0.06 * grain(rng, height, width, 12, 0.8))
    return lit(plates * heat * (1 - inside) + metal * inside, relief, weld.finish, rng)


def weld_seam(rng: np.random.Generator) -> Surface:
    """Draw a kind of weld between two plates: a rippled bead, heat beside it."""
    width_px = log_uniform(rng, 14, 60)
    plates = (rolled_metal, brushed_metal, blasted_metal, scaled_metal)[rng.integers(4)](rng).scene
    weld = _Weld(
        plates=plates,
        line=_any_line(rng, 0.3),
        width_px=width_px,
        height=rng.uniform(0.05, 0.3),
        ripple_px=width_px * rng.uniform(0.12, 0.5),
        ripples=rng.uniform(0.03, 0.3),
        tone=rng.uniform(0.7, 1.3),
        tint=rng.uniform(0, 0.5),
        roughness_px=log_uniform(rng, 0.05, 0.3),
        finish=any_finish(rng, hollow_px=0.2 * width_px, glossy=0.8),
    )
    return Surface(partial(_welded_plates, weld), any_camera(rng))


# Sewn seams -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seam:
    cloth: Scene
    line: _Line
    rows: tuple[float, ...]  # of stitches, distance from the fold in pixels
    stitch_px: float  # from hole to hole
    thread_px: float  # thickness
    slant: float  # how far a stitch turns from the line
    thread: float  # brightness of the thread
    pull_px: float  # how deep the thread draws the cloth in
    fold_px: float  # height of the fold; 0 is none
    finish: Finish


def _sewn_cloth(seam: _Seam, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    along, beside = _beside(seam.line, rng, height, width)
    cloth = seam.cloth(rng, height, width)
    relief, thread = (
        seam.fold_px * (smoothstep(beside / 6 + 0.5) - 0.3 * np.exp(-((beside / 3) ** 2))),
        np.zeros_like(along),
    )
    dark = np.ones_like(along)
    for row_px in seam.rows:
        at = along / seam.stitch_px + rng.random()
        number = np.floor(at)
        offset = (at - number - 0.5) * seam.stitch_px
        stray = rng.normal(0, 0.06, (2, 4096)).astype(np.float32)[:, number.astype(np.int32) % 4096]
        turn = seam.slant + stray[0]
        aside = beside - row_px - seam.thread_px * stray[1]
        x, y = offset * np.cos(turn) + aside * np.sin(turn), aside * np.cos(turn) - offset * np.sin(turn)
        long_px = 0.42 * seam.stitch_px
        # The thread bulges between its holes and dives into them.
        arch = np.sqrt(np.maximum(1 - (x / long_px) ** 2, 0))
        body = np.sqrt(np.maximum(1 - (2 * y / (seam.thread_px * (0.5 + 0.5 * arch) + 1e-3)) ** 2, 0)) * (
            np.abs(x) < long_px
        )
        relief = relief + 0.5 * seam.thread_px * body * (0.4 + 0.6 * arch)
        relief = relief - seam.pull_px * np.exp(-np.abs(aside) / (1.5 * seam.thread_px)) * (1 - body)
        to_hole = np.hypot(np.abs(offset) - 0.5 * seam.stitch_px, aside)
        dark = dark * (1 - 0.7 * smoothstep(1.2 - to_hole / (0.6 * seam.thread_px)))
        thread = np.maximum(thread, smoothstep(2 * body))
    twist = np.sin(math.tau * (along + beside) / (0.6 * seam.thread_px + 1))
    yarn = seam.thread * (1 + 0.15 * twist)
    tone = cloth * dark + (yarn - cloth * dark) * thread
    return lit(np.maximum(tone, 0.01), blur(relief, 0.5), seam.finish, rng)


def sewn_seam(rng: np.random.Generator) -> Surface:
    """Draw a kind of seam: one or more rows of stitches in leather or cloth, along a fold or on the flat."""
    stitch_px = log_uniform(rng, 10, 36)
    thread_px = stitch_px * rng.uniform(0.15, 0.35)
    first = rng.uniform(1.5, 4) * thread_px
    seam = _Seam(
        cloth=_SOFT[rng.integers(len(_SOFT))](rng).scene,
        line=_any_line(rng, 0.5),
        rows=tuple(first + row * rng.uniform(2, 5) * thread_px for row in range(int(rng.integers(1, 4)))),
        stitch_px=stitch_px,
        thread_px=thread_px,
        slant=rng.normal(0, 0.15),
        thread=log_uniform(rng, 0.08, 0.85),
        pull_px=rng.uniform(0.2, 2),
        fold_px=rng.uniform(1, 5) if rng.random() < 0.6 else 0,
        finish=any_finish(rng, hollow_px=5, glossy=0.3),
    )
    return Surface(partial(_sewn_cloth, seam), any_camera(rng))


# Zips -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Zip:
    tape: Scene
    line: _Line
    tooth_px: float  # distance of the teeth of one side
    reach_px: float  # how far a tooth reaches from the middle
    overlap: float  # share of a tooth that lies between those of the other side
    tone: float
    finish: Finish


def _closed_zip(zip_: _Zip, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    along, beside = _beside(zip_.line, rng, height, width)
    tape = zip_.tape(rng, height, width)
    groove = np.exp(-((beside / (1.6 * zip_.reach_px)) ** 6))
    relief, metal = -1.5 * groove, np.zeros_like(along)
    for side in (-1, 1):
        at = along / zip_.tooth_px + 0.25 * side
        number = np.floor(at)
        stray = rng.normal(0, 0.025, 4096).astype(np.float32)[number.astype(np.int32) % 4096]
        offset = np.abs(at - number - 0.5 + stray) * zip_.tooth_px
        outwards = side * beside + zip_.overlap * zip_.reach_px  # a tooth starts beyond the middle
        wide = zip_.tooth_px * np.where(outwards < 0.6 * zip_.reach_px, 0.24, 0.34)
        inside = np.minimum(np.minimum(wide - offset, outwards), zip_.reach_px - outwards)
        tooth = smoothstep(inside / 1.2 + 0.5)
        relief = np.maximum(
            relief, 0.3 * zip_.tooth_px * np.sqrt(np.clip(inside / (0.2 * zip_.tooth_px), 0, 1)) * tooth
        )
        metal = np.maximum(metal, tooth)
    below = tape * (1 - 0.55 * groove)
    return lit(below + (zip_.tone - below) * metal, blur(relief, 0.5), zip_.finish, rng)


def zip_fastener(rng: np.random.Generator) -> Surface:
    """Draw a kind of zip: teeth of metal or plastic from both sides between each other, on two tapes."""
    tooth_px = log_uniform(rng, 8, 26)
    zip_ = _Zip(
        tape=(cloth, woven_fabric, felt, knit)[rng.integers(4)](rng).scene,
        line=_any_line(rng, 0.15),
        tooth_px=tooth_px,
        reach_px=tooth_px * rng.uniform(0.9, 2.2),
        overlap=rng.uniform(0.2, 0.4),
        tone=rng.uniform(0.08, 0.75),
        finish=any_finish(rng, hollow_px=0.5 * tooth_px, glossy=0.7),
    )
    return Surface(partial(_closed_zip, zip_), any_camera(rng))
