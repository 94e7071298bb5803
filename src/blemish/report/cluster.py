"""Inspect on the machines of a running Ray cluster; this one lists images and writes results.

An image is a task of Ray's. Ray Data, which is made of such tasks, was looked at and not taken. It keeps order too, and
repeats what a lost worker had in hand; but it takes all images before the first result, keeps as much ahead as fits
into memory instead of a number of images, and of an image that kills its worker each time it leaves a choice between
waiting for ever, ending the batch, and a row that is missing without a word. Tasks handed out a few ahead, as
`parallel.few_at_once` does with threads, have none of this, and need neither pandas nor pyarrow on each machine.

A worker that is lost costs time: Ray gives its images to others. It takes the results that lay on a lost machine for
lost too, and has them made again.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TextIO, cast
from urllib.parse import urlsplit

from blemish.detection.detector import Detector
from blemish.errors import BlemishError, ClusterError, MissingExtraError, SettingError
from blemish.parallel import few_at_once
from blemish.report.batch import Found, Workers, failed, inspect_listed
from blemish.report.earlier import Listed, stamp

_AHEAD: Final = 8  # images per core that are begun: while a lost worker's image is made again, others have work
_RETRIES: Final = 10  # of an image whose worker was lost; when so many are, it is the image that kills them
_REACHED_WITHIN: Final = 10  # seconds; Ray itself would try for minutes, and then end the process
_AGAIN: Final = "What was written stays, and the same command goes on there."


@contextmanager
def connected(address: str) -> Iterator[Workers]:
    """Connect to a running Ray cluster, as long as the ``with`` statement lasts.

    Args:
        address: ``HOST:PORT`` from a machine of the cluster, ``ray://HOST:PORT`` from any other, or ``auto`` for the
            cluster that this machine is part of.

    Yields:
        Workers for `batch.inspect_batch`. All machines must have this version of Blemish, and see the images under
        the same paths or URLs. What Ray would print is dropped; its logs have it.

    Raises:
        SettingError: the address is none. MissingExtraError: Ray is not installed.
        ClusterError: the cluster cannot be reached, or has no cores; while inspecting, it fails as a whole, or a worker
            cannot do the work.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error, "cluster") from error
    if ray.is_initialized():
        raise ClusterError("This process is connected to a Ray cluster already; call ray.shutdown() first.")
    _require_reachable(address)
    with redirect_stdout(cast(TextIO, _WithoutRay(sys.stdout))):
        try:
            yield partial(_inspect, ray, _connect(ray, address))
        finally:
            with redirect_stdout(io.StringIO()):
                ray.shutdown()


def _connect(ray: Any, address: str) -> int:
    """Connect to a cluster and count its cores."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        n_cores = int(ray.cluster_resources().get("CPU", 0))
    except (Exception, SystemExit) as error:  # of any kind; of what answers there and is not Ray, the last
        raise ClusterError(
            f"No Ray cluster can be used at {address} ({error}). Expected one with the same versions of Ray and Python "
            "as here; from a machine that is no part of it, use ray://HOST:10001."
        ) from error
    if n_cores == 0:
        raise ClusterError(f"The cluster at {address} has no cores; expected a machine with some. Start one.")
    return n_cores


class _WithoutRay:
    """Standard output without what Ray's own thread prints there, between results that a machine may read."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@dataclass(frozen=True)
class _Job:
    """What a worker must know beside the image; it travels with each, so the model lies in Ray's store, once."""

    fingerprint: str
    version: str  # of Blemish
    folder: str  # where relative paths begin
    is_drawn: bool
    detector: list[Any] = field(compare=False)  # one reference; alone it would be fetched before each task


def _inspect(
    ray: Any, n_cores: int, detector: Detector, images: Sequence[Listed], is_drawn: bool
) -> Generator[Found, None, None]:
    """Inspect images as `batch.this_machine` does, with the cluster's cores."""
    model = ray.put((detector.model, detector.mm_per_pixel, detector.runtime))
    job = _Job(detector.fingerprint, version("blemish"), str(Path.cwd()), is_drawn, [model])
    task = ray.remote(_work).options(num_cpus=1, max_retries=_RETRIES)

    def begin(image: Listed) -> tuple[Listed, Any]:
        return image, task.remote(job, image)

    def finish(begun: tuple[Listed, Any]) -> Found:
        return _result_of(ray, *begun)

    def drop(begun: tuple[Listed, Any]) -> None:
        ray.cancel(begun[1])

    return few_at_once(begin, finish, drop, images, _AHEAD * n_cores)


def _result_of(ray: Any, image: Listed, reference: Any) -> Found:
    path, problem = image
    errors = ray.exceptions
    try:
        (record, drawing), is_seen = ray.get(reference)
    except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError, errors.ObjectLostError):
        return failed(
            path, f"'{path}': {_RETRIES + 1} workers were lost over it. Is it very large? Give workers more memory."
        )
    except errors.RayTaskError as error:
        cause = getattr(error, "cause", error)
        if isinstance(cause, BlemishError):
            raise cause from error
        raise ClusterError(
            f"A worker cannot inspect ({cause!r}). Expected Blemish {version('blemish')}, with the same packages, on "
            f"every machine of the cluster. {_AGAIN}"
        ) from error
    except (errors.RayError, ConnectionError) as error:
        raise ClusterError(f"The cluster failed ({error}). {_AGAIN}") from error
    if not is_seen and not problem and stamp(path):
        raise ClusterError(
            f"A worker does not see '{path}', and this machine does ({record['reason']}). Expected a storage that all "
            f"machines of the cluster see under the same path; or give a URL, such as s3://bucket/folder. {_AGAIN}"
        )
    return record, drawing


def _work(job: _Job, image: Listed) -> tuple[Found, bool]:
    """Inspect one image in a process of the cluster; of one that failed, say whether it is there to be seen."""
    found = inspect_listed(_detector(job), image, is_drawn=job.is_drawn)
    return found, "reason" not in found[0] or bool(stamp(image[0]))


@lru_cache(maxsize=1)
def _detector(job: _Job) -> Detector:
    """Make the detector of a job, once in each process, and stand where its paths begin."""
    import ray

    if version("blemish") != job.version:
        raise ClusterError(
            f"{socket.gethostname()} of the cluster has Blemish {version('blemish')}, expected {job.version} as here: "
            "another might find something else. Install the same."
        )
    if Path(job.folder).is_dir():  # where it is not, only whole paths lead to anything
        os.chdir(job.folder)
    model, mm_per_pixel, runtime = ray.get(job.detector[0])
    try:
        return Detector(model, mm_per_pixel=mm_per_pixel, runtime=runtime, threads=1)
    except BlemishError as error:
        raise ClusterError(f"{socket.gethostname()} of the cluster cannot load the model: {error}") from error


def _require_reachable(address: str) -> None:
    if address == "auto":
        return
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme != "ray":
        raise SettingError(f"The cluster's address is '{address}'; expected HOST:PORT, ray://HOST:PORT or auto.")
    try:
        socket.create_connection((host, port), timeout=_REACHED_WITHIN).close()
    except OSError as error:
        raise ClusterError(
            f"Nothing answers at {address} ({error.strerror or error}); expected a running Ray cluster. Start one with "
            "`ray start --head`, or check the address."
        ) from error
