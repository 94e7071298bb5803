"""Contact sheets of what can be drawn: look before you train on it.

``python -m blemish.drawing.sheets docs`` writes ``surfaces.png`` and ``flaws.png`` into the folder ``docs``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import as_field
from blemish.drawing.flaws import FLAWS
from blemish.drawing.surfaces import SURFACES, draw_surface
from blemish.images import write_image
from blemish.results import FloatArray

_LEVELS: Final = 63  # grey levels of a sheet: what the eye takes in at this size, at two thirds of the bytes
_GOOD_TO_SHOW_FLAWS: Final = ("brushed_metal", "cloth", "moulded_grain", "rolled_metal", "cast_part", "printed_label")


def surfaces_sheet(n_rows: int = 10, n_columns: int = 10, side_px: int = 96, seed: int = 0) -> FloatArray:
    """Draw one image each of many kinds, family after family.

    Returns:
        (n_rows * side_px, n_columns * side_px) float32 in [0, 1].
    """
    names = list(SURFACES)
    n_kinds = n_rows * n_columns
    pictures = []
    for kind in range(n_kinds):
        family = SURFACES[names[kind * len(names) // n_kinds]]
        rng = np.random.default_rng([seed, kind])
        pictures.append(_small(draw_surface(family(rng), rng, 2 * side_px, 2 * side_px), side_px))
    return _sheet([pictures[row * n_columns : (row + 1) * n_columns] for row in range(n_rows)])


def flaws_sheet(side_px: int = 88, seed: int = 0) -> FloatArray:
    """Draw every flaw on several surfaces, with its name and an outline around its mask; two blocks side by side.

    Each is seen from near: the picture is cut around the flaw.
    """
    rows = [_flaw_row(name, side_px, seed) for name in FLAWS]
    half = (len(rows) + 1) // 2
    rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
    return np.vstack([np.hstack([left, right]) for left, right in zip(rows[:half], rows[half:], strict=True)])


def _flaw_row(name: str, side_px: int, seed: int) -> FloatArray:
    label = np.zeros((side_px, 110), np.uint8)
    for line, word in enumerate(name.split("_")):
        cv2.putText(label, word, (6, 40 + 18 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255, 1, cv2.LINE_AA)
    pictures = [as_field(label / np.float32(255))]
    for column, family in enumerate(_GOOD_TO_SHOW_FLAWS):
        rng = np.random.default_rng([seed, column])
        good = draw_surface(SURFACES[family](rng), rng, 256, 256)
        flawed, mask = FLAWS[name](good, np.random.default_rng([seed, column, *name.encode()]))
        pictures.append(_from_near(flawed, mask, side_px))
    return np.hstack(pictures)


def _from_near(picture: FloatArray, mask: NDArray[np.bool_], side_px: int) -> FloatArray:
    """Cut the picture around the mask, with a white line beside the flaw, not over it; the rest stays below white."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    side = int(np.clip(1.5 * max(width, height), side_px, min(picture.shape)))
    row = int(np.clip(top + (height - side) // 2, 0, picture.shape[0] - side))
    column = int(np.clip(left + (width - side) // 2, 0, picture.shape[1] - side))
    seen = np.s_[row : row + side, column : column + side]
    around = cv2.dilate(mask[seen].astype(np.uint8), np.ones((9, 9), np.uint8))
    fitted = cv2.resize(around, (side_px, side_px), interpolation=cv2.INTER_NEAREST)
    outline = fitted - cv2.erode(fitted, np.ones((3, 3), np.uint8))
    return as_field(np.where(outline > 0, 1, 0.85 * _small(picture[seen], side_px)))


def _small(picture: FloatArray, side_px: int) -> FloatArray:
    return as_field(cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA))


def _sheet(rows: list[list[FloatArray]]) -> FloatArray:
    return np.vstack([np.hstack(row) for row in rows])


def write_sheets(folder: Path) -> None:
    """Write both sheets as PNG."""
    for name, sheet in (("surfaces.png", surfaces_sheet()), ("flaws.png", flaws_sheet())):
        write_image(folder / name, as_field(np.round(sheet * _LEVELS) / _LEVELS))


if __name__ == "__main__":
    write_sheets(Path(sys.argv[1]))
