"""What good images have in common, looked at before anything is learned: sizes, grey range, colours, how parts lie.

From that follow, the same way for every category, how images are prepared and how they are compared; the user is told
what was chosen and why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.detection.pose import (
    REACH,
    SIDE,
    Pose,
    PoseFinder,
    Turning,
    in_circle,
    middle_square,
    normalised,
    picture_to_text,
)
from blemish.detection.preparation import Preparation, shrunk
from blemish.errors import DatasetError
from blemish.images import resize
from blemish.learning.network import WIDE, BoundedNetwork
from blemish.learning.reference import Reference
from blemish.progress import Progress, silent
from blemish.results import FloatArray
from blemish.strips import GreyImage, read_all

AREA_PX: Final = {Reference.LOCATION: 384**2, Reference.CATEGORY: 800**2}  # largest area of prepared images
COARSE_AREA_PX: Final = 256**2  # of parts that are placed, and of aligned ones that the network is not trained on
SAME_SIZE: Final = 0.05  # sizes that differ by no more than this share are one size
MOST_ODD: Final = 0.1  # share of the images that may have another size: a few oversights do not unmake a line
ALIGNED: Final = 0.3  # share of what images show that their mean must explain for parts to count as aligned
PLACED: Final = 0.5  # share above which parts count as placed, if it is explained as they lie
_MOST_OBLONG: Final = 1.5  # times that an image may be longer than wide if parts may turn freely on it
_TOLD: Final = 0.75  # share that the mean of turned images must explain
_HALVED: Final = 0.5  # share that turning may leave of what the mean does not explain, or parts are taken as they lie
_REPEATED: Final = 0.7  # correlation of a template with itself elsewhere above which it shows a pattern and no part
_FAR: Final = 12.0  # pixels of the template by which it is moved for that, at least
_LEAST_OVERLAP: Final = 0.25  # share of it that must lie upon itself then
_MARGIN: Final = 3.0  # degrees by which, at least, parts may be turned further than any that was seen
_TURNS: Final = ((-15.0, 30.0), (0.0, 360.0))  # degrees where the turns begin that are tried, and how far they reach
_TURNED: Final = 48  # images that are turned to find out
_COMPARED: Final = 12  # of these, that are compared with each of
_CANDIDATES: Final = 4  # so many, the most typical of which the others are turned to
_ROUNDS: Final = 2  # in which all are turned: to the most typical, then to the mean of the round before
_SMALL: Final = 64  # pixels a side at which images are compared with their mean
_SHADING: Final = 8.0  # pixels of these; coarser differences are light, not parts
_DEGREE: Final = 4  # of the polynomial that light from the side or a dark corner follow
_NOTEWORTHY: Final = 1.5  # times that images are shrunk; less is no news
_QUANTILES: Final = (0.001, 0.999)  # of all pixels: what lies beyond is glare and dead pixels
_LEAST_RANGE: Final = 0.5 / 255  # of grey values; images with less show nothing. A camera may fill 10 of 16 bits
_LEAST_COLOUR: Final = 1.5 / 255  # a difference of colours; less is the rounding of a camera or a format
_HEADROOM: Final = 0.1  # of the grey range, kept free at both ends for defects brighter or darker than anything good


@dataclass(frozen=True)
class Turned:
    """What was found when good images were turned until their parts lay alike."""

    template: FloatArray  # (SIDE, SIDE), their mean
    poses: tuple[Pose, ...]  # of those that were looked at
    explained_before: float  # share of the variance that the mean explained as they lay

    @property
    def widest_gap(self) -> tuple[float, float]:
        """The widest range of turns in which no part lies, in degrees: where it ends and parts begin, and its width."""
        degrees = np.sort([pose.degrees for pose in self.poses])
        gaps = np.diff(degrees, append=degrees[0] + 360)  # after each
        widest = int(gaps.argmax())
        return float(degrees[(widest + 1) % len(degrees)]), float(gaps[widest])

    @property
    def extent(self) -> float:
        """Degrees over which parts lie turned."""
        return 360 - self.widest_gap[1]


@dataclass(frozen=True)
class Survey:
    """What a look at good images has shown."""

    n_images: int
    height: int  # rows of the median image
    width: int
    same_size: bool  # all but `odd` have nearly the median size
    odd: tuple[str, ...]  # names of images of another size, where they are few; otherwise none
    darkest: float  # grey values between which nearly all pixels lie
    brightest: float
    explained: float  # share of the variance that the mean explains, 0 to 1, without `odd`; 0 if sizes differ
    coloured: bool = False  # most images show colours
    turned: Turned | None = None  # how parts lie in different turns; None: they are taken as they lie

    @property
    def reference(self) -> Reference:
        """How images are compared: at the same location where their mean explains much of them."""
        return Reference.LOCATION if self.explained >= ALIGNED else Reference.CATEGORY

    @property
    def explained_as_they_lie(self) -> float:
        """The share of the variance that the mean explains before any image is turned."""
        return self.explained if self.turned is None else self.turned.explained_before

    @property
    def is_placed(self) -> bool:
        """Say whether parts lie alike as they come, or nearly so, and not only after they were turned."""
        return self.explained_as_they_lie > PLACED

    def as_they_lie(self) -> Survey:
        """Return the same for images that are not turned."""
        return replace(self, explained=self.explained_as_they_lie, turned=None)

    def preparation(self, reference: Reference, *, is_trained_on: bool = True) -> Preparation:
        """Choose size, grey range and colours of prepared images.

        Parts that are placed are compared at about 256 x 256 pixels: what is missing or moved shows at any size, and a
        cell then sees more of the part. Where they are not, more must be seen of what lies there: 384 x 384. But a
        network that is not trained on these images (``is_trained_on``) is lost in such detail, and looks at 256 x 256.
        Textures keep up to 800 x 800: their defects may be as fine as their grain. Images are never enlarged, and keep
        their shape unless all have nearly the same one.
        """
        is_coarse = reference is Reference.LOCATION and (self.is_placed or not is_trained_on)
        area = COARSE_AREA_PX if is_coarse else AREA_PX[reference]
        scale = min(1.0, math.sqrt(area / (self.height * self.width)))
        stride = BoundedNetwork.STRIDE
        fixed = reference is Reference.LOCATION or (self.same_size and not self.odd)
        black, white = with_headroom(self.darkest, self.brightest)
        prepare = Preparation(
            height=_side(self.height, scale) if fixed else None,
            width=_side(self.width, scale) if fixed else None,
            scale=scale,
            black=black,
            white=white,
            multiple=stride,
            patch_size=WIDE.view,
            stride=stride,
            centre=stride / 2,
            coloured=self.coloured,
        )
        if self.turned is None or reference is not Reference.LOCATION:
            return prepare
        return replace(prepare, turning=_turning(self.turned))

    def reasons(self, reference: Reference) -> str:
        """Say in words how images will be compared, and why."""
        share = f"the mean of {self.n_images} good images explains {self.explained:.0%} of what they show"
        why = share if self.same_size else "the images differ in size"
        if reference is not self.reference:
            why = f"as asked for, although {why}"
        if self.odd:
            named = ", ".join(self.odd)
            why += f" (of another size, and looked at all the same: {named}; are they of this part, and whole?)"
        if reference is Reference.LOCATION and self.turned is not None:
            return (
                "Every image is turned until its part lies as on the others, and each location is compared with the "
                f"same location of good images: so {why}, as they lie {self.turned.explained_before:.0%}. What is "
                "turned out of the picture, at its corners, is not inspected."
            )
        if reference is Reference.LOCATION:
            return f"Each location is compared with the same location of good images: {why}."
        return f"Each location is compared with good images anywhere: {why}."

    def remarks(self, preparation: Preparation) -> list[str]:
        """Say in words how much smaller images will be looked at than they are, and whether in colour, if so."""
        rows, columns = preparation.size(self.height, self.width)
        times = max(self.height / rows, self.width / columns)
        said = []
        if times >= _NOTEWORTHY:
            said.append(
                f"Images are shrunk from {self.height} x {self.width} pixels to {rows} x {columns} for that: what is "
                f"narrower than {times:.0f} pixels is then narrower than one."
            )
        if preparation.coloured:
            said.append("Their colours are compared too, for most of the images show some.")
        return said


def survey(paths: Sequence[Path], progress: Progress = silent) -> Survey:
    """Look at good images.

    Args:
        paths: the images; at least two.
        progress: told after each image.

    Raises:
        ImageError: some images cannot be read; all of them are named.
        DatasetError: all images are the same, or of one and the same colour.
    """
    sizes: list[tuple[int, int]] = []
    greys: list[FloatArray] = []  # every image's, thinned out
    colours: list[float] = []  # strongest of every image, but for a few pixels
    small: list[FloatArray] = []
    squares: list[FloatArray] = []

    def look(index: int, source: GreyImage) -> None:
        image = source.whole()
        sizes.append(source.shape)
        step = max(math.isqrt(image.size // _SMALL**2), 1)
        strengths = (np.abs(thinned(plane, step)) for plane in source.differences())
        colours.append(max((float(np.quantile(each, _QUANTILES[1])) for each in strengths), default=0.0))
        greys.append(image[::step, ::step].ravel())
        small.append(resize(image, _SMALL, _SMALL))
        squares.append(middle_square(image))
        progress("looking at good images", index + 1, len(paths))

    read_all(paths, look)
    sides = np.array(sizes)  # (n, 2)
    darkest, brightest = grey_range(np.concatenate(greys))
    pictures = np.stack(small)  # (n, 64, 64)
    if len(pictures) > 1 and not (pictures != pictures[0]).any():
        raise DatasetError(
            f"All {len(pictures)} good images look exactly alike. Expected photographs of different parts: from copies "
            "of one picture nothing can be learned about how good parts differ."
        )
    if brightest - darkest < _LEAST_RANGE:
        raise DatasetError(
            f"The good images are all of one colour (grey values from {darkest:.3f} to {brightest:.3f}). Expected "
            "photographs of parts; check exposure and export."
        )
    median = np.median(sides, axis=0).round().astype(int)
    usual = (np.abs(sides - median) <= SAME_SIZE * median).all(axis=1)  # (n,)
    same_size = bool(np.mean(~usual) <= MOST_ODD)
    explained = _explained_by_mean(pictures[usual]) if same_size else 0.0
    turned = None
    if same_size and median.max() <= _MOST_OBLONG * median.min():
        turned = _turned(np.stack(squares)[usual], explained)
    return Survey(
        n_images=len(sides),
        height=int(median[0]),
        width=int(median[1]),
        same_size=same_size,
        odd=tuple(path.name for path, is_usual in zip(paths, usual, strict=True) if not is_usual) if same_size else (),
        darkest=darkest,
        brightest=brightest,
        explained=explained if turned is None else turned[1],
        coloured=bool(np.mean(np.array(colours) > _LEAST_COLOUR) > 0.5),
        turned=None if turned is None else turned[0],
    )


def _side(side: int, scale: float) -> int:
    """Return to how many pixels a side is resized where all images get one size: whole cells, some at least."""
    stride = BoundedNetwork.STRIDE
    return max(round(shrunk(side, scale) / stride), 1) * stride


def thinned(plane: GreyImage, step: int) -> FloatArray:
    """Take every so many-th row and column of a plane; a large one is never whole in memory for it."""
    return np.concatenate([strip[-top % step :: step, ::step] for top, strip in plane.strips()])


def grey_range(greys: FloatArray) -> tuple[float, float]:
    """Return the grey values between which nearly all pixels lie."""
    darkest, brightest = np.quantile(greys, _QUANTILES)
    return float(darkest), float(brightest)


def with_headroom(darkest: float, brightest: float) -> tuple[float, float]:
    """Return what becomes black and what becomes white: there is room for defects darker and brighter than all good."""
    margin = _HEADROOM * (brightest - darkest)
    return darkest - margin, brightest + margin


def _explained_by_mean(pictures: FloatArray) -> float:
    """Return the share of variance that the mean picture explains, after shading and contrast are taken out.

    Shading is the same on every picture too. Left in, it would pass for a part that always lies in one place.

    Args:
        pictures: ``(n, H, W)``.
    """
    even = pictures - _shading(pictures)
    flat = np.stack([picture - cv2.GaussianBlur(picture, (0, 0), _SHADING) for picture in even])
    flat /= np.maximum(flat.std(axis=(1, 2), keepdims=True), 1e-6)
    n = len(flat)
    if n < 2:
        return 0.0
    # Each picture is compared with the mean of the others: a mean of few explains itself. That it also says less than a
    # mean of many is not made good: so does a place of which few images are known (docs/experiments.md, 2026-11-27).
    rest = (flat.sum(axis=0) - flat) / (n - 1)  # (n, H, W)
    return float(np.clip(1 - np.mean((flat - rest) ** 2) / np.mean(flat**2), 0, 1))


def _turned(squares: FloatArray, explained: float) -> tuple[Turned, float] | None:
    """Find out whether parts lie in different turns, and look alike once they are turned.

    First all are turned to the one that most of them resemble, then to their mean: by little, and by any turn where
    that explains so much more again. A part that looks nearly the same in two turns, and always lies in one of them,
    would else be turned round at random, and one that lies the wrong way would not stand out.

    Args:
        squares: ``(n, SIDE, SIDE)``, the middle of every image.
        explained: share of their variance that the mean of the images explains as they lie.

    Returns:
        What was found, and what the mean explains then; None if that is not much more, or they show no part that lies
        somewhere: a pattern that repeats can be laid upon itself in many ways, and a bank knows it better.
    """
    some = squares[np.linspace(0, len(squares) - 1, min(_TURNED, len(squares))).astype(int)]
    compared = some[-_COMPARED:]
    typical = [_explained_by_mean(_turn(PoseFinder(candidate), compared)[0]) for candidate in some[:_CANDIDATES]]
    if max(typical) < ALIGNED:  # textures are not worth the time
        return None
    found, most = None, explained
    for first, beyond in _TURNS:
        template = some[int(np.argmax(typical))]
        for _ in range(_ROUNDS):
            turned, poses = _turn(PoseFinder(template, first, beyond), some)
            template = turned.mean(axis=0)
        told = _explained_by_mean(turned)
        if told >= _TOLD and 1 - told <= _HALVED * (1 - most):
            found, most = Turned(template, poses, explained), told
    if found is None or _likeness_when_moved(found.template) > _REPEATED:
        return None
    return found, most


def _turn(finder: PoseFinder, squares: FloatArray) -> tuple[FloatArray, tuple[Pose, ...]]:
    """Turn squares ``(n, SIDE, SIDE)`` until parts lie as on its template; return them and how the parts lay."""
    poses = tuple(finder.pose(square) for square in squares)
    return np.stack([pose.turned(square) for pose, square in zip(poses, squares, strict=True)]), poses


def _likeness_when_moved(template: FloatArray) -> float:
    """Return how alike a template and itself are at best when it is moved far, as a correlation: near 1 for patterns.

    What is moved out of the circle has no counterpart; correlations are divided by the share that has one.
    """
    side = 2 * SIDE  # room to move into
    inside = in_circle(SIDE, SIDE)

    def with_itself(picture: FloatArray) -> NDArray[np.float64]:
        power = np.abs(np.fft.rfft2(picture, s=(side, side))) ** 2
        alike = np.fft.irfft2(power, s=(side, side)).astype(np.float64)
        return np.asarray(alike / alike[0, 0])

    overlap = with_itself(inside.astype(np.float32))
    alike = with_itself(normalised(template)) / np.maximum(overlap, _LEAST_OVERLAP)
    moved = np.fft.fftfreq(side, 1 / side)
    far = np.hypot(moved[:, None], moved[None])
    return float(alike[(far >= _FAR) & (overlap >= _LEAST_OVERLAP)].max())


def _turning(found: Turned) -> Turning:
    """Say by what images are turned: as good ones were, and a little further.

    Of n draws from a range the n + 1 gaps, among them those at its ends, are equal in the mean; twice as much is left.
    """
    n = len(found.poses)
    margin = _MARGIN + 2 * found.extent / max(n - 1, 1)
    moved = max(max(abs(pose.down), abs(pose.right)) for pose in found.poses)
    return Turning(
        template=picture_to_text(found.template),
        first=(found.widest_gap[0] - margin) % 360,
        beyond=min(found.extent + 2 * margin, 360.0),
        reach=min(moved * (n + 1) / max(n - 1, 1) + 1 / SIDE, REACH),
    )


def _shading(pictures: FloatArray) -> FloatArray:
    """Fit a polynomial in row and column to every picture, by least squares: ``(n, H, W)`` to the same shape."""
    n, height, width = pictures.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    terms = [y**i * x**j for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    basis, _ = np.linalg.qr(np.stack(terms).reshape(len(terms), -1).T)  # (H W, terms), orthonormal
    flat = pictures.reshape(n, -1)
    return np.asarray((flat @ basis @ basis.T).reshape(pictures.shape), dtype=np.float32)
