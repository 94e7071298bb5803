"""A grey picture of any size that is never whole in memory as float32: it is made strip by strip of smaller samples.

Most pictures are small enough to be made once and kept, so that nothing here costs them anything. What colour adds to
the grey is made anew each time that it is asked for: it is looked at once, and small. `read_all` opens many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blemish.errors import ImageError, UnreadError
from blemish.images import (
    DIFFERENCES,
    Samples,
    as_image,
    as_samples,
    colour_difference,
    read_samples,
    resize,
    samples_of,
)
from blemish.results import FloatArray

KEPT: Final = 2**25  # pixels of the largest picture that is kept as float32: 134 MB; most photographs are smaller
STRIP: Final = 2**22  # pixels of a larger one that are float32 at once: 17 MB
_N_FAILURES_NAMED: Final = 10  # that one error names


class GreyImage:
    """A grey picture: ``(H, W)`` float32, made as far as it is asked for.

    Args:
        height, width: its size in pixels, 1 or more.
        make: (first, last + 1) -> these rows, ``(last + 1 - first, W)`` float32.
        samples: (first, last + 1) -> these rows with their colours, as `images.as_image` takes them; None: there are no
            colours.
    """

    def __init__(
        self,
        height: int,
        width: int,
        make: Callable[[int, int], FloatArray],
        samples: Callable[[int, int], NDArray[Any]] | None = None,
    ) -> None:
        self.shape = height, width
        self._make = make
        self._samples = samples
        self._is_kept = height * width > KEPT  # a larger one never is

    @staticmethod
    def open(path: Path | str) -> GreyImage:
        """Read an image file.

        Raises:
            ImageError: as for `images.read_image`.
        """
        return GreyImage.of_samples(read_samples(path))

    @staticmethod
    def decode(data: bytes, name: str) -> GreyImage:
        """Read the bytes of an image file as `open` reads the file; errors call it by its name.

        Raises:
            ImageError: as for `images.read_image`.
        """
        return GreyImage.of_samples(samples_of(data, name))

    @staticmethod
    def of_samples(samples: Samples) -> GreyImage:
        """Take an image file that was read already."""
        return GreyImage._of_rows(samples.height, samples.width, samples.rows)

    @staticmethod
    def of(array: NDArray[Any]) -> GreyImage:
        """Take an array as `images.as_image` does, and turn it to grey when it is asked for.

        Raises:
            ImageError: it has another shape. What else is wrong with it is told when it is asked for.
        """
        samples = as_samples(array)
        return GreyImage._of_rows(samples.shape[0], samples.shape[1], lambda top, bottom: samples[top:bottom])

    @staticmethod
    def _of_rows(height: int, width: int, rows: Callable[[int, int], NDArray[Any]]) -> GreyImage:
        has_colours = rows(0, 1).ndim == 3
        return GreyImage(height, width, lambda top, bottom: as_image(rows(top, bottom)), rows if has_colours else None)

    def without_colours(self) -> GreyImage:
        """Return the grey alone, which once it is made and kept (`rows`) holds nothing of the file."""
        grey = GreyImage(*self.shape, self._make)
        grey._is_kept = self._is_kept
        return grey

    def differences(self) -> tuple[GreyImage, ...]:
        """Return what colour adds: blue less grey and red less grey (`images.colour_difference`); empty if nothing."""
        samples = self._samples
        if samples is None:
            return ()

        def difference(channel: int) -> GreyImage:
            return GreyImage(*self.shape, lambda top, bottom: colour_difference(samples(top, bottom), channel))

        return tuple(difference(channel) for channel in DIFFERENCES)

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


def read_all(paths: Sequence[Path], use: Callable[[int, GreyImage], None] = lambda index, image: None) -> None:
    """Read images one after the other, and name all that cannot be read, not only the first.

    Args:
        paths: image files.
        use: called with the index and the picture of each that could be read.

    Raises:
        ImageError: some could not be read.
    """
    failures = []
    for index, path in enumerate(paths):
        try:
            image = GreyImage.open(path)
        except ImageError as error:
            failures.append(str(error))
        else:
            try:
                use(index, image)
            except MemoryError as error:
                raise UnreadError(
                    f"'{path}', image {index + 1} of {len(paths)}: no memory is left for it. Free some, or give fewer "
                    "or smaller images."
                ) from error
    if failures:
        more = "\n  ..." if len(failures) > _N_FAILURES_NAMED else ""
        listed = "\n  ".join(failures[:_N_FAILURES_NAMED])
        raise ImageError(
            f"{len(failures)} of {len(paths)} images cannot be read. Repair or remove them:\n  {listed}{more}"
        )


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
