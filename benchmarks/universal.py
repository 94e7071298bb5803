"""Train the universal network on drawn kinds of surfaces, and judge it on real categories without training.

    python benchmarks/universal.py train -o universal.npz --minutes 300
    python benchmarks/universal.py validate universal.npz [OTHER.npz ...]
    python benchmarks/universal.py judge universal.npz DATA [--shots 50,10]
    python benchmarks/universal.py ladder DATA --folder LADDER --steps 1500 -o benchmarks/results/ladder.json

``train`` keeps its stock of drawn surfaces and a checkpoint beside its output; the same command goes on after an
interruption. ``validate`` measures on drawn kinds that were not trained on, and is what settings are chosen by; of
several networks it tells how they differ from the first, kind by kind, which hangs less on chance. Real images are
never trained on and choose nothing; ``judge`` gives the network to every category of DATA with some of its good images,
which is no training. Both also take a checkpoint of unfinished training. ``ladder`` trains networks of several widths
alike, and sets what they find against the time they take; LADDER keeps them, so that it can be gone on with.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import blemish.learning  # isort: skip  # before PyTorch, whose threads would spin while they wait and hold up the drawing

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from accuracy import commit, judged, some_good, summary
from blemish.datasets import find_categories
from blemish.detection.engines import load_engine
from blemish.detection.model_file import NEAREST
from blemish.detection.scoring import N_WORST
from blemish.images import write_bytes, write_text
from blemish.learning.assembly import SMOOTHING, Making, Terms, hold_out, provenance
from blemish.learning.defects import any_defect
from blemish.learning.fit import enroll_network
from blemish.learning.graph import DistanceModel
from blemish.learning.nearest import spoil
from blemish.learning.network import FILTERS, WIDE, BoundedNetwork, weights_from_arrays, weights_to_arrays
from blemish.learning.reference import Reference, embed, nearest_reference
from blemish.learning.training import DEFAULT_MINUTES, train
from blemish.learning.universal import (
    PASTED,
    UniversalSettings,
    UniversalTriplets,
    draw_kind,
    draw_stock,
    drawers,
)
from speed import matrix_gflops, ours
from throughput import median_seconds

N_REFERENCE: Final = 8  # pictures of a kind to which validation compares
N_JUDGED: Final = 4  # good ones that it judges, and as many with one defect each
LADDER: Final = (16, 32, FILTERS, 64)  # filters of the networks that are compared
N_KINDS: Final = 100  # drawn ones that they are judged on
SHOTS: Final = 50  # good images of a real category
N_REPEATS: Final = 15  # of a timing
NO_WEIGHTS: Final = frozenset({"about", "numbers", "moments"})  # what else is in the files


def main() -> None:
    """Train or judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("--output", "-o", type=Path, required=True, help="weights, as .npz")
    duration = training.add_mutually_exclusive_group(required=True)
    duration.add_argument("--minutes", type=float, default=DEFAULT_MINUTES)
    duration.add_argument("--steps", type=int, help="exactly so many instead, to repeat a result")
    training.add_argument("--seed", type=int, default=0)
    training.set_defaults(run=teach)
    validation = commands.add_parser("validate")
    validation.add_argument("weights", type=Path, nargs="+")
    validation.add_argument("--kinds", type=int, default=N_KINDS)
    validation.set_defaults(run=validate)
    judging = commands.add_parser("judge")
    judging.add_argument("weights", type=Path)
    judging.add_argument("data", type=Path)
    judging.add_argument("--shots", default="50", help="numbers of good images, comma-separated")
    judging.add_argument("--seed", type=int, default=0)
    judging.set_defaults(run=judge)
    ladder = commands.add_parser("ladder")
    ladder.add_argument("data", type=Path)
    ladder.add_argument("--folder", type=Path, required=True, help="of the networks")
    ladder.add_argument("--steps", type=int, required=True, help="that each is trained for")
    ladder.add_argument("--output", "-o", type=Path, required=True, help="JSON file of the figures; its plot beside it")
    ladder.set_defaults(run=climb)
    options = parser.parse_args()
    options.run(options)


def teach(options: argparse.Namespace) -> None:
    """Train, and print how it was done."""
    settings = UniversalSettings(seed=options.seed)
    stock_path = options.output.with_suffix(f".stock-{settings.seed}.npy")
    print(json.dumps(taught(options.output, stock_path, settings, options.steps, options.minutes), indent=1))


def taught(
    output: Path, stock_path: Path, settings: UniversalSettings, n_steps: int | None, minutes: float = DEFAULT_MINUTES
) -> dict[str, Any]:
    """Train, and write the weights with all that is needed to make them again; return that."""
    processes = drawers(os.cpu_count() or 1)
    draw_stock(stock_path, settings, processes, tell)
    with closing(UniversalTriplets(stock_path, settings, processes)) as learner:
        done = train(
            learner,
            n_steps=n_steps,
            minutes=minutes,
            checkpoint_path=output.with_suffix(".checkpoint"),
            progress=tell,
        )
    command = f"python benchmarks/universal.py train -o universal.npz --steps {done.steps} --seed {settings.seed}"
    about = {
        **asdict(settings),
        **asdict(done),
        "waited_s": learner.waited_s,
        "command": command,
        "commit": commit(),
        "version": blemish.__version__,
    }
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **weights_to_arrays(learner.network))  # type: ignore[arg-type]
    write_bytes(output, buffer.getvalue())
    return about


def tell(stage: str, done: int, total: int, note: str = "") -> None:
    """Print a line now and then."""
    if done % 200 == 0 or done == total:
        print(f"{done} of {total}: {note}", flush=True)


def trained_network(path: Path) -> BoundedNetwork:
    """Read the network out of finished weights or out of a checkpoint."""
    with np.load(path) as file:
        arrays = {name.removeprefix("network/"): file[name] for name in file.files}
    weights = {name: values for name, values in arrays.items() if name.split("/")[0] not in NO_WEIGHTS}
    network = BoundedNetwork(torch.Generator(), WIDE, len(weights["head.weight"][0]))
    weights_from_arrays(network, weights)
    return network.eval()


def validate(options: argparse.Namespace) -> None:
    """Print how well drawn defects are found on kinds that were not trained on."""
    aurocs = validated([trained_network(path) for path in options.weights], options.kinds)
    for path, own in zip(options.weights, aurocs, strict=True):
        print(f"{path}: AUROC {mean_and_error(own)}, {options.kinds} kinds")
    for path, own in zip(options.weights[1:], aurocs[1:], strict=True):
        print(f"{path}, less the first: {mean_and_error(own - aurocs[0])}")


def mean_and_error(values: NDArray[np.float64]) -> str:
    """Give the mean and its standard error."""
    return f"{values.mean():.4f} ± {standard_error(values):.4f}"


def standard_error(values: NDArray[np.float64]) -> float:
    """Return the standard error of the mean."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def validated(networks: Sequence[BoundedNetwork], n_kinds: int) -> NDArray[np.float64]:
    """Enroll kinds that were not trained on; return the AUROC of drawn defects, ``(n_networks, n_kinds)``."""
    settings = replace(UniversalSettings(), n_pictures=N_REFERENCE + 2 * N_JUDGED)
    aurocs = np.empty((len(networks), n_kinds))
    for index in range(n_kinds):
        kind = settings.stock + index
        rng = np.random.default_rng([settings.seed, kind, 1])
        pictures = list(draw_kind(settings, kind) / np.float32(255))
        good, spoiled = pictures[:-N_JUDGED], pictures[-N_JUDGED:]
        batch = spoil(good, spoiled, 1, partial(any_defect, settings.physical, PASTED, rng), rng)
        judged = torch.from_numpy(np.concatenate([batch.reference[N_REFERENCE:], batch.defective])[:, None])
        for own, network in zip(aurocs, networks, strict=True):
            reference = embed(network, batch.reference[:N_REFERENCE])
            bank = nearest_reference(reference, Reference.CATEGORY, torch.Generator().manual_seed(kind))
            model = DistanceModel(network, bank, SMOOTHING, N_WORST).eval()
            with torch.inference_mode():
                scores = model(judged, torch.ones(1, 1))[1]
            own[index] = (scores[N_JUDGED:, None] > scores[None, :N_JUDGED]).float().mean()
    return aurocs


def judge(options: argparse.Namespace) -> None:
    """Enroll every category with some good images, and print how well its defects are found."""
    network = trained_network(options.weights)
    for name, folder in sorted(find_categories(options.data).items()):
        for n_good in map(int, options.shots.split(",")):
            print(name, n_good, json.dumps(enrolled(network, name, folder, n_good, options.seed)), flush=True)


def enrolled(network: BoundedNetwork, name: str, folder: Path, n_good: int, seed: int) -> dict[str, Any]:
    """Give the network so many good images of a category, without training; return how well defects are found."""
    images = hold_out(some_good(folder, {"seed": seed, "n_good": n_good}), name, seed)
    making = Making(NEAREST, {}, provenance([images]))
    detector = enroll_network(network, images, Terms(0.05, seed=seed), kind=None, making=making)
    return summary(judged(detector, folder))


def climb(options: argparse.Namespace) -> None:
    """Train a network of every width, judge it, and write figures and plot."""
    options.folder.mkdir(parents=True, exist_ok=True)
    categories = sorted(find_categories(options.data).items())
    rows: list[dict[str, Any]] = []
    for filters in LADDER:
        settings = UniversalSettings(filters=filters)
        path = options.folder / f"{filters}-{options.steps}.npz"
        if not path.exists():
            taught(path, options.folder / f"stock-{settings.seed}.npy", settings, options.steps)
        network = trained_network(path)
        drawn = validated([network], N_KINDS)[0]
        real = {name: enrolled(network, name, folder, SHOTS, 0)["auroc"]["all"] for name, folder in categories}
        rows.append({
            "filters": filters,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "drawn": float(drawn.mean()),
            "standard error": standard_error(drawn),
            "enrolled": real,
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    our_width = LADDER.index(FILTERS)
    seconds = image_seconds()
    for row, each in zip(rows, seconds, strict=True):
        row |= {"ms": 1000 * each, "times ours": each / seconds[our_width]}
    gflops = matrix_gflops(N_REPEATS, 1)
    figures = {"commit": commit(), "steps": options.steps, "matrix multiply, gflop/s": gflops, "rows": rows}
    write_text(options.output, json.dumps(figures, indent=1) + "\n")
    plot(rows, options.output.with_suffix(".png"))


def image_seconds() -> list[float]:
    """Time the graphs of all widths in turns: an image of 256 x 256 against a bank, on one core."""
    tasks: dict[str, Callable[[], object]] = {}
    for filters in LADDER:
        candidate = ours(256, Reference.CATEGORY, filters)
        engine = load_engine("onnxruntime", candidate.graph, 1)
        inputs = {name: value.numpy() for name, value in candidate.inputs.items()}
        tasks[str(filters)] = partial(engine.run, inputs, [candidate.output])
    return [*median_seconds(tasks, N_REPEATS).values()]


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw what is found against the time that an image takes."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    times = [row["times ours"] for row in rows]
    drawn, errors = [row["drawn"] for row in rows], [row["standard error"] for row in rows]
    axes.errorbar(times, drawn, errors, color="black", marker="o", capsize=3, label="drawn kinds, not trained on")
    for name in rows[0]["enrolled"]:
        axes.plot(times, [row["enrolled"][name] for row in rows], marker=".", linestyle="--", label=name)
    axes.set_xticks(times, [f"{row['times ours']:.2f}\n{row['parameters'] / 1000:.0f} k" for row in rows])
    axes.set(xlabel="time of an image, times ours; parameters", ylabel="AUROC")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
