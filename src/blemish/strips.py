"""A grey picture of any size that is never whole in memory as float32: it is made strip by strip of smaller samples.

Most pictures are small enough to be made once and kept, so that nothing here costs them anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from blemish.images import Samples, as_image, as_samples, read_samples, resize, samples_of
from blemish.results import FloatArray

KEPT: Final = 2**25  # pixels of the largest picture that is kept as float32: 134 MB; most photographs are smaller
STRIP: Final = 2**22  # pixels of a larger one that are float32 at once: 17 MB


class GreyImage:
    """A grey picture: ``(H, W)`` float32, made as far as it is asked for.

    Args:
        height, width: its size in pixels, 1 or more.
        make: (first, last + 1) -> these rows, ``(last + 1 - first, W)`` float32.
    """

    def __init__(self, height: int, width: int, make: Callable[[int, int], FloatArray]) -> None:
        self.shape = height, width
        self._make = make
        self._is_kept = height * width > KEPT  # a larger one never is

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Read an image file.

        Raises:
            ImageError: as for `images.read_image`.
        """
        return cls.of_samples(read_samples(path))

    @classmethod
    def decode(cls, data: bytes, name: str) -> Self:
        """Read the bytes of an image file as `open` reads the file; errors call it by its name.

        Raises:
            ImageError: as for `images.read_image`.
        """
        return cls.of_samples(samples_of(data, name))

    @classmethod
    def of_samples(cls, samples: Samples) -> Self:
        """Take an image file that was read already."""
        return cls(samples.height, samples.width, lambda top, bottom: as_image(samples.rows(top, bottom)))

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        """Take an array as `images.as_image` does, and turn it to grey when it is asked for.

        Raises:
            ImageError: it has another shape. What else is wrong with it is told when it is asked for.
        """
        samples = as_samples(array)
        return cls(samples.shape[0], samples.shape[1], lambda top, bottom: as_image(samples[top:bottom]))

    def rows(self, top: int, bottom: int) -> FloatArray:
        """Return the rows from top to before bottom; they must not be changed.

        Raises:
            ImageError: they cannot be used.
        """
        if not self._is_kept:
            whole = self._make(0, self.shape[0])
            self._make, self._is_kept = lambda first, end: whole[first:end], True
        return self._make(top, bottom)

    def strips(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield all rows, in order, some at once: the number of the first, and the rows."""
        height, width = self.shape
        step = max(STRIP // width, 1)
        for top in range(0, height, step):
            yield top, self.rows(top, min(top + step, height))

    def whole(self) -> FloatArray:
        """Return all rows; of a large picture they need as much memory as they need."""
        height, width = self.shape
        if height * width <= KEPT:
            return self.rows(0, height)
        whole = np.empty(self.shape, dtype=np.float32)
        for top, strip in self.strips():
            whole[top : top + len(strip)] = strip
        return whole

    def range(self) -> tuple[np.float32, np.float32]:
        """Return the smallest and the largest value."""
        ends = [(strip.min(), strip.max()) for _, strip in self.strips()]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def resized(self, height: int, width: int) -> GreyImage:
        """Return the picture at another size, as `images.resize` makes it; large ones differ from it by rounding."""
        if (height, width) == self.shape:
            return self
        if max(height * width, self.shape[0] * self.shape[1]) <= KEPT:
            return GreyImage(height, width, lambda top, bottom: resize(self.whole(), height, width)[top:bottom])
        return GreyImage(height, width, partial(_resized_rows, self, height, width))

    def fitted(self, side: int) -> GreyImage:
        """Return the picture shrunk to at most so many pixels a side; a small one stays as it is."""
        factor = side / max(self.shape)
        if factor >= 1:
            return self
        height, width = (max(1, round(factor * length)) for length in self.shape)
        return self.resized(height, width)


def _resized_rows(image: GreyImage, height: int, width: int, top: int, bottom: int) -> FloatArray:
    """Make some rows of a resized picture: first every row is brought to its width, then rows are summed."""
    rows = np.empty((bottom - top, width), dtype=np.float32)
    step = max(STRIP * height // (image.shape[0] * max(image.shape[1], width)), 1)  # whose sources fit a strip
    for begin in range(top, bottom, step):
        sums = [_sum_for(row, height, image.shape[0]) for row in range(begin, min(begin + step, bottom))]
        first, end = sums[0][0], sums[-1][0] + len(sums[-1][1])
        sources = resize(image.rows(first, end), end - first, width)
        for row, (source, weights) in enumerate(sums, start=begin - top):
            rows[row] = weights @ sources[source - first : source - first + len(weights)]
    return rows


def _sum_for(row: int, height: int, source_height: int) -> tuple[int, FloatArray]:
    """Return which rows of a source make a row of a picture of so many rows: the first, and the weight of each.

    They are those that OpenCV takes, by area where rows become fewer and linear where they become more.
    """
    scale = source_height / height
    if scale < 1:
        centre = min(max((row + 0.5) * scale - 0.5, 0.0), source_height - 1.0)
        first = min(int(centre), max(source_height - 2, 0))
        weights = np.array([1 - (centre - first), centre - first])[: source_height - first]
        return first, weights.astype(np.float32)
    first, end = math.floor(row * scale), min(math.ceil((row + 1) * scale), source_height)
    sources = np.arange(first, end)
    covered = np.minimum(sources + 1, (row + 1) * scale) - np.maximum(sources, row * scale)
    return first, (covered / covered.sum()).astype(np.float32)
