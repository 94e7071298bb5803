"""Teaching beside the inspection: jobs, one after the other, each in a process of its own.

Learning takes all memory and processor time that there is, and may be killed by the system for it. So it runs in a
process (`teaching_job`) that gives way to the inspection, and that the station outlives. What it made is read and
checked here before it becomes a version of the part.

A job is queued, running, and then done, failed, cancelled or interrupted. Where the station itself ends, however it
ends, the process ends with it, and at the next start its job is interrupted; jobs that were queued run then. A fit
keeps a checkpoint below ``teaching/`` in the station's folder: the same fit, started again, goes on from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import blemish
from blemish.detection.decision import require_alpha
from blemish.detection.model_file import model_from_bytes
from blemish.detection.zones import to_text
from blemish.errors import BlemishError, BusyError, ConflictError, SettingError
from blemish.images import IMAGE_SUFFIXES
from blemish.results import Verdict
from blemish.station.adjusting import ALPHA, Adjuster, checked_zones, summary_of
from blemish.station.inspecting import Inspector
from blemish.station.store import Filter, GoodImage, Job, Store

ENDED: Final = ("done", "failed", "cancelled", "interrupted")
_COMMAND: Final = (sys.executable, "-P", "-m", "blemish.station.teaching_job")  # -P: nothing is taken from the folder
_OPTIONS: Final[dict[str, frozenset[str]]] = {  # kind -> what may be said of it
    "fit": frozenset({"minutes", "steps", "alpha", "unsure", "seed", "zones", "activate", "why"}),
    "enroll": frozenset({"alpha", "unsure", "seed", "zones", "activate", "why"}),
    "accept": frozenset({"inspections", "why"}),
    "demo": frozenset(),
}
_MOST_MINUTES: Final = 24 * 60
_MOST_WHY: Final = 2000  # characters of a reason
_DEMO_ALPHA: Final = 0.05  # the smallest that the 20 images held out of the demo's 100 can promise
_N_DEFECTIVE: Final = 50  # newest parts that people called defective, which an acceptance must not let pass
_N_DEMO: Final = 3  # inspected images of each kind in the demo
_KEPT_EVERY: Final = 2.0  # seconds after which progress is written to the database again
_TOLD_EVERY: Final = 0.2  # seconds after which progress is told again: no page shows more
_RETRY: Final = 5.0  # seconds after which what the disk refused is tried again
_CANCELLED_WITHIN: Final = 10.0  # seconds in which a killed process is gone


@dataclass(frozen=True)
class _Outcome:
    """How a job ended."""

    state: str  # one of ENDED
    message: str
    version: int | None = None


@dataclass
class _Running:
    """The job at hand."""

    job: Job
    process: subprocess.Popen[str] | None = None
    stopped_as: str = ""  # "cancelled" or "interrupted": somebody stopped it
    is_settled: bool = False  # what it made is being kept; it cannot be stopped any more
    progress: dict[str, Any] | None = None
    told: float = -math.inf
    kept: float = -math.inf


class Teacher(Adjuster):
    """Teaches parts, and changes what was taught. One thread runs the jobs; `start` and `cancel` come from any."""

    def __init__(self, store: Store, inspector: Inspector) -> None:
        """Say of jobs that a killed station left that they were interrupted, and begin with those that wait."""
        super().__init__(store, inspector)
        self._folder = store.folder / "teaching"
        self._news = threading.Condition()  # guards the fields below, and tells of every change
        self._running: _Running | None = None  # until its end is kept
        self._is_closed = False
        for job in store.jobs(states=("running",)):
            store.update_job(
                job.id, state="interrupted", message="The station stopped meanwhile. Start it again; a fit goes on."
            )
        self._clear()
        self._thread = threading.Thread(target=self._run, name="teaching", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the job at hand, which is interrupted then; those that wait run at the next start."""
        with self._news:
            self._is_closed = True
            self._stop("interrupted")
            self._news.notify_all()
        self._thread.join()

    # --------------------------------------------------------------------------------------------------------- jobs

    def start(self, part: str, kind: str, options: Mapping[str, Any], *, who: str) -> Job:
        """Queue a job.

        Args:
            part: name; it must exist.
            kind: "fit": train on the good images, some minutes. "enroll": take the network that comes with Blemish,
                some seconds. "demo": draw good images of a surface, enroll them and inspect a few drawn parts.
                "accept": see `accept`.
            options: "fit" and "enroll": ``alpha``, accepted false-alarm rate (0.01); ``unsure`` (None); ``seed`` (0);
                ``zones``, polygons as `set_zones` takes them (those of the active model); ``activate``, whether the new
                version inspects at once (True); ``why`` (""). "fit" besides: ``minutes`` (5), or ``steps`` to repeat a
                result.
            who: starts it.

        Raises:
            NotFoundError: no such part.
            SettingError: no such kind or option, or a value out of range.
            ConflictError: a job of this part runs or waits already.
        """
        _require_options(kind, options)
        if options.get("zones"):
            options = {**options, "zones": checked_zones(options["zones"])}
            self.mask(part, options["zones"])
        with self._news:
            busy = self._store.jobs(part=part, states=("queued", "running"), limit=1)
            if busy:
                raise ConflictError(f"Part '{part}' is being taught already, by job {busy[0].id}. Wait or cancel it.")
            job = self._store.add_job(part, kind, options, who=who)
            self._news.notify_all()
            return job

    def accept(self, part: str, inspections: Sequence[str], *, who: str, why: str = "") -> Job:
        """Queue a job that teaches the active model good parts that it stopped wrongly; the threshold stays.

        It fails, and nothing changes, where one of the last 50 parts that people called defective would pass then.

        Args:
            part: name.
            inspections: ids of the inspections of these parts.
            who, why: for the history.

        Raises:
            NotFoundError: no such part or inspection, or its image was removed.
            SettingError: none is given, or one is of another part.
            ConflictError: as for `start`.
        """
        self._store.model(part)
        options = {"inspections": list(inspections), "why": why}
        _require_options("accept", options)
        self._images(part, options["inspections"])
        return self.start(part, "accept", options, who=who)

    def cancel(self, job_id: int, *, who: str) -> Job:
        """Stop a job that runs or waits; what a fit has learned so far stays in its checkpoint.

        Raises:
            NotFoundError: no such job.
            ConflictError: it has ended already.
        """
        with self._news:
            job = self._store.job(job_id)
            if job.state in ENDED:
                raise ConflictError(f"Job {job_id} has ended already: {job.state}.")
            if job.state == "queued":
                job = self._store.update_job(job_id, state="cancelled", who=who)
                self._news.notify_all()
                return job
            if self._running is None or self._running.job.id != job_id or not self._stop("cancelled"):
                raise ConflictError(f"Job {job_id} is ending just now.")
            self._store.note(who, "job.cancel", job.part, job=job_id)
            self._news.wait_for(lambda: self._store.job(job_id).state in ENDED, _CANCELLED_WITHIN)
            return self._store.job(job_id)

    def job(self, job_id: int) -> Job:
        """Return a job with its progress of this moment; the one in the store is some seconds older.

        Raises:
            NotFoundError: no such job.
        """
        job = self._store.job(job_id)
        with self._news:
            running = self._running
            if running is None or running.job.id != job_id or running.progress is None or job.state in ENDED:
                return job
            return replace(job, progress=running.progress)

    def wait_for(self, job_id: int, seen_progress: Mapping[str, Any], timeout: float) -> Job:
        """Wait until a job has another progress than the one that was seen, or has ended.

        Args:
            job_id: of the job.
            seen_progress: of the last call; empty at first.
            timeout: seconds to wait at most.

        Raises:
            NotFoundError: no such job.
        """
        job = self.job(job_id)

        def is_news() -> bool:
            nonlocal job
            job = self.job(job_id)
            return job.state in ENDED or job.progress != seen_progress or self._is_closed

        with self._news:
            self._news.wait_for(is_news, timeout)
        return job

    # ------------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while running := self._next():
            try:
                outcome = self._outcome(running)
            except BlemishError as error:
                outcome = _Outcome("failed", str(error))
            except Exception as error:  # a job must not end the thread that runs those after it
                outcome = _Outcome("failed", f"Teaching failed in a way that was not foreseen: {error!r}.")
            self._end(running.job, outcome)

    def _next(self) -> _Running | None:
        """Wait for the oldest job of the queue and take it; None: the station closes."""
        with self._news:
            while not self._is_closed:
                try:
                    waiting = self._store.jobs(states=("queued",), limit=1000)
                    if waiting:
                        self._running = _Running(self._store.update_job(waiting[-1].id, state="running"))
                        self._news.notify_all()
                        return self._running
                    self._news.wait()
                except BlemishError:  # a full disk: the job waits until there is room
                    self._news.wait(_RETRY)
            return None

    def _end(self, job: Job, outcome: _Outcome) -> None:
        """Keep how a job ended, as soon as the disk takes it; the next start would call it interrupted."""
        while True:
            with self._news:
                progress = None if self._running is None else self._running.progress
                try:
                    self._store.update_job(
                        job.id,
                        state=outcome.state,
                        message=outcome.message,
                        version=outcome.version,
                        progress=progress,
                    )
                except BlemishError:
                    if not self._is_closed:
                        self._news.wait(_RETRY)
                        continue
                self._running = None
                self._news.notify_all()
                return

    def _stop(self, stopped_as: str) -> bool:
        """Stop the job at hand; False: it is too late for that. The lock is held."""
        running = self._running
        if running is None or running.is_settled:
            return False
        running.stopped_as = running.stopped_as or stopped_as
        if running.process is not None:
            running.process.kill()
        return True

    def _outcome(self, running: _Running) -> _Outcome:
        job = running.job
        work = self._folder / str(job.id)
        work.mkdir(parents=True, exist_ok=True)
        try:
            good = self._store.good_images(job.part, used_only=True)
            parent = self._store.model(job.part).version if job.kind == "accept" else None
            task = self._task(job, work, good, parent)
            failed = self._in_process(running, task)
            if failed is not None:
                return failed
            data = Path(task["output"]).read_bytes()
            about = model_from_bytes(data, "what was taught").description
            if job.kind == "demo":
                good = self._keep_drawn(job, work)
            summary = _named({**summary_of(about, task["zones"]), **_suspects(about.notes, good)}, good)
            with self._changing:
                overtaken = self._overtaken(job, task, parent)
                version = self._store.add_model(
                    job.part,
                    data,
                    origin=job.kind,
                    who=job.who,
                    why=task["why"],
                    parent=parent,
                    summary=summary,
                    activate=job.options.get("activate", True) and not overtaken,
                )
            if job.kind == "fit":
                Path(task["checkpoint"]).unlink(missing_ok=True)
            if job.kind == "demo":
                self._show(job, work)
            said = "" if job.kind == "accept" else " ".join(summary["notes"])
            if overtaken:
                said = f"{overtaken} meanwhile, so version {version.version} does not inspect. {said}"
            return _Outcome("done", said.strip(), version.version)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _overtaken(self, job: Job, task: Mapping[str, Any], parent: int | None) -> str:
        """Say what was changed while a job ran, and would be undone if its model inspected; empty: nothing was."""
        if job.kind == "accept":
            return "Another version became active" if self._store.part(job.part).active != parent else ""
        return "The ignored zones were changed" if self._zones(job) != task["zones"] else ""

    def _in_process(self, running: _Running, task: Mapping[str, Any]) -> _Outcome | None:
        """Run a task to its end; None: it was done."""
        log = self._folder / "log.txt"
        with log.open("w", encoding="utf-8") as errors:
            with self._news:
                if running.stopped_as:
                    return _Outcome(running.stopped_as, "Stopped before it began.")
                process = subprocess.Popen(
                    _COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is for the station, which then stops this one
                )
                running.process = process
            assert process.stdin is not None
            assert process.stdout is not None
            with process.stdout, contextlib.suppress(OSError), process.stdin:
                with contextlib.suppress(OSError):  # it may be dead already
                    process.stdin.write(json.dumps(task) + "\n")
                    process.stdin.flush()
                last: dict[str, Any] = {}
                for text in process.stdout:
                    last = _line(text) or last
                    if "progress" in last:
                        self._note_progress(running, last["progress"])
            code = process.wait()
        with self._news:
            running.is_settled = True
            stopped_as = running.stopped_as
        if stopped_as:
            kept = " What it had learned is kept; the same fit goes on." if task["kind"] == "fit" else ""
            return _Outcome(stopped_as, f"Stopped before the end.{kept}")
        if "error" in last:
            return _Outcome("failed", str(last["error"]))
        if "made" in last and code == 0:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return _Outcome(
            "failed",
            f"The process that was learning {how}, and inspection went on. It may have needed more memory than this "
            "machine has: close other programs or use fewer images, and start it again; a fit goes on from where it "
            f"was. More in {log.relative_to(self._store.folder)} of the station's folder.",
        )

    def _note_progress(self, running: _Running, progress: dict[str, Any]) -> None:
        at = time.monotonic()
        with self._news:
            before = running.progress or {}
            is_step = before.get("stage") == progress["stage"] and progress["done"] < progress["total"]
            if is_step and at - running.told < _TOLD_EVERY:
                return
            running.progress, running.told = progress, at
            self._news.notify_all()
        if at - running.kept >= _KEPT_EVERY:
            running.kept = at
            with contextlib.suppress(BlemishError):  # progress is only told; the end will be kept
                self._store.update_job(running.job.id, progress=progress)

    # ------------------------------------------------------------------------------------------------------ the tasks

    def _task(self, job: Job, work: Path, good: Sequence[GoodImage], parent: int | None) -> dict[str, Any]:
        """Say to the process all that it needs to know; it opens no database."""
        options = dict(job.options)
        zones = self._zones(job)
        task = {
            "kind": job.kind,
            "part": job.part,
            "who": job.who,
            "why": options.get("why", ""),
            "output": str(work / "made.blemish"),
            "good": [str(self._store.path(image.file)) for image in good],
            "minutes": options.get("minutes"),
            "steps": options.get("steps"),
            "alpha": _DEMO_ALPHA if job.kind == "demo" else options.get("alpha") or ALPHA,
            "unsure": options.get("unsure"),
            "seed": options.get("seed") or 0,
            "zones": zones,
            "ignored": to_text(self.mask(job.part, zones)) if zones else None,
            "folder": str(work / "drawn"),
        }
        if job.kind == "fit":
            task["checkpoint"] = str(self._checkpoint(job, good))
        if job.kind == "accept":
            _, version = self._inspector.detector(job.part, parent)  # which checks the file
            task["model"] = str(self._store.path(version.file))
            task["images"] = self._images(job.part, options["inspections"])
            defective = self._store.inspections(
                Filter(part=job.part, decided=True, final=Verdict.DEFECTIVE), limit=_N_DEFECTIVE
            )
            task["defective"] = [str(self._store.path(each.image_file)) for each in defective if each.image_file]
        return task

    def _zones(self, job: Job) -> Any:
        """Return the polygons of zones that a new model ignores: what was asked for, else those of the active one."""
        if job.kind == "demo":
            return None
        if "zones" in job.options:
            return job.options["zones"] or None
        active = self._store.part(job.part).active
        return None if active is None else self._store.model(job.part, active).summary.get("zones")

    def _images(self, part: str, inspections: Sequence[str]) -> list[str]:
        found = []
        for key in inspections:
            stored = self._store.inspection(key)
            if stored.part != part:
                raise SettingError(f"Inspection {key} is of part '{stored.part}'; expected one of '{part}'.")
            found.append(str(self._store.image_path(stored)))
        return found

    def _checkpoint(self, job: Job, good: Sequence[GoodImage]) -> Path:
        """Name the checkpoint of a fit by all that it depends on; those of other fits of the part go."""
        named = {name: job.options.get(name) for name in ("minutes", "steps", "seed")}
        depends = json.dumps([blemish.__version__, named, sorted(image.sha256 for image in good)], sort_keys=True)
        part, run = (hashlib.sha256(text.encode()).hexdigest()[:16] for text in (job.part, depends))
        chosen = self._folder / f"{part}-{run}.checkpoint"
        for other in self._folder.glob(f"{part}-*.checkpoint"):
            if other != chosen:
                other.unlink(missing_ok=True)
        return chosen

    def _keep_drawn(self, job: Job, work: Path) -> list[GoodImage]:
        for path in sorted((work / "drawn" / "train" / "good").iterdir()):
            self._store.add_good_image(job.part, path.read_bytes(), path.suffix, name=path.name, who=job.who)
        return self._store.good_images(job.part)

    def _show(self, job: Job, work: Path) -> None:
        """Inspect a few drawn parts, so that the pages of a new station have something to show."""
        for index in range(_N_DEMO):
            for folder in sorted((work / "drawn" / "test").iterdir()):
                path = sorted(each for each in folder.iterdir() if each.suffix in IMAGE_SUFFIXES)[index]
                name = f"{folder.name}-{index + 1}"
                for _ in range(60):  # a busy line goes first; a demo beside one is rare
                    if self._is_closed:
                        return
                    with contextlib.suppress(BusyError):
                        self._inspector.inspect(
                            job.part,
                            path.read_bytes(),
                            part_id=name,
                            lot_id="demo",
                            source="demo",
                            request_id=f"demo:{job.id}:{name}",
                        )
                        break
                    time.sleep(1)

    def _clear(self) -> None:
        """Remove what killed jobs left; checkpoints stay."""
        self._folder.mkdir(exist_ok=True)
        for left in self._folder.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)


def _require_options(kind: str, options: Mapping[str, Any]) -> None:
    if kind not in _OPTIONS:
        raise SettingError(f"'{kind}' is no kind of teaching; expected one of {', '.join(_OPTIONS)}.")
    if unknown := sorted(set(options) - _OPTIONS[kind]):
        known = ", ".join(sorted(_OPTIONS[kind])) or "none"
        raise SettingError(f"Found option {', '.join(unknown)} of {kind}; expected {known}.")
    _require_number(options, "minutes", 0, _MOST_MINUTES, whole=False)
    _require_number(options, "steps", 0, 10**9, whole=True)
    _require_number(options, "seed", -1, 2**63 - 1, whole=True)
    _require_number(options, "alpha", 0, 1, whole=False)
    _require_number(options, "unsure", 0, 1, whole=False)
    if options.get("minutes") is not None and options.get("steps") is not None:
        raise SettingError("Found minutes and steps; expected one of the two.")
    alpha = options.get("alpha")
    require_alpha(ALPHA if alpha is None else alpha, options.get("unsure"))
    if not isinstance(options.get("activate", True), bool):
        raise SettingError(f"activate is {options['activate']!r}; expected true or false.")
    why = options.get("why", "")
    if not isinstance(why, str) or len(why) > _MOST_WHY or why != why.encode(errors="ignore").decode():
        raise SettingError(f"why is {str(why)[:80]!r}; expected text of at most {_MOST_WHY} characters.")
    if kind == "accept":
        given = options.get("inspections")
        if (
            not isinstance(given, list)
            or not given
            or not all(isinstance(each, str) and each.isascii() for each in given)
        ):
            raise SettingError("Expected the ids of one or more inspections to accept.")


def _require_number(options: Mapping[str, Any], name: str, above: float, most: float, *, whole: bool) -> None:
    value = options.get(name)
    if value is None:
        return
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not above < value <= most:  # so that NaN fails, and true, which is an int
        kind = "a whole number" if whole else "a number"
        raise SettingError(f"{name} is {value!r}; expected {kind} above {above} and at most {most}.")


def _line(text: str) -> dict[str, Any] | None:
    """Read a line of the process; None where a library printed it."""
    with contextlib.suppress(ValueError):
        line = json.loads(text)
        if isinstance(line, dict) and {"progress", "made", "error"} & set(line):
            return line
    return None


def _suspects(notes: Sequence[str], good: Sequence[GoodImage]) -> dict[str, list[str]]:
    """Find which good images the notes name: they look unlike the others, and a person should look at them."""
    return {"suspects": [image.id for image in good if any(image.id in note for note in notes)]}


def _named(summary: dict[str, Any], good: Sequence[GoodImage]) -> dict[str, Any]:
    """Let notes call images as they were called when they came, not as the station calls their files."""
    names = {Path(image.file).name: image.name for image in good}
    notes = summary["notes"]
    for file, name in names.items():
        notes = [note.replace(file, name) for note in notes]
    return {**summary, "notes": notes}
