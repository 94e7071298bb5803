"""The application: guard, API and pages around one station; and the server that runs it."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from blemish.errors import MissingExtraError, SettingError, StationError
from blemish.station.guard import API, Guard, Limits, is_loopback

try:
    import uvicorn
    from fastapi import APIRouter, FastAPI

    from blemish.station.api import inspections, machine, office, parts, session, teaching
    from blemish.station.api.context import ERRORS, Context, tell_errors
    from blemish.station.pages import error_page, pages
except ModuleNotFoundError as missing:
    raise MissingExtraError.of(missing, "station") from missing

import blemish

if TYPE_CHECKING:
    from blemish.station.station import Station


_USUAL: Final = Limits()
_N_CONNECTIONS: Final = 512  # at once; more are answered with 503
_GRACE_SECONDS: Final = 10  # that requests under way have to end when the server is stopped


def create_app(
    station: Station,
    *,
    local: bool = True,
    allowed: Sequence[Path] = (),
    behind_https: bool = False,
    limits: Limits = _USUAL,
) -> FastAPI:
    """Make the application of a station that is open.

    Args:
        station: what it serves.
        local: it listens to its own machine only.
        allowed: folders below which images may be inspected by their path.
        behind_https: a proxy on this machine speaks HTTPS for it.
        limits: of what one sender may ask for.
    """
    folders = tuple(_allowed(folder) for folder in allowed)
    context = Context(station, local, behind_https, folders, limits.upload_bytes)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        context.is_closing = True

    app = FastAPI(
        title="Blemish station",
        version=blemish.__version__,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # both load their scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.context = context
    tell_errors(app)
    routes = APIRouter(prefix=API, responses=ERRORS)
    for module in (session, parts, teaching, inspections, office, machine):
        routes.include_router(module.router)
    app.include_router(routes)
    app.include_router(machine.router, include_in_schema=False)
    app.include_router(pages(station))
    app.add_middleware(
        Guard,
        people=station.people,
        local=local,
        answered=context.answered,
        error_page=error_page,
        behind_https=behind_https,
        limits=limits,
    )
    return app


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allowed: Sequence[Path] = (),
    workers: int | None = None,
    upload_mb: float = 64,
    behind_https: bool = False,
    tell: Callable[[str], Any] = lambda address: None,
) -> None:
    """Run a station until the process is told to end, by Ctrl-C or SIGTERM; to be called in the main thread.

    Args:
        folder: of the station; it is made where there is none.
        host: address to listen on; beyond this machine only where somebody can log in.
        port: to listen on; 0: any that is free.
        allowed: as for `create_app`.
        workers: images that are inspected at once; by default one for each core.
        upload_mb: largest request that is taken, in MB.
        behind_https: as for `create_app`.
        tell: called with the address once the station listens.

    Raises:
        StationError: the folder is in use, damaged or from a newer version; the address cannot be listened on; it is
            reached from beyond this machine, and the station has no admin.
        SettingError: a folder to allow is none, or the largest request not above 0.
        KeyboardInterrupt: it was ended by Ctrl-C, and everything is closed. SIGTERM makes it return.
    """
    from blemish.station.station import Station

    local, limits = is_loopback(host), Limits.of_upload(upload_mb)
    with ExitStack() as opened:
        opened.enter_context(_ending_whole())
        listener = opened.enter_context(_listening(host, port))
        station = opened.enter_context(contextlib.closing(Station(folder, workers=workers)))
        if (not local or behind_https) and not station.people.has_admin():
            reached = "A proxy would let others in" if local else f"{host} is reached from other machines"
            raise StationError(
                f"{reached}, and nobody could be told apart: the station in {folder} has no admin. Add one first: "
                f"blemish station user add {folder} NAME --role admin"
            )
        app = create_app(station, local=local, allowed=allowed, behind_https=behind_https, limits=limits)
        server = _Server(
            app.state.context,
            uvicorn.Config(
                app,
                log_level="warning",
                ws="none",
                server_header=False,
                proxy_headers=behind_https,  # of a proxy on this machine only
                limit_concurrency=_N_CONNECTIONS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            ),
        )
        station.start()
        shown = f"[{host}]" if ":" in host else host
        tell(f"http://{shown}:{listener.getsockname()[1]}/")
        server.run(sockets=[listener])


class _EndedError(Exception):
    """The process was told to end by SIGTERM."""


class _Server(uvicorn.Server):
    """Tells streams of events that the end has come; it would wait for them otherwise."""

    def __init__(self, context: Context, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._context = context

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._context.is_closing = True
        super().handle_exit(sig, frame)


@contextlib.contextmanager
def _ending_whole() -> Iterator[None]:
    """Let SIGTERM close all that is open inside: the server raises again the signal that it was ended by."""

    def end(*_: object) -> NoReturn:
        raise _EndedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _EndedError:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take the address before anything else is begun."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StationError(
            f"{host}:{port} cannot be listened on ({reason}). Choose another --host or --port."
        ) from error
    with listener:
        yield listener


def _allowed(folder: Path) -> Path:
    if not folder.is_dir():
        raise SettingError(f"{folder} is no folder; images can only be allowed below one.")
    return folder.resolve()
