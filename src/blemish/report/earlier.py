"""What an earlier run left in an output folder: how much of it holds for this run too, and how the rest is removed.

A run is named in ``run.json``. A later run of the same name, over the same images in the same order, keeps the rows up
to the first image that is new or has changed, and goes on there. An image is the same when its path, its size and the
time of its last change are, or for one at a URL what its store says of it: hashing would read every file again.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from blemish.errors import OutputError
from blemish.images import write_text
from blemish.report.stored import Stored

RESULTS_CSV: Final = "results.csv"
RESULTS_JSONL: Final = "results.jsonl"
REPORT: Final = "report.html"
SUMMARY: Final = "report.pdf"
OVERLAYS: Final = "overlays"
RUN: Final = "run.json"

COLUMNS: Final = (
    *("path", "verdict", "score", "threshold", "max_distance", "mean_distance", "height", "width", "n_regions"),
    *("region_top", "region_left", "region_height", "region_width", "region_area_px", "region_area_mm2"),
    *("region_peak", "region_mean", "peak_row", "peak_column", "n_good", "n_good_below", "overlay", "reason"),
)  # of the CSV; ``region_...`` speak of the strongest region, the JSON lines list them all

Listed = tuple[Path | Stored, str]  # an image and "", or a source without images and the reason
_FORMAT: Final = 2  # of the rows; raised when those of an older Blemish must not stand beside today's


def stamp(path: Path | Stored) -> dict[str, int | str]:
    """Return what shows that an image has not changed; nothing of a file that is not there."""
    if isinstance(path, Stored):
        return path.stamp()
    try:
        found = path.stat()
    except OSError:
        return {}
    return {"n_bytes": found.st_size, "modified_ns": found.st_mtime_ns}


def one_line(reason: str) -> str:
    """Write a reason in one line, so that a row stays one."""
    return " ".join(reason.split())


@dataclass(frozen=True)
class Kept:
    """Rows of an earlier run that hold for this one: how many, and where they end in the two files."""

    n_rows: int = 0
    csv_bytes: int = 0
    jsonl_bytes: int = 0


def find_kept(folder: Path, run: str, images: Sequence[Listed]) -> Kept:
    """Find the rows that need not be made again: those from the first on that are of this run and these images.

    Args:
        folder: for output; it need not hold anything.
        run: names all that the rows depend on beside the images.
        images: what this run inspects, in order.
    """
    kept = Kept()
    is_whole = all((folder / name).is_file() for name in (RESULTS_CSV, RESULTS_JSONL))
    if _read_run(folder / RUN) != _run_of(run) or not is_whole:
        return kept
    with (folder / RESULTS_CSV).open("rb") as table, (folder / RESULTS_JSONL).open("rb") as lines:
        rows = _Rows(table)
        jsonl_bytes = 0
        if next(rows, None) != list(COLUMNS):
            return kept
        for row, line, image in zip(rows, lines, images, strict=False):
            record = _whole_record(line)
            if not rows.is_whole or record is None or len(row) != len(COLUMNS) or not _is_of(record, image, folder):
                break
            jsonl_bytes += len(line)
            kept = Kept(kept.n_rows + 1, rows.n_bytes, jsonl_bytes)
    return kept


def read_kept(folder: Path, kept: Kept) -> Iterator[dict[str, Any]]:
    """Read the records that are kept, one after the other."""
    with (folder / RESULTS_JSONL).open("rb") as lines:
        yield from map(json.loads, islice(lines, kept.n_rows))


def clear(folder: Path, run: str, kept: Kept) -> None:
    """Remove what an earlier run left but for the rows that are kept; touch nothing that is not ours.

    Raises:
        OutputError: the folder holds foreign files under our names.
    """
    ours = (RESULTS_CSV, RESULTS_JSONL, REPORT, SUMMARY, OVERLAYS, RUN)
    present = [name for name in ours if _holds_something(folder / name)]
    if present and not _is_ours(folder, present):
        raise OutputError(
            f"{folder} holds {', '.join(present)}, but no results of this version of Blemish; "
            "expected an empty folder or an earlier run. Choose another output folder, or move these away."
        )
    for name in _pictures_after(folder / RESULTS_JSONL, kept.n_rows):
        (folder / OVERLAYS / name).unlink(missing_ok=True)
    for name in (REPORT, SUMMARY):
        (folder / name).unlink(missing_ok=True)
    if kept.n_rows:
        os.truncate(folder / RESULTS_JSONL, kept.jsonl_bytes)
        os.truncate(folder / RESULTS_CSV, kept.csv_bytes)
        return
    for name in (RUN, RESULTS_JSONL, RESULTS_CSV):  # the CSV last, for by it we know what is ours
        (folder / name).unlink(missing_ok=True)
    write_text(folder / RUN, json.dumps(_run_of(run)) + "\n")


def is_overlays(folder: Path) -> bool:
    """Say whether a folder holds the overlays of a run of Blemish, whatever its model and version."""
    run = folder.parent
    return folder.name == OVERLAYS and (_read_run(run / RUN) is not None or _is_our_table(run / RESULTS_CSV))


class _Rows:
    """The rows of a CSV, and how many bytes the rows read so far take."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._rows = csv.reader(self._lines())
        self.n_bytes = 0
        self.is_whole = True  # false when a kill has cut the row short

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._rows)
        except csv.Error as error:  # damage that makes one endless cell of the rest
            raise StopIteration from error

    def _lines(self) -> Iterator[str]:
        for line in self._stream:  # a row whose name holds a line break has several
            self.n_bytes += len(line)
            self.is_whole = line.endswith(b"\n")
            yield line.decode(errors="replace")


def _run_of(run: str) -> dict[str, object]:
    return {"format": _FORMAT, "run": run}


def _read_run(path: Path) -> object:
    """Read what ``run.json`` says; None when there is none, or it is of another program."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and set(found) == set(_run_of("")) else None


def _whole_record(line: bytes) -> dict[str, Any] | None:
    """Read one JSON line; None when a kill cut it short."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _is_of(record: dict[str, Any], image: Listed, folder: Path) -> bool:
    path, problem = image
    if record.get("path") != str(path) or not all((folder / name).is_file() for name in _pictures_of(record)):
        return False
    if problem:
        return bool(record.get("reason") == one_line(problem))
    found = stamp(path)
    return found != {} and found.items() <= record.items()


def _holds_something(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    return path.exists() and path.stat().st_size > 0


def _is_ours(folder: Path, present: list[str]) -> bool:
    """Say whether an earlier run of Blemish left what is there; one that was killed at once left ``run.json`` only."""
    if RUN in present and (_read_run(folder / RUN) is None or RESULTS_CSV not in present):
        return _read_run(folder / RUN) is not None
    return _is_our_table(folder / RESULTS_CSV)


def _is_our_table(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.readline() == (",".join(COLUMNS) + "\n").encode()
    except OSError:
        return False


def _pictures_after(jsonl_path: Path, n_rows: int) -> list[str]:
    """List the file names of the pictures that rows after the first ``n_rows`` speak of."""
    if not jsonl_path.is_file():
        return []
    with jsonl_path.open("rb") as lines:
        records = map(_whole_record, islice(lines, n_rows, None))
        # Only the last part of the path: nothing outside our folder.
        return [Path(name).name for record in records if record for name in _pictures_of(record)]


def _pictures_of(record: dict[str, Any]) -> list[str]:
    """List the files that a row has beside it, relative to the folder."""
    return [record[name] for name in ("overlay", "comparison") if name in record]
