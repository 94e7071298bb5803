"""An image that is measured tile by tile has the map that it has whole, and all that follows from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blemish.detection import tiling
from blemish.detection.detector import Detector
from blemish.detection.preparation import Preparation, Prepared
from blemish.detection.runtime import Distances, Runtime
from blemish.detection.scoring import N_WORST
from blemish.detection.tiling import at_once, measure, reach
from blemish.errors import ModelFileError
from blemish.learning.assembly import SMOOTHING
from blemish.learning.graph import DistanceModel, build_graph
from blemish.learning.network import NEAR, PATCH_SIZE, STRIDE, WIDE, BoundedNetwork, Sight, TripletNetwork
from blemish.learning.reference import MEDOIDS, ToNearest, ToNearestHere, ToPrototype
from blemish.results import FloatArray

BOUND = 1e-5  # of distances, as `tiling.measure` says
OURS = Preparation(None, None, 1.0, 0.0, 1.0, 4, WIDE.view, 4, 2)
PAPERS = Preparation(None, None, 1.0, None, None, 1, PATCH_SIZE, STRIDE, PATCH_SIZE / 2)
SIZES = [(300, 420), (404, 132), (64, 500), (332, 308)]


def noise(height: int, width: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


def network(sight: Sight) -> BoundedNetwork:
    made = BoundedNetwork(torch.Generator().manual_seed(0), sight)
    with torch.no_grad():
        made.train()(torch.from_numpy(np.stack([noise(64, 64, seed) for seed in range(4)]))[:, None])
    return made.eval()


def normalised(*shape: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(np.random.default_rng(1).normal(size=shape)).float(), dim=1)


def nearest(sight: Sight = WIDE) -> bytes:
    bank = normalised(64, 32) * BoundedNetwork.RADIUS
    return build_graph(DistanceModel(network(sight), ToNearest(bank.half().float()), SMOOTHING, N_WORST).eval())


def prototype(*cells: int) -> bytes:
    papers = TripletNetwork(torch.Generator().manual_seed(0)).eval()
    return build_graph(DistanceModel(papers, ToPrototype(torch.zeros(16, *cells))).eval())


KINDS = {
    "ours, wide": (nearest(), OURS, N_WORST),
    "ours, near": (nearest(NEAR), replace(OURS, patch_size=NEAR.view), N_WORST),
    "the paper's": (prototype(1, 1), PAPERS, 1),
}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "WHOLE", 0)
    monkeypatch.setattr(tiling, "_CORE", 64)


def as_it_is(image: FloatArray) -> Prepared:
    return Prepared(*image.shape, lambda top, bottom: image[top:bottom])


def assert_same(found: Distances, expected: Distances) -> None:
    np.testing.assert_allclose(found.distance_map, expected.distance_map, atol=BOUND, rtol=BOUND)
    for name in ("score", "max_distance", "mean_distance"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=BOUND, rel=BOUND)
    assert found.nearest == expected.nearest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
class TestTiles:
    def test_measure_what_the_whole_image_measures(self, kind: str, size: tuple[int, int]) -> None:
        graph, preparation, n_worst = KINDS[kind]
        runtime, image = Runtime(graph), noise(*size)
        assert_same(measure(runtime, as_it_is(image), preparation, n_worst), runtime.run(image))

    def test_leave_out_what_is_ignored(self, kind: str, size: tuple[int, int]) -> None:
        graph, preparation, n_worst = KINDS[kind]
        runtime, image = Runtime(graph), noise(*size)
        counted = (noise(*preparation.cells(*size), seed=5) > 0.3).astype(np.float32)
        counted[:, : 64 // preparation.stride] = 0  # whole tiles
        found = measure(runtime, as_it_is(image), preparation, n_worst, counted)
        assert_same(found, runtime.run(image, counted))
        assert (found.distance_map[counted == 0] == 0).all()

    def test_are_small_and_of_one_size(self, kind: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        graph, preparation, n_worst = KINDS[kind]
        runtime, shapes = Runtime(graph), []
        run = runtime.run
        monkeypatch.setattr(runtime, "run", lambda image, counted: shapes.append(image.shape) or run(image, counted))
        measure(runtime, as_it_is(noise(*size)), preparation, n_worst)
        assert len(shapes) > 1
        assert len(set(shapes)) == 1
        assert max(shapes[0][1:]) <= 64 + 2 * (reach(preparation) + 24)


@pytest.mark.parametrize("sight", [NEAR, WIDE], ids=["near", "wide"])
@pytest.mark.parametrize("phase", range(BoundedNetwork.COARSEST // BoundedNetwork.STRIDE))
def test_a_cell_does_not_see_beyond_its_reach(sight: Sight, phase: int) -> None:
    far = reach(replace(OURS, patch_size=sight.view)) - BoundedNetwork.STRIDE  # of a cell that is not averaged
    cell = 32 + phase
    centre = BoundedNetwork.STRIDE * cell + 2
    image = noise(288, 288)
    other = image + 100
    seen = slice(int(centre - far), int(centre + far))
    other[seen, seen] = image[seen, seen]
    with torch.inference_mode():
        ours, theirs = (network(sight)(torch.from_numpy(each)[None, None])[0, :, cell, cell] for each in (image, other))
    torch.testing.assert_close(ours, theirs, atol=BOUND, rtol=0)


@pytest.mark.parametrize("kind", ["ours", "the paper's"])
def test_an_image_that_is_compared_place_by_place_is_one_tile(kind: str) -> None:
    if kind == "ours":
        medoids = normalised(MEDOIDS, 32, 40, 50) * BoundedNetwork.RADIUS
        graph = build_graph(
            DistanceModel(network(NEAR), ToNearestHere(medoids.half().float()), SMOOTHING, N_WORST).eval()
        )
        preparation, n_worst = replace(OURS, height=160, width=200), N_WORST
    else:
        graph, preparation, n_worst = prototype(69, 69), Preparation.of_squares(200, PATCH_SIZE, STRIDE), 1
    runtime = Runtime(graph)
    image = noise(preparation.height or 0, preparation.width or 0)
    found, expected = measure(runtime, as_it_is(image), preparation, n_worst), runtime.run(image)
    assert (found.distance_map == expected.distance_map).all()
    assert (found.score, found.mean_distance, found.nearest) == (
        expected.score,
        expected.mean_distance,
        expected.nearest,
    )


def test_a_usual_image_is_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "WHOLE", 300 * 420)
    graph, preparation, n_worst = KINDS["ours, wide"]
    runtime, image = Runtime(graph), noise(300, 420)
    found = measure(runtime, as_it_is(image), preparation, n_worst)
    assert (found.distance_map == runtime.run(image).distance_map).all()


def test_a_graph_that_scores_by_another_rule_is_refused() -> None:
    graph, preparation, _ = KINDS["ours, wide"]
    with pytest.raises(ModelFileError, match="by a rule that this Blemish does not know"):
        measure(Runtime(graph), as_it_is(noise(300, 420)), preparation, n_worst=1)


def test_a_detector_finds_in_tiles_what_it_finds_in_the_whole_image(
    nearest_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = replace(nearest_detector.description, preparation=OURS, reference="category")
    detector = Detector(replace(nearest_detector.model, graph=nearest(), description=about, patches=None))
    detector = detector.with_threshold(float(np.median(detector.inspect(noise(300, 420)).anomaly_map)))
    tiled = detector.inspect(noise(300, 420))
    monkeypatch.setattr(tiling, "WHOLE", 2**20)
    whole = detector.inspect(noise(300, 420))
    assert tiled.verdict == whole.verdict
    assert tiled.score == pytest.approx(whole.score, abs=BOUND)
    assert tiled.evidence == whole.evidence or (
        tiled.evidence and whole.evidence and tiled.evidence.row == whole.evidence.row
    )
    np.testing.assert_allclose(tiled.anomaly_map, whole.anomaly_map, atol=BOUND)


@pytest.mark.parametrize(("height", "width"), [(100, 100), (1024, 1024), (3000, 1100), (20, 60_000)])
def test_of_an_image_too_large_for_a_graph_at_once_a_part_is_taken(height: int, width: int) -> None:
    image = np.zeros((height, width), dtype=np.float32)
    part = at_once(image, OURS)
    assert part.size <= tiling.WHOLE
    assert part.shape == image.shape or image.size > tiling.WHOLE
    assert at_once(image, replace(OURS, height=height, width=width)) is image
