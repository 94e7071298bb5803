"""Where on an image nothing counts: zones to ignore, and regions of interest, outside of which all is ignored.

In come mask images, or polygons as the free tool labelme saves them; out comes one mask. Its size is that of the image
it was drawn on, and stands for the whole of any image: on one of another size it is scaled with it. What it means for
the cells of a distance map is said by `Preparation.counted`.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.errors import DatasetError, SettingError
from blemish.images import MAX_PIXELS, decode_image, read_mask

Mask = NDArray[np.bool_]


def read_zones(ignore: Path | None = None, only: Path | None = None) -> Mask:
    """Read which pixels are ignored.

    Args:
        ignore: a mask image, all of whose pixels but the black ones are ignored; or a ``.json`` of labelme, the inside
            of whose polygons and rectangles is ignored.
        only: the same of what counts: all else is ignored. With both, what one of them ignores is.

    Returns:
        ``(H, W)`` bool, true where ignored.

    Raises:
        DatasetError: polygons cannot be read, or the two were drawn on images of different sizes.
        ImageError: a mask image cannot be read. SettingError: nothing is ignored, or everything.
    """
    parts = [_read(path) if path is ignore else ~_read(path) for path in (ignore, only) if path is not None]
    if len({part.shape for part in parts}) > 1:
        sizes = " and ".join(f"{part.shape[0]} x {part.shape[1]}" for part in parts)
        raise DatasetError(f"The zones belong to images of {sizes} pixels (rows x columns); expected one size.")
    ignored: Mask = np.any(parts, axis=0)
    if ignored.all() or not ignored.any():
        what = "everything" if ignored.any() else "nothing"
        raise SettingError(f"These zones ignore {what}; expected a part of the image. In a mask, black is 0.")
    return ignored


def to_text(ignored: Mask) -> str:
    """Write a mask as text: a PNG, black where it counts, in base64."""
    return base64.b64encode(cv2.imencode(".png", ignored.astype(np.uint8) * 255)[1].tobytes()).decode()


def from_text(text: str) -> Mask:
    """Read a mask that `to_text` wrote.

    Raises:
        ValueError: it is no base64. ImageError: it is no image.
    """
    return decode_image(base64.b64decode(text, validate=True)) > 0


def _read(path: Path) -> Mask:
    if path.suffix.lower() != ".json":
        return read_mask(path)
    try:
        drawn = json.loads(path.read_text(encoding="utf-8-sig"))
        height, width, shapes = drawn["imageHeight"], drawn["imageWidth"], drawn["shapes"]
        if not (type(height) is type(width) is int and height > 0 < width and height * width <= MAX_PIXELS):
            raise ValueError(f"imageHeight {height} and imageWidth {width} are no size of an image")
        mask = np.zeros((height, width), dtype=np.uint8)
        for shape in shapes:
            cv2.fillPoly(mask, [_outline(shape, max(height, width))], 1)
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read ({error.strerror}). Check the path.") from error
    except Exception as error:  # whatever foreign values make Python raise
        raise DatasetError(
            f"'{path}' holds no zones ({type(error).__name__}: {error}). Expected JSON as labelme saves it: "
            'imageHeight, imageWidth, and shapes with shape_type "polygon" or "rectangle" and points [column, row].'
        ) from error
    return mask > 0


def _outline(shape: dict[str, Any], most: int) -> NDArray[np.int32]:
    """Return the corners of a polygon or rectangle: ``(n, 2)`` int32, column and row."""
    kind, points = shape.get("shape_type", "polygon"), [(float(x), float(y)) for x, y in shape["points"]]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("coordinates that are not finite")
    if kind == "rectangle" and len(points) in (2, 4):  # two opposite corners, or all four
        (left, top), (right, bottom) = np.min(points, axis=0), np.max(points, axis=0)
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind != "polygon" or len(points) < 3:
        raise ValueError(f"a {kind} of {len(points)} points")
    return np.asarray(np.rint(np.clip(points, -most, 2 * most)), dtype=np.int32)
