"""Printed labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import (
    Light,
    as_field,
    blur,
    grain,
    noise,
    shade,
    smoothstep,
    turned_grid,
)
from blemish.drawing.surfaces.kind import Surface, steady_camera, steady_light
from blemish.drawing.surfaces.lettering import put_text
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
