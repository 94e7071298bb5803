"""Runs the graph of a model file: pixels in, distances out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime

from blemish.errors import ModelFileError
from blemish.results import FloatArray

_INPUTS: Final = {"pixels": 4, "counted": 2}  # name -> number of axes
_OLD_INPUTS: Final = {"pixels": 4}  # of files made before there were zones: every cell counts
_OUTPUTS: Final = {"distance_map": 3, "score": 1, "max_distance": 1, "mean_distance": 1}
_OLD_OUTPUTS: Final = {name: n for name, n in _OUTPUTS.items() if name != "score"}  # format 1: the maximum is the score
_REMEDY: Final = "Make the model file anew with `blemish fit` or `blemish enroll`."


_ALL: Final[FloatArray] = np.ones((1, 1), dtype=np.float32)  # every cell counts


@dataclass(frozen=True)
class Distances:
    """What the graph says about one image; higher is more anomalous."""

    distance_map: FloatArray  # (h, w) float32, distance of every location to the reference, 0 or more; 0 if ignored
    score: float  # what is compared with the threshold
    max_distance: float
    mean_distance: float


class Runtime:
    """An ONNX graph, ready to run; several threads may do so at once.

    Args:
        graph: a serialised ONNX model with the inputs and outputs of `learning.graph.build_graph`.
        threads: cores that one run uses; None: all.

    Raises:
        ModelFileError: the graph cannot be loaded, or has other inputs and outputs.
    """

    def __init__(self, graph: bytes, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0 is ONNX Runtime's word for all
        options.log_severity_level = 4  # what goes wrong is raised; it need not go to the user's terminal as well
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a family of its own without a common base
            raise ModelFileError(f"The graph in the model file cannot be loaded: {error}. {_REMEDY}") from error
        inputs, outputs = _axes(self._session.get_inputs()), _axes(self._session.get_outputs())
        self._outputs = list(_OUTPUTS if "score" in outputs else _OLD_OUTPUTS)
        self._counts = inputs == _INPUTS
        if inputs not in (_INPUTS, _OLD_INPUTS) or not _OLD_OUTPUTS.items() <= outputs.items():
            raise ModelFileError(
                f"The graph in the model file has inputs {inputs} and outputs {outputs} (float32 tensors and their "
                f"numbers of axes); expected {_INPUTS} and {_OUTPUTS}. {_REMEDY}"
            )

    def run(self, image: FloatArray, counted: FloatArray = _ALL) -> Distances:
        """Measure one prepared image.

        Args:
            image: ``(H, W)`` float32 in [0, 1], of the size the graph was made for.
            counted: ``(h, w)`` float32, 1 for cells that count and 0 for others; ``(1, 1)`` for all.

        Raises:
            ModelFileError: the graph does not take images of this size, or no zones, or its distances are not finite.
        """
        if counted is not _ALL and not self._counts:
            raise ModelFileError(f"The graph in the model file is of a Blemish that had no zones. {_REMEDY}")
        pixels = np.ascontiguousarray(image, dtype=np.float32)[None, None]  # (1, 1, H, W)
        try:
            inputs = {"pixels": pixels, "counted": counted} if self._counts else {"pixels": pixels}
            distance_map, *scores = self._session.run(self._outputs, inputs)
            *score, maximum, mean = (float(value) for (value,) in scores)
            found = Distances(distance_map[0], score[0] if score else maximum, maximum, mean)
        except Exception as error:  # see above
            raise ModelFileError(
                f"The graph in the model file fails on {image.shape[0]} x {image.shape[1]} pixels: {error}. {_REMEDY}"
            ) from error
        if not (np.isfinite(found.distance_map).all() and np.isfinite([found.score, maximum, mean]).all()):
            raise ModelFileError(f"The graph in the model file gives distances that are not finite. {_REMEDY}")
        return found


def _axes(tensors: list[Any]) -> dict[str, int]:
    """Return the name and the number of axes of every float32 tensor among a graph's inputs or outputs."""
    return {tensor.name: len(tensor.shape) for tensor in tensors if tensor.type == "tensor(float)"}
