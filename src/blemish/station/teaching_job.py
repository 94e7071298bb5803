"""One job of teaching, in a process of its own: ``python -m blemish.station.teaching_job``, started by `teaching`.

The first line of the standard input is the task, JSON; the input stays open as long as the station lives, and when it
ends, so does this process. Each line of the standard output is JSON: ``{"progress": {...}}`` again and again, then
``{"made": FILE}`` or ``{"error": SENTENCE}``. It opens no database, so however it ends, the station's is untouched.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import blemish
from blemish.detection.detector import Detector
from blemish.detection.zones import Mask, from_text
from blemish.errors import BlemishError, TrainingError
from blemish.progress import Progress

_NICENESS: Final = 10  # inspection gets the processor first
_DIES_FIRST: Final = "1000"  # where memory ends, Linux ends this process and not the station
Task = dict[str, Any]


def main() -> None:
    """Do the task that comes in, and say how it ended."""
    _step_back()
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_station, daemon=True).start()
    try:
        detector = KINDS[task["kind"]](task, _tell)
        detector.save(task["output"])
        _say(made=task["output"])
    except BlemishError as error:
        _say(error=str(error))
    except Exception as error:  # a lack of memory, say; the trace goes to the log in the station's folder
        traceback.print_exc()
        _say(error=f"Teaching failed in a way that was not foreseen: {error!r}.")


def _fit(task: Task, progress: Progress) -> Detector:
    checkpoint = Path(task["checkpoint"])
    goes_on = checkpoint.exists()

    def fit() -> Detector:
        return blemish.fit(
            [Path(path) for path in task["good"]],
            category=task["part"],
            minutes=task.get("minutes"),
            steps=task.get("steps"),
            alpha=task["alpha"],
            unsure=task["unsure"],
            seed=task["seed"],
            checkpoint_path=checkpoint,
            progress=progress,
        )

    try:
        detector = fit()
    except TrainingError:
        if not goes_on:
            raise
        checkpoint.unlink(missing_ok=True)  # one of another version of a library, say: better anew than never
        detector = fit()
    ignored = _zones(task)
    if ignored is None:
        return detector
    return detector.with_zones(
        ignored,
        [Path(path) for path in task["good"]],
        alpha=task["alpha"],
        unsure=task["unsure"],
        who=task["who"],
        why=task["why"],
        progress=progress,
    )


def _enroll(task: Task, progress: Progress) -> Detector:
    return blemish.enroll(
        [Path(path) for path in task["good"]],
        category=task["part"],
        alpha=task["alpha"],
        unsure=task["unsure"],
        ignored=_zones(task),
        seed=task["seed"],
        progress=progress,
    )


def _accept(task: Task, progress: Progress) -> Detector:
    return blemish.accept(
        Detector.load(task["model"]),
        [Path(path) for path in task["images"]],
        defective=[Path(path) for path in task["defective"]],
        who=task["who"],
        why=task["why"],
        progress=progress,
    )


def _demo(task: Task, progress: Progress) -> Detector:
    from blemish.demo import draw_part

    good = draw_part(Path(task["folder"]), progress=progress)
    return _enroll({**task, "good": good}, progress)


KINDS: Final[dict[str, Callable[[Task, Progress], Detector]]] = {
    "fit": _fit,
    "enroll": _enroll,
    "accept": _accept,
    "demo": _demo,
}


def _zones(task: Task) -> Mask | None:
    return None if task["ignored"] is None else from_text(task["ignored"])


def _tell(stage: str, done: int, total: int, note: str = "") -> None:
    _say(progress={"stage": stage, "done": done, "total": total, "note": note})


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _step_back() -> None:
    """Leave processor and memory to the inspection, where the system knows how."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_DIES_FIRST)


def _end_with_the_station() -> None:
    """Wait for the end of the input, which comes when the station is gone, however it went."""
    while os.read(sys.stdin.fileno(), 1):  # past Python's own buffer, whose lock would hold up the end of this process
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
