"""Files and streams that the API sends: images, tables, and server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from blemish.errors import BusyError, NotFoundError
from blemish.report.overlay import encode_jpeg, grey_picture
from blemish.station.api.context import Context
from blemish.station.api.taking import IMAGE_TYPES
from blemish.strips import GreyImage

QUALITY: Final = 85  # of JPEG
_LIFE_SECONDS: Final = 600.0  # of a stream of events; then the browser comes again, and is asked again who it is
_ALIVE_SECONDS: Final = 5.0  # after which a quiet stream says that it lives: to pages, and to proxies
LOOK_SECONDS: Final = 1.0  # that a thread waits for news at a time, so that a closing station is noticed
_MOST_LISTENERS: Final = 60
_News = TypeVar("_News")

IMAGE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {kind: {} for kind in sorted(set(IMAGE_TYPES.values()))}, "description": "An image."}
}
PNG: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/png": {}}, "description": "A picture."}}
JPEG: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/jpeg": {}}, "description": "A picture."}}


def events_of(name: str, model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Describe a stream of events for the API's description: what each is called, and the JSON that it brings."""
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": f"#/components/schemas/{model.__name__}"},
    }
    item = {
        "type": "object",
        "properties": {"event": {"const": name}, "data": data, "id": {"type": "string"}},
        "required": ["event", "data"],
    }
    return {200: {"content": {"text/event-stream": {"itemSchema": item}}, "description": "Server-sent events."}}


def image(data: bytes, kind: str, name: str) -> Response:
    """Send a picture that is only looked at: whatever its bytes were taken for, nothing in it can run."""
    return Response(
        data,
        media_type=kind,
        headers={
            "content-disposition": f"inline; filename*=UTF-8''{quote(name)}",
            "content-security-policy": "default-src 'none'; sandbox",
            "cache-control": "private, max-age=3600",  # what an id names never changes
        },
    )


def stored_image(here: Context, file: str | None, side: int | None) -> Response:
    """Send an image of the store: its very bytes, or a JPEG of them, at most ``side`` pixels a side, to be looked at.

    Raises:
        NotFoundError: it was removed.
    """
    if file is None:
        raise NotFoundError("This image was removed, as the retention of images says.")
    path = here.station.store.path(file)
    if side is None:
        return image(read(path), IMAGE_TYPES[path.suffix], path.name)
    with here.a_core():
        grey = GreyImage.open(path)
        return image(encode_jpeg(grey_picture(grey.fitted(side)), QUALITY), "image/jpeg", f"{path.stem}.jpg")


def read(path: Path) -> bytes:
    """Read a file of the store.

    Raises:
        NotFoundError: it is gone.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"The file {path.name} is gone. `blemish station check` tells what else is.") from None


def attachment(data: bytes, name: str, kind: str = "application/octet-stream") -> Response:
    """Send a file that is kept and not looked at."""
    return Response(
        data, media_type=kind, headers={"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
    )


def events(here: Context, wait: Callable[[], _News], tell: Callable[[_News], tuple[list[str], bool]]) -> Response:
    """Send server-sent events until there are no more, the station closes, or ten minutes are over.

    A stream that has nothing to say sends an event ``alive`` every five seconds: a station without power, or behind a
    cut cable, closes no connection, so a page can only tell by its silence.

    Args:
        here: whose threads wait.
        wait: waits about a second for news, in a thread.
        tell: makes the events of what came, and says whether they are the last.

    Raises:
        BusyError: too many listen already.
    """
    if here.listening.statistics().borrowed_tokens >= _MOST_LISTENERS:
        raise BusyError("Too many pages listen already. Close one.", retry_after=10)

    async def stream() -> AsyncIterator[str]:
        began = told = time.monotonic()
        yield ": listening\n\n"
        is_last = False
        while not is_last and not here.is_closing and time.monotonic() - began < _LIFE_SECONDS:
            news, is_last = tell(await run_sync(wait, limiter=here.listening))
            if not news and time.monotonic() - told > _ALIVE_SECONDS:
                news = [event("alive", {})]
            for text in news:
                told = time.monotonic()
                yield text

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def event(name: str, data: Any, key: int | None = None) -> str:
    """Write one event.

    Example:
        >>> event("job", {"id": 3}, 7)
        'id: 7\\nevent: job\\ndata: {"id":3}\\n\\n'
    """
    told = "" if key is None else f"id: {key}\n"
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"{told}event: {name}\ndata: {text}\n\n"
