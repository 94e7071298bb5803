"""Cloth: threads that go over and under each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import (
    Light,
    as_field,
    blur,
    crooked_cells,
    grain,
    hollows,
    log_uniform,
    noise,
    shade,
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
    steady_light,
    swayed,
)
from blemish.drawing.surfaces.strewn import scattered_fibres
from blemish.results import FloatArray

# Woven cloth ----------------------------------------------------------------------------------------------------------

WEAVES = {  # 1 where the warp thread lies on top; rows are weft threads, columns warp threads
    "plain": np.array([[1, 0], [0, 1]]),
    "twill": np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]),
    "denim": np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]]),
    "basket": np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]),
}


@dataclass(frozen=True)
class _Weave:
    pattern: NDArray[np.int_]  # as those of WEAVES
    pitch_px: tuple[float, float]  # distance of the warp threads, of the weft threads
    tones: tuple[float, float]  # brightness of the warp, of the weft
    fullness: float  # thickness of a thread as a share of its pitch
    angle: float  # direction across the warp threads
    twist: float  # angle between the fibres and their thread
    fuzz: float  # contrast of the fibres
    light: Light
    stripes: tuple[tuple[float, ...], tuple[float, ...]] = ((1.0,), (1.0,))  # dyes of warp, of weft, that repeat
    behind: float = 0.0  # brightness of what is seen between the threads
    gloss: float = 0.1
    loft: float = 0.8  # height of the threads against that of round ones


def _lift(pattern: NDArray[np.int_], lines: FloatArray, along: FloatArray) -> FloatArray:
    """Return how high a thread lies at each pixel: 1 over the other threads, -1 under them, smooth between crossings.

    ``pattern`` has one row per crossing and one column per thread; ``lines`` is the number of the thread at each pixel,
    ``along`` how many crossings lie before it.
    """
    crossing = np.floor(along)
    offset = along - crossing - 0.5  # -0.5 to 0.5 within one crossing
    neighbour = crossing + np.sign(offset)
    heights = (2 * pattern - 1).astype(np.float32)
    column = lines.astype(np.int32) % pattern.shape[1]
    here = heights[crossing.astype(np.int32) % pattern.shape[0], column]
    there = heights[neighbour.astype(np.int32) % pattern.shape[0], column]
    return as_field(here + (there - here) * 2 * offset**2)


def _threads(
    weave: _Weave, rng: np.random.Generator, across: FloatArray, lift: FloatArray, lines: FloatArray, warp: bool
) -> tuple[FloatArray, FloatArray]:
    """Return height and brightness of one set of threads, as if the other were not there."""
    height, width = across.shape
    pitch_px = weave.pitch_px[0 if warp else 1]
    direction = weave.angle + (math.pi / 2 if warp else 0)
    offset = (across - lines - 0.5) / weave.fullness  # -0.5 to 0.5 across one thread
    roundness = np.sqrt(np.maximum(1 - 4 * offset**2, 0))
    fibres = noise(rng, height, width, 0.9 * pitch_px, 1.0, direction + weave.twist)
    slubs = noise(rng, height, width, 12 * pitch_px, pitch_px, direction)
    dye = rng.normal(1, 0.035, 512).astype(np.float32)[lines.astype(np.int32) % 512]
    stripes = np.array(weave.stripes[0 if warp else 1], np.float32)
    dye = dye * stripes[lines.astype(np.int32) % len(stripes)]
    relief = pitch_px * (0.35 * roundness + 0.13 * lift) + 0.12 * fibres
    return relief, weave.tones[0 if warp else 1] * dye * (1 + weave.fuzz * fibres + 0.05 * slubs)


def _gap(across: FloatArray, fullness: float) -> FloatArray:
    """Return 1 between the threads of one set, 0 on them; ``across`` counts threads."""
    offset = np.abs(across - np.floor(across) - 0.5)
    return smoothstep((offset - fullness / 2) / 0.06 + 0.5)


def _woven_cloth(weave: _Weave, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    corner = (rng.uniform(-900, -300), rng.uniform(-900, -300))  # each image shows another piece of the roll
    across, along = turned_grid(height, width, weave.angle + rng.normal(0, 0.012), corner)
    drift = [0.10 * noise(rng, height, width, 70, 70) + 0.05 * noise(rng, height, width, 18, 18) for _ in range(2)]
    warp_at = across / weave.pitch_px[0] + drift[0]
    weft_at = along / weave.pitch_px[1] + drift[1]
    warp, weft = np.floor(warp_at), np.floor(weft_at)
    pattern = weave.pattern
    warp_relief, warp_tone = _threads(weave, rng, warp_at, _lift(pattern, warp, weft_at), warp, warp=True)
    weft_relief, weft_tone = _threads(weave, rng, weft_at, _lift(1 - pattern.T, weft, warp_at), weft, warp=False)
    relief = np.maximum(warp_relief, weft_relief)
    tone = np.where(warp_relief > weft_relief, warp_tone, weft_tone)
    shadow = np.exp(-6 * (weave.loft / 0.8) * hollows(relief, 0.35 * min(weave.pitch_px)) / min(weave.pitch_px))
    cloth = tone * shadow * shade(weave.loft * relief, swayed(weave.light, rng), weave.gloss)
    if weave.behind == 0:
        return as_field(cloth)
    gap = _gap(warp_at, weave.fullness) * _gap(weft_at, weave.fullness)
    return as_field(cloth + (weave.behind - cloth) * gap)


def _exposed_cloth(weave: _Weave, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Draw the cloth so that its brightest threads stay below white."""
    return rolled_off(_woven_cloth(weave, rng, height, width))


def woven_fabric(rng: np.random.Generator) -> Surface:
    """Draw a kind of woven cloth: threads that go over and under each other, made of twisted fibres."""
    pitch_px = rng.uniform(6, 13)
    tone = rng.uniform(0.35, 0.65)
    weave = _Weave(
        pattern=WEAVES[str(rng.choice(list(WEAVES)))],
        pitch_px=(pitch_px, pitch_px * rng.uniform(0.85, 1.15)),
        tones=(tone, tone * rng.uniform(0.75, 1.3)),
        fullness=rng.uniform(0.9, 1.05),
        angle=rng.normal(0, 0.15),
        twist=float(rng.choice([-1, 1])) * rng.uniform(0.35, 0.7),
        fuzz=rng.uniform(0.06, 0.14),
        light=steady_light(rng),
    )
    return Surface(partial(_woven_cloth, weave), steady_camera(rng))


def _dyes(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw the repeat of a striped or plain set of threads."""
    if rng.random() < 0.65:
        return (1.0,)
    bands = [(rng.uniform(0.4, 1.5), int(rng.integers(1, 9))) for _ in range(int(rng.integers(2, 5)))]
    return tuple(dye for dye, n_threads in bands for _ in range(n_threads))


def _any_pattern(rng: np.random.Generator) -> NDArray[np.int_]:
    """Draw a weave: a known one, a satin, or one that no loom has made yet but could."""
    way = rng.random()
    if way < 0.6:
        return WEAVES[str(rng.choice(list(WEAVES)))]
    if way < 0.8:
        n_threads, shift = int(rng.choice([5, 8])), int(rng.choice([2, 3]))
        shift = 3 if n_threads == 8 else shift
        return np.array([[int((column - shift * row) % n_threads == 0) for column in range(n_threads)]
                         for row in range(n_threads)])  # fmt: skip
    pattern = rng.integers(0, 2, (int(rng.integers(2, 7)), int(rng.integers(2, 7))))
    pattern[0, 0], pattern[-1, -1], pattern[0, -1], pattern[-1, 0] = 1, 1, 0, 0  # every thread crosses some other
    return pattern


def cloth(rng: np.random.Generator) -> Surface:
    """Draw any kind of woven cloth: canvas, satin, denim, gauze, plaid, screens; fine or coarse, dense or open."""
    pitch_px, tone = log_uniform(rng, 2.8, 22), log_uniform(rng, 0.2, 0.8)
    open_weave = rng.random() < 0.3
    weave = _Weave(
        pattern=_any_pattern(rng),
        pitch_px=(pitch_px, pitch_px * log_uniform(rng, 0.6, 1.6)),
        tones=(tone, tone * log_uniform(rng, 0.5, 1.6)),
        fullness=rng.uniform(0.4, 0.8) if open_weave else rng.uniform(0.85, 1.05),
        angle=rng.normal(0, 0.1) + float(rng.choice([0, 0, 0, math.pi / 4])),
        twist=float(rng.choice([-1, 1])) * rng.uniform(0.2, 0.8),
        fuzz=log_uniform(rng, 0.03, 0.2),
        light=any_light(rng),
        stripes=(_dyes(rng), _dyes(rng)),
        behind=float(rng.choice([0.02, 0.8])) if open_weave else 0.0,
        gloss=rng.uniform(0, 0.4),
    )
    return Surface(partial(_exposed_cloth, weave), any_camera(rng))


def carbon_fibre(rng: np.random.Generator) -> Surface:
    """Draw a kind of carbon or glass fibre composite: wide flat tows, each bright or dark by its direction."""
    pitch_px, tone = log_uniform(rng, 8, 40), rng.uniform(0.08, 0.4)
    weave = _Weave(
        pattern=WEAVES[str(rng.choice(["plain", "twill", "twill", "basket"]))],
        pitch_px=(pitch_px, pitch_px * rng.uniform(0.9, 1.1)),
        tones=(tone, min(tone * log_uniform(rng, 1.2, 3.5), 0.7)),
        fullness=rng.uniform(0.98, 1.08),
        angle=float(rng.choice([0, math.pi / 4])) + rng.normal(0, 0.05),
        twist=0.0,
        fuzz=rng.uniform(0.08, 0.25),
        light=any_light(rng),
        gloss=rng.uniform(0.1, 0.6),
        loft=log_uniform(rng, 0.05, 0.4),
    )
    return Surface(partial(_exposed_cloth, weave), any_camera(rng))


# Knits ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Knit:
    tone: float
    wale_px: float  # width of a column of stitches
    course_px: float  # height of a row of stitches
    slant: float  # how steep the legs of a stitch stand
    fullness: float  # thickness of the yarn as a share of the row
    angle: float
    fuzz: float  # contrast of the fibres
    stripes: tuple[float, ...]  # dyes of the rows, that repeat
    purl: int  # every so many columns one is turned inside out; 0 never
    finish: Finish


def _knitted_cloth(knit: _Knit, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    corner = (rng.uniform(-900, -300), rng.uniform(-900, -300))
    x, y = turned_grid(height, width, knit.angle + rng.normal(0, 0.015), corner)
    drift = [0.10 * noise(rng, height, width, 60, 60) + 0.04 * noise(rng, height, width, 15, 15) for _ in range(2)]
    wale = x / knit.wale_px + drift[0]
    column = np.floor(wale)
    aside = np.abs(wale - column - 0.5)  # 0 in the middle of a stitch, 0.5 between columns
    inside_out = (column % knit.purl == 0) if knit.purl else np.zeros_like(column, bool)
    course = y / knit.course_px + drift[1] - np.where(inside_out, 0.3, knit.slant) * 2 * aside
    row = np.floor(course)
    across = (course - row - 0.5) / knit.fullness
    leg = np.sqrt(np.maximum(1 - 4 * across**2, 0)) * np.sqrt(np.maximum(1 - ((aside - 0.25) / 0.29) ** 2, 0))
    heading = math.pi / 2 + knit.angle - np.sign(wale - column - 0.5) * 0.6
    strands = np.sin(math.tau * (2.5 * across + 3 * aside * np.sign(wale - column - 0.5)) + heading)
    fibres = noise(rng, height, width, 4, 1, knit.angle + 0.8) + 0.7 * strands * leg
    dyes = np.array(knit.stripes, np.float32)[row.astype(np.int32) % len(knit.stripes)]
    relief = 0.3 * min(knit.wale_px, knit.course_px) * leg * np.where(inside_out, 0.55, 1) + 0.15 * fibres
    return lit(knit.tone * dyes * (1 + knit.fuzz * fibres) * (0.35 + 0.65 * leg), relief, knit.finish, rng)


def knit(rng: np.random.Generator) -> Surface:
    """Draw a kind of knitted cloth: columns of V-shaped stitches, plain or ribbed, of one yarn or striped."""
    wale_px = log_uniform(rng, 6, 30)
    jersey = _Knit(
        tone=log_uniform(rng, 0.25, 0.9),
        wale_px=wale_px,
        course_px=wale_px * rng.uniform(0.55, 0.95),
        slant=rng.uniform(0.6, 1.3),
        fullness=rng.uniform(0.85, 1.1),
        angle=rng.normal(0, 0.08) + float(rng.choice([0, math.pi / 2])),
        fuzz=log_uniform(rng, 0.04, 0.15),
        stripes=_dyes(rng),
        purl=int(rng.choice([0, 0, 0, 2, 3, 4])),
        finish=any_finish(rng, hollow_px=0.3 * wale_px, glossy=0.15),
    )
    return Surface(partial(_knitted_cloth, jersey), any_camera(rng))


# Fibres without order -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fleece:
    tone: float
    density: float  # length of fibres per area, in pixels per pixel
    length_px: float
    curl: float  # standard deviation of the turn from piece to piece, radians
    angle: float  # of most fibres
    spread: float  # standard deviation of the angle; large is no order
    contrast: float
    clouds: float  # contrast of dense and thin places


def _laid_fleece(fleece: _Fleece, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    n_fibres = int(fleece.density * height * width / fleece.length_px)
    layers = np.zeros((height, width), np.float32)
    for layer in range(2):  # those below are out of focus
        fibres = scattered_fibres(
            rng, height, width, n_fibres // 2, fleece.length_px, fleece.curl, fleece.angle, fleece.spread
        )
        layers += fibres if layer else blur(fibres, 1.2)
    clouds = 1 + fleece.clouds * grain(rng, height, width, 48, 0.6)
    return rolled_off(fleece.tone * clouds * np.maximum(1 + fleece.contrast * layers, 0.05))


def felt(rng: np.random.Generator) -> Surface:
    """Draw a kind of felt, fleece or glass mat: fibres laid over each other, in one direction or in none."""
    fleece = _Fleece(
        tone=log_uniform(rng, 0.2, 0.8),
        density=log_uniform(rng, 0.15, 0.7),
        length_px=log_uniform(rng, 15, 120),
        curl=log_uniform(rng, 0.03, 0.8),
        angle=rng.uniform(0, math.pi),
        spread=float(rng.choice([0.3, 0.8, 3.0])),
        contrast=log_uniform(rng, 0.15, 0.7),
        clouds=log_uniform(rng, 0.02, 0.2),
    )
    return Surface(partial(_laid_fleece, fleece), any_camera(rng))


@dataclass(frozen=True)
class _Pile:
    tone: float
    tuft_px: float
    lean: float  # stretch of the tufts
    angle: float  # they lean to
    depth: float  # height of a tuft as a share of its width
    melange: float  # contrast between tufts
    fuzz: float
    finish: Finish


def _tufted_carpet(pile: _Pile, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    tuft, border_px = crooked_cells(rng, height, width, pile.tuft_px, 0.25, pile.lean, pile.angle)
    ragged = border_px + 0.12 * pile.tuft_px * noise(rng, height, width, 2, 2)  # fibres of neighbours mingle
    dome = blur(smoothstep(ragged / (0.55 * pile.tuft_px) + 0.25), 0.6)
    heading = (pile.angle + rng.normal(0, 0.8, 4096).astype(np.float32))[tuft % 4096]  # each tuft falls its own way
    rows, columns = np.indices((height, width), np.float32)
    ripple = rows * np.cos(heading) - columns * np.sin(heading) + noise(rng, height, width, 6, 6)
    fibres = np.sin(math.tau * ripple / 2.7) * 0.8 + 0.6 * noise(rng, height, width, 2, 2)
    dye = 1 + pile.melange * rng.standard_normal(4096, dtype=np.float32)[tuft % 4096]
    trodden = 1 + 0.06 * grain(rng, height, width, 90, 0.6)
    relief = pile.depth * pile.tuft_px * dome + 0.45 * fibres
    tone = pile.tone * trodden * dye * (1 + 1.5 * pile.fuzz * fibres) * (0.6 + 0.4 * dome)
    return lit(np.maximum(tone, 0.02), relief, pile.finish, rng)


def carpet(rng: np.random.Generator) -> Surface:
    """Draw a kind of carpet, terry or plush: tufts beside each other, of one yarn or a mixture."""
    tuft_px = log_uniform(rng, 4, 16)
    pile = _Pile(
        tone=log_uniform(rng, 0.2, 0.9),
        tuft_px=tuft_px,
        lean=rng.uniform(1, 2.2),
        angle=rng.uniform(0, math.pi),
        depth=rng.uniform(0.2, 0.6),
        melange=log_uniform(rng, 0.02, 0.3),
        fuzz=log_uniform(rng, 0.05, 0.2),
        finish=any_finish(rng, hollow_px=0.5 * tuft_px, glossy=0.1),
    )
    return Surface(partial(_tufted_carpet, pile), any_camera(rng))
