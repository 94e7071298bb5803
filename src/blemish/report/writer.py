"""Writes what `inspect` leaves behind: ``results.csv``, ``results.jsonl``, ``overlays/``, ``report.html`` and ``.pdf``.

Rows and overlays are written image by image, so a run that is killed keeps what it had, and the same run goes on there;
the page and its summary come last. In between there stay in memory what the page will show, which is bounded, and of
every image its score and the name of its overlay.
"""

from __future__ import annotations

import csv
import heapq
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from blemish.errors import ImageError, OutputError
from blemish.images import write_bytes, write_text
from blemish.locks import take
from blemish.report.earlier import (
    COLUMNS,
    OVERLAYS,
    REPORT,
    RESULTS_CSV,
    RESULTS_JSONL,
    SUMMARY,
    Listed,
    clear,
    find_kept,
    one_line,
    read_kept,
)
from blemish.report.overlay import (
    Picture,
    as_it_was,
    comparison,
    decode_picture,
    draw_outlines,
    draw_over,
    encode_jpeg,
    encode_png,
    grey_picture,
    shrink,
)
from blemish.report.page import Batch, Failure, Row, Rows, Thumbnails, render_page
from blemish.report.stored import open_image
from blemish.report.summary import render_summary
from blemish.results import Inspection, Threshold

_ERROR = "error"  # verdict in CSV and JSON lines of an image that could not be read
_LOCK = ".blemish-lock"  # a file that is there while a run writes into the folder
_MAX_FAILURES = 1000  # that the page lists
_MAX_THUMBNAILS = 500  # more would make the page too heavy to open
_THUMBNAIL_SIDE = 288  # pixels, twice what the page shows, for sharp screens
_THUMBNAIL_QUALITY = 75  # of JPEG
_OVERLAY_SIDE = 6144  # pixels; more would show no more of the map, and take a gigabyte to draw
_OVERLAY_QUALITY = 90
_MAX_NAME_BYTES = 180  # of an overlay's file name; file systems end at 255, and a number may follow


@dataclass(frozen=True)
class Drawing:
    """The pictures of one image, ready to be written; small, so that many may wait where no pixels could."""

    overlay: bytes = field(repr=False)  # JPEG
    comparison: bytes | None = field(repr=False)  # PNG; None where there is no good place to compare with
    small: Thumbnails = field(repr=False)


def draw(inspection: Inspection) -> Drawing:
    """Draw what was found on one image; it takes about as long as inspecting, and may run in any thread."""
    large, small = (grey_picture(inspection.grey.fitted(side)) for side in (_OVERLAY_SIDE, _THUMBNAIL_SIDE))
    compared = None if inspection.evidence is None else comparison(inspection.evidence)
    return Drawing(
        encode_jpeg(draw_over(large, inspection), _OVERLAY_QUALITY),
        None if compared is None else encode_png(compared),
        _thumbnails(small, draw_over(small, inspection), compared),
    )


def _thumbnails(image: Picture, overlay: Picture, compared: Picture | None = None) -> Thumbnails:
    return Thumbnails(
        image=encode_jpeg(image, _THUMBNAIL_QUALITY),
        overlay=encode_jpeg(overlay, _THUMBNAIL_QUALITY),
        comparison=None if compared is None else encode_jpeg(compared, _THUMBNAIL_QUALITY),
    )


class ResultWriter:
    """An output folder that fills up while images are inspected; use it in a ``with`` statement.

    Opening it proves that the folder can be written and replaces the results of an earlier run there, but for the rows
    that hold for this run too (`report.earlier`). Everything else in the folder is left alone: where one of our names
    belongs to a foreign file, opening fails instead. The page is written on leaving the ``with`` statement, also after
    an error or Ctrl-C, and then says that the run was stopped.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model_name: str,
        threshold: Threshold,
        good_statistics: Mapping[str, Sequence[float]] | None = None,
        run: str = "",
        images: Sequence[Listed] = (),
    ) -> None:
        """Open the output folder; it is made if it is not there.

        Args:
            folder: where the results go.
            model_name: what the page calls the detector, such as the name of its file.
            threshold: the limit that made the verdicts.
            good_statistics: `Description.good_statistics`, for the charts.
            run: names all that the rows depend on beside the images; a run of another name begins anew.
            images: what is going to be added, in order; the first of them may be there already.

        Raises:
            OutputError: the folder cannot be written, holds foreign files under our names, or another run writes there.
        """
        self._folder = folder
        self._model_name = model_name
        self._threshold = threshold
        self._good_statistics = good_statistics or {}
        self._run = run
        self.warnings: tuple[str, ...] = ()  # about the batch as a whole, for the top of the page
        self.statistics: Mapping[str, Sequence[float]] = {}  # numbers of each image, for the charts
        self._rows = Rows()
        self._n_failed = 0
        self._failures: list[Failure] = []
        self._most_anomalous: list[tuple[float, str, Thumbnails | _Kept]] = []  # a heap of score, overlay, pictures
        with _output_errors(folder), ExitStack() as files:
            folder.mkdir(parents=True, exist_ok=True)
            files.enter_context(_held(folder))
            self._kept = find_kept(folder, run, images)
            clear(folder, run, self._kept)
            self._jsonl = files.enter_context(_open_text(folder / RESULTS_JSONL))
            self._csv = files.enter_context(_open_text(folder / RESULTS_CSV))
            self._csv_rows = csv.DictWriter(self._csv, COLUMNS, restval="", lineterminator="\n")
            if not self._kept.n_rows:
                self._csv_rows.writeheader()
                self._csv.flush()
            (folder / OVERLAYS).mkdir(exist_ok=True)
            self._taken_names = {path.stem.casefold() for path in (folder / OVERLAYS).iterdir()}
            for record in self.kept():
                self._note(record, _Kept.of(record))
            self._files = files.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with _output_errors(self._folder), self._files:
                self._write_page(complete=error is None)
        except OutputError:
            if error is None:  # otherwise the first error says more than what follows from it
                raise

    def kept(self) -> Iterator[dict[str, Any]]:
        """Read the records of an earlier run that stand for the first of the images: these need not be added again."""
        return read_kept(self._folder, self._kept)

    def add(self, record: Mapping[str, Any], drawing: Drawing | None) -> None:
        """Write the rows and the overlay of one image.

        Args:
            record: `Inspection.to_dict`, or of an image that could not be inspected ``path``, the verdict "error" and a
                ``reason``; what else it holds goes into the JSON lines.
            drawing: its pictures; None exactly when it could not be inspected.

        Raises:
            OutputError: the disk is full or the folder has gone.
        """
        if drawing is None:
            written = {**record, "reason": one_line(record["reason"])}
        else:
            path = None if record["path"] is None else Path(record["path"])
            name = f"{OVERLAYS}/{self._free_name(path)}"
            written = {**record, "overlay": f"{name}.jpg"}
            if drawing.comparison is not None:
                written["comparison"] = f"{name}.png"
        # The row of the CSV comes last and says that all is there; the JSON line comes first and knows what to remove.
        with _output_errors(self._folder):
            self._jsonl.write(json.dumps(written, ensure_ascii=False) + "\n")
            self._jsonl.flush()
            if drawing is not None:
                write_bytes(self._folder / written["overlay"], drawing.overlay)
                if drawing.comparison is not None:
                    write_bytes(self._folder / written["comparison"], drawing.comparison)
            self._csv_rows.writerow(_csv_row(written))
            self._csv.flush()
        self._note(written, drawing.small if drawing else None)

    def _note(self, record: Mapping[str, Any], pictures: Thumbnails | _Kept | None) -> None:
        """Keep in memory what the page will say of an image."""
        if record["verdict"] == _ERROR or pictures is None:
            self._n_failed += 1
            if len(self._failures) < _MAX_FAILURES:
                self._failures.append(Failure(record["path"], record["reason"]))
            return
        self._rows.add(Row.of(record))
        is_full = len(self._most_anomalous) == _MAX_THUMBNAILS
        push = heapq.heappushpop if is_full else heapq.heappush
        push(self._most_anomalous, (record["score"], record["overlay"], pictures))

    def _free_name(self, path: Path | None) -> str:
        """Choose an overlay's file name: the image's own, with its folder and then its number where that is taken."""
        stem = _file_name(path.stem if path else "image")
        long_name = _file_name(f"{path.parent.name}-{path.stem}" if path else "image")
        numbered = (f"{long_name}-{number}" for number in count(len(self._rows) + 1))
        name = next(name for name in chain((stem, long_name), numbered) if name.casefold() not in self._taken_names)
        self._taken_names.add(name.casefold())  # some file systems do not tell A from a
        return name

    def _write_page(self, *, complete: bool) -> None:
        pictures = {
            overlay_path: found.draw(self._folder) if isinstance(found, _Kept) else found
            for _, overlay_path, found in self._most_anomalous
        }
        batch = Batch(
            model_name=self._model_name,
            threshold=self._threshold,
            rows=self._rows,
            failures=self._failures,
            n_failed=self._n_failed,
            thumbnails={overlay_path: small for overlay_path, small in pictures.items() if small is not None},
            finished=datetime.now().astimezone(),
            complete=complete,
            warnings=self.warnings,
            statistics=self.statistics,
            good_statistics=self._good_statistics,
            run=self._run,
        )
        write_text(self._folder / REPORT, render_page(batch))
        write_bytes(self._folder / SUMMARY, render_summary(batch))


@dataclass(frozen=True)
class _Kept:
    """An image of an earlier run, whose pictures are drawn again from its files if the page is to show them."""

    path: str
    overlay: str
    comparison: str | None
    contours: list[list[list[int]]]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> _Kept:
        contours = [region["contour"] for region in record.get("regions", [])]
        return cls(record["path"], record.get("overlay", ""), record.get("comparison"), contours)

    def draw(self, folder: Path) -> Thumbnails | None:
        try:
            image = open_image(self.path)
            overlay = shrink(decode_picture((folder / self.overlay).read_bytes()), _THUMBNAIL_SIDE)
            compared = None if self.comparison is None else decode_picture((folder / self.comparison).read_bytes())
        except (ImageError, OSError):  # gone meanwhile: the page does without
            return None
        draw_outlines(overlay, self.contours, scale=max(overlay.shape) / max(image.shape))
        small = grey_picture(image.fitted(_THUMBNAIL_SIDE))
        return _thumbnails(small, overlay, None if compared is None else as_it_was(compared))


def _csv_row(record: Mapping[str, Any]) -> dict[str, object]:
    row = {name: record[name] for name in COLUMNS if name in record}
    row["path"] = _path_cell(record["path"])
    if "reason" in record:
        return row | {"reason": _text_cell(record["reason"])}
    strongest = record["regions"][0] if record["regions"] else {}
    row |= {f"region_{name}": value for name, value in strongest.items() if f"region_{name}" in COLUMNS}
    if evidence := record.get("evidence"):
        row |= {"peak_row": evidence["row"], "peak_column": evidence["column"]}
        row |= {name: evidence[name] for name in ("n_good", "n_good_below")}
    return row | {"n_regions": len(record["regions"])}


def _path_cell(path: str | None) -> str:
    """Write a path so that no spreadsheet takes it for a formula: ``./=1+1.png`` is still the same file."""
    text = path or ""
    return f"./{text}" if _is_formula(text) else text


def _text_cell(text: str) -> str:
    return f"'{text}" if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    return text.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def _file_name(text: str) -> str:
    """Make a file name that every file system takes; of a long one the end stays, where the numbers are."""
    plain = re.sub(r"[^\w.()+ -]", "_", text)
    return plain.encode()[-_MAX_NAME_BYTES:].decode(errors="ignore").strip(" .") or "image"


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other runs out of an output folder, on a disk that knows locks."""
    path = folder / _LOCK
    lock: sqlite3.Connection | None = None
    with suppress(sqlite3.Error):
        lock = take(path)
        if lock is None:
            raise OutputError(
                f"Another run writes into {folder} at this moment; expected a folder for this one alone. "
                "Wait until the other is done, or choose another output folder."
            )
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):  # Windows removes no file that is open; one that stays keeps nobody out
                path.unlink()  # before it is given back: afterwards it may be the next run's
            lock.close()


def _open_text(path: Path) -> TextIO:
    # Names that are not valid Unicode are written as \udcXX, which is how JSON spells them.
    return path.open("a", encoding="utf-8", errors="backslashreplace", newline="")


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write results into {folder}: {error.strerror or error}. "
            "Expected a folder with write permission and free space; free some, or choose another output folder."
        ) from error
