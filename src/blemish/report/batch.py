"""Inspect many images: several at once, a broken file never stops the rest, results on disk as they come.

Each core takes one image from file to finished overlay on its own: nothing has to be handed on between stages of uneven
length, and a graph on one core wastes none of it on waiting for others. Rows are written in order by the caller's
thread.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blemish.datasets import list_images
from blemish.detection.detector import Detector
from blemish.detection.drift import find_drift, image_statistics
from blemish.errors import BlemishError, DatasetError, OutputError
from blemish.parallel import in_order, n_cores
from blemish.progress import Progress, silent
from blemish.report.earlier import OVERLAYS, Listed, stamp
from blemish.report.writer import Drawing, ResultWriter, draw
from blemish.results import Verdict

_ERROR = "error"  # in place of a verdict
_STATISTICS = "statistics"  # in a record: what shows that the camera has changed; of an earlier run's images too
_NOT_TOLD = (_STATISTICS, "overlay", "comparison")  # what only the files hold


@dataclass(frozen=True)
class BatchCounts:
    """How a batch went."""

    good: int
    unsure: int  # a person should look
    defective: int
    failed: int  # images that could not be inspected, and sources without any
    kept: int = 0  # of all these: found on disk, where an earlier run with the same model had left them
    warnings: tuple[str, ...] = ()  # what says that the camera has changed, and not the parts


def inspect_batch(
    detector: Detector,
    sources: Sequence[Path],
    output: Path | None = None,
    *,
    tell: Callable[[dict[str, Any]], None] = lambda record: None,
    progress: Progress = silent,
) -> BatchCounts:
    """Inspect files and folders, and write what was found.

    An earlier run in the same folder that was stopped, with the same model and over the same images, is gone on with.

    Args:
        detector: makes the verdicts.
        sources: image files, folders of images and CSVs, in the order they are inspected.
        output: folder for tables, overlays and the report (see `report.writer`); None: nothing is written.
        tell: called with the record of each image as plain data, in order; one that failed has verdict "error" and a
            reason, and so has a source that does not exist or holds no images.
        progress: told after each image.

    Raises:
        DatasetError: there is nothing to inspect at all. OutputError: the folder cannot be written.
    """
    listed = _list(sources, output)
    if len(listed) > 1:
        detector = detector.with_threads(1)
    verdicts: Counter[str] = Counter()
    seen: dict[str, array[float]] = {}  # by statistic, of all images

    def note(record: dict[str, Any]) -> None:
        verdicts[record["verdict"]] += 1
        for name, value in record.get(_STATISTICS, {}).items():
            seen.setdefault(name, array("d")).append(value)
        tell({name: value for name, value in record.items() if name not in _NOT_TOLD})
        progress("inspecting", verdicts.total(), len(listed))

    def work(image: Listed) -> tuple[dict[str, Any], Drawing | None]:
        return _inspect(detector, *image, is_drawn=output is not None)

    with _writing(detector, output, listed) as writer:
        if writer is not None:
            writer.statistics = seen
        for record in writer.kept() if writer else ():
            note(record)
        n_kept = verdicts.total()
        with closing(in_order(work, listed[n_kept:], n_cores())) as found:
            for record, drawing in found:
                if writer is not None:
                    writer.add(record, drawing)
                note(record)
        warnings = tuple(drift.sentence() for drift in find_drift(detector.description.good_statistics, seen))
        if writer is not None:
            writer.warnings = warnings
    return BatchCounts(
        good=verdicts[Verdict.GOOD],
        unsure=verdicts[Verdict.UNSURE],
        defective=verdicts[Verdict.DEFECTIVE],
        failed=verdicts[_ERROR],
        kept=n_kept,
        warnings=warnings,
    )


def _writing(detector: Detector, output: Path | None, listed: Sequence[Listed]) -> ResultWriter | nullcontext[None]:
    if output is None:
        return nullcontext()
    return ResultWriter(
        output,
        model_name=detector.description.category,
        threshold=detector.threshold,
        good_statistics=detector.description.good_statistics,
        run=detector.fingerprint,
        images=listed,
    )


def _list(sources: Sequence[Path], output: Path | None) -> list[Listed]:
    """List the images with an empty string each, and the sources that cannot be listed with the reason."""
    overlays = None if output is None else (output / OVERLAYS).resolve()
    listed: list[Listed] = []
    for source in sources:
        try:
            paths = list_images(source)
        except DatasetError as error:
            listed.append((source, str(error)))
        else:  # the output may lie inside an inspected folder, with the pictures of an earlier run
            listed += [(path, "") for path in paths if overlays is None or not path.resolve().is_relative_to(overlays)]
    if all(problem for _, problem in listed):
        raise DatasetError(
            "\n".join(problem for _, problem in listed)
            or f"Found only overlays that an earlier run wrote to '{overlays}'; expected images of parts. Name others."
        )
    return listed


def _inspect(detector: Detector, path: Path, problem: str, *, is_drawn: bool) -> tuple[dict[str, Any], Drawing | None]:
    """Inspect one image and draw what was found; whatever goes wrong with it becomes the reason in its record."""
    stamped = stamp(path)  # before it is read: what changes from here on has not been seen
    try:
        if problem:
            raise DatasetError(problem)
        inspection = detector.inspect(path)
        statistics = image_statistics(inspection.grey, inspection.mean_distance)
        record = {**inspection.to_dict(), _STATISTICS: statistics, **stamped}
        return record, draw(inspection) if is_drawn else None
    except OutputError:
        raise
    except BlemishError as error:
        reason = str(error)
    except Exception as error:  # a night's batch must not end at one image, whatever OpenCV or a lack of memory does
        reason = f"'{path}' cannot be inspected ({error!r}). Is it very large? Cut it into tiles, or free memory."
    return {"path": str(path), "verdict": _ERROR, "reason": reason, **stamped}, None
