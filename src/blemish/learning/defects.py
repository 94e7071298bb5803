"""Synthetic defects: what turns a good image into a negative. Each takes (image, rng) and returns (image, mask).

The first two are the baselines' (`random_erasing` of Tayeh et al., `gaussian_noise` of Staar et al.); the others are
families that real surfaces show, from obvious to barely visible. Place, size, shape and strength come from the
generator; each doubling of size or strength is as likely as the next. `vary_light` belongs to the same contract and
returns an empty mask: it draws what must *not* count as a defect.

Sizes go with the image: what fills a camera's view is large on a large image. A defect takes some milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing import FLAWS
from blemish.results import FloatArray

Mask = NDArray[np.bool_]
Defect = Callable[[FloatArray, np.random.Generator], tuple[FloatArray, Mask]]

# Random erasing (Zhong et al. 2020, "Random Erasing Data Augmentation", sec. 3.1 and 4.1).
ERASED_AREA: Final = (0.02, 0.4)  # share of the patch
ERASED_ASPECT: Final = (0.3, 1 / 0.3)  # height to width
# Staar et al. 2019 as Tayeh et al. describe it: "Gaussian noise", without its strength. Assumed: from hardly visible
# in a patch scaled to [0, 1] to clearly visible.
NOISE_SIGMA: Final = (0.02, 0.2)

SMALLEST_PX: Final = 32.0  # area of the smallest defect, in pixels: two cells of the network
LARGEST: Final = 0.1  # area of the largest, as a share of the image; stains and shadows may be larger
LARGEST_STAIN: Final = 0.3
VISIBLE: Final = 0.02  # smallest change of brightness that counts as part of a defect: five of 255 grey levels
NOTICED: Final = 0.05  # and what it must reach somewhere; fainter ones would teach the network to see ghosts
_MOST_GAIN: Final = 3.0  # by which a softened defect is strengthened; thin lines would vanish otherwise
_SKIRT: Final = 0.15  # share of its strength that still counts as part of a softened defect
_GAP: Final = 5  # pixels a side of gaps in its mask that are closed
_N_ATTEMPTS: Final = 4  # draws before a defect that cannot be seen on this image is replaced by a stain


def random_erasing(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Replace one random rectangle by random values.

    Args:
        image: ``(H, W)`` float32 in [0, 1]; not changed.
        rng: source of place, size and filling.

    Returns:
        The erased copy, and the ``(H, W)`` mask of the rectangle.

    Source: Tayeh et al. 2020, sec. IV-B; Zhong et al. 2020, algorithm 1 with p = 1 (a negative is always erased),
    area 0.02 to 0.4, aspect 0.3 to 1/0.3, uniform, and random values per pixel (their best variant, RE-R).
    """
    height, width = image.shape
    while True:
        area = rng.uniform(*ERASED_AREA) * height * width
        aspect = rng.uniform(*ERASED_ASPECT)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            break
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    mask = np.zeros(image.shape, dtype=np.bool_)
    mask[top : top + h, left : left + w] = True
    erased = image.copy()
    erased[mask] = rng.random(h * w, dtype=np.float32)
    return erased, mask


def gaussian_noise(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Add Gaussian noise of one random strength to every pixel.

    Args:
        image: ``(H, W)`` float32 in [0, 1]; not changed.
        rng: source of strength and noise.

    Returns:
        The noisy copy, clipped to [0, 1], and a mask that is true everywhere.

    Source: Staar et al. 2019 as described by Tayeh et al. 2020, sec. II. Assumptions (their text is not at hand): the
    whole patch is covered, the noise is white and additive, its standard deviation is uniform in 0.02 to 0.2.
    """
    sigma = rng.uniform(*NOISE_SIGMA)
    noisy = image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(noisy, 0, 1), np.ones(image.shape, dtype=np.bool_)


# Pieces of the surface in the wrong place -----------------------------------------------------------------------------


def cut_paste(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Paste a patch from elsewhere on the image, turned and in other light.

    Source: Li et al. 2021, "CutPaste", sec. 2.2. Departure: blobs beside rectangles, soft edges beside hard ones.
    """

    def draw() -> tuple[FloatArray, Mask]:
        window, opacity = _shape(image.shape, rng)
        return _blend(image, window, _patch(image, opacity.shape, rng), _soften(opacity, rng))

    return _visible(image, draw, rng)


def scar(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Paste a long thin patch from elsewhere on the image, at any angle. Source: Li et al. 2021, sec. 2.2."""

    def draw() -> tuple[FloatArray, Mask]:
        length, width = _log_uniform(rng, 8, 0.35 * min(image.shape)), _log_uniform(rng, 1.5, 8)
        window, opacity = _bar(image.shape, length, min(width, length / 2), rng)
        return _blend(image, window, _patch(image, opacity.shape, rng), opacity)

    return _visible(image, draw, rng)


def blended_patch(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Blend a resized patch from elsewhere into the image so that no seam shows (Poisson blending).

    Source: Schlueter et al. 2022, "Natural Synthetic Anomalies", sec. 3.1: `cv2.seamlessClone`, patches of another
    size than their new place. Departure: the patch comes from the same image, turned at random.
    """

    def draw() -> tuple[FloatArray, Mask]:
        (top, left), opacity = _shape(image.shape, rng, smallest_px=64)
        h, w = opacity.shape
        mask = (opacity > 0.5).astype(np.uint8)
        mask[[0, -1], :] = mask[:, [0, -1]] = 0  # OpenCV needs a rim that stays as it is
        if not mask.any() or np.ptp(np.nonzero(mask), axis=1).min() < 3:  # and an area inside it
            return image, np.zeros(image.shape, dtype=np.bool_)
        source, target = _as_bgr(_patch(image, opacity.shape, rng)), _as_bgr(image[top : top + h, left : left + w])
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        # OpenCV centres the mask's bounding box, not the mask, on the point it is given.
        centre = (int(columns[0] + columns[-1] + 1) // 2, int(rows[0] + rows[-1] + 1) // 2)
        kind = cv2.MIXED_CLONE if rng.random() < 0.3 else cv2.NORMAL_CLONE
        cloned = cv2.seamlessClone(source, target, mask * 255, centre, kind)
        # Added as a change, so that what stays as it is keeps more than the 8 bits that OpenCV works with.
        change = np.asarray((cloned[:, :, 0].astype(np.float32) - target[:, :, 0]) / 255, dtype=np.float32)
        return _blend(image, (top, left), image[top : top + h, left : left + w] + change, np.ones_like(opacity))

    return _visible(image, draw, rng)


def displacement(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Shift a part of the image by some pixels: a bent lead, a component that sits askew."""

    def draw() -> tuple[FloatArray, Mask]:
        (top, left), opacity = _shape(image.shape, rng, smallest_px=64)
        h, w = opacity.shape
        reach = _log_uniform(rng, 2, 16)
        angle = rng.uniform(0, math.tau)
        y = int(np.clip(round(top + reach * math.sin(angle)), 0, image.shape[0] - h))
        x = int(np.clip(round(left + reach * math.cos(angle)), 0, image.shape[1] - w))
        return _blend(image, (top, left), image[y : y + h, x : x + w], _soften(opacity, rng))

    return _visible(image, draw, rng)


def missing_part(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Fill an area from its surroundings, as if what belongs there were gone."""

    def draw() -> tuple[FloatArray, Mask]:
        (top, left), opacity = _shape(image.shape, rng, smallest_px=64)
        h, w = opacity.shape
        view = image[top : top + h, left : left + w]
        rim = np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])
        grain = 0.5 * float(rim.std()) * _noise((h, w), _log_uniform(rng, 0.5, 3), rng)
        fill = np.full_like(view, rng.choice(rim)) + np.float32(rng.uniform(0, 1)) * grain
        return _blend(image, (top, left), fill, _soften(opacity, rng))

    return _visible(image, draw, rng)


# Something on the surface, or something that happened to it -----------------------------------------------------------


def texture(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Lay foreign texture over an area shaped by coarse noise, more or less opaque.

    Source: Zavrtanik et al. 2021, "DRAEM", sec. 3.3: Perlin-shaped masks, random opacity. Departure: the texture is
    noise of a random grain instead of a photograph from another data set.
    """

    def draw() -> tuple[FloatArray, Mask]:
        window, opacity = _shape(image.shape, rng)
        fill = rng.random() + _log_uniform(rng, 0.03, 0.4) * _noise(opacity.shape, _log_uniform(rng, 0.3, 4), rng)
        return _blend(image, window, fill, _soften(opacity, rng) * np.float32(rng.uniform(0.3, 1)))

    return _visible(image, draw, rng)


def erased_area(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Replace an area by random values: random erasing (see above) in sizes of defects instead of patches."""

    def draw() -> tuple[FloatArray, Mask]:
        window, opacity = _shape(image.shape, rng)
        return _blend(image, window, rng.random(opacity.shape, dtype=np.float32), opacity)

    return _visible(image, draw, rng)


def grain(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Roughen an area: noise of a random grain is added to what is there."""

    def draw() -> tuple[FloatArray, Mask]:
        (top, left), opacity = _shape(image.shape, rng)
        h, w = opacity.shape
        noise = _log_uniform(rng, 0.04, 0.3) * _noise((h, w), _log_uniform(rng, 0.3, 3), rng)
        return _blend(image, (top, left), image[top : top + h, left : left + w] + noise, _soften(opacity, rng))

    return _visible(image, draw, rng)


def fill(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Cover an area with one colour: a hole, a chip, a foreign body."""

    def draw() -> tuple[FloatArray, Mask]:
        window, opacity = _shape(image.shape, rng)
        return _blend(image, window, np.full_like(opacity, rng.random()), _soften(opacity, rng))

    return _visible(image, draw, rng)


def stain(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Make an area brighter or darker, small or large, with sharp or washed-out edges, sometimes with a rim."""
    (top, left), opacity = _shape(image.shape, rng, largest=LARGEST_STAIN, rectangles=0.1)
    h, w = opacity.shape
    if rng.random() < 0.3:  # what dries leaves a rim
        opacity = np.clip(opacity - rng.uniform(0.4, 0.9) * cv2.erode(opacity, np.ones((3, 3), np.uint8)), 0, 1)
        opacity /= max(float(opacity.max()), 1e-6)
    elif rng.random() < 0.5:
        opacity = _smoothed(opacity, max(min(h, w) / rng.uniform(4, 12), 0.5))
    return _add(image, (top, left), _either_way(rng) * _log_uniform(rng, 1.2 * NOTICED, 0.6) * opacity)


def spots(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Draw one or a few round dark or bright spots near each other: pores, blowholes, dust, spatter."""
    changed = image
    sign = _either_way(rng)
    y, x = rng.uniform(0, image.shape[0]), rng.uniform(0, image.shape[1])
    for _ in range(1 + rng.geometric(0.6)):
        radius = _log_uniform(rng, 1, max(0.03 * min(image.shape), 2))
        size = 2 * math.ceil(radius * 2) + 1
        rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
        aspect, angle = rng.uniform(0.5, 1), rng.uniform(0, math.pi)
        u, v = rows * math.cos(angle) + columns * math.sin(angle), columns * math.cos(angle) - rows * math.sin(angle)
        edge = (1 - 2 * np.sqrt(u**2 + (v / aspect) ** 2)) * radius  # pixels inside the outline
        spot = np.clip(edge + 0.5, 0, 1).astype(np.float32)
        window = (int(np.clip(y - size // 2, 0, max(image.shape[0] - size, 0))),
                  int(np.clip(x - size // 2, 0, max(image.shape[1] - size, 0))))  # fmt: skip
        spot = spot[: image.shape[0], : image.shape[1]]
        changed, _ = _add(changed, window, sign * _log_uniform(rng, 0.1, 0.7) * spot)
        y, x = y + rng.normal(0, 4 * radius), x + rng.normal(0, 4 * radius)
    return changed, np.abs(changed - image) > VISIBLE  # spots may cancel where they overlap


def scratch(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Draw one or a few straight or gently curved lines that fade at their ends, bright or dark."""

    def draw() -> tuple[FloatArray, Mask]:
        length = _log_uniform(rng, 10, 0.7 * min(image.shape))
        bend, heading = rng.normal(0, 0.06), rng.uniform(0, math.tau)
        strokes = []
        start = rng.uniform(0, 1, 2) * image.shape
        for _ in range(1 + (rng.random() < 0.3) * rng.integers(1, 4)):
            headings = heading + bend * np.arange(8) + rng.normal(0, 0.03)
            strokes.append(_walk(start + rng.normal(0, 5, 2), headings, length / 8))
        return _lines(image, strokes, rng, dark=0.4)

    return _visible(image, draw, rng)


def crack(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Draw a jagged, mostly dark line of varying width, sometimes with branches."""

    def draw() -> tuple[FloatArray, Mask]:
        length = _log_uniform(rng, 10, 0.8 * min(image.shape))
        step = rng.uniform(2, 8)
        n_steps = max(round(length / step), 2)
        turn = rng.uniform(0.1, 0.7)
        heading = rng.uniform(0, math.tau)
        path = _walk(rng.uniform(0, 1, 2) * image.shape, heading + turn * rng.standard_normal(n_steps), step)
        strokes = [path]
        for _ in range(rng.poisson(0.6)):
            branch = heading + _either_way(rng) * rng.uniform(0.4, 1.2)
            headings = branch + turn * rng.standard_normal(max(n_steps // 3, 2))
            strokes.append(_walk(path[rng.integers(len(path))], headings, step))
        return _lines(image, strokes, rng, dark=0.85)

    return _visible(image, draw, rng)


def blur(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Smooth an area: worn, smeared or filled-in texture."""

    def draw() -> tuple[FloatArray, Mask]:
        (top, left), opacity = _shape(image.shape, rng, smallest_px=64)
        h, w = opacity.shape
        smooth = _smoothed(image[top : top + h, left : left + w], _log_uniform(rng, 1, 5))
        return _blend(image, (top, left), smooth, _soften(opacity, rng))

    return _visible(image, draw, rng)


def warp(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Bend an area smoothly: a dent, a pulled thread, a deformed edge."""

    def draw() -> tuple[FloatArray, Mask]:
        (top, left), opacity = _shape(image.shape, rng, smallest_px=144)
        h, w = opacity.shape
        reach = _log_uniform(rng, 2, 0.25 * max(min(h, w), 10))
        scale = max(h, w) / rng.uniform(3, 8)
        dy, dx = (np.float32(reach) * _noise((h, w), scale, rng) * opacity for _ in range(2))
        rows, columns = np.mgrid[top : top + h, left : left + w].astype(np.float32)
        bent = cv2.remap(image, columns + dx, rows + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return _blend(image, (top, left), np.asarray(bent, dtype=np.float32), np.ones_like(opacity))

    return _visible(image, draw, rng)


# What is no defect ----------------------------------------------------------------------------------------------------


def vary_light(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
    """Change the light a little, as it changes between good parts: an augmentation, no defect.

    Gain within 8 %, offset within 3 % of the grey range, a linear slope across the image within 4 %.

    Returns:
        The changed copy, not clipped, and an empty mask.
    """
    height, width = image.shape
    angle, slope = rng.uniform(0, math.tau), rng.uniform(0, 0.04)
    rows = np.linspace(-slope * math.sin(angle), slope * math.sin(angle), height, dtype=np.float32)
    columns = np.linspace(-slope * math.cos(angle), slope * math.cos(angle), width, dtype=np.float32)
    lit = image * np.float32(rng.uniform(0.92, 1.08)) + np.float32(rng.uniform(-0.03, 0.03))
    lit += rows[:, None]
    lit += columns
    return lit, np.zeros(image.shape, dtype=np.bool_)


def through_lens(defect: Defect, softness: float) -> Defect:
    """Make a defect as soft as a lens makes all that it looks at.

    Photographs are often larger than what their lens resolves, and nothing on them has a sharp edge. Drawn defects that
    are sharper are found by that alone: a network that had learned from edges of up to 1.8 pixels told black cracks of
    3 pixels from good grain no better than by chance (docs/experiments.md). A defect keeps its strength, up to
    `_MOST_GAIN` times what the lens would leave of it.

    Args:
        defect: as sharp as it is drawn.
        softness: standard deviation of the blur in pixels, 0 or more.

    Returns:
        A defect of the same contract.
    """

    def soft(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, Mask]:
        drawn, mask = defect(image, rng)
        if softness == 0 or not mask.any():
            return drawn, mask
        window = _around(mask, reach=math.ceil(3 * softness))
        change = drawn[window] - image[window]
        blurred = _smoothed(change, softness)
        gain = np.abs(change).max() / max(float(np.abs(blurred).max()), 1e-6)
        softened = image.copy()
        softened[window] = np.clip(image[window] + blurred * np.float32(min(gain, _MOST_GAIN)), 0, 1)
        strength = np.abs(softened - image)
        if strength.max() < NOTICED:  # fine grain of which nothing is left
            return drawn, mask
        changed = strength > max(VISIBLE, _SKIRT * float(strength.max()))
        closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((_GAP, _GAP), np.uint8))
        return softened, closed > 0

    return soft


def any_softness(rng: np.random.Generator) -> float:
    """Draw how soft a lens makes what it looks at, in pixels: a quarter are sharp, the others 0.5 to 4."""
    return _log_uniform(rng, 0.5, 4) if rng.random() < 0.75 else 0.0


def through_one_camera(images: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Look at images through one lens and sensor: all a little out of focus (often), all a little noisy (often).

    Comes after the defects, which are then no sharper and no cleaner than what they lie on. Without it a network learns
    to find what was drawn by its edges, and lets pass real cracks, clearly visible but as soft as all the rest
    (docs/experiments.md).

    Args:
        images: ``(n, H, W)`` float32 in [0, 1].
        rng: of focus and noise.

    Returns:
        The changed copies, in [0, 1].
    """
    if rng.random() < 0.6:
        focus = _log_uniform(rng, 0.4, 1.5)
        images = np.stack([_smoothed(image, focus) for image in images])
    if rng.random() < 0.5:
        noise = np.float32(rng.uniform(0, 0.02)) * rng.standard_normal(images.shape, dtype=np.float32)
        images = np.clip(images + noise, 0, 1)
    return images


# Families of nearest-normal training: pieces of the surface in the wrong place, and damage or dirt. The baselines' two
# stay out of it: noise over a whole image has no place, and erasing is here with defects of every size, not patches.
STRUCTURAL: Final[tuple[Defect, ...]] = (cut_paste, scar, blended_patch, displacement, missing_part)
SURFACE: Final[tuple[Defect, ...]] = (
    erased_area,
    warp,
    texture,
    grain,
    fill,
    stain,
    spots,
    scratch,
    crack,
    blur,
)

# Defects drawn as they come about, with the laws of light and matter: nothing of them is pasted.
PHYSICAL: Final[dict[str, Defect]] = FLAWS

DEFECTS: Final[dict[str, Defect]] = {
    defect.__name__: defect for defect in (random_erasing, gaussian_noise, *STRUCTURAL, *SURFACE)
}


def any_defect(physical: float, others: Sequence[Defect], rng: np.random.Generator) -> Defect:
    """Draw what kind of defect comes next.

    Args:
        physical: share of those in `PHYSICAL`.
        others: what the rest is drawn from.
        rng: of the draw.
    """
    family = [*PHYSICAL.values()] if rng.random() < physical else others
    return family[int(rng.integers(len(family)))]


# Drawing tools --------------------------------------------------------------------------------------------------------

_Window = tuple[int, int]  # top and left of the area that a defect touches


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(max(high, low))))


def _around(mask: Mask, reach: int) -> tuple[slice, slice]:
    """Return the window around all that is marked, and ``reach`` pixels more on each side."""
    sides = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(max(int(side[0]) - reach, 0), int(side[-1]) + reach + 1) for side in sides)
    return rows, columns


def _smoothed(field: FloatArray, sigma: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), dtype=np.float32)


def _resized(field: FloatArray, height: int, width: int) -> FloatArray:
    grown = cv2.resize(np.ascontiguousarray(field), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown, dtype=np.float32)


def _either_way(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> FloatArray:
    """Draw smooth noise of mean 0 and standard deviation 1; ``sigma`` pixels wide."""
    step = max(int(sigma / 2), 1)  # coarse noise is drawn coarsely: a wide blur of many pixels would cost far more
    h, w = math.ceil(shape[0] / step) + 1, math.ceil(shape[1] / step) + 1
    field = rng.standard_normal((h, w), dtype=np.float32)
    field = _smoothed(field, max(sigma / step, 0.1))
    if step > 1:
        field = _resized(field, h * step, w * step)
    field = field[: shape[0], : shape[1]]
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6))


def _shape(
    size: tuple[int, ...],
    rng: np.random.Generator,
    smallest_px: float = SMALLEST_PX,
    largest: float = LARGEST,
    rectangles: float = 0.3,
) -> tuple[_Window, FloatArray]:
    """Draw an area at a random place: a rectangle, or a blob cut out of smooth noise.

    Returns:
        The window's corner, and its opacity: 1 inside the area, 0 outside.
    """
    area = _log_uniform(rng, smallest_px, largest * size[0] * size[1])
    is_rectangle = rng.random() < rectangles
    aspect = _log_uniform(rng, 0.25, 4)
    if not is_rectangle:
        area *= rng.uniform(1.2, 3)  # a blob does not fill its window
    h = int(np.clip(math.sqrt(area * aspect), 3, size[0]))
    w = int(np.clip(math.sqrt(area / aspect), 3, size[1]))
    window = (int(rng.integers(0, size[0] - h + 1)), int(rng.integers(0, size[1] - w + 1)))
    if is_rectangle:
        return window, np.ones((h, w), dtype=np.float32)
    rows, columns = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    field = _noise((h, w), max(h, w) / rng.uniform(3, 10), rng) - 2 * (rows**2 + columns**2) + rng.uniform(0.5, 1.5)
    field -= max(float(np.quantile(field, 0.7)), 0) if field.max() <= 0 else 0
    return window, (field > min(0.0, float(field.max()) - 1e-3)).astype(np.float32)


def _bar(size: tuple[int, ...], length: float, width: float, rng: np.random.Generator) -> tuple[_Window, FloatArray]:
    """Draw a bar at a random place and angle; returns as `_shape`."""
    angle = rng.uniform(0, math.pi)
    side = math.ceil(length) + 4
    h = min(math.ceil(abs(length * math.sin(angle)) + width) + 2, size[0], side)
    w = min(math.ceil(abs(length * math.cos(angle)) + width) + 2, size[1], side)
    window = (int(rng.integers(0, size[0] - h + 1)), int(rng.integers(0, size[1] - w + 1)))
    rows, columns = np.mgrid[0:h, 0:w].astype(np.float32) - np.array([h - 1, w - 1], np.float32).reshape(2, 1, 1) / 2
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    inside = np.minimum(length / 2 - np.abs(along), width / 2 - np.abs(across))
    return window, np.clip(inside + 0.5, 0, 1).astype(np.float32)


def _soften(opacity: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Give areas the soft edge that a lens gives; areas of a few pixels keep theirs, or nothing would be left."""
    return opacity if min(opacity.shape) < 6 else _smoothed(opacity, _log_uniform(rng, 0.3, 1.8))


def _patch(image: FloatArray, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Cut a patch of another size from a random place, turn it, resize it and change its light."""
    zoom = _log_uniform(rng, 0.7, 1.4) if rng.random() < 0.5 else 1.0
    turned = int(rng.integers(4))
    h, w = shape if turned % 2 == 0 else shape[::-1]
    rows, columns = min(max(round(h * zoom), 2), image.shape[0]), min(max(round(w * zoom), 2), image.shape[1])
    top, left = rng.integers(0, image.shape[0] - rows + 1), rng.integers(0, image.shape[1] - columns + 1)
    patch = np.rot90(image[top : top + rows, left : left + columns], turned)
    if rng.random() < 0.5:
        patch = patch[::-1]
    if patch.shape != shape:
        patch = _resized(patch, shape[0], shape[1])
    if rng.random() < 0.5:
        return np.ascontiguousarray(patch)
    return np.asarray(patch * np.float32(rng.uniform(0.6, 1.4)) + np.float32(rng.uniform(-0.15, 0.15)))


def _as_bgr(patch: FloatArray) -> NDArray[np.uint8]:
    return cv2.cvtColor((np.clip(patch, 0, 1) * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR).astype(np.uint8)


def _walk(start: NDArray[Any], headings: NDArray[Any], step: float) -> NDArray[np.float64]:
    """Walk from a point, one step per heading; returns ``(n + 1, 2)`` rows and columns."""
    steps = step * np.stack([np.sin(headings), np.cos(headings)], axis=1)  # (n, 2)
    return np.cumsum(np.concatenate([start[None], steps]), axis=0)


def _lines(
    image: FloatArray, strokes: list[NDArray[np.float64]], rng: np.random.Generator, dark: float
) -> tuple[FloatArray, Mask]:
    """Draw strokes of one strength: their width wanders, they fade in and out; dark with the given probability."""
    points = np.concatenate(strokes)
    room = np.maximum(np.array(image.shape) - 8, 0)  # a window has 8 pixels a side, where the image does
    low = np.floor(np.clip(points.min(axis=0) - 4, 0, room)).astype(int)
    high = np.ceil(np.minimum(np.maximum(points.max(axis=0) + 5, low + 8), image.shape)).astype(int)
    fine = 2  # drawn twice as large: widths of half a pixel and more
    canvas = np.zeros(((high[0] - low[0]) * fine, (high[1] - low[1]) * fine), dtype=np.uint8)
    width = _log_uniform(rng, 0.5, 3)
    for stroke in strokes:
        corners = np.round((stroke - low)[:, ::-1] * fine * 8).astype(int)
        widths = np.clip(width * fine * rng.uniform(0.6, 1.4, len(corners)), 1, 8)
        fade = np.minimum(np.arange(1, len(corners)), np.arange(len(corners) - 1, 0, -1))
        strength = np.clip((0.3 + fade / max(len(corners) / 4, 1)) * rng.uniform(0.7, 1.2), 0.3, 1)
        for a, b, thickness, level in zip(corners[:-1], corners[1:], widths[1:], strength, strict=True):
            cv2.line(canvas, a.tolist(), b.tolist(), int(255 * level), round(float(thickness)), cv2.LINE_AA, shift=3)
    size = (int(high[1] - low[1]), int(high[0] - low[0]))
    shrunk = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    opacity = np.asarray(shrunk / np.float32(255), dtype=np.float32)
    opacity = _smoothed(opacity, _log_uniform(rng, 0.25, 1.2))  # as a lens does; no photograph has an edge of no width
    sign = -1.0 if rng.random() < dark else 1.0
    return _add(image, (int(low[0]), int(low[1])), np.float32(sign * _log_uniform(rng, 0.12, 0.8)) * opacity)


def _blend(image: FloatArray, window: _Window, fill: FloatArray, opacity: FloatArray) -> tuple[FloatArray, Mask]:
    """Lay a fill over a window of the image; the mask holds what visibly changed."""
    top, left = window
    h, w = opacity.shape
    view = image[top : top + h, left : left + w]
    blended = np.clip(view + opacity * (fill - view), 0, 1, dtype=np.float32)
    changed = image.copy()
    changed[top : top + h, left : left + w] = blended
    visible = (np.abs(blended - view) > VISIBLE).astype(np.uint8)
    if min(h, w) >= 5:  # inside a defect some pixels happen to look the same
        visible = cv2.morphologyEx(visible, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    mask = np.zeros(image.shape, dtype=np.bool_)
    mask[top : top + h, left : left + w] = visible > 0
    return changed, mask


def _add(image: FloatArray, window: _Window, change: FloatArray) -> tuple[FloatArray, Mask]:
    """Add a change to a window; where black cannot get darker nor white brighter, the other way round."""
    top, left = window
    view = image[top : top + change.shape[0], left : left + change.shape[1]]
    room = np.where(change > 0, 1 - view, view)  # (h, w)
    if float((np.abs(change) * room).sum()) < 0.15 * float(np.abs(change).sum()):
        change = -change
    return _blend(image, window, view + change, np.ones_like(view))


def _visible(
    image: FloatArray, draw: Callable[[], tuple[FloatArray, Mask]], rng: np.random.Generator
) -> tuple[FloatArray, Mask]:
    """Draw until something can be noticed; what an even surface cannot show (a blur, a warp) becomes a stain there."""
    for _ in range(_N_ATTEMPTS):
        changed, mask = draw()
        if np.abs(changed - image).max() >= NOTICED:
            return changed, mask
    return stain(image, rng)
