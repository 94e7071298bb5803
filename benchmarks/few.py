"""Whether the promise about false alarms holds where good images are few: `enroll` with some of them, judged on others.

    python benchmarks/few.py CATEGORY [CATEGORY ...] -o benchmarks/results/few.json --images 10,20,50

Each CATEGORY is a folder in MVTec AD's layout or a CSV. So many good images are drawn at random, again and again; a
model is enrolled with them and judged on other good images and on defective ones, drawn anew each time. The table on
stdout is made from what is written.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import blemish
from blemish.datasets import by_content, read_category
from blemish.evaluation.metrics import image_auroc
from blemish.images import write_text

Result = dict[str, Any]


def main() -> None:
    """Enroll and judge, category by category, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("categories", nargs="+", type=Path, metavar="CATEGORY", help="category folders or CSVs")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--images", default="10,20,50", help="numbers of good images, comma-separated")
    parser.add_argument("--alphas", default="0.05,0.1", help="rates to ask for, from the lowest, comma-separated")
    parser.add_argument("--repeats", type=int, default=5, help="draws of the images")
    parser.add_argument("--judged", type=int, default=40, help="at most so many images of either kind are judged")
    options = parser.parse_args()

    alphas = [float(rate) for rate in options.alphas.split(",")]
    results: list[Result] = []
    for category in options.categories:
        samples = read_category(category)
        good = list(by_content([sample.path for sample in samples if sample.is_good]).values())
        defective = [sample.path for sample in samples if not sample.is_good]
        for n in map(int, options.images.split(",")):
            for repeat in range(options.repeats):
                found = enroll_and_judge(good, defective, n, alphas, options.judged, repeat)
                about = {"category": category.resolve().stem, "images": n, "repeat": repeat}
                results += [{**about, **each} for each in found]
                write_text(options.output, json.dumps(results, indent=1))
    print(table(results))


def enroll_and_judge(
    good: list[Path], defective: list[Path], n: int, alphas: list[float], n_judged: int, seed: int
) -> list[Result]:
    """Enroll with n good images for the lowest rate, and judge the limits for all rates on others."""
    rng = np.random.default_rng([seed, n])
    drawn = [good[index] for index in rng.permutation(len(good))]
    shown = [defective[index] for index in rng.permutation(len(defective))[:n_judged]]
    detector = blemish.enroll(drawn[:n], category="few", alpha=alphas[0], seed=seed)
    scores = [[detector.inspect(path).score for path in paths] for paths in (drawn[n : n + n_judged], shown)]
    results: list[Result] = []
    for alpha in alphas:
        limit = detector.with_alpha(alpha).threshold
        alarms, missed = np.array(scores[0]) > limit.value, np.array(scores[1]) <= limit.value
        results.append(
            {
                "alpha": alpha,
                "promised_alpha": limit.promised_alpha,
                "n_set_by": limit.n_images,
                "auroc": image_auroc(*scores),
                "n_good": len(scores[0]),
                "false_alarms": int(alarms.sum()),
                "n_defective": len(shown),
                "missed": int(missed.sum()),
            }
        )
    return results


def table(results: list[Result]) -> str:
    """Lay out the results as Markdown, all draws of a row together."""
    lines = [
        "| category | good images | that set the limit | AUROC | asked | promised | false alarms | missed |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    keys = list(dict.fromkeys((each["category"], each["images"], each["alpha"]) for each in results))
    for key in keys:
        rows = [each for each in results if (each["category"], each["images"], each["alpha"]) == key]
        shares = [
            f"{sum(row[count] for row in rows)} of {sum(row[total] for row in rows)}"
            for count, total in (("false_alarms", "n_good"), ("missed", "n_defective"))
        ]
        means = [f"{np.mean([row[name] for row in rows]):.3f}" for name in ("auroc", "promised_alpha")]
        cells = [key[0], key[1], rows[0]["n_set_by"], means[0], key[2], means[1], *shares]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
