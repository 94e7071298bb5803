"""What people see: HTML for the operator and the engineer, its style, its scripts and the pictures on it.

Pages only show. Every change goes through the API, sent by the scripts in ``static/``, so that what a person and what a
program may do is checked and logged in one place. Text stands in ``texts/``, and nothing is loaded from outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote, urlencode

import numpy as np

from blemish.errors import MissingExtraError, SettingError
from blemish.report.charts import CHARTED, ControlChart, control_chart, score_chart
from blemish.report.page import decimals
from blemish.results import Threshold, Verdict, rank_in_words
from blemish.station import audit
from blemish.station.clock import now
from blemish.station.guard import Actor, Refusal, actor_of
from blemish.station.keeping import retention_of
from blemish.station.people import Role
from blemish.station.store import Filter, ModelVersion
from blemish.station.texts import Texts, texts_for

try:
    import jinja2
    from fastapi import APIRouter, Query, Request
    from fastapi.responses import HTMLResponse, RedirectResponse, Response
except ModuleNotFoundError as missing:
    raise MissingExtraError.of(missing, "station") from missing

if TYPE_CHECKING:
    from blemish.station.station import Station

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE: Final = 50  # rows of a page
_N_RECENT: Final = 10  # parts below the live picture
_N_DRIFT: Final = 200  # newest inspections in the control charts


def pages(station: Station) -> APIRouter:
    """Make the routes of all pages of a station.

    Args:
        station: whose pages they are; it must be open.
    """
    return _Pages(station).router


def error_page(request: Request, status: int, told: str, headers: Mapping[str, str] | None) -> Response:
    """Tell a person what went wrong, in the station's look; also somebody who is not logged in."""
    actor, t = actor_of(request), _texts_of(request)
    reader = None if actor is None else _Reader(actor, t)
    return HTMLResponse(_written(request, "error.html.jinja", {"told": told}, t, reader), status, headers)


@dataclass(frozen=True)
class _Reader:
    """Who reads a page."""

    actor: Actor
    t: Texts

    def may(self, role: str) -> bool:
        """Say whether the reader has at least this role."""
        return self.actor.role.may(Role(role))


class _Pages:
    """The pages of one station."""

    def __init__(self, station: Station) -> None:
        self._station, self._store = station, station.store
        self.router = APIRouter(include_in_schema=False)
        for path, page in (
            ("/", self.live),
            ("/fragments/live", self.live_fragment),
            ("/login", self.login),
            ("/parts", self.parts),
            ("/parts/{part}/teach", self.teach),
            ("/parts/{part}/threshold", self.threshold),
            ("/parts/{part}/models", self.models),
            ("/parts/{part}/drift", self.drift),
            ("/history", self.history),
            ("/inspections/{key}", self.inspection),
            ("/audit", self.audit),
            ("/settings", self.settings),
        ):
            self.router.add_api_route(path, page, methods=["GET"], response_class=Response)
        self.router.add_api_route("/static/{name}", _static, methods=["GET"], response_class=Response)
        self.router.add_api_route("/favicon.ico", _favicon, methods=["GET"], response_class=Response)

    # ---------------------------------------------------------------------------------------------------- the line

    def live(self, request: Request, part: str = "") -> Response:
        """Show the last part large, and follow the line."""
        return self._page(request, "live.html.jinja", partial(self._live, part))

    def live_fragment(self, request: Request, part: str = "") -> Response:
        """Return the part of the live page that changes."""
        return self._page(request, "live_now.html.jinja", partial(self._live, part))

    def _live(self, part: str, _: _Reader) -> dict[str, Any]:
        wanted = Filter(part=part or None)
        midnight = now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        recent = self._store.inspections(wanted, limit=_N_RECENT + 1)
        return {
            "part": part,
            "parts": self._store.parts(),
            "last": recent[0] if recent else None,
            "recent": recent[1:],
            "today": self._store.count(Filter(part=part or None, since=midnight)),
            "writable": self._store.is_writable(),
            "busy": self._store.jobs(states=("queued", "running")),
        }

    def history(
        self,
        request: Request,
        part: str = "",
        final: str = "",
        people: str = "",
        part_id: str = "",
        lot_id: str = "",
        source: str = "",
        version: str = "",
        since: str = "",
        until: str = "",
        before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    ) -> Response:
        """Show inspections, newest first."""
        fields = {"part": part, "final": final, "people": people, "part_id": part_id, "lot_id": lot_id}
        fields |= {"source": source, "version": version, "since": since, "until": until}

        def content(_: _Reader) -> dict[str, Any]:
            wanted = _filter(fields)
            if after is None:
                rows = self._store.inspections(wanted, before=before, limit=_PAGE + 1)
                older, newer, rows = len(rows) > _PAGE, before is not None, rows[:_PAGE]
            else:
                found = self._store.inspections(wanted, after=after, limit=_PAGE + 1)
                older, newer, rows = True, len(found) > _PAGE, found[:_PAGE][::-1]
            set_fields = {name: value for name, value in fields.items() if value}
            return {
                "rows": rows,
                "counts": self._store.count(wanted),
                "fields": fields,
                "parts": self._store.parts(archived=True),
                "query": partial(_query, set_fields),
                "export": _query(_export(wanted)),
                "older": rows[-1].sequence if older and rows else None,
                "newer": rows[0].sequence if newer and rows else None,
            }

        return self._page(request, "history.html.jinja", content)

    def inspection(self, request: Request, key: str) -> Response:
        """Show one inspection: what was found, where, why, and what people said."""

        def content(_: _Reader) -> dict[str, Any]:
            found = self._store.inspection(key)
            same = Filter(part=found.part)
            before = self._store.inspections(same, before=found.sequence, limit=1)
            after = self._store.inspections(same, after=found.sequence, limit=1)
            return {
                "found": found,
                "decisions": self._store.decisions(key),
                "rank": rank_in_words(found.result.get("evidence")),
                "earlier": before[0].id if before else None,
                "later": after[0].id if after else None,
            }

        return self._page(request, "inspection.html.jinja", content)

    # --------------------------------------------------------------------------------------------------------- parts

    def parts(self, request: Request) -> Response:
        """List the parts that this station knows."""

        def content(_: _Reader) -> dict[str, Any]:
            known = [
                {
                    "part": part,
                    "n_good": len(self._store.good_images(part.name, used_only=True)),
                    "model": self._store.model(part.name) if part.active else None,
                    "counts": self._store.count(Filter(part=part.name)),
                }
                for part in self._store.parts(archived=True)
            ]
            return {"known": known}

        return self._page(request, "parts.html.jinja", content)

    def teach(self, request: Request, part: str) -> Response:
        """Show the good images of a part, and what became of teaching it."""

        def content(_: _Reader) -> dict[str, Any]:
            model = self._active(part)
            notes = [str(note) for note in model.summary.get("notes", [])] if model else []
            images = self._store.good_images(part)
            jobs = self._store.jobs(part=part, limit=8)
            return {
                "part": self._store.part(part),
                "images": images,
                "suspects": model.summary.get("suspects", []) if model else [],
                "model": model,
                "notes": notes,
                "job": next((job for job in jobs if job.state in ("queued", "running")), None),
                "jobs": jobs,
            }

        return self._page(request, "teach.html.jinja", content)

    def threshold(self, request: Request, part: str) -> Response:
        """Show the scores against the threshold, let it be moved, and zones be drawn."""

        def content(_: _Reader) -> dict[str, Any]:
            model = self._active(part)
            with_images = [each for each in self._store.inspections(Filter(part=part), limit=20) if each.image_file]
            good = self._store.good_images(part)
            pictures = [f"/api/v1/good/{image.id}/image?side=1280" for image in good[:3]]
            pictures += [f"/api/v1/inspections/{each.id}/image?side=1280" for each in with_images[:5]]
            return {"part": self._store.part(part), "model": model, "pictures": pictures}

        return self._page(request, "threshold.html.jinja", content)

    def models(self, request: Request, part: str) -> Response:
        """Show the versions of a part's model."""

        def content(_: _Reader) -> dict[str, Any]:
            return {
                "part": self._store.part(part),
                "models": self._store.models(part),
                "activations": self._store.activations(part),
            }

        return self._page(request, "models.html.jinja", content)

    def drift(self, request: Request, part: str) -> Response:
        """Show how scores and images went from part to part."""

        def content(_: _Reader) -> dict[str, Any]:
            about: dict[str, Any] = {"part": self._store.part(part), "charts": [], "warnings": [], "n": 0}
            if self._active(part) is None:
                return about
            found = self._station.teacher.drift(part, _N_DRIFT)
            detector = self._station.inspector.detector(part)[0]
            scores = [self._store.inspection(key).score for key in found["ids"]]
            charts = _charts(scores, found["statistics"], detector.description.good_statistics, detector.threshold)
            return {**about, "charts": charts, "warnings": found["warnings"], "n": len(scores)}

        return self._page(request, "drift.html.jinja", content)

    def _active(self, part: str) -> ModelVersion | None:
        """Return the model that inspects a part; None: it was not taught yet."""
        return None if self._store.part(part).active is None else self._store.model(part)

    # --------------------------------------------------------------------------------------------------- the station

    def audit(
        self,
        request: Request,
        who: str = "",
        what: str = "",
        part: str = "",
        before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    ) -> Response:
        """Show who changed what, and when."""
        fields = {"who": who, "what": what, "part": part}

        def content(_: _Reader) -> dict[str, Any]:
            given = {name: value or None for name, value in fields.items()}
            entries = audit.entries(self._store, before=before, limit=_PAGE + 1, **given)
            older = len(entries) > _PAGE
            set_fields = {name: value for name, value in fields.items() if value}
            return {
                "entries": entries[:_PAGE],
                "fields": fields,
                "query": partial(_query, set_fields),
                "older": entries[_PAGE - 1].sequence if older else None,
                "is_first": before is None,
            }

        return self._page(request, "audit.html.jinja", content, needs=Role.ENGINEER)

    def settings(self, request: Request) -> Response:
        """Show where images come from and results go to, who may log in, and how long things are kept."""

        def content(_: _Reader) -> dict[str, Any]:
            return {
                "sinks": self._store.setting("sinks", []),
                "sources": self._store.setting("sources", []),
                "waiting": self._store.n_waiting,
                "users": self._station.people.users(),
                "tokens": self._station.people.tokens(),
                "retention": retention_of(self._store),
                "parts": self._store.parts(),
                "roles": [role.value for role in Role],
            }

        return self._page(request, "settings.html.jinja", content, needs=Role.ADMIN)

    def login(self, request: Request, next: str = "/") -> Response:
        """Let somebody log in."""
        if actor_of(request) is not None:
            return RedirectResponse(_own_path(next), 303)
        return HTMLResponse(_written(request, "login.html.jinja", {"then": _own_path(next)}, _texts_of(request)))

    # --------------------------------------------------------------------------------------------------------- paper

    def _page(
        self,
        request: Request,
        template: str,
        content: Callable[[_Reader], dict[str, Any]],
        *,
        needs: Role = Role.OPERATOR,
    ) -> Response:
        """Write a page; somebody unknown is sent to the log-in."""
        actor = actor_of(request)
        if actor is None:
            there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?{urlencode({'next': there})}", 303)
        reader = _Reader(actor, _texts_of(request))
        if not actor.role.may(needs):
            told = reader.t("error.role", needed=reader.t(f"role.{needs}"), has=reader.t(f"role.{actor.role}"))
            raise Refusal(403, "AccessError", told)
        return HTMLResponse(_written(request, template, content(reader), reader.t, reader))


# ------------------------------------------------------------------------------------------------------------ templates


def _texts_of(request: Request) -> Texts:
    return texts_for(request.headers.get("accept-language", ""))


def _written(request: Request, template: str, values: dict[str, Any], t: Texts, reader: _Reader | None = None) -> str:
    return _environment().get_template(template).render(t=t, reader=reader, path=request.scope["path"], **values)


@cache
def _environment() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("blemish.station"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "url": lambda text: quote(str(text), safe=""),
        "local": _local,
        "number": _number,
        "final_by": lambda found: "people" if found.decided else "model",
        "place": lambda region: f"{region['width']} × {region['height']} px",
    }
    return templates


def _local(at: datetime, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Write a time as the clock on the wall of the station shows it."""
    return at.astimezone().strftime(form)


def _number(value: float, like: float | None = None) -> str:
    """Write a score with as many decimals as show four digits of the threshold it is compared with."""
    return f"{value:.{decimals(value if like is None else like)}f}"


def _charts(
    scores: Sequence[float], statistics: dict[str, Any], good: dict[str, list[float]], threshold: Threshold
) -> list[ControlChart]:
    """Draw scores and statistics of the images, oldest first."""
    if not scores:
        return []
    drawn = [score_chart(np.array(scores), threshold)]
    known = (name for name in CHARTED if statistics.get(name, {}).get("values"))
    return drawn + [control_chart(name, statistics[name]["values"], good.get(name, ())) for name in known]


# --------------------------------------------------------------------------------------------------------- questions


def _filter(fields: dict[str, str]) -> Filter:
    """Read the fields of the history's form.

    Raises:
        SettingError: one of them makes no sense.
    """
    try:
        return Filter(
            part=fields["part"] or None,
            version=int(fields["version"]) if fields["version"] else None,
            final=Verdict(fields["final"]) if fields["final"] else None,
            decided={"decided": True, "open": False}.get(fields["people"]),
            overruled=True if fields["people"] == "overruled" else None,
            part_id=fields["part_id"] or None,
            lot_id=fields["lot_id"] or None,
            source=fields["source"] or None,
            since=_time(fields["since"]),
            until=_time(fields["until"]),
        )
    except (ValueError, OverflowError) as error:
        raise SettingError(f"This filter makes no sense ({error}).") from error


def _time(text: str) -> datetime | None:
    """Read what a field for date and time gives: the clock on the wall of the station."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _export(wanted: Filter) -> dict[str, str]:
    """Return a filter as the API takes it."""
    given: dict[str, Any] = {name: value for name, value in vars(wanted).items() if value is not None}
    return {name: value.isoformat() if isinstance(value, datetime) else str(value) for name, value in given.items()}


def _query(fields: dict[str, str], **more: Any) -> str:
    """Write a query string; empty where there is nothing to say."""
    joined = {**fields, **{name: str(value) for name, value in more.items()}}
    return f"?{urlencode(joined)}" if joined else ""


def _own_path(there: str) -> str:
    """Return a path on this station to go on to after the log-in, never another site."""
    is_own = there.startswith("/") and not there.startswith(("//", "/\\")) and there.isprintable()
    return there if is_own else "/"


# ------------------------------------------------------------------------------------------------------------- static


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Read all static files: name -> bytes, type, ETag. No other is ever served, so no path leads astray."""
    found = {}
    for file in (resources.files("blemish.station") / "static").iterdir():
        ending = file.name[file.name.rfind(".") :]
        if ending in _TYPES:
            data = file.read_bytes()
            found[file.name] = data, _TYPES[ending], f'"{hashlib.sha256(data).hexdigest()[:20]}"'
    return found


def _static(request: Request, name: str) -> Response:
    """Return a file of style, script or icons."""
    if name not in _files():
        return Response(status_code=404)
    data, kind, tag = _files()[name]
    headers = {"etag": tag, "cache-control": "no-cache"}  # asked for anew each time, sent only where it changed
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)


def _favicon() -> Response:
    """Return the icon of the browser's tab."""
    data, kind, _ = _files()["favicon.svg"]
    return Response(data, media_type=kind)
