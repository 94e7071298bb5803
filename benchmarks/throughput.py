"""How fast Blemish learns and inspects, beside what this machine can do.

    python benchmarks/throughput.py [--repeats 7] [--json benchmarks/results/throughput.json]

Prints training throughput (triplets a second) and inspection time per 1024 x 1024 image, each also as arithmetic done
per second and as a share of the machine's best measured single-precision matrix-multiply rate. All figures are medians
over repeats that take turns, so that a slow moment of the machine hits all alike. Run it when nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from blemish.detection.detector import Detector
from blemish.detection.runtime import seconds_in_turns
from blemish.drawing import SURFACES, draw_surface
from blemish.images import prepare, write_image
from blemish.learning.assembly import GoodImages, Making, Terms, prototype_detector
from blemish.learning.losses import euclidean_distance, triplet_softmax_loss
from blemish.learning.network import PATCH_SIZE, TripletNetwork
from blemish.learning.reference import Reference
from blemish.learning.triplets import PatchSettings
from figures import write_figures

SIDE = 1024
MATRIX = 4096  # rows and columns of the matrices: large enough to show the machine's rate
COPY_BYTES = 2**28
PASSES_PER_STEP = 3  # a backward pass costs about two forward passes


def multiply_adds(side: int) -> int:
    """Count the multiplications of the paper's network on one side x side image; each comes with one addition."""
    total, size, channels = 0, side, 1
    for _ in range(3):
        size -= 2
        total += size * size * 9 * channels * 16
        channels = 16
    size //= 2
    for _ in range(14):
        size -= 2
        total += size * size * 9 * 16 * 16
    return total


def median_seconds(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time the tasks in turns; the first round warms up and does not count."""
    taken = seconds_in_turns([*tasks.values()], repeats + 1)
    return {name: statistics.median(values[1:]) for name, values in zip(tasks, taken, strict=True)}


def training_step(batch_size: int) -> Callable[[], object]:
    """Return one optimiser step on random triplets: what `learning.training.train` does, without cutting them."""
    network = TripletNetwork(torch.Generator().manual_seed(0)).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    pixels = torch.rand(3 * batch_size, 1, PATCH_SIZE, PATCH_SIZE, generator=torch.Generator().manual_seed(0))

    def step() -> None:
        anchors, positives, negatives = network(pixels).flatten(1).chunk(3)
        loss = triplet_softmax_loss(euclidean_distance(anchors, positives), euclidean_distance(anchors, negatives))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def small_detector(folder: Path) -> tuple[Detector, Path]:
    """Make a detector with an untrained network (speed does not depend on the weights), and an image to inspect."""
    rng = np.random.default_rng(0)
    surface = SURFACES["brushed_metal"](rng)
    paths = [folder / f"{index}.png" for index in range(3)]
    for path in paths:
        write_image(path, draw_surface(surface, rng, SIDE, SIDE))
    detector = prototype_detector(
        TripletNetwork(torch.Generator().manual_seed(0)).eval(),
        GoodImages("benchmark", tuple(paths[:2]), tuple(paths[2:])),
        Terms(alpha=0.5),
        kind=Reference.LOCATION,
        side=SIDE,
        making=Making("tayeh2020", training={}, hashes={}),
    )
    return detector, paths[0]


def measure(repeats: int) -> dict[str, object]:
    """Measure everything in one run."""
    batch_size = PatchSettings().batch_size
    rng = np.random.default_rng(0)
    a, b = rng.random((2, MATRIX, MATRIX), dtype=np.float32)
    source = np.ones(COPY_BYTES, dtype=np.uint8)  # zeros would be one page of memory, read again and again
    target = np.empty_like(source)
    network = TripletNetwork(torch.Generator().manual_seed(0)).eval()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(mode=False):
        detector, path = small_detector(Path(folder))
        image = detector.inspect(path).image
        prepared = prepare(image, SIDE, SIDE)
        pixels = torch.from_numpy(prepared)[None, None]

        def eager() -> None:
            with torch.inference_mode():
                network(pixels)

        seconds = median_seconds(
            {
                "numpy matrix multiply": lambda: a @ b,
                "torch matrix multiply": lambda: torch.from_numpy(a) @ torch.from_numpy(b),
                "memory copy": lambda: np.copyto(target, source),
                "training step": training_step(batch_size),
                "network, torch eager": eager,
                "graph, ONNX Runtime": lambda: detector._runtime.run(prepared),
                "inspect, pixels to verdict": lambda: detector.inspect(image),
                "inspect, file to verdict": lambda: detector.inspect(path),
            },
            repeats,
        )
    best = max(2 * MATRIX**3 / seconds[f"{name} matrix multiply"] for name in ("numpy", "torch"))
    work = {name: 2.0 * multiply_adds(SIDE) for name in seconds if name.startswith(("network", "graph", "inspect"))}
    work["training step"] = PASSES_PER_STEP * 3 * batch_size * 2.0 * multiply_adds(PATCH_SIZE)
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        "repeats": repeats,
        "matrix_multiply_gflops": {
            name: 2 * MATRIX**3 / seconds[f"{name} matrix multiply"] / 1e9 for name in ("numpy", "torch")
        },
        "memory_copy_gb_per_s": 2 * COPY_BYTES / seconds["memory copy"] / 1e9,
        "triplets_per_s": batch_size / seconds["training step"],
        "seconds": seconds,
        "gflops": {name: work[name] / seconds[name] / 1e9 for name in work},
        "share_of_matrix_multiply": {name: work[name] / seconds[name] / best for name in work},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    found = measure(arguments.repeats)
    print(json.dumps(found, indent=2))
    write_figures(found, arguments.json)


if __name__ == "__main__":
    main()
