"""How a station bears hours of work, and more senders than it takes.

    python benchmarks/soak.py [MODEL IMAGES] [--inspections 5000] [--json benchmarks/results/soak.json]
    python benchmarks/soak.py --inspections 172800 --side 64 --json benchmarks/results/soak_day.json

Makes a station in a temporary folder, runs `blemish serve` as a process of its own, and sends it images over HTTP from
several threads of this one. Without MODEL and IMAGES a part is enrolled from drawn images. What
`Detector.inspect` does alone, with as many workers, is timed in the same run, half of it before and half after. Then
more senders come than the queue takes. Senders and server share the machine. Memory is read from /proc: Linux only.

A day at two parts a second is 172,800 inspections. With small images a day passes sooner, and what does not depend on
their size shows: store, log, database and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime

import blemish
from blemish.datasets import read_good
from blemish.detection.detector import Detector
from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.images import write_image
from blemish.parallel import n_cores
from blemish.station import audit
from blemish.station.store import DATABASE, Store
from figures import write_figures

PART = "part"
N_GOOD, N_SENT = 24, 40  # drawn images: to enroll from, to send in turn; every tenth of these has a flaw
N_ALONE = 120  # inspections without a station, before the run and again after it
N_AFTER = 20  # inspections after the overload, by one sender
TENTHS = 10
START_SECONDS = 60.0
_TIMEOUT = 120.0  # seconds until an answer counts as none


@dataclass
class Answers:
    """What the senders were answered; written by all of them."""

    seconds: list[float] = field(default_factory=list)  # from sending to the answer with a verdict
    ended: list[float] = field(default_factory=list)  # when those came
    ids: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def drawn(folder: Path, side: int) -> tuple[Path, list[Path]]:
    """Draw images, enroll a model from the good ones; return its file and the images to send."""
    rng = np.random.default_rng(0)
    surface = SURFACES["brushed_metal"](rng)
    for name, n_images in (("good", N_GOOD), ("sent", N_SENT)):
        (folder / name).mkdir()
        for index in range(n_images):
            image = draw_surface(surface, rng, side, side)
            if name == "sent" and index % 10 == 0:
                image, _ = FLAWS["stain"](image, rng)
            write_image(folder / name / f"{index:03}.png", image)
    model = folder / "drawn.blemish"
    blemish.enroll(folder / "good", alpha=0.1).save(model)
    return model, sorted((folder / "sent").iterdir())


def alone(model: Path, images: list[Path], workers: int) -> float:
    """Return inspections a second without a station: file to verdict, one core to each worker."""
    detector = Detector.load(model).with_threads(1)
    paths = [images[index % len(images)] for index in range(N_ALONE)]
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(detector.inspect, paths[: 4 * workers]))  # warms up
        began = time.perf_counter()
        list(threads.map(detector.inspect, paths))
        return N_ALONE / (time.perf_counter() - began)


@contextmanager
def served(folder: Path, workers: int, log: Path) -> Iterator[tuple[str, int]]:
    """Run the server; give its address and process id, end it as a service manager would."""
    command = [sys.executable, "-m", "blemish", "serve", str(folder), "--port", "0", "--workers", str(workers)]
    with log.open("wb") as said:
        server = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + START_SECONDS
            while (found := re.search(r"http://\S+/", log.read_text())) is None:
                if server.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"The server did not start: {log.read_text()}")
                time.sleep(0.05)
            yield found[0], server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def send(http: httpx.Client, data: bytes, answers: Answers) -> float | None:
    """Send an image once; return None when it was answered with a verdict, else the seconds to wait."""
    began = time.perf_counter()
    try:
        response = http.post(
            f"api/v1/parts/{PART}/inspect", content=data, headers={"content-type": "application/octet-stream"}
        )
    except httpx.HTTPError as error:
        with answers.lock:
            answers.failed[type(error).__name__] += 1
        return 1.0
    ended = time.perf_counter()
    wait = response.headers.get("retry-after")
    with answers.lock:
        if response.is_success:
            answers.seconds.append(ended - began)
            answers.ended.append(ended)
            answers.ids.append(response.json()["id"])
            return None
        if response.status_code in (429, 503):
            answers.refused[f"{response.status_code} {'with' if wait else 'without'} Retry-After"] += 1
        else:
            answers.failed[f"{response.status_code} {response.text[:200]}"] += 1
    return float(wait or 1.0)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise SystemExit(f"/proc/{pid}/status names no VmRSS.")
    return int(found[1]) / 1024


def sizes(folder: Path) -> tuple[int, int]:
    """Return the bytes of the database with its journal, and of all files of a station."""
    files = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(size for path, size in files.items() if path.name.startswith(DATABASE)), sum(files.values())


def soak(url: str, pid: int, images: list[bytes], n: int, senders: int) -> tuple[Answers, list[float], float]:
    """Send n images; return the answers, the server's memory at the start and each tenth, and when it began."""
    answers, turns, lock = Answers(), count(), threading.Lock()
    memory = [resident_mb(pid)]

    def sender() -> None:
        with httpx.Client(base_url=url, timeout=_TIMEOUT) as http:
            while True:
                with lock:
                    turn = next(turns)
                    if turn and turn % max(n // TENTHS, 1) == 0 and len(memory) <= TENTHS:
                        memory.append(resident_mb(pid))
                if turn >= n:
                    return
                while (wait := send(http, images[turn % len(images)], answers)) is not None:
                    if answers.failed.total() > n // 10:
                        return
                    time.sleep(wait)

    began = time.perf_counter()
    threads = [threading.Thread(target=sender) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, memory, began


def overload(url: str, images: list[bytes], senders: int, seconds: float) -> Answers:
    """Let many senders send without a pause, each waiting only when it is told to."""
    answers, until = Answers(), time.monotonic() + seconds

    def sender(first: int) -> None:
        with httpx.Client(base_url=url, timeout=_TIMEOUT) as http:
            for turn in count(first):
                if time.monotonic() > until:
                    return
                wait = send(http, images[turn % len(images)], answers)
                if wait is not None:
                    time.sleep(wait)

    with ThreadPoolExecutor(senders) as threads:
        list(threads.map(sender, range(senders)))
    return answers


def latency(answers: Answers) -> dict[str, float]:
    """Return median, 99th percentile and worst, in milliseconds."""
    found = 1000 * np.array(answers.seconds or [np.nan])
    return {"median": float(np.median(found)), "p99": float(np.quantile(found, 0.99)), "worst": float(found.max())}


def slope(memory: list[float], n: int) -> float:
    """Return how many MB memory grows per 1,000 inspections: the straight line of least squares through it."""
    return float(np.polyfit(np.arange(len(memory)) * (n / TENTHS / 1000), memory, 1)[0])


def soaked(answers: Answers, memory: list[float], began: float, n: int) -> dict[str, Any]:
    """Return the figures of the long run."""
    ended = np.sort(answers.ended)
    edges = [began, *(float(tenth[-1]) for tenth in np.array_split(ended, TENTHS))]
    return {
        "inspections": len(answers.ids),
        "seconds": float(ended[-1] - began),
        "per_second": len(ended) / float(ended[-1] - began),
        "per_second_by_tenth": [len(ended) / TENTHS / (b - a) for a, b in pairwise(edges)],
        "latency_ms": latency(answers),
        "resident_mb_by_tenth": memory,
        "resident_mb_per_1000": slope(memory, n),
        "resident_mb_per_1000_second_half": slope(memory[TENTHS // 2 :], n),
        "refused": dict(answers.refused),
        "failed": dict(answers.failed),
    }


def looked_through(folder: Path, ids: list[str]) -> dict[str, Any]:
    """Look, after the end of the server, whether all that was answered is there and whole."""
    check = [sys.executable, "-m", "blemish", "station", "check", str(folder)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    with Store(folder, serve=False) as store:
        kept: set[str] = set()
        before: int | None = None
        while page := store.inspections(before=before, limit=500):
            kept.update(each.id for each in page)
            before = page[-1].sequence
        return {
            "answered": len(ids),
            "answered_ids_differ": len(set(ids)) == len(ids),
            "answered_and_not_stored": len(set(ids) - kept),
            "stored": len(kept),
            "audit_chain_is_whole": audit.verify(store).is_whole,
            "station_check_exit_code": done.returncode,
        }


def measure(model: Path, images: list[Path], folder: Path, wanted: argparse.Namespace) -> dict[str, Any]:
    """Measure everything in one run."""
    workers, n, station = wanted.workers, wanted.inspections, folder / "station"
    with Store(station) as store:
        store.add_part(PART, who="soak")
        store.add_model(PART, model.read_bytes(), origin="upload", who="soak", activate=True)
    data = [path.read_bytes() for path in images]
    load = os.getloadavg()[0]
    before = alone(model, images, workers)
    log = folder / "log"
    with served(station, workers, log) as (url, pid):
        soak(url, pid, data, 4 * workers, workers)  # warms up: the model is read with the first image
        empty = sizes(station)
        answers, memory, began = soak(url, pid, data, n, wanted.senders)
        full = sizes(station)
        many = overload(url, data, wanted.overload, wanted.overload_seconds)
        peak = resident_mb(pid)
        after, _, _ = soak(url, pid, data, N_AFTER, 1)
    rates = [before, alone(model, images, workers)]
    long = soaked(answers, memory, began, n)
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": n_cores(), "load_before": load},
        "versions": {"blemish": blemish.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        "workers": workers,
        "senders": wanted.senders,
        "soak": long,
        "alone_per_second": rates,
        "share_of_alone": long["per_second"] / float(np.mean(rates)),
        "bytes_per_inspection": {
            "sent": sum(map(len, data)) / len(data),
            "database": (full[0] - empty[0]) / n,
            "folder": (full[1] - empty[1]) / n,
        },
        "overload": {
            "senders": wanted.overload,
            "seconds": wanted.overload_seconds,
            "answered": len(many.ids),
            "refused": dict(many.refused),
            "failed": dict(many.failed),
            "latency_ms": latency(many),
            "resident_mb": peak,
        },
        "after_overload": {
            "answered": len(after.ids),
            "refused": dict(after.refused),
            "failed": dict(after.failed),
            "latency_ms": latency(after),
        },
        "afterwards": looked_through(station, answers.ids + many.ids + after.ids),
        "server_log": dict(Counter(log.read_text().splitlines()[1:]).most_common(20)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a .blemish file; by default one is made")
    parser.add_argument("images", type=Path, nargs="?", help="folder of images to send, with a model only")
    parser.add_argument("--side", type=int, default=256, help="pixels, of drawn images; the demo has the default")
    parser.add_argument("--inspections", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=n_cores())
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--overload", type=int, default=64, help="senders of the overload")
    parser.add_argument("--overload-seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if (arguments.model is None) != (arguments.images is None):
        parser.error("MODEL and IMAGES come together")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.model is None:
            model, images = drawn(folder, arguments.side)
        else:
            model, images = arguments.model, list(read_good(arguments.images))
        found = measure(model, images, folder, arguments)
    print(json.dumps(found, indent=2))
    write_figures(found, arguments.json)


if __name__ == "__main__":
    main()
