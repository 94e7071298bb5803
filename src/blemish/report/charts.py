"""What the charts of a batch show: the scores in a histogram, and control charts over the order of inspection.

Only where everything lies, in percent or pixels of a plot; HTML page and PDF draw it, each in its own way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from blemish.detection.decision import decide
from blemish.detection.drift import usual_range
from blemish.results import Threshold, Verdict

PLOT_HEIGHT = 120  # pixels of the histogram's highest bar
CHARTED = ("brightness", "contrast", "sharpness", "distance")  # statistics of an image that have a control chart
_BARS = 48  # of the histogram, about
_FARTHEST = 4.0  # multiple of the threshold at which an axis of scores ends at the latest
_MOST_DOTS = 150  # of a control chart: more would hide each other

_Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram; places in percent of its width, heights in pixels."""

    left: float
    width: float
    height: float
    bottom: float  # where it stands on a bar of another verdict
    verdict: Verdict
    title: str


@dataclass(frozen=True)
class Histogram:
    """How many images have which score."""

    bars: list[Bar]
    threshold: float  # percent
    lower: float | None  # percent; None without a lower limit
    ticks: list[tuple[float, str]]  # percent, label
    n_highest: int  # images in the highest bar
    n_beyond: int  # images in the last bar that lie beyond the end of the axis


@dataclass(frozen=True)
class Dot:
    """One image of a control chart, or several one after the other; places in percent, from the left and the top."""

    x: float
    y: float  # of their mean
    highest: float  # the same as y when it is one image
    lowest: float
    kind: str  # "inside" or "outside" of the range of most good images; of a score, the verdict
    title: str


@dataclass(frozen=True)
class ControlChart:
    """How a number went from image to image; places in percent of the plot, from the left and the top."""

    name: str
    about: str  # its band and its lines in words
    dots: list[Dot]
    band: tuple[float, float] | None  # top and bottom of the range of most good images; None: not known
    limits: list[float]  # of a score
    middle: float | None  # of the middle image of the batch; None for a score
    ends: tuple[str, str]  # labels of the upper and lower end of the axis


def histogram(scores: _Numbers, verdicts: Sequence[Verdict], threshold: Threshold) -> Histogram:
    """Count scores, at least one, in bars of equal width, one of which begins exactly at the threshold."""
    limit = threshold.value
    lower = limit if threshold.unsure is None else threshold.unsure.value
    low, high = _shown_range(scores, lower, limit)
    width = (high - low) / _BARS
    n_below, n_above = math.ceil((limit - low) / width), math.ceil((high - limit) / width)
    low, high = limit - n_below * width, limit + n_above * width
    # A score that equals the threshold is not above it, so a bar includes its upper end.
    places = np.ceil((scores - limit) / width).astype(int) - 1 + n_below
    places = np.minimum(places, n_below + n_above - 1)
    highest, share = int(np.bincount(places).max()), 100 / (n_below + n_above)
    counts = Counter(zip(places.tolist(), verdicts, strict=True))
    bars: list[Bar] = []
    for index, verdict in product(range(n_below + n_above), Verdict):
        if n := counts[index, verdict]:
            below = bars[-1] if bars and bars[-1].left == index * share else None
            bar = Bar(
                left=index * share,
                width=share,
                height=max(2.0, PLOT_HEIGHT * n / highest),  # a single image must not vanish
                bottom=below.bottom + below.height if below else 0.0,
                verdict=verdict,
                title=f"{n:,} from {low + index * width:.4g} to {low + (index + 1) * width:.4g}",
            )
            bars.append(bar)
    place = None if threshold.unsure is None else 100 * (lower - low) / (high - low)
    return Histogram(bars, n_below * share, place, _ticks(low, high), highest, int((scores > high).sum()))


def score_chart(scores: _Numbers, threshold: Threshold) -> ControlChart:
    """Draw scores, at least one, in the order of inspection against the limits."""
    limits = {"threshold": threshold.value} | ({"lower limit": threshold.unsure.value} if threshold.unsure else {})
    axis = _Axis(*_shown_range(scores, min(limits.values()), max(limits.values())))
    return ControlChart(
        name="score",
        about=" and ".join(f"{name} {limit:.4g}" for name, limit in limits.items()),
        dots=_dots(scores, axis, lambda score: decide(score, threshold).value),
        band=None,
        limits=[axis.place(limit) for limit in limits.values()],
        middle=None,
        ends=axis.labels(),
    )


def control_chart(name: str, statistics: Sequence[float], good: Sequence[float]) -> ControlChart:
    """Draw a statistic in the order of inspection against the good images that set the threshold.

    Args:
        name: of the statistic.
        statistics: one number for each image of the batch, at least one.
        good: the same of the good images; empty when the model file keeps none.
    """
    values = np.array(statistics)
    low, high = usual = usual_range(good) if good else (-math.inf, math.inf)
    shown = np.concatenate([values, np.array(usual if good else [])])
    axis = _Axis(*_with_margin(float(shown.min()), float(shown.max())))
    middle = float(np.median(values))
    known = f"most good images {low:.3g} to {high:.3g}" if good else "not known of good images"
    return ControlChart(
        name=name,
        about=f"this batch {middle:.3g}, {known}",
        dots=_dots(values, axis, lambda mean: "inside" if low <= mean <= high else "outside"),
        band=(axis.place(high), axis.place(low)) if good else None,
        limits=[],
        middle=axis.place(middle),
        ends=axis.labels(),
    )


@dataclass(frozen=True)
class _Axis:
    """An upright axis."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return percent from the top; what lies beyond an end is put there."""
        return 100 * min(max((self.high - value) / (self.high - self.low), 0.0), 1.0)

    def labels(self) -> tuple[str, str]:
        """Name the upper and the lower end."""
        return f"{self.high:.3g}", f"{self.low:.3g}"


def _dots(values: _Numbers, axis: _Axis, kind: Callable[[float], str]) -> list[Dot]:
    """Put a dot for every image, or where these are many for stretches of them, of equal length but for one image."""
    stretches = np.array_split(values, min(len(values), _MOST_DOTS))
    dots: list[Dot] = []
    first = 1
    for index, stretch in enumerate(stretches):
        mean, lowest, highest = float(stretch.mean()), float(stretch.min()), float(stretch.max())
        last = first + len(stretch) - 1
        title = f"image {first:,}: {mean:.4g}"
        if last > first:
            title = f"images {first:,} to {last:,}: mean {mean:.4g}, {lowest:.4g} to {highest:.4g}"
        x = 100 * (index + 0.5) / len(stretches)
        dots.append(Dot(x, axis.place(mean), axis.place(highest), axis.place(lowest), kind(mean), title))
        first = last + 1
    return dots


def _shown_range(scores: _Numbers, lower: float, threshold: float) -> tuple[float, float]:
    """Choose the ends of an axis: around scores and limits, but a far outlier must not squeeze all the rest."""
    low, high = min(float(scores.min()), lower), max(float(scores.max()), threshold)
    if threshold > 0:
        high = min(high, _FARTHEST * threshold)
    return _with_margin(low, high)


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = 0.04 * (high - low) or 0.01 * abs(high) or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Choose four to ten round numbers (steps of 1, 2 or 5) between two ends, as percent of the way and label."""
    rough = (high - low) / 8
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough)
    decimals = max(0, -math.floor(math.log10(step)))
    numbers = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(100 * (number - low) / (high - low), f"{number:.{decimals}f}") for number in numbers]
