"""One page to print, sign and file: what was decided about a batch, by which limit, and the parts that were worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from blemish.detection.decision import promise
from blemish.report.charts import PLOT_HEIGHT
from blemish.report.page import Batch, Row, Thumbnails, decimals
from blemish.report.pdf import PAGE_HEIGHT, PAGE_WIDTH, Colour, Jpeg, Page, fitted, wrapped
from blemish.results import Verdict

_MARGIN: Final = 42.0  # points, as all lengths here
_WIDTH: Final = PAGE_WIDTH - 2 * _MARGIN
_BOTTOM: Final = PAGE_HEIGHT - _MARGIN
_GAP: Final = 14.0
_CELL_HEIGHT: Final = 132.0  # of one of the worst parts
_CELL_WIDTH: Final = (_WIDTH - _GAP) / 2
_MOST_CELLS: Final = 6
_PICTURE: Final = 78.0  # longest side of a picture
_BODY, _SMALL = 9.0, 7.5  # sizes of text
_LEADING: Final = 1.35  # from line to line, of their size
_MOST_WARNING_LINES: Final = 14

_INK: Final = (0.11, 0.11, 0.13)
_MUTED: Final = (0.39, 0.41, 0.44)
_LINE: Final = (0.86, 0.86, 0.84)
_WARNING: Final = (0.49, 0.35, 0.0)
_WARNING_SOFT: Final = (0.98, 0.95, 0.86)
_TEXTS: Final = {Verdict.GOOD: (0.18, 0.42, 0.33), Verdict.UNSURE: _WARNING, Verdict.DEFECTIVE: (0.70, 0.15, 0.12)}
_BARS: Final = {
    Verdict.GOOD: (0.50, 0.66, 0.60), Verdict.UNSURE: (0.85, 0.65, 0.23), Verdict.DEFECTIVE: (0.85, 0.38, 0.31)
}  # fmt: skip


def render_summary(batch: Batch) -> bytes:
    """Write the PDF of a batch, one page of A4.

    It names counts, limits and their promise, warnings about the batch as a whole, the histogram of scores, and the
    strongest of the parts that were stopped; where none was, those of the highest scores.
    """
    page = Page()
    y = _head(page, batch)
    y = _warnings(page, batch, y)
    if len(batch.rows):
        y = _histogram(page, batch, y)
        _worst(page, batch, y)
    _foot(page, batch)
    return page.to_bytes(f"Inspection of {batch.model_name}", batch.finished)


def _head(page: Page, batch: Batch) -> float:
    """Write date, name, counts and limits; return where the next thing begins, as all of these do."""
    y = _MARGIN + 8
    page.text(_MARGIN, y, f"Inspection · {batch.finished.strftime('%Y-%m-%d %H:%M %Z').strip()}", _SMALL, _MUTED)
    y += 22
    page.text(_MARGIN, y, fitted(batch.model_name, 18, _WIDTH, bold=True), 18, _INK, bold=True)
    counts: list[tuple[str, int, Colour]] = [("images", len(batch.rows) + batch.n_not_read, _INK)]
    verdicts = batch.rows.counts
    for verdict in Verdict:
        n = verdicts[verdict]
        if verdict is not Verdict.UNSURE or batch.threshold.unsure is not None:
            counts.append((verdict.value, n, _TEXTS[verdict] if n and verdict is not Verdict.GOOD else _INK))
    if batch.n_not_read:
        counts.append(("not read", batch.n_not_read, _WARNING))
    y += 32
    for index, (name, n, colour) in enumerate(counts):
        page.text(_MARGIN + 92 * index, y, f"{n:,}", 20, colour, bold=True)
        page.text(_MARGIN + 92 * index, y + 12, name, _SMALL, _MUTED)
    digits = decimals(batch.threshold.value)
    said = f"A part is defective when its score is above {batch.threshold.value:.{digits}f}. "
    if (lower := batch.threshold.unsure) is not None:
        said += f"Above {lower.value:.{digits}f} and up to that it is unsure, and a person should look. "
    return _paragraph(page, said + promise(batch.threshold), y + 30)


def _warnings(page: Page, batch: Batch, y: float) -> float:
    said = [] if batch.complete else ["Stopped early: the run ended before its last image."]
    if batch.warnings:
        said += ["Look at the camera first. These verdicts may speak of it and not of the parts.", *batch.warnings]
    lines = [line for sentence in said for line in wrapped(sentence, _BODY, _WIDTH - 20)]
    if not lines:
        return y
    if len(lines) > _MOST_WARNING_LINES:
        lines = [*lines[: _MOST_WARNING_LINES - 1], "… and more, in report.html."]
    height = len(lines) * _BODY * _LEADING + 10
    page.rectangle(_MARGIN, y, _WIDTH, height, _WARNING_SOFT)
    page.rectangle(_MARGIN, y, 3, height, _WARNING)
    for index, line in enumerate(lines):
        page.text(_MARGIN + 12, y + 14 + index * _BODY * _LEADING, line, _BODY, _INK)
    return y + height + _GAP


def _histogram(page: Page, batch: Batch, y: float) -> float:
    drawn, height, digits = batch.histogram(), 84.0, decimals(batch.threshold.value)
    floor, unit = y + 22 + height, height / PLOT_HEIGHT
    for bar in drawn.bars:
        left, top = _MARGIN + _WIDTH * (bar.left + 0.1 * bar.width) / 100, floor - unit * (bar.bottom + bar.height)
        page.rectangle(left, top, 0.8 * bar.width * _WIDTH / 100, unit * bar.height, _BARS[bar.verdict])
    page.line((_MARGIN, floor), (_MARGIN + _WIDTH, floor), _LINE)
    for place, label in drawn.ticks:
        page.text(_MARGIN + _WIDTH * place / 100, floor + 11, label, _SMALL, _MUTED, at=1 if place > 97 else 0.5)
    for limit in (drawn.lower, drawn.threshold):
        if limit is not None:
            x = _MARGIN + _WIDTH * limit / 100
            page.line((x, y + 12), (x, floor), _INK, width=1, dash=3)
    at = 0 if drawn.threshold < 10 else 1 if drawn.threshold > 90 else 0.5
    label = f"threshold {batch.threshold.value:.{digits}f}"
    page.text(_MARGIN + _WIDTH * drawn.threshold / 100, y + 8, label, _SMALL, _INK, bold=True, at=at)
    note = f"Scores of {len(batch.rows):,} images; the highest bar has {drawn.n_highest:,}"
    note += f", the last one {drawn.n_beyond:,} beyond the axis." if drawn.n_beyond else "."
    page.text(_MARGIN, floor + 25, note, _SMALL, _MUTED)
    return floor + 25 + 2 * _GAP


def _worst(page: Page, batch: Batch, y: float) -> None:
    """Show the strongest parts, as many as there is room for, two side by side."""
    ranked = batch.rows.most_anomalous()
    stopped = [row for row in ranked if row.verdict is not Verdict.GOOD]
    n_stopped = len(batch.rows) - batch.rows.counts[Verdict.GOOD]
    n_fit = min(_MOST_CELLS, 2 * int((_BOTTOM - _GAP - y) / _CELL_HEIGHT))
    shown = (stopped or ranked)[:n_fit]
    title = "No part was stopped. The highest scores:"
    if stopped:
        some = f"The {len(shown)} strongest of {n_stopped:,} stopped"
        title = "What was stopped" if len(shown) == n_stopped else some
    page.text(_MARGIN, y, title, 11, _INK, bold=True)
    for index, row in enumerate(shown):
        x = _MARGIN + (index % 2) * (_CELL_WIDTH + _GAP)
        _part(page, batch, row, x, y + 12 + (index // 2) * _CELL_HEIGHT)


def _part(page: Page, batch: Batch, row: Row, x: float, y: float) -> None:
    digits, limit = decimals(batch.threshold.value), batch.threshold.value
    score = f"{row.verdict.value}, score {row.score:.{digits}f}"
    if limit > 0:
        score += f" = {row.score / limit:.2f} × threshold"
    if (pictures := batch.thumbnails.get(row.overlay)) is not None:
        _pictures(page, pictures, x, y)
    page.text(x, y + _PICTURE + 12, fitted(row.path or row.name, _BODY, _CELL_WIDTH, bold=True), _BODY, _INK, bold=True)
    page.text(x, y + _PICTURE + 22, fitted(score, _SMALL, _CELL_WIDTH), _SMALL, _TEXTS[row.verdict])
    about = f"{row.place}. {row.rank}" if row.place else row.rank
    page.text(x, y + _PICTURE + 32, fitted(about, _SMALL, _CELL_WIDTH), _SMALL, _MUTED)


def _pictures(page: Page, pictures: Thumbnails, x: float, y: float) -> None:
    """Show image, overlay, and the worst place beside the nearest good one."""
    for data in (pictures.image, pictures.overlay):
        jpeg = _jpeg(data)
        width = _PICTURE * jpeg.width / max(jpeg.height, jpeg.width)
        page.picture(x, y, width, jpeg)
        x += width + 4
    if pictures.comparison is not None:
        page.picture(x, y, _PICTURE, _jpeg(pictures.comparison))
        page.text(x, y + _PICTURE / 2 + 8, "this part", 6, _MUTED)
        page.text(x + _PICTURE / 2 + 1, y + _PICTURE / 2 + 8, "nearest good", 6, _MUTED)


def _jpeg(data: bytes) -> Jpeg:
    shape = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)).shape
    return Jpeg(data, height=shape[0], width=shape[1], is_grey=len(shape) == 2)


def _foot(page: Page, batch: Batch) -> None:
    page.line((_MARGIN, _BOTTOM - 8), (_MARGIN + _WIDTH, _BOTTOM - 8), _LINE)
    said = "Written by Blemish. All images: report.html and results.csv beside this file."
    page.text(_MARGIN, _BOTTOM + 3, said, _SMALL, _MUTED)
    if batch.run:
        page.text(_MARGIN, _BOTTOM + 13, fitted(f"Model {batch.run}", 6, _WIDTH), 6, _MUTED)


def _paragraph(page: Page, text: str, y: float) -> float:
    lines: Sequence[str] = wrapped(text, _BODY, _WIDTH)
    for index, line in enumerate(lines):
        page.text(_MARGIN, y + index * _BODY * _LEADING, line, _BODY, _INK)
    return y + len(lines) * _BODY * _LEADING + 4
