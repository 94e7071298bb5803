"""What has grown, or looks as if it had: leather, wood, stone, concrete, paper, cork, foam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from blemish.drawing.fields import (
    Light,
    Spectrum,
    as_field,
    blur,
    cells,
    coloured_noise,
    crooked_cells,
    grain,
    log_uniform,
    noise,
    sampled,
    shade,
    smoothstep,
    turned_grid,
)
from blemish.drawing.surfaces.kind import (
    Finish,
    Surface,
    any_camera,
    any_finish,
    lit,
    rolled_off,
    steady_camera,
    steady_light,
    swayed,
)
from blemish.drawing.surfaces.strewn import round_pores, scattered_fibres
from blemish.results import FloatArray

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


def _tanned_hide(hide: _Hide, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    along, across = turned_grid(height, width, hide.angle, (height / 2, width / 2))
    reach = math.ceil(math.hypot(height, width)) + 4 * math.ceil(hide.cell_px)
    sway = [0.2 * hide.cell_px * noise(rng, height, width, hide.cell_px, hide.cell_px) for _ in range(2)]
    at = [(along / hide.stretch + sway[0] + reach / 2), (across + sway[1] + reach / 2)]
    _, creases = cells(rng, reach, reach, hide.cell_px)
    distance = as_field(cv2.remap(creases, at[0], at[1], cv2.INTER_LINEAR))
    dome = 1 - np.exp(-3.5 * distance / hide.cell_px)
    swell = 1 + 0.15 * noise(rng, height, width, 60, 60)  # the skin is not equally tight everywhere
    relief = hide.depth * hide.cell_px * swell * blur(dome, 0.09 * hide.cell_px)
    relief += 0.10 * grain(rng, height, width, 4, 0.9) + 0.35 * noise(rng, height, width, 90, 90)
    dye = 1 + 0.05 * grain(rng, height, width, 64, 0.6)
    shadow = np.exp(-0.7 * (1 - dome) * swell)
    return as_field(hide.tone * dye * shadow * shade(relief, swayed(hide.light, rng), hide.gloss))


def leather(rng: np.random.Generator) -> Surface:
    """Draw a kind of leather: a skin of small domes between creases, a little glossy."""
    hide = _Hide(
        tone=rng.uniform(0.35, 0.65),
        cell_px=rng.uniform(6, 14),
        stretch=rng.uniform(1.0, 1.7),
        angle=rng.uniform(0, math.pi),
        depth=rng.uniform(0.15, 0.3),
        gloss=rng.uniform(0.1, 0.5),
        light=steady_light(rng),
    )
    return Surface(partial(_tanned_hide, hide), steady_camera(rng))


@dataclass(frozen=True)
class _Moulding:
    tone: float
    cell_px: float
    stretch: float
    angle: float
    groove: float  # width of the creases as a share of the cell
    depth: float  # of the creases, as a share of the cell; below 0 they stand out as veins
    evenness: float  # how much less neighbours differ in height
    finish: Finish


def _moulded_skin(moulding: _Moulding, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    cell, border_px = crooked_cells(rng, height, width, moulding.cell_px, 0.3, moulding.stretch, moulding.angle)
    plateau = 1 - np.exp(-((border_px / (moulding.groove * moulding.cell_px)) ** 1.5))
    level = 1 + (1 - moulding.evenness) * rng.standard_normal(4096, dtype=np.float32)[cell % 4096]
    relief = moulding.depth * moulding.cell_px * blur(plateau * level, 0.06 * moulding.cell_px + 0.3)
    relief += 0.05 * grain(rng, height, width, 4, 0.9)
    tone = moulding.tone * (1 + 0.03 * grain(rng, height, width, 64, 0.6))
    return lit(tone, relief, moulding.finish, rng)


def moulded_grain(rng: np.random.Generator) -> Surface:
    """Draw a kind of artificial leather or grained plastic: cells between grooves or veins, matt or glossy."""
    cell_px = log_uniform(rng, 5, 40)
    moulding = _Moulding(
        tone=log_uniform(rng, 0.14, 0.75),
        cell_px=cell_px,
        stretch=log_uniform(rng, 1, 3),
        angle=rng.uniform(0, math.pi),
        groove=rng.uniform(0.08, 0.35),
        depth=log_uniform(rng, 0.06, 0.22) * (1 if rng.random() < 0.75 else -1),
        evenness=rng.uniform(0.5, 1),
        finish=any_finish(rng, hollow_px=0.3 * cell_px, glossy=0.7),
    )
    return Surface(partial(_moulded_skin, moulding), any_camera(rng))


# Wood -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Timber:
    tone: float
    angle: float  # of the grain
    ring_px: float  # mean distance of the rings
    contrast: float  # between early and late wood
    pith: float  # distance of the middle of the trunk, in rings
    sway_px: float  # how far the rings leave a straight line
    pores: float  # strength of the dark vessels
    pore_px: float  # length of the vessels
    rays: float  # contrast of the finest fibres
    knots: float  # mean number of knots in an area of 256 x 256 pixels
    plank_px: float  # width of the planks; 0 is one board
    gloss: float


def _knotted(
    timber: _Timber, rng: np.random.Generator, along: FloatArray, across: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return how far knots push the rings aside, in rings, and how dark they are."""
    push, dark = np.zeros_like(along), np.zeros_like(along)
    for _ in range(rng.poisson(timber.knots * along.size / 256**2)):
        size_px = log_uniform(rng, 5, 16)
        middle = [rng.uniform(float(axis.min()), float(axis.max())) for axis in (along, across)]
        radius = np.hypot((along - middle[0]) / 1.7, across - middle[1]) / size_px
        push += np.sign(across - middle[1]) * 2.5 * size_px / timber.ring_px * np.exp(-(radius**1.2))
        dark += np.exp(-(radius**4)) * (0.75 + 0.25 * np.sin(6 * radius))
    return push, np.minimum(dark, 1)


def _sawn_board(timber: _Timber, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    along, across = turned_grid(height, width, timber.angle + rng.normal(0, 0.02), (height / 2, width / 2))
    board, joint = np.zeros(along.shape, np.int32), np.ones_like(along)
    if timber.plank_px:
        plank = across / timber.plank_px + rng.uniform(0, 1)
        board = np.floor(plank).astype(np.int32) % 64
        joint = smoothstep(np.abs(plank - np.round(plank)) * timber.plank_px - 0.2) * 0.8 + 0.2
    cut = rng.uniform(-1, 1, (3, 64)).astype(np.float32)
    sway = timber.sway_px * coloured_noise(rng, height, width, Spectrum(1.6, 12, 400, 12, timber.angle))
    push, dark = _knotted(timber, rng, along, across)
    # A cut beside the middle of a trunk meets the rings in long parabolas.
    depth = across + sway + 200 * cut[0][board]
    cone = np.hypot(depth / timber.ring_px, timber.pith) + 0.0012 * along * cut[1][board] + push
    ring = cone + 0.15 * noise(rng, height, width, 300, 12, timber.angle)
    phase = ring - np.floor(ring)
    late = smoothstep(phase / 0.85) * smoothstep((1 - phase) / 0.12)  # rises slowly through a year, then ends
    year = 1 + 0.3 * rng.standard_normal(997, dtype=np.float32)[np.floor(ring).astype(np.int32) % 997]
    fibres = noise(rng, height, width, 60, 1.0, timber.angle) + 0.6 * noise(rng, height, width, 200, 3, timber.angle)
    vessels = smoothstep((noise(rng, height, width, timber.pore_px, 1.3, timber.angle) - 1.5) * 2) * (1 - 0.6 * late)
    wood = (1 - timber.contrast * late * year) * (1 + timber.rays * fibres) * (1 - timber.pores * vessels)
    wood *= (1 - 0.55 * dark) * (1 + 0.12 * cut[2][board] * (timber.plank_px > 0))
    sheen = 1 + timber.gloss * noise(rng, height, width, 150, 20, timber.angle)
    return rolled_off(timber.tone * np.maximum(wood, 0.05) * sheen * joint)


def wood(rng: np.random.Generator) -> Surface:
    """Draw a kind of wood: rings, vessels, fibres and rays; plain or knotty, one board or planks."""
    timber = _Timber(
        tone=rng.uniform(0.3, 0.8),
        angle=float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.05),
        ring_px=log_uniform(rng, 3, 40),
        contrast=log_uniform(rng, 0.08, 0.5),
        pith=log_uniform(rng, 0.5, 12),
        sway_px=log_uniform(rng, 1, 14),
        pores=log_uniform(rng, 0.02, 0.5),
        pore_px=log_uniform(rng, 8, 60),
        rays=log_uniform(rng, 0.02, 0.12),
        knots=rng.uniform(0.3, 2) if rng.random() < 0.3 else 0,
        plank_px=log_uniform(rng, 30, 150) if rng.random() < 0.25 else 0,
        gloss=rng.uniform(0, 0.06),
    )
    return Surface(partial(_sawn_board, timber), any_camera(rng))


# Stone ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Granite:
    tones: tuple[float, ...]  # of the minerals
    shares: tuple[float, ...]  # how frequent each is; adds up to 1
    crystal_px: float
    fine_px: float  # size of the small crystals between the large ones
    ground: float  # share of the surface that the small ones cover
    stretch: float
    angle: float
    polish: float  # 1 is polished, 0 is rough
    finish: Finish


def _cut_granite(granite: _Granite, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    minerals = rng.choice(np.array(granite.tones, np.float32), 4096, p=granite.shares)
    level = minerals * rng.normal(1, 0.08, 4096).astype(np.float32)
    coarse, border_px = crooked_cells(rng, height, width, granite.crystal_px, 0.15, granite.stretch, granite.angle)
    fine, _ = crooked_cells(rng, height, width, granite.fine_px, 0.15, granite.stretch, granite.angle)
    in_ground = rng.random(4096) < granite.ground
    tone = np.where(in_ground[coarse % 4096], level[fine % 4096], level[coarse % 4096])
    tone = blur(tone, 0.5) * (1 + 0.07 * grain(rng, height, width, 6, 0.9))
    relief = (1 - granite.polish) * (0.8 * grain(rng, height, width, 10, 0.8) + 0.3 * np.minimum(border_px, 2))
    return lit(np.maximum(tone, 0.02), relief, granite.finish, rng)


def granite(rng: np.random.Generator) -> Surface:
    """Draw a kind of granite, terrazzo or chipboard: grains of a few tones, large ones among small ones."""
    n_minerals = int(rng.integers(2, 6))
    crystal_px = log_uniform(rng, 4, 40)
    stone = _Granite(
        tones=tuple(rng.uniform(0.05, 0.85, n_minerals)),
        shares=tuple(rng.dirichlet(np.ones(n_minerals) * 1.5)),
        crystal_px=crystal_px,
        fine_px=max(crystal_px * rng.uniform(0.2, 0.5), 2),
        ground=rng.uniform(0, 0.9),
        stretch=log_uniform(rng, 1, 2.5),
        angle=rng.uniform(0, math.pi),
        polish=float(rng.choice([0, 0.5, 1, 1])),
        finish=any_finish(rng, hollow_px=4, glossy=0.4),
    )
    return Surface(partial(_cut_granite, stone), any_camera(rng))


@dataclass(frozen=True)
class _Marble:
    tone: float
    clouds: Spectrum
    cloudiness: float
    fold_px: float  # how far the layers are folded
    veins: tuple[float, ...]  # darkness of each set of veins; below 0 brighter
    vein_px: float  # distance of the veins
    sharpness: float  # how narrow they are
    angle: float
    stretch: float


def _cut_marble(marble: _Marble, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    stone = 1 + marble.cloudiness * coloured_noise(rng, height, width, marble.clouds)
    rows, columns = np.indices((height, width), np.float32)
    folds = [
        marble.fold_px * (noise(rng, height, width, 80, 80) + 0.35 * noise(rng, height, width, 24, 24))
        for _ in range(2)
    ]
    for size, dark in enumerate(marble.veins):
        vein_px = marble.vein_px / 1.7**size
        layers = coloured_noise(rng, height, width, Spectrum(1.2, vein_px, 6 * vein_px, marble.stretch, marble.angle))
        bent = np.abs(sampled(layers, columns + folds[0], rows + folds[1]))
        patchy = smoothstep(0.5 + 0.6 * noise(rng, height, width, 80, 80))
        stone -= dark * patchy * np.exp(-bent * marble.sharpness * (1 + size))
    return rolled_off(marble.tone * np.maximum(stone, 0.05))


def marble(rng: np.random.Generator) -> Surface:
    """Draw a kind of marble or artificial stone: clouds and folded veins, dark or bright."""
    stone = _Marble(
        tone=log_uniform(rng, 0.15, 0.85),
        clouds=Spectrum(rng.uniform(1.2, 2), 3, log_uniform(rng, 40, 250), log_uniform(rng, 1, 3), rng.uniform(0, 3)),
        cloudiness=log_uniform(rng, 0.02, 0.15),
        fold_px=log_uniform(rng, 2, 25),
        veins=tuple(rng.uniform(0.1, 0.6, int(rng.integers(1, 4))) * (1 if rng.random() < 0.7 else -1)),
        vein_px=log_uniform(rng, 15, 80),
        sharpness=log_uniform(rng, 3, 25),
        angle=rng.uniform(0, math.pi),
        stretch=log_uniform(rng, 1, 5),
    )
    return Surface(partial(_cut_marble, stone), any_camera(rng))


# Concrete, foam, cork -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Concrete:
    tone: float
    clouds: float
    coarse_px: float
    roughness_px: float
    pores: float  # share of the surface
    pore_px: float  # size of the largest pores
    aggregate: float  # contrast of the stones that show
    finish: Finish


def _cast_slab(concrete: _Concrete, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    pores = round_pores(rng, height, width, concrete.pores, concrete.pore_px)
    relief = concrete.roughness_px * grain(rng, height, width, concrete.coarse_px, 0.8) - 2.5 * blur(pores, 0.6)
    stone, border_px = crooked_cells(rng, height, width, 2 * concrete.coarse_px, 0.15)
    shown = rng.random(4096) < 0.4
    stones = np.where(shown[stone % 4096], rng.standard_normal(4096, dtype=np.float32)[stone % 4096], 0)
    tone = 1 + concrete.clouds * coloured_noise(rng, height, width, Spectrum(1.3, 3, 200))
    tone += concrete.aggregate * blur(stones * (border_px > 1.5), 0.7) + 0.04 * grain(rng, height, width, 3, 0.9)
    return lit(np.maximum(concrete.tone * tone, 0.02) * (1 - 0.55 * pores), relief, concrete.finish, rng)


def concrete(rng: np.random.Generator) -> Surface:
    """Draw a kind of concrete, plaster or sintered stone: clouds, sand, pores, sometimes stones that show."""
    slab = _Concrete(
        tone=rng.uniform(0.25, 0.8),
        clouds=log_uniform(rng, 0.02, 0.14),
        coarse_px=log_uniform(rng, 4, 30),
        roughness_px=log_uniform(rng, 0.05, 0.7),
        pores=log_uniform(rng, 0.001, 0.06),
        pore_px=log_uniform(rng, 3, 14),
        aggregate=log_uniform(rng, 0.02, 0.3) if rng.random() < 0.5 else 0,
        finish=any_finish(rng, hollow_px=4, glossy=0.1),
    )
    return Surface(partial(_cast_slab, slab), any_camera(rng))


@dataclass(frozen=True)
class _Foam:
    tone: float
    bubble_px: float
    sizes: int  # of bubbles: in the walls between large ones lie small ones
    depth: float  # of a bubble as a share of its width
    open: float  # how dark the bottom of a bubble is
    stretch: float
    angle: float
    finish: Finish


def _foamed_block(foam: _Foam, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    relief, dark = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    for size in range(foam.sizes):
        bubble_px = foam.bubble_px / 2.2**size
        bubble, border_px = crooked_cells(rng, height, width, bubble_px, 0.35, foam.stretch, foam.angle)
        depth = rng.uniform(0.2, 1, 4096).astype(np.float32)[bubble % 4096]
        bowl = np.minimum(border_px / (0.5 * bubble_px), 1) ** 0.7 * depth
        relief -= foam.depth * bubble_px * bowl
        dark *= 1 - foam.open * bowl**2
    relief = blur(relief, 0.6) + 0.15 * grain(rng, height, width, 3, 0.9)
    return lit(foam.tone * dark, relief, foam.finish, rng)


def foam(rng: np.random.Generator) -> Surface:
    """Draw a kind of foam, sponge, bread or pumice: bubbles of one or several sizes behind thin walls."""
    bubble_px = log_uniform(rng, 6, 36)
    block = _Foam(
        tone=rng.uniform(0.3, 0.9),
        bubble_px=bubble_px,
        sizes=int(rng.integers(1, 4)),
        depth=rng.uniform(0.08, 0.4),
        open=rng.uniform(0.05, 0.8),
        stretch=log_uniform(rng, 1, 1.8),
        angle=rng.uniform(0, math.pi),
        finish=any_finish(rng, hollow_px=0.4 * bubble_px, glossy=0.3),
    )
    return Surface(partial(_foamed_block, block), any_camera(rng))


@dataclass(frozen=True)
class _Board:
    tone: float
    chip_px: float
    stretch: float
    angle: float
    contrast: float  # between chips
    gaps: float  # darkness of the borders of the chips
    flecks: float  # share of chips that are bark: nearly black
    finish: Finish


def _pressed_board(board: _Board, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    chip, border_px = crooked_cells(rng, height, width, board.chip_px, 0.18, board.stretch, board.angle)
    level = 1 + board.contrast * rng.standard_normal(4096, dtype=np.float32)
    level[rng.random(4096) < board.flecks] *= 0.35
    gap = np.exp(-border_px / (0.08 * board.chip_px + 0.5))
    tone = blur(level[chip % 4096], 0.7) * (1 - board.gaps * gap) * (1 + 0.09 * grain(rng, height, width, 8, 0.9))
    relief = 0.6 * (1 - gap) + 0.3 * grain(rng, height, width, 6, 0.8)
    return lit(np.maximum(board.tone * tone, 0.02), relief, board.finish, rng)


def pressed_board(rng: np.random.Generator) -> Surface:
    """Draw a kind of cork, chipboard or rubber granulate: chips pressed together, some nearly black."""
    board = _Board(
        tone=log_uniform(rng, 0.12, 0.7),
        chip_px=log_uniform(rng, 6, 30),
        stretch=log_uniform(rng, 1, 4),
        angle=rng.uniform(0, math.pi),
        contrast=log_uniform(rng, 0.05, 0.25),
        gaps=rng.uniform(0.1, 0.7),
        flecks=rng.uniform(0, 0.12),
        finish=any_finish(rng, hollow_px=4, glossy=0.1),
    )
    return Surface(partial(_pressed_board, board), any_camera(rng))


# Paper ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Paper:
    tone: float
    formation: Spectrum  # clouds of dense and thin places
    cloudiness: float
    tooth_px: float  # roughness
    fibres: float  # contrast of fibres that show; 0 is coated
    fibre_px: float  # their length
    flecks: float  # share of dark specks of recycled paper
    flutes: float  # contrast of the waves of corrugated board below
    flute_px: float
    angle: float
    finish: Finish


def _made_paper(paper: _Paper, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    sheet = 1 + paper.cloudiness * coloured_noise(rng, height, width, paper.formation)
    if paper.fibres:
        n_fibres = int(0.25 * height * width / paper.fibre_px)
        sheet += paper.fibres * scattered_fibres(rng, height, width, n_fibres, paper.fibre_px, 0.25, paper.angle, 1.0)
    if paper.flecks:
        sheet *= 1 - 0.6 * round_pores(rng, height, width, paper.flecks, 3)
    if paper.flutes:
        along, _ = turned_grid(height, width, paper.angle + rng.normal(0, 0.01), (height / 2, width / 2))
        bent = along + 0.6 * noise(rng, height, width, 80, 80)
        sheet += paper.flutes * np.sin(math.tau * (bent / paper.flute_px + rng.random()))
    relief = paper.tooth_px * grain(rng, height, width, 5, 0.85)
    return lit(np.maximum(paper.tone * sheet, 0.02), relief, paper.finish, rng)


def paper(rng: np.random.Generator) -> Surface:
    """Draw a kind of paper or board: smooth or toothy, cloudy, with fibres, flecks or flutes."""
    sheet = _Paper(
        tone=rng.uniform(0.35, 0.85),
        formation=Spectrum(rng.uniform(0.5, 1.2), 3, log_uniform(rng, 8, 40)),
        cloudiness=log_uniform(rng, 0.008, 0.07),
        tooth_px=log_uniform(rng, 0.03, 0.35),
        fibres=log_uniform(rng, 0.02, 0.2) if rng.random() < 0.6 else 0,
        fibre_px=log_uniform(rng, 8, 40),
        flecks=log_uniform(rng, 0.001, 0.01) if rng.random() < 0.3 else 0,
        flutes=log_uniform(rng, 0.01, 0.08) if rng.random() < 0.25 else 0,
        flute_px=log_uniform(rng, 8, 30),
        angle=float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.05),
        finish=any_finish(rng, hollow_px=4, glossy=0.1),
    )
    return Surface(partial(_made_paper, sheet), any_camera(rng))
