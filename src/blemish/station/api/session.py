"""Who am I; logging in and out."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from blemish.errors import BusyError
from blemish.station.api import answers
from blemish.station.api.context import Here, Operator
from blemish.station.people import SESSION_HOURS

router = APIRouter(tags=["session"])
_MOST_WAITING = 16  # attempts: each takes tenths of a second, and one is looked at after the other


class LogIn(BaseModel):
    """Name and password, as typed."""

    name: Annotated[str, Field(max_length=200)]
    password: Annotated[str, Field(max_length=1024)]


@router.get("/session", summary="Who am I")
def read_session(actor: Operator) -> answers.Session:
    """Tell who asks, what this role is, and the CSRF token that has to come back with every change."""
    return answers.Session(name=actor.name, role=actor.role, csrf=actor.csrf)


@router.post("/session", summary="Log in")
async def log_in(given: LogIn, request: Request, response: Response, here: Here) -> answers.Session:
    """Let a person in; the session is in a cookie that is of this station alone."""
    if here.logging_in.statistics().tasks_waiting >= _MOST_WAITING:
        raise BusyError("Too many want to log in at once. Try again.", retry_after=5)
    address = request.client.host if request.client else ""
    attempt = partial(here.station.people.log_in, given.name, given.password, address=address)
    secret, session = await run_sync(attempt, limiter=here.logging_in)
    response.set_cookie(
        here.station.people.cookie,
        secret,
        max_age=SESSION_HOURS * 3600,
        httponly=True,
        samesite="strict",
        secure=here.secure,
    )
    return answers.Session(name=session.user.name, role=session.user.role, csrf=session.csrf)


@router.delete("/session", status_code=204, summary="Log out")
def log_out(actor: Operator, response: Response, here: Here) -> None:
    """End the session of this cookie; a token is not ended by this."""
    if actor.secret:
        here.station.people.log_out(actor.secret)
    response.delete_cookie(here.station.people.cookie, httponly=True, samesite="strict", secure=here.secure)
