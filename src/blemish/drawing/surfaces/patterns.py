"""What repeats: perforated and embossed sheet, tiles, meshes, ribs, honeycombs, wafers, boards, screens of print."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
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
    noise,
    sampled,
    smoothstep,
    turned_grid,
)
from blemish.drawing.surfaces.kind import Finish, Surface, any_camera, any_finish, lit, rolled_off
from blemish.drawing.surfaces.lattice import Cells, Lattice, any_lattice, unit_cells
from blemish.drawing.surfaces.shapes import Shape, any_shape, distance_to_shape
from blemish.results import FloatArray

# Sheet with holes or bosses -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sheet:
    tone: float
    lattice: Lattice
    shape: Shape
    radius_px: float  # of a hole or boss
    checkered: bool  # every other one is turned by a right angle, as on tread plate
    brushing: float  # contrast of the strokes of the bare sheet
    roughness_px: float
    finish: Finish


def _drawn_shapes(sheet: _Sheet, rng: np.random.Generator, height: int, width: int) -> tuple[FloatArray, Cells]:
    """Return the signed distance of each pixel to the outline in its cell."""
    cell = unit_cells(sheet.lattice, rng, height, width)
    turned = ((cell.row + cell.column) % 2 == 1) & sheet.checkered
    x, y = np.where(turned, cell.y, cell.x), np.where(turned, -cell.x, cell.y)
    return distance_to_shape(sheet.shape, x, y, sheet.radius_px), cell


def _bare_sheet(sheet: _Sheet, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    strokes = noise(rng, height, width, 150, 1.2, sheet.lattice.angle)
    return as_field(sheet.tone * (1 + sheet.brushing * strokes + 0.03 * grain(rng, height, width, 60, 0.6)))


def _perforated_sheet(
    sheet: _Sheet, behind: float, rim_px: float, rng: np.random.Generator, height: int, width: int
) -> FloatArray:
    outline, _ = _drawn_shapes(sheet, rng, height, width)
    relief = -2 * rim_px * smoothstep(0.5 - outline / (2 * rim_px))  # punching draws the edge down
    relief += sheet.roughness_px * grain(rng, height, width, 4, 0.8)
    metal = lit(_bare_sheet(sheet, rng, height, width), relief, sheet.finish, rng)
    hole = np.clip(0.5 - outline, 0, 1)
    azimuth = sheet.finish.light.azimuth
    shift = np.array([[1, 0, -2 * math.cos(azimuth)], [0, 1, -2 * math.sin(azimuth)]])
    reached = as_field(cv2.warpAffine(hole, shift, (width, height), borderMode=cv2.BORDER_REFLECT))
    below = behind * (0.5 + 0.5 * reached) * (1 + 0.1 * grain(rng, height, width, 12, 0.8))
    return as_field(metal + (below - metal) * hole)


def _any_sheet(rng: np.random.Generator, kinds: tuple[str, ...], share: tuple[float, float]) -> _Sheet:
    """Draw a sheet; holes or bosses take the given range of shares of the pitch."""
    lattice = any_lattice(rng, 9, 70)
    shape = any_shape(rng, kinds)
    return _Sheet(
        tone=rng.uniform(0.15, 0.75),
        lattice=lattice,
        shape=shape,
        radius_px=0.5 * min(lattice.pitch_px) * rng.uniform(*share),
        checkered=bool(shape.slimness < 0.6 and rng.random() < 0.6),
        brushing=log_uniform(rng, 0.01, 0.12),
        roughness_px=log_uniform(rng, 0.02, 0.3),
        finish=any_finish(rng, hollow_px=4),
    )


def perforated_sheet(rng: np.random.Generator) -> Surface:
    """Draw a kind of perforated sheet: round, square, slotted or other holes, dark or lit from behind."""
    sheet = _any_sheet(rng, ("disc", "disc", "box", "slot", "hexagon", "cross"), (0.4, 0.85))
    behind = float(rng.choice([0.02, 0.06, 0.2, 0.85]))
    return Surface(partial(_perforated_sheet, sheet, behind, log_uniform(rng, 0.5, 2.5)), any_camera(rng))


def _embossed_sheet(
    sheet: _Sheet, boss_px: float, flank_px: float, worn: float, rng: np.random.Generator, height: int, width: int
) -> FloatArray:
    outline, cell = _drawn_shapes(sheet, rng, height, width)
    top = smoothstep(0.5 - outline / flank_px)
    level = 1 + 0.06 * rng.standard_normal(4096, dtype=np.float32)[cell.number]
    relief = boss_px * blur(top * level, 0.7) + sheet.roughness_px * grain(rng, height, width, 5, 0.8)
    tone = _bare_sheet(sheet, rng, height, width) * (1 + worn * top)  # feet and tools polish the tops
    return lit(tone, relief, sheet.finish, rng)


def embossed_sheet(rng: np.random.Generator) -> Surface:
    """Draw a kind of embossed sheet: tread plate, knobs, dimples, knurls, golf balls."""
    sheet = _any_sheet(rng, ("disc", "box", "slot", "lozenge", "lens", "lens", "hexagon", "cross"), (0.6, 1.0))
    flank_px = sheet.radius_px * rng.uniform(0.2, 1.2)
    boss_px = flank_px * log_uniform(rng, 0.12, 0.8) * float(rng.choice([-1, 1, 1]))
    return Surface(partial(_embossed_sheet, sheet, boss_px, flank_px, rng.uniform(-0.2, 0.4)), any_camera(rng))


# Tiles ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tiling:
    tone: float
    joint: float  # brightness of the joints
    lattice: Lattice
    joint_px: float
    bevel_px: float
    contrast: float  # between tiles
    glaze: Spectrum  # clouds on a tile
    cloudiness: float
    roughness_px: float
    askew_px: float  # how far single tiles lean, from one side to the other
    finish: Finish


def _laid_tiles(tiling: _Tiling, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    cell = unit_cells(tiling.lattice, rng, height, width)
    rim = cell.border_px - tiling.joint_px / 2 + 0.4 * noise(rng, height, width, 10, 10)
    tile = smoothstep(rim + 0.5)
    dye = 1 + tiling.contrast * rng.standard_normal(4096, dtype=np.float32)[cell.number]
    glaze = 1 + tiling.cloudiness * coloured_noise(rng, height, width, tiling.glaze)
    joint = tiling.joint * (1 + 0.12 * grain(rng, height, width, 5, 0.9))
    tone = joint + (tiling.tone * dye * glaze - joint) * tile
    lean = tiling.askew_px * rng.standard_normal((2, 4096), dtype=np.float32)[:, cell.number]
    relief = tiling.bevel_px * smoothstep(rim / tiling.bevel_px)
    relief += tile * (lean[0] * cell.x / tiling.lattice.pitch_px[0] + lean[1] * cell.y / tiling.lattice.pitch_px[1])
    relief += tiling.roughness_px * grain(rng, height, width, 8, 0.8)
    return lit(np.maximum(tone, 0.02), relief, tiling.finish, rng)


def tiles(rng: np.random.Generator) -> Surface:
    """Draw a kind of tiles, bricks, paving or mosaic: straight or in bond, glazed or rough, with joints."""
    lattice = any_lattice(rng, 14, 110, staggers=(0, 0, 0.5, 0.25))
    tiling = _Tiling(
        tone=rng.uniform(0.15, 0.8),
        joint=rng.uniform(0.08, 0.75),
        lattice=Lattice((lattice.pitch_px[0], lattice.pitch_px[0] * float(rng.choice([1, 1, 0.5, 0.33]))),
                        lattice.stagger, lattice.angle, 0, 0, lattice.aligned),
        joint_px=log_uniform(rng, 1.2, 6),
        bevel_px=log_uniform(rng, 0.6, 5),
        contrast=log_uniform(rng, 0.01, 0.25),
        glaze=Spectrum(rng.uniform(0.8, 1.8), 2, log_uniform(rng, 10, 100), log_uniform(rng, 1, 4), rng.uniform(0, 3)),
        cloudiness=log_uniform(rng, 0.01, 0.12),
        roughness_px=log_uniform(rng, 0.02, 0.5),
        askew_px=log_uniform(rng, 0.05, 2),
        finish=any_finish(rng, hollow_px=4),
    )  # fmt: skip
    return Surface(partial(_laid_tiles, tiling), any_camera(rng))


# Meshes and honeycombs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mesh:
    tone: float
    behind: float  # brightness of what is seen through the mesh
    lattice: Lattice
    wire: float  # thickness as a share of the pitch
    crimped: bool  # wires go over and under each other; else they are welded or cast in one piece
    flat: bool  # bars instead of round wires
    finish: Finish


def _wire_mesh(mesh: _Mesh, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    cell = unit_cells(mesh.lattice, rng, height, width)
    radius_px = 0.5 * mesh.wire * min(mesh.lattice.pitch_px)
    wave = np.where((cell.row + cell.column) % 2 == 0, 1, -1)
    heights = []
    for offset, along, pitch_px, sign in (
        (cell.x, cell.y, mesh.lattice.pitch_px[1], 1),
        (cell.y, cell.x, mesh.lattice.pitch_px[0], -1),
    ):
        share = np.maximum(1 - (offset / radius_px) ** 2, 0)
        profile = np.minimum(share * 3, 1) * 0.7 if mesh.flat else np.sqrt(share)
        over = sign * wave * np.cos(math.pi * along / pitch_px) if mesh.crimped else 0.0
        heights.append(np.where(share > 0, radius_px * (profile + 0.8 * over), -3 * radius_px))
    relief = np.maximum(*heights)
    there = np.clip(radius_px + 0.5 - np.minimum(np.abs(cell.x), np.abs(cell.y)), 0, 1)
    dull = 1 + 0.06 * grain(rng, height, width, 12, 0.8)
    metal = lit(mesh.tone * dull, np.maximum(relief, -radius_px), mesh.finish, rng)
    below = mesh.behind * (1 + 0.1 * grain(rng, height, width, 40, 0.6))
    return as_field(below + (metal - below) * there)


def wire_mesh(rng: np.random.Generator) -> Surface:
    """Draw a kind of wire mesh or grating: woven, welded or cast, fine or coarse, before something dark or bright."""
    lattice = any_lattice(rng, 7, 60, staggers=(0,))
    mesh = _Mesh(
        tone=rng.uniform(0.25, 0.75),
        behind=float(rng.choice([0.03, 0.1, 0.3, 0.8])),
        lattice=Lattice(lattice.pitch_px, 0, lattice.angle, 0.3 * lattice.jitter, 0.0, lattice.aligned),
        wire=rng.uniform(0.15, 0.55),
        crimped=bool(rng.random() < 0.6),
        flat=bool(rng.random() < 0.3),
        finish=any_finish(rng, hollow_px=5, glossy=0.7),
    )
    return Surface(partial(_wire_mesh, mesh), any_camera(rng))


@dataclass(frozen=True)
class _Comb:
    wall: float  # brightness of the walls
    floor: float  # brightness of the bottom of a cell
    cell_px: float
    wall_px: float
    depth: float  # how deep the cells are, as a share of their width
    contrast: float  # between cells
    angle: float
    skew: float  # how far the cells are squeezed
    drift: float  # how irregular, as a share of a cell
    finish: Finish


def _honeycomb(comb: _Comb, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    corner = (rng.uniform(-40, -30) * comb.cell_px, rng.uniform(-40, -30) * comb.cell_px)
    along, across = turned_grid(height, width, comb.angle + rng.normal(0, 0.01), corner)
    bent = [comb.drift * comb.cell_px * noise(rng, height, width, 3 * comb.cell_px, 3 * comb.cell_px) for _ in range(2)]
    u, v = (along + bent[0]) / comb.cell_px, (across + bent[1]) * comb.skew / comb.cell_px
    tall = math.sqrt(3)
    # Two oblong lattices, one shifted by half a cell; the nearer middle of the two is that of the hexagon.
    even = [(u + 0.5) % 1 - 0.5, (v + tall / 2) % tall - tall / 2]
    odd = [u % 1 - 0.5, v % tall - tall / 2]
    nearer = np.hypot(*even) < np.hypot(*odd)
    x, y = (np.where(nearer, one, other) for one, other in zip(even, odd, strict=True))
    reach = np.maximum(np.abs(x), np.abs(x) / 2 + np.abs(y) * tall / 2)
    border_px = (0.5 - reach) * comb.cell_px
    number = (np.round((u - x) * 2) * 31 + np.round((v - y) * 2 / tall) * 17).astype(np.int32) % 4096
    inside = smoothstep((border_px - comb.wall_px / 2) / 1.2 + 0.5)
    dye = 1 + comb.contrast * rng.standard_normal(4096, dtype=np.float32)[number]
    tone = comb.wall * (1 + 0.05 * grain(rng, height, width, 8, 0.8))
    tone = tone + (comb.floor * dye * (1 + 0.06 * grain(rng, height, width, 12, 0.8)) - tone) * inside
    relief = -comb.depth * comb.cell_px * smoothstep((border_px - comb.wall_px / 2) / (0.15 * comb.cell_px + 1))
    return lit(np.maximum(tone, 0.01), relief, comb.finish, rng)


def honeycomb(rng: np.random.Generator) -> Surface:
    """Draw a kind of honeycomb: cores, catalysts, filters, radiators, nets with hexagonal cells."""
    cell_px = log_uniform(rng, 8, 60)
    comb = _Comb(
        wall=rng.uniform(0.3, 0.85),
        floor=log_uniform(rng, 0.03, 0.7),
        cell_px=cell_px,
        wall_px=max(cell_px * rng.uniform(0.06, 0.3), 1),
        depth=log_uniform(rng, 0.05, 0.5),
        contrast=log_uniform(rng, 0.01, 0.2),
        angle=rng.uniform(0, math.pi),
        skew=log_uniform(rng, 0.75, 1.3),
        drift=log_uniform(rng, 0.005, 0.12),
        finish=any_finish(rng, hollow_px=0.25 * cell_px),
    )
    return Surface(partial(_honeycomb, comb), any_camera(rng))


# Ribs -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ribs:
    tone: float
    profile: FloatArray = field(repr=False, compare=False)  # (256,) height over one repeat, in pixels
    tint: FloatArray = field(repr=False, compare=False)  # (256,) brightness over one repeat
    pitch_px: float
    angle: float
    waviness_px: float  # how far a rib leaves a straight line
    uneven: float  # contrast between ribs
    streaks: float  # contrast along the ribs
    roughness_px: float
    aligned: bool
    finish: Finish


def _ribbed_sheet(ribs: _Ribs, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    start = rng.normal(0, 0.02) if ribs.aligned else rng.random()
    _, across = turned_grid(height, width, ribs.angle + rng.normal(0, 0.006), (height / 2, width / 2))
    bent = across + ribs.waviness_px * noise(rng, height, width, 90, 60, ribs.angle)
    at = bent / ribs.pitch_px + start + 999
    number = np.floor(at)
    place = (at - number) * 256
    table = np.pad(np.stack([ribs.profile, ribs.tint]), ((0, 0), (2, 2)), mode="wrap")
    height_px, tint = (sampled(row[None], place + 1.5, np.zeros_like(place)) for row in table)
    level = 1 + ribs.uneven * rng.standard_normal(4096, dtype=np.float32)[number.astype(np.int32) % 4096]
    streaks = 1 + ribs.streaks * noise(rng, height, width, 250, 1.3, ribs.angle)
    relief = height_px + ribs.roughness_px * grain(rng, height, width, 5, 0.8)
    return lit(np.maximum(ribs.tone * tint * level * streaks, 0.02), relief, ribs.finish, rng)


def _any_profile(rng: np.random.Generator, pitch_px: float) -> FloatArray:
    """Draw the height of a rib over one repeat: rods, waves, saw teeth, steps, or several ribs that alternate."""
    at = np.linspace(0, 1, 256, endpoint=False, dtype=np.float32)
    way = int(rng.integers(5))
    if way == 0:
        profile = np.sqrt(np.maximum(1 - (2 * at - 1) ** 2, 0))
    elif way == 1:
        profile = 0.5 + 0.5 * np.cos(math.tau * at)
    elif way == 2:
        turn = rng.uniform(0.1, 0.9)
        profile = np.where(at < turn, at / turn, (1 - at) / (1 - turn))
    elif way == 3:
        width, flank = rng.uniform(0.2, 0.6), rng.uniform(0.02, 0.15)
        profile = smoothstep((width / 2 - np.abs(at - 0.5)) / flank + 0.5)
    else:
        profile = sum(rng.uniform(0.3, 1) * np.cos(math.tau * (n * at + rng.random())) / n for n in range(1, 5)) / 2
    return as_field(profile * pitch_px * log_uniform(rng, 0.04, 0.4))


def ribbed(rng: np.random.Generator) -> Surface:
    """Draw a kind of ribbed, corrugated or threaded surface: heat sinks, corduroy, belts, rolls of wire, extrusions."""
    pitch_px = log_uniform(rng, 5, 70)
    tint = np.ones(256, np.float32)
    if rng.random() < 0.4:
        first = int(rng.integers(30, 150))
        tint[first : first + int(rng.integers(20, 100))] = rng.uniform(0.4, 1.4)
    ribs = _Ribs(
        tone=rng.uniform(0.15, 0.75),
        profile=_any_profile(rng, pitch_px),
        tint=tint,
        pitch_px=pitch_px,
        angle=float(rng.choice([0, math.pi / 2, math.pi / 4])) + rng.normal(0, 0.08),
        waviness_px=log_uniform(rng, 0.05, 2),
        uneven=log_uniform(rng, 0.005, 0.08),
        streaks=log_uniform(rng, 0.01, 0.1),
        roughness_px=log_uniform(rng, 0.02, 0.3),
        aligned=bool(rng.random() < 0.5),
        finish=any_finish(rng, hollow_px=0.3 * pitch_px, glossy=0.6),
    )
    return Surface(partial(_ribbed_sheet, ribs), any_camera(rng))


# Artwork that repeats -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Repeat:
    artwork: FloatArray = field(repr=False, compare=False)  # (S, S) brightness of one repeat, in 0 to 1
    lattice: Lattice
    tones: tuple[float, float]  # of 0 and of 1 in the artwork
    gap: float  # brightness between repeats
    gap_px: float
    contrast: float  # between repeats
    ground: float  # contrast of the material below
    bleed_px: float  # how far ink runs


def _repeated_artwork(repeat: _Repeat, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    cell = unit_cells(repeat.lattice, rng, height, width)
    size = len(repeat.artwork)
    scale_x, scale_y = (size / pitch_px for pitch_px in repeat.lattice.pitch_px)
    fine = blur(repeat.artwork, max(0.45 * max(scale_x, scale_y) * repeat.bleed_px, 0.3))
    ink = sampled(fine, cell.x * scale_x + size / 2, cell.y * scale_y + size / 2)
    dye = 1 + repeat.contrast * rng.standard_normal(4096, dtype=np.float32)[cell.number]
    tone = repeat.tones[0] + (repeat.tones[1] * dye - repeat.tones[0]) * ink
    between = np.clip(repeat.gap_px / 2 - cell.border_px + 0.5, 0, 1) if repeat.gap_px else 0.0
    tone = tone + (repeat.gap - tone) * between
    return rolled_off(np.maximum(tone, 0.01) * (1 + repeat.ground * grain(rng, height, width, 24, 0.8)))


def _circuit(rng: np.random.Generator) -> FloatArray:
    """Lay out blocks, buses, pads and traces at right angles; (128, 128)."""
    art = np.full((128, 128), int(rng.uniform(0, 80)), np.uint8)
    for _ in range(int(rng.integers(2, 9))):
        (left, top), (wide, tall) = rng.integers(0, 100, 2), rng.integers(8, 70, 2)
        cv2.rectangle(art, (left, top), (left + wide, top + tall), rng.uniform(30, 255), cv2.FILLED)
    for _ in range(int(rng.integers(0, 4))):
        pitch, (left, top), n_lines = int(rng.integers(3, 8)), rng.integers(4, 80, 2), int(rng.integers(3, 12))
        level, long = rng.uniform(0, 255), int(rng.integers(15, 60))
        for line in range(n_lines):
            start, end = (left + line * pitch, top), (left + line * pitch, top + long)
            cv2.line(art, start, end, level, 1 + pitch // 5)
    for _ in range(int(rng.integers(0, 16))):
        x, y = rng.integers(4, 124, 2)
        cv2.rectangle(art, (x - 3, y - 3), (x + 3, y + 3), rng.uniform(150, 255), cv2.FILLED)
    return as_field(art / np.float32(255))


def _ornament(rng: np.random.Generator) -> FloatArray:
    """Draw a motif out of a few shapes, mirrored as printers do; (128, 128)."""
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j].astype(np.float32)
    x, y = (np.abs(columns), np.abs(rows)) if rng.random() < 0.6 else (columns, rows)
    art = np.zeros((128, 128), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        middle, size = rng.uniform(0, 0.6, 2), rng.uniform(0.2, 0.8)
        turned = as_field(x - middle[0]), as_field(y - middle[1])
        inside = distance_to_shape(any_shape(rng, bored=0.4), *turned, size) < 0
        art = np.where(inside, rng.uniform(0, 1), art)
    return as_field(art)


def _dot(rng: np.random.Generator) -> FloatArray:
    """One dot of a screen; (128, 128)."""
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j].astype(np.float32)
    return as_field(
        distance_to_shape(any_shape(rng, ("disc", "box", "lozenge")), columns, rows, rng.uniform(0.4, 1)) < 0
    )


def _any_repeat(rng: np.random.Generator, artwork: FloatArray, smallest_px: float, largest_px: float) -> _Repeat:
    tones = rng.uniform(0.05, 0.85, 2)
    tones[1] = tones[0] + math.copysign(max(abs(tones[1] - tones[0]), 0.2), 0.45 - tones[0])
    return _Repeat(
        artwork=artwork,
        lattice=any_lattice(rng, smallest_px, largest_px),
        tones=(float(tones[0]), float(tones[1])),
        gap=float(tones[0]),
        gap_px=0,
        contrast=log_uniform(rng, 0.003, 0.04),
        ground=log_uniform(rng, 0.01, 0.05),
        bleed_px=log_uniform(rng, 1, 2.5),
    )


def wafer(rng: np.random.Generator) -> Surface:
    """Draw a kind of wafer or panel: the same circuit again and again, with streets between."""
    repeat = replace(
        _any_repeat(rng, _circuit(rng), 24, 130), gap=log_uniform(rng, 0.03, 0.8), gap_px=log_uniform(rng, 1.5, 8)
    )
    lattice = replace(repeat.lattice, stagger=0, jitter=0, tilt=0, angle=rng.normal(0, 0.02))
    return Surface(partial(_repeated_artwork, replace(repeat, lattice=lattice)), any_camera(rng))


def printed_pattern(rng: np.random.Generator) -> Surface:
    """Draw a kind of printed pattern: ornaments on cloth, foil or wallpaper."""
    return Surface(partial(_repeated_artwork, _any_repeat(rng, _ornament(rng), 16, 90)), any_camera(rng))


def dot_screen(rng: np.random.Generator) -> Surface:
    """Draw a kind of screen: halftone, light guides, displays, conductive dots."""
    return Surface(partial(_repeated_artwork, _any_repeat(rng, _dot(rng), 5, 22)), any_camera(rng))


# Solar cells ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SolarCell:
    tone: float
    crystal_px: float
    contrast: float  # between crystals; 0 is one crystal
    finger_px: float  # distance of the thin lines
    bus: float  # distance of the wide lines as a share of the shorter side of the image
    bus_px: float
    silver: float  # brightness of the lines
    upright: bool


def _printed_cell(cell: _SolarCell, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    crystal, _ = crooked_cells(rng, height, width, cell.crystal_px, 0.1)
    level = 1 + cell.contrast * rng.standard_normal(4096, dtype=np.float32)[crystal % 4096]
    silicon = cell.tone * blur(level, 0.6) * (1 + 0.03 * grain(rng, height, width, 30, 0.8))
    across, along = turned_grid(
        height, width, rng.normal(0, 0.004) + math.pi / 2 * cell.upright, (height / 2, width / 2)
    )
    bus_px = cell.bus * min(height, width)
    to_finger = np.abs((along / cell.finger_px) % 1 - 0.5) * cell.finger_px
    to_bus = np.abs(((across + rng.normal(0, 1.0)) / bus_px) % 1 - 0.5) * bus_px
    ragged = 0.25 * noise(rng, height, width, 3, 1)
    lines = np.maximum(smoothstep(0.9 + ragged - to_finger) * 0.8, smoothstep(cell.bus_px / 2 - to_bus + 0.5))
    silver = cell.silver * (1 + 0.08 * grain(rng, height, width, 6, 0.9))
    return rolled_off(np.maximum(silicon + (silver - silicon) * lines, 0.01))


def solar_cell(rng: np.random.Generator) -> Surface:
    """Draw a kind of solar cell: one crystal or many, fine fingers, wide bus bars."""
    cell = _SolarCell(
        tone=log_uniform(rng, 0.1, 0.55),
        crystal_px=log_uniform(rng, 8, 60),
        contrast=log_uniform(rng, 0.02, 0.35) if rng.random() < 0.7 else 0.0,
        finger_px=log_uniform(rng, 5, 20),
        bus=float(rng.choice([0.33, 0.5, 0.66])),
        bus_px=log_uniform(rng, 3, 9),
        silver=rng.uniform(0.6, 0.85),
        upright=bool(rng.integers(2)),
    )
    return Surface(partial(_printed_cell, cell), any_camera(rng))
