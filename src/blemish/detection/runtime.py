"""Runs the graph of a model file: pixels in, distances out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from blemish.detection.engines import DEFAULT, load_engine
from blemish.detection.pose import Pose
from blemish.detection.preparation import as_batch
from blemish.errors import BlemishError, ModelFileError
from blemish.results import FloatArray

# Largest accepted difference between scores of one image. Above a score of 1 it is a share of the score: the paper's
# distances have no upper bound, and float32 carries seven digits of whatever they are.
TOLERANCE: Final = 1e-4
_INPUTS: Final = {"pixels": 4, "counted": 2}  # name -> number of axes
_OLD_INPUTS: Final = {"pixels": 4}  # of files made before there were zones: every cell counts
_OUTPUTS: Final = {"distance_map": 3, "score": 1, "max_distance": 1, "mean_distance": 1}
_OLD_OUTPUTS: Final = {name: n for name, n in _OUTPUTS.items() if name != "score"}  # format 1: the maximum is the score
_NEAREST: Final = "nearest"  # an output that only graphs of our method have
_ROUNDS: Final = 5  # of measuring; the first warms up
_REMEDY: Final = "Make the model file anew with `blemish fit` or `blemish enroll`."
_ALL: Final[FloatArray] = np.ones((1, 1), dtype=np.float32)  # every cell counts


@dataclass(frozen=True)
class Distances:
    """What the graph says about one prepared image; higher is more anomalous."""

    distance_map: FloatArray  # (h, w) float32, distance of every location to the reference, 0 or more; 0 if ignored
    score: float  # what is compared with the threshold
    max_distance: float
    mean_distance: float
    nearest: int | None = None  # number of the reference embedding nearest to the worst cell; None: not told

    def on_image(self, pose: Pose | None) -> FloatArray:
        """Return the distance map of the image as it lay, before it was turned by the pose of its part."""
        return self.distance_map if pose is None else pose.as_it_lay(self.distance_map)


class Runtime:
    """An ONNX graph, ready to run; several threads may do so at once.

    Args:
        graph: a serialised ONNX model with the inputs and outputs of `learning.graph.build_graph`.
        engine: the library that runs it, one of `engines.ENGINES`.
        threads: cores that one run uses, where several runs share the machine; None: all.

    Raises:
        ModelFileError: the graph cannot be loaded, or has other inputs and outputs.
        SettingError: there is no such engine. MissingExtraError: it is not installed.
    """

    def __init__(self, graph: bytes, engine: str = DEFAULT, threads: int | None = None) -> None:
        try:
            self._engine = load_engine(engine, graph, threads)
        except BlemishError:
            raise
        except Exception as error:  # both libraries raise families of their own without a common base
            raise ModelFileError(f"The graph in the model file cannot be loaded: {error}. {_REMEDY}") from error
        inputs, outputs = self._engine.inputs, self._engine.outputs
        self._outputs = list(_OUTPUTS if "score" in outputs else _OLD_OUTPUTS)
        if _NEAREST in outputs:
            self._outputs.append(_NEAREST)
        self.takes_zones = inputs == _INPUTS  # those of an older Blemish do not
        if inputs not in (_INPUTS, _OLD_INPUTS) or not _OLD_OUTPUTS.items() <= outputs.items():
            raise ModelFileError(
                f"The graph in the model file has inputs {inputs} and outputs {outputs} (tensors and their "
                f"numbers of axes); expected {_INPUTS} and {_OUTPUTS}. {_REMEDY}"
            )

    def run(self, image: FloatArray, counted: FloatArray | None = None) -> Distances:
        """Measure one prepared image.

        Args:
            image: ``(H, W)`` or ``(1, H, W)`` float32 in [0, 1], of the size the graph was made for; ``(3, H, W)`` for
                a graph that takes colours too, as `preparation.Prepared.pixels` returns them.
            counted: ``(h, w)`` float32, 1 for cells that count and 0 for others, or ``(1, 1)``; None: all count.

        Raises:
            ModelFileError: the graph does not take images of this size, or no zones, or its distances are not finite.
        """
        if counted is not None and not self.takes_zones:
            raise ModelFileError(f"The graph in the model file is of a Blemish that had no zones. {_REMEDY}")
        pixels = as_batch(np.ascontiguousarray(image, dtype=np.float32))
        try:
            inputs = {"pixels": pixels}
            if self.takes_zones:
                inputs["counted"] = _ALL if counted is None else counted
            told = dict(zip(self._outputs, self._engine.run(inputs, self._outputs), strict=True))
            maximum, mean = float(told["max_distance"][0]), float(told["mean_distance"][0])
            score = float(told["score"][0]) if "score" in told else maximum
            nearest = int(told[_NEAREST][0]) if _NEAREST in told else None
            found = Distances(told["distance_map"][0], score, maximum, mean, nearest)
        except Exception as error:  # as above
            raise ModelFileError(
                f"The graph in the model file fails on {image.shape[-2]} x {image.shape[-1]} pixels: {error}. {_REMEDY}"
            ) from error
        if not (np.isfinite(found.distance_map).all() and np.isfinite([score, maximum, mean]).all()):
            raise ModelFileError(f"The graph in the model file gives distances that are not finite. {_REMEDY}")
        return found


def fastest_engine(graph: bytes, image: FloatArray, names: Sequence[str]) -> str:
    """Measure some installed engines on one prepared image, and name the fastest; it takes a second or so for each.

    Where there is only one there is nothing to measure.
    """
    if len(names) == 1:
        return names[0]
    taken = seconds_in_turns([partial(Runtime(graph, name).run, image) for name in names], _ROUNDS)
    return min(zip(map(min, taken), names, strict=True))[1]


def seconds_in_turns(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Time calls in turns, so that a slow moment of the machine hits all: of each the seconds of every round."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, taken in zip(calls, seconds, strict=True):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
    return seconds
