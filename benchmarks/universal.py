"""Train the universal network on drawn kinds of surfaces, and judge it on real categories without training.

    python benchmarks/universal.py train -o universal.npz --minutes 300
    python benchmarks/universal.py judge universal.npz DATA [--shots 50,10]

``train`` keeps a checkpoint beside its output; the same command goes on after an interruption. Real images are never
trained on; ``judge`` gives the network to every category of DATA with some of its good images, which is no training.
"""

from __future__ import annotations

import argparse
import io
import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np

import blemish
from accuracy import commit, some_good, summary
from blemish.datasets import find_categories
from blemish.images import write_bytes
from blemish.learning.assembly import Making, hold_out, provenance
from blemish.learning.fit import NEAREST, enroll_network
from blemish.learning.network import bounded_network, weights_to_arrays
from blemish.learning.training import train
from blemish.learning.universal import UniversalSettings, UniversalTriplets


def main() -> None:
    """Train or judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("--output", "-o", type=Path, required=True, help="weights, as .npz")
    training.add_argument("--minutes", type=float, required=True)
    training.add_argument("--seed", type=int, default=0)
    training.set_defaults(run=teach)
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
    with closing(UniversalTriplets(settings)) as learner:
        done = train(
            learner,
            minutes=options.minutes,
            checkpoint_path=options.output.with_suffix(".checkpoint"),
            progress=tell,
        )
    about = {**asdict(settings), **asdict(done), "waited_s": learner.waited_s, "commit": commit()}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **weights_to_arrays(learner.network))  # type: ignore[arg-type]
    write_bytes(options.output, buffer.getvalue())
    print(json.dumps(about, indent=1))


def tell(stage: str, done: int, total: int, note: str = "") -> None:
    """Print a line now and then."""
    if done % 200 == 0 or done == total:
        print(f"{done} of {total}: {note}", flush=True)


def judge(options: argparse.Namespace) -> None:
    """Enroll every category with some good images, and print how well its defects are found."""
    with np.load(options.weights) as file:
        arrays = {name: file[name] for name in file.files if name != "about"}
    for name, folder in sorted(find_categories(options.data).items()):
        for n_good in map(int, options.shots.split(",")):
            paths = some_good(folder, {"seed": options.seed, "n_good": n_good})
            images = hold_out(paths, name, options.seed)
            making = Making(NEAREST, {}, provenance([images]))
            detector = enroll_network(
                bounded_network(arrays), images, None, alpha=0.05, seed=options.seed, making=making
            )
            print(name, n_good, json.dumps(summary(blemish.evaluate(detector, folder))), flush=True)


if __name__ == "__main__":
    main()
