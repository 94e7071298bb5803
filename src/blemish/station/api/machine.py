"""What machines ask: does it live, is it ready, and how much does it do (Prometheus)."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Response

import blemish
from blemish.station.api import answers
from blemish.station.api.context import Context, Here, Operator

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


@router.get(
    "/metrics",
    summary="How much does it do",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "For Prometheus."}},
)
def read_metrics(here: Here, _: Operator) -> Response:
    """Return counts and durations since the start, as Prometheus reads them."""
    return Response("".join(_metrics(here)), media_type="text/plain; version=0.0.4")


def _metrics(here: Context) -> Iterator[str]:
    station, done = here.station, here.station.inspector.statistics()
    yield from _metric("inspections_total", "counter", "Inspections by the verdict of the model, since the start.")
    for part, counts in sorted(done["verdicts"].items()):
        for verdict, count in counts.items():
            yield _sample("inspections_total", count, part=part, verdict=verdict)
    yield from _metric("inspection_seconds", "histogram", "From the call to the stored verdict.")
    for end, count in done["seconds"]["buckets"]:
        yield _sample("inspection_seconds_bucket", count, le=f"{end:g}")
    yield _sample("inspection_seconds_bucket", done["seconds"]["count"], le="+Inf")
    yield _sample("inspection_seconds_sum", done["seconds"]["sum"])
    yield _sample("inspection_seconds_count", done["seconds"]["count"])
    for name, kind, value, told in (
        ("inspections_refused_total", "counter", done["refused"], "Refused because too many were waiting."),
        ("inspections_failed_total", "counter", done["failed"], "Failed with any other error."),
        ("inspections_waiting", "gauge", done["waiting"], "Wait for a worker."),
        ("workers", "gauge", done["workers"], "Images that are inspected at once."),
        ("deliveries_waiting", "gauge", station.store.n_waiting(), "Results that their sinks do not have yet."),
        ("jobs_waiting", "gauge", len(station.store.jobs(states=("queued", "running"))), "Teaching, queued or running"),
        ("writable", "gauge", int(station.store.is_writable()), "1: the next inspection could be stored."),
    ):
        yield from _metric(name, kind, told)
        yield _sample(name, value)
    yield from _metric("http_requests_total", "counter", "Answers by status, since the start.")
    for status, count in sorted(here.answered.items()):
        yield _sample("http_requests_total", count, status=str(status))


def _metric(name: str, kind: str, told: str) -> Iterator[str]:
    yield f"# HELP blemish_{name} {told}\n# TYPE blemish_{name} {kind}\n"


def _sample(name: str, value: float, **labels: str) -> str:
    """Write one sample.

    Example:
        >>> _sample("workers", 2), _sample("inspections_total", 7, part='a "b"')
        ('blemish_workers 2\\n', 'blemish_inspections_total{part="a \\\\"b\\\\""} 7\\n')
    """
    escaped = {key: text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for key, text in labels.items()}
    told = ",".join(f'{key}="{text}"' for key, text in escaped.items())
    return f"blemish_{name}{f'{{{told}}}' if told else ''} {value}\n"
