"""Circuit boards: traces, pads and vias of the board, components that were placed and soldered one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import as_field, blur, grain, log_uniform, turned_grid
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


def _routed(rng: np.random.Generator) -> FloatArray:
    """Route traces at multiples of 45 degrees between vias, and print a few marks."""
    art = np.zeros((_SIDE, _SIDE), np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        corner, extent = rng.integers(0, 400, 2), rng.integers(60, 220, 2)
        cv2.rectangle(art, corner.tolist(), (corner + extent).tolist(), 128, cv2.FILLED)
    for _ in range(int(rng.integers(12, 45))):
        n_lines, pitch = int(rng.integers(1, 7)), int(rng.integers(9, 14))
        start, width = rng.integers(0, _SIDE, 2), int(rng.integers(2, 6))
        turns = rng.choice([-1, 0, 1], 3).cumsum() + rng.integers(8)
        for line in range(n_lines):
            at = start + line * np.array([pitch, 0 if turns[0] % 4 == 2 else pitch])
            path = [at]
            for turn, long in zip(turns, rng.integers(30, 130, 3), strict=True):
                at = at + np.round(
                    long * np.array([math.cos(turn * math.pi / 4), math.sin(turn * math.pi / 4)])
                ).astype(int)
                path.append(at)
            cv2.polylines(art, [np.array(path, np.int32)], False, 128, width, cv2.LINE_AA)
            cv2.circle(art, path[-1].tolist(), width + 3, 255, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(art, path[-1].tolist(), max(width - 1, 2), 0, cv2.FILLED, cv2.LINE_AA)
    for _ in range(int(rng.integers(2, 9))):
        left, foot = rng.integers(10, 440, 2)
        put_text(
            art, f"{rng.choice(list('RCLUDQ'))}{rng.integers(1, 99)}", int(left), int(foot), rng.uniform(0.5, 0.9), 2
        )
    return as_field(art / np.float32(255))


def _any_components(rng: np.random.Generator) -> tuple[_Component, ...]:
    """Choose components and places that do not overlap."""
    taken = np.zeros((_SIDE, _SIDE), np.bool_)
    chosen = []
    for trial in range(int(rng.integers(15, 60))):
        way = rng.random()
        if trial < 3 and way < 0.7:  # large ones first, while there is room
            half = rng.uniform(40, 110, 2)
            made = _Component(
                (0, 0), (half[0], half[1]), rng.uniform(0.04, 0.2), 0, int(rng.integers(4, 16)), 14, False
            )
        elif way < 0.75:
            long = log_uniform(rng, 10, 30)
            wide = long * rng.uniform(0.4, 0.6)
            made = _Component((0, 0), (long, wide), rng.uniform(0.05, 0.6), rng.uniform(0.2, 0.35), 0, 8, False)
        else:
            radius = rng.uniform(12, 45)
            made = _Component((0, 0), (radius, radius), rng.uniform(0.1, 0.7), 0, 0, 20, True)
        column, row = rng.uniform(0, _SIDE, 2)
        reach = [half + (18 if made.n_leads else 6) for half in made.half]
        area = np.s_[
            max(int(row - reach[1]), 0) : int(row + reach[1]), max(int(column - reach[0]), 0) : int(column + reach[0])
        ]
        if not taken[area].any():
            taken[area] = True
            chosen.append(replace(made, middle=(column, row)))
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
            cv2.circle(tone, centre, round(share * long * 16), bright, cv2.FILLED, cv2.LINE_8, shift=4)
            cv2.circle(
                relief, centre, round(share * long * 16), height * component.thick, cv2.FILLED, cv2.LINE_8, shift=4
            )
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
    soften = max(0.5 * scale, 0.4)
    seen = [
        as_field(
            cv2.remap(blur(layer, soften), along * scale + _SIDE / 2, across * scale + _SIDE / 2, cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REFLECT)
        )
        for layer in (tone, relief)
    ]  # fmt: skip
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
