"""Train the universal network on drawn kinds of surfaces, and judge it on real categories without training.

    python benchmarks/universal.py train -o universal.npz --minutes 300
    python benchmarks/universal.py validate universal.npz
    python benchmarks/universal.py judge universal.npz DATA [--shots 50,10]

``train`` keeps its stock of drawn surfaces and a checkpoint beside its output; the same command goes on after an
interruption. ``validate`` measures on drawn kinds that were not trained on, and is what settings are chosen by. Real
images are never trained on and choose nothing; ``judge`` gives the network to every category of DATA with some of its
good images, which is no training. Both also take a checkpoint of unfinished training.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from accuracy import commit, judged, some_good, summary
from blemish.datasets import find_categories
from blemish.detection.model_file import NEAREST
from blemish.detection.scoring import N_WORST
from blemish.images import write_bytes
from blemish.learning.assembly import SMOOTHING, Making, Terms, hold_out, provenance
from blemish.learning.defects import any_defect
from blemish.learning.fit import enroll_network
from blemish.learning.graph import DistanceModel
from blemish.learning.nearest import spoil
from blemish.learning.network import BoundedNetwork, bounded_network, weights_to_arrays
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

N_REFERENCE: Final = 8  # pictures of a kind to which validation compares
N_JUDGED: Final = 4  # good ones that it judges, and as many with one defect each
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
    validation.add_argument("weights", type=Path)
    validation.add_argument("--kinds", type=int, default=100)
    validation.set_defaults(run=validate)
    judging = commands.add_parser("judge")
    judging.add_argument("weights", type=Path)
    judging.add_argument("data", type=Path)
    judging.add_argument("--shots", default="50", help="numbers of good images, comma-separated")
    judging.add_argument("--seed", type=int, default=0)
    judging.set_defaults(run=judge)
    options = parser.parse_args()
    options.run(options)


def teach(options: argparse.Namespace) -> None:
    """Train, and write the weights with all that is needed to make them again."""
    settings = UniversalSettings(seed=options.seed)
    stock_path = options.output.with_suffix(f".stock-{settings.seed}.npy")
    processes = drawers(os.cpu_count() or 1)
    draw_stock(stock_path, settings, processes, tell)
    with closing(UniversalTriplets(stock_path, settings, processes)) as learner:
        done = train(
            learner,
            n_steps=options.steps,
            minutes=options.minutes,
            checkpoint_path=options.output.with_suffix(".checkpoint"),
            progress=tell,
        )
    command = f"python benchmarks/universal.py train -o universal.npz --steps {done.steps} --seed {options.seed}"
    about = {**asdict(settings), **asdict(done), "waited_s": learner.waited_s, "command": command, "commit": commit()}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **weights_to_arrays(learner.network))  # type: ignore[arg-type]
    write_bytes(options.output, buffer.getvalue())
    print(json.dumps(about, indent=1))


def tell(stage: str, done: int, total: int, note: str = "") -> None:
    """Print a line now and then."""
    if done % 200 == 0 or done == total:
        print(f"{done} of {total}: {note}", flush=True)


def trained_network(path: Path) -> BoundedNetwork:
    """Read the network out of finished weights or out of a checkpoint."""
    with np.load(path) as file:
        arrays = {name.removeprefix("network/"): file[name] for name in file.files}
    return bounded_network({name: a for name, a in arrays.items() if name.split("/")[0] not in NO_WEIGHTS})


def validate(options: argparse.Namespace) -> None:
    """Enroll kinds that were not trained on, and print how well drawn defects on them are found."""
    network = trained_network(options.weights)
    settings = replace(UniversalSettings(), n_pictures=N_REFERENCE + 2 * N_JUDGED)
    aurocs = []
    for kind in range(settings.stock, settings.stock + options.kinds):
        rng = np.random.default_rng([settings.seed, kind, 1])
        pictures = list(draw_kind(settings, kind) / np.float32(255))
        good, spoiled = pictures[:-N_JUDGED], pictures[-N_JUDGED:]
        batch = spoil(good, spoiled, 1, partial(any_defect, settings.physical, PASTED, rng), rng)
        reference = embed(network, batch.reference[:N_REFERENCE])
        bank = nearest_reference(reference, Reference.CATEGORY, torch.Generator().manual_seed(kind))
        model = DistanceModel(network, bank, SMOOTHING, N_WORST).eval()
        with torch.inference_mode():
            judged = np.concatenate([batch.reference[N_REFERENCE:], batch.defective])
            scores = model(torch.from_numpy(judged)[:, None])[1]
        aurocs.append(float((scores[N_JUDGED:, None] > scores[None, :N_JUDGED]).float().mean()))
    deviation = statistics.stdev(aurocs) / len(aurocs) ** 0.5
    print(f"AUROC {statistics.mean(aurocs):.4f}, standard error {deviation:.4f}, {len(aurocs)} kinds", flush=True)


def judge(options: argparse.Namespace) -> None:
    """Enroll every category with some good images, and print how well its defects are found."""
    network = trained_network(options.weights)
    for name, folder in sorted(find_categories(options.data).items()):
        for n_good in map(int, options.shots.split(",")):
            paths = some_good(folder, {"seed": options.seed, "n_good": n_good})
            images = hold_out(paths, name, options.seed)
            making = Making(NEAREST, {}, provenance([images]))
            detector = enroll_network(network, images, Terms(0.05, seed=options.seed), kind=None, making=making)
            print(name, n_good, json.dumps(summary(judged(detector, folder))), flush=True)


if __name__ == "__main__":
    main()
