"""What known defects are worth: `fit` with half of a category's defective images and without, judged on the others.

    python benchmarks/known.py CATEGORY [CATEGORY ...] -o benchmarks/results/known.json --steps 300

Each CATEGORY is a folder in MVTec AD's layout or a CSV, with masks. The defective images of every kind are divided at
random into halves. One half is given to `fit --defective`; with --kinds, only those of these kinds are. All models are
judged on the other half and on the good images that none of them was made from. The table on stdout is made from what
is written.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import blemish
from blemish.datasets import GOOD, Sample, content_hash, read_category
from blemish.evaluation.metrics import image_auroc
from blemish.images import write_text

Result = dict[str, Any]
ALL = "all"


def main() -> None:
    """Fit without and with, judge both, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("categories", nargs="+", type=Path, metavar="CATEGORY", help="category folders or CSVs")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--steps", type=int, default=300, help="of training, each time")
    parser.add_argument("--seed", type=int, default=0, help="of the halves and of training")
    parser.add_argument("--alpha", type=float, default=0.05, help="asked false-alarm rate")
    parser.add_argument("--kinds", default="", help="give only these kinds of defects, comma-separated")
    options = parser.parse_args()

    settings = {"steps": options.steps, "seed": options.seed, "alpha": options.alpha}
    results: list[Result] = []
    for category in options.categories:
        samples = list({content_hash(sample.path): sample for sample in read_category(category)}.values())
        given, judged = halves([sample for sample in samples if not sample.is_good], options.seed)
        if options.kinds:
            given = [sample for sample in given if sample.defect_type in options.kinds.split(",")]
        for known in ([], given):
            detector = blemish.fit(category, defective=[sample.path for sample in known], **settings)
            unseen = [s for s in samples if s.is_good and content_hash(s.path) not in detector.description.seen]
            kinds = sorted({sample.defect_type for sample in known})
            about = {"category": category.resolve().stem, **settings, "given": len(known), "kinds": kinds}
            results.append({**about, "found": judge(detector, [*unseen, *judged])})
            write_text(options.output, json.dumps(results, indent=1))
    print(table(results))


def halves(samples: list[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """Divide the images of every kind at random; images without a mask are only judged."""
    rng, first, second = np.random.default_rng(seed), [], []
    for kind in sorted({sample.defect_type for sample in samples}):
        of_kind = [sample for sample in samples if sample.defect_type == kind]
        order = rng.permutation(len(of_kind)).tolist()
        first += [of_kind[index] for index in order[: len(of_kind) // 2]]
        second += [of_kind[index] for index in order[len(of_kind) // 2 :]]
    return first, second


def judge(detector: blemish.Detector, samples: list[Sample]) -> dict[str, Result]:
    """Give AUROC and misses of every kind, and false alarms."""
    scores: dict[str, list[float]] = {}
    for sample in samples:
        scores.setdefault(sample.defect_type, []).append(detector.inspect(sample.path).score)
    good, limit = scores.pop(GOOD), detector.threshold.value
    scores[ALL] = [score for kind in list(scores) for score in scores[kind]]
    found: dict[str, Result] = {
        kind: {"n": len(each), "auroc": image_auroc(good, each), "missed": int(np.sum(np.array(each) <= limit))}
        for kind, each in scores.items()
    }
    found[GOOD] = {"n": len(good), "false_alarms": int(np.sum(np.array(good) > limit))}
    return found


def table(results: list[Result]) -> str:
    """Lay out the results as Markdown, a row for every kind of defects."""
    lines = ["| category | given | kind | AUROC | missed | false alarms |", "| :-- | :-- | :-- | --: | --: | --: |"]
    for result in results:
        found = dict(result["found"])
        good = found.pop(GOOD)
        given = f"{result['given']} ({', '.join(result['kinds'])})" if result["given"] else "none"
        for kind, of in found.items():
            missed, alarms = f"{of['missed']} of {of['n']}", f"{good['false_alarms']} of {good['n']}"
            cells = [result["category"], given, kind, f"{of['auroc']:.3f}", missed, alarms]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
