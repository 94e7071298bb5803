"""The graph is the network: parity with PyTorch, and the proof that refuses anything else."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from blemish.detection.runtime import Runtime
from blemish.errors import TrainingError
from blemish.images import prepare, read_image, write_image
from blemish.learning.graph import TOLERANCE, DistanceModel, build_graph, check_graph
from blemish.learning.network import TripletNetwork
from blemish.learning.reference import Reference, ToPrototype, mean_embedding


def make_model(height: int, width: int, kind: Reference) -> DistanceModel:
    generator = torch.Generator().manual_seed(0)
    network = TripletNetwork(generator).eval()
    cells = (1, 1) if kind is Reference.CATEGORY else ((height - 64) // 2 + 1, (width - 64) // 2 + 1)
    return DistanceModel(network, ToPrototype(torch.rand(16, *cells, generator=generator))).eval()


def prototype_of(model: DistanceModel) -> torch.Tensor:
    assert isinstance(model.reference, ToPrototype)
    return model.reference.prototype


def images(height: int, width: int, count: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((count, height, width), dtype=np.float32))


@pytest.mark.parametrize("kind", Reference)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 131), (256, 200)])
def test_the_graph_scores_like_pytorch(height: int, width: int, kind: Reference) -> None:
    model = make_model(height, width, kind)
    assert check_graph(build_graph(model), model, images(height, width)) <= TOLERANCE


def test_one_graph_with_a_prototype_per_category_takes_any_size() -> None:
    graph = build_graph(make_model(64, 64, Reference.CATEGORY))
    for height, width in ((64, 64), (70, 300)):
        cells = ((height - 64) // 2 + 1, (width - 64) // 2 + 1)
        assert Runtime(graph).run(images(height, width)[0]).distance_map.shape == cells


def test_the_papers_scores_are_maximum_and_mean_of_the_map() -> None:
    found = Runtime(build_graph(make_model(90, 90, Reference.LOCATION))).run(images(90, 90)[0])
    assert found.score == found.max_distance == found.distance_map.max()
    assert found.mean_distance == pytest.approx(found.distance_map.mean(), rel=1e-5)


def test_distances_are_those_of_the_definition() -> None:
    model = make_model(66, 64, Reference.LOCATION)
    image = images(66, 64)[0]
    with torch.inference_mode():
        embedding = model.network(torch.from_numpy(image)[None, None])[0].numpy()
    prototype = prototype_of(model).numpy()
    expected = [np.sqrt(sum((embedding[d, i, 0] - prototype[d, i, 0]) ** 2 for d in range(16))) for i in range(2)]
    assert Runtime(build_graph(model)).run(image).distance_map[:, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("constant", range(6))
def test_a_graph_with_one_altered_constant_is_refused(constant: int) -> None:
    model = make_model(80, 80, Reference.LOCATION)
    graph = onnx.load_from_string(build_graph(model))
    tensor = graph.graph.initializer[constant]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.01), tensor.name))
    with pytest.raises(TrainingError, match="differ from PyTorch"):
        check_graph(graph.SerializeToString(), model, images(80, 80))


def test_distances_that_are_no_numbers_are_refused() -> None:
    model = make_model(80, 80, Reference.LOCATION)
    prototype_of(model).fill_(torch.nan)
    with pytest.raises(TrainingError):
        check_graph(build_graph(model), model, images(80, 80))


@pytest.mark.parametrize("kind", Reference)
def test_the_prototype_is_the_mean_embedding(tmp_path: Path, kind: Reference) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, image in zip(paths, images(100, 90, count=3), strict=True):
        write_image(path, image)
    network = TripletNetwork(torch.Generator().manual_seed(1)).eval()
    with torch.inference_mode():
        pixels = np.stack([prepare(read_image(path), 96, 96) for path in paths])
        embeddings = network(torch.from_numpy(pixels)[:, None])  # (3, 16, h, w)
    plain = embeddings.mean(dim=0) if kind is Reference.LOCATION else embeddings.mean(dim=(0, 2, 3))[:, None, None]
    torch.testing.assert_close(mean_embedding(network, paths, 96, kind), plain)
