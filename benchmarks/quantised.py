"""What do 8-bit integers cost and bring? Time and verdicts of a model's graph as `blemish quantise` would make it.

    python benchmarks/quantised.py part.blemish CATEGORY [--repeats 15] [--json FILE]

Beside what `blemish quantise` checks (good images that the model did not learn from, synthetic defects on them), real
defects of CATEGORY are judged too, and by every installed runtime. Each graph has a limit of its own, set by the good
images at the model's false-alarm rate.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from blemish.datasets import content_hash, read_category, read_good
from blemish.detection.decision import conformal_threshold
from blemish.detection.detector import Detector
from blemish.detection.engines import installed_engines
from blemish.detection.runtime import Runtime
from blemish.evaluation.metrics import image_auroc
from blemish.learning.defects import STRUCTURAL, SURFACE, any_defect
from blemish.learning.quantise import SPARED, calibration_images, quantised_graph
from blemish.results import FloatArray
from blemish.strips import GreyImage
from figures import write_figures
from throughput import median_seconds

N_DEFECTS = 5  # synthetic ones of every held-out good image


def scores(runtime: Runtime, images: Iterable[FloatArray]) -> np.ndarray:
    return np.array([runtime.run(image).score for image in images])


def compare(detector: Detector, category: Path, repeats: int) -> dict[str, Any]:
    """Judge the same images by a model's graph and by quantised ones."""
    about = detector.description
    good = read_good(category)
    ranging = calibration_images(about, [path for path in good if content_hash(path) in about.learned])
    samples = {content_hash(sample.path): sample for sample in read_category(category)}
    unseen = [sample for sha, sample in samples.items() if sha not in about.learned]
    rng = np.random.default_rng(0)
    sets: dict[str, list[FloatArray]] = {"good": [], "synthetic": [], "real": []}  # as the graph takes them
    for sample in unseen:
        image = about.preparation.prepared(GreyImage.open(sample.path))
        if not sample.is_good:
            sets["real"].append(image.all_pixels())
            continue
        sets["good"].append(image.all_pixels())
        for _ in range(N_DEFECTS):
            damaged, _ = any_defect(0.5, (*STRUCTURAL, *SURFACE), rng)(image.whole(), rng)
            sets["synthetic"].append(image.with_grey(damaged).all_pixels())
    graphs = {"float32": detector.model.graph}
    for spared in SPARED:
        graphs[f"int8, {spared} layers spared"] = quantised_graph(detector.model.graph, ranging, spared)
    found: dict[str, Any] = {"prepared": list(ranging[0].shape[1:]), "images": {n: len(s) for n, s in sets.items()}}
    for engine in installed_engines():
        runtimes = {name: Runtime(graph, engine, threads=1) for name, graph in graphs.items()}
        seconds = median_seconds(
            {name: partial(runtime.run, ranging[0]) for name, runtime in runtimes.items()}, repeats
        )
        usual: dict[str, np.ndarray] = {}
        for name, runtime in runtimes.items():
            told = {kind: scores(runtime, images) for kind, images in sets.items() if images}
            usual = usual or told
            alpha = about.threshold.alpha or about.threshold.promised_alpha
            limits = [conformal_threshold(list(each["good"]), alpha).value for each in (usual, told)]
            found[f"{engine}, {name}"] = {
                "times float32": seconds["float32"] / seconds[name],
                "largest difference of a score": max(float(np.abs(told[k] - usual[k]).max()) for k in told),
                "mean change of good scores": float((told["good"] - usual["good"]).mean()),
                "verdicts changed": {k: int(((usual[k] > limits[0]) != (told[k] > limits[1])).sum()) for k in told},
                "stopped": {k: int((told[k] > limits[1]).sum()) for k in told},
                "auroc": {k: image_auroc(told["good"], told[k]) for k in told if k != "good"},
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("category", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    found = compare(Detector.load(arguments.model), arguments.category, arguments.repeats)
    print(json.dumps(found, indent=2))
    write_figures(found, arguments.json)


if __name__ == "__main__":
    main()
