"""The synthetic defects that training draws, shown on the user's own good images: look before you learn."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from blemish.datasets import read_good
from blemish.images import read_image
from blemish.learning.defects import PHYSICAL, STRUCTURAL, SURFACE, vary_light
from blemish.learning.nearest import NearestSettings
from blemish.learning.survey import survey
from blemish.progress import Progress, silent
from blemish.results import FloatArray

_PER_DEFECT: Final = 6  # examples of each
_CELL_IN: Final = 1.35  # inches a picture on the sheet
_OUTLINE: Final = (70, 235, 255)  # cyan, as on the overlays of `inspect`


def contact_sheet(good: Path | str, *, seed: int = 0, progress: Progress = silent) -> bytes:
    """Draw every kind of synthetic defect on the grey of good images, prepared and cut as `fit` does it.

    Args:
        good: a folder of good images, a category folder in MVTec AD's layout, or a CSV; at least two images.
        seed: of the defects and of the images they are drawn on.
        progress: told after every image.

    Returns:
        A PNG: one row per kind, an outline around what counts as the defect; the last row shows changes of light,
        which do not count as defects.

    Raises:
        DatasetError, ImageError: as for `learning.fit.fit`.
    """
    paths = read_good(Path(good))
    seen = survey(paths, progress)
    preparation = seen.preparation(seen.reference)
    rng = np.random.default_rng(seed)
    chosen = [paths[index] for index in rng.choice(len(paths), _PER_DEFECT, replace=len(paths) < _PER_DEFECT)]
    largest = NearestSettings.of(seen.reference, seen.explained_as_they_lie, seed).crop
    crops = [_crop(preparation.apply(read_image(path)), largest, rng) for path in chosen]
    pasted = {kind.__name__: kind for kind in (*STRUCTURAL, *SURFACE)}
    kinds = [*pasted.items(), *PHYSICAL.items(), ("no defect:\nvary light", vary_light)]
    figure = Figure(figsize=(_CELL_IN * (_PER_DEFECT + 0.9), _CELL_IN * len(kinds)), dpi=100)
    axes = figure.subplots(len(kinds), _PER_DEFECT, squeeze=False)
    for row, (name, kind) in zip(axes, kinds, strict=True):
        for place, crop in zip(row, crops, strict=True):
            place.imshow(_outlined(*kind(crop, rng)))
            place.set_xticks([])
            place.set_yticks([])
        row[0].set_ylabel(name.replace("_", " "), rotation=0, ha="right", va="center", labelpad=6)
    figure.subplots_adjust(
        left=0.9 / (_PER_DEFECT + 0.9), right=0.995, top=0.998, bottom=0.002, wspace=0.03, hspace=0.03
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _crop(image: FloatArray, largest: int, rng: np.random.Generator) -> FloatArray:
    """Cut a square of at most so many pixels a side."""
    side = min(largest, *image.shape)
    top, left = (int(rng.integers(0, size - side + 1)) for size in image.shape)
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _outlined(image: FloatArray, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    grey = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    around = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))  # beside the defect, not over it
    outlines, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture, outlines, -1, _OUTLINE, 1), dtype=np.uint8)
