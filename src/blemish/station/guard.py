"""What every request passes before anything else looks at it: who is it, may it come in, and is it not too much.

In this order, before a byte of the body is read: the host it asks for, the site it comes from, how often it comes, who
sends it. Then the body, counted while it streams in. Every answer leaves with headers that tell a browser to run and
show nothing but the station's own. What nobody foresaw becomes an answer without any detail, which goes to the log.
A browser that asked for a page is told an error as a page, all others as JSON.

Where the station has no user and listens to its own machine only, whoever sits there is ``local`` and may do all.
A page of another site, open in a browser on this machine, could try to use that: so the host must be the machine itself
(against DNS rebinding), requests from other sites are refused, and so is whatever came through a proxy.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import ipaddress
import logging
import math
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final

from blemish.errors import (
    AccessError,
    BlemishError,
    BusyError,
    ConflictError,
    DatasetError,
    ImageError,
    MissingExtraError,
    ModelFileError,
    NotFoundError,
    OutputError,
    SettingError,
    StationError,
    TrainingError,
)
from blemish.station.people import People, Role, network_of

try:
    import anyio
    from anyio.to_thread import run_sync
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
except ModuleNotFoundError as missing:
    raise MissingExtraError.of(missing, "station") from missing

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOG: Final = logging.getLogger("blemish.station")
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
API: Final = "/api/v1"
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST: Final = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d{1,5})?|([A-Za-z0-9_.-]{1,255})(?::\d{1,5})?")
_FROM_A_PROXY: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_FOR_EVERYBODY: Final = frozenset({"/health", "/ready", "/login", "/favicon.ico", f"{API}/health", f"{API}/ready"})
_LOG_IN: Final = ("POST", f"{API}/session")
_UPLOADS: Final = ("multipart/form-data", "image/", "application/octet-stream")
_SMALL_BODY: Final = 2**20  # bytes, of everything that is no upload: it is taken apart in one piece
_STILL_SECONDS: Final = 30.0  # that a body may stand still while it comes in
_N_REMEMBERED: Final = 4096  # senders whose requests are counted; a flood of addresses pushes out the oldest

_STATUS: Final[Mapping[type[BlemishError], int]] = {
    SettingError: 422,
    ImageError: 422,
    DatasetError: 422,
    ModelFileError: 422,
    NotFoundError: 404,
    ConflictError: 409,
    TrainingError: 409,
    AccessError: 401,
    BusyError: 503,
    OutputError: 507,
    StationError: 503,
    MissingExtraError: 501,
}
_RETRY: Final = 5.0  # seconds, where a station that is closing or damaged says nothing about it

_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_HTTPS_ONLY: Final = {"strict-transport-security": "max-age=31536000"}


@dataclass(frozen=True)
class Actor:
    """Who sends a request."""

    name: str  # as the audit log calls it: a user, "token:NAME", or "local"
    role: Role
    csrf: str = ""  # token that a page sends back with every change; empty: none is needed
    secret: str = ""  # of the session; empty: there is none


@dataclass(frozen=True)
class Limits:
    """How much one sender may ask for."""

    upload_bytes: int = 64 * 2**20  # of one request
    bytes_at_once: int = 512 * 2**20  # of all bodies that are in memory or on their way
    per_second: float = 200.0  # requests of one address or token, in the long run
    burst: int = 400  # requests of one address or token at once

    @classmethod
    def of_upload(cls, megabytes: float) -> Limits:
        """Return limits with another size of an upload; at least four of them fit at once.

        Raises:
            SettingError: it is not above 0.
        """
        if not 0 < megabytes < math.inf:
            raise SettingError(f"The largest upload is {megabytes} MB; expected more than 0.")
        upload = round(megabytes * 2**20)
        return cls(upload_bytes=upload, bytes_at_once=max(cls.bytes_at_once, 4 * upload))


class Refusal(HTTPException):
    """A request that is answered with an error and goes no further."""

    def __init__(self, status: int, kind: str, message: str, *, retry_after: float = 0.0, close: bool = False) -> None:
        headers = {"retry-after": str(max(1, math.ceil(retry_after)))} if retry_after else {}
        super().__init__(status, message, {**headers, **({"connection": "close"} if close else {})})
        self.kind = kind


def refused(error: BlemishError) -> Refusal:
    """Say how an error of Blemish is answered; one that is the station's fault is logged."""
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    wait = float(getattr(error, "retry_after", 0.0))
    if isinstance(error, AccessError) and wait:
        status = 429
    if status == 503:
        wait = wait or _RETRY
    if status >= 500 and not isinstance(error, BusyError):  # too much to do is no fault: the metrics count it
        LOG.error("%s: %s", type(error).__name__, error)
    return Refusal(status, type(error).__name__, str(error), retry_after=wait)


ErrorPage = Callable[[Request, int, str, Mapping[str, str] | None], Response]  # of a status, a message and headers


def problem(
    request: Request, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Tell an error: as a page to a browser that asked for one, in the one form of the API to all others."""
    whole = message.encode("utf-8", "replace").decode()  # it may repeat halves of letters that were sent
    if _wants_page(request):
        page: ErrorPage = request.state.error_page
        return page(request, status, whole, headers)
    return JSONResponse({"error": {"type": kind, "message": whole}}, status, headers)


def _wants_page(request: Request) -> bool:
    is_api = f"{request.scope['path']}/".startswith(f"{API}/")
    return not is_api and "text/html" in request.headers.get("accept", "")


def actor_of(request: Request) -> Actor | None:
    """Return who sends a request; None: nobody whom the station knows."""
    actor: Actor | None = request.state.actor
    return actor


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on is reached from this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """The outermost layer of the application, plain ASGI, so that bodies and answers may stream through it."""

    def __init__(
        self,
        app: ASGIApp,
        people: People,
        *,
        local: bool,
        answered: Counter[int],
        error_page: ErrorPage,
        behind_https: bool = False,
        limits: Limits = Limits(),
    ) -> None:
        """Wrap an application.

        Args:
            app: what is guarded.
            people: who may come in.
            local: the station listens to its own machine only.
            answered: counts answers by their status, for the metrics.
            error_page: makes the page that tells a person of an error.
            behind_https: a proxy on this machine speaks HTTPS for it: cookies go over HTTPS only, the host is any.
            limits: of one sender.
        """
        self._app, self._people, self._limits = app, people, limits
        self._local, self._behind_https = local, behind_https
        self._buckets = _Buckets(limits.per_second, limits.burst)
        self._pool = _Pool(limits.bytes_at_once)
        self._headers = {**_HEADERS, **(_HTTPS_ONLY if behind_https else {})}
        self._looking: anyio.CapacityLimiter | None = None
        self._answered, self._error_page = answered, error_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it with what speaks against it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._headers)
        scope.setdefault("state", {}).update(actor=None, error_page=self._error_page)
        try:
            await self._pass(scope, receive, answer)
        except Refusal as refusal:
            if not answer.has_begun:
                told = problem(Request(scope), refusal.status_code, refusal.kind, refusal.detail, refusal.headers)
                await told(scope, receive, answer)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception:
            LOG.exception("%s %s failed by a fault of Blemish.", scope["method"], scope["path"])
            if answer.has_begun:
                raise  # the server cuts the connection, so that half an answer is not taken for a whole one
            fault = "This is a fault of Blemish, not yours. The log of the server has the details."
            await problem(Request(scope), 500, "Fault", fault)(scope, receive, answer)
        finally:
            self._answered[answer.status] += 1

    async def _pass(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        self._require_host(headers)
        _require_own_site(headers, method)
        address = network_of(scope["client"][0] if scope.get("client") else "")
        self._buckets.take(address)
        actor = await self._identify(headers)
        scope["state"]["actor"] = actor
        if actor is None:
            _require_openness(method, path)
        else:
            if actor.name.startswith("token:"):
                self._buckets.take(actor.name)
            if actor.csrf and method not in SAFE_METHODS:
                _require_csrf(headers, actor)
        limit = self._limits.upload_bytes if headers.get("content-type", "").startswith(_UPLOADS) else _SMALL_BODY
        body = _Body(receive, limit if actor else min(limit, _SMALL_BODY), self._pool)
        try:
            body.require_declared(headers.get("content-length"))
            await self._app(scope, body.receive, answer)
        finally:
            body.release()

    def _require_host(self, headers: Headers) -> None:
        found = _HOST.fullmatch(headers.get("host", ""))
        if found is None:
            raise Refusal(421, "WrongHost", "The header Host is missing or is none.")
        name = (found[1] or found[2]).lower()
        if self._local and not self._behind_https and name not in _LOCAL_NAMES:
            raise Refusal(
                421,
                "WrongHost",
                f"This station listens to its own machine only, and '{name}' is another name. Ask for localhost; "
                "behind a proxy start it with --behind-https.",
            )

    async def _identify(self, headers: Headers) -> Actor | None:
        if self._looking is None:  # of this event loop, and apart from the threads that may be busy for seconds
            self._looking = anyio.CapacityLimiter(4)
        known = functools.partial(self._actor, headers.get("authorization"), _cookie(headers, self._people.cookie))
        try:
            actor = await run_sync(known, limiter=self._looking)
        except BlemishError as error:  # of the disk or the database
            raise refused(error) from error
        if actor is not None and actor.name == LOCAL.name and any(name in headers for name in _FROM_A_PROXY):
            raise Refusal(
                403,
                "AccessError",
                "This came through a proxy, and the station has no users: whoever comes through it could do "
                "everything. Add a user first, and start it with --behind-https.",
            )
        return actor

    def _actor(self, authorization: str | None, secret: str) -> Actor | None:
        if authorization is not None:
            scheme, _, given = authorization.partition(" ")
            token = self._people.token(given.strip()) if scheme.lower() == "bearer" else None
            if token is None:
                raise Refusal(401, "AccessError", "This token is unknown or revoked.")
            return Actor(token.actor, token.role)
        if self._local and not self._behind_https and not self._people.users():
            return LOCAL
        session = self._people.session(secret) if secret else None
        return None if session is None else Actor(session.user.name, session.user.role, session.csrf, secret)


LOCAL: Final = Actor("local", Role.ADMIN)


def _require_own_site(headers: Headers, method: str) -> None:
    """Refuse what a page of another site makes a browser send; only a link to a page may come from there."""
    site = headers.get("sec-fetch-site", "none")
    is_link = method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    if site not in ("none", "same-origin") and not is_link:
        raise Refusal(403, "AccessError", "This request comes from another site.")
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
        raise Refusal(403, "AccessError", "This request comes from another site.")


def _require_openness(method: str, path: str) -> None:
    """Let somebody unknown see no more than how to log in, and whether the station lives."""
    if method in SAFE_METHODS and not path.startswith(f"{API}/") and path != "/metrics":
        return  # pages send to the log-in by themselves
    if (method, path) != _LOG_IN and not (method in SAFE_METHODS and path in _FOR_EVERYBODY):
        raise Refusal(401, "AccessError", "Log in first, or send a token: Authorization: Bearer blemish_...")


def _require_csrf(headers: Headers, actor: Actor) -> None:
    given = headers.get("x-csrf-token", "")
    if not hmac.compare_digest(given.encode(), actor.csrf.encode()):
        raise Refusal(403, "AccessError", "The header X-CSRF-Token is missing or is not that of this session.")


def _cookie(headers: Headers, name: str) -> str:
    """Return the secret of the session, which the cookie of this name holds; empty: there is none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


class _Buckets:
    """Counts requests of each sender: so many at once, so many a second in the long run."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # sender -> how many are left, since when

    def take(self, sender: str) -> None:
        """Take one of the sender's requests.

        Raises:
            Refusal: none is left.
        """
        now = self._clock()
        left, since = self._left.pop(sender, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_second)
        self._left[sender] = (max(left - 1, 0.0) if left >= 1 else left, now)
        if len(self._left) > _N_REMEMBERED:
            self._left.popitem(last=False)
        if left < 1:
            wait = (1 - left) / self._per_second
            raise Refusal(429, "TooManyRequests", "Too many requests. Slow down and try again.", retry_after=wait)


class _Pool:
    """Bytes of all bodies that are on their way or being worked on."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0

    def take(self, n_bytes: int) -> bool:
        """Take so many, or none where they are too many."""
        if self._taken + n_bytes > self._most:
            return False
        self._taken += n_bytes
        return True

    def give(self, n_bytes: int) -> None:
        """Give back so many."""
        self._taken -= n_bytes


class _Body:
    """The body of a request, counted while it comes in."""

    def __init__(self, receive: Receive, limit: int, pool: _Pool) -> None:
        self._receive, self._limit, self._pool = receive, limit, pool
        self._n_bytes, self._is_whole = 0, False

    def require_declared(self, content_length: str | None) -> None:
        """Refuse a body that says itself that it is too large.

        Raises:
            Refusal: it does.
        """
        if content_length is not None and content_length.isdecimal() and int(content_length[:20]) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """Return the next piece.

        Raises:
            Refusal: the body is too large, stands still, or too many others are on their way.
        """
        if self._is_whole:  # from here on the application listens for the end of the connection
            return await self._receive()
        try:
            async with asyncio.timeout(_STILL_SECONDS):
                message = await self._receive()
        except TimeoutError:
            told = f"The body stood still for {_STILL_SECONDS:.0f} seconds."
            raise Refusal(408, "Timeout", told, close=True) from None
        if message["type"] == "http.request":
            self._count(len(message.get("body", b"")))
            self._is_whole = not message.get("more_body", False)
        return message

    def release(self) -> None:
        """Give the bytes back to the pool: the request is answered."""
        self._pool.give(self._n_bytes)
        self._n_bytes = 0

    def _count(self, n_bytes: int) -> None:
        if self._n_bytes + n_bytes > self._limit:
            raise self._too_large()
        if not self._pool.take(n_bytes):
            told = "Too many uploads at once. Try again."
            raise Refusal(503, "BusyError", told, retry_after=1, close=True)
        self._n_bytes += n_bytes

    def _too_large(self) -> Refusal:
        told = f"The body is too large; expected at most {self._limit / 2**20:g} MB."
        return Refusal(413, "TooLarge", told, close=True)


class _Answer:
    """Sends an answer on, with the headers that every answer has."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send, self._headers = send, headers
        self.status = 0
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        await self._send(message)
