"""How a part lies on an image, for parts that lie in different turns: found by a picture of the part, and taken back.

An image of such a part is turned and moved until the part lies as on a template, so that a location means the same
place of the part on every image. What is found there is then told where it lies on the image as it was.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.images import decode_image, resize
from blemish.results import FloatArray

SIDE: Final = 64  # pixels a side of a template: outlines tell how a part lies, details do not
REACH: Final = 1 / 8  # share of the shorter side by which a part may lie beside its usual place
_STEP: Final = 3.0  # degrees between the turns that are tried; what lies between is told by a parabola
# A pose is rounded, so that machines whose sums differ in the last digit turn an image alike.
_ROUNDED_DEGREES: Final = 0.25
_ROUNDED_SHARE: Final = 1 / 1024


@dataclass(frozen=True)
class Pose:
    """How a part lies: as on the template, but turned around the middle of the image and then moved."""

    degrees: float  # clockwise as one looks at the image, 0 to 360
    down: float  # share of the shorter side of the image
    right: float

    def turned(self, picture: FloatArray) -> FloatArray:
        """Turn and move a picture until the part lies as on the template.

        Args:
            picture: ``(H, W)`` float32, the image or anything that lies on it in the same frame.

        Returns:
            ``(H, W)`` float32, bilinear; beyond the border the picture goes on as its border does.
        """
        return _sampled(picture, *self._whence_all(*picture.shape))

    def on_image(self, height: int, width: int) -> NDArray[np.bool_]:
        """Say which cells of a turned picture lay on the image: ``(height, width)``."""
        y, x = self._whence_all(height, width)
        return np.asarray((y > -1) & (y < height) & (x > -1) & (x < width))

    def as_it_lay(self, turned: FloatArray) -> FloatArray:
        """Take what was found on a turned image back to the image as it lay.

        Args:
            turned: ``(h, w)`` float32, 0 or more, one number per cell.

        Returns:
            ``(h, w)`` float32. Every number of ``turned`` stands at the cell where its own lay, the largest where there
            are several, so that no peak is lost. Cells that this leaves out have that of the nearest.
        """
        h, w = turned.shape
        middle = np.reshape(((h - 1) / 2, (w - 1) / 2), (2, 1))
        cells = np.indices((h, w)).reshape(2, -1)  # (2, h w), of the image
        move = min(h, w) * np.reshape((self.down, self.right), (2, 1))
        nearest = np.rint(self._rotation.T @ (cells - middle - move) + middle).astype(int)
        known = ((nearest >= 0) & (nearest < [[h], [w]])).all(axis=0)
        found = np.zeros((h, w), dtype=np.float32)
        found[tuple(cells[:, known])] = turned[tuple(nearest[:, known])]
        lay = np.rint(self._whence_all(h, w)).reshape(2, -1).astype(int)
        np.maximum.at(found, tuple(np.clip(lay, 0, [[h - 1], [w - 1]])), turned.ravel())
        return found

    def whence(self, row: float, column: float, height: int, width: int) -> tuple[float, float]:
        """Return row and column at which a place of a turned picture lay before, or of the border if it lay beyond."""
        y, x = self._lay(np.array(row), np.array(column), height, width)
        return float(np.clip(y, 0, height - 1)), float(np.clip(x, 0, width - 1))

    def _whence_all(self, height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows, columns = np.indices((height, width), dtype=float)
        return self._lay(rows, columns, height, width)

    def _lay(
        self, rows: NDArray[np.float64], columns: NDArray[np.float64], height: int, width: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        middle = (height - 1) / 2, (width - 1) / 2
        y, x = rows - middle[0], columns - middle[1]
        (a, b), (c, d) = self._rotation
        side = min(height, width)
        return a * y + b * x + middle[0] + side * self.down, c * y + d * x + middle[1] + side * self.right

    @property
    def _rotation(self) -> NDArray[np.float64]:
        """(row, column) from the middle of the template -> from the middle of the image, ``(2, 2)``."""
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        return np.array([[cos, sin], [-sin, cos]])


@dataclass(frozen=True)
class Turning:
    """By what images are turned, where their parts lie in different turns."""

    template: str  # picture of the part, as `picture_to_text` writes it
    first: float  # degrees clockwise: good parts are turned from here
    beyond: float  # by so many more at most, up to 360
    reach: float  # share of the shorter side of an image by which they are moved at most

    def pose(self, image: FloatArray) -> Pose:
        """Tell how the part lies on an image, among the ways in which good parts lie.

        A part that lies as none of them does is not found, and stands out.

        Args:
            image: ``(H, W)`` float32; the square in its middle is looked at.
        """
        return _finder(self.template, self.first, self.beyond, self.reach).pose(middle_square(image))


class PoseFinder:
    """Tells how a part lies on an image: where the correlation with a turned and moved template is highest.

    Args:
        template: ``(SIDE, SIDE)`` float32 of any range.
        first, beyond, reach: of the turns and moves that are tried, as for `Turning`; by default all turns.
    """

    def __init__(self, template: FloatArray, first: float = 0.0, beyond: float = 360.0, reach: float = REACH) -> None:
        # A turn more at either end, so that the best of the others always has neighbours.
        self._turns = first + _STEP * np.arange(-1, math.ceil(min(beyond, 360 - _STEP) / _STEP) + 2)
        self._moves = np.arange(-math.ceil(reach * SIDE) - 1, math.ceil(reach * SIDE) + 2)
        turned = [normalised(Pose(-float(degrees), 0.0, 0.0).turned(template)) for degrees in self._turns]
        self._spectra = np.conj(np.fft.rfft2(np.stack(turned), axes=(1, 2)))  # (turns, SIDE, ...)

    def pose(self, square: FloatArray) -> Pose:
        """Tell how the part lies on a picture ``(SIDE, SIDE)`` float32."""
        products = np.fft.rfft2(normalised(square)) * self._spectra
        alike = np.fft.irfft2(products, s=(SIDE, SIDE), axes=(1, 2))  # (turns, SIDE, SIDE)
        alike = alike[:, self._moves[:, None], self._moves]  # (turns, moves, moves)
        turn, i, j = (int(n) + 1 for n in np.unravel_index(alike[1:-1, 1:-1, 1:-1].argmax(), _inner(alike.shape)))
        degrees = self._turns[turn] + _STEP * _peak(alike[turn - 1 : turn + 2, i, j])
        down = self._moves[i] + _peak(alike[turn, i - 1 : i + 2, j])
        right = self._moves[j] + _peak(alike[turn, i, j - 1 : j + 2])
        return Pose(
            degrees=_rounded(float(degrees), _ROUNDED_DEGREES) % 360,
            down=_rounded(float(down) / SIDE, _ROUNDED_SHARE),
            right=_rounded(float(right) / SIDE, _ROUNDED_SHARE),
        )


# Its turned templates take longer to make than a pose takes to find.
_finder = lru_cache(maxsize=8)(
    lambda template, first, beyond, reach: PoseFinder(picture_of(template), first, beyond, reach)
)


def picture_to_text(picture: FloatArray) -> str:
    """Write a picture of a part as text: a PNG in base64, its darkest grey black and its brightest white."""
    low, high = float(picture.min()), float(picture.max())
    grey = np.rint((picture - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    return base64.b64encode(cv2.imencode(".png", grey)[1].tobytes()).decode()


def picture_of(text: str) -> FloatArray:
    """Read a picture that `picture_to_text` wrote: ``(SIDE, SIDE)`` float32 in [0, 1].

    Raises:
        ValueError: it is no base64, or has another size. ImageError: it is no image.
    """
    picture = decode_image(base64.b64decode(text, validate=True))
    if picture.shape != (SIDE, SIDE):
        raise ValueError(f"a template of {picture.shape[0]} x {picture.shape[1]} pixels; expected {SIDE} x {SIDE}")
    return picture


def middle_square(image: FloatArray) -> FloatArray:
    """Return the square in the middle of an image ``(H, W)`` as ``(SIDE, SIDE)``: it turns without distortion."""
    side = min(image.shape)
    top, left = ((length - side) // 2 for length in image.shape)
    return resize(image[top : top + side, left : left + side], SIDE, SIDE)


def in_circle(height: int, width: int) -> NDArray[np.bool_]:
    """Tell which pixels of a frame lie in the largest circle around its middle, ``(height, width)``."""
    y, x = np.indices((height, width)) - np.reshape(((height - 1) / 2, (width - 1) / 2), (2, 1, 1))
    return np.asarray(np.hypot(y, x) <= min(height, width) / 2)


def normalised(picture: FloatArray) -> FloatArray:
    """Keep what lies in the circle, with a mean of 0 and a length of 1: light and contrast do not count."""
    circle = in_circle(*picture.shape)
    inside = np.where(circle, picture - picture[circle].mean(), 0)
    return np.asarray(inside / max(float(np.sqrt((inside**2).sum())), 1e-6), dtype=np.float32)


def _peak(values: NDArray[np.floating[Any]]) -> float:
    """Return where the parabola through three values one step apart has its top, from the middle one: -0.5 to 0.5."""
    before, there, after = (float(value) for value in values)
    bend = before - 2 * there + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def _inner(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n - 2 for n in shape)


def _rounded(value: float, step: float) -> float:
    return round(value / step) * step


def _sampled(picture: FloatArray, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> FloatArray:
    """Sample a picture between its pixels; OpenCV would round places to a 32nd of a pixel, in ways that change."""
    height, width = picture.shape
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, right = (rows - top).astype(np.float32), (columns - left).astype(np.float32)
    upper = picture[top, left] * (1 - right) + picture[top, beside] * right
    lower = picture[below, left] * (1 - right) + picture[below, beside] * right
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)
