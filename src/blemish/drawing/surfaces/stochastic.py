"""Textures of no name: noise of every spectrum, cells, labyrinths, folded layers, leaves over leaves, mixtures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from blemish.drawing.fields import (
    Spectrum,
    as_field,
    blur,
    coloured_noise,
    crooked_cells,
    grain,
    log_uniform,
    smoothstep,
    turned_grid,
)
from blemish.drawing.surfaces.kind import Family, Finish, Scene, Surface, any_camera, any_finish, lit, rolled_off
from blemish.drawing.surfaces.metal import blasted_metal, cast_skin, rolled_metal, scaled_metal
from blemish.drawing.surfaces.natural import concrete, granite, moulded_grain, paper
from blemish.drawing.surfaces.patterns import (
    dot_screen,
    embossed_sheet,
    honeycomb,
    printed_pattern,
    ribbed,
    tiles,
    wire_mesh,
)
from blemish.drawing.surfaces.textiles import cloth, felt
from blemish.results import FloatArray

# Noise ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Waves:
    spectra: tuple[Spectrum, ...]
    strengths: tuple[float, ...]
    marginal: str  # a name of MARGINALS: how the values of the noise become levels


def _steps(waves: FloatArray) -> FloatArray:
    return as_field(np.round(waves * 1.2) / 1.2 + 0.1 * waves)


MARGINALS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "even": lambda waves: waves,
    "ridged": lambda waves: as_field(1 - 1.6 * np.abs(waves)),  # bright crests
    "folded": lambda waves: as_field(1.6 * np.abs(waves) - 1),  # dark valleys
    "spotted": lambda waves: 3 * smoothstep((waves - 1.0) / 0.6) - 0.5,  # rare islands
    "two-toned": lambda waves: 2 * smoothstep(waves / 0.5 + 0.5) - 1,
    "stepped": _steps,
    "skewed": lambda waves: as_field(np.exp(0.7 * waves) - 1.3),
}


def _any_waves(rng: np.random.Generator) -> _Waves:
    spectra = []
    for _ in range(int(rng.integers(1, 4))):
        shortest_px = log_uniform(rng, 1.5, 12)
        spectra.append(
            Spectrum(
                slope=rng.uniform(0, 1.8),
                shortest_px=shortest_px,
                longest_px=shortest_px * log_uniform(rng, 1.5, 40),
                stretch=1.0 if rng.random() < 0.4 else log_uniform(rng, 1, 20),
                angle=rng.uniform(0, math.pi),
            )
        )
    strengths = tuple(rng.uniform(0.3, 1, len(spectra)))
    return _Waves(tuple(spectra), strengths, str(rng.choice(list(MARGINALS))))


def _levels(waves: _Waves, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Return the noise (H, W), of mean about 0 and standard deviation about 1."""
    field = np.zeros((height, width), np.float32)
    for spectrum, strength in zip(waves.spectra, waves.strengths, strict=True):
        field += strength / math.hypot(*waves.strengths) * coloured_noise(rng, height, width, spectrum)
    return as_field(MARGINALS[waves.marginal](field))


def _toned_noise(
    waves: _Waves, tone: float, contrast: float, rng: np.random.Generator, height: int, width: int
) -> FloatArray:
    return rolled_off(np.maximum(tone * (1 + contrast * _levels(waves, rng, height, width)), 0.01))


def toned_noise(rng: np.random.Generator) -> Surface:
    """Draw a kind of flat texture: noise of any spectrum and direction as brightness."""
    tone, contrast = rng.uniform(0.2, 0.7), log_uniform(rng, 0.04, 0.4)
    return Surface(partial(_toned_noise, _any_waves(rng), tone, contrast), any_camera(rng))


def _raised_noise(
    waves: _Waves, tone: float, height_px: float, finish: Finish, rng: np.random.Generator, height: int, width: int
) -> FloatArray:
    relief = blur(height_px * _levels(waves, rng, height, width), 0.6)
    return lit(tone * (1 + 0.02 * grain(rng, height, width, 32, 0.7)), relief, finish, rng)


def raised_noise(rng: np.random.Generator) -> Surface:
    """Draw a kind of rough texture: noise of any spectrum and direction as relief, lit from the side."""
    waves = _any_waves(rng)
    size_px = max(spectrum.shortest_px for spectrum in waves.spectra)
    height_px = log_uniform(rng, 0.04, 0.3) * size_px
    finish = any_finish(rng, hollow_px=2 * size_px)
    return Surface(partial(_raised_noise, waves, rng.uniform(0.2, 0.75), height_px, finish), any_camera(rng))


# Cells and labyrinths -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cellular:
    tone: float
    cell_px: float
    sway: float
    stretch: float
    angle: float
    contrast: float  # between cells
    slope: float  # contrast from the middle of a cell to its border
    border: float  # brightness of the borders against the cells
    border_px: float
    relief_px: float
    finish: Finish


def _cellular_texture(cellular: _Cellular, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    cell, border_px = crooked_cells(
        rng, height, width, cellular.cell_px, cellular.sway, cellular.stretch, cellular.angle
    )
    inside = smoothstep((border_px - cellular.border_px / 2) / 1.5 + 0.5)
    dome = np.minimum(2 * border_px / cellular.cell_px, 1)
    level = 1 + cellular.contrast * rng.standard_normal(4096, dtype=np.float32)[cell % 4096]
    tone = cellular.tone * (level + cellular.slope * (dome - 0.5))
    tone = tone * (cellular.border + (1 - cellular.border) * inside) * (1 + 0.05 * grain(rng, height, width, 16, 0.8))
    return lit(np.maximum(tone, 0.01), cellular.relief_px * blur(dome * inside, 0.7), cellular.finish, rng)


def cellular(rng: np.random.Generator) -> Surface:
    """Draw a kind of cells: crystals, cobbles, scales, cracks in mud, membranes."""
    cell_px = log_uniform(rng, 5, 70)
    texture = _Cellular(
        tone=rng.uniform(0.2, 0.7),
        cell_px=cell_px,
        sway=rng.uniform(0, 0.3),
        stretch=log_uniform(rng, 1, 4),
        angle=rng.uniform(0, math.pi),
        contrast=log_uniform(rng, 0.01, 0.3),
        slope=rng.uniform(-0.5, 0.5),
        border=float(rng.choice([0.2, 0.5, 0.8, 1.2, 1.6])),
        border_px=log_uniform(rng, 0.8, max(0.25 * cell_px, 1)),
        relief_px=rng.uniform(0, 0.25) * cell_px,
        finish=any_finish(rng, hollow_px=0.4 * cell_px),
    )
    return Surface(partial(_cellular_texture, texture), any_camera(rng))


@dataclass(frozen=True)
class _Labyrinth:
    tones: tuple[float, float]
    band_px: float  # width of a lane and its neighbour together
    bias: float  # above 0 lanes break into spots, below into holes
    stretch: float
    angle: float
    relief_px: float
    finish: Finish


def _grown_labyrinth(labyrinth: _Labyrinth, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    spectrum = Spectrum(0, 0.8 * labyrinth.band_px, 1.25 * labyrinth.band_px, labyrinth.stretch, labyrinth.angle)
    field = coloured_noise(rng, height, width, spectrum)
    narrow, wide = 0.16 * labyrinth.band_px, 0.32 * labyrinth.band_px
    for _ in range(4):  # near neighbours agree, far ones differ: stripes and spots settle, as on an animal's coat
        field = np.tanh(6 * (blur(field, narrow) - blur(field, wide)) - labyrinth.bias)
    lane = smoothstep(0.5 + blur(field, 0.7))
    tone = labyrinth.tones[0] + (labyrinth.tones[1] - labyrinth.tones[0]) * lane
    tone = tone * (1 + 0.05 * grain(rng, height, width, 16, 0.8))
    return lit(tone, labyrinth.relief_px * lane, labyrinth.finish, rng)


def labyrinth(rng: np.random.Generator) -> Surface:
    """Draw a kind of labyrinth: lanes, spots or holes of one width, as wrinkled films and etched skins have."""
    band_px = log_uniform(rng, 6, 40)
    texture = _Labyrinth(
        tones=(rng.uniform(0.1, 0.75), rng.uniform(0.1, 0.75)),
        band_px=band_px,
        bias=rng.uniform(-0.5, 0.5),
        stretch=log_uniform(rng, 1, 3),
        angle=rng.uniform(0, math.pi),
        relief_px=rng.uniform(0.02, 0.2) * band_px,
        finish=any_finish(rng, hollow_px=0.5 * band_px),
    )
    return Surface(partial(_grown_labyrinth, texture), any_camera(rng))


# Layers ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layers:
    tone: float
    contrast: float
    layer_px: float
    fold_px: float
    fold: Spectrum
    angle: float
    sharpness: float  # 0 swells softly, 1 changes at once
    relief_px: float
    finish: Finish


def _folded_layers(layers: _Layers, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    _, across = turned_grid(height, width, layers.angle + rng.normal(0, 0.02), (height / 2, width / 2))
    depth = (across + layers.fold_px * coloured_noise(rng, height, width, layers.fold)) / layers.layer_px + 2000
    number = np.floor(depth).astype(np.int32)
    level = rng.uniform(-1, 1, 4096).astype(np.float32)
    within = (depth - number - 1) / max(1 - layers.sharpness, 0.05) + 1  # the change is at the end of a layer
    rising = smoothstep(within)
    field = level[number % 4096] + (level[(number + 1) % 4096] - level[number % 4096]) * rising
    fine = 1 + 0.05 * grain(rng, height, width, 8, 0.8)
    return lit(layers.tone * (1 + layers.contrast * field) * fine, layers.relief_px * field, layers.finish, rng)


def folded_layers(rng: np.random.Generator) -> Surface:
    """Draw a kind of layers: slate, agate, flowing paint, damascene steel, extruded or laminated stock."""
    layer_px = log_uniform(rng, 3, 25)
    angle = rng.uniform(0, math.pi)
    texture = _Layers(
        tone=rng.uniform(0.2, 0.7),
        contrast=log_uniform(rng, 0.08, 0.5),
        layer_px=layer_px,
        fold_px=log_uniform(rng, 2, 60),
        fold=Spectrum(rng.uniform(1.3, 2), 8, log_uniform(rng, 60, 300), log_uniform(rng, 1, 5), angle),
        angle=angle,
        sharpness=rng.uniform(0, 0.9),
        relief_px=rng.uniform(0, 0.12) * layer_px,
        finish=any_finish(rng, hollow_px=layer_px),
    )
    return Surface(partial(_folded_layers, texture), any_camera(rng))


@dataclass(frozen=True)
class _Leaves:
    tone: float
    contrast: float
    largest_px: float
    decay: float  # how much more frequent small ones are
    corners: int  # 0 is round
    slimness: float
    angle: float
    order: float  # standard deviation of their direction
    edge: float  # how dark their outlines are
    ground: float


def _strewn_leaves(leaves: _Leaves, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    # Leaves over leaves: occlusion alone gives the statistics of natural images (Lee, Mumford, Huang 2001).
    n_at_most = 1 + int(1200 * height * width / 256**2)
    radii = leaves.largest_px * rng.uniform(0.15, 1, n_at_most) ** leaves.decay
    n_leaves = int(np.searchsorted(np.cumsum(3 * radii**2 * leaves.slimness), 2.5 * height * width)) + 1
    radii = radii[:n_leaves, None]
    corners = leaves.corners or 12
    spokes = np.arange(corners) * math.tau / corners
    reach = radii * (rng.uniform(0.7, 1.2, (len(radii), corners)) if leaves.corners else 1.0)
    x, y = reach * np.cos(spokes), leaves.slimness * reach * np.sin(spokes)  # (leaf, corner)
    heading = rng.normal(leaves.angle, leaves.order, radii.shape)
    turned = [x * np.cos(heading) - y * np.sin(heading), x * np.sin(heading) + y * np.cos(heading)]
    middles = rng.uniform(-0.05, 1.05, (len(radii), 1, 2)) * (width, height)
    outlines = np.round((np.stack(turned, axis=-1) + middles) * 2 * 16).astype(np.int32)
    levels = np.clip(rng.normal(128, 42, len(radii)), 2, 253).tolist()
    canvas = np.full((height * 2, width * 2), 128, np.uint8)
    for outline, level in zip(outlines, levels, strict=True):
        cv2.fillConvexPoly(canvas, outline, level, cv2.LINE_8, shift=4)
        if leaves.edge:
            cv2.polylines(canvas, [outline], True, level * (1 - leaves.edge), 1, cv2.LINE_8, shift=4)
    field = as_field(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)) / 128 - 1
    return rolled_off(
        np.maximum(leaves.tone * (1 + leaves.contrast * field), 0.01)
        * (1 + leaves.ground * grain(rng, height, width, 8, 0.9))
    )


def strewn_leaves(rng: np.random.Generator) -> Surface:
    """Draw a kind of flakes, chips, grains or leaves strewn over each other, large and small."""
    texture = _Leaves(
        tone=rng.uniform(0.25, 0.65),
        contrast=rng.uniform(0.3, 1),
        largest_px=log_uniform(rng, 8, 50),
        decay=rng.uniform(0.5, 3),
        corners=int(rng.choice([0, 0, 3, 4, 5, 7])),
        slimness=log_uniform(rng, 0.15, 1),
        angle=rng.uniform(0, math.pi),
        order=float(rng.choice([0.1, 0.5, 4.0])),
        edge=rng.uniform(0, 0.6) if rng.random() < 0.5 else 0,
        ground=log_uniform(rng, 0.01, 0.12),
    )
    return Surface(partial(_strewn_leaves, texture), any_camera(rng))


# Mixtures -------------------------------------------------------------------------------------------------------------

_PLAIN: tuple[Family, ...] = (toned_noise, raised_noise, cellular, labyrinth, folded_layers, rolled_metal, cast_skin,
                              blasted_metal, concrete, paper, felt, granite, moulded_grain, scaled_metal)  # fmt: skip
_WITH_ORDER: tuple[Family, ...] = (
    cloth,
    embossed_sheet,
    tiles,
    ribbed,
    honeycomb,
    dot_screen,
    printed_pattern,
    wire_mesh,
)


def _patchwork(
    one: Scene,
    other: Scene,
    border: Spectrum,
    covered: float,
    edge: float,
    rng: np.random.Generator,
    height: int,
    width: int,
) -> FloatArray:
    level = coloured_noise(rng, height, width, border) - covered
    mask = smoothstep(level / edge + 0.5)
    return as_field(one(rng, height, width) * (1 - mask) + other(rng, height, width) * mask)


def patchwork(rng: np.random.Generator) -> Surface:
    """Draw a kind of surface of two materials: islands of one in the other, with hard or soft borders."""
    one, other = (_PLAIN[index](rng).scene for index in rng.choice(len(_PLAIN), 2, replace=False))
    border = Spectrum(rng.uniform(1, 2), 4, log_uniform(rng, 20, 120), log_uniform(rng, 1, 4), rng.uniform(0, math.pi))
    edge = log_uniform(rng, 0.08, 1.5)
    return Surface(partial(_patchwork, one, other, border, rng.uniform(-0.8, 0.8), edge), any_camera(rng))


def _grained_order(
    order: Scene, ground: Scene, share: float, rng: np.random.Generator, height: int, width: int
) -> FloatArray:
    texture = ground(rng, height, width)
    return rolled_off(order(rng, height, width) * (1 + share * (texture / max(float(texture.mean()), 0.05) - 1)))


def grained_order(rng: np.random.Generator) -> Surface:
    """Draw a kind of pattern in a material: something that repeats, seen with the grain of something that does not."""
    order = _WITH_ORDER[rng.integers(len(_WITH_ORDER))](rng).scene
    ground = _PLAIN[rng.integers(len(_PLAIN))](rng).scene
    return Surface(partial(_grained_order, order, ground, rng.uniform(0.15, 0.7)), any_camera(rng))
