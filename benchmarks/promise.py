"""Whether the promise about false alarms holds on real images: asked rate against realised rate, over random splits.

    python benchmarks/promise.py MODEL CATEGORY [MODEL CATEGORY ...] -o benchmarks/results/promise.json

Each MODEL is a .blemish file, and CATEGORY the folder (MVTec AD's layout) or CSV it is for. The good images that the
model has not seen are divided at random into halves, again and again: one half sets the limit, as `blemish calibrate`
does, the other is judged by it, and so are all defective images. A second limit sends more parts to a person: those
that one in ten good parts (or another share, ``--unsure``) lie above. Every image is scored once, so that a thousand
splits take no longer than one. The table on stdout is made from what is written.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import blemish
from blemish.datasets import content_hash, read_category
from blemish.detection.decision import conformal_threshold, decide
from blemish.images import write_text
from blemish.results import Verdict

Result = dict[str, Any]


def main() -> None:
    """Score the images, divide them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "pairs", nargs="+", type=Path, metavar="MODEL CATEGORY", help="model files and their categories"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--alphas", default="0.05,0.01", help="rates to ask for, comma-separated")
    parser.add_argument("--unsure", type=float, default=0.1, help="share of good parts stopped or sent to a person")
    parser.add_argument("--splits", type=int, default=1000, help="random divisions of the good images")
    options = parser.parse_args()
    if len(options.pairs) % 2:
        parser.error(f"found {len(options.pairs)} paths; expected a category after each model")

    results: list[Result] = []
    for model, category in zip(options.pairs[::2], options.pairs[1::2], strict=True):
        good, defective = unseen_scores(model, category)
        for alpha in (float(rate) for rate in options.alphas.split(",")):
            found = divide(good, defective, alpha, options.unsure, options.splits)
            results.append(
                {
                    "category": category.resolve().stem,
                    "model": model.name,
                    "alpha": alpha,
                    "unsure": options.unsure,
                    **found,
                }
            )
    write_text(options.output, json.dumps(results, indent=1))
    print(table(results))


def unseen_scores(model: Path, category: Path) -> tuple[list[float], list[float]]:
    """Score the good and the defective images that the model was not made from; copies count once."""
    detector = blemish.Detector.load(model)
    samples = {content_hash(sample.path): sample for sample in read_category(category)}
    unseen = [sample for content, sample in samples.items() if content not in detector.description.seen]
    scores: dict[bool, list[float]] = {True: [], False: []}
    for sample in unseen:
        scores[sample.is_good].append(detector.inspect(sample.path).score)
    return scores[True], scores[False]


def divide(good: list[float], defective: list[float], alpha: float, unsure: float, n_splits: int) -> Result:
    """Set the limit on one half of the good images and judge the other, at random, many times; seeded."""
    rng = np.random.default_rng(0)
    n_held_out = len(good) // 2
    rates: dict[str, list[float]] = {name: [] for name in ("false_alarm", "missed", "unsure_good", "unsure_defective")}
    promised = 1.0
    for _ in range(n_splits):
        shuffled = rng.permutation(good)
        threshold = conformal_threshold(list(shuffled[:n_held_out]), alpha, unsure)
        promised = threshold.promised_alpha  # the same for each split
        judged = [decide(score, threshold) for score in shuffled[n_held_out:]]
        shown = [decide(score, threshold) for score in defective]
        rates["false_alarm"].append(share(judged, Verdict.DEFECTIVE))
        rates["missed"].append(share(shown, Verdict.GOOD))
        rates["unsure_good"].append(share(judged, Verdict.UNSURE))
        rates["unsure_defective"].append(share(shown, Verdict.UNSURE))
    found: Result = {
        "promised_alpha": round(promised, 4),
        "n_held_out": n_held_out,
        "n_judged": len(good) - n_held_out,
        "n_defective": len(defective),
        "n_splits": n_splits,
    }
    for name, values in rates.items():
        found[f"{name}_rate"] = round(float(np.mean(values)), 4)
        found[f"{name}_rate_5_to_95"] = [round(float(q), 4) for q in np.quantile(values, [0.05, 0.95])]
    return found


def share(verdicts: list[Verdict], wanted: Verdict) -> float:
    """Return how many of the verdicts are the wanted one, as a share."""
    return sum(verdict is wanted for verdict in verdicts) / len(verdicts)


def table(results: list[Result]) -> str:
    """Lay out the results as Markdown: means over the splits, in brackets what nine of ten splits give."""
    lines = [
        "| category | held out | asked | promised | false alarms | passed as good | unsure, of good "
        "| unsure, of defective |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for found in results:
        cells = [
            found["category"],
            found["n_held_out"],
            found["alpha"],
            f"{found['promised_alpha']:.3f}",
            *(
                f"{found[rate]:.3f} ({found[f'{rate}_5_to_95'][0]:.3f} to {found[f'{rate}_5_to_95'][1]:.3f})"
                for rate in ("false_alarm_rate", "missed_rate", "unsure_good_rate", "unsure_defective_rate")
            ),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
