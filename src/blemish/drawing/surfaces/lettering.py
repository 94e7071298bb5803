"""Text as a picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.drawing.fields import as_field
from blemish.results import FloatArray


def put_text(plate: NDArray[np.uint8], text: str, left: int, foot: int, size: float, weight: int) -> None:
    """Put a line of text into a plate, its baseline at row ``foot``."""
    cv2.putText(plate, text, (left, foot), cv2.FONT_HERSHEY_SIMPLEX, size, 255, weight, cv2.LINE_AA)


def lettering(text: str) -> FloatArray:
    """Return a strip (48, w) that is 1 on the strokes of the text."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.2, 4)
    strip = np.zeros((48, width + 16), np.uint8)
    put_text(strip, text, left=8, foot=38, size=1.2, weight=4)
    return as_field(strip / 255)
