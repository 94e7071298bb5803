"""The pictures of an evaluation: the paper's Figures 1, 4 and 8, and where all scores lie beside the threshold.

Scores, maps and patches come in, the bytes of a PNG come out. Colours are those of Okabe and Ito, which the
colour-blind can tell apart, and shapes repeat what colours say. Nothing of matplotlib's global state is touched.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from blemish.datasets import GOOD
from blemish.errors import SettingError
from blemish.evaluation.protocols import IN_SAMPLE, LinearBoundary, ScoredSample

Image = NDArray[np.floating[Any]]  # (H, W)
MapRow = tuple[Image, Image, Image, NDArray[Any] | None, str]  # image, mean good image, anomaly map, mask, caption

_BLUE, _VERMILLION = "#0072B2", "#D55E00"  # good, defective
_INK, _GREY, _FAINT = "#222222", "#6B6B6B", "#D9D9D9"
_SIZE, _SMALL = 10.0, 8.5  # of letters, in points
_DPI = 144
_MAP_COLOURS = "inferno"

_CELL = 1.9  # inches, side of a square picture in the sheet of maps
_GAP, _CAPTION, _MARGIN = 0.08, 0.3, 0.15  # inches, in the same sheet
_PATCH, _NAMES, _LINE = 0.8, 0.95, 0.25  # inches: a patch, the names at the left, the gap between lines of triplets
_TRIPLETS_PER_LINE = 8


def scatter_figure(samples: Sequence[ScoredSample], boundary: LinearBoundary, title: str) -> bytes:
    """Draw mean against maximum distance of good and defective images, and the SVM's line, as in the paper's Figure 8.

    Args:
        samples: those the SVM was fitted to; the figure says that the line is in-sample.
        boundary: what `fit_svm` found.
        title: such as "transistor, misplaced".
    """
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for is_good, marker, colour in ((True, "o", _BLUE), (False, "^", _VERMILLION)):
        group = [sample for sample in samples if (sample.defect_type == GOOD) == is_good]
        axes.scatter(
            [sample.max_distance for sample in group],
            [sample.mean_distance for sample in group],
            s=34 if is_good else 42,
            marker=marker,
            facecolors=colour,
            edgecolors="white",
            linewidths=0.7,
            label=f"{'good' if is_good else 'defective'} ({len(group)})",
            zorder=3,
        )
    _draw_boundary(axes, boundary)
    _dress(axes)
    axes.set_xlabel("maximum distance on the map", color=_INK, fontsize=_SIZE)
    axes.set_ylabel("mean distance on the map", color=_INK, fontsize=_SIZE)
    axes.set_title(_plain(title), loc="left", color=_INK, fontsize=_SIZE + 1, pad=10)
    axes.legend(frameon=False, fontsize=_SMALL, labelcolor=_INK, loc="best")
    figure.supxlabel(f"The SVM is fitted to these very images ({IN_SAMPLE}).", fontsize=_SMALL, color=_GREY)
    return _png(figure)


def scores_figure(scores: Mapping[str, Sequence[float]], threshold: float | None, title: str) -> bytes:
    """Draw the score of every image, one line for good images and one per defect type, beside the threshold.

    Args:
        scores: "good" or a defect type -> one score per image, from top to bottom; higher is more anomalous.
        threshold: images above it are called defective; their share stands at the right. None draws no threshold.
        title: such as the category.

    Example:
        >>> scores_figure({"good": [1.0, 1.5], "crack": [1.4, 3.0]}, threshold=1.6, title="tile")[1:4]
        b'PNG'
    """
    if not scores:
        raise SettingError("there are no scores to draw; expected at least those of the good images")
    figure = Figure(figsize=(6.8, 1.35 + 0.42 * len(scores)), layout="constrained")
    axes = figure.add_subplot()
    for row, (name, values) in enumerate(scores.items()):
        good = name == GOOD
        axes.scatter(
            values,
            row + _spread_out(len(values)),
            s=20,
            marker="o" if good else "^",
            facecolors=_BLUE if good else _VERMILLION,
            edgecolors="white",
            linewidths=0.5,
            alpha=0.85,
            zorder=3,
        )
        if threshold is not None and len(values):
            above = f"{sum(value > threshold for value in values)} of {len(values)}"
            axes.text(1.02, row, above, transform=axes.get_yaxis_transform(), va="center", fontsize=_SMALL, color=_INK)
    if threshold is not None:
        axes.axvline(threshold, color=_INK, linewidth=1.2, linestyle=(0, (5, 3)), zorder=2)
        axes.text(1.02, 1.02, "above\nthreshold", transform=axes.transAxes, fontsize=_SMALL, color=_GREY)
    axes.set_yticks(range(len(scores)), [_plain(name) for name in scores])
    axes.set_ylim(len(scores) - 0.5, -0.5)
    _dress(axes)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    limit = "" if threshold is None else f" (dashed: the threshold, {threshold:.4g})"
    axes.set_xlabel(f"anomaly score{limit}", color=_INK, fontsize=_SIZE)
    axes.set_title(_plain(title), loc="left", color=_INK, fontsize=_SIZE + 1, pad=10)
    return _png(figure)


def maps_figure(rows: Sequence[MapRow]) -> bytes:
    """Show image, mean good image, anomaly map and mask side by side, one row per image, as in the paper's Figure 1.

    Args:
        rows: of one category, as all maps share one colour scale, from the smallest to the largest distance of all.
            Each has the image and the mean good image, ``(H, W)`` in [0, 1]; the anomaly map ``(H, W)``; the mask
            ``(H, W)``, None where there is none; and a caption. Sizes may differ.

    Example:
        >>> square = np.zeros((8, 8), dtype=np.float32)
        >>> maps_figure([(square, square, square, None, "good, 000.png")])[1:4]
        b'PNG'
    """
    if not rows:
        raise SettingError("there are no maps to draw; expected at least one row")
    low = min(float(anomaly_map.min()) for _, _, anomaly_map, _, _ in rows)
    high = max(float(anomaly_map.max()) for _, _, anomaly_map, _, _ in rows)
    aspect = float(np.clip(np.median([row[0].shape[0] / row[0].shape[1] for row in rows]), 0.25, 4.0))
    sheet = _Sheet(len(rows), width=_CELL / aspect**0.5, height=_CELL * aspect**0.5)
    for index, (image, mean_good, anomaly_map, mask, caption) in enumerate(rows):
        sheet.caption(index, caption)
        _show(sheet.cell(index, 0), image, "gray", 0.0, 1.0)
        _show(sheet.cell(index, 1), mean_good, "gray", 0.0, 1.0)
        picture = _show(sheet.cell(index, 2), anomaly_map, _MAP_COLOURS, low, high)
        if mask is None:
            _say_no_mask(sheet.cell(index, 3))
        else:
            _show(sheet.cell(index, 3), mask != 0, "gray", 0.0, 1.0)
    bar = sheet.figure.colorbar(picture, cax=sheet.bar())
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=_SMALL, length=0, labelcolor=_INK)
    bar.set_label("distance, one scale for all rows", fontsize=_SMALL, color=_INK)
    return _png(sheet.figure)


def triplets_figure(anchors: Image, positives: Image, negatives: Image) -> bytes:
    """Show training triplets on one sheet: every column an anchor, its positive and its negative, as in Figure 4.

    Args:
        anchors, positives, negatives: ``(n, 64, 64)`` each, in [0, 1], n at least 1.

    Example:
        >>> patches = np.zeros((3, 64, 64), dtype=np.float32)
        >>> triplets_figure(patches, patches, patches)[1:4]
        b'PNG'
    """
    if not anchors.shape == positives.shape == negatives.shape or anchors.ndim != 3 or not len(anchors):
        raise SettingError(
            f"triplets have shapes {anchors.shape}, {positives.shape} and {negatives.shape}; expected equal (n, 64, 64)"
        )
    n = len(anchors)
    across = min(n, _TRIPLETS_PER_LINE)
    lines = -(-n // across)
    size = (
        _NAMES + across * (_PATCH + _GAP) + _MARGIN,
        2 * _MARGIN + lines * 3 * (_PATCH + _GAP) + (lines - 1) * _LINE,
    )
    figure = Figure(figsize=size)
    for index in range(n):
        line, column = divmod(index, across)
        for member, (name, patches) in enumerate(
            (("anchor", anchors), ("positive", positives), ("negative", negatives))
        ):
            left, top = (
                _NAMES + column * (_PATCH + _GAP),
                _MARGIN + (3 * line + member) * (_PATCH + _GAP) + line * _LINE,
            )
            axes = _add_axes(figure, left, top, _PATCH, _PATCH)
            _show(axes, patches[index], "gray", 0.0, 1.0)
            if column == 0:
                axes.text(
                    -0.12, 0.5, name, transform=axes.transAxes, ha="right", va="center", color=_INK, fontsize=_SIZE
                )
    return _png(figure)


class _Sheet:
    """A figure of captioned rows of four pictures, laid out in inches, with a colour bar at the right."""

    _TITLES = ("image", "mean of good", "anomaly map", "mask")

    def __init__(self, n_rows: int, width: float, height: float) -> None:
        self._width, self._height = width, height
        self._row = height + _CAPTION
        self.figure = Figure(
            figsize=(2 * _MARGIN + 4 * (width + _GAP) + 0.85, 2 * _MARGIN + _CAPTION + n_rows * self._row)
        )
        for column, title in enumerate(self._TITLES):
            self._text(column, _MARGIN + 0.14, title, _SIZE, _INK)

    def caption(self, row: int, text: str) -> None:
        self._text(0, self._top(row) - 0.06, text, _SMALL, _GREY)

    def cell(self, row: int, column: int) -> Axes:
        return _add_axes(self.figure, self._left(column), self._top(row), self._width, self._height)

    def bar(self) -> Axes:
        return _add_axes(self.figure, self._left(4) + 0.06, self._top(0), 0.12, min(self._height, 2.4))

    def _left(self, column: int) -> float:
        return _MARGIN + column * (self._width + _GAP)

    def _top(self, row: int) -> float:
        return _MARGIN + row * self._row + 2 * _CAPTION

    def _text(self, column: int, top: float, text: str, size: float, colour: str) -> None:
        across, down = self.figure.get_size_inches()
        self.figure.text(self._left(column) / across, 1 - top / down, _plain(text), fontsize=size, color=colour)


def _add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes by their place in inches from the top left corner of the figure."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def _show(axes: Axes, image: NDArray[Any], colours: str, low: float, high: float) -> Any:
    _frame(axes)
    axes.set_anchor("NW")
    return axes.imshow(image, cmap=colours, vmin=low, vmax=high)


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(_FAINT)  # so that a white mask on white paper has edges


def _say_no_mask(axes: Axes) -> None:
    _frame(axes)
    axes.text(0.5, 0.5, "no mask", transform=axes.transAxes, ha="center", va="center", fontsize=_SMALL, color=_GREY)


def _draw_boundary(axes: Axes, boundary: LinearBoundary) -> None:
    """Draw the line where the decision is 0, within the limits that the points have set."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    rise, run = boundary.mean_weight * (top - bottom), boundary.max_weight * (right - left)
    if rise == 0 and run == 0:
        return  # the SVM calls every image alike: there is no line
    if abs(rise) >= abs(run):  # a flat line: solve for the mean distance at both sides
        x = np.array([left, right])
        y = -(boundary.max_weight * x + boundary.offset) / boundary.mean_weight
    else:
        y = np.array([bottom, top])
        x = -(boundary.mean_weight * y + boundary.offset) / boundary.max_weight
    axes.plot(x, y, color=_INK, linewidth=1.3, linestyle=(0, (5, 3)), label="SVM line", zorder=2)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _spread_out(n: int) -> NDArray[np.floating[Any]]:
    """Move points off their line by turns, always the same, so that equal scores stay visible."""
    golden = (5**0.5 - 1) / 2
    turns = np.arange(n) * golden % 1.0  # evenly spread over [0, 1), however many there are
    return 0.5 * (turns - 0.5)


def _dress(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(_GREY)
    axes.tick_params(colors=_GREY, labelcolor=_INK, labelsize=_SMALL, length=3)
    axes.set_axisbelow(True)


def _plain(text: str) -> str:
    """Keep dollar signs in names of files from being read as formulas."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # names in scripts the font lacks are drawn as boxes
        figure.savefig(picture, format="png", dpi=_DPI, facecolor="white")
    return picture.getvalue()
