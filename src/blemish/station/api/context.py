"""What every route has at hand: the station, who asks, and what may be asked for; and how errors are answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Annotated, Any, Final

from anyio import CapacityLimiter
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from blemish.errors import BlemishError, BusyError
from blemish.station.api import answers
from blemish.station.guard import Actor, Refusal, actor_of, problem, refused
from blemish.station.people import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blemish.station.station import Station

_TOLD: Final = {
    400: "The body cannot be taken apart.",
    401: "Nobody is logged in, or the token is unknown.",
    403: "The role is not enough, the CSRF token is missing, or the request comes from another site.",
    404: "There is nothing of this name.",
    405: "This method is not offered here.",
    408: "The body stood still while it came in.",
    409: "What the station holds speaks against it; nothing was changed.",
    415: "The body is of a kind that is not taken here.",
    413: "The body is too large.",
    421: "The station does not answer for this host.",
    422: "A value, an image or a model file makes no sense; nothing was changed.",
    429: "Too many requests, or too many failed attempts to log in.",
    500: "A fault of Blemish.",
    501: "It needs a part of Blemish that is not installed.",
    503: "The station has too much to do, or is closing.",
    507: "The disk or the database refuses; nothing was kept.",
}
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": answers.Problem, "description": told} for status, told in _TOLD.items()
}


@dataclass
class Context:
    """What the application knows beside the station."""

    station: Station
    local: bool  # it listens to its own machine only
    secure: bool  # cookies go over HTTPS only
    allowed: tuple[Path, ...]  # folders, resolved, below which images may be inspected by their path
    upload_bytes: int
    answered: Counter[int] = field(default_factory=Counter)  # requests by the status of their answers
    # One thread each, apart from those of the other routes, so that neither makes the other wait.
    inspecting: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(64))
    logging_in: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(8))
    listening: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(64))
    drawing: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(2))
    is_closing: bool = False

    @contextmanager
    def a_core(self) -> Iterator[None]:
        """Keep what computes for a page to few cores, so that the line does not wait for somebody who looks.

        Raises:
            BusyError: nothing became free in time.
        """
        if not self.drawing.acquire(timeout=10):
            raise BusyError("Too many pictures are being computed. Try again.", retry_after=2)
        try:
            yield
        finally:
            self.drawing.release()


async def context_of(request: Request) -> Context:
    """Return the context of the application that a request came to."""
    context: Context = request.app.state.context
    return context


def needs(role: Role) -> Callable[[Request], Awaitable[Actor]]:
    """Make a dependency that lets pass who has at least this role."""

    async def check(request: Request) -> Actor:  # quick, so it takes no thread
        actor = actor_of(request)
        if actor is None:
            raise Refusal(401, "AccessError", "Log in first.")
        if not actor.role.may(role):
            raise Refusal(403, "AccessError", f"This needs the role {role.value}; {actor.name} is {actor.role.value}.")
        return actor

    return check


Here = Annotated[Context, Depends(context_of)]
Operator = Annotated[Actor, Depends(needs(Role.OPERATOR))]
Engineer = Annotated[Actor, Depends(needs(Role.ENGINEER))]
Admin = Annotated[Actor, Depends(needs(Role.ADMIN))]


def tell_errors(app: FastAPI) -> None:
    """Let an application answer errors in one form, and none of them with a trace."""
    app.add_exception_handler(BlemishError, _tell_blemish_error)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(StarletteHTTPException, _tell_http_error)


def _tell_blemish_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, BlemishError)
    refusal = refused(error)
    return problem(request, refusal.status_code, refusal.kind, refusal.detail, refusal.headers)


def _tell_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = [f"{'.'.join(str(place) for place in item['loc'])}: {item['msg']}" for item in error.errors()[:5]]
    return problem(request, 422, "SettingError", "; ".join(told) or "The request is not what was expected.")


def _tell_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    status, told, path = error.status_code, str(error.detail), request.scope["path"]
    if isinstance(error, Refusal):
        kind = error.kind
    elif status == 404:
        kind, told = "NotFoundError", f"There is nothing at {path}."
    else:
        kind = "RequestError"
    return problem(request, status, kind, told, error.headers)
