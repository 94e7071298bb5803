"""Writes what `inspect` leaves behind: ``results.csv``, ``results.jsonl``, ``overlays/`` and ``report.html``.

Rows and overlays are written image by image, so a run that is killed keeps what it had; the page comes last. In between
only a few words per image stay in memory, and the small pictures of the images that the page will show.
"""

from __future__ import annotations

import csv
import heapq
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from blemish.errors import OutputError
from blemish.images import write_bytes, write_text
from blemish.report.overlay import encode_jpeg, grey_picture, overlay, shrink
from blemish.report.page import Batch, Failure, Row, Thumbnails, render_page
from blemish.results import Inspection, Threshold

RESULTS_CSV = "results.csv"
RESULTS_JSONL = "results.jsonl"
REPORT = "report.html"
OVERLAYS = "overlays"

COLUMNS = (
    *("path", "verdict", "score", "threshold", "max_distance", "mean_distance", "height", "width", "n_regions"),
    *("region_top", "region_left", "region_height", "region_width", "region_area_px", "region_area_mm2"),
    *("region_peak", "region_mean", "overlay", "reason"),
)  # of the CSV; ``region_...`` speak of the strongest region, the JSON lines list them all

_ERROR = "error"  # verdict in CSV and JSON lines of an image that could not be read
_MAX_THUMBNAILS = 500  # more would make the page too heavy to open
_THUMBNAIL_SIDE = 288  # pixels, twice what the page shows, for sharp screens
_THUMBNAIL_QUALITY = 75  # of JPEG
_OVERLAY_SIDE = 16_384  # pixels; JPEG ends at 65,500, most viewers before that
_OVERLAY_QUALITY = 90
_MAX_NAME_BYTES = 180  # of an overlay's file name; file systems end at 255, and a number may follow


class ResultWriter:
    """An output folder that fills up while images are inspected; use it in a ``with`` statement.

    Opening it proves that the folder can be written and replaces the results of an earlier run there. Everything else
    in the folder is left alone: where one of our names belongs to a foreign file, opening fails instead. The page is
    written on leaving the ``with`` statement, also after an error or Ctrl-C, and then says that the run was stopped.
    """

    def __init__(self, folder: Path, *, model_name: str, threshold: Threshold) -> None:
        """Open the output folder; it is made if it is not there.

        Args:
            folder: where the results go.
            model_name: what the page calls the detector, such as the name of its file.
            threshold: the limit that made the verdicts.

        Raises:
            OutputError: the folder cannot be written, or holds foreign files under our names.
        """
        self._folder = folder
        self._model_name = model_name
        self._threshold = threshold
        self.warnings: tuple[str, ...] = ()  # about the batch as a whole, for the top of the page
        self._rows: list[Row] = []
        self._failures: list[Failure] = []
        self._most_anomalous: list[tuple[float, str, Thumbnails]] = []  # a heap of score, overlay, pictures
        with _output_errors(folder), ExitStack() as files:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_earlier_run(folder)
            self._jsonl = files.enter_context(_open_text(folder / RESULTS_JSONL))
            self._csv = files.enter_context(_open_text(folder / RESULTS_CSV))
            self._csv_rows = csv.DictWriter(self._csv, COLUMNS, restval="", lineterminator="\n")
            self._csv_rows.writeheader()
            self._csv.flush()
            (folder / OVERLAYS).mkdir(exist_ok=True)
            self._taken_names = {path.stem.casefold() for path in (folder / OVERLAYS).iterdir()}
            self._files = files.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._close(complete=error is None)
        except OutputError:
            if error is None:  # otherwise the first error says more than what follows from it
                raise

    def add(self, inspection: Inspection) -> None:
        """Write the overlay and the rows of one image.

        Raises:
            OutputError: the disk is full or the folder has gone.
        """
        overlay_path = f"{OVERLAYS}/{self._free_name(inspection.path)}.jpg"
        write_bytes(self._folder / overlay_path, encode_jpeg(overlay(inspection, _OVERLAY_SIDE), _OVERLAY_QUALITY))
        self._keep_thumbnails(inspection, overlay_path)  # before the row, which nothing must follow that can fail
        self._write_row(_csv_row(inspection, overlay_path), {**inspection.to_dict(), "overlay": overlay_path})
        self._rows.append(Row.of(inspection, overlay_path))

    def add_failure(self, path: Path, reason: str) -> None:
        """Write rows with the verdict "error" for an image that could not be read.

        Raises:
            OutputError: the disk is full or the folder has gone.
        """
        reason = " ".join(reason.split())  # one line, so that a row stays one line
        record = {"path": str(path), "verdict": _ERROR, "reason": reason}
        self._write_row({**record, "path": _path_cell(path), "reason": _text_cell(reason)}, record)
        self._failures.append(Failure(str(path), reason))

    def _write_row(self, csv_row: Mapping[str, object], record: Mapping[str, Any]) -> None:
        with _output_errors(self._folder):
            self._csv_rows.writerow(csv_row)
            self._csv.flush()
            self._jsonl.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._jsonl.flush()

    def _free_name(self, path: Path | None) -> str:
        """Choose an overlay's file name: the image's own, with its folder and then its number where that is taken."""
        stem = _file_name(path.stem if path else "image")
        long_name = _file_name(f"{path.parent.name}-{path.stem}" if path else "image")
        numbered = (f"{long_name}-{number}" for number in count(len(self._rows) + 1))
        name = next(name for name in chain((stem, long_name), numbered) if name.casefold() not in self._taken_names)
        self._taken_names.add(name.casefold())  # some file systems do not tell A from a
        return name

    def _keep_thumbnails(self, inspection: Inspection, overlay_path: str) -> None:
        is_full = len(self._most_anomalous) == _MAX_THUMBNAILS
        if is_full and inspection.score <= self._most_anomalous[0][0]:
            return
        pictures = shrink(grey_picture(inspection.image), _THUMBNAIL_SIDE), overlay(inspection, _THUMBNAIL_SIDE)
        small = Thumbnails(*(encode_jpeg(picture, _THUMBNAIL_QUALITY) for picture in pictures))
        push = heapq.heappushpop if is_full else heapq.heappush
        push(self._most_anomalous, (inspection.score, overlay_path, small))

    def _close(self, *, complete: bool) -> None:
        with _output_errors(self._folder):
            self._files.close()
        batch = Batch(
            model_name=self._model_name,
            threshold=self._threshold,
            rows=self._rows,
            failures=self._failures,
            thumbnails={overlay_path: small for _, overlay_path, small in self._most_anomalous},
            finished=datetime.now().astimezone(),
            complete=complete,
            warnings=self.warnings,
        )
        write_text(self._folder / REPORT, render_page(batch))


def _remove_earlier_run(folder: Path) -> None:
    """Remove the files of an earlier run, its overlays by the list in its CSV; touch nothing that is not ours."""
    present = [name for name in (RESULTS_CSV, RESULTS_JSONL, REPORT, OVERLAYS) if _holds_something(folder / name)]
    if not present:
        return
    overlays = _listed_overlays(folder / RESULTS_CSV)
    if overlays is None:
        raise OutputError(
            f"{folder} holds {', '.join(present)}, but no results of this version of Blemish; "
            "expected an empty folder or an earlier run. Choose another output folder, or move these away."
        )
    for name in overlays:
        (folder / OVERLAYS / name).unlink(missing_ok=True)
    for name in (REPORT, RESULTS_JSONL, RESULTS_CSV):  # the CSV last, for by it we know what is ours
        (folder / name).unlink(missing_ok=True)


def _holds_something(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    return path.exists() and path.stat().st_size > 0


def _listed_overlays(csv_path: Path) -> list[str] | None:
    """Read the overlays' file names from an earlier CSV; None when it is missing or not ours."""
    if not csv_path.is_file():
        return None
    with csv_path.open(encoding="utf-8", errors="replace", newline="") as stream:
        if stream.readline() != ",".join(COLUMNS) + "\n":
            return None
        # A row that a kill cut short has no overlay. Of the rest only the last part: nothing outside our folder.
        return [Path(row["overlay"]).name for row in csv.DictReader(stream, COLUMNS) if row["overlay"]]


def _csv_row(inspection: Inspection, overlay_path: str) -> dict[str, object]:
    record = inspection.to_dict()
    strongest = record["regions"][0] if record["regions"] else {}
    row = {name: record[name] for name in COLUMNS if name in record}
    row |= {f"region_{name}": value for name, value in strongest.items() if f"region_{name}" in COLUMNS}
    return row | {"path": _path_cell(inspection.path), "n_regions": len(inspection.regions), "overlay": overlay_path}


def _path_cell(path: Path | None) -> str:
    """Write a path so that no spreadsheet takes it for a formula: ``./=1+1.png`` is still the same file."""
    text = "" if path is None else str(path)
    return f"./{text}" if _is_formula(text) else text


def _text_cell(text: str) -> str:
    return f"'{text}" if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    return text.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def _file_name(text: str) -> str:
    """Make a file name that every file system takes; of a long one the end stays, where the numbers are."""
    plain = re.sub(r"[^\w.()+ -]", "_", text)
    return plain.encode()[-_MAX_NAME_BYTES:].decode(errors="ignore").strip(" .") or "image"


def _open_text(path: Path) -> TextIO:
    # Names that are not valid Unicode are written as \udcXX, which is how JSON spells them.
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write results into {folder}: {error.strerror or error}. "
            "Expected a folder with write permission and free space; free some, or choose another output folder."
        ) from error
