"""Pages to read: one for a batch of inspected images, and one for documents such as an evaluation.

In come plain records, out comes the text of one HTML file that holds everything it shows, pictures and style included.
It loads nothing, from the network or beside it, and its content policy tells the browser to refuse to.
"""

from __future__ import annotations

import base64
import heapq
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from blemish.detection.decision import promise
from blemish.report.overlay import encode_jpeg, heat_map, heat_scale
from blemish.results import Threshold, Verdict, rank_in_words

if TYPE_CHECKING:
    import jinja2

_MAX_ROWS = 10_000  # of the table; a browser needs a minute for ten times as many
_VERDICTS = tuple(Verdict)
_BARS = 48  # of the histogram, about
_PLOT_HEIGHT = 120  # pixels of its highest bar
_FARTHEST = 4.0  # multiple of the threshold at which its axis ends at the latest


@dataclass(frozen=True, slots=True)
class Row:
    """What the page says about one inspected image."""

    path: str  # empty when the image came as an array
    verdict: Verdict
    score: float
    n_regions: int
    peak: float | None  # largest distance in the strongest region; None without regions
    place: str  # of the strongest region, in words
    rank: str  # of the score among those of good images, in words; empty when the image is good
    overlay: str  # file of the overlay, relative to the page, "/" between folders

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Row:
        """Keep what the row shows from a record as the JSON lines have it."""
        strongest = record["regions"][0] if record["regions"] else None
        return cls(
            path=record["path"] or "",
            verdict=Verdict(record["verdict"]),
            score=record["score"],
            n_regions=len(record["regions"]),
            peak=strongest["peak"] if strongest else None,
            place=_place(strongest) if strongest else "",
            rank=rank_in_words(record.get("evidence")),
            overlay=record["overlay"],
        )

    @property
    def name(self) -> str:
        """The last part of the path: what people call the image."""
        return PurePath(self.path).name or "Image without a name"

    @property
    def folder(self) -> str:
        """The path without its last part; empty for an image in the working folder."""
        return str(PurePath(self.path).parent) if len(PurePath(self.path).parts) > 1 else ""


class Rows:
    """The rows of a page as they come: the most anomalous ones, and of all others only score and verdict.

    A batch may have a million images, and of most the page says no more than that they are counted.

    Args:
        rows: some to begin with, as by `add`.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._most: list[tuple[float, int, Row]] = []  # a heap of score, minus the place in the order, row
        self._scores = array("d")
        self._verdicts = array("B")  # places among `Verdict`
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Count an image, and keep its row as long as it is among the most anomalous."""
        self._scores.append(row.score)
        self._verdicts.append(_VERDICTS.index(row.verdict))
        push = heapq.heappushpop if len(self._most) >= _MAX_ROWS else heapq.heappush
        push(self._most, (row.score, -len(self._scores), row))

    def __len__(self) -> int:
        return len(self._scores)

    def most_anomalous(self) -> list[Row]:
        """Return the rows that are kept, the most anomalous first, and in their order where scores are the same."""
        return [row for _, _, row in sorted(self._most, reverse=True)]

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores of all images, in their order."""
        return np.array(self._scores)

    @property
    def verdicts(self) -> list[Verdict]:
        """Verdicts of all images, in their order."""
        return [_VERDICTS[index] for index in self._verdicts]


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be read."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """One image in small, without and with its overlay, and the comparison that tells why: JPEG bytes."""

    image: bytes
    overlay: bytes
    comparison: bytes | None = None  # None for a good image, and where no good place is kept to compare with


@dataclass(frozen=True)
class Batch:
    """Everything the page of one batch shows."""

    model_name: str
    threshold: Threshold
    rows: Rows
    failures: Sequence[Failure]  # the first of them
    thumbnails: Mapping[str, Thumbnails]  # by ``Row.overlay``; rows without an entry stand without pictures
    finished: datetime
    n_failed: int = 0  # images that could not be read, where not all are listed
    complete: bool = True  # False when the run was stopped before its last image
    warnings: Sequence[str] = ()  # about the batch as a whole


@dataclass(frozen=True)
class Table:
    """A table of a document; every cell is text."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture of a document."""

    png: bytes = field(repr=False)
    caption: str
    alt: str  # what it shows, for those who cannot see it


@dataclass(frozen=True)
class Section:
    """A part of a document: its paragraphs come first, then its tables, then its figures."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()


def render_page(batch: Batch) -> str:
    """Write the HTML page of a batch: what was decided, by which limit, and where on each image.

    The most anomalous image comes first; with scripts allowed, a click on a column's name sorts by it, and the
    table has pages, and filters by verdict and name.
    """
    counts = Counter(batch.rows.verdicts)
    n_failed = max(batch.n_failed, len(batch.failures))
    return _template("batch.html.jinja").render(
        batch=batch,
        rows=batch.rows.most_anomalous(),
        n_inspected=len(batch.rows),
        n_images=len(batch.rows) + n_failed,
        n_failed=n_failed,
        n_good=counts[Verdict.GOOD],
        n_unsure=counts[Verdict.UNSURE],
        n_defective=counts[Verdict.DEFECTIVE],
        promise=promise(batch.threshold),
        histogram=_histogram(batch.rows, batch.threshold) if len(batch.rows) else None,
        decimals=_decimals(batch.threshold.value),
        heat_legend=_heat_legend(),
        compared=any(small.comparison for small in batch.thumbnails.values()),
    )


def render_document(title: str, sections: Sequence[Section], *, intro: str = "") -> str:
    """Write an HTML page of headings, text, tables and figures in the same look.

    Args:
        title: heading of the page.
        sections: in reading order.
        intro: one paragraph below the title.
    """
    return _template("document.html.jinja").render(title=title, sections=sections, intro=intro)


@dataclass(frozen=True)
class _Bar:
    """A bar of the histogram; places in percent of its width, heights in pixels."""

    left: float
    width: float
    height: float
    bottom: float  # where it stands on a bar of another verdict
    verdict: Verdict
    title: str


@dataclass(frozen=True)
class _Histogram:
    bars: list[_Bar]
    threshold: float  # percent
    lower: float | None  # percent; None without a lower limit
    ticks: list[tuple[float, str]]  # percent, label
    n_highest: int  # images in the highest bar
    n_beyond: int  # images in the last bar that lie beyond the end of the axis


def _histogram(rows: Rows, threshold: Threshold) -> _Histogram:
    """Count scores in bars of equal width, one of which begins exactly at the threshold."""
    scores, limit = rows.scores, threshold.value
    lower = limit if threshold.unsure is None else threshold.unsure.value
    low, high = _shown_range(scores, lower, limit)
    width = (high - low) / _BARS
    n_below, n_above = math.ceil((limit - low) / width), math.ceil((high - limit) / width)
    low, high = limit - n_below * width, limit + n_above * width
    # A score that equals the threshold is not above it, so a bar includes its upper end.
    places = np.ceil((scores - limit) / width).astype(int) - 1 + n_below
    places = np.minimum(places, n_below + n_above - 1)
    highest, share = int(np.bincount(places).max()), 100 / (n_below + n_above)
    counts = Counter(zip(places.tolist(), rows.verdicts, strict=True))
    bars: list[_Bar] = []
    for index, verdict in product(range(n_below + n_above), Verdict):
        if n := counts[index, verdict]:
            below = bars[-1] if bars and bars[-1].left == index * share else None
            bar = _Bar(
                left=index * share,
                width=share,
                height=max(2.0, _PLOT_HEIGHT * n / highest),  # a single image must not vanish
                bottom=below.bottom + below.height if below else 0.0,
                verdict=verdict,
                title=f"{n:,} from {low + index * width:.4g} to {low + (index + 1) * width:.4g}",
            )
            bars.append(bar)
    place = None if threshold.unsure is None else 100 * (lower - low) / (high - low)
    return _Histogram(bars, n_below * share, place, _ticks(low, high), highest, int((scores > high).sum()))


def _shown_range(scores: NDArray[np.float64], lower: float, threshold: float) -> tuple[float, float]:
    """Choose the ends of the axis: around scores and limits, but a far outlier must not squeeze all the rest."""
    low, high = min(float(scores.min()), lower), max(float(scores.max()), threshold)
    if threshold > 0:
        high = min(high, _FARTHEST * threshold)
    margin = 0.04 * (high - low) or 0.01 * abs(threshold) or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Choose four to ten round numbers (steps of 1, 2 or 5) between two ends, as percent of the way and label."""
    rough = (high - low) / 8
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough)
    decimals = max(0, -math.floor(math.log10(step)))
    numbers = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(100 * (number - low) / (high - low), f"{number:.{decimals}f}") for number in numbers]


def _place(region: Mapping[str, Any]) -> str:
    area = "" if region["area_mm2"] is None else f", {region['area_mm2']:.3g} mm²"
    return f"{region['width']} × {region['height']} px at column {region['left']}, row {region['top']}{area}"


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def _decimals(threshold: float) -> int:
    """Count the decimals that show four digits of the threshold; scores then line up below each other."""
    magnitude = math.floor(math.log10(abs(threshold))) if threshold else 0
    return min(max(3 - magnitude, 0), 6)


def _heat_legend() -> bytes:
    """Paint the colours of the heat scale from the threshold to twice the threshold, as JPEG."""
    multiples = np.linspace(1, 2, 128, dtype=np.float32)[np.newaxis].repeat(8, axis=0)  # (8, 128)
    return encode_jpeg(heat_map(multiples, *heat_scale(1.0)), quality=95)


def _number_columns(table: Table) -> set[int]:
    """Find the columns in which every cell begins like a number; dashes and blanks may stand for missing ones."""
    columns = [[cell for cell in column if cell not in ("", "-", "–", "—")] for column in zip(*table.rows, strict=True)]
    looks_numeric = re.compile(r"[-+−±<>≤≥]?\s*\d").match
    return {index for index, cells in enumerate(columns) if cells and all(map(looks_numeric, cells))}


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _template(name: str) -> jinja2.Template:
    import jinja2  # here, because verdicts are given without a page more often than with one

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("blemish.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"data_uri": _data_uri, "href": quote, "images": _images, "number_columns": _number_columns}
    return templates.get_template(name)
