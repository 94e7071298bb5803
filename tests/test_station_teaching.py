"""Teaching runs beside the inspection and cannot hurt it; every change of a model is a version with a way back."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish import Detector
from blemish.datasets import content_hash
from blemish.detection.decision import decide
from blemish.detection.model_file import model_to_bytes
from blemish.errors import ConflictError, DatasetError, ModelFileError, NotFoundError, SettingError, StorageError
from blemish.images import read_image, write_image
from blemish.results import Verdict
from blemish.station import teaching
from blemish.station.inspecting import Inspector
from blemish.station.keeping import check
from blemish.station.station import Station
from blemish.station.store import Job, Store, StoredInspection
from blemish.station.teaching import ENDED, Teacher
from serving import draw_a_small_demo

# What a job does in place of teaching: none of it needs PyTorch, so that it begins at once.
_INSTEAD = """
import os, signal, sys, time
from pathlib import Path
from blemish.station import teaching_job

def instead(task, progress):
{body}

teaching_job.KINDS = dict.fromkeys(teaching_job.KINDS, instead)
teaching_job.main()
"""
_SLEEP = "    progress('training', 1, 9)\n    time.sleep(600)"
HALF: list[list[list[float]]] = [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]


def instead(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let jobs do something else."""
    monkeypatch.setattr(teaching, "_COMMAND", (sys.executable, "-c", _INSTEAD.format(body=body)))


def ended(teacher: Teacher, job: Job) -> Job:
    """Wait for the end of a job."""
    until = time.monotonic() + 120
    while job.state not in ENDED and time.monotonic() < until:
        job = teacher.wait_for(job.id, job.progress, 10)
    assert job.state in ENDED
    return job


def running(teacher: Teacher, job: Job) -> Job:
    """Wait for the first progress of a job."""
    job = teacher.wait_for(job.id, {}, 60)
    while not job.progress:
        job = teacher.wait_for(job.id, {}, 60)
    assert job.state == "running"
    return job


def add_good(teacher: Teacher, category_dir: Path, part: str = "metal") -> None:
    paths = sorted((category_dir / "train" / "good").iterdir())
    kept, refused = teacher.add_good_images(part, [(path.name, path.read_bytes()) for path in paths], who="anna")
    assert (len(kept), refused) == (16, [])


@pytest.fixture(scope="module")
def taught(category_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a station that has enrolled the drawn category and inspected its test images."""
    folder = tmp_path_factory.mktemp("taught") / "station"
    with Station(folder, workers=1) as station:
        station.store.add_part("metal", who="anna")
        add_good(station.teacher, category_dir)
        options = {"alpha": 0.2, "unsure": 0.3, "why": "new"}
        job = ended(station.teacher, station.teacher.start("metal", "enroll", options, who="ben"))
        assert (job.state, job.version) == ("done", 1), job
        for path in sorted((category_dir / "test").rglob("*.png")):
            station.inspector.inspect("metal", path.read_bytes(), part_id=f"{path.parent.name} {path.stem}")
    return folder


@pytest.fixture
def station(taught: Path, tmp_path: Path) -> Iterator[Station]:
    """A copy of it, open."""
    shutil.copytree(taught, tmp_path / "station")
    with Station(tmp_path / "station", workers=1) as opened:
        yield opened


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Station]:
    """A station with a part and no model."""
    with Station(tmp_path / "empty", workers=1) as opened:
        opened.store.add_part("metal", who="anna")
        yield opened


def stopped(store: Store, count: int = 1) -> list[StoredInspection]:
    found = [each for each in store.inspections(after=0) if each.verdict is Verdict.DEFECTIVE]
    assert len(found) >= count
    return found[:count]


# --------------------------------------------------------------------------------------------------------- what it does


def test_enrolling_makes_a_version_that_inspects(station: Station) -> None:
    version = station.store.model("metal")
    assert (version.origin, version.who, version.why, version.parent) == ("enroll", "ben", "new", None)
    assert version.summary["threshold"]["alpha"] == 0.2
    assert version.summary["threshold"]["unsure"]["alpha"] == 0.3
    detector = Detector.load(station.store.path(version.file))
    shas = {image.sha256 for image in station.store.good_images("metal")}
    assert detector.description.seen == shas
    verdicts = {each.part_id: each.verdict for each in station.store.inspections()}
    assert all(verdict is Verdict.DEFECTIVE for name, verdict in verdicts.items() if name.startswith("stain"))
    job = station.store.jobs()[0]
    assert job.progress["done"] == job.progress["total"] > 0


def test_a_fit_that_was_cancelled_goes_on_from_its_checkpoint(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import blemish.learning.training as t; t._CHECKPOINT_EVERY_S = 0; from blemish.station.teaching_job import "
    monkeypatch.setattr(teaching, "_COMMAND", (sys.executable, "-c", f"{code} main; main()"))
    options = {"steps": 12, "alpha": 0.2, "activate": False}
    job = station.teacher.start("metal", "fit", options, who="ben")
    while job.progress.get("stage") != "training" or job.progress["done"] < 3:
        job = station.teacher.wait_for(job.id, job.progress, 60)
        assert job.state not in ENDED, job.message
    cancelled = station.teacher.cancel(job.id, who="anna")
    assert (cancelled.state, cancelled.version) == ("cancelled", None)
    assert "goes on" in cancelled.message
    again = station.teacher.start("metal", "fit", options, who="ben")
    first = 0
    while again.state not in ENDED:
        again = station.teacher.wait_for(again.id, again.progress, 60)
        if not first and again.progress.get("stage") == "training":
            first = again.progress["done"]
    assert (again.state, again.version) == ("done", 2), again.message
    assert first >= 3  # anew it would be 1
    assert station.store.part("metal").active == 1  # as it was asked for
    detector = Detector.load(station.store.path(station.store.model("metal", 2).file))
    assert detector.description.training["steps"] == 12
    left = [path.name for path in (station.store.folder / "teaching").iterdir()]
    assert left == ["log.txt"]


def test_good_parts_that_were_stopped_are_accepted(station: Station) -> None:
    false_alarm, other = stopped(station.store, 2)
    data = station.store.path(str(false_alarm.image_file)).read_bytes()
    job = ended(station.teacher, station.teacher.accept("metal", [false_alarm.id], who="ben", why="oil"))
    assert (job.state, job.version) == ("done", 2), job.message
    version = station.store.model("metal")
    assert (version.version, version.origin, version.parent, version.why) == (2, "accept", 1, "oil")
    again = station.inspector.inspect("metal", data)
    assert again.score < false_alarm.score
    station.store.decide(other.id, Verdict.DEFECTIVE, who="ben")
    refused = ended(station.teacher, station.teacher.accept("metal", [other.id], who="ben"))
    assert refused.state == "failed"
    assert "would be missed" in refused.message
    assert station.store.model("metal").version == 2


def test_what_was_accepted_does_not_undo_a_change_made_meanwhile(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"    progress('accepting', 1, 2)\n    while not Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
    instead(monkeypatch, body + "    from blemish import Detector; return Detector.load(task['model'])")
    job = station.teacher.accept("metal", [stopped(station.store)[0].id], who="ben")
    running(station.teacher, job)
    moved = station.teacher.set_threshold("metal", value=3.0, who="anna")
    (tmp_path / "go").touch()
    job = ended(station.teacher, job)
    assert job.version == 3
    assert "does not inspect" in job.message
    assert station.store.model("metal") == moved


def test_what_was_learned_does_not_undo_zones_that_were_drawn_meanwhile(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = station.store.model("metal")
    data = station.store.path(first.file).read_bytes()
    body = f"    progress('training', 1, 2)\n    while not Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
    model = str(station.store.path(first.file))
    instead(monkeypatch, body + f"    from blemish import Detector; return Detector.load({model!r})")
    job = station.teacher.start("metal", "fit", {}, who="ben")
    running(station.teacher, job)
    summary = {**first.summary, "zones": HALF}
    zoned = station.store.add_model("metal", data, origin="zones", who="anna", summary=summary, activate=True)
    (tmp_path / "go").touch()
    job = ended(station.teacher, job)
    assert job.version == 3
    assert job.message.startswith("The ignored zones were changed meanwhile, so version 3 does not inspect.")
    assert station.store.model("metal") == zoned
    job = ended(station.teacher, station.teacher.start("metal", "fit", {"zones": []}, who="ben"))  # without, as asked
    assert station.store.model("metal").version == job.version == 4


def test_the_demo_teaches_and_inspects_a_drawn_part(empty: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_a_small_demo(monkeypatch)
    job = ended(empty.teacher, empty.teacher.start("metal", "demo", {}, who="anna"))
    assert (job.state, job.version) == ("done", 1), job.message
    assert len(empty.store.good_images("metal")) == 30
    verdicts = {each.part_id: each.verdict for each in empty.store.inspections()}
    assert len(verdicts) == 15
    assert {verdict for name, verdict in verdicts.items() if not name.startswith("good")} == {Verdict.DEFECTIVE}
    assert check(empty.store).is_whole


def test_jobs_run_one_after_the_other_in_their_order(empty: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, _SLEEP)
    empty.store.add_part("second", who="anna")
    empty.store.add_part("third", who="anna")
    jobs = [empty.teacher.start(part, "enroll", {}, who="anna") for part in ("metal", "second", "third")]
    running(empty.teacher, jobs[0])
    assert [empty.store.job(job.id).state for job in jobs] == ["running", "queued", "queued"]
    with pytest.raises(ConflictError, match=f"job {jobs[1].id}"):
        empty.teacher.start("second", "fit", {}, who="anna")
    assert empty.teacher.cancel(jobs[1].id, who="anna").state == "cancelled"
    assert empty.teacher.cancel(jobs[0].id, who="anna").state == "cancelled"
    running(empty.teacher, jobs[2])
    with pytest.raises(ConflictError, match="ended"):
        empty.teacher.cancel(jobs[0].id, who="anna")
    empty.teacher.cancel(jobs[2].id, who="anna")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("guess", {}),
        ("enroll", {"minutes": 1}),
        ("fit", {"minutes": 0}),
        ("fit", {"minutes": float("nan")}),
        ("fit", {"minutes": "5"}),
        ("fit", {"minutes": 1, "steps": 1}),
        ("fit", {"steps": True}),
        ("fit", {"alpha": 1}),
        ("fit", {"alpha": 0.1, "unsure": 0.05}),
        ("fit", {"seed": -1}),
        ("fit", {"activate": "no"}),
        ("fit", {"zones": [[[0, 0], [1, 1]]]}),
        ("fit", {"why": "\ud800"}),
        ("accept", {"inspections": ["\ud800"]}),
        ("accept", {"inspections": []}),
    ],
)
def test_options_that_make_no_sense_are_refused_before_the_job(
    empty: Station, kind: str, options: dict[str, Any]
) -> None:
    with pytest.raises(SettingError):
        empty.teacher.start("metal", kind, options, who="anna")
    assert empty.store.jobs() == []


def test_images_that_cannot_be_read_are_named_and_the_others_kept(empty: Station, category_dir: Path) -> None:
    data = (category_dir / "train" / "good" / "000.png").read_bytes()
    files = [("a.png", data), ("C:\\x\\broken.jpg", b"broken"), ("again.png", data), ("../../b\x00.png", data + b"\0")]
    kept, refused = empty.teacher.add_good_images("metal", files, who="anna")
    assert len(refused) == 1
    assert "'broken.jpg'" in refused[0]
    assert [image.name for image in kept] == ["a.png", "a.png", "b.png"]
    assert len(empty.store.good_images("metal")) == 2
    with pytest.raises(NotFoundError):
        empty.teacher.add_good_images("nothing", files, who="anna")


def test_too_few_images_fail_with_what_is_expected(empty: Station) -> None:
    job = ended(empty.teacher, empty.teacher.start("metal", "enroll", {}, who="anna"))
    assert job.state == "failed"
    assert "expected" in job.message.lower() or "needs" in job.message.lower()
    assert empty.store.part("metal").active is None


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("    os._exit(3)", "code 3"),
        ("    raise MemoryError", "MemoryError"),
        ("    print('not JSON', flush=True); print('[1]', flush=True); sys.exit(0)", "code 0"),
    ],
)
def test_a_process_that_dies_fails_its_job_and_nothing_else(
    station: Station, category_dir: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    instead(monkeypatch, body)
    job = ended(station.teacher, station.teacher.start("metal", "enroll", {}, who="anna"))
    assert job.state == "failed"
    assert said in job.message
    assert station.store.models("metal")[0].version == 1
    data = (category_dir / "test" / "good" / "000.png").read_bytes()
    assert station.inspector.inspect("metal", data).version == 1
    instead(monkeypatch, "    raise MemoryError")
    assert ended(station.teacher, station.teacher.start("metal", "enroll", {}, who="anna")).id == job.id + 1


def test_a_model_that_is_none_does_not_become_a_version(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, "    Path(task['output']).write_bytes(b'x'); teaching_job._say(made='x'); os._exit(0)")
    job = ended(station.teacher, station.teacher.start("metal", "enroll", {}, who="anna"))
    assert job.state == "failed"
    assert "not a usable model file" in job.message
    assert len(station.store.models("metal")) == 1


def test_a_full_disk_fails_the_job_and_keeps_the_model_that_was(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = station.store.path(station.store.model("metal").file)
    instead(monkeypatch, f"    from blemish import Detector; return Detector.load({str(source)!r})")

    def no_room(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("blemish.station.store._write_durably", no_room)
        job = ended(station.teacher, station.teacher.start("metal", "enroll", {}, who="anna"))
        assert job.state == "failed"
        assert "No space" in job.message
        with pytest.raises(StorageError):
            station.teacher.set_threshold("metal", value=1.0, who="anna")
    assert [model.version for model in station.store.models("metal")] == [1]
    assert ended(station.teacher, station.teacher.start("metal", "enroll", {}, who="anna")).version == 2
    assert check(station.store).is_whole


def test_closing_interrupts_the_job_and_keeps_those_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, _SLEEP)
    with Station(tmp_path / "s", workers=1) as station:
        station.store.add_part("a", who="anna")
        station.store.add_part("b", who="anna")
        first, second = (station.teacher.start(part, "enroll", {}, who="anna") for part in "ab")
        running(station.teacher, first)
    with Station(tmp_path / "s", workers=1) as station:
        assert station.store.job(first.id).state == "interrupted"
        running(station.teacher, second)
        station.teacher.cancel(second.id, who="anna")


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{process}/stat")  # one that nobody has waited for is gone as well
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_when_the_station_is_killed_its_job_ends_and_is_interrupted(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    body = f"    Path({str(note)!r} + '.new').write_text(str(os.getpid()))\n"
    body += f"    os.rename({str(note)!r} + '.new', {str(note)!r})\n{_SLEEP}"
    code = (
        "import sys, time; from blemish.station import teaching; from blemish.station.station import Station\n"
        f"teaching._COMMAND = (sys.executable, '-c', {_INSTEAD.format(body=body)!r})\n"
        f"station = Station({str(tmp_path / 's')!r}, workers=1); station.store.add_part('a', who='anna')\n"
        "station.teacher.start('a', 'fit', {}, who='anna'); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as server:
        until(note.exists)
        server.send_signal(signal.SIGKILL)
    until(lambda: gone(int(note.read_text())))
    with Station(tmp_path / "s", workers=1) as station:
        job = station.store.jobs()[0]
        assert job.state == "interrupted"
        assert "Start it again" in job.message
        assert [path.name for path in (station.store.folder / "teaching").iterdir()] == ["log.txt"]


# ------------------------------------------------------------------------------------------- changes without training


def test_a_moved_threshold_is_a_version_that_decides_so(station: Station, category_dir: Path) -> None:
    data = (category_dir / "test" / "stain" / "000.png").read_bytes()
    version = station.teacher.set_threshold("metal", value=1e6, who="ben", why="try")
    assert (version.version, version.origin, version.parent, version.why) == (2, "threshold", 1, "try")
    assert station.inspector.inspect("metal", data).verdict is Verdict.GOOD
    station.store.roll_back("metal", who="ben")
    assert station.inspector.inspect("metal", data).verdict is Verdict.DEFECTIVE
    limit = station.teacher.set_threshold("metal", alpha=0.4, unsure=0.5, who="ben").summary["threshold"]
    assert (limit["alpha"], limit["unsure"]["alpha"]) == (0.4, 0.5)
    history = station.inspector.detector("metal")[0].description.history
    assert (history[-1]["who"], history[-1]["what"]) == ("ben", "alpha")


@pytest.mark.parametrize("wrong", [{}, {"value": 1.0, "alpha": 0.1}, {"value": float("nan")}, {"alpha": 2.0}])
def test_thresholds_that_make_no_sense_change_nothing(station: Station, wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        station.teacher.set_threshold("metal", who="ben", **wrong)  # type: ignore[arg-type]
    assert len(station.store.models("metal")) == 1


def test_zones_are_left_out_and_kept_when_the_part_is_taught_anew(station: Station, category_dir: Path) -> None:
    path = category_dir / "test" / "stain" / "000.png"
    with pytest.raises(DatasetError, match="anew with these zones"):  # all 16 images make the reference set
        station.teacher.set_zones("metal", HALF, who="ben")
    options = {"alpha": 0.2, "zones": HALF}
    job = ended(station.teacher, station.teacher.start("metal", "enroll", options, who="ben"))
    assert job.state == "done", job.message
    assert station.store.model("metal").summary["zones"] == HALF
    detector, _ = station.inspector.detector("metal")
    found = detector.inspect(path)
    assert found.ignored is not None
    assert found.ignored[:, : found.ignored.shape[1] // 2 - 1].all()
    assert not found.ignored[:, found.ignored.shape[1] // 2 + 1 :].any()
    moved = station.teacher.set_threshold("metal", value=3.0, who="ben")
    assert moved.summary["zones"] == HALF
    task = station.teacher._zones(station.store.add_job("metal", "fit", {}, who="ben"))
    assert task == HALF


def test_zones_of_a_model_with_held_out_images_set_the_threshold_anew(
    empty: Station, nearest_detector: Detector, category_dir: Path
) -> None:
    add_good(empty.teacher, category_dir)
    empty.teacher.add_model("metal", model_to_bytes(nearest_detector.model), who="ben")
    version = empty.teacher.set_zones("metal", HALF, who="ben", why="clamp")
    assert (version.origin, version.parent, version.summary["zones"]) == ("zones", 1, HALF)
    detector, _ = empty.inspector.detector("metal")
    good = (category_dir / "train" / "good").iterdir()
    scores = {content_hash(path): detector.inspect(path).score for path in good}
    known = detector.description.good_scores
    assert known == pytest.approx({sha: scores[sha] for sha in known}, abs=1e-4)
    cleared = empty.teacher.set_zones("metal", None, who="ben")
    assert cleared.summary["zones"] is None
    assert empty.inspector.detector("metal")[0].description.ignored is None


@pytest.mark.parametrize(
    "polygons",
    [
        [[[0, 0], [1, 0]]],
        [[[0, 0], [2, 0], [0, 2]]],
        [[[0, 0], [float("nan"), 0], [0, 1]]],
        [[[0, 0], [1, 0], [1, 1], [0, 1]]],
        [[[0, 0, 0]]],
        [["a", "b", "c"]],
        [None],
        7,
    ],
)
def test_what_is_no_zone_is_refused(station: Station, polygons: Any) -> None:
    with pytest.raises(SettingError):
        station.teacher.set_zones("metal", polygons, who="ben")


def test_a_model_from_elsewhere_is_checked_before_it_is_taken(empty: Station, model_path: Path) -> None:
    data = model_path.read_bytes()
    for wrong in (b"", b"PK", data[:1000], data[:5000] + b"x" + data[5001:]):
        with pytest.raises(ModelFileError, match="the file that was sent"):
            empty.teacher.add_model("metal", wrong, who="ben")
    assert empty.store.models("metal") == []
    version = empty.teacher.add_model("metal", data, who="ben", activate=False)
    assert (version.origin, version.sha256) == ("upload", content_hash(model_path))
    assert empty.store.part("metal").active is None
    assert version.summary["method"] == "tayeh2020"


# ------------------------------------------------------------------------------------------------------ what is known


def test_what_if_tells_how_many_any_threshold_would_stop(station: Station) -> None:
    told = station.teacher.what_if("metal")
    first = station.store.inspections()
    assert [each["id"] for each in told["inspections"]] == [each.id for each in first]
    detector, _ = station.inspector.detector("metal")
    assert told["good"] == sorted(detector.description.good_scores.values())
    for each in told["inspections"]:
        assert decide(each["score"], detector.threshold).value == each["verdict"]
    station.store.decide(first[0].id, Verdict.GOOD, who="ben")
    assert station.teacher.what_if("metal")["inspections"][0]["final"] == "good"
    station.teacher.set_threshold("metal", value=9.0, who="ben")
    assert len(station.teacher.what_if("metal")["inspections"]) == len(first)  # the scores are still the same


def test_what_another_model_scored_is_not_mixed_in(station: Station, model_path: Path) -> None:
    station.teacher.add_model("metal", model_path.read_bytes(), who="ben")
    assert station.teacher.what_if("metal")["inspections"] == []
    assert station.teacher.drift("metal")["sequences"] == []
    assert len(station.teacher.what_if("metal", 1)["inspections"]) == len(station.store.inspections())


def test_a_lamp_that_dims_shows_as_drift(station: Station, category_dir: Path) -> None:
    assert not station.teacher.drift("metal")["statistics"]["brightness"]["moved"]
    dark = station.store.folder / "dark.png"
    for path in sorted((category_dir / "test" / "good").iterdir()):
        write_image(dark, np.asarray(0.4 * read_image(path), np.float32))
        station.inspector.inspect("metal", dark.read_bytes())
    told = station.teacher.drift("metal", limit=8)
    brightness = told["statistics"]["brightness"]
    assert brightness["moved"]
    assert max(brightness["values"]) < brightness["low"]
    assert any("brightness" in warning for warning in told["warnings"])
    assert told["sequences"] == sorted(told["sequences"])
    assert len(told["ids"]) == 8
    with pytest.raises(SettingError):
        station.teacher.drift("metal", limit=0)


def test_what_is_not_taught_has_neither(empty: Station) -> None:
    inspector: Inspector = empty.inspector
    for act in (
        lambda: empty.teacher.what_if("metal"),
        lambda: empty.teacher.drift("metal"),
        lambda: empty.teacher.set_threshold("metal", value=1.0, who="ben"),
        lambda: empty.teacher.accept("metal", ["x"], who="ben"),
        lambda: inspector.detector("metal"),
    ):
        with pytest.raises(NotFoundError):
            act()
