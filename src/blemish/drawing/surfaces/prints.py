"""Print: labels, pages of text, scales and codes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import Light, as_field, blur, grain, log_uniform, noise, shade, smoothstep, turned_grid
from blemish.drawing.surfaces.kind import (
    Family,
    Finish,
    Scene,
    Surface,
    any_camera,
    any_finish,
    lit,
    steady_camera,
    steady_light,
)
from blemish.drawing.surfaces.lettering import put_text
from blemish.drawing.surfaces.metal import brushed_metal, lacquer, rolled_metal
from blemish.drawing.surfaces.natural import moulded_grain, paper
from blemish.results import FloatArray


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
    put_text(plate, _word(rng, 6), left=36, foot=84, size=1.9, weight=6)
    cv2.circle(plate, (440, 66), 34, 255, 5, cv2.LINE_AA)
    put_text(plate, _word(rng, 2), left=414, foot=79, size=1.1, weight=4)
    lines = int(rng.integers(3, 6))
    for line in range(lines):
        entry = f"{_word(rng, 3)}: {_word(rng, int(rng.integers(5, 12)))}"
        put_text(plate, entry, left=40, foot=152 + line * 170 // lines, size=0.85, weight=2)
    _cells(plate, rng, top=150, left=362, n_cells=18)
    _bars(plate, rng, top=352, bottom=438, left=48, right=464)
    put_text(plate, f"{rng.integers(10**13, 10**14)}", left=110, foot=474, size=0.9, weight=2)
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
        light=steady_light(rng),
    )
    return Surface(partial(_label_on_housing, label), steady_camera(rng))


_MATERIALS: tuple[Family, ...] = (paper, paper, lacquer, rolled_metal, brushed_metal, moulded_grain)

# Any print ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sheet:
    artwork: FloatArray = field(repr=False, compare=False)  # (512, 512), 1 where ink goes
    tones: tuple[float, float]  # brightness of the material, of the ink
    material: Scene
    size: float  # side of the artwork as a share of the shorter side of the image
    angle: float
    shift: float  # standard deviation of the place, as a share of the shorter side
    bleed_px: float  # how far ink runs
    relief_px: float  # of raised or engraved print; 0 is flat ink
    opacity: float
    finish: Finish


def _printed_sheet(sheet: _Sheet, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    side_px = sheet.size * min(height, width)
    centre = (height / 2 + rng.normal(0, sheet.shift) * side_px, width / 2 + rng.normal(0, sheet.shift) * side_px)
    along, across = turned_grid(height, width, sheet.angle + rng.normal(0, sheet.shift), centre)
    scale = len(sheet.artwork) / side_px
    fine = blur(sheet.artwork, max(0.45 * scale * sheet.bleed_px, 0.3))
    middle = len(sheet.artwork) / 2
    ink = cv2.remap(fine, along * scale + middle, across * scale + middle, cv2.INTER_LINEAR)
    material = sheet.material(rng, height, width)
    ground = sheet.tones[0] * material / max(float(material.mean()), 0.02)
    patchy = sheet.opacity * (1 + 0.04 * grain(rng, height, width, 32, 0.7))
    tone = ground + (sheet.tones[1] * (0.7 + 0.3 * ground / sheet.tones[0]) - ground) * as_field(ink) * patchy
    return lit(np.clip(tone, 0.01, 1), sheet.relief_px * as_field(ink), sheet.finish, rng)


def _page(rng: np.random.Generator) -> FloatArray:
    """Set lines of text of a few sizes; (512, 512)."""
    plate = np.zeros((512, 512), np.uint8)
    size, weight, foot = rng.uniform(0.5, 1.8), int(rng.integers(1, 5)), 20.0
    while foot < 500:
        foot += 34 * size
        words = " ".join(_word(rng, int(rng.integers(1, 10))) for _ in range(int(rng.integers(1, 7))))
        put_text(plate, words, left=int(rng.integers(8, 40)), foot=int(foot), size=size, weight=weight)
        if rng.random() < 0.2:
            size, weight = rng.uniform(0.5, 1.8), int(rng.integers(1, 5))
    return as_field(plate / np.float32(255))


def _dial(rng: np.random.Generator) -> FloatArray:
    """Draw a scale with ticks and numbers around an arc, or along a rule; (512, 512)."""
    plate = np.zeros((512, 512), np.uint8)
    n_ticks, every = int(rng.integers(20, 80)), int(rng.choice([4, 5, 10]))
    round_dial, sweep = rng.random() < 0.6, rng.uniform(math.pi, 1.8 * math.pi)
    for tick in range(n_ticks + 1):
        long = 40 if tick % every == 0 else 20
        if round_dial:
            angle = math.pi / 2 + (math.tau - sweep) / 2 + sweep * tick / n_ticks
            ray = np.array([math.cos(angle), math.sin(angle)])
            ends = [np.round(256 + ray * reach).astype(int).tolist() for reach in (220, 220 - long)]
            number_at = np.round(256 + ray * 150).astype(int) - (12, -8)
        else:
            ends = [[30 + 452 * tick // n_ticks, row] for row in (180, 180 + long)]
            number_at = np.array([18 + 452 * tick // n_ticks, 260])
        cv2.line(plate, ends[0], ends[1], 255, 4 if tick % every == 0 else 2, cv2.LINE_AA)
        if tick % every == 0:
            put_text(plate, str(tick), left=int(number_at[0]), foot=int(number_at[1]), size=0.7, weight=2)
    put_text(plate, _word(rng, 4), left=200, foot=350, size=1.1, weight=3)
    return as_field(plate / np.float32(255))


def print_on_material(rng: np.random.Generator) -> Surface:
    """Draw a kind of print: text, a type plate or a scale, in ink or raised, on paper, plastic or metal."""
    artwork = (_page, _dial, _draw_artwork)[rng.integers(3)](rng)
    raised = rng.random() < 0.3
    bright, dark = rng.uniform(0.4, 0.85), log_uniform(rng, 0.04, 0.3)
    material = _MATERIALS[rng.integers(len(_MATERIALS))](rng).scene
    ground, ink = (bright, dark) if rng.random() < 0.65 else (dark, bright)
    sheet = _Sheet(
        artwork=artwork,
        tones=(ground, ground * rng.uniform(0.8, 1.2) if raised else ink),
        material=material,
        size=log_uniform(rng, 0.85, 2.2),
        angle=rng.normal(0, 0.02) + float(rng.choice([0, 0, 0, math.pi / 2, math.pi])),
        shift=log_uniform(rng, 0.002, 0.02),
        bleed_px=log_uniform(rng, 0.8, 2.5),
        relief_px=float(rng.choice([-1, 1])) * rng.uniform(0.5, 2.5) if raised else 0,
        opacity=rng.uniform(0.75, 1),
        finish=any_finish(rng, hollow_px=4, glossy=0.3),
    )
    return Surface(partial(_printed_sheet, sheet), any_camera(rng))
