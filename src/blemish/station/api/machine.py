"""What machines ask: does it live, is it ready, and how much does it do (Prometheus)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

import blemish
from blemish.station.api import answers
from blemish.station.api.context import Here, Operator

router = APIRouter(tags=["machine"])


@router.get("/health", summary="Does the server answer")
def read_health() -> answers.Health:
    """Answer, as long as there is somebody who can."""
    return answers.Health(status="alive", version=blemish.__version__)


@router.get("/ready", summary="Would the next inspection be taken", responses={503: {"model": answers.Ready}})
def read_ready(response: Response, here: Here) -> answers.Ready:
    """Say whether the next inspection could be stored; 503 where it could not."""
    inspector = here.station.inspector
    writable = here.station.store.is_writable()
    ready = writable and inspector.n_workers > 0 and not here.is_closing
    response.status_code = 200 if ready else 503
    return answers.Ready(ready=ready, writable=writable, workers=inspector.n_workers, waiting=inspector.n_waiting)
