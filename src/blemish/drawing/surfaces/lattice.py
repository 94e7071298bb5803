"""Places that repeat: rows and columns of cells, straight or staggered, each a little out of place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import as_field, log_uniform, turned_grid
from blemish.results import FloatArray


@dataclass(frozen=True)
class Lattice:
    """Where the cells of a regular pattern lie."""

    pitch_px: tuple[float, float]  # distance of the columns, of the rows
    stagger: float  # how far each row is shifted against the one before, as a share of the column pitch
    angle: float  # direction of the rows
    jitter: float  # standard deviation of the place of what lies in a cell, as a share of the pitch
    tilt: float  # standard deviation of its direction, radians
    aligned: bool  # every image shows the same place of the pattern


@dataclass(frozen=True)
class Cells:
    """The cells of one image; every field is (H, W)."""

    x: FloatArray  # pixels from the middle of what lies in the cell, along its own direction
    y: FloatArray
    number: NDArray[np.int32]  # of the cell, up to 4095; look random properties up with it
    row: NDArray[np.int32]
    column: NDArray[np.int32]
    border_px: FloatArray  # distance to the border of the cell


def any_lattice(
    rng: np.random.Generator, smallest_px: float, largest_px: float, *, staggers: tuple[float, ...] = (0, 0, 0.5)
) -> Lattice:
    """Draw a lattice: square or oblong cells, straight or staggered, exact or handmade."""
    pitch_px = log_uniform(rng, smallest_px, largest_px)
    stagger = float(rng.choice(staggers))
    aspect = math.sqrt(0.75) if stagger == 0.5 and rng.random() < 0.5 else log_uniform(rng, 0.6, 1.6)
    exact = rng.random() < 0.6
    return Lattice(
        pitch_px=(pitch_px, pitch_px * (aspect if rng.random() < 0.6 else 1)),
        stagger=stagger,
        angle=float(rng.choice([0, 0, 0, math.pi / 4])) + rng.normal(0, 0.06),
        jitter=0.004 if exact else log_uniform(rng, 0.01, 0.06),
        tilt=0.004 if exact else log_uniform(rng, 0.02, 0.15),
        aligned=bool(rng.random() < 0.5),
    )


def unit_cells(lattice: Lattice, rng: np.random.Generator, height: int, width: int) -> Cells:
    """Find the cell of each pixel, as one image of the kind shows it: shifted, turned, each cell out of place."""
    if lattice.aligned:
        corner = (height / 2 + rng.normal(0, 1) - 64 * lattice.pitch_px[1], width / 2 + rng.normal(0, 1))
    else:
        corner = (rng.uniform(-90, -64) * lattice.pitch_px[1], rng.uniform(-90, -64) * lattice.pitch_px[0])
    along, across = turned_grid(height, width, lattice.angle + rng.normal(0, 0.006), corner)
    row = np.floor(across / lattice.pitch_px[1])
    shifted = along / lattice.pitch_px[0] - lattice.stagger * (row % (1 / lattice.stagger if lattice.stagger else 1))
    column = np.floor(shifted)
    number = ((column * 41 + row * 97).astype(np.int32)) % 4096
    stray = rng.normal(0, lattice.jitter, (2, 4096)).astype(np.float32)
    turn = rng.normal(0, lattice.tilt, 4096).astype(np.float32)[number]
    cell_x, cell_y = (shifted - column - 0.5) * lattice.pitch_px[0], across - (row + 0.5) * lattice.pitch_px[1]
    x, y = cell_x - stray[0][number] * lattice.pitch_px[0], cell_y - stray[1][number] * lattice.pitch_px[1]
    cos, sin = np.cos(turn), np.sin(turn)
    border_px = np.minimum(lattice.pitch_px[0] / 2 - np.abs(cell_x), lattice.pitch_px[1] / 2 - np.abs(cell_y))
    return Cells(
        x=as_field(x * cos + y * sin),
        y=as_field(y * cos - x * sin),
        number=number,
        row=row.astype(np.int32),
        column=column.astype(np.int32),
        border_px=as_field(border_px),
    )
