"""Inspect many images: one after the other, a broken file never stops the rest, results on disk as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blemish.datasets import list_images
from blemish.detection.detector import Detector
from blemish.detection.drift import find_drift, image_statistics
from blemish.errors import BlemishError, DatasetError, OutputError
from blemish.progress import Progress, silent
from blemish.report.writer import OVERLAYS, ResultWriter
from blemish.results import Inspection, Verdict


@dataclass(frozen=True)
class BatchCounts:
    """How a batch went."""

    good: int
    unsure: int  # a person should look
    defective: int
    failed: int  # images that could not be inspected, and sources without any
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

    Args:
        detector: makes the verdicts.
        sources: image files, folders of images and CSVs, in the order they are inspected.
        output: folder for tables, overlays and the report (see `report.writer`); None: nothing is written.
        tell: called with the record of each image as plain data; one that failed has verdict "error" and a reason, and
            so has a source that does not exist or holds no images.
        progress: told after each image.

    Raises:
        DatasetError: there is nothing to inspect at all. OutputError: the folder cannot be written.
    """
    listed = _list(sources, output)
    name = detector.description.category
    writing = nullcontext() if output is None else ResultWriter(output, model_name=name, threshold=detector.threshold)
    verdicts: list[Verdict | None] = []
    seen: list[dict[str, float]] = []
    with writing as writer:
        for done, (path, problem) in enumerate(listed, start=1):
            found = problem or _inspect(detector, path, writer)
            if isinstance(found, Inspection):
                verdicts.append(found.verdict)
                seen.append(image_statistics(found.image, found.mean_distance))
                tell(found.to_dict())
            else:
                verdicts.append(None)
                if writer is not None:
                    writer.add_failure(path, found)
                tell({"path": str(path), "verdict": "error", "reason": found})
            progress("inspecting", done, len(listed))
        warnings = tuple(drift.sentence() for drift in find_drift(detector.description.good_statistics, seen))
        if writer is not None:
            writer.warnings = warnings
    return BatchCounts(
        good=verdicts.count(Verdict.GOOD),
        unsure=verdicts.count(Verdict.UNSURE),
        defective=verdicts.count(Verdict.DEFECTIVE),
        failed=verdicts.count(None),
        warnings=warnings,
    )


def _list(sources: Sequence[Path], output: Path | None) -> list[tuple[Path, str]]:
    """List the images with an empty string each, and the sources that cannot be listed with the reason."""
    overlays = None if output is None else (output / OVERLAYS).resolve()
    listed: list[tuple[Path, str]] = []
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


def _inspect(detector: Detector, path: Path, writer: ResultWriter | None) -> Inspection | str:
    """Inspect one image and write what was found; whatever goes wrong with it is returned as the reason."""
    try:
        inspection = detector.inspect(path)
        if writer is not None:
            writer.add(inspection)
    except OutputError:
        raise
    except BlemishError as error:
        return str(error)
    except Exception as error:  # a night's batch must not end at one image, whatever OpenCV or a lack of memory does
        return f"'{path}' cannot be inspected ({error!r}). Is it very large? Cut it into tiles, or free memory."
    return inspection
