"""Inspect many images: several at once, a broken file never stops the rest, results on disk as they come.

Each core takes one image from file to finished overlay on its own: nothing has to be handed on between stages of uneven
length, and a graph on one core wastes none of it on waiting for others. Rows are written in order by the caller's
thread. Whose cores these are is left to the `Workers`: this machine's, or a cluster's (`report.cluster`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blemish.datasets import list_images
from blemish.detection.detector import Detector
from blemish.detection.drift import find_drift, image_statistics
from blemish.errors import BlemishError, DatasetError, ImageError, OutputError, UnreadError
from blemish.parallel import in_order, n_cores
from blemish.progress import Progress, silent
from blemish.report.earlier import Listed, is_overlays, stamp
from blemish.report.stored import Stored, is_url, list_stored
from blemish.report.writer import Drawing, ResultWriter, draw
from blemish.results import Verdict

Found = tuple[dict[str, Any], Drawing | None]  # record and pictures of an image; no pictures where it failed
Workers = Callable[[Detector, Sequence[Listed], bool], Generator[Found, None, None]]  # as `this_machine`

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


def this_machine(detector: Detector, images: Sequence[Listed], is_drawn: bool) -> Generator[Found, None, None]:
    """Inspect images with this machine's cores.

    Args:
        detector: makes the verdicts.
        images: and sources that could not be listed.
        is_drawn: whether pictures are wanted.

    Yields:
        What was found, in the order of the images. Of a huge number only a few are in hand at any time.
    """
    if len(images) > 1:
        detector = detector.with_threads(1)
    return in_order(lambda image: inspect_listed(detector, image, is_drawn=is_drawn), images, n_cores())


def inspect_batch(
    detector: Detector,
    sources: Sequence[Path | str],
    output: Path | None = None,
    *,
    workers: Workers = this_machine,
    tell: Callable[[dict[str, Any]], None] = lambda record: None,
    progress: Progress = silent,
) -> BatchCounts:
    """Inspect files and folders, and write what was found.

    An earlier run in the same folder that was stopped, with the same model and over the same images, is gone on with.

    Args:
        detector: makes the verdicts.
        sources: image files, folders of images, CSVs, and URLs that fsspec reads, in the order they are inspected.
        output: folder for tables, overlays and the report (see `report.writer`); None: nothing is written.
        workers: who inspects; rows are the same whoever does.
        tell: called with the record of each image as plain data, in order; one that failed has verdict "error" and a
            reason, and so has a source that does not exist or holds no images.
        progress: told after each image.

    Raises:
        DatasetError: there is nothing to inspect at all.
        OutputError: the folder cannot be written, or another run writes there.
        MissingExtraError: a source is a URL, and fsspec is not installed.
    """
    listed = _list(sources)
    verdicts: Counter[str] = Counter()
    seen: dict[str, array[float]] = {}  # by statistic, of all images

    def note(record: dict[str, Any]) -> None:
        verdicts[record["verdict"]] += 1
        for name, value in record.get(_STATISTICS, {}).items():
            seen.setdefault(name, array("d")).append(value)
        tell({name: value for name, value in record.items() if name not in _NOT_TOLD})
        progress("inspecting", verdicts.total(), len(listed))

    with _writing(detector, output, listed) as writer:
        if writer is not None:
            writer.statistics = seen
        for record in writer.kept() if writer else ():
            note(record)
        n_kept = verdicts.total()
        with closing(workers(detector, listed[n_kept:], output is not None)) as found:
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


def _list(sources: Sequence[Path | str]) -> list[Listed]:
    """List the images with an empty string each, and the sources that cannot be listed with the reason."""
    listed: list[Listed] = []
    for source in sources:
        try:
            paths = list_stored(str(source)) if is_url(source) else list_images(source)
        except DatasetError as error:
            listed.append((Stored(str(source)) if is_url(source) else Path(source), str(error)))
        else:  # results of earlier runs may lie among the images, those of this output too
            overlays = {folder for folder in set(map(_folder, paths)) if is_overlays(folder.resolve())}
            listed += [(path, "") for path in paths if _folder(path) not in overlays]
    if all(problem for _, problem in listed):
        raise DatasetError(
            "\n".join(problem for _, problem in listed)
            or f"Found only overlays of earlier runs in {', '.join(map(str, sources))}; expected images of parts. "
            "Name others."
        )
    return listed


def _folder(path: Path | Stored) -> Path:
    """Return the folder of an image; of one in a store, into which no run writes, a path that leads nowhere."""
    return Path(path.url.removeprefix("file://")).parent if isinstance(path, Stored) else path.parent


def inspect_listed(detector: Detector, image: Listed, *, is_drawn: bool) -> Found:
    """Inspect one image and draw what was found; whatever goes wrong with it becomes the reason in its record."""
    path, problem = image
    if problem:
        return failed(path, problem)
    stamped = stamp(path)  # before it is read: what changes from here on has not been seen
    try:
        inspection = detector.inspect(path.open() if isinstance(path, Stored) else path)
        statistics = image_statistics(inspection.grey, inspection.mean_distance)
        record = {**inspection.to_dict(), "path": str(path), _STATISTICS: statistics, **stamped}
        return record, draw(inspection) if is_drawn else None
    except OutputError:
        raise
    except ImageError as error:
        return failed(path, str(error), **({} if isinstance(error, UnreadError) else stamped))
    except BlemishError as error:
        return failed(path, str(error))
    except Exception as error:  # a night's batch must not end at one image, whatever OpenCV or a lack of memory does
        return failed(
            path, f"'{path}' cannot be inspected ({error!r}). Is it very large? Cut it into tiles, or free memory."
        )


def failed(path: Path | Stored, reason: str, **stamped: int | str) -> Found:
    """Record an image that could not be inspected.

    Args:
        path: of the image.
        reason: names it.
        stamped: `earlier.stamp` where the image itself is at fault. Without it the next run tries it again: what was
            wrong, such as a permission or a lack of memory, may have passed.
    """
    return {"path": str(path), "verdict": _ERROR, "reason": reason, **stamped}, None
