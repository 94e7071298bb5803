"""Inspect many images: one after the other, a broken file never stops the rest, results on disk as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blemish.datasets import list_images
from blemish.detection.detector import Detector
from blemish.errors import ImageError
from blemish.progress import Progress, silent
from blemish.report.writer import OVERLAYS, ResultWriter
from blemish.results import Verdict


@dataclass(frozen=True)
class BatchCounts:
    """How a batch went."""

    good: int
    defective: int
    failed: int  # images that could not be inspected


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
        sources: image files and folders of images, in the order they are inspected.
        output: folder for tables, overlays and the report (see `report.writer`); None: nothing is written.
        tell: called with the record of each image as plain data; one that failed has verdict "error" and a reason.
        progress: told after each image.

    Raises:
        DatasetError: a source does not exist or holds no images. OutputError: the folder cannot be written.
    """
    paths = [path for source in sources for path in list_images(source)]
    if output is not None:  # the pictures of an earlier run, when the output lies inside an inspected folder
        paths = [path for path in paths if not path.resolve().is_relative_to((output / OVERLAYS).resolve())]
    name = detector.description.category
    writing = nullcontext() if output is None else ResultWriter(output, model_name=name, threshold=detector.threshold)
    verdicts: list[Verdict | None] = []
    with writing as writer:
        for done, path in enumerate(paths, start=1):
            try:
                inspection = detector.inspect(path)
            except ImageError as error:
                verdicts.append(None)
                if writer is not None:
                    writer.add_failure(path, str(error))
                tell({"path": str(path), "verdict": "error", "reason": str(error)})
            else:
                verdicts.append(inspection.verdict)
                if writer is not None:
                    writer.add(inspection)
                tell(inspection.to_dict())
            progress("inspecting", done, len(paths))
    return BatchCounts(verdicts.count(Verdict.GOOD), verdicts.count(Verdict.DEFECTIVE), verdicts.count(None))
