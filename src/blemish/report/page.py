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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from blemish.detection.decision import promise
from blemish.report.charts import CHARTED, ControlChart, Histogram, control_chart, histogram, score_chart
from blemish.report.overlay import encode_jpeg, heat_map, heat_scale
from blemish.report.stored import is_url
from blemish.results import Threshold, Verdict, rank_in_words

if TYPE_CHECKING:
    import jinja2

_MAX_ROWS = 10_000  # of the table; a browser needs a minute for ten times as many
_VERDICTS = tuple(Verdict)


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
        if is_url(self.path):  # of which a path would make one slash of two
            return self.path.rpartition("/")[0]
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
    def counts(self) -> dict[Verdict, int]:
        """How many images have each verdict."""
        return {verdict: self._verdicts.count(index) for index, verdict in enumerate(_VERDICTS)}

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
    statistics: Mapping[str, Sequence[float]] = field(default_factory=dict)  # one number an image, in their order
    good_statistics: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of the good images, as far as known
    run: str = ""  # names the model, and all else that the verdicts depend on

    @property
    def n_not_read(self) -> int:
        """Images that could not be read, listed or not."""
        return max(self.n_failed, len(self.failures))

    def histogram(self) -> Histogram:
        """Count the scores; there must be a row."""
        return histogram(self.rows.scores, self.rows.verdicts, self.threshold)

    def charts(self) -> list[ControlChart]:
        """Draw what can be drawn over the order of inspection: the score, and what shows a change of the camera."""
        if not len(self.rows):
            return []
        found = [score_chart(self.rows.scores, self.threshold)]
        known = (name for name in CHARTED if self.statistics.get(name))
        return found + [
            control_chart(name, self.statistics[name], self.good_statistics.get(name, ())) for name in known
        ]


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
    counts = batch.rows.counts
    return _template("batch.html.jinja").render(
        batch=batch,
        rows=batch.rows.most_anomalous(),
        n_inspected=len(batch.rows),
        n_images=len(batch.rows) + batch.n_not_read,
        n_failed=batch.n_not_read,
        n_good=counts[Verdict.GOOD],
        n_unsure=counts[Verdict.UNSURE],
        n_defective=counts[Verdict.DEFECTIVE],
        promise=promise(batch.threshold),
        histogram=batch.histogram() if len(batch.rows) else None,
        charts=batch.charts(),
        decimals=decimals(batch.threshold.value),
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


def _place(region: Mapping[str, Any]) -> str:
    area = "" if region["area_mm2"] is None else f", {region['area_mm2']:.3g} mm²"
    return f"{region['width']} × {region['height']} px at column {region['left']}, row {region['top']}{area}"


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def decimals(threshold: float) -> int:
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
