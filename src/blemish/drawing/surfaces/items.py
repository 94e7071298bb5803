"""Many small things beside each other: pads, balls, pills, nuts, screws; in a tray, on a board or loose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from blemish.drawing.fields import as_field, grain, log_uniform, noise, smoothstep
from blemish.drawing.surfaces.backdrops import any_backdrop, laid_on
from blemish.drawing.surfaces.kind import Finish, Scene, Surface, any_camera, any_finish, lit
from blemish.drawing.surfaces.lattice import Lattice, any_lattice, unit_cells
from blemish.drawing.surfaces.shapes import Shape, any_shape, distance_to_shape
from blemish.results import FloatArray


@dataclass(frozen=True)
class _Item:
    shape: Shape
    radius_px: float
    body: str  # a name of BODIES
    height: float  # as a share of the radius
    recess: str  # "none", "slot", "cross", "hexagon" or "score"
    tone: float
    melange: float  # contrast between items


@dataclass(frozen=True)
class _Tray:
    item: _Item
    lattice: Lattice
    any_turn: bool  # items lie turned at random
    ground: Scene
    pocket_px: float  # how deep the pockets are in which items lie; 0 is a flat ground
    finish: Finish
    rough_px: float


BODIES: dict[str, Callable[[FloatArray], FloatArray]] = {  # height over the distance inwards, both as shares
    "flat": lambda inwards: smoothstep(inwards / 0.15),
    "rounded": lambda inwards: np.sqrt(np.maximum(1 - (1 - np.clip(inwards / 0.4, 0, 1)) ** 2, 0)),
    "dome": lambda inwards: np.sqrt(np.maximum(1 - (1 - np.clip(inwards, 0, 1)) ** 2, 0)),
    "cup": lambda inwards: smoothstep(inwards / 0.12) - 0.6 * smoothstep((inwards - 0.25) / 0.2),
}


def _recess(kind: str, x: FloatArray, y: FloatArray, radius_px: float) -> FloatArray:
    """Return where the drive of a screw or the score of a pill is cut, 1 inside."""
    shapes = {
        "slot": Shape("box", 0.18, 0.0, 0.0),
        "score": Shape("box", 0.07, 0.0, 0.0),
        "cross": Shape("cross", 0.5, 0.1, 0.0),
        "hexagon": Shape("hexagon", 1.0, 0.0, 0.0),
    }
    reach = {"slot": 0.85, "score": 1.0, "cross": 0.55, "hexagon": 0.5}[kind]
    return smoothstep(0.5 - distance_to_shape(shapes[kind], x, y, reach * radius_px) / 1.5)


def _filled_tray(tray: _Tray, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    cell, item = unit_cells(tray.lattice, rng, height, width), tray.item
    x, y = cell.x, cell.y
    if tray.any_turn:
        turn = rng.uniform(0, math.tau, 4096).astype(np.float32)[cell.number]
        x, y = as_field(x * np.cos(turn) + y * np.sin(turn)), as_field(y * np.cos(turn) - x * np.sin(turn))
    outline = distance_to_shape(item.shape, x, y, item.radius_px)
    deepest = item.radius_px * item.shape.slimness * (1 - item.shape.bore) * 0.9
    profile = BODIES[item.body](-outline / deepest)
    relief = item.height * item.radius_px * profile
    cut = _recess(item.recess, x, y, item.radius_px) * (outline < 0) if item.recess != "none" else np.zeros_like(x)
    relief = relief - 0.3 * item.radius_px * cut
    relief += tray.rough_px * grain(rng, height, width, 4, 0.8)
    dye = 1 + item.melange * rng.standard_normal(4096, dtype=np.float32)[cell.number]
    body = lit(np.maximum(item.tone * dye * (1 - 0.4 * cut), 0.02), relief, tray.finish, rng)
    ground = tray.ground(rng, height, width)
    if tray.pocket_px:
        pocket = -tray.pocket_px * smoothstep(0.5 - (outline - 3) / 4)
        ground = lit(ground, pocket, tray.finish, rng)
    solid = as_field(np.clip(0.5 - outline, 0, 1))
    return laid_on(ground, body, solid, tray.finish.light, item.height * item.radius_px)


def _any_tray(rng: np.random.Generator, item: _Item, pitch_px: float, *, loose: float) -> Surface:
    lies_loose = rng.random() < loose
    ground, _ = any_backdrop(rng)
    room = 2.1 * item.radius_px / pitch_px  # what is left beside an item is how far it may stray
    jitter = 0.14 * (1 - room) if lies_loose else log_uniform(rng, 0.002, 0.02)
    lattice = Lattice(
        pitch_px=(pitch_px, pitch_px * (1 if rng.random() < 0.7 else rng.uniform(1, 1.4))),
        stagger=float(rng.choice([0, 0, 0.5])),
        angle=rng.uniform(0, math.pi) if lies_loose else float(rng.choice([0, 0, math.pi / 4])) + rng.normal(0, 0.02),
        jitter=max(jitter, 0.002),
        tilt=log_uniform(rng, 0.004, 0.1),
        aligned=not lies_loose,
    )
    tray = _Tray(
        item=item,
        lattice=lattice,
        any_turn=lies_loose,
        ground=ground,
        pocket_px=log_uniform(rng, 0.5, 4) if not lies_loose and rng.random() < 0.4 else 0,
        finish=any_finish(rng, hollow_px=max(0.4 * item.radius_px, 1), glossy=0.7),
        rough_px=log_uniform(rng, 0.01, 0.2),
    )
    return Surface(partial(_filled_tray, tray), any_camera(rng))


def pads(rng: np.random.Generator) -> Surface:
    """Draw a kind of pads or solder balls on a board: bright, small, in exact rows."""
    pitch_px = log_uniform(rng, 8, 50)
    item = _Item(
        shape=any_shape(rng, ("disc", "disc", "box", "slot"), bored=0.1),
        radius_px=0.5 * pitch_px * rng.uniform(0.4, 0.8),
        body=str(rng.choice(["flat", "rounded", "dome"])),
        height=log_uniform(rng, 0.05, 0.5),
        recess="none",
        tone=rng.uniform(0.45, 0.8),
        melange=log_uniform(rng, 0.01, 0.1),
    )
    return _any_tray(rng, item, pitch_px, loose=0)


def pills(rng: np.random.Generator) -> Surface:
    """Draw a kind of pills, sweets, buttons or beads: in a tray or a blister, or loose."""
    pitch_px = log_uniform(rng, 24, 130)
    item = _Item(
        shape=any_shape(rng, ("disc", "disc", "slot", "box", "lens", "hexagon"), bored=0.1),
        radius_px=0.5 * pitch_px * rng.uniform(0.6, 0.85),
        body=str(rng.choice(["rounded", "dome", "flat", "cup"])),
        height=log_uniform(rng, 0.1, 0.5),
        recess=str(rng.choice(["none", "none", "score", "cross"])),
        tone=rng.uniform(0.15, 0.85),
        melange=log_uniform(rng, 0.01, 0.15),
    )
    return _any_tray(rng, item, pitch_px, loose=0.5)


def fasteners(rng: np.random.Generator) -> Surface:
    """Draw a kind of screws, nuts, rivets or washers, seen from above: in rows on a part, or loose in a box."""
    pitch_px = log_uniform(rng, 20, 140)
    bored = rng.random() < 0.5
    item = _Item(
        shape=any_shape(rng, ("hexagon", "disc", "disc"), bored=float(bored)),
        radius_px=0.5 * pitch_px * rng.uniform(0.45, 0.85),
        body=str(rng.choice(["rounded", "flat", "dome"])),
        height=log_uniform(rng, 0.1, 0.6),
        recess="none" if bored else str(rng.choice(["slot", "cross", "hexagon", "none"])),
        tone=rng.uniform(0.25, 0.7),
        melange=log_uniform(rng, 0.01, 0.08),
    )
    return _any_tray(rng, replace(item, shape=replace(item.shape, slimness=1.0)), pitch_px, loose=0.45)


# Brushes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Brush:
    lattice: Lattice
    tuft: float  # radius of a tuft as a share of the pitch
    tones: tuple[float, float]  # of the filaments, of the base
    filament_px: float
    splay: float  # how far tufts lean away from their places, as a share of the pitch
    dyes: tuple[float, ...]  # of the rows, that repeat
    finish: Finish


def _tufted_brush(brush: _Brush, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    cell = unit_cells(brush.lattice, rng, height, width)
    pitch_px = min(brush.lattice.pitch_px)
    ragged = 0.08 * noise(rng, height, width, 0.2 * pitch_px, 0.2 * pitch_px)
    radius = np.hypot(cell.x, cell.y) / (brush.tuft * pitch_px) + ragged
    tuft = smoothstep((1 - radius) / 0.12 + 0.5)
    ends = smoothstep(0.5 + 0.8 * noise(rng, height, width, brush.filament_px, brush.filament_px))
    dye = np.array(brush.dyes, np.float32)[cell.row % len(brush.dyes)]
    bright = brush.tones[0] * dye * (0.35 + 0.65 * ends) * (1 - 0.45 * np.clip(radius, 0, 1) ** 3)
    base = brush.tones[1] * (1 + 0.04 * grain(rng, height, width, 24, 0.7)) * (0.55 + 0.45 * smoothstep(radius - 1))
    relief = pitch_px * brush.splay * tuft * (1 - 0.5 * np.clip(radius, 0, 1) ** 2) + 0.5 * tuft * ends
    return lit(base + (bright - base) * tuft, relief, brush.finish, rng)


def brush(rng: np.random.Generator) -> Surface:
    """Draw a kind of brush, seen from its bristles: tufts of filaments in rows, of one colour or several."""
    lattice = any_lattice(rng, 14, 70)
    kind = _Brush(
        lattice=replace(lattice, jitter=max(lattice.jitter, 0.01)),
        tuft=rng.uniform(0.3, 0.48),
        tones=(rng.uniform(0.3, 0.85), log_uniform(rng, 0.05, 0.7)),
        filament_px=log_uniform(rng, 1.5, 4),
        splay=rng.uniform(0.05, 0.3),
        dyes=tuple(rng.uniform(0.4, 1.1, int(rng.integers(1, 4)))),
        finish=any_finish(rng, hollow_px=0.2 * min(lattice.pitch_px), glossy=0.4),
    )
    return Surface(partial(_tufted_brush, kind), any_camera(rng))
