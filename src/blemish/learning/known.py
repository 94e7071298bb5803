"""Known defects: images of which somebody has marked what is wrong; in training these places are negatives too.

A mask is needed. Without one it is not known which places of a defective image are good, and those are most of them: to
take its worst place for the defect would teach a network what it believes already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blemish.datasets import Sample, content_hash, read_marked
from blemish.detection.preparation import Preparation
from blemish.errors import DatasetError
from blemish.images import read_image, read_mask, read_mask_of
from blemish.results import FloatArray

if TYPE_CHECKING:
    from blemish.learning.nearest import PreparedImages


@dataclass(frozen=True)
class MarkedImages:
    """Defective images that were given to `fit`."""

    samples: dict[str, Sample]  # by content hash: those with a mask that marks something, which are learned from
    n_unmarked: int  # others, which are not

    def note(self) -> str:
        """Say what was learned from."""
        said = f"Learned from the marked defects of {len(self.samples)} defective images, beside the drawn ones."
        if self.n_unmarked:
            said += (
                f" {self.n_unmarked} others have no mask, or an empty one, and were left out: "
                "they can be judged by with `blemish evaluate`."
            )
        return said


def marked_images(sources: Sequence[Path | str], good: Iterable[Path]) -> MarkedImages:
    """List the defective images of some sources; copies count once.

    Args:
        sources: each as `datasets.read_marked` takes it; at least one.
        good: the good images, among which there may be none of them.

    Raises:
        DatasetError: an image is among the good ones, no image has a mask that marks something, or a mask has another
            size than its image. ImageError: one cannot be read.
    """
    listed: dict[str, Sample] = {}
    for sample in (sample for source in sources for sample in read_marked(source)):
        known = listed.setdefault(content_hash(sample.path), sample)
        if known.mask_path is None and sample.mask_path is not None:
            listed[content_hash(sample.path)] = sample
    for path in good:
        if (content := content_hash(path)) in listed:
            raise DatasetError(
                f"'{path}' and '{listed[content].path}' are the same image, but one is given as good and one as "
                "defective. Remove one of them."
            )
    marked = {content: sample for content, sample in listed.items() if _marks_something(sample)}
    if not marked:
        raise DatasetError(
            f"None of these {len(listed)} defective images has a mask that shows where its defect is; expected some, "
            "as <stem>_mask.png beside the image or in ground_truth/<defect type>, not black at the defect. Without "
            "masks, defective images can choose the limit (`blemish calibrate --defective`) or judge the model."
        )
    return MarkedImages(marked, len(listed) - len(marked))


def _marks_something(sample: Sample) -> bool:
    if sample.mask_path is None:
        return False
    return bool(read_mask_of(sample.path, read_image(sample.path).shape, sample.mask_path).any())


class KnownDefects:
    """Marked defective images, prepared as the good ones are, ready to be cut.

    Args:
        images: the defective images, prepared.
        masks: ``(H, W)`` bool for each, of the same size, with something marked; kept as bits.
    """

    def __init__(self, images: PreparedImages, masks: Iterable[NDArray[np.bool_]]) -> None:
        self._images = images
        self._masks = [np.packbits(mask) for mask in masks]
        whole = hashlib.sha256()
        for index, mask in enumerate(self._masks):
            whole.update(images.whole(index).tobytes() + mask.tobytes())
        self.digest = whole.hexdigest()  # of all that training depends on

    @classmethod
    def of(cls, marked: MarkedImages, images: PreparedImages, preparation: Preparation) -> KnownDefects:
        """Join prepared images and their masks, in the order of ``marked.samples``."""
        masks = (read_mask(sample.mask_path) for sample in marked.samples.values() if sample.mask_path is not None)
        sized = ((mask, *images.size(index), images.pose(index)) for index, mask in enumerate(masks))
        return cls(images, (preparation.touched(*each) for each in sized))

    def __len__(self) -> int:
        return len(self._masks)

    @property
    def shapes(self) -> NDArray[np.int64]:
        """Rows and columns of every image, ``(n, 2)``."""
        return self._images.shapes

    def shape(self, index: int) -> tuple[int, int]:
        """Return rows and columns of an image."""
        return self._images.shape(index)

    def around_a_defect(self, index: int, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """Choose the upper left corner of a window that holds a marked pixel, each as likely as the other."""
        pixel = rng.choice(np.flatnonzero(self._mask(index)))
        corner = []
        for at, cut, side in zip(
            np.unravel_index(pixel, self.shape(index)), (height, width), self.shape(index), strict=True
        ):
            corner.append(int(rng.integers(max(0, at - cut + 1), min(at, side - cut) + 1)))
        return corner[0], corner[1]

    def cut(self, index: int, top: int, left: int, height: int, width: int) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Cut a window: ``(height, width)`` float32 in [0, 1], and bool, true where a defect is marked."""
        image = self._images.cut(index, top, left, height, width)
        return image, self._mask(index)[top : top + height, left : left + width]

    def _mask(self, index: int) -> NDArray[np.bool_]:
        rows, columns = self.shape(index)
        return np.unpackbits(self._masks[index], count=rows * columns).reshape(rows, columns).astype(bool)
