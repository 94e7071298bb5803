"""How long a step of `fit` takes, how much of it is drawing, and what threads that wait without spinning gain.

    python benchmarks/steps.py DATA -o benchmarks/results/steps.json [--repeats 3] [--steps 30]

DATA holds categories as for `accuracy.py`. Each repeat is a process of its own: once as `fit` runs, once with PyTorch
loaded before Blemish, whose threads then spin while they wait. Medians of the repeats, in seconds a step; run it on a
quiet machine. "processor" is the time of all cores, "drawing" what of it makes the pictures, "waited" how long the
network waited for them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from accuracy import commit
from blemish.datasets import find_categories, read_good
from blemish.images import write_text

N_IMAGES: Final = 40  # good ones; more make no other steps
WAITING: Final = {"passive": "", "spinning": "import torch; "}  # what a process does before it loads Blemish


def main() -> None:
    """Measure all categories, in processes that take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of categories")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON file of the figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="of each repeat")
    options = parser.parse_args()

    figures: dict[str, Any] = {"commit": commit(), "cores": os.cpu_count(), "steps": options.steps}
    for name, folder in sorted(find_categories(options.data).items()):
        found: dict[str, list[dict[str, float]]] = {waiting: [] for waiting in WAITING}
        for _ in range(options.repeats):
            for waiting in WAITING:
                found[waiting].append(in_a_process(waiting, folder, options.steps))
        figures[name] = {
            waiting: {key: round(statistics.median(each[key] for each in runs), 3) for key in runs[0]}
            for waiting, runs in found.items()
        }
        print(name, json.dumps(figures[name]), flush=True)
        write_text(options.output, json.dumps(figures, indent=1))


def in_a_process(waiting: str, folder: Path, n_steps: int) -> dict[str, float]:
    """Measure in a process of its own: PyTorch reads only once how its threads shall wait."""
    code = f"{WAITING[waiting]}import sys, steps; steps.tell(sys.argv[1], int(sys.argv[2]))"
    free = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(n_steps)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env={**free, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def tell(folder: str, n_steps: int) -> None:
    """Print what the steps of one category take, as JSON."""
    # Imported here, because the order of imports is what is measured.
    from blemish.learning.nearest import NearestSettings, NearestTriplets, PreparedImages, draw_batch
    from blemish.learning.pretrained import universal_network
    from blemish.learning.survey import survey
    from blemish.learning.training import train

    paths = read_good(folder)[:N_IMAGES]
    seen = survey(paths)
    images = PreparedImages(paths, seen.preparation(seen.reference))
    settings = NearestSettings.of(seen.reference, seen.explained_as_they_lie, seed=0)
    started = time.process_time()
    for step in range(n_steps):
        draw_batch(images, settings, step)
    drawing = time.process_time() - started
    learner = NearestTriplets(images, settings, universal_network())
    with closing(learner):
        train(learner, n_steps=2)  # warm
        started, before = time.monotonic(), time.process_time()
        train(learner, n_steps=n_steps)
        whole, processor = time.monotonic() - started, time.process_time() - before
    each = {"step": whole, "processor": processor, "drawing": drawing, "waited": learner.waited_s}
    print(json.dumps({key: value / n_steps for key, value in each.items()}))


if __name__ == "__main__":
    main()
