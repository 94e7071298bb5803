"""Good images, jobs that teach, models and their versions, thresholds, zones, false alarms, drift."""

from __future__ import annotations

from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Response, UploadFile
from pydantic import BaseModel, Field

from blemish.errors import ImageError
from blemish.station.api import answers, showing
from blemish.station.api.context import Engineer, Here, Operator
from blemish.station.api.taking import (
    Finite,
    Key,
    Limit,
    Number,
    PartName,
    Plain,
    Version,
    Why,
    files_of,
)
from blemish.station.store import JOB_STATES, Filter, Job, StoredInspection
from blemish.station.teaching import ENDED

router = APIRouter(tags=["teaching"])
DEMO: Final = "demo"  # the part that the demo draws
Side = Annotated[int | None, Query(ge=16, le=4096, description="Send a JPEG of at most so many pixels a side.")]


class Used(BaseModel):
    """Whether an image is learned from."""

    used: bool


class NewJob(BaseModel):
    """What is to be taught, and how."""

    kind: Annotated[str, Field(max_length=40, description="fit or enroll")]
    options: Plain = Field(default={}, description="alpha, unsure, minutes, seed, zones, activate, why")


class Reason(BaseModel):
    """Why something is done, for the audit log."""

    why: Why = ""


class NewThreshold(BaseModel):
    """The limit itself, or the rate of false alarms that is accepted; one of the two."""

    value: Finite | None = None
    alpha: Finite | None = None
    unsure: Finite | None = None
    why: Why = ""


class NewZones(BaseModel):
    """Corners (x, y) of each zone as shares of the image's width and height; none: the whole image counts."""

    polygons: list[list[Annotated[list[Finite], Field(min_length=2, max_length=2)]]]
    why: Why = ""


class Accepted(BaseModel):
    """Inspections whose parts are good, although the model stopped them."""

    inspections: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=100)]
    why: Why = ""


# ---------------------------------------------------------------------------------------------------------- good images


@router.get("/parts/{part}/good", summary="Good images of a part")
def read_good_images(part: PartName, here: Here, _: Operator) -> list[answers.GoodImage]:
    """Return the good images of a part, oldest first, those that are not learned from too."""
    here.station.store.part(part)
    return [answers.GoodImage.of(image) for image in here.station.store.good_images(part)]


@router.post("/parts/{part}/good", status_code=201, summary="Add good images")
async def add_good_images(part: PartName, files: list[UploadFile], here: Here, actor: Engineer) -> answers.AddedGood:
    """Keep good images to teach a part from, as a form with one or more fields ``files``; others are named."""
    given = await files_of(files)

    def keep() -> answers.AddedGood:
        with here.a_core():
            kept, refused = here.station.teacher.add_good_images(part, given, who=actor.name)
        return answers.AddedGood(added=[answers.GoodImage.of(image) for image in kept], refused=refused)

    return await run_sync(keep)


@router.get("/good/{key}/image", summary="A good image", response_class=Response, responses=showing.IMAGE)
def read_good_image(key: Key, here: Here, _: Operator, side: Side = None) -> Response:
    """Return a good image: its very bytes, or a JPEG to be looked at where ``side`` is given."""
    return showing.stored_image(here, here.station.store.good_image(key).file, side)


@router.put("/good/{key}", summary="Learn from a good image, or not")
def use_good_image(key: Key, given: Used, here: Here, actor: Engineer) -> answers.GoodImage:
    """Take a good image out of what is learned from, or in again; the file stays."""
    return answers.GoodImage.of(here.station.store.use_good_image(key, given.used, who=actor.name))


# ----------------------------------------------------------------------------------------------------------------- jobs


@router.post("/parts/{part}/jobs", status_code=202, summary="Teach a part")
def start_job(part: PartName, given: NewJob, here: Here, actor: Engineer) -> answers.Job:
    """Queue a job that teaches a part; jobs run one after the other."""
    return answers.Job.of(here.station.teacher.start(part, given.kind, given.options, who=actor.name))


@router.post("/demo", status_code=202, summary="Make the demo part")
def start_demo(here: Here, actor: Engineer) -> answers.Job:
    """Draw good images of a surface, teach them as part ``demo``, and inspect a few drawn parts."""
    store = here.station.store
    if DEMO not in {part.name for part in store.parts(archived=True)}:
        store.add_part(DEMO, who=actor.name)
    return answers.Job.of(here.station.teacher.start(DEMO, "demo", {}, who=actor.name))


@router.get("/jobs", summary="Jobs")
def read_jobs(
    here: Here,
    _: Operator,
    part: Annotated[str | None, Query(max_length=200)] = None,
    state: Annotated[list[answers.JobState] | None, Query()] = None,
    limit: Limit = 100,
) -> list[answers.Job]:
    """Return jobs, newest first."""
    jobs = here.station.store.jobs(part=part, states=state or JOB_STATES, limit=limit)
    return [answers.Job.of(job) for job in jobs]


@router.get("/jobs/{key}", summary="One job")
def read_job(key: Number, here: Here, _: Operator) -> answers.Job:
    """Return a job with its progress of this moment."""
    return answers.Job.of(here.station.teacher.job(key))


@router.get(
    "/jobs/{key}/events",
    summary="Progress of a job",
    response_class=Response,
    responses=showing.events_of("job", answers.Job),
)
def watch_job(key: Number, here: Here, _: Operator) -> Response:
    """Send an event ``job`` with the whole job whenever it has come further, and the last one when it has ended."""
    teacher = here.station.teacher
    seen: list[tuple[str, dict[str, Any]]] = []
    teacher.job(key)  # is there one at all

    def wait() -> Job:
        return teacher.wait_for(key, seen[-1][1], showing.LOOK_SECONDS) if seen else teacher.job(key)

    def tell(job: Job) -> tuple[list[str], bool]:
        is_news = not seen or seen[-1] != (job.state, job.progress)
        seen[:] = [(job.state, job.progress)]
        told = [showing.event("job", answers.Job.of(job).model_dump_json())] if is_news else []
        return told, job.state in ENDED

    return showing.events(here, wait, tell)


@router.post("/jobs/{key}/cancel", summary="Stop a job")
def cancel_job(key: Number, here: Here, actor: Engineer) -> answers.Job:
    """Stop a job that runs or waits; what a fit has learned so far is kept for the next one."""
    return answers.Job.of(here.station.teacher.cancel(key, who=actor.name))


@router.post("/parts/{part}/accept", status_code=202, summary="Teach false alarms")
def accept(part: PartName, given: Accepted, here: Here, actor: Engineer) -> answers.Job:
    """Queue a job that teaches the active model good parts that it stopped wrongly; the threshold stays."""
    job = here.station.teacher.accept(part, given.inspections, who=actor.name, why=given.why)
    return answers.Job.of(job)


# --------------------------------------------------------------------------------------------------------------- models


@router.get("/parts/{part}/models", summary="Versions of a part's model")
def read_models(part: PartName, here: Here, _: Operator) -> list[answers.ModelVersion]:
    """Return the versions of a part, newest first."""
    here.station.store.part(part)
    return [answers.ModelVersion.of(model) for model in here.station.store.models(part)]


@router.post("/parts/{part}/models", status_code=201, summary="Bring a model file")
async def add_model(
    part: PartName,
    file: UploadFile,
    here: Here,
    actor: Engineer,
    why: Annotated[Why, Query()] = "",
    activate: bool = True,
) -> answers.ModelVersion:
    """Take a ``.blemish`` file from elsewhere as the next version, as a form with the field ``file``."""
    data = await file.read()

    def add() -> answers.ModelVersion:
        with here.a_core():
            model = here.station.teacher.add_model(part, data, who=actor.name, why=why, activate=activate)
        return answers.ModelVersion.of(model)

    return await run_sync(add)


@router.get(
    "/parts/{part}/models/{version}/file",
    summary="A model file",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "A .blemish file."}},
)
def read_model_file(part: PartName, version: Version, here: Here, _: Operator) -> Response:
    """Return a ``.blemish`` file, for every command of Blemish."""
    model = here.station.store.model(part, version)
    return showing.attachment(showing.read(here.station.store.path(model.file)), f"{part}-{version}.blemish")


@router.post("/parts/{part}/models/{version}/activate", summary="Let a version inspect")
def activate(part: PartName, version: Version, given: Reason, here: Here, actor: Engineer) -> answers.ModelVersion:
    """Let a version inspect from now on."""
    here.station.inspector.detector(part, version)  # one that cannot be used is refused before it inspects
    return answers.ModelVersion.of(here.station.store.activate(part, version, who=actor.name, why=given.why))


@router.post("/parts/{part}/roll-back", summary="Go back to the version before")
def roll_back(part: PartName, given: Reason, here: Here, actor: Engineer) -> answers.ModelVersion:
    """Let the version inspect again that did so before the present one."""
    return answers.ModelVersion.of(here.station.store.roll_back(part, who=actor.name, why=given.why))


@router.get("/parts/{part}/activations", summary="Which version inspected when")
def read_activations(part: PartName, here: Here, _: Operator) -> list[answers.Activation]:
    """Return which version inspected from when on, newest first."""
    here.station.store.part(part)
    return [answers.Activation.of(each) for each in here.station.store.activations(part)]


@router.get("/parts/{part}/compare", summary="Two versions on the same images")
def compare(
    part: PartName,
    here: Here,
    _: Engineer,
    a: Annotated[int, Query(ge=1, le=2**63 - 1)],
    b: Annotated[int, Query(ge=1, le=2**63 - 1)],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> answers.Compared:
    """Let two versions judge the newest stored images of the part; nothing of it is stored."""
    store, inspector = here.station.store, here.station.inspector
    first, second = inspector.detector(part, a), inspector.detector(part, b)
    kept = [each for each in store.inspections(Filter(part=part), limit=limit) if each.image_file is not None]

    def judge(stored: StoredInspection) -> answers.ComparedImage | None:
        try:
            found = [detector.inspect(store.path(stored.image_file or "")) for detector, _ in (first, second)]
        except ImageError:  # damaged, or removed by the retention just now
            return None
        return answers.ComparedImage(
            id=stored.id,
            sequence=stored.sequence,
            final=stored.final,
            decided=stored.decided,
            a=answers.Judged(verdict=found[0].verdict, score=found[0].score),
            b=answers.Judged(verdict=found[1].verdict, score=found[1].score),
        )

    with here.a_core():
        images = [image for stored in kept if (image := judge(stored)) is not None]
    return answers.Compared(
        a=answers.ModelVersion.of(first[1]),
        b=answers.ModelVersion.of(second[1]),
        images=images,
        n_differing=sum(image.a.verdict is not image.b.verdict for image in images),
    )


# ---------------------------------------------------------------------------------------------------- threshold, zones


@router.get("/parts/{part}/threshold", summary="The threshold, and what another would do")
def read_threshold(
    part: PartName, here: Here, _: Operator, version: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None
) -> answers.WhatIf:
    """Return the threshold of a version (by default the active one) and all scores that tell what another would do."""
    return answers.WhatIf.model_validate(here.station.teacher.what_if(part, version))


@router.put("/parts/{part}/threshold", summary="Move the threshold")
def set_threshold(part: PartName, given: NewThreshold, here: Here, actor: Engineer) -> answers.ModelVersion:
    """Make a version with another threshold, which inspects from now on."""
    model = here.station.teacher.set_threshold(
        part, value=given.value, alpha=given.alpha, unsure=given.unsure, who=actor.name, why=given.why
    )
    return answers.ModelVersion.of(model)


@router.get("/parts/{part}/zones", summary="Zones that do not count")
def read_zones(part: PartName, here: Here, _: Operator) -> answers.Zones:
    """Return the zones of the active model: corners (x, y) as shares of the image's width and height."""
    model = here.station.store.model(part)
    return answers.Zones(version=model.version, polygons=model.summary.get("zones") or [])


@router.put("/parts/{part}/zones", summary="Leave zones out of every verdict")
def set_zones(part: PartName, given: NewZones, here: Here, actor: Engineer) -> answers.ModelVersion:
    """Make a version with other zones, its threshold set anew by the good images, which inspects from now on."""
    with here.a_core():
        model = here.station.teacher.set_zones(part, given.polygons or None, who=actor.name, why=given.why)
    return answers.ModelVersion.of(model)


@router.get("/parts/{part}/drift", summary="Has the camera moved away")
def read_drift(
    part: PartName, here: Here, _: Operator, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> answers.Drift:
    """Compare the newest inspections, as a whole, with the good images that set the threshold."""
    return answers.Drift.model_validate(here.station.teacher.drift(part, limit))
