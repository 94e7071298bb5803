"""What is set up once: where results go and images come from, who may come in, what is kept, and the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field

from blemish.errors import ConflictError
from blemish.station import audit, keeping
from blemish.station.api import answers
from blemish.station.api.context import Admin, Engineer, Here, Operator
from blemish.station.api.taking import LARGEST, Limit, Name, Plain, Sequence, Short
from blemish.station.people import Role

router = APIRouter(tags=["office"])
Spec = Annotated[Plain, Body(description="name, kind, and the fields of its kind; a secret is never shown again.")]


class Trigger(BaseModel):
    """Which part lies there."""

    part_id: Short = ""
    lot_id: Short = ""


class Acknowledged(BaseModel):
    """Of which job the result was taken over."""

    job_id: Short


class NewUser(BaseModel):
    """A person who may log in."""

    name: Short
    password: Annotated[str, Field(max_length=1024)]
    role: Role


class NewPassword(BaseModel):
    """Another password."""

    password: Annotated[str, Field(max_length=1024)]


class NewRole(BaseModel):
    """Another role."""

    role: Role


class Disabled(BaseModel):
    """Whether a person is let in no longer."""

    disabled: bool


class AskedToken(BaseModel):
    """A machine that may use the API."""

    name: Short
    role: Role


class NewRetention(BaseModel):
    """How long what is kept; none: for ever."""

    image_days: Annotated[float | None, Field(gt=0, le=keeping.MOST_DAYS)] = None
    image_bytes: Annotated[int | None, Field(gt=0, le=LARGEST)] = None
    record_days: Annotated[float | None, Field(gt=0, le=keeping.MOST_DAYS)] = None


# ------------------------------------------------------------------------------------------------------ sinks, sources


@router.get("/sinks", summary="Where results go")
def read_sinks(here: Here, _: Admin) -> list[dict[str, Any]]:
    """Return each sink, how many results wait for it, and why the next one is not delivered yet."""
    return here.station.deliverer.status()


@router.post("/sinks", status_code=201, summary="Add a sink")
def add_sink(given: Spec, here: Here, actor: Admin) -> dict[str, Any]:
    """Send results to a folder, a webhook or MQTT from now on."""
    sink = here.station.deliverer.sinks.add(given, who=actor.name)
    here.station.deliverer.wake()
    return sink


@router.delete("/sinks/{name}", status_code=204, summary="Remove a sink")
def remove_sink(name: Name, here: Here, actor: Admin) -> None:
    """Send results there no longer; what waited for it is dropped, and how much is noted."""
    here.station.deliverer.sinks.remove(name, who=actor.name)
    here.station.deliverer.wake()


@router.get("/sources", summary="Where images come from")
def read_sources(here: Here, _: Admin) -> list[dict[str, Any]]:
    """Return each source, without its secret."""
    return here.station.watcher.sources.list()


@router.post("/sources", status_code=201, summary="Add a source")
def add_source(given: Spec, here: Here, actor: Admin) -> dict[str, Any]:
    """Watch a folder, a camera or a video from now on."""
    source = here.station.watcher.sources.add(given, who=actor.name)
    here.station.watcher.refresh()
    return source


@router.delete("/sources/{name}", status_code=204, summary="Remove a source")
def remove_source(name: Name, here: Here, actor: Admin) -> None:
    """Watch it no longer; what was inspected stays."""
    here.station.watcher.sources.remove(name, who=actor.name)
    here.station.watcher.refresh()


@router.post("/sources/{name}/trigger", status_code=202, summary="Have a camera take a picture")
def trigger(name: Name, given: Trigger, here: Here, _: Operator) -> dict[str, str]:
    """Begin a job; its events, the result among them, are in the state of the source."""
    return {"job_id": here.station.watcher.trigger(name, part_id=given.part_id, lot_id=given.lot_id)}


@router.post("/sources/{name}/acknowledge", status_code=204, summary="Take over a result")
def acknowledge(name: Name, given: Acknowledged, here: Here, _: Operator) -> None:
    """Say that the result of a job was taken over; the source is ready for the next trigger."""
    here.station.watcher.acknowledge(name, given.job_id)


@router.get("/sources/{name}/state", summary="Where a source stands")
def read_state(name: Name, here: Here, _: Operator) -> dict[str, Any]:
    """Return the state of a source, named as in OPC 40100-1, and its last events."""
    return here.station.watcher.state(name)


@router.get("/sources/{name}/events", summary="Wait for events of a source")
async def wait_for_events(
    name: Name,
    here: Here,
    _: Operator,
    after: Sequence = 0,
    seconds: Annotated[float, Query(ge=0, le=10, description="To wait at most.")] = 0.0,
) -> list[dict[str, Any]]:
    """Return events with a number above ``after``, oldest first; empty where none came in time."""
    return await run_sync(here.station.watcher.wait_for, name, after, seconds, limiter=here.listening)


# ----------------------------------------------------------------------------------------------------------- audit log


@router.get("/audit", summary="Who changed what")
def read_audit(
    here: Here,
    _: Engineer,
    before: Sequence | None = None,
    limit: Limit = 100,
    who: Annotated[str | None, Query(max_length=200)] = None,
    what: Annotated[str | None, Query(max_length=200, description="With a dot at its end: all that begin so.")] = None,
    part: Annotated[str | None, Query(max_length=200)] = None,
) -> answers.AuditPage:
    """Return a page of the audit log, newest first."""
    found = audit.entries(here.station.store, before=before, limit=limit, who=who, what=what, part=part)
    return answers.AuditPage(
        items=[answers.AuditEntry.of(entry) for entry in found],
        next=found[-1].sequence if len(found) == limit else None,
    )


@router.get("/audit/verify", summary="Does the chain of the audit log hold")
def verify_audit(here: Here, _: Engineer) -> answers.Verified:
    """Compute the whole chain anew; note ``head`` in another place from time to time."""
    with here.a_core():
        found = audit.verify(here.station.store)
    return answers.Verified(is_whole=found.is_whole, head=str(found.head), faults=list(found.faults))


# -------------------------------------------------------------------------------------------------------------- people


@router.get("/users", summary="Who may log in")
def read_users(here: Here, _: Admin) -> list[answers.User]:
    """Return all users by name."""
    return [answers.User.of(user) for user in here.station.people.users()]


@router.post("/users", status_code=201, summary="Add a user")
def add_user(given: NewUser, here: Here, actor: Admin) -> answers.User:
    """Add a person; the first one is an admin, for from then on everybody has to log in."""
    people = here.station.people
    if given.role is not Role.ADMIN and not people.has_admin():
        raise ConflictError("The first user must be an admin: from then on everybody has to log in.")
    return answers.User.of(people.add_user(given.name, given.password, given.role, who=actor.name))


@router.put("/users/{name}/password", status_code=204, summary="Set a password")
def set_password(name: Name, given: NewPassword, here: Here, actor: Admin) -> None:
    """Give a person another password, and log this person out everywhere."""
    here.station.people.set_password(name, given.password, who=actor.name)


@router.put("/users/{name}/role", summary="Set a role")
def set_role(name: Name, given: NewRole, here: Here, actor: Admin) -> answers.User:
    """Give a person another role, at once."""
    return answers.User.of(here.station.people.set_role(name, given.role, who=actor.name))


@router.put("/users/{name}/disabled", summary="Let a person in no longer, or again")
def disable_user(name: Name, given: Disabled, here: Here, actor: Admin) -> answers.User:
    """Let a person in no longer, or again; users are never deleted, for the log names them."""
    return answers.User.of(here.station.people.disable(name, who=actor.name, disabled=given.disabled))


@router.get("/tokens", summary="Which machines may use the API")
def read_tokens(here: Here, _: Admin) -> list[answers.Token]:
    """Return all tokens, revoked ones too; never their secrets."""
    return [answers.Token.of(token) for token in here.station.people.tokens()]


@router.post("/tokens", status_code=201, summary="Make a token")
def add_token(given: AskedToken, here: Here, actor: Admin) -> answers.NewToken:
    """Make a token for a machine; its secret is shown this once."""
    secret, token = here.station.people.add_token(given.name, given.role, who=actor.name)
    return answers.NewToken(secret=secret, **answers.Token.of(token).model_dump())


@router.delete("/tokens/{name}", summary="Revoke a token")
def revoke_token(name: Name, here: Here, actor: Admin) -> answers.Token:
    """Let a machine in no longer, for good."""
    return answers.Token.of(here.station.people.revoke_token(name, who=actor.name))


# ----------------------------------------------------------------------------------------------------------- retention


@router.get("/retention", summary="What is kept how long")
def read_retention(here: Here, _: Admin) -> answers.Retention:
    """Return how long images and records are kept."""
    return answers.Retention.of(keeping.retention_of(here.station.store))


@router.put("/retention", summary="Set what is kept how long")
def set_retention(given: NewRetention, here: Here, actor: Admin) -> answers.Retention:
    """Set how long images and records are kept; what is older goes within the hour."""
    policy = keeping.Retention(**given.model_dump())
    keeping.set_retention(here.station.store, policy, who=actor.name)
    return answers.Retention.of(policy)
