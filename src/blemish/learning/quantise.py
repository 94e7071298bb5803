"""A network in 8-bit integers: faster on processors that multiply them faster, where a check shows that verdicts hold.

Static quantisation: every layer's numbers become integers in a range of its own, which good images show. Scores are no
longer those of float32, so the limit is set anew; how many verdicts change is counted on good images that nothing was
learned from, and on synthetic defects on them, in grey. Only what holds and pays is handed out.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from blemish.datasets import by_content, spread_over
from blemish.detection.decision import conformal_threshold, decide, require_alpha
from blemish.detection.detector import Detector
from blemish.detection.engines import INT8
from blemish.detection.former import digest, with_graph
from blemish.detection.history import changed
from blemish.detection.model_file import Description
from blemish.detection.preparation import as_batch
from blemish.detection.runtime import seconds_in_turns
from blemish.detection.tiling import at_once
from blemish.detection.zones import from_text
from blemish.errors import DatasetError, SettingError, TrainingError
from blemish.learning.defects import STRUCTURAL, SURFACE, any_defect
from blemish.learning.nearest import LARGE_CROP
from blemish.progress import Progress, silent
from blemish.results import FloatArray
from blemish.strips import GreyImage

_RANGED: Final = 50  # good images that show the ranges
_JUDGED: Final = 100  # good images that synthetic defects are drawn on
_DEFECTS: Final = 5  # of each
_PHYSICAL: Final = 0.5  # share of them that are drawn as they come about, as in training
_MOST_CHANGED: Final = 0.01  # share of the verdicts that may change
_LEAST_GAIN: Final = 1.2  # times as fast; for less, scores had better stay what they are everywhere
_ROUNDS: Final = 15  # of measuring
# Convolutions at the beginning that stay in float32. None is fastest. The first two of our network see the image at
# its finest: what they lose, faint defects lose.
SPARED: Final = (0, 2)


@dataclass(frozen=True)
class Comparison:
    """What 8 bits make of a detector."""

    spared: int  # convolutions at the beginning that stayed in float32
    times_as_fast: float  # on this machine, on one core where no GPU does the work
    n_good: int  # images that nothing was learned from, which set the limits of both detectors
    n_defective: int  # the same with a synthetic defect where it counts
    changed_good: int  # of them, how many have another verdict
    changed_defective: int
    largest_difference: float  # of a score

    @property
    def changed(self) -> float:
        """Share of the verdicts that changed."""
        return (self.changed_good + self.changed_defective) / (self.n_good + self.n_defective)

    @property
    def holds(self) -> bool:
        """Say whether verdicts are the same, but for a few on the limit."""
        return self.changed <= _MOST_CHANGED

    @property
    def pays(self) -> bool:
        """Say whether the gain is worth scores of their own."""
        return self.times_as_fast >= _LEAST_GAIN

    def sentence(self) -> str:
        """Tell it to a person."""
        kept = f" (its first {self.spared} layers stay in float32)" if self.spared else ""
        return (
            f"Network in 8-bit integers{kept}: {self.times_as_fast:.2f} times as fast on the machine where it was "
            f"made. With limits set on the same {self.n_good} good images, {self.changed_good} of these had another "
            f"verdict than in float32, of {self.n_defective} with a synthetic defect {self.changed_defective}; scores "
            f"differ by up to {self.largest_difference:.2g}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready plain data."""
        return asdict(self)


def quantise(
    detector: Detector,
    good: Sequence[Path | str],
    *,
    alpha: float | None = None,
    who: str = "",
    why: str = "",
    progress: Progress = silent,
) -> tuple[Detector, Comparison]:
    """Turn a detector's network into 8-bit integers, if verdicts hold and it pays on this machine.

    Tried are all convolutions and all but the first two, in this order; the first that holds and pays is taken. The
    last convolution, whose output is compared with the reference set, and all after it stay in float32.

    Args:
        detector: whose network computes in float32.
        good: files of good images. Those that the model has learned from show the ranges; the others set the limit and
            are judged by, so the images that `fit` was given will do.
        alpha: accepted false-alarm rate; None: that of the detector. A lower limit is set anew too, for its own rate.
        who, why, progress: as for `Detector.calibrate`.

    Returns:
        A new detector with a limit of its own, which ONNX Runtime alone runs, and what was found. `Detector.undo`
        brings back float32. On another processor scores may differ by a few of the network's steps, which are coarse;
        `detection.verification` tells.

    Raises:
        SettingError: the network is in 8 bits already, or alpha is not known or out of range. DatasetError: images of
        one of the two kinds are missing. TrainingError: too many verdicts change, or it is hardly faster. ImageError:
        an image cannot be used.
    """
    about = detector.description
    if about.precision == INT8:
        raise SettingError("The model's network computes in 8-bit integers already; expected one in float32.")
    alpha = about.threshold.alpha if alpha is None else alpha
    if alpha is None:
        raise SettingError(
            "The model's limit was set by hand or by cost, and 8-bit scores need a limit of their own. Expected the "
            "false-alarm rate that it shall keep: give alpha."
        )
    unsure = None if about.threshold.unsure is None else about.threshold.unsure.alpha
    if unsure is not None and alpha >= unsure:
        raise SettingError(
            f"alpha is {alpha:g}; expected less than {unsure:g}, the rate of the model's lower limit, which stays. Or "
            "move both first, with `blemish threshold --alpha ... --unsure ...`."
        )
    require_alpha(alpha)
    images = by_content([Path(path) for path in good])
    learned = [path for content, path in images.items() if content in about.learned]
    unseen = {content: path for content, path in images.items() if content not in about.learned}
    if not learned or not unseen:
        raise DatasetError(
            f"Of these {len(images)} good images the model has learned from {len(learned)}. Expected some that it has "
            "learned from, which show the ranges of its numbers, and others, which set the limit and prove that "
            "verdicts hold. The images that `fit` was given will do; of few images `enroll` leaves none over: give new "
            "ones too."
        )
    ranging = calibration_images(about, learned)
    candidates: dict[int, Detector] = {}
    for spared in SPARED:
        graph = quantised_graph(detector.model.graph, ranging, spared)
        coarse = replace(about, graph=digest(graph), precision=INT8, own_scores={})
        model = replace(detector.model, description=coarse, graph=graph)
        candidates[spared] = Detector(model, mm_per_pixel=detector.mm_per_pixel)
    compared = compare(detector, candidates, list(unseen.values()), alpha, unsure, progress)
    chosen = next((each for each in compared if each.holds and each.pays), None)
    if chosen is None:
        raise TrainingError(
            f"8 bits are not offered: at most {_MOST_CHANGED:.0%} of the verdicts may change, and it must be "
            f"{_LEAST_GAIN} times as fast. {' '.join(each.sentence() for each in compared)} Keep the model as it is."
        )
    smaller = candidates[chosen.spared]
    new = replace(
        smaller.calibrated(unseen, alpha, unsure, progress),
        graph_difference=chosen.largest_difference,
        notes=[*about.notes, chosen.sentence()],
    )
    old = replace(about, graph=digest(detector.model.graph))
    noted = changed(old, new, "quantise", who=who, why=why)
    model = with_graph(detector.model, noted, smaller.model.graph)
    return Detector(model, mm_per_pixel=detector.mm_per_pixel), chosen


def calibration_images(about: Description, learned: Sequence[Path]) -> list[FloatArray]:
    """Prepare good images that show the ranges, ``(1 or 3, H, W)`` each; of very large ones a part does.

    They are spread over those given.
    """
    preparation = about.preparation
    prepared = (preparation.prepared(GreyImage.open(path)) for path in spread_over(learned, _RANGED))
    return [at_once(image.all_pixels(), preparation) for image in prepared]


def quantised_graph(graph: bytes, images: Sequence[FloatArray], spared: int) -> bytes:
    """Turn the convolutions of a graph but for the last, and what lies between them, into 8-bit integers.

    Activations are unsigned, for most come from a rectifier; weights are signed, with a scale for each channel. They
    use 7 bits: the sum of two products then always fits into the 16 bits that processors without instructions for
    8-bit networks have for it, and all come to the same integers.

    Args:
        graph: as `learning.graph.build_graph` writes it.
        images: prepared, ``(H, W)``, ``(1, H, W)`` or with colours ``(3, H, W)`` float32 in [0, 1]; show the ranges.
        spared: convolutions at the beginning that stay as they are.
    """
    from onnxruntime import quantization  # takes a second

    class Shown(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {"pixels": as_batch(image), **everywhere}

    model = onnx.load_from_string(graph)
    # Else it warns that a step is missing which our graphs do not need.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    takes_zones = len(model.graph.input) > 1  # those of an older Blemish do not
    everywhere = {"counted": np.ones((1, 1), np.float32)} if takes_zones else {}
    for index, node in enumerate(model.graph.node):
        node.name = f"node_{index}"
    nodes = model.graph.node
    convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    chosen = [node.name for node in nodes[convolutions[spared] : convolutions[-1]]]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantization.quantize_static(
            source,
            target,
            Shown(),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_quantize=chosen,
        )
        return target.read_bytes()


def compare(
    detector: Detector,
    candidates: Mapping[int, Detector],
    unseen: Sequence[Path],
    alpha: float,
    unsure: float | None = None,
    progress: Progress = silent,
) -> list[Comparison]:
    """Judge the same images by a detector and by its like in 8 bits, each with a limit of its own, and time them.

    Args:
        detector: in float32.
        candidates: in 8 bits, by how many convolutions at the beginning were spared.
        unseen: good images that nothing was learned from; they set the limits.
        alpha, unsure: accepted rates of all of them, as for `Detector.calibrate`.
        progress: told after every good image.

    Returns:
        A comparison for each candidate.
    """
    about = detector.description
    zones = None if about.ignored is None else from_text(about.ignored)
    all_of_them = [each.with_threads(1) for each in (detector, *candidates.values())]
    rng = np.random.default_rng(0)
    damaged = set(spread_over(unseen, _JUDGED))
    good: list[list[float]] = []  # of every image the scores by all of them
    defective: list[list[float]] = []
    for done, path in enumerate(unseen, start=1):
        image = GreyImage.open(path)
        prepared = about.preparation.prepared(image)
        good.append([each.measure(prepared, *image.shape).score for each in all_of_them])
        ignored = None if zones is None else about.preparation.touched(zones, *image.shape, prepared.pose)
        for _ in range(_DEFECTS if path in damaged else 0):
            marked, mask = _with_a_defect(prepared.whole(), rng)
            if ignored is not None and not (mask & ~ignored).any():
                continue  # nobody is to see it
            spoiled = prepared.with_grey(marked)
            defective.append([each.measure(spoiled, *image.shape).score for each in all_of_them])
        progress("checking that verdicts hold", done, len(unseen))
    taken = seconds_in_turns([partial(each.measure, prepared, *image.shape) for each in all_of_them], _ROUNDS)
    usual_s, *others_s = map(statistics.median, taken)
    limits = [conformal_threshold(scores, alpha, unsure) for scores in zip(*good, strict=True)]

    def changed_among(images: Sequence[Sequence[float]], which: int) -> int:
        return sum(decide(each[0], limits[0]) is not decide(each[which], limits[which]) for each in images)

    return [
        Comparison(
            spared=spared,
            times_as_fast=usual_s / others_s[which - 1],
            n_good=len(good),
            n_defective=len(defective),
            changed_good=changed_among(good, which),
            changed_defective=changed_among(defective, which),
            largest_difference=max(abs(each[0] - each[which]) for each in (*good, *defective)),
        )
        for which, spared in enumerate(candidates, start=1)
    ]


def _with_a_defect(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Draw a defect on a prepared image ``(H, W)``, in a window at a random place, no larger than training cuts.

    Sizes of defects go with what they are drawn on, and on a strip some would take memory for a square as long.

    Returns:
        The spoiled copy, and the ``(H, W)`` mask of the defect.
    """
    draw = any_defect(_PHYSICAL, (*STRUCTURAL, *SURFACE), rng)
    top, left = (int(rng.integers(max(side - LARGE_CROP, 0) + 1)) for side in image.shape)
    window = slice(top, top + LARGE_CROP), slice(left, left + LARGE_CROP)
    spoiled, mask = image.copy(), np.zeros(image.shape, dtype=np.bool_)
    spoiled[window], mask[window] = draw(np.ascontiguousarray(image[window]), rng)
    return spoiled, mask
