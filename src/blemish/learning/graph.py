"""From network and reference set to the ONNX graph that makes every decision, proved against PyTorch before use.

The graph is written node by node. PyTorch's exporter would do it too, but takes minutes to trace the paper's network
for images of any size, needs one more package and changes from release to release; the networks are a handful of kinds
of nodes, and `check_graph` proves the result on real images each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from blemish.detection.preparation import as_batch
from blemish.detection.runtime import Runtime
from blemish.detection.scoring import WORST_OF, n_scored
from blemish.errors import ModelFileError, TrainingError
from blemish.learning.network import (
    COLOUR_SHARE,
    COLOURED,
    GREY_SHARE,
    BoundedBlock,
    BoundedNetwork,
    ColouredNetwork,
    ResidualBlock,
    TripletNetwork,
)
from blemish.learning.reference import (
    SHIFT,
    SQUARE_FLOOR,
    ToNearest,
    ToNearestHere,
    ToPrototype,
    completed,
    distance_of_product,
)
from blemish.results import FloatArray

# Largest accepted difference of a distance between graph and PyTorch. Above a distance of 1 it is a share of the
# distance: the paper's distances have no upper bound, and float32 carries seven digits of whatever they are.
TOLERANCE: Final = 1e-4
Network = TripletNetwork | BoundedNetwork | ColouredNetwork
_OPSET: Final = 18
_IR_VERSION: Final = 10  # read by every ONNX Runtime since 1.18


class DistanceModel(nn.Module):
    """Distance of every location to the reference set, its maximum and its mean: what the graph computes, in PyTorch.

    Args:
        network: embeds images.
        reference: turns embeddings into distances: one of `reference.ToPrototype`, `ToNearestHere`, `ToNearest`.
        smoothing: cells a side over which distances are averaged, an odd number; 1 leaves them as they are.
        n_worst: the score is the mean of so many of the largest distances (`mean_of_worst`); None: the very largest.

    Source: Tayeh et al. 2020, sec. IV-E, with a prototype, no smoothing and the maximum as score.
    """

    def __init__(self, network: Network, reference: nn.Module, smoothing: int = 1, n_worst: int | None = None) -> None:
        super().__init__()
        self.network, self.reference, self.smoothing, self.n_worst = network, reference, smoothing, n_worst

    def forward(self, pixels: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map ``(B, 1 or 3, H, W)`` to the distance map ``(B, h, w)``, and score, maximum and mean, ``(B,)`` each.

        Cells where ``counted``, ``(h, w)`` or ``(1, 1)`` for all, is 0 and not 1, have distance 0 and do not count.
        """
        return self.of_embeddings(self.network(pixels), counted)

    def of_embeddings(self, embeddings: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Go on from embeddings ``(B, D, h, w)``."""
        return self.of_distances(self.reference(embeddings), counted)

    def of_distances(self, distances: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Go on from the distance of every location to the reference set, ``(B, h, w)``."""
        distances = smooth(distances, self.smoothing) * counted
        n_counted = int(counted.expand(distances.shape[1:]).sum())
        largest = distances.amax(dim=(1, 2))
        score = largest if self.n_worst is None else mean_of_worst(distances, self.n_worst, n_counted)
        return distances, score, largest, distances.sum(dim=(1, 2)) / n_counted


def smooth(distances: Tensor, side: int) -> Tensor:
    """Average ``(B, h, w)`` over squares of ``side`` cells, an odd number; at the border over what is inside."""
    if side == 1:
        return distances
    pooled = nn.functional.avg_pool2d(distances[:, None], side, 1, side // 2, count_include_pad=False)  # (B, 1, h, w)
    return pooled.squeeze(1)


def mean_of_worst(distances: Tensor, n_worst: int, n_counted: int | None = None) -> Tensor:
    """Average the ``n_worst`` largest distances of ``(B, h, w)``, but no more than one in `WORST_OF`: ``(B,)``.

    A number, not a share: a scratch has so many cells on a small image and on a large one. Where only ``n_counted``
    cells count and the others are 0, the one in so many is of them.
    """
    cells = distances.flatten(1)
    n_cells = cells.shape[1] if n_counted is None else n_counted
    return cells.topk(n_scored(n_worst, n_cells), dim=1).values.mean(dim=1)


class _GraphWriter:
    """Collects nodes and constants; every method appends steps and returns the name of the result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def step(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def convolution(self, x: str, layer: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> str:
        """Write a convolution; batch normalisation, a fixed scale and shift once trained, goes into its weights."""
        weight = _array(layer.weight).astype(np.float64)
        bias = np.zeros(len(weight)) if layer.bias is None else _array(layer.bias).astype(np.float64)
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            gain = _array(norm.weight) / np.sqrt(_array(norm.running_var).astype(np.float64) + norm.eps)
            weight, bias = (
                weight * gain[:, None, None, None],
                _array(norm.bias) + gain * (bias - _array(norm.running_mean)),
            )
        return self.step(
            "Conv",
            x,
            self.constant(weight.astype(np.float32)),
            self.constant(bias.astype(np.float32)),
            kernel_shape=layer.kernel_size,
            strides=layer.stride,
            pads=[*layer.padding, *layer.padding],
            dilations=layer.dilation,
        )

    def cut(self, x: str, axes: tuple[int, ...], starts: tuple[int, ...], ends: tuple[int, ...]) -> str:
        return self.step("Slice", x, self.integers(*starts), self.integers(*ends), self.integers(*axes))

    def embeddings(self, value: Tensor, axis: int) -> str:
        """Write embeddings, whose numbers lie along an axis, as the file keeps them (`reference.kept`)."""
        if value.shape[axis] != COLOURED:
            return self._half_precision(value)
        numbers = self._half_precision(value.narrow(axis, 0, COLOURED - 1))
        squares = self.step("ReduceSumSquare", numbers, self.integers(axis), keepdims=1)
        left = self.step("Sub", self.constant(np.float32(BoundedNetwork.RADIUS**2)), squares)
        last = self.step("Sqrt", self.step("Max", left, self.constant(np.float32(0))))
        return self.step("Concat", numbers, last, axis=axis)

    def _half_precision(self, value: Tensor) -> str:
        """Write a constant whose values are exact in half precision, at half its size."""
        return self.step("Cast", self.constant(_array(value).astype(np.float16)), to=TensorProto.FLOAT)


def build_graph(model: DistanceModel) -> bytes:
    """Write the ONNX graph of a model.

    Args:
        model: network, reference set and smoothing.

    Returns:
        A serialised ONNX model. Inputs ``pixels`` ``(B, 1, H, W)`` float32 in [0, 1], with `ColouredNetwork` ``(B, 3,
        H, W)``, and ``counted`` ``(h, w)`` or ``(1, 1)`` float32, 1 where cells count and 0 where not; outputs
        ``distance_map`` ``(B, h, w)``, and ``score``, ``max_distance`` and ``mean_distance``, ``(B,)`` each, float32;
        with `ToNearestHere` and `ToNearest` also ``nearest``, ``(B,)`` int64: which of ``reference.vectors`` is nearest
        to the embedding of the cell with the largest distance. B, H and W are free, as far as a reference set per
        location lets them be.
    """
    graph = _GraphWriter()
    match model.network:
        case ColouredNetwork():
            x = _write_coloured(graph, model.network)
        case BoundedNetwork():
            x = _write_bounded(graph, model.network, "pixels")
        case _:
            x = _write_triplet(graph, model.network)
    kept = ""  # the embeddings of a reference set that has many
    match model.reference:
        case ToPrototype():
            difference = graph.step("Sub", x, graph.constant(_array(model.reference.prototype)[None]))
            distances = graph.step("ReduceL2", difference, graph.integers(1), keepdims=0)
        case ToNearestHere(medoids=medoids):
            k, D, h, w = medoids.shape
            kept = graph.embeddings(medoids.permute(2, 3, 0, 1).reshape(h * w, k, D), axis=2)
            distances = _write_distance(graph, _write_nearest_here(graph, x, kept, medoids))
        case ToNearest(bank=bank):
            kept = graph.embeddings(bank[:, :, None, None], axis=1)  # (k, D, 1, 1)
            distances = _write_distance(graph, _write_nearest(graph, x, kept))
        case _:
            raise TypeError(f"no way to write {type(model.reference).__name__} as a graph")
    if model.smoothing > 1:
        channel = graph.integers(1)
        side, reach = model.smoothing, model.smoothing // 2
        pooled = graph.step(
            "AveragePool",
            graph.step("Unsqueeze", distances, channel),
            kernel_shape=[side, side],
            pads=[reach] * 4,
            count_include_pad=0,
        )
        distances = graph.step("Squeeze", pooled, channel)
    distances = graph.step("Mul", distances, "counted", output="distance_map")
    if kept:
        _write_nearest_of_worst(graph, x, distances, kept, model.reference)
    everywhere = graph.step("Expand", "counted", graph.step("Shape", distances, start=1))  # (h, w)
    n_counted = graph.step("ReduceSum", everywhere, keepdims=0)
    largest = graph.step("ReduceMax", distances, graph.integers(1, 2), keepdims=0, output="max_distance")
    if model.n_worst is None:
        graph.step("Identity", largest, output="score")
    else:
        _write_mean_of_worst(graph, distances, model.n_worst, n_counted)
    total = graph.step("ReduceSum", distances, graph.integers(1, 2), keepdims=0)
    graph.step("Div", total, n_counted, output="mean_distance")

    sides: tuple[int | str, int | str] = ("H", "W")
    if isinstance(model.reference, ToNearestHere):  # another size would be compared with other places
        h, w = model.reference.medoids.shape[2:]
        sides = h * BoundedNetwork.STRIDE, w * BoundedNetwork.STRIDE

    def tensor(name: str, *shape: int | str, of: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, of, shape)

    onnx_model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "blemish",
            [
                tensor("pixels", "B", 3 if isinstance(model.network, ColouredNetwork) else 1, *sides),
                tensor("counted", "h or 1", "w or 1"),
            ],
            [
                tensor("distance_map", "B", "h", "w"),
                *(tensor(name, "B") for name in ("score", "max_distance", "mean_distance")),
                *([tensor("nearest", "B", of=TensorProto.INT64)] if kept else []),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="blemish",
    )
    onnx.checker.check_model(onnx_model)
    serialised: bytes = onnx_model.SerializeToString()
    return serialised


def read_reference(graph: bytes) -> ToNearestHere | ToNearest:
    """Read the reference set out of a graph that `build_graph` has written.

    Raises:
        ModelFileError: there is none.
    """
    read = onnx.load_from_string(graph).graph
    kept = [numpy_helper.to_array(each) for each in read.initializer if each.data_type == TensorProto.FLOAT16]
    sides = [side.dim_value for side in read.input[0].type.tensor_type.shape.dim[2:]]  # 0 where they are free
    match [array.shape for array in kept]:
        case [(_, _, 1, 1)]:
            return ToNearest(_all_numbers(torch.from_numpy(kept[0][:, :, 0, 0].astype(np.float32))))
        case [(n, k, D)] if n * BoundedNetwork.STRIDE**2 == math.prod(sides):
            h, w = (side // BoundedNetwork.STRIDE for side in sides)
            medoids = torch.from_numpy(kept[0].astype(np.float32)).reshape(h, w, k, D)
            return ToNearestHere(_all_numbers(medoids.permute(2, 3, 0, 1).contiguous()))
    raise ModelFileError("The graph in the model file holds no reference set that can be read. Fit or enroll anew.")


def _all_numbers(kept: Tensor) -> Tensor:
    """Return whole embeddings ``(n, D, ...)``, of which those with colours were kept without their last number."""
    return completed(kept) if kept.shape[1] == COLOURED - 1 else kept


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy()


def _write_triplet(graph: _GraphWriter, network: TripletNetwork) -> str:
    x = "pixels"
    for layer in network.stem:
        if isinstance(layer, nn.Conv2d):
            x = graph.convolution(x, layer)
        elif isinstance(layer, nn.ReLU):
            x = graph.step("Relu", x)
        else:
            x = graph.step("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    for block in network.blocks:
        assert isinstance(block, ResidualBlock)
        found = graph.step("Relu", graph.convolution(x, block.first))
        found = graph.step("Relu", graph.convolution(found, block.second))
        x = graph.step("Add", graph.cut(x, axes=(2, 3), starts=(2, 2), ends=(-2, -2)), found)
    return x


def _write_coloured(graph: _GraphWriter, network: ColouredNetwork) -> str:
    stride = BoundedNetwork.STRIDE
    grey = _write_bounded(graph, network.network, graph.cut("pixels", axes=(1,), starts=(0,), ends=(1,)))
    cells = graph.step(
        "AveragePool",
        graph.cut("pixels", axes=(1,), starts=(1,), ends=(3,)),
        kernel_shape=[stride, stride],
        strides=[stride, stride],
    )
    place = graph.step("Sub", cells, graph.constant(_array(network.usual)[:, None, None]))
    place = graph.step("Mul", place, graph.constant(_array(network.gain)))
    touching = graph.step("Pad", place, graph.integers(0, 0, 0, 0, 0, 1, 0, 0), graph.constant(np.float32(1)))
    colour = _write_scaled(graph, touching, BoundedNetwork.RADIUS * COLOUR_SHARE)
    return graph.step("Concat", graph.step("Mul", grey, graph.constant(np.float32(GREY_SHARE))), colour, axis=1)


def _write_scaled(graph: _GraphWriter, x: str, length: float) -> str:
    """Write that all vectors of ``(B, D, h, w)`` get one length."""
    found = graph.step("ReduceL2", x, graph.integers(1), keepdims=1)
    found = graph.step("Max", found, graph.constant(np.float32(1e-12)))
    return graph.step("Mul", graph.step("Div", x, found), graph.constant(np.float32(length)))


def _write_bounded(graph: _GraphWriter, network: BoundedNetwork, pixels: str) -> str:
    x = graph.step("Relu", graph.convolution(pixels, network.stem, network.stem_norm))
    x = graph.step("Relu", graph.convolution(x, network.down, network.down_norm))
    levels: list[str] = []
    for blocks in network.coarser:
        assert isinstance(blocks, nn.Sequential)
        if levels:
            x = graph.step("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        for block in blocks:
            x = _write_block(graph, x, block)
        levels.append(x)
    x = levels.pop()
    for block in network.finer:
        finer = levels.pop()
        enlarged = graph.step(
            "Resize", x, "", graph.constant(np.array([1, 1, 2, 2], np.float32)),
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
        sides = graph.step("Shape", finer, start=2)
        enlarged = graph.step("Slice", enlarged, graph.integers(0, 0), sides, graph.integers(2, 3))
        x = _write_block(graph, graph.step("Add", finer, enlarged), block)
    return _write_scaled(graph, graph.convolution(x, network.head), network.RADIUS)


def _write_block(graph: _GraphWriter, x: str, block: nn.Module) -> str:
    assert isinstance(block, BoundedBlock)
    found = graph.step("Relu", graph.convolution(x, block.first, block.first_norm))
    found = graph.convolution(found, block.second, block.second_norm)
    return graph.step("Relu", graph.step("Add", x, found))


def _write_nearest(graph: _GraphWriter, x: str, bank: str) -> str:
    """Write the largest product of every embedding with the bank: ``(B, D, h, w)`` to ``(B, h, w)``.

    The products of a cell lie side by side: ONNX Runtime finds the largest of neighbours several times as fast as the
    largest over channels. What is done to the bank is done once, when the graph is loaded.
    """
    cells = graph.step("Transpose", graph.step("Reshape", x, graph.integers(0, 0, -1)), perm=[0, 2, 1])  # (B, h w, D)
    columns = graph.step("Squeeze", graph.step("Transpose", bank, perm=[2, 3, 1, 0]), graph.integers(0, 1))  # (D, k)
    best = graph.step("ReduceMax", graph.step("MatMul", cells, columns), graph.integers(2), keepdims=0)  # (B, h w)
    shape = graph.step("Concat", graph.integers(0), graph.step("Shape", x, start=2), axis=0)
    return graph.step("Reshape", best, shape)


def _write_nearest_here(graph: _GraphWriter, x: str, kept: str, medoids: Tensor) -> str:
    """Write the largest product of every embedding with the medoids around it: ``(B, D, h, w)`` to ``(B, h, w)``.

    For speed the embeddings are shifted, not the many medoids: one product of matrices per location gives what its
    medoids have in common with the embeddings around them, and the results are shifted back. The numbers of an
    embedding lie side by side, so that a shift copies them as they are; and so do the products, as in `_write_nearest`.
    """
    _, D, h, w = medoids.shape
    reach = 2 * SHIFT + 1
    shifts = list(product(range(reach), repeat=2))
    cells = graph.step("Transpose", x, perm=[2, 3, 0, 1])  # (h, w, B, D)
    around = graph.step("Pad", cells, graph.integers(SHIFT, SHIFT, 0, 0, SHIFT, SHIFT, 0, 0))
    shifted = [graph.cut(around, (0, 1), (y, x), (y + h, x + w)) for y, x in shifts]
    stacked = graph.step("Concat", *shifted, axis=3)  # (h, w, B, 9 D)
    places = graph.step("Reshape", stacked, graph.integers(h * w, -1, D))  # (h w, B 9, D)
    columns = graph.step("Transpose", kept, perm=[0, 2, 1])  # (h w, D, k)
    best = graph.step("ReduceMax", graph.step("MatMul", places, columns), graph.integers(2), keepdims=0)  # (h w, B 9)
    best = graph.step("Reshape", best, graph.integers(h, w, -1, len(shifts)))
    best = graph.step("Transpose", best, perm=[2, 3, 0, 1])  # (B, 9, h, w)
    least = graph.constant(np.float32(-2 * BoundedNetwork.RADIUS**2))  # below any product
    pads = graph.integers(0, 0, SHIFT, SHIFT, 0, 0, SHIFT, SHIFT)
    best = graph.step("Pad", best, pads, least)  # (B, 9, h + 2, w + 2)
    back = []
    for index, (y, x_) in enumerate(shifts):
        y, x_ = reach - 1 - y, reach - 1 - x_
        one = graph.cut(best, (1, 2, 3), (index, y, x_), (index + 1, y + h, x_ + w))  # (B, 1, h, w)
        back.append(graph.step("Squeeze", one, graph.integers(1)))
    return graph.step("Max", *back)


def _write_nearest_of_worst(graph: _GraphWriter, x: str, distances: str, kept: str, reference: nn.Module) -> None:
    """Write which embedding is nearest to that of the cell with the largest distance, as ``reference.vectors`` counts.

    Only for that cell: to remember it for all of them would take many times as long as the distances do.
    """
    cells = graph.step("Reshape", x, graph.integers(0, 0, -1))  # (B, D, h w)
    worst = graph.step("ArgMax", graph.step("Reshape", distances, graph.integers(0, -1)), axis=1)  # (B, 1)
    at = graph.step("Unsqueeze", worst, graph.integers(1))  # (B, 1, 1)
    like = graph.step("Shape", cells, end=2)  # B, D
    at = graph.step("Expand", at, graph.step("Concat", like, graph.integers(1), axis=0))
    embedding = graph.step("GatherElements", cells, at, axis=2)  # (B, D, 1)
    if isinstance(reference, ToNearest):
        bank = graph.step("Reshape", kept, graph.integers(*reference.bank.shape))
        products = graph.step("MatMul", bank, embedding)  # (B, k, 1)
        best = graph.step("ArgMax", products, axis=1)  # (B, 1, 1)
        graph.step("Reshape", best, graph.integers(-1), output="nearest")
        return
    assert isinstance(reference, ToNearestHere)
    k, _, h, w = reference.medoids.shape
    shifts = np.array(list(product(range(-SHIFT, SHIFT + 1), repeat=2)))  # (9, 2)
    row = graph.step("Add", graph.step("Div", worst, graph.integers(w)), graph.constant(shifts[:, 0]))  # (B, 9)
    column = graph.step("Add", graph.step("Mod", worst, graph.integers(w)), graph.constant(shifts[:, 1]))
    row = graph.step("Clip", row, graph.constant(np.int64(0)), graph.constant(np.int64(h - 1)))
    column = graph.step("Clip", column, graph.constant(np.int64(0)), graph.constant(np.int64(w - 1)))
    places = graph.step("Add", graph.step("Mul", row, graph.integers(w)), column)  # (B, 9)
    around = graph.step("Gather", kept, places)  # (B, 9, k, D)
    products = graph.step("MatMul", around, graph.step("Unsqueeze", embedding, graph.integers(1)))  # (B, 9, k, 1)
    best = graph.step("ArgMax", graph.step("Reshape", products, graph.integers(0, -1)), axis=1)  # (B, 1)
    place = graph.step("GatherElements", places, graph.step("Div", best, graph.integers(k)), axis=1)
    number = graph.step("Mul", graph.step("Mod", best, graph.integers(k)), graph.integers(h * w))
    graph.step("Reshape", graph.step("Add", number, place), graph.integers(-1), output="nearest")


def _write_mean_of_worst(graph: _GraphWriter, distances: str, n_worst: int, n_counted: str) -> None:
    cells = graph.step("Reshape", distances, graph.integers(0, -1))  # (B, h w)
    most = graph.step("Div", graph.step("Cast", n_counted, to=TensorProto.INT64), graph.integers(WORST_OF))
    n = graph.step("Max", graph.step("Min", most, graph.integers(n_worst)), graph.integers(1))
    largest = f"largest_{len(graph.nodes)}"
    graph.nodes.append(helper.make_node("TopK", [cells, n], [largest, f"{largest}_at"], axis=1))
    graph.step("ReduceMean", largest, graph.integers(1), keepdims=0, output="score")


def _write_distance(graph: _GraphWriter, products: str) -> str:
    """Write `reference.distance_of_product`."""
    doubled = graph.step("Mul", products, graph.constant(np.float32(-2)))
    square = graph.step("Add", doubled, graph.constant(np.float32(2 * BoundedNetwork.RADIUS**2)))
    return graph.step("Sqrt", graph.step("Max", square, graph.constant(np.float32(SQUARE_FLOOR))))


def check_graph(graph: bytes, model: DistanceModel, images: Iterable[FloatArray]) -> float:
    """Prove that the graph scores like PyTorch.

    Args:
        graph: from `build_graph`.
        model: what it was built from.
        images: prepared, ``(H, W)``, ``(1, H, W)`` or with colours ``(3, H, W)`` float32, to compare on.

    Returns:
        The largest difference found between any two distances or scores.

    Raises:
        TrainingError: the difference is above `TOLERANCE`, or not a number; such a model must not be written.
    """
    runtime = Runtime(graph)
    difference, excess = 0.0, 0.0
    for image in images:
        with torch.inference_mode():
            embeddings = model.network(torch.from_numpy(as_batch(image)))  # (1, D, h, w)
            distances = model.reference(embeddings)  # (1, h, w)
        everything = np.ones((1, 1), dtype=np.float32)
        below = np.ones(distances.shape[1:], dtype=np.float32)
        below[: len(below) // 2] = 0
        for counted in (everything, below):
            for ours, theirs in _pairs(runtime, model, image, embeddings, distances, counted):
                apart = np.abs(ours - theirs)
                difference = float(np.maximum(difference, apart.max()))  # unlike max(), keeps a NaN
                excess = float(np.maximum(excess, (apart / np.maximum(theirs, 1)).max()))
    if not excess <= TOLERANCE:
        raise TrainingError(
            f"The graph's distances differ from PyTorch's by {difference:.2g}; at most {TOLERANCE:g} (above a distance "
            f"of 1: that share of it) is accepted. Training may not have been stable: fit again with another --seed."
        )
    return difference


def _pairs(
    runtime: Runtime,
    model: DistanceModel,
    image: FloatArray,
    embeddings: Tensor,
    distances: Tensor,
    counted: FloatArray,
) -> list[tuple[FloatArray, FloatArray]]:
    """Return what the graph says of an image, and PyTorch of its embeddings ``(1, D, h, w)`` and their distances.

    That is the distance map, score, maximum and mean, and how near is nearest.
    """
    try:
        found = runtime.run(image, counted)
    except ModelFileError as error:  # distances that are not finite
        raise TrainingError(f"The graph cannot be used: {error}") from error
    with torch.inference_mode():
        theirs = model.of_distances(distances, torch.from_numpy(counted))
    ours = (found.distance_map, found.score, found.max_distance, found.mean_distance)
    pairs = [(np.asarray(one, np.float32), other[0].numpy()) for one, other in zip(ours, theirs, strict=True)]
    if isinstance(model.reference, (ToNearestHere, ToNearest)) and found.nearest is not None:
        pairs.append(_nearest(found.distance_map, found.nearest, model.reference, embeddings, distances))
    return pairs


def _nearest(
    distance_map: FloatArray,
    number: int,
    reference: ToNearestHere | ToNearest,
    embeddings: Tensor,
    distances: Tensor,
) -> tuple[FloatArray, FloatArray]:
    """Return how far the embedding lies that the graph calls nearest, and how far the nearest one does: ties aside.

    Both are squared: of distances near 0 the root leaves too few digits to compare.
    """
    i, j = np.unravel_index(distance_map.argmax(), distance_map.shape)
    with torch.inference_mode():
        named = distance_of_product(embeddings[0, :, i, j] @ reference.vectors[number])
        return named.square().numpy(), distances[0, i, j].square().numpy()
