"""What the API answers with: the station's records as JSON, and no more of them than others need.

Names of files below the station's folder stay inside. Times are UTC, in ISO 8601.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from blemish.results import Verdict
from blemish.station.people import Role


class Answer(BaseModel):
    """Taken from a record that has fields of the same names."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, record: Any) -> Self:
        """Take what this answer has of a record."""
        return cls.model_validate(record)


class Fault(Answer):
    """What went wrong."""

    type: str  # name of an error of `blemish.errors`, or of one that the guard found
    message: str  # what was found, what was expected, what to do


class Problem(Answer):
    """Every error has this form."""

    error: Fault


class Session(Answer):
    """Who is asking."""

    name: str
    role: Role
    csrf: str  # to be sent back as X-CSRF-Token with every change; empty: not needed


class Part(Answer):
    """A part, and what there is of it."""

    name: str
    created: datetime
    active: int | None  # version of the model that inspects; none: not taught yet
    archived: bool
    n_good: int  # good images that are learned from


class GoodImage(Answer):
    """A good image to teach a part from."""

    id: str
    part: str
    name: str
    sha256: str
    bytes: int
    created: datetime
    who: str
    used: bool


class AddedGood(Answer):
    """What became of the files that were sent."""

    added: list[GoodImage]  # one that was there already is among them, once
    refused: list[str]  # why each of the others was not taken; it names the file


class ModelVersion(Answer):
    """One model of a part; it never changes."""

    part: str
    version: int
    sha256: str
    bytes: int
    created: datetime
    who: str
    why: str
    origin: str
    parent: int | None
    summary: dict[str, Any]


class Activation(Answer):
    """A version was made the one that inspects."""

    sequence: int
    part: str
    version: int
    at: datetime
    who: str
    why: str
    back: bool


class Judged(Answer):
    """What one version says about an image."""

    verdict: Verdict
    score: float


class ComparedImage(Answer):
    """What two versions say about one stored image."""

    id: str
    sequence: int
    final: Verdict
    decided: Verdict | None
    a: Judged
    b: Judged


class Compared(Answer):
    """Two versions, and what they say about the same images, newest first; scores are not on one scale."""

    a: ModelVersion
    b: ModelVersion
    images: list[ComparedImage]
    n_differing: int


class Scored(Answer):
    """The score of a stored inspection."""

    id: str
    score: float
    verdict: Verdict
    final: Verdict
    decided: Verdict | None


class WhatIf(Answer):
    """A threshold, and the scores that tell how many parts another one would stop."""

    version: int
    threshold: dict[str, Any]  # value, alpha, promised_alpha, n_images, unsure, promise in words
    good: list[float]  # of the good images that set it, rising
    inspections: list[Scored]  # newest first


class Zones(Answer):
    """Zones that do not count."""

    version: int
    polygons: list[list[list[float]]]  # corners (x, y) as shares of the image's width and height


class Drift(Answer):
    """How the newest inspections compare with the good images."""

    version: int
    warnings: list[str]
    statistics: dict[str, Any]  # name -> low, high, values (oldest first), moved
    sequences: list[int]
    ids: list[str]


JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]


class Job(Answer):
    """Teaching that runs beside the inspection."""

    id: int
    part: str
    kind: str
    state: JobState
    options: dict[str, Any]
    progress: dict[str, Any]
    message: str
    version: int | None
    who: str
    created: datetime
    started: datetime | None
    ended: datetime | None


class InspectionRow(Answer):
    """An inspection in a list."""

    sequence: int
    id: str
    request_id: str | None
    part: str
    version: int
    model_sha256: str
    at: datetime
    part_id: str
    lot_id: str
    source: str
    verdict: Verdict  # of the model
    decided: Verdict | None  # the last decision of a person
    final: Verdict  # what counts
    score: float
    threshold: float
    seconds: float
    image_sha256: str
    image_bytes: int
    has_image: bool  # not removed by the retention
    has_picture: bool

    @classmethod
    def of(cls, record: Any) -> Self:
        """Take a stored inspection."""
        kept: dict[str, Any] = {
            "has_image": record.image_file is not None,
            "has_picture": record.picture_file is not None,
        }
        others = {name: getattr(record, name) for name in cls.model_fields if name not in kept}
        return cls(**others, **kept)


class Inspection(InspectionRow):
    """An inspection with all that was found."""

    result: dict[str, Any]  # regions, evidence, size and statistics of the image


class InspectionPage(Answer):
    """Inspections, newest first."""

    items: list[InspectionRow]
    next: int | None  # `before` of the next page; none: this is the last
    counts: dict[Verdict, int]  # of all that the filter takes, by the verdict that counts


class Decision(Answer):
    """What a person said about an inspection."""

    sequence: int
    inspection: str
    at: datetime
    who: str
    found: Verdict
    verdict: Verdict | None
    comment: str
    overrules: bool


class AuditEntry(Answer):
    """A change: who made it, and when."""

    sequence: int
    at: datetime
    who: str
    what: str
    part: str
    detail: dict[str, Any]
    hash: str


class AuditPage(Answer):
    """Entries of the audit log, newest first."""

    items: list[AuditEntry]
    next: int | None


class Verified(Answer):
    """Whether the chain of the audit log holds."""

    is_whole: bool
    head: str  # SEQUENCE:HASH of the newest entry, to be noted in another place
    faults: list[str]


class User(Answer):
    """A person who may log in."""

    name: str
    role: Role
    created: datetime
    disabled: bool


class Token(Answer):
    """A machine that may use the API."""

    id: int
    name: str
    role: Role
    created: datetime
    who: str
    revoked: datetime | None


class NewToken(Token):
    """A token that was made just now."""

    secret: str  # shown this once and stored nowhere


class Retention(Answer):
    """How long what is kept; none: for ever."""

    image_days: float | None
    image_bytes: int | None
    record_days: float | None


class Health(Answer):
    """The server answers."""

    status: str
    version: str


class Ready(Answer):
    """Whether the next inspection would be taken."""

    ready: bool
    writable: bool  # the disk has room and the database answers
    workers: int
    waiting: int  # inspections that wait for a worker
