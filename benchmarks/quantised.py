"""Would 8-bit integers pay? Time and verdicts of a model's graph with its network quantised, beside its own.

    python benchmarks/quantised.py part.blemish CATEGORY [--repeats 15] [--json FILE]

The network is turned into 8-bit integers by static quantisation (unsigned activations, signed weights, per channel),
with ranges from good images that the model learned from; its last convolution and all after it stay as they are.
Judged are good images that it did not learn from, synthetic defects on them, and real
ones where CATEGORY has some. Each graph has a limit of its own, set by the good ones at the model's false-alarm rate.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from blemish.datasets import content_hash, read_category, read_good
from blemish.detection.decision import conformal_threshold
from blemish.detection.detector import Detector
from blemish.detection.engines import installed_engines
from blemish.detection.runtime import Runtime
from blemish.evaluation.metrics import image_auroc
from blemish.images import read_image
from blemish.learning.defects import STRUCTURAL, SURFACE, any_defect
from blemish.results import FloatArray
from figures import write_figures
from throughput import median_seconds

N_CALIBRATED = 50  # images that ranges are taken from
N_DEFECTS = 5  # synthetic ones of every held-out good image
WAYS = ("MinMax", "Percentile")  # of choosing ranges


def quantised(graph: bytes, images: Sequence[FloatArray], way: str, *, spare_stem: bool) -> bytes:
    """Turn the network into 8-bit integers.

    Args:
        graph: of a model file.
        images: prepared, from which ranges are taken.
        way: one of ``WAYS``.
        spare_stem: leave the two strided convolutions at the beginning as they are.
    """
    from onnxruntime import quantization as q

    class Good(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {"pixels": image[None, None], "counted": np.ones((1, 1), np.float32)}

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        read = onnx.load_from_string(graph)
        constants = {each.name for each in read.graph.initializer}
        convolutions = []
        for index, node in enumerate(read.graph.node):
            node.name = f"node_{index}"
            if node.op_type == "Conv" and node.input[1] in constants:  # else the bank's, which is half precision
                convolutions.append(index)
        first = convolutions[2] if spare_stem else 0
        onnx.save(read, source)
        logging.disable(logging.WARNING)  # it asks each time for a step that our graphs do not need
        with redirect_stdout(sys.stderr):  # its calibration prints
            q.quantize_static(
                source,
                target,
                Good(),
                per_channel=True,
                calibrate_method=getattr(q.CalibrationMethod, way),
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                nodes_to_quantize=[node.name for node in read.graph.node[first : convolutions[-1]]],
            )
        logging.disable(logging.NOTSET)
        return target.read_bytes()


def scores(runtime: Runtime, images: Iterable[FloatArray]) -> np.ndarray:
    return np.array([runtime.run(image).score for image in images])


def compare(detector: Detector, category: Path, repeats: int) -> dict[str, Any]:
    """Judge the same images by a model's graph and by quantised ones."""
    about = detector.description
    prepare = about.preparation.apply
    good = read_good(category)
    learned = [path for path in good if content_hash(path) in about.learned][:N_CALIBRATED]
    calibration = [prepare(read_image(path)) for path in learned]
    samples = {content_hash(sample.path): sample for sample in read_category(category)}
    unseen = [sample for sha, sample in samples.items() if sha not in about.learned]
    rng = np.random.default_rng(0)
    sets: dict[str, list[FloatArray]] = {"good": [], "synthetic": [], "real": []}
    for sample in unseen:
        image = prepare(read_image(sample.path))
        if not sample.is_good:
            sets["real"].append(image)
            continue
        sets["good"].append(image)
        for _ in range(N_DEFECTS):
            damaged, _ = any_defect(0.5, (*STRUCTURAL, *SURFACE), rng)(image, rng)
            sets["synthetic"].append(np.asarray(damaged, np.float32))
    graphs = {"float32": detector.model.graph}
    for way in WAYS:
        for spare_stem in (False, True):
            name = f"int8, {way}{', stem spared' if spare_stem else ''}"
            graphs[name] = quantised(detector.model.graph, calibration, way, spare_stem=spare_stem)
    found: dict[str, Any] = {"prepared": list(calibration[0].shape), "images": {n: len(s) for n, s in sets.items()}}
    for engine in installed_engines():
        runtimes = {name: Runtime(graph, engine, threads=1) for name, graph in graphs.items()}
        seconds = median_seconds(
            {name: partial(runtime.run, calibration[0]) for name, runtime in runtimes.items()}, repeats
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
