"""A station behind a real server on a free port, for tests."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from blemish.station import teaching
from blemish.station.app import create_app
from blemish.station.station import Station


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve an application in a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        app.state.context.is_closing = True
        server.should_exit = True
        thread.join()


@contextmanager
def station_at(folder: Path, **settings: Any) -> Iterator[tuple[Station, httpx.Client]]:
    """Open a station and serve it; gives it with somebody who asks, as a browser on the same machine would not."""
    with (
        Station(folder, workers=1) as station,
        served(create_app(station, **settings)) as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield station, client


def draw_a_small_demo(patch: pytest.MonkeyPatch) -> None:
    """Let the demo draw few images, so that it takes seconds."""
    small = "import blemish.demo as d; d._N_TRAIN, d._N_TEST, d._N_PER_FLAW = 30, 3, 3"
    code = f"{small}; from blemish.station.teaching_job import main; main()"
    patch.setattr(teaching, "_COMMAND", (sys.executable, "-c", code))
