"""Records that leave the library: what was decided about an image, where, and why.

All are frozen; all but the pictures turn into plain JSON with ``to_dict``. Higher scores are more anomalous, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from blemish.strips import GreyImage

FloatArray = NDArray[np.float32]


class Verdict(StrEnum):
    """What is done with a part."""

    GOOD = "good"
    UNSURE = "unsure"  # a person should look; only where the threshold has a lower limit
    DEFECTIVE = "defective"


@dataclass(frozen=True)
class Region:
    """One connected area of an image whose distance exceeds the limit; pixels of the image as it was read."""

    top: int  # first row
    left: int  # first column
    height: int  # rows
    width: int  # columns
    area_px: int  # area of its cells of the distance map, told in pixels; the box may hold more
    peak: float  # largest distance inside
    mean: float  # mean distance inside
    contour: tuple[tuple[int, int], ...]  # outline as (row, column) pairs
    area_mm2: float | None = None  # the same area; None where nobody has said how large a pixel is


@dataclass(frozen=True)
class Threshold:
    """The limit on the score, with the promise that comes with it (`detection.decision` makes it)."""

    value: float  # an image is defective when its score is above this
    alpha: float | None  # accepted false-alarm rate that was asked for, 0 to 1; None: set by hand or for its cost
    promised_alpha: float  # false-alarm rate that is promised; above alpha when images are too few; 1 is no promise
    n_images: int  # held-out good images the limit was taken from
    unsure: Threshold | None = None  # the lower limit, for a higher rate: between the two a person should look


@dataclass(frozen=True)
class Evidence:
    """Why an image was not waved through: its worst place beside the nearest good one, its score among good scores."""

    row: int  # pixel of the image in the middle of the worst place
    column: int
    distance: float  # of this place from good ones: the peak of the strongest region
    n_good: int  # good images whose scores are known: those that set the threshold
    n_good_below: int  # so many of them have a lower score
    # Around this place, as prepared: (s, s) float32 in [0, 1], or (s, s, 3) RGB where the model looks at colours.
    found: FloatArray = field(repr=False, compare=False)
    nearest: FloatArray | None = field(repr=False, compare=False)  # the same of the nearest good place; None: not kept

    def sentence(self) -> str:
        """Say in plain words how unusual the score is; nothing where no scores of good images are known.

        Example:
            >>> Evidence(9, 9, 3.1, 213, 208, np.zeros((1, 1)), None).sentence()
            'Score above 208 of 213 good images.'
        """
        return rank_in_words(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON-ready plain data."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("found", "nearest")}


def rank_in_words(evidence: Mapping[str, Any] | None) -> str:
    """Say in plain words how unusual a score is, from `Evidence.to_dict`; nothing where that is not known."""
    if not evidence or evidence["n_good"] == 0:
        return ""
    n, below = evidence["n_good"], evidence["n_good_below"]
    return f"Score above {f'all {n}' if below == n else f'{below} of {n}'} good images."


@dataclass(frozen=True)
class Inspection:
    """Everything that was found out about one image."""

    path: Path | None  # None when the image came as an array
    verdict: Verdict
    score: float  # compared with the threshold; higher = more anomalous
    threshold: float  # an image is defective above it; where there is a lower limit, it may be unsure below
    max_distance: float  # largest distance on the map (the paper's first score)
    mean_distance: float  # mean distance on the map (the paper's second score)
    regions: tuple[Region, ...]  # strongest first; empty when the verdict is good
    height: int  # of the image as it was read
    width: int
    grey: GreyImage = field(repr=False, compare=False)  # as it was read
    map_at: Callable[..., FloatArray] = field(repr=False, compare=False)  # the map at another (height, width[, rows])
    evidence: Evidence | None = None  # why it was not waved through; None when the verdict is good
    # (rows, columns) true where nothing counts, stretched over the image; None: everything counts
    ignored: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    @property
    def image(self) -> FloatArray:
        """The image as it was read, grey: ``(height, width)`` float32 in [0, 1]; a very large one is made each time."""
        return self.grey.whole()

    @cached_property
    def anomaly_map(self) -> FloatArray:
        """Distance at every pixel: ``(height, width)`` float32, made when it is asked for."""
        return self.map_at(self.height, self.width)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON-ready plain data."""
        pictures = ("grey", "map_at", "ignored")
        record = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in pictures}
        record["path"] = None if self.path is None else str(self.path)
        record["verdict"] = self.verdict.value
        record["regions"] = [asdict(region) for region in self.regions]
        record["evidence"] = None if self.evidence is None else self.evidence.to_dict()
        return record
