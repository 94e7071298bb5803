"""Where is the defect? Draws an anomaly map over its image.

The colours mean the same on every picture of a batch: their scale hangs on the threshold (`heat_scale`), never on the
brightest spot of the picture itself. So a good part stays grey, but for a faint tint where it comes near the
threshold, and a defective one glows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.errors import ImageError
from blemish.results import Evidence, FloatArray, Inspection
from blemish.strips import GreyImage

Picture = NDArray[np.uint8]  # (H, W, 3) RGB, or (H, W) grey
_Sample = TypeVar("_Sample", np.uint8, np.float32)

# As multiples of the threshold. The good parts it was taken from reach up to it, so colour begins only just below.
_COLOURS_FROM = 0.25
_COLOURS_TO = 2.0
_SHOWN_FROM = 0.85
_SHOWN_FULLY = 1.25
_STRONGEST_TINT = 0.7  # the surface stays visible through the strongest heat

_ROWS = 512  # of a picture that are coloured at once
_HATCH_DIMMED = 0.5  # of the contrast is left where nothing counts
_HATCH_LINES = 24  # across the longer side of a picture, about; the surface stays visible between them
_HATCH_GREY = 170  # of the lines
_GAP = 4  # pixels between two pictures that are compared
_OUTLINE = (70, 235, 255)  # cyan: found neither on a grey surface nor among the colours of the heat
_OUTLINE_EDGE = (20, 12, 28)  # dark rim, so that the outline shows on bright surfaces too


def heat_scale(threshold: float) -> tuple[float, float]:
    """Return the distances ``(low, high)`` at which the colours begin and end: the one scale of every heat map.

    Distances are never below 0, so a threshold below 0 counts as 0.

    Example:
        >>> heat_scale(2.0)
        (0.5, 4.0)
    """
    limit = max(threshold, 0.0)
    return _COLOURS_FROM * limit, _COLOURS_TO * limit


def heat_map(anomaly_map: FloatArray, low: float, high: float) -> Picture:
    """Paint distances from dark (``low`` and less) to bright (``high`` and more); brighter is always more anomalous.

    Args:
        anomaly_map: ``(H, W)`` float32, distances.
        low, high: the ends of the scale, in units of the map; see `heat_scale`.

    Returns:
        ``(H, W, 3)`` uint8, RGB, in the perceptually even colours "inferno".
    """
    levels = np.rint(255 * _ramp(anomaly_map, low, high)).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), np.uint8)


def overlay(inspection: Inspection, side: int) -> Picture:
    """Draw what was found over the image: heat where the distance nears the threshold, an outline around each region.

    Args:
        inspection: with its image and map.
        side: most pixels a side the picture may have; a larger one is shrunk, its outlines are not.

    Returns:
        ``(H, W, 3)`` uint8, RGB.
    """
    return draw_over(grey_picture(inspection.grey.fitted(side)), inspection)


def draw_over(grey: Picture, inspection: Inspection) -> Picture:
    """Draw what was found over a picture of the image, of any size; its outlines are as thick as fits that size.

    Ignored zones are dimmed and hatched.

    Args:
        grey: ``(H, W)`` uint8.
        inspection: with its map and regions.

    Returns:
        ``(H, W, 3)`` uint8, RGB.
    """
    picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    for top in range(0, len(picture), _ROWS):  # the map of a very large picture would need as much as all the rest
        rows = slice(top, top + _ROWS)
        if inspection.ignored is not None:
            _hatch(picture[rows], inspection.ignored, top, *grey.shape)
        _heat_over(picture[rows], inspection.map_at(*grey.shape, rows), inspection.threshold)
    scale = max(grey.shape) / max(inspection.height, inspection.width)
    draw_outlines(picture, [region.contour for region in inspection.regions], scale)
    return picture


def draw_outlines(picture: Picture, contours: Sequence[Sequence[Sequence[int]]], scale: float) -> None:
    """Outline regions in a picture.

    Args:
        picture: ``(H, W, 3)`` uint8, RGB; it is changed.
        contours: (row, column) pairs of each region, in pixels of the image.
        scale: pixels of the picture per pixel of the image.
    """
    # (column, row), as OpenCV wants points
    outlines = [np.rint(scale * np.array(contour)[:, ::-1]).astype(np.int32) for contour in contours]
    width = max(1, round(max(picture.shape[:2]) ** 0.5 / 10))
    cv2.polylines(picture, outlines, True, _OUTLINE_EDGE, width + 2, cv2.LINE_AA)
    cv2.polylines(picture, outlines, True, _OUTLINE, width, cv2.LINE_AA)


def comparison(evidence: Evidence) -> Picture | None:
    """Draw the worst place of an image beside the nearest good one, in one range of brightness so that they compare.

    Returns:
        ``(s, 2 s + gap)`` uint8, or ``(s, 2 s + gap, 3)`` RGB; None when no good one is kept.
    """
    if evidence.nearest is None:
        return None
    both = np.hstack([evidence.found, evidence.nearest])  # (s, 2 s[, 3])
    both = _stretched(both, float(both.min()), float(both.max()))
    gap = np.full((len(both), _GAP, *both.shape[2:]), 255, dtype=np.uint8)
    return np.hstack([both[:, : len(both)], gap, both[:, len(both) :]])


def grey_picture(image: GreyImage) -> Picture:
    """Turn an image into something to look at: contrast stretched, or 12-bit cameras would show black.

    Args:
        image: ``(H, W)`` in [0, 1].

    Returns:
        ``(H, W)`` uint8; darkest pixel 0, brightest 255. An image of one colour keeps its colour.
    """
    darkest, brightest = (float(end) for end in image.range())
    picture = np.empty(image.shape, dtype=np.uint8)
    for top, strip in image.strips():
        picture[top : top + len(strip)] = _stretched(strip, darkest, brightest)
    return picture


def _stretched(values: FloatArray, darkest: float, brightest: float) -> Picture:
    """Stretch what lies between two values over all of 8 bits; where they are one, it stays as it is."""
    return np.rint(255 * (_ramp(values, darkest, brightest) if brightest > darkest else values)).astype(np.uint8)


def shrink(picture: NDArray[_Sample], side: int) -> NDArray[_Sample]:
    """Shrink a picture, of any dtype, to at most ``side`` pixels a side; a small one stays as it is."""
    factor = side / max(picture.shape[:2])
    if factor >= 1:
        return picture
    height, width = (max(1, round(factor * length)) for length in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(picture.dtype, copy=False)


def encode_jpeg(picture: Picture, quality: int) -> bytes:
    """Compress a picture to JPEG; an overlay takes about an eighth of the bytes of a PNG.

    Args:
        picture: ``(H, W)`` grey or ``(H, W, 3)`` RGB, uint8; at most 65,500 pixels a side, the limit of JPEG.
        quality: 0 to 100.
    """
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    # Colours at full resolution, or thin outlines would fade.
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", stored, settings)[1].tobytes()


def encode_png(picture: Picture) -> bytes:
    """Compress a picture, ``(H, W)`` grey or ``(H, W, 3)`` RGB, uint8, to PNG, without any loss."""
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", stored)[1].tobytes()


def decode_picture(data: bytes) -> Picture:
    """Return the ``(H, W, 3)`` RGB picture of a JPEG or PNG.

    Raises:
        ImageError: it is neither.
    """
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if stored is None:
        raise ImageError("no JPEG or PNG; expected a picture that Blemish wrote. Inspect the image anew.")
    return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), np.uint8)


def as_it_was(picture: Picture) -> Picture:
    """Return a decoded picture as ``(H, W)`` if it is grey: compressed again, it then is as it was."""
    return picture[..., 0] if (picture == picture[..., :1]).all() else picture


def _hatch(strip: Picture, ignored: NDArray[np.bool_], top: int, height: int, width: int) -> None:
    """Dim and hatch where nothing counts, in grey: colours are for what was found.

    Args:
        strip: rows of a picture ``(height, width, 3)`` from ``top`` on; it is changed.
        ignored: of any size; it stands for the whole picture.
    """
    rows, columns = np.arange(top, top + len(strip)), np.arange(width)
    inside = ignored[np.ix_(rows * ignored.shape[0] // height, columns * ignored.shape[1] // width)]
    pitch = max(6, round(max(height, width) / _HATCH_LINES))
    lines = np.add.outer(rows, columns) % pitch < max(1, pitch // 8)
    strip[inside] = np.rint(_HATCH_DIMMED * strip[inside] + (1 - _HATCH_DIMMED) * 128).astype(np.uint8)
    strip[inside & lines] = _HATCH_GREY


def _heat_over(picture: Picture, anomaly_map: FloatArray, threshold: float) -> None:
    """Colour a picture ``(H, W, 3)`` where its map nears the threshold; it is changed."""
    limit = max(threshold, 0.0)
    opacity = _STRONGEST_TINT * _ramp(anomaly_map, _SHOWN_FROM * limit, _SHOWN_FULLY * limit)
    shown = opacity > 0
    if not shown.any():
        return
    weight = opacity[shown][:, np.newaxis]  # (pixels, 1)
    heat = heat_map(anomaly_map[shown][np.newaxis], *heat_scale(threshold))[0]  # (pixels, 3)
    picture[shown] = np.rint((1 - weight) * picture[shown] + weight * heat).astype(np.uint8)


def _ramp(values: FloatArray, low: float, high: float) -> FloatArray:
    """Rise from 0 at ``low`` to 1 at ``high``; where both are the same, a step just above it."""
    if high <= low:
        return (values > low).astype(np.float32)
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)
