"""Inspecting, and what was inspected: results, their images, what people decided, tables and the live stream."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from blemish.errors import NotFoundError
from blemish.report.overlay import comparison, encode_png, heat_map, heat_scale
from blemish.results import Verdict
from blemish.station.api import answers, showing
from blemish.station.api.context import Context, Here, Operator
from blemish.station.api.taking import (
    IMAGE_BODY,
    LARGEST,
    Finite,
    Key,
    Limit,
    PartName,
    Sequence,
    Text,
    When,
    image_of,
    read_allowed,
)
from blemish.station.store import Filter, StoredInspection

router = APIRouter(tags=["inspections"])
_HEAT_SIDE: Final = 1280  # pixels of the longer side, as of an overlay
_COLUMNS: Final = [
    "sequence",
    "id",
    "at",
    "part",
    "part_id",
    "lot_id",
    "source",
    "version",
    "model_sha256",
    "verdict",
    "decided",
    "final",
    "score",
    "threshold",
    "seconds",
    "image_sha256",
]
_AT_ONCE: Final = 500  # rows of an export that are read at once


class NewDecision(BaseModel):
    """What a person says: a verdict, good or defective, a comment, or both."""

    verdict: Verdict | None = None
    comment: Text = ""


def _wanted(
    part: Annotated[str | None, Query(max_length=200)] = None,
    version: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    verdict: Annotated[Verdict | None, Query(description="Of the model.")] = None,
    final: Annotated[Verdict | None, Query(description="That counts.")] = None,
    decided: Annotated[bool | None, Query(description="By a person.")] = None,
    overruled: Annotated[bool | None, Query(description="Decided otherwise than the model found.")] = None,
    part_id: Annotated[str | None, Query(max_length=200)] = None,
    lot_id: Annotated[str | None, Query(max_length=200)] = None,
    source: Annotated[str | None, Query(max_length=200)] = None,
    since: Annotated[When | None, Query(description="By the clock, with a zone.")] = None,
    until: Annotated[When | None, Query(description="Before this.")] = None,
    least_score: Annotated[Finite | None, Query()] = None,
    most_score: Annotated[Finite | None, Query()] = None,
) -> Filter:
    return Filter(
        part=part,
        version=version,
        verdict=verdict,
        final=final,
        decided=decided,
        overruled=overruled,
        part_id=part_id,
        lot_id=lot_id,
        source=source,
        since=since,
        until=until,
        least_score=least_score,
        most_score=most_score,
    )


Wanted = Annotated[Filter, Depends(_wanted)]


@router.post(
    "/parts/{part}/inspect", status_code=201, summary="Inspect an image", openapi_extra=IMAGE_BODY, tags=["inspecting"]
)
async def inspect(
    part: PartName,
    request: Request,
    here: Here,
    actor: Operator,
    part_id: Annotated[str, Query(max_length=200, description="Serial number of the part.")] = "",
    lot_id: Annotated[str, Query(max_length=200)] = "",
    request_id: Annotated[
        str | None, Query(max_length=200, description="Chosen by the client; the same again gives the same inspection.")
    ] = None,
    idempotency_key: Annotated[str | None, Header(max_length=200, description="The same as request_id.")] = None,
) -> answers.Inspection:
    """Inspect an image by the active model of a part; answered after the result is stored."""
    given = await image_of(request)

    def work() -> answers.Inspection:
        data = given if isinstance(given, bytes) else read_allowed(here, given)
        stored = here.station.inspector.inspect(
            part,
            data,
            part_id=part_id,
            lot_id=lot_id,
            source=f"api:{actor.name}",
            request_id=request_id or idempotency_key,
        )
        return answers.Inspection.of(stored)

    return await run_sync(work, limiter=here.inspecting)


@router.get("/inspections", summary="Inspections")
def read_inspections(
    here: Here, _: Operator, wanted: Wanted, before: Sequence | None = None, limit: Limit = 50
) -> answers.InspectionPage:
    """Return a page of inspections, newest first."""
    store = here.station.store
    found = store.inspections(wanted, before=before, limit=limit)
    return answers.InspectionPage(
        items=[answers.InspectionRow.of(each) for each in found],
        next=found[-1].sequence if len(found) == limit else None,
        counts=store.count(wanted),
    )


@router.get(
    "/inspections/events",
    summary="Inspections as they come",
    response_class=Response,
    responses=showing.events_of("inspection", answers.InspectionRow),
)
def watch(
    here: Here,
    _: Operator,
    part: Annotated[str | None, Query(max_length=200)] = None,
    after: Annotated[int | None, Query(ge=0, le=LARGEST, description="Sequence of the last known; none: now.")] = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    """Send an event ``inspection`` for each that is stored; its id is the sequence, so that none is missed.

    Between them an event ``alive`` says every five seconds that the station is there.
    """
    inspector = here.station.inspector
    known = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else after
    newest = inspector.newest
    seen = [newest if known is None else min(known, newest)]  # a larger one is of before a backup was restored

    def wait() -> list[StoredInspection]:
        return inspector.wait_for(seen[0], showing.LOOK_SECONDS)

    def tell(news: list[StoredInspection]) -> tuple[list[str], bool]:
        seen[0] = news[-1].sequence if news else seen[0]
        told = [each for each in news if part is None or each.part == part]
        rows = [(answers.InspectionRow.of(each).model_dump_json(), each.sequence) for each in told]
        return [showing.event("inspection", row, sequence) for row, sequence in rows], False

    return showing.events(here, wait, tell)


@router.get(
    "/inspections.csv",
    summary="Inspections as a table",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A table."}},
)
def export_csv(here: Here, _: Operator, wanted: Wanted) -> Response:
    """Return all inspections that the filter takes, oldest first, one a line."""

    def lines() -> Iterator[str]:
        yield ",".join(_COLUMNS) + "\r\n"
        for stored in _all(here, wanted):
            row = answers.InspectionRow.of(stored).model_dump(mode="json")
            text = io.StringIO()
            csv.writer(text).writerow([_cell(row[name]) for name in _COLUMNS])
            yield text.getvalue()

    return _export(lines(), "text/csv", "inspections.csv")


@router.get(
    "/inspections.jsonl",
    summary="Inspections with all that was found",
    response_class=Response,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, "description": "JSON lines"}},
)
def export_jsonl(here: Here, _: Operator, wanted: Wanted) -> Response:
    """Return all inspections that the filter takes, oldest first, one JSON object a line."""
    lines = (answers.Inspection.of(stored).model_dump_json() + "\n" for stored in _all(here, wanted))
    return _export(lines, "application/x-ndjson", "inspections.jsonl")


@router.get("/inspections/{key}", summary="One inspection")
def read_inspection(key: Key, here: Here, _: Operator) -> answers.Inspection:
    """Return an inspection with all that was found."""
    return answers.Inspection.of(here.station.store.inspection(key))


@router.get("/inspections/{key}/image", summary="The image", response_class=Response, responses=showing.IMAGE)
def read_image(
    key: Key,
    here: Here,
    _: Operator,
    side: Annotated[
        int | None, Query(ge=16, le=4096, description="Send a JPEG of at most so many pixels a side.")
    ] = None,
) -> Response:
    """Return the image that was inspected: its very bytes, or a JPEG to be looked at where ``side`` is given."""
    return showing.stored_image(here, here.station.store.inspection(key).image_file, side)


@router.get("/inspections/{key}/picture", summary="The overlay", response_class=Response, responses=showing.JPEG)
def read_picture(key: Key, here: Here, _: Operator) -> Response:
    """Return the image with heat and outlines over it, as it was drawn when the image was inspected."""
    return showing.stored_image(here, here.station.store.inspection(key).picture_file, None)


@router.get("/inspections/{key}/heat", summary="The heat map", response_class=Response, responses=showing.PNG)
def read_heat(key: Key, here: Here, _: Operator) -> Response:
    """Return the map of distances in colours, computed anew by the version that judged."""
    found = here.station.inspector.again(here.station.store.inspection(key))
    scale = min(1.0, _HEAT_SIDE / max(found.height, found.width))
    height, width = (max(1, round(scale * length)) for length in (found.height, found.width))
    picture = heat_map(found.map_at(height, width), *heat_scale(found.threshold))
    return showing.image(encode_png(picture), "image/png", f"{key}-heat.png")


@router.get("/inspections/{key}/nearest", summary="The worst place", response_class=Response, responses=showing.PNG)
def read_nearest(key: Key, here: Here, _: Operator) -> Response:
    """Return the worst place of the image, and right of it the nearest good one; 404 where there is none."""
    evidence = here.station.inspector.again(here.station.store.inspection(key)).evidence
    picture = None if evidence is None else comparison(evidence)
    if picture is None:
        raise NotFoundError("This part was found good, or its model keeps no pictures of good places.")
    return showing.image(encode_png(picture), "image/png", f"{key}-nearest.png")


@router.get("/inspections/{key}/decisions", summary="What people said")
def read_decisions(key: Key, here: Here, _: Operator) -> list[answers.Decision]:
    """Return what people said about an inspection, oldest first."""
    here.station.store.inspection(key)
    return [answers.Decision.of(each) for each in here.station.store.decisions(key)]


@router.post("/inspections/{key}/decisions", status_code=201, summary="Confirm, overrule or comment")
def decide(key: Key, given: NewDecision, here: Here, actor: Operator) -> answers.Decision:
    """Keep what a person says about an inspection; the last verdict counts, all of them are kept."""
    decision = here.station.store.decide(key, given.verdict, who=actor.name, comment=given.comment)
    return answers.Decision.of(decision)


def _all(here: Context, wanted: Filter) -> Iterator[StoredInspection]:
    """Read in pages what the filter takes, so that an export of any length needs little memory."""
    after = 0
    while found := here.station.store.inspections(wanted, after=after, limit=_AT_ONCE):
        yield from found
        after = found[-1].sequence


def _export(lines: Iterator[str], kind: str, name: str) -> Response:
    return StreamingResponse(lines, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def _cell(value: Any) -> Any:
    """Keep a spreadsheet from taking a text for a formula."""
    is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if is_formula else value
