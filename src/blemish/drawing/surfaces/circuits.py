"""Circuit boards: traces, pads and vias of the board, components that were placed and soldered one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import as_field, blur, grain, log_uniform, sampled, turned_grid
from blemish.drawing.surfaces.kind import Finish, Surface, any_camera, any_finish, lit
from blemish.drawing.surfaces.lettering import put_text
from blemish.results import FloatArray

_SIDE = 512  # pixels a side of the artwork


@dataclass(frozen=True)
class _Component:
    middle: tuple[float, float]  # column and row on the artwork
    half: tuple[float, float]  # length and width, halved
    tone: float
    caps: float  # share of the length that is a bright cap or solder at either end; 0 is none
    n_leads: int  # on either long side; 0 is none
    thick: float  # height in pixels of the artwork
    round: bool


@dataclass(frozen=True)
class _Board:
    tones: tuple[float, float, float]  # of the bare board, of covered copper, of tinned pads and print
    artwork: FloatArray = field(repr=False, compare=False)  # (_SIDE, _SIDE): 0 bare, 0.5 copper, 1 tin or print
    components: tuple[_Component, ...]
    stray: float  # standard deviation of the place of a component, in pixels of the artwork
    size: float  # side of the artwork as a share of the shorter side of the image
    shift: float
    heading: float
    finish: Finish


def _route_bus(art: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Route a few parallel traces at multiples of 45 degrees, each to a via."""
    n_lines, pitch = int(rng.integers(1, 7)), int(rng.integers(9, 14))
    start, width = rng.integers(0, _SIDE, 2), int(rng.integers(2, 6))
    eighths = rng.choice([-1, 0, 1], 3).cumsum() + rng.integers(8)
    headings = np.stack([np.cos(eighths * math.pi / 4), np.sin(eighths * math.pi / 4)], axis=1)
    for line in range(n_lines):
        first = start + line * np.array([pitch, 0 if eighths[0] % 4 == 2 else pitch])
        ways = rng.integers(30, 130, (3, 1)) * headings
        path = np.round(first + np.concatenate([np.zeros((1, 2)), ways.cumsum(axis=0)])).astype(np.int32)
        cv2.polylines(art, [path], False, 128, width, cv2.LINE_AA)
        cv2.circle(art, path[-1].tolist(), width + 3, 255, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(art, path[-1].tolist(), max(width - 1, 2), 0, cv2.FILLED, cv2.LINE_AA)


def _routed(rng: np.random.Generator) -> FloatArray:
    """Lay out areas of copper, traces, vias and printed marks; (_SIDE, _SIDE)."""
    art = np.zeros((_SIDE, _SIDE), np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        corner, extent = rng.integers(0, 400, 2), rng.integers(60, 220, 2)
        cv2.rectangle(art, corner.tolist(), (corner + extent).tolist(), 128, cv2.FILLED)
    for _ in range(int(rng.integers(12, 45))):
        _route_bus(art, rng)
    for _ in range(int(rng.integers(2, 9))):
        left, foot = (int(place) for place in rng.integers(10, 440, 2))
        mark = f"{rng.choice(list('RCLUDQ'))}{rng.integers(1, 99)}"
        put_text(art, mark, left, foot, size=rng.uniform(0.5, 0.9), weight=2)
    return as_field(art / np.float32(255))


def _any_component(rng: np.random.Generator, *, large: bool) -> _Component:
    """Draw a component that has no place yet: a chip with leads, a resistor with its caps, or something round."""
    way = rng.random()
    if large and way < 0.7:
        half = rng.uniform(40, 110, 2)
        tone, n_leads = rng.uniform(0.04, 0.2), int(rng.integers(4, 16))
        return _Component((0, 0), (half[0], half[1]), tone, caps=0, n_leads=n_leads, thick=14, round=False)
    if way < 0.75:
        long = log_uniform(rng, 10, 30)
        wide = long * rng.uniform(0.4, 0.6)
        tone, caps = rng.uniform(0.05, 0.6), rng.uniform(0.2, 0.35)
        return _Component((0, 0), (long, wide), tone, caps, n_leads=0, thick=8, round=False)
    radius = rng.uniform(12, 45)
    return _Component((0, 0), (radius, radius), rng.uniform(0.1, 0.7), caps=0, n_leads=0, thick=20, round=True)


def _any_components(rng: np.random.Generator) -> tuple[_Component, ...]:
    """Choose components and places that do not overlap."""
    taken = np.zeros((_SIDE, _SIDE), np.bool_)
    chosen = []
    for trial in range(int(rng.integers(15, 60))):
        component = _any_component(rng, large=trial < 3)  # large ones first, while there is room
        column, row = rng.uniform(0, _SIDE, 2)
        reach = [half + (18 if component.n_leads else 6) for half in component.half]
        rows = slice(max(int(row - reach[1]), 0), int(row + reach[1]))
        columns = slice(max(int(column - reach[0]), 0), int(column + reach[0]))
        if not taken[rows, columns].any():
            taken[rows, columns] = True
            chosen.append(replace(component, middle=(column, row)))
    return tuple(chosen)


def _corners(middle: tuple[float, float], half: tuple[float, float], turn: float) -> NDArray[np.int32]:
    box = cv2.boxPoints((middle, (2 * half[0], 2 * half[1]), math.degrees(turn)))
    return np.round(np.asarray(box) * 16).astype(np.int32)


def _soldered(
    component: _Component, tin: float, stray: float, rng: np.random.Generator, tone: FloatArray, relief: FloatArray
) -> None:
    """Place a component into the tone and the relief of the board, a little beside where it belongs."""
    middle = (component.middle[0] + rng.normal(0, stray), component.middle[1] + rng.normal(0, stray))
    turn, (long, wide) = rng.normal(0, 0.012 * stray), component.half
    cos, sin = math.cos(turn), math.sin(turn)

    def lay(offset: tuple[float, float], half: tuple[float, float], bright: float, height: float) -> None:
        at = (middle[0] + offset[0] * cos - offset[1] * sin, middle[1] + offset[0] * sin + offset[1] * cos)
        box = _corners(at, half, turn)
        cv2.fillConvexPoly(tone, box, bright, cv2.LINE_8, shift=4)
        cv2.fillConvexPoly(relief, box, height, cv2.LINE_8, shift=4)

    if component.round:
        for share, bright, height in ((1.0, tin, 0.9), (0.85, component.tone, 1.0)):
            centre = (round(middle[0] * 16), round(middle[1] * 16))
            radius = round(share * long * 16)
            cv2.circle(tone, centre, radius, bright, cv2.FILLED, cv2.LINE_8, shift=4)
            cv2.circle(relief, centre, radius, height * component.thick, cv2.FILLED, cv2.LINE_8, shift=4)
        return
    for lead in range(component.n_leads):
        at = (2 * (lead + 0.5) / component.n_leads - 1) * 0.92 * long
        for side in (-1, 1):
            lay((at, side * (wide + 5)), (0.4 * long / component.n_leads, 9), tin, 0.35 * component.thick)
    if component.caps:
        lay((0, 0), (1.12 * long, 1.15 * wide), tin, 1.5)  # solder on the pads
        lay((0, 0), (long, wide), 0.9 * tin, component.thick)
    lay((0, 0), (long * (1 - component.caps), wide), component.tone, component.thick)


def _populated_board(board: _Board, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    bare, copper, tin = board.tones
    tone = np.interp(board.artwork, [0, 0.5, 1], [bare, copper, tin]).astype(np.float32)
    relief = as_field(2 * np.minimum(2 * board.artwork, 1))
    for component in board.components:
        _soldered(component, tin, board.stray, rng, tone, relief)
    side_px = board.size * min(height, width)
    scale = _SIDE / side_px
    middle = [size / 2 + rng.normal(0, board.shift) * side_px for size in (height, width)]
    along, across = turned_grid(height, width, board.heading + rng.normal(0, board.shift), (middle[0], middle[1]))
    at_x, at_y = along * scale + _SIDE / 2, across * scale + _SIDE / 2
    soften = max(0.5 * scale, 0.4)  # as fine as the image can show
    seen = [sampled(blur(layer, soften), at_x, at_y) for layer in (tone, relief)]
    weave = 1 + 0.03 * grain(rng, height, width, 6, 0.8)
    return lit(seen[0] * weave, seen[1] / scale, board.finish, rng)


def circuit_board(rng: np.random.Generator) -> Surface:
    """Draw a kind of circuit board: traces and vias, resistors, chips and round parts, each a little askew."""
    bare = log_uniform(rng, 0.08, 0.45)
    board = _Board(
        tones=(bare, bare * rng.uniform(1.15, 1.8), rng.uniform(0.55, 0.85)),
        artwork=_routed(rng),
        components=_any_components(rng) if rng.random() < 0.85 else (),
        stray=log_uniform(rng, 0.4, 2.5),
        size=log_uniform(rng, 1.0, 2.2),
        shift=log_uniform(rng, 0.001, 0.01),
        heading=float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.02),
        finish=any_finish(rng, hollow_px=5, glossy=0.7),
    )
    return Surface(partial(_populated_board, board), any_camera(rng))
