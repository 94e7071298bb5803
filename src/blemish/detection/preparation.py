"""How an image is brought to the pixels that a graph takes, and where the cells of its map lie on the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blemish.detection.pose import Pose, Turning
from blemish.detection.scoring import Geometry
from blemish.images import DIFFERENCES, own_range, rgb
from blemish.results import FloatArray
from blemish.strips import STRIP, GreyImage

_TOUCHED = 1e-3  # share of a prepared pixel that must be in a mask: less is rounding
_LEAST_PX: Final = 32  # no axis is shrunk below this: a smaller image has nothing left to look at


def shrunk(side: int, scale: float) -> float:
    """Return the length of a side of so many pixels at a scale of at most 1, but never less than can be looked at."""
    return max(side * scale, min(side, _LEAST_PX))


class Prepared(GreyImage):
    """An image as a graph takes it: grey, and where the graph asks for them what colour adds to it.

    Args:
        height, width, make: as for `GreyImage`.
        pose: how the part lay before the image was turned; None: it was not.
        colours: blue less grey and red less grey, ``(H, W)`` in [0, 1], 0.5 where there is no colour; empty: not asked
            for.
    """

    def __init__(
        self,
        height: int,
        width: int,
        make: Callable[[int, int], FloatArray],
        pose: Pose | None = None,
        colours: tuple[GreyImage, ...] = (),
    ) -> None:
        super().__init__(height, width, make)
        self.pose = pose
        self._colours = colours

    def pixels(self, top: int, bottom: int) -> FloatArray:
        """Return the rows from top to before bottom as a graph takes them: ``(1 or 3, rows, W)``."""
        return np.stack([plane.rows(top, bottom) for plane in (self, *self._colours)])

    def all_pixels(self) -> FloatArray:
        """Return all rows as a graph takes them: ``(1 or 3, H, W)``."""
        if not self._colours:
            return self.whole()[None]
        return np.stack([plane.whole() for plane in (self, *self._colours)])

    def picture(self, top: int, bottom: int) -> FloatArray:
        """Return some rows to look at, see `picture`."""
        return picture(self.pixels(top, bottom))

    def with_grey(self, grey: FloatArray) -> Prepared:
        """Return the part as it lies here and in the colours that it has here, but with another grey, ``(H, W)``."""
        return Prepared(*self.shape, lambda top, bottom: grey[top:bottom], self.pose, self._colours)


def as_batch(image: FloatArray) -> FloatArray:
    """Make a prepared image, ``(H, W)`` or ``(1 or 3, H, W)``, what a graph takes: ``(1, 1 or 3, H, W)``."""
    return image.reshape(1, -1, *image.shape[-2:])


def picture(pixels: FloatArray) -> FloatArray:
    """Make what a graph takes something to look at: the contrast of its grey, in colours as strong as they are.

    Stretched like the grey of an even surface, strong colours would be cut off, and all that the grey shows with them.

    Args:
        pixels: ``(1 or 3, H, W)``, as `Prepared.pixels` returns them.

    Returns:
        ``(H, W)`` grey or ``(H, W, 3)`` RGB, float32 in [0, 1].
    """
    grey, *colours = pixels
    return rgb(grey, *(2 * plane - 1 for plane in colours)) if colours else grey


@dataclass(frozen=True)
class Preparation:
    """Size, grey range, colours and turn of prepared images, and the cells that the network makes of them.

    Two sizes are possible: one and the same ``height`` and ``width`` for all, or the image's own size times ``scale``,
    which keeps its shape. Two grey ranges are possible: each image's own (the paper's), or ``black`` to ``white`` for
    all, which keeps what a brighter or darker image has to say. Where parts lie in different turns, and all images have
    one size, every image is turned until its part lies as on the others (``turning``). Where good images have colours,
    what colour adds to the grey is sized and turned like it, but not stretched (``coloured``).
    """

    height: int | None  # rows of prepared images; None: the image's own times scale
    width: int | None  # columns; None exactly where height is None
    scale: float  # prepared pixels per image pixel where the size is the image's own; at most 1
    black: float | None  # grey value, 0 to 1, that becomes 0; None: each image's smallest
    white: float | None  # grey value that becomes 1; None exactly where black is None
    multiple: int  # prepared images are continued at their lower and right edges to a multiple of so many pixels
    patch_size: int  # prepared pixels a side that one cell of the distance map sees
    stride: int  # prepared pixels from cell to cell
    centre: float  # prepared pixels from the upper (left) edge of the image to the centre of the first cell
    turning: Turning | None = None  # by what images are turned; None: they are not
    coloured: bool = False  # blue less grey and red less grey are taken beside the grey; needs black and white

    @classmethod
    def of_squares(cls, side: int, patch_size: int, stride: int) -> Preparation:
        """Prepare as the paper does: squares, each image's own grey range, and cells that see whole patches.

        Source: Tayeh et al. 2020, sec. IV-B.
        """
        return cls(
            height=side,
            width=side,
            scale=1.0,
            black=None,
            white=None,
            multiple=1,
            patch_size=patch_size,
            stride=stride,
            centre=patch_size / 2,
        )

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns to which an image of this size is resized, before it is continued."""
        if self.height is not None and self.width is not None:
            return self.height, self.width
        return self._scaled(height), self._scaled(width)

    def _scaled(self, side: int) -> int:
        return round(shrunk(side, self.scale))

    def apply(self, image: FloatArray) -> FloatArray:
        """Prepare the grey of an image that is whole in memory, as `prepared` does.

        Args:
            image: ``(H, W)`` float32 in [0, 1], as `images.read_image` returns it.

        Returns:
            ``(H', W')`` float32 in [0, 1].
        """
        grey = GreyImage(image.shape[0], image.shape[1], lambda top, bottom: image[top:bottom])
        return replace(self, coloured=False).prepared(grey).whole()

    def prepared(self, image: GreyImage) -> Prepared:
        """Prepare an image of any size, as far as the result is asked for.

        Args:
            image: ``(H, W)`` in [0, 1].

        Returns:
            ``(H', W')`` in [0, 1]; what lies beyond black and white is cut off. With ``coloured`` it has colours too, a
            grey image none of any strength.
        """
        resized = image.resized(*self.size(*image.shape))
        if self.black is None or self.white is None:
            black, span = own_range(*resized.range())
        else:
            black, span = np.float32(self.black), np.float32(self.white - self.black)
        as_it_lies = self._as_it_lies(resized, lambda grey: (grey - black) / span)
        colours = self._colours_as_they_lie(image) if self.coloured else ()
        pose = None if self.turning is None else self.turning.pose(as_it_lies.whole())
        if pose is not None:
            as_it_lies, *rest = (_turned(plane, pose) for plane in (as_it_lies, *colours))
            colours = tuple(rest)
        return Prepared(*as_it_lies.shape, as_it_lies.rows, pose, colours)

    def _colours_as_they_lie(self, image: GreyImage) -> tuple[GreyImage, ...]:
        size = self.size(*image.shape)
        planes = tuple(plane.resized(*size) for plane in image.differences())
        if not planes:  # a grey image among coloured ones
            none = GreyImage(*size, lambda top, bottom: np.zeros((bottom - top, size[1]), dtype=np.float32))
            planes = (none,) * len(DIFFERENCES)
        # Not stretched like the grey: colours may be far stronger than an even surface differs in grey.
        return tuple(self._as_it_lies(plane, lambda more: 0.5 + 0.5 * more) for plane in planes)

    def _as_it_lies(self, resized: GreyImage, stretched: Callable[[FloatArray], FloatArray]) -> GreyImage:
        """Bring the values of one plane of an image, which has its size, into [0, 1], and continue it."""

        def rows(top: int, bottom: int) -> FloatArray:
            return np.asarray(np.clip(stretched(resized.rows(top, bottom)), 0, 1))

        return self._continued(GreyImage(*resized.shape, rows))

    def _continued(self, image: GreyImage) -> GreyImage:
        height, width = image.shape
        below, right = (-side % self.multiple for side in image.shape)
        if not below and not right:
            return image

        def continued(top: int, bottom: int) -> FloatArray:
            rows = image.rows(min(top, height - 1), min(bottom, height))
            return np.pad(rows, ((0, bottom - top - len(rows)), (0, right)), mode="edge")

        return GreyImage(height + below, width + right, continued)

    def cells(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the distance map of a prepared image of this size."""
        h, w = (int(side - 2 * self.centre) // self.stride + 1 for side in (height, width))
        return h, w

    def touched(self, mask: NDArray[np.bool_], height: int, width: int, pose: Pose | None = None) -> NDArray[np.bool_]:
        """Prepare a mask as its image is prepared.

        Args:
            mask: of any size; it stands for the whole image.
            height, width: of the image.
            pose: of its part, by which it was turned.

        Returns:
            ``(H', W')`` bool, as large as the prepared image: true where any part of a prepared pixel is in the mask.
        """
        share = self._mask(mask, height, width).whole()
        return (share if pose is None else pose.turned(share)) > _TOUCHED

    def _mask(self, mask: NDArray[np.bool_], height: int, width: int) -> GreyImage:
        rows, columns = mask.shape
        grey = GreyImage(rows, columns, lambda top, bottom: mask[top:bottom].astype(np.float32))
        resized = grey.resized(*self.size(height, width))
        return self._continued(resized)

    def counted(
        self, ignored: NDArray[np.bool_] | None, height: int, width: int, pose: Pose | None = None
    ) -> FloatArray | None:
        """Say which cells of the distance map of an image count.

        Those do that speak for no pixel that is ignored; of an image that was turned only those that lay on it.

        Args:
            ignored: a mask of any size, which stands for the whole image; see `zones`. None: nothing is.
            height, width: of the image.
            pose: of its part, by which it was turned.

        Returns:
            ``(h, w)`` float32, 1 where a cell counts and 0 where it does not; None: all count.
        """
        outside = None if ignored is None else self._outside(ignored, height, width)
        if pose is None:
            return outside
        on_image = pose.on_image(*self.cells(*self.size(height, width))).astype(np.float32)
        return on_image if outside is None else on_image * (pose.turned(1 - outside) <= _TOUCHED)

    def _outside(self, ignored: NDArray[np.bool_], height: int, width: int) -> FloatArray:
        """Return 1 for the cells of an image, as it lies, that speak for no pixel that is ignored, and 0 for others."""
        touched = self._mask(ignored, height, width)
        first = round(self.centre - self.stride / 2)  # prepared pixel where the first cell begins
        h, w = self.cells(*touched.shape)
        counted = np.empty((h, w), dtype=np.float32)
        step = max(STRIP // (self.stride * touched.shape[1]), 1)
        for i in range(0, h, step):
            n = min(step, h - i)
            band = touched.rows(first + i * self.stride, first + (i + n) * self.stride)
            pixels = band[:, first : first + w * self.stride].reshape(n, self.stride, w, self.stride)
            counted[i : i + n] = (pixels <= _TOUCHED).all(axis=(1, 3))
        return counted

    def geometry(self, height: int, width: int) -> Geometry:
        """Say where cells lie on an image of this size."""
        rows, columns = self.size(height, width)
        return Geometry(self.centre, self.stride, scale_y=height / rows, scale_x=width / columns)


def _turned(plane: GreyImage, pose: Pose) -> GreyImage:
    turned = pose.turned(plane.whole())
    return GreyImage(*plane.shape, lambda top, bottom: turned[top:bottom])
