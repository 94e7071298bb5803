"""Runs the graph of a model file: pixels in, distances out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime

from blemish.errors import ModelFileError
from blemish.results import FloatArray


@dataclass(frozen=True)
class Distances:
    """What the graph says about one image; higher is more anomalous."""

    distance_map: FloatArray  # (h, w) float32, distance of every location to the reference, 0 or more
    max_distance: float
    mean_distance: float


class Runtime:
    """An ONNX graph, ready to run on all cores.

    Args:
        graph: a serialised ONNX model with the inputs and outputs of `learning.graph.build_graph`.

    Raises:
        ModelFileError: the graph cannot be loaded.
    """

    def __init__(self, graph: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: warnings would go to the user's terminal
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a family of its own without a common base
            raise ModelFileError(f"The graph in the model file cannot be loaded: {error}") from error

    def run(self, image: FloatArray) -> Distances:
        """Measure one prepared image.

        Args:
            image: ``(H, W)`` float32 in [0, 1], of the size the graph was made for.
        """
        names = ["distance_map", "max_distance", "mean_distance"]
        pixels = np.ascontiguousarray(image, dtype=np.float32)[None, None]  # (1, 1, H, W)
        distance_map, maximum, mean = self._session.run(names, {"pixels": pixels})
        return Distances(distance_map[0], float(maximum[0]), float(mean[0]))
