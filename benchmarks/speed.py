"""How fast inspection is, side by side in one run: ours, the paper's graph, three peers, through every runtime.

    python benchmarks/speed.py [networks path turning colour memory rows install start] [--repeats 7] [--json FILE]

Runs all parts, or those that are named. Figures are medians over repeats that take turns, so that a slow moment of the
machine hits all alike, and are told as ratios too: only they can be compared from one machine to another. Run it when
nothing else runs. Networks have random weights: speed does not depend on them. A runtime that is not installed, or that
cannot take a network, is named with the reason.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from blemish.datasets import list_images
from blemish.detection.detector import Detector
from blemish.detection.drift import image_statistics
from blemish.detection.engines import installed_engines, load_engine
from blemish.detection.pose import Pose
from blemish.detection.scoring import N_WORST
from blemish.drawing import SURFACES, draw_surface
from blemish.images import read_image, rgb, write_image
from blemish.learning.assembly import SMOOTHING
from blemish.learning.fit import enroll, fit
from blemish.learning.graph import DistanceModel, build_graph
from blemish.learning.network import FILTERS, NEAR, PATCH_SIZE, STRIDE, WIDE, BoundedNetwork, TripletNetwork
from blemish.learning.reference import BANK, MEDOIDS, Reference, ToNearest, ToNearestHere, ToPrototype
from blemish.parallel import n_cores
from blemish.report.batch import inspect_batch
from blemish.report.writer import ResultWriter, draw
from figures import write_figures
from peers import PEERS
from throughput import median_seconds

MATRIX = 4096  # rows and columns of the matrices: large enough to show the machine's rate
_LINKS = 10_000  # to one file; file systems end at 65,000 or so
THREADS = {"1 core": 1, "all cores": None}
Task = Callable[[], object]
Figures = dict[str, Any]


# --- networks ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A network with all that its method does for an image: in PyTorch, as a graph, and what goes in."""

    model: nn.Module
    graph: bytes
    output: str  # name of the graph's output that is asked for
    inputs: dict[str, Tensor]  # by name, in the order that the model takes them


def our_inputs(side: int) -> dict[str, Tensor]:
    return {"pixels": torch.rand(1, 1, side, side), "counted": torch.ones(1, 1)}


def papers(side: int) -> Candidate:
    network = TripletNetwork(torch.Generator().manual_seed(0))
    cells = (side - PATCH_SIZE) // STRIDE + 1
    model = DistanceModel(network, ToPrototype(torch.rand(16, cells, cells))).eval()
    return Candidate(model, build_graph(model), "max_distance", our_inputs(side))


def ours(side: int, kind: Reference, filters: int = FILTERS) -> Candidate:
    network = BoundedNetwork(torch.Generator().manual_seed(0), NEAR if kind is Reference.LOCATION else WIDE, filters)
    cells = side // BoundedNetwork.STRIDE
    reference: nn.Module = ToNearest(torch.randn(BANK, 32))
    if kind is Reference.LOCATION:
        reference = ToNearestHere(torch.randn(MEDOIDS, 32, cells, cells))
    model = DistanceModel(network, reference, SMOOTHING, N_WORST).eval()
    return Candidate(model, build_graph(model), "score", our_inputs(side))


def peer(name: str) -> Candidate:
    model = PEERS[name]().eval()
    pixels = torch.rand(1, 3, model.SIDE, model.SIDE)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no other package is the old one
        path = Path(folder) / "peer.onnx"
        torch.onnx.export(model, (pixels,), path, dynamo=False, input_names=["pixels"], output_names=["score"])
        return Candidate(model, path.read_bytes(), "score", {"pixels": pixels})


CANDIDATES: dict[str, Callable[[], Candidate]] = {
    "the paper's, 1024": partial(papers, 1024),
    **{f"ours, {kind}, {side}": partial(ours, side, kind) for side in (256, 512, 1024) for kind in Reference},
    **{f"{name}, {kind.SIDE}": partial(peer, name) for name, kind in PEERS.items()},
}


def in_torch(candidate: Candidate, threads: int | None, *, is_compiled: bool) -> Task:
    model = torch.compile(candidate.model) if is_compiled else candidate.model

    def run() -> None:
        torch.set_num_threads(threads or n_cores())
        with torch.inference_mode():
            model(*candidate.inputs.values())

    return run


def in_engine(name: str, graph: bytes, candidate: Candidate, threads: int | None) -> Task:
    engine = load_engine(name, graph, threads)
    inputs = {name: value.numpy() for name, value in candidate.inputs.items()}
    return lambda: engine.run(inputs, [candidate.output])


def quantised(candidate: Candidate) -> bytes:
    """Turn weights and activations into 8-bit integers, with ranges from a few random images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Random(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            others = {name: value.numpy() for name, value in candidate.inputs.items()}
            pixels = candidate.inputs["pixels"]
            self._left = iter([{**others, "pixels": torch.rand_like(pixels).numpy()} for _ in range(4)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(candidate.graph)
        logging.disable(logging.WARNING)  # it asks each time for a step that our graphs do not need
        # Unsigned activations: with signed ones ONNX Runtime is no faster than in float32 on processors like these.
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(source, target, Random(), per_channel=True, **types)
        logging.disable(logging.NOTSET)
        return target.read_bytes()


RUNTIMES: dict[str, Callable[[Candidate, int | None], Task]] = {
    "torch": lambda candidate, threads: in_torch(candidate, threads, is_compiled=False),
    "torch.compile": lambda candidate, threads: in_torch(candidate, threads, is_compiled=True),
    "onnxruntime": lambda candidate, threads: in_engine("onnxruntime", candidate.graph, candidate, threads),
    "openvino": lambda candidate, threads: in_engine("openvino", candidate.graph, candidate, threads),
    "onnxruntime int8": lambda candidate, threads: in_engine("onnxruntime", quantised(candidate), candidate, threads),
    "openvino int8": lambda candidate, threads: in_engine("openvino", quantised(candidate), candidate, threads),
}


def matrix_gflops(repeats: int, threads: int | None) -> float:
    """Return the best rate of multiplying single-precision matrices that this machine shows, torch's or numpy's."""
    torch.set_num_threads(threads or n_cores())
    a, b = torch.rand(2, MATRIX, MATRIX)
    tasks: dict[str, Task] = {"torch": lambda: a @ b}
    if threads is None:  # numpy's library has no switch of its own for the number of threads
        tasks["numpy"] = lambda: a.numpy() @ b.numpy()
    return 2 * MATRIX**3 / min(median_seconds(tasks, repeats).values()) / 1e9


def measure_networks(repeats: int, candidates: Sequence[str], runtimes: Sequence[str]) -> Figures:
    """Time networks through runtimes; ``of best`` is the share of the matrix-multiply rate."""
    best = {cores: matrix_gflops(repeats, threads) for cores, threads in THREADS.items()}
    rows: list[Figures] = []
    for name in candidates:
        candidate = CANDIDATES[name]()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            candidate.model(*candidate.inputs.values())
        gflop = counter.get_total_flops() / 1e9
        for cores, threads in THREADS.items():
            tasks: dict[str, Task] = {}
            for runtime in runtimes:
                try:
                    task = RUNTIMES[runtime](candidate, threads)
                    task()
                except Exception as error:  # not installed, or not for this network: the others are measured
                    reason = str(error).strip().splitlines()[0][:100]
                    rows.append({"network": name, "cores": cores, "runtime": runtime, "not measured": reason})
                else:
                    tasks[runtime] = task
            seconds = median_seconds(tasks, repeats)
            for runtime, each in seconds.items():
                row = {"network": name, "cores": cores, "runtime": runtime, "ms": 1000 * each}
                row |= {"gflop": gflop, "of best": gflop / each / best[cores]}
                rows.append(row | ({"times torch": seconds["torch"] / each} if "torch" in seconds else {}))
        torch.compiler.reset()
        print(f"measured {name}", file=sys.stderr, flush=True)
    return {"matrix multiply, gflop/s": best, "rows": rows}


# --- the whole path ----------------------------------------------------------------------------------------------


def drawn_images(folder: Path, n: int, side: int) -> list[Path]:
    """Write so many images as a camera's JPEGs."""
    rng = np.random.default_rng(0)
    surface = SURFACES["brushed_metal"](rng)
    paths = [folder / f"{index:06}.jpg" for index in range(n)]
    for path in paths:
        write_image(path, draw_surface(surface, rng, side, side))
    return paths


def small_detector(folder: Path, side: int) -> Detector:
    """Make a detector of our method from images of this size with next to no training."""
    drawn_images(folder, 8, side)
    return fit(folder, steps=1, reference="location", alpha=0.5)


def measure_path(repeats: int, side: int, n_images: int) -> Figures:
    """Time an image from file to written overlay by stages on one core, and many images on all cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        detector = small_detector(folder / "good", side).with_threads(1)
        paths = drawn_images(folder / "new", n_images, side)
        pixels = read_image(paths[0])
        prepared = detector.description.preparation.apply(pixels)
        found = detector.inspect(pixels)
        drawing = draw(found)
        seconds = median_seconds(
            {
                "read and decode": lambda: read_image(paths[0]),
                "prepare": lambda: detector.description.preparation.apply(pixels),
                "network": lambda: detector._runtime.run(prepared),
                "numbers of the image": lambda: image_statistics(found.grey, found.mean_distance),
                "decoded pixels to verdict": lambda: detector.inspect(pixels),
                "draw map, overlay, thumbnails": lambda: draw(found),
                "write overlay": lambda: (folder / "overlay.jpg").write_bytes(drawing.overlay),
                "batch, verdicts only": lambda: inspect_batch(detector, paths),
                "batch, all written": lambda: inspect_batch(detector, paths, _anew(folder)),
            },
            repeats,
        )
    batches = {name: n_images / each for name, each in seconds.items() if name.startswith("batch")}
    stages = {name: each for name, each in seconds.items() if not name.startswith("batch")}
    of_the_verdict = ("prepare", "network")
    whole = sum(each for name, each in stages.items() if name not in of_the_verdict)
    return {
        "side": side,
        "prepared": list(prepared.shape),
        "stages, ms": {name: 1000 * each for name, each in stages.items()},
        "stages, share of one image on one core": {name: each / whole for name, each in stages.items()},
        "images a second": batches,
        "share of the network alone on one core": {name: each * seconds["network"] for name, each in batches.items()},
    }


def measure_turning(repeats: int, side: int) -> Figures:
    """Time what parts that lie in different turns take beside the network, on one core."""
    rng, surface = np.random.default_rng(0), SURFACES["printed_label"](np.random.default_rng(3))
    with tempfile.TemporaryDirectory() as name:
        for index in range(12):
            label = Pose(30.0 * index, 0, 0).turned(draw_surface(surface, rng, side, side))
            write_image(Path(name) / f"{index:02}.png", label)
        detector = enroll(name, alpha=0.5).with_threads(1)
    preparation = detector.description.preparation
    turning = preparation.turning
    assert turning is not None, "labels in all turns are turned"
    as_it_lies = replace(preparation, turning=None).apply(label)
    pose = turning.pose(as_it_lies)
    prepared = pose.turned(as_it_lies)
    distance_map = detector._runtime.run(prepared).distance_map
    seconds = median_seconds(
        {
            "network": lambda: detector._runtime.run(prepared),
            "find how the part lies": lambda: turning.pose(as_it_lies),
            "turn the image": lambda: pose.turned(as_it_lies),
            "turn the map back": lambda: pose.as_it_lay(distance_map),
            "cells that lay on the image": lambda: pose.on_image(*distance_map.shape),
        },
        repeats,
    )
    return {
        "prepared": list(prepared.shape),
        "ms": {name: 1000 * each for name, each in seconds.items()},
        "share of the network": {name: each / seconds["network"] for name, each in seconds.items()},
    }


def measure_colour(repeats: int, side: int) -> Figures:
    """Time the same coloured images with a model that looks at colours and one that does not, on one core."""
    found: Figures = {}
    for reference in Reference:
        with tempfile.TemporaryDirectory() as name:
            grey, coloured = Path(name) / "grey", Path(name) / "coloured"
            rng = np.random.default_rng(0)
            for path in drawn_images(grey, 8, side):
                image = read_image(path)
                blue, red = (rng.normal(mean, 0.02, image.shape).astype(np.float32) for mean in (-0.05, 0.03))
                write_image(coloured / path.name, rgb(image, blue, red))
            models = [enroll(each, reference=reference, alpha=0.5).with_threads(1) for each in (grey, coloured)]
            assert [model.description.preparation.coloured for model in models] == [False, True]
            shown = next(coloured.iterdir())
            by_grey, in_colour = partial(models[0].inspect, shown), partial(models[1].inspect, shown)
            seconds = median_seconds({"by its grey": by_grey, "in colour": in_colour}, repeats)
            found[f"{reference}, ms"] = {kind: 1000 * each for kind, each in seconds.items()}
            found[f"{reference}, times as long"] = seconds["in colour"] / seconds["by its grey"]
    return found


def _anew(folder: Path) -> Path:
    """Name an output folder that does not exist: one that does would be gone on with."""
    return Path(tempfile.mkdtemp(dir=folder)) / "out"


# --- memory, installation, start ---------------------------------------------------------------------------------


def measure_memory(counts: Sequence[int], side: int) -> Figures:
    """Let a process of its own inspect so many images with -o, and return the most memory it had, in MB (Linux)."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_detector(folder / "good", side).save(folder / "m.blemish")
        (path,) = drawn_images(folder, 1, side)
        for count in counts:
            images = folder / str(count)
            images.mkdir()
            for index in range(count):
                if index % _LINKS == 0:
                    shutil.copy(path, images / f"{index:06}.jpg")
                else:
                    os.link(images / f"{index - index % _LINKS:06}.jpg", images / f"{index:06}.jpg")
            figures[f"{count:,} images"] = _peak_mb(["inspect", folder / "m.blemish", images, "-o", images / "out"])
    return figures


def measure_rows(counts: Sequence[int]) -> Figures:
    """Return the most memory, in MB, of a batch of so many images without the images: what grows is rows and page."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_detector(folder / "good", 64).save(folder / "m.blemish")
        for count in counts:
            images = folder / str(count)
            images.mkdir()
            for index in range(count):
                (images / f"{index:06}.jpg").touch()
            code = "import speed; speed.inspect_pretended(*__import__('sys').argv[1:])"
            figures[f"{count:,} rows"] = _peak_of(code, [folder / "m.blemish", folder / "good", images, images / "out"])
    return figures


def inspect_pretended(model: str, good: str, images: str, output: str) -> None:
    """Write the results of a batch all of whose images look like one that is inspected once, but for the score."""
    detector = Detector.load(model)
    found = detector.inspect(next(Path(good).iterdir()))
    drawing, statistics = draw(found), image_statistics(found.grey, found.mean_distance)
    rng = np.random.default_rng(0)
    paths = list_images(Path(images))
    with ResultWriter(
        Path(output), model_name="m", threshold=detector.threshold, images=[(path, "") for path in paths]
    ) as writer:
        for path in paths:
            record = replace(found, path=path, score=float(rng.random())).to_dict()
            writer.add({**record, "statistics": statistics}, replace(drawing, overlay=b""))


def _peak_mb(arguments: Sequence[object]) -> float:
    """Run a command and return the most memory it had; ``ru_maxrss`` would count this process in, from before exec."""
    return _peak_of("from blemish.cli import main; main()", arguments)


def _peak_of(code: str, arguments: Sequence[object]) -> float:
    wrapped = f"import re, sys\ntry: {code}\nfinally: sys.stderr.write('peak ' + "
    wrapped += "re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    command = [sys.executable, "-c", wrapped, *map(str, arguments)]
    said = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, cwd=Path(__file__).parent
    ).stderr
    return int(said.rpartition("peak ")[2]) / 1024


def measure_install() -> Figures:
    """Sum the installed packages that the detection half needs, its own included."""
    sizes: dict[str, int] = {}
    left = ["blemish"]
    while left:
        name = left.pop()
        if name in sizes:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:  # for another system or Python
            continue
        sizes[name] = sum(Path(str(found.locate_file(file))).stat().st_size for file in _files(found.files or []))
        left += [_normal(need) for need in found.requires or [] if "extra ==" not in need]
    own = Path(__file__).parents[1] / "src" / "blemish"
    sizes["blemish"] = sum(file.stat().st_size for file in own.rglob("*") if file.is_file() and file.suffix != ".pyc")
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)
    return {
        "packages": len(sizes),
        "mb": sum(sizes.values()) / 1e6,
        "mb of each": {name: round(sizes[name] / 1e6, 1) for name in largest},
    }


def _files(listed: Sequence[Any]) -> list[Any]:
    return [file for file in listed if file.locate().is_file() and file.suffix != ".pyc"]


def _normal(requirement: str) -> str:
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def measure_start(repeats: int, side: int) -> Figures:
    """Time processes from start to end: what one image costs a script that calls Blemish for each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_detector(folder / "good", side).save(folder / "m.blemish")
        (image,) = drawn_images(folder, 1, side)
        commands: dict[str, list[object]] = {
            "python alone": ["-c", "pass"],
            "blemish --help": ["-m", "blemish", "--help"],
            "blemish inspect, one image": ["-m", "blemish", "inspect", folder / "m.blemish", image],
        }
        tasks: dict[str, Task] = {
            name: partial(subprocess.run, [sys.executable, *map(str, arguments)], capture_output=True, check=False)
            for name, arguments in commands.items()
        }
        return {f"{name}, s": each for name, each in median_seconds(tasks, repeats).items()}


# --- all -----------------------------------------------------------------------------------------------------------


def to_lines(figures: Any, indent: int = 0) -> list[str]:
    """Write figures as indented text, rows of networks as one line each."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, dict):
            lines += [f"{' ' * indent}{name}", *to_lines(value, indent + 2)]
        elif name == "rows":
            lines += [f"{' ' * indent}" + "  ".join(_cell(key, row[key]) for key in row) for row in value]
        else:
            lines.append(
                f"{' ' * indent}{name}: {value:.4g}" if isinstance(value, float) else f"{' ' * indent}{name}: {value}"
            )
    return lines


def _cell(name: str, value: object) -> str:
    if name in ("network", "cores", "runtime"):
        return f"{value!s:20}"
    return f"{name} {value:8.3f}" if isinstance(value, float) else f"{name}: {value}"


def main() -> None:
    parts = ("networks", "path", "turning", "colour", "memory", "rows", "install", "start")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; by default all")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--networks", nargs="+", choices=CANDIDATES, default=list(CANDIDATES), metavar="NAME")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES), metavar="NAME")
    parser.add_argument(
        "--side", type=int, default=1024, help="pixels a side of the images of path, turning, colour, memory, start"
    )
    parser.add_argument("--images", type=int, default=40, help="of a batch")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 1_000, 100_000], help="images for memory")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; expected some of {', '.join(parts)}")
    measure: dict[str, Callable[[], Figures]] = {
        "networks": lambda: measure_networks(arguments.repeats, arguments.networks, arguments.runtimes),
        "path": lambda: measure_path(arguments.repeats, arguments.side, arguments.images),
        "turning": lambda: measure_turning(arguments.repeats, arguments.side),
        "colour": lambda: measure_colour(arguments.repeats, arguments.side),
        "memory": lambda: measure_memory(arguments.counts, arguments.side),
        "rows": lambda: measure_rows(arguments.counts),
        "install": measure_install,
        "start": lambda: measure_start(arguments.repeats, arguments.side),
    }
    found: Figures = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": n_cores(),
            "load before": os.getloadavg()[0],
            "runtimes": ", ".join(installed_engines()),
        }
    }
    for part in arguments.parts or parts:
        found[part] = measure[part]()
        print("\n".join(to_lines({part: found[part]})), flush=True)
    write_figures(found, arguments.json)


if __name__ == "__main__":
    main()
