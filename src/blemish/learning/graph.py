"""From network and prototype to the ONNX graph that makes every decision, checked against PyTorch before it is used.

The graph is written node by node. PyTorch's exporter would do it too, but takes minutes to trace this network for
images of any size, needs one more package and changes from release to release; the paper's network is five kinds of
nodes, and `check_graph` proves the result on real images each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from blemish.detection.runtime import Runtime
from blemish.errors import ModelFileError, TrainingError
from blemish.learning.network import ResidualBlock, TripletNetwork
from blemish.results import FloatArray

# Largest accepted difference of a distance between graph and PyTorch. Above a distance of 1 it is a share of the
# distance: the paper's distances have no upper bound, and float32 carries seven digits of whatever they are.
TOLERANCE: Final = 1e-4
_OPSET: Final = 18
_IR_VERSION: Final = 10  # read by every ONNX Runtime since 1.18


class DistanceModel(nn.Module):
    """Distance of every location to the prototype, its maximum and its mean: what the graph computes, in PyTorch.

    Args:
        network: embeds images.
        prototype: ``(D, 1, 1)`` or ``(D, h, w)`` float32.

    Source: Tayeh et al. 2020, sec. IV-E.
    """

    prototype: Tensor

    def __init__(self, network: TripletNetwork, prototype: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("prototype", prototype)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map ``(B, 1, H, W)`` to the distance map ``(B, h, w)``, its maximum ``(B,)`` and its mean ``(B,)``."""
        distances = torch.linalg.vector_norm(self.network(pixels) - self.prototype, dim=1)  # (B, h, w)
        return distances, distances.amax(dim=(1, 2)), distances.mean(dim=(1, 2))


class _GraphWriter:
    """Collects nodes and constants; every method appends one step and returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def step(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def convolution(self, x: str, layer: nn.Conv2d) -> str:
        assert layer.bias is not None
        weight, bias = (self.constant(p.detach().cpu().numpy()) for p in (layer.weight, layer.bias))
        return self.step("Conv", x, weight, bias, kernel_shape=layer.kernel_size, strides=layer.stride)

    def crop(self, x: str, by: int) -> str:
        start, end, axes = (self.constant(np.array(v, dtype=np.int64)) for v in ([by, by], [-by, -by], [2, 3]))
        return self.step("Slice", x, start, end, axes)


def build_graph(model: DistanceModel) -> bytes:
    """Write the ONNX graph of a model.

    Args:
        model: network and prototype.

    Returns:
        A serialised ONNX model. Input ``pixels`` ``(B, 1, H, W)`` float32 in [0, 1]; outputs ``distance_map``
        ``(B, h, w)``, ``max_distance`` ``(B,)`` and ``mean_distance`` ``(B,)``, float32. B, H and W are free, as far
        as a prototype per location lets them be.
    """
    graph = _GraphWriter()
    x = "pixels"
    for layer in model.network.stem:
        if isinstance(layer, nn.Conv2d):
            x = graph.convolution(x, layer)
        elif isinstance(layer, nn.ReLU):
            x = graph.step("Relu", x)
        else:
            x = graph.step("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    for block in model.network.blocks:
        assert isinstance(block, ResidualBlock)
        found = graph.step("Relu", graph.convolution(x, block.first))
        found = graph.step("Relu", graph.convolution(found, block.second))
        x = graph.step("Add", graph.crop(x, by=2), found)
    difference = graph.step("Sub", x, graph.constant(model.prototype.detach().cpu().numpy()[None]))
    embedding_axis, map_axes = graph.constant(np.array([1])), graph.constant(np.array([1, 2]))
    distances = graph.step("ReduceL2", difference, embedding_axis, keepdims=0, output="distance_map")
    graph.step("ReduceMax", distances, map_axes, keepdims=0, output="max_distance")
    graph.step("ReduceMean", distances, map_axes, keepdims=0, output="mean_distance")

    def tensor(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    onnx_model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "blemish",
            [tensor("pixels", "B", 1, "H", "W")],
            [tensor("distance_map", "B", "h", "w"), tensor("max_distance", "B"), tensor("mean_distance", "B")],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="blemish",
    )
    onnx.checker.check_model(onnx_model)
    serialised: bytes = onnx_model.SerializeToString()
    return serialised


def check_graph(graph: bytes, model: DistanceModel, images: Iterable[FloatArray]) -> float:
    """Prove that the graph scores like PyTorch.

    Args:
        graph: from `build_graph`.
        model: what it was built from.
        images: prepared ``(H, W)`` float32 images to compare on.

    Returns:
        The largest difference found between any two distances or scores.

    Raises:
        TrainingError: the difference is above `TOLERANCE`, or not a number; such a model must not be written.
    """
    runtime = Runtime(graph)
    difference, excess = 0.0, 0.0
    for image in images:
        try:
            found = runtime.run(image)
        except ModelFileError as error:  # distances that are not finite
            raise TrainingError(f"The graph cannot be used: {error}") from error
        with torch.inference_mode():
            distance_map, maximum, mean = model(torch.from_numpy(image)[None, None])
        pairs = [
            (found.distance_map, distance_map[0]),
            (found.max_distance, maximum[0]),
            (found.mean_distance, mean[0]),
        ]
        for ours, theirs in pairs:
            apart = np.abs(np.asarray(ours) - theirs.numpy())
            difference = float(np.maximum(difference, apart.max()))  # unlike max(), keeps a NaN
            excess = float(np.maximum(excess, (apart / np.maximum(theirs.numpy(), 1)).max()))
    if not excess <= TOLERANCE:
        raise TrainingError(
            f"The graph's distances differ from PyTorch's by {difference:.2g}; at most {TOLERANCE:g} (above a distance "
            f"of 1: that share of it) is accepted. Was training stable? Use a smaller learning rate or fewer epochs."
        )
    return difference
