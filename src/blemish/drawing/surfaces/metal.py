"""Metal sheet, as mills, belts and tools leave it."""

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
    coloured_noise,
    crooked_cells,
    grain,
    log_uniform,
    noise,
    sampled,
    smoothstep,
    turned_grid,
)
from blemish.drawing.surfaces.kind import (
    Finish,
    Surface,
    any_camera,
    any_finish,
    any_light,
    lit,
    rolled_off,
    steady_camera,
    swayed,
)
from blemish.results import FloatArray

# Brushed sheet --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Brushing:
    tone: float  # mean brightness
    angle: float  # direction of the grain
    length_px: float  # of the longest strokes
    contrast: float  # of the strokes against the mean
    hairlines: float  # strength of the single bright strokes
    glare: float  # strength of the band of reflected light


def _brushed_sheet(brushing: _Brushing, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    angle = brushing.angle + rng.normal(0, 0.01)
    strokes = np.zeros((height, width), np.float32)
    for share, thickness_px, strength in ((1.5, 0.8, 0.9), (1.0, 2.0, 0.45), (4.0, 7.0, 0.15), (0.15, 0.8, 0.6)):
        strokes += strength * noise(rng, height, width, share * brushing.length_px, thickness_px, angle)
    pressure = 1 + 0.15 * grain(rng, height, width, 120, 0.6)  # the belt does not press evenly
    hairlines = np.maximum(noise(rng, height, width, 0.7 * brushing.length_px, 0.9, angle) - 2.0, 0)
    # Grooves spread the light across themselves, so a lamp shows as a band across the grain.
    along, _ = turned_grid(height, width, angle, (height / 2, width / 2))
    reach = math.hypot(height, width) / 2
    band = np.exp(-(((along / reach - rng.normal(0, 0.25)) / 0.55) ** 2))
    clouds = 0.03 * grain(rng, height, width, 90, 0.5)
    metal = 1 + brushing.contrast * pressure * strokes + brushing.hairlines * hairlines + clouds
    return as_field(brushing.tone * metal * (1 + brushing.glare * (band - 0.5)))


def brushed_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of brushed sheet metal: strokes of many lengths in one direction, under a band of light."""
    brushing = _Brushing(
        tone=rng.uniform(0.3, 0.6),
        angle=float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.06),
        length_px=rng.uniform(80, 300),
        contrast=rng.uniform(0.07, 0.16),
        hairlines=rng.uniform(0.05, 0.25),
        glare=rng.uniform(0.1, 0.45),
    )
    return Surface(partial(_brushed_sheet, brushing), steady_camera(rng))


# Rolled sheet ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rolling:
    tone: float  # mean brightness
    angle: float  # direction of rolling
    streaks: tuple[float, ...]  # contrast of streaks of 1, 4 and 16 pixels' width
    mirror: float  # contrast of the blurred surroundings that the sheet reflects
    waviness: Spectrum  # of the reflections
    orange_peel: float  # contrast of the fine grain


def _rolled_sheet(rolling: _Rolling, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    angle = rolling.angle + rng.normal(0, 0.01)
    metal = 1 + rolling.mirror * coloured_noise(rng, height, width, rolling.waviness)
    for width_px, contrast in zip((1, 4, 16), rolling.streaks, strict=True):
        metal += contrast * noise(rng, height, width, 500, width_px, angle)
    metal += rolling.orange_peel * noise(rng, height, width, 2, 2)
    return rolled_off(rolling.tone * np.maximum(metal, 0))


def rolled_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of rolled sheet: nearly even or nearly a mirror, with streaks along the rolling direction."""
    angle = float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.1)
    rolling = _Rolling(
        tone=rng.uniform(0.2, 0.75),
        angle=angle,
        streaks=(log_uniform(rng, 0.01, 0.12), log_uniform(rng, 0.01, 0.1), log_uniform(rng, 0.01, 0.1)),
        mirror=log_uniform(rng, 0.03, 0.25),
        waviness=Spectrum(rng.uniform(1, 2), 30, 300, log_uniform(rng, 1, 12), angle),
        orange_peel=log_uniform(rng, 0.005, 0.08),
    )
    return Surface(partial(_rolled_sheet, rolling), any_camera(rng))


# Rough skins ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Skin:
    tone: float
    mottle: float  # contrast of the clouds
    relief: tuple[Spectrum, Spectrum]  # coarse and fine
    heights_px: tuple[float, float]  # standard deviation of each
    sharpness: float  # 0 keeps hills and valleys alike, above it hills are flattened, below it valleys
    glitter: float  # brightness of the few facets that mirror the lamp
    finish: Finish


def _rough_skin(skin: _Skin, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    relief = np.zeros((height, width), np.float32)
    for spectrum, height_px in zip(skin.relief, skin.heights_px, strict=True):
        hills = coloured_noise(rng, height, width, spectrum)
        relief += height_px * (hills - skin.sharpness * hills**2 / 2)
    tone = skin.tone * (1 + skin.mottle * grain(rng, height, width, 64, 0.6))
    facets = np.maximum(noise(rng, height, width, 1.5, 1.5) - 2.2, 0)
    return rolled_off(lit(tone, relief, skin.finish, rng) + skin.glitter * facets)


def cast_skin(rng: np.random.Generator) -> Surface:
    """Draw a kind of cast skin: coarse and fine grains of sand or shell, hills or pits, dull or with some sheen."""
    coarse_px = log_uniform(rng, 8, 60)
    skin = _Skin(
        tone=log_uniform(rng, 0.15, 0.65),
        mottle=rng.uniform(0.02, 0.12),
        relief=(
            Spectrum(rng.uniform(0.5, 1.5), 4, coarse_px, log_uniform(rng, 1, 1.6), rng.uniform(0, math.pi)),
            Spectrum(rng.uniform(0, 1), 1.5, 8),
        ),
        heights_px=(log_uniform(rng, 0.02, 0.12) * coarse_px, log_uniform(rng, 0.1, 0.6)),
        sharpness=rng.uniform(-0.5, 0.5),
        glitter=0,
        finish=any_finish(rng, hollow_px=coarse_px / 3),
    )
    return Surface(partial(_rough_skin, skin), any_camera(rng))


def blasted_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of shot- or sand-blasted metal: small even craters, some of which glitter."""
    crater_px = log_uniform(rng, 2, 10)
    skin = _Skin(
        tone=log_uniform(rng, 0.25, 0.7),
        mottle=rng.uniform(0.01, 0.06),
        relief=(
            Spectrum(rng.uniform(0, 0.5), 0.7 * crater_px, 2.2 * crater_px),
            Spectrum(rng.uniform(0, 1), 1.5, 3),
        ),
        heights_px=(log_uniform(rng, 0.05, 0.2) * crater_px, log_uniform(rng, 0.02, 0.2)),
        sharpness=rng.uniform(0.2, 0.8),
        glitter=rng.uniform(0, 0.5) if rng.random() < 0.5 else 0,
        finish=any_finish(rng, hollow_px=crater_px, glossy=0.8),
    )
    return Surface(partial(_rough_skin, skin), any_camera(rng))


# Lacquer --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lacquer:
    tone: float
    peel: Spectrum  # waves of the surface
    peel_px: float  # their height
    flakes: float  # contrast of metal flakes in the paint
    lamp: float  # brightness of the lamp's soft reflection
    lamp_size: float  # as a share of the image
    finish: Finish


def _lacquered_sheet(lacquer: _Lacquer, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    relief = lacquer.peel_px * coloured_noise(rng, height, width, lacquer.peel)
    flakes = 1 + lacquer.flakes * grain(rng, height, width, 3, 0.8)
    spot = (height * rng.normal(0.5, 0.05), width * rng.normal(0.5, 0.05))
    towards, across = turned_grid(height, width, lacquer.finish.light.azimuth, spot)
    reach_px = lacquer.lamp_size * math.hypot(height, width)
    # The waves shift what is mirrored, so that the lamp's outline is frayed.
    reflection = np.exp(-((towards + 12 * relief) ** 2 + 0.3 * across**2) / reach_px**2)
    return rolled_off(lit(lacquer.tone * flakes, relief, lacquer.finish, rng) + lacquer.lamp * reflection)


def lacquer(rng: np.random.Generator) -> Surface:
    """Draw a kind of painted or powder-coated sheet: orange peel, a soft lamp in it, sometimes metal flakes."""
    wave_px = log_uniform(rng, 5, 40)
    paint = _Lacquer(
        tone=log_uniform(rng, 0.05, 0.75),
        peel=Spectrum(0.5, 0.6 * wave_px, 2 * wave_px),
        peel_px=log_uniform(rng, 0.004, 0.04) * wave_px,
        flakes=rng.uniform(0.02, 0.25) if rng.random() < 0.4 else 0.005,
        lamp=log_uniform(rng, 0.03, 0.4),
        lamp_size=rng.uniform(0.15, 0.6),
        finish=any_finish(rng, hollow_px=wave_px, glossy=0.9),
    )
    return Surface(partial(_lacquered_sheet, paint), any_camera(rng))


# Machined metal -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cut:
    tone: float
    centre: tuple[float, float]  # row, column of the axis, as shares of the image
    feed_px: float  # distance of the tool marks
    marks: float  # contrast of the regular marks
    chatter: float  # contrast of the irregular ones
    fans: float  # how much brighter the marks are where they mirror the lamp
    n_fans: int  # lamps around
    light: Light


def _rings(rng: np.random.Generator, radius: FloatArray, fine_px: float) -> FloatArray:
    """Return noise that depends on the radius (H, W) alone, of standard deviation about 1; rings ``fine_px`` wide."""
    levels = blur(rng.standard_normal((1, 4096), dtype=np.float32), 1.0) * 1.88  # the blur takes the rest
    return sampled(levels, np.minimum(radius / fine_px, 4095), np.zeros_like(radius))


def _turned_face(cut: _Cut, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    side = min(height, width)
    centre = (height * cut.centre[0] + rng.normal(0, 0.01) * side, width * cut.centre[1] + rng.normal(0, 0.01) * side)
    x, y = turned_grid(height, width, 0, centre)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    marks = cut.marks * np.sin(math.tau * (radius / cut.feed_px + rng.random()))
    marks += cut.chatter * (_rings(rng, radius, 1.0) + 0.7 * _rings(rng, radius, 7.0))
    azimuth = swayed(cut.light, rng).azimuth
    fans = 1 + cut.fans * np.cos(cut.n_fans * (angle - azimuth) + 0.2 * _rings(rng, radius, 20.0))
    dull = 1 + 0.04 * grain(rng, height, width, 40, 0.7)
    return rolled_off(cut.tone * dull * fans * np.maximum(1 + marks, 0))


def turned_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of turned face: rings around an axis inside or outside the image, fans of reflected light."""
    spread = 0.05 if rng.random() < 0.5 else 0.8
    cut = _Cut(
        tone=rng.uniform(0.25, 0.65),
        centre=(rng.normal(0.5, spread), rng.normal(0.5, spread)),
        feed_px=log_uniform(rng, 2.5, 16),
        marks=log_uniform(rng, 0.01, 0.2),
        chatter=log_uniform(rng, 0.02, 0.15),
        fans=rng.uniform(0.1, 0.6),
        n_fans=int(rng.choice([2, 2, 4])),
        light=any_light(rng),
    )
    return Surface(partial(_turned_face, cut), any_camera(rng))


@dataclass(frozen=True)
class _Milling:
    tone: float
    angle: float  # of the feed
    feed_px: float  # distance of the arcs along the feed
    radius_px: float  # of the cutter
    overlap: float  # distance of the passes as a share of the cutter's diameter
    depth: float  # contrast of the arcs
    light: Light


def _milled_face(milling: _Milling, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    corner = (rng.uniform(-9, -3) * milling.radius_px, rng.uniform(-9, -3) * milling.radius_px)
    along, across = turned_grid(height, width, milling.angle + rng.normal(0, 0.005), corner)
    pass_px = 2 * milling.overlap * milling.radius_px
    lane = np.floor(across / pass_px)
    aside = across - (lane + 0.5) * pass_px
    lane_shift = rng.uniform(0, 99, 64)[lane.astype(np.int32) % 64].astype(np.float32)
    arc = along + lane_shift - np.sqrt(np.maximum(milling.radius_px**2 - aside**2, 0))
    wobble = 0.6 * noise(rng, height, width, 60, 60)
    teeth = _rings(rng, np.abs(arc + wobble) % 4000, milling.feed_px / 2)
    feed = np.sin(math.tau * (arc + wobble) / milling.feed_px)
    # Arcs mirror the lamp where they lie across its light: brightness turns along each.
    facing = np.arctan2(aside, milling.radius_px) + milling.angle - swayed(milling.light, rng).azimuth
    sheen = 1 + 0.35 * np.cos(2 * facing) + 0.05 * (-1) ** lane
    fine = 1 + 0.05 * noise(rng, height, width, 1.5, 1.5) + 0.04 * grain(rng, height, width, 60, 0.6)
    return rolled_off(milling.tone * fine * sheen * np.maximum(1 + milling.depth * (0.6 * feed + 0.7 * teeth), 0))


def milled_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of milled face: lanes of arcs that the teeth of the cutter left."""
    milling = _Milling(
        tone=rng.uniform(0.25, 0.65),
        angle=float(rng.choice([0, math.pi / 2])) + rng.normal(0, 0.2),
        feed_px=log_uniform(rng, 3, 20),
        radius_px=log_uniform(rng, 30, 250),
        overlap=rng.uniform(0.5, 0.95),
        depth=log_uniform(rng, 0.06, 0.3),
        light=any_light(rng),
    )
    return Surface(partial(_milled_face, milling), any_camera(rng))


@dataclass(frozen=True)
class _Grinding:
    tone: float
    density: float  # strokes in an area of 1000 pixels
    radius_px: tuple[float, float]  # of the arcs
    contrast: float
    base: float  # contrast of the strokes too fine to be seen one by one


def _sanded_sheet(grinding: _Grinding, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    n_strokes = int(grinding.density * height * width / 1000)
    strokes = np.full((height, width), 128, np.uint8)
    centres = rng.uniform(-0.1, 1.1, (n_strokes, 2)) * (width, height)
    radii = rng.uniform(*grinding.radius_px, n_strokes)
    starts, lengths = rng.uniform(0, 360, n_strokes), rng.uniform(20, 140, n_strokes)
    levels = np.clip(rng.normal(128, 45, n_strokes), 0, 255)
    for centre, radius, start, length, level in zip(centres, radii, starts, lengths, levels, strict=True):
        at, axes = (round(centre[0] * 16), round(centre[1] * 16)), (round(radius * 16), round(radius * 16))
        cv2.ellipse(strokes, at, axes, 0, start, start + length, level, 1, cv2.LINE_AA, shift=4)
    scratches = as_field(strokes) / 128 - 1
    fine = np.zeros((height, width), np.float32)
    for _ in range(3):
        fine += noise(rng, height, width, 30, 0.9, rng.uniform(0, math.pi)) / math.sqrt(3)
    clouds = 1 + 0.04 * grain(rng, height, width, 80, 0.6)
    return rolled_off(grinding.tone * clouds * (1 + grinding.contrast * scratches + grinding.base * fine))


def sanded_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of metal sanded by hand or an orbital sander: curved strokes in all directions over one another."""
    reach_px = log_uniform(rng, 8, 300)
    grinding = _Grinding(
        tone=log_uniform(rng, 0.25, 0.65),
        density=log_uniform(rng, 3, 14),
        radius_px=(0.5 * reach_px, 1.5 * reach_px),
        contrast=log_uniform(rng, 0.1, 0.5),
        base=log_uniform(rng, 0.02, 0.1),
    )
    return Surface(partial(_sanded_sheet, grinding), any_camera(rng))


@dataclass(frozen=True)
class _Honing:
    tone: float
    angles: tuple[float, float]  # of the two sets of grooves
    groove_px: float  # width
    contrast: float
    deep: float  # strength of the single deep grooves
    glare: float  # of the band of light across


def _honed_sheet(honing: _Honing, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    metal = np.ones((height, width), np.float32)
    for angle in honing.angles:
        turned = angle + rng.normal(0, 0.008)
        metal += honing.contrast * noise(rng, height, width, 200, honing.groove_px, turned)
        grooves = noise(rng, height, width, 400, 1.2 * honing.groove_px, turned + rng.normal(0, 0.02))
        metal -= honing.deep * np.maximum(grooves - 1.6, 0)
    _, across = turned_grid(height, width, sum(honing.angles) / 2, (height / 2, width / 2))
    band = np.exp(-((across / math.hypot(height, width) + rng.normal(0, 0.03)) ** 2) / 0.08)
    fine = 1 + 0.03 * noise(rng, height, width, 1.5, 1.5)
    return rolled_off(honing.tone * np.maximum(metal, 0.1) * fine * (1 - honing.glare / 2 + honing.glare * band))


def honed_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of honed bore: two sets of grooves that cross, under a band of light."""
    middle, half = float(rng.choice([0, math.pi / 2])), rng.uniform(0.2, 0.8)
    honing = _Honing(
        tone=rng.uniform(0.25, 0.65),
        angles=(middle - half, middle + half),
        groove_px=log_uniform(rng, 0.8, 3),
        contrast=log_uniform(rng, 0.04, 0.16),
        deep=log_uniform(rng, 0.05, 0.6),
        glare=rng.uniform(0, 0.6),
    )
    return Surface(partial(_honed_sheet, honing), any_camera(rng))


# Coats and layers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Spangle:
    tone: float
    crystal_px: float
    contrast: float  # between crystals
    feathers: float  # contrast of the branches inside a crystal
    sway: float  # how crooked the borders are, as a share of a crystal


def _spangled_sheet(spangle: _Spangle, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    crystal, border_px = crooked_cells(rng, height, width, spangle.crystal_px, spangle.sway)
    level = rng.normal(0, 1, 4096).astype(np.float32)[crystal % 4096]
    heading = rng.uniform(0, math.tau, 4096).astype(np.float32)[crystal % 4096]
    rows, columns = np.indices((height, width), np.float32)
    ripple = columns * np.cos(heading) + rows * np.sin(heading)
    feathers = np.sin(ripple * math.tau / (0.12 * spangle.crystal_px + 3) + noise(rng, height, width, 9, 9))
    fade = 1 - np.exp(-border_px / (0.1 * spangle.crystal_px + 1))
    zinc = 1 + spangle.contrast * level * (0.4 + 0.6 * fade) + spangle.feathers * feathers * fade
    return rolled_off(spangle.tone * np.maximum(zinc, 0.1) * (1 + 0.04 * grain(rng, height, width, 24, 0.8)))


def spangled_zinc(rng: np.random.Generator) -> Surface:
    """Draw a kind of galvanised or coarsely crystalline sheet: crystals of different brightness with feathers."""
    spangle = _Spangle(
        tone=log_uniform(rng, 0.3, 0.65),
        crystal_px=log_uniform(rng, 6, 70),
        contrast=log_uniform(rng, 0.03, 0.22),
        feathers=log_uniform(rng, 0.005, 0.07),
        sway=rng.uniform(0.05, 0.4),
    )
    return Surface(partial(_spangled_sheet, spangle), any_camera(rng))


@dataclass(frozen=True)
class _Scale:
    tones: tuple[float, float]  # of the metal, of the scale on it
    patches: Spectrum
    covered: float  # share of the surface
    edge: float  # how soft the edges of the patches are
    roughness_px: float
    finish: Finish


def _scaled_sheet(scale: _Scale, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    level = coloured_noise(rng, height, width, scale.patches)
    cover = smoothstep((level - math.sqrt(2) * (1 - 2 * scale.covered)) / scale.edge + 0.5)
    rough = scale.roughness_px * grain(rng, height, width, 8, 0.9)
    metal = scale.tones[0] * (1 + 0.06 * noise(rng, height, width, 200, 1.5, 0.1))
    crust = scale.tones[1] * (1 + 0.15 * grain(rng, height, width, 16, 0.9))
    tone = metal + (crust - metal) * cover
    return lit(tone, rough * (0.15 + cover) + 1.2 * scale.roughness_px * cover, scale.finish, rng)


def scaled_metal(rng: np.random.Generator) -> Surface:
    """Draw a kind of hot-rolled, rusty or phosphated metal: patches of rough scale, sparse or covering."""
    bright, dark = rng.uniform(0.35, 0.65), log_uniform(rng, 0.08, 0.3)
    scale = _Scale(
        tones=(bright, dark) if rng.random() < 0.7 else (dark, bright),
        patches=Spectrum(rng.uniform(1, 1.8), 2, log_uniform(rng, 15, 120), log_uniform(rng, 1, 5), 0.1),
        covered=rng.uniform(0.2, 0.8),
        edge=rng.uniform(0.3, 2.5),
        roughness_px=log_uniform(rng, 0.15, 0.8),
        finish=any_finish(rng, hollow_px=6, glossy=0.3),
    )
    return Surface(partial(_scaled_sheet, scale), any_camera(rng))


@dataclass(frozen=True)
class _Foil:
    tone: float
    crease_px: float  # distance of the largest creases
    depth: float  # of the creases, as a share of their distance
    folds: tuple[float, ...]  # directions in which it was folded, one after the other, each time finer
    length: float  # of a crease against the distance to the next
    sharp_px: float  # radius of a crease
    finish: Finish


def _creased_foil(foil: _Foil, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    relief = np.zeros((height, width), np.float32)
    for fold, angle in enumerate(foil.folds):
        crease_px = foil.crease_px / 1.4**fold
        waves = Spectrum(0.5, 0.8 * crease_px, 2.5 * crease_px, foil.length, angle + rng.normal(0, 0.1))
        relief += foil.depth * crease_px * np.abs(coloured_noise(rng, height, width, waves))
    tone = foil.tone * (1 + 0.01 * noise(rng, height, width, 2, 2))
    return lit(tone, blur(relief, foil.sharp_px), foil.finish, rng)


def foil(rng: np.random.Generator) -> Surface:
    """Draw a kind of creased foil, film or cloth: sharp folds across each other between flat facets, glossy."""
    crease_px = log_uniform(rng, 20, 120)
    sheet = _Foil(
        tone=rng.uniform(0.2, 0.75),
        crease_px=crease_px,
        depth=log_uniform(rng, 0.02, 0.16),
        folds=tuple(rng.uniform(0, math.pi, int(rng.integers(2, 6)))),
        length=log_uniform(rng, 2, 10),
        sharp_px=log_uniform(rng, 0.6, 2.5),
        finish=any_finish(rng, hollow_px=crease_px / 3, glossy=0.8),
    )
    return Surface(partial(_creased_foil, sheet), any_camera(rng))
