"""How well defects are found, by the honest protocol: every category, several seeds, one and the same setting.

    python benchmarks/accuracy.py DATA -o benchmarks/results/accuracy.json [--minutes 5] [--seeds 3]
    python benchmarks/accuracy.py DATA -o benchmarks/results/short.json --minutes 2 --seeds 1 --shots 5,10,50
    python benchmarks/accuracy.py DATA -o enroll.json --enroll --seeds 1 --models MODELS
    python benchmarks/accuracy.py DATA -o benchmarks/results/short.json --minutes 2 --seeds 1 --dirty 5
    python benchmarks/accuracy.py DATA -o benchmarks/results/scratch.json --seeds 1 --from-scratch

DATA holds categories in MVTec AD's layout at most three levels down. A category without good test images is trained on
half of its good images and judged by the other half. Nothing is chosen on test images: the last step is the model.

Every finished run is written to the JSON at once; the same command goes on where it was. The tables on stdout are made
from that file. ``--models`` keeps the model files; ``--enroll`` takes them, gives every network to every other category
without training, and judges that. ``--dirty`` slips defective images among the good ones, which then do not judge.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import blemish
from blemish.datasets import GOOD, find_categories, read_category, read_good, split_good
from blemish.evaluation.evaluate import Evaluation
from blemish.images import write_text
from blemish.progress import silent

Run = dict[str, Any]
NOT_SAID: Run = {"n_dirty": 0, "from_scratch": False}  # of runs that were made before this could be asked for


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of categories")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON file of the runs")
    parser.add_argument("--categories", default="", help="comma-separated; by default all")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, with seeds 0, 1, ...")
    parser.add_argument("--minutes", default="5", help="of training, comma-separated for a curve")
    parser.add_argument("--method", default="nearest")
    parser.add_argument("--shots", default="", help="numbers of good images to learn from, comma-separated")
    parser.add_argument("--dirty", default="0", help="numbers of defective images among the good ones, comma-separated")
    parser.add_argument("--from-scratch", action="store_true", help="begin with random weights")
    parser.add_argument("--enroll", action="store_true", help="give the networks in --models to other categories")
    parser.add_argument("--models", type=Path, help="folder for model files")
    options = parser.parse_args()
    if options.enroll and options.from_scratch:
        parser.error("--enroll trains nothing: leave out --from-scratch")

    found = find_categories(options.data)
    names = options.categories.split(",") if options.categories else sorted(found)
    done: list[Run] = json.loads(options.output.read_text()) if options.output.exists() else []
    runs = [{**NOT_SAID, **run} for run in done]
    for wanted in plan(options, names):
        if not any(wanted.items() <= run.items() for run in runs):
            runs.append({**wanted, **carry_out(wanted, found, options.models)})
            write_text(options.output, json.dumps(runs, indent=1))
            print(f"{wanted}: {runs[-1]['auroc']['all']:.3f}", flush=True)
    print(table(runs))


def plan(options: argparse.Namespace, names: list[str]) -> Iterator[Run]:
    """List the runs that were asked for, by what makes them different; one seed of all before the next."""
    shots = [int(n) for n in options.shots.split(",")] if options.shots else [None]
    for seed in range(options.seeds):
        for minutes in (float(m) for m in options.minutes.split(",")):
            for n_good, n_dirty in product(shots, map(int, options.dirty.split(","))):
                for name in names:
                    run = {
                        "category": name,
                        "seed": seed,
                        "method": options.method,
                        "n_good": n_good,
                        "n_dirty": n_dirty,
                        "from_scratch": options.from_scratch,
                    }
                    if options.enroll:
                        for network in names:
                            if network != name:
                                yield {**run, "network": network}
                    else:
                        yield {**run, "minutes": minutes}


def carry_out(wanted: Run, found: dict[str, Path], models: Path | None) -> Run:
    """Fit or enroll, evaluate, and report."""
    folder = found[wanted["category"]]
    good = some_good(folder, wanted)
    started = time.monotonic()
    if "network" in wanted:
        assert models is not None, "--enroll needs --models"
        trained = blemish.Detector.load(models / f"{wanted['network']}-{wanted['seed']}.blemish")
        detector = blemish.enroll(good, network=trained, alpha=0.05, seed=wanted["seed"])
    else:
        duration = {"minutes": wanted["minutes"]} if wanted["method"] == "nearest" else {}
        detector = blemish.fit(
            good,
            category=wanted["category"],
            method=wanted["method"],
            alpha=0.05,
            seed=wanted["seed"],
            from_scratch=wanted["from_scratch"],
            progress=silent,
            **duration,
        )
    fitted_s = time.monotonic() - started
    size = 0
    is_usual = wanted["n_good"] is None and not wanted["n_dirty"] and not wanted["from_scratch"]
    if models is not None and "network" not in wanted and is_usual:
        path = models / f"{wanted['category']}-{wanted['seed']}.blemish"
        detector.save(path)
        size = path.stat().st_size
    started = time.monotonic()
    evaluation = judged(detector, folder, good)
    training = detector.description.training
    return {
        **summary(evaluation),
        "reference": detector.description.reference,
        "notes": detector.description.notes,
        "steps": training.get("steps"),
        "training_s": training.get("elapsed_s"),
        "waited_s": training.get("waited_s"),
        "final_loss": training.get("final_loss"),
        "bfloat16": training.get("bfloat16"),
        "whole_fit_s": round(fitted_s, 1),
        "evaluation_ms_an_image": round(1000 * (time.monotonic() - started) / len(evaluation.samples), 1),
        "model_bytes": size,
        "graph_difference": detector.description.graph_difference,
        "commit": commit(),
    }


def some_good(folder: Path, wanted: Run) -> list[Path]:
    """List the good images to learn from: all for training, half where the others must judge, or a few of them.

    And, where so many are wanted, defective ones that nobody has noticed.
    """
    samples = read_category(folder)
    paths = read_good(folder)
    rng = np.random.default_rng(wanted["seed"])
    if not any(sample.defect_type == GOOD and sample.split == "test" for sample in samples):
        paths = [sample.path for sample in split_good(samples, wanted["seed"])[0]]
    if wanted["n_good"] is not None:
        paths = [paths[index] for index in sorted(rng.permutation(len(paths))[: wanted["n_good"]])]
    defective = [sample.path for sample in samples if not sample.is_good]
    slipped_in = rng.permutation(len(defective))[: wanted.get("n_dirty", 0)]
    return [*paths, *(defective[index] for index in slipped_in)]


def judged(detector: blemish.Detector, folder: Path, learned: Sequence[Path] = ()) -> Evaluation:
    """Evaluate on the test images as they lie, so that detectors made from few images and from many are judged alike.

    Left to itself, an evaluation also judges good training images that a detector was not made from. Of a category
    without good test images it does so here too. Of images ``learned`` from the defective ones are left out, on which
    an evaluation would refuse to judge.
    """
    samples = [sample for sample in read_category(folder) if sample.is_good or sample.path not in learned]
    if any(sample.is_good and sample.split == "test" for sample in samples):
        samples = [sample for sample in samples if sample.split == "test"]
    with tempfile.TemporaryDirectory() as temporary:
        listed = Path(temporary) / f"{folder.name}.csv"
        with listed.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "defect_type", "split", "mask"])
            for sample in samples:
                mask = sample.mask_path and sample.mask_path.resolve()
                rows.writerow([sample.path.resolve(), sample.defect_type, sample.split, mask])
        return blemish.evaluate(detector, listed)


def summary(evaluation: Evaluation) -> Run:
    """Reduce an evaluation to its figures."""
    together = evaluation.types[-1]  # all defect types
    return {
        "auroc": {result.defect_type: round(result.auroc, 4) for result in evaluation.types},
        "n_test_good": evaluation.n_good,
        "n_test_defective": together.n_images,
        "false_alarm_rate": round(evaluation.false_alarms / evaluation.n_good, 4),
        "missed_rate": round(together.missed / together.n_images, 4),
        "pixel_auroc": evaluation.pixel_auroc,
        "aupro": evaluation.aupro,
    }


def table(runs: list[Run]) -> str:
    """Lay out mean and spread over the seeds, one row per category and setting, as Markdown."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        network = run.get("network") or ("itself, from scratch" if run["from_scratch"] else "itself")
        key = (run["method"], run.get("minutes"), run["n_good"], run["n_dirty"], network, run["category"])
        groups.setdefault(key, []).append(run)
    lines = [
        "| method | minutes | good images | defective among them | network of | category | seeds | AUROC | pixel AUROC "
        "| AUPRO | false alarms (0.05 asked) | missed | types |",
        "| :-- | --: | --: | --: | :-- | :-- | --: | --: | --: | --: | --: | --: | :-- |",
    ]
    for key, group in sorted(groups.items(), key=lambda item: [str(part) for part in item[0]]):
        method, minutes, n_good, n_dirty, network, category = key
        types = [name for name in group[0]["auroc"] if name != "all"]
        cells = [
            method, minutes or "", n_good or "all", n_dirty, network, category, len(group),
            spread([run["auroc"]["all"] for run in group]),
            spread([run["pixel_auroc"] for run in group]),
            spread([run["aupro"] for run in group]),
            spread([run["false_alarm_rate"] for run in group]),
            spread([run["missed_rate"] for run in group]),
            ", ".join(f"{name} {spread([run['auroc'][name] for run in group])}" for name in types),
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def spread(values: list[float | None]) -> str:
    """Give mean and standard deviation."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    deviation = f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.3f}{deviation}"


def commit() -> str:
    """Name the code that ran; a star says that it had changes."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=*"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return described.stdout.strip()


if __name__ == "__main__":
    main()
