"""Parts: the categories that one model each judges."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from blemish.station.api import answers
from blemish.station.api.context import Context, Engineer, Here, Operator
from blemish.station.api.taking import PartName, Short
from blemish.station.store import Part

router = APIRouter(tags=["parts"])


class NewPart(BaseModel):
    """The name of a part: letters, digits, spaces and ``. _ + -``."""

    name: Short


class Archived(BaseModel):
    """Whether a part is shown no longer."""

    archived: bool


@router.get("/parts", summary="All parts")
def read_parts(here: Here, _: Operator, archived: bool = False) -> list[answers.Part]:
    """Return all parts by name; those that are archived only where asked for."""
    return [_told(here, part) for part in here.station.store.parts(archived=archived)]


@router.post("/parts", status_code=201, summary="Add a part")
def add_part(given: NewPart, here: Here, actor: Engineer) -> answers.Part:
    """Add a part; it has no model until it is taught."""
    return _told(here, here.station.store.add_part(given.name, who=actor.name))


@router.get("/parts/{part}", summary="One part")
def read_part(part: PartName, here: Here, _: Operator) -> answers.Part:
    """Return a part."""
    return _told(here, here.station.store.part(part))


@router.post("/parts/{part}/archive", summary="Show a part no longer, or again")
def archive_part(part: PartName, given: Archived, here: Here, actor: Engineer) -> answers.Part:
    """Show a part no longer, or again; nothing of it is deleted."""
    return _told(here, here.station.store.archive_part(part, who=actor.name, archived=given.archived))


def _told(here: Context, part: Part) -> answers.Part:
    n_good = len(here.station.store.good_images(part.name, used_only=True))
    return answers.Part(
        name=part.name, created=part.created, active=part.active, archived=part.archived, n_good=n_good
    )
