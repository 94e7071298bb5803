"""What good looks like: which embeddings are kept, distances by their definition, and the same in the graph."""

import numpy as np
import onnxruntime
import pytest
import torch

from blemish.detection.runtime import Runtime
from blemish.detection.scoring import N_WORST
from blemish.learning.assembly import SMOOTHING
from blemish.learning.graph import TOLERANCE, DistanceModel, build_graph, check_graph, smooth
from blemish.learning.network import NEAR, WIDE, BoundedNetwork
from blemish.learning.reference import (
    BANK,
    MEDOIDS,
    SHIFT,
    SQUARE_FLOOR,
    Reference,
    ToNearest,
    ToNearestHere,
    embed,
    nearest_reference,
)
from blemish.results import FloatArray

RADIUS = BoundedNetwork.RADIUS
STRIDE = BoundedNetwork.STRIDE
HALF = RADIUS * 2**-11  # what half precision may round off a component
NEAREST_POSSIBLE = SQUARE_FLOOR**0.5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Scale vectors to the length that all embeddings have."""
    return torch.nn.functional.normalize(values, dim=dim) * RADIUS


def vectors(n: int, D: int = 8, seed: int = 0) -> torch.Tensor:
    return unit(torch.randn(n, D, generator=generator(seed)), dim=1)


def images(n: int, h: int, w: int, D: int = 8, seed: int = 0) -> list[torch.Tensor]:
    """Random embeddings of images."""
    return list(unit(torch.randn(n, D, h, w, generator=generator(seed)), dim=1))


def clusters(n: int, n_clusters: int, D: int = 8) -> torch.Tensor:
    """Points around some centres, nearly all of them around the first."""
    centres = vectors(n_clusters, D, seed=5)
    members = torch.cat([torch.zeros(n - n_clusters, dtype=torch.long), torch.arange(n_clusters)])
    return unit(centres[members] + 0.05 * torch.randn(n, D, generator=generator(6)), dim=1)


def farthest(points: torch.Tensor, kept: torch.Tensor) -> float:
    """Return how far the worst served of the points lies from the nearest kept one."""
    return float(torch.cdist(points, kept).amin(dim=1).max())


class TestBank:
    def test_is_made_of_real_embeddings(self) -> None:
        given = images(3, 4, 5)
        cells = torch.cat([image.flatten(1).T for image in given])
        bank = nearest_reference(given, Reference.CATEGORY, generator()).bank
        assert torch.cdist(bank, cells).amin(dim=1).max() <= HALF * 8**0.5

    def test_knows_where_every_embedding_comes_from(self) -> None:
        given = [*images(2, 4, 5), *images(1, 3, 7)]
        bank = nearest_reference(given, Reference.CATEGORY, generator())
        for vector, (image, row, column) in zip(bank.vectors, bank.origins.tolist(), strict=True):
            torch.testing.assert_close(vector, given[image][:, row, column], atol=HALF, rtol=0)

    def test_of_few_embeddings_is_all_of_them(self) -> None:
        given = images(3, 4, 5)
        assert len(nearest_reference(given, Reference.CATEGORY, generator()).bank) == 60

    def test_of_many_embeddings_has_a_limit(self) -> None:
        given = images(3, 30, 40)
        assert len(nearest_reference(given, Reference.CATEGORY, generator()).bank) == BANK

    def test_takes_images_of_different_sizes(self) -> None:
        given = [*images(1, 4, 5), *images(1, 3, 7)]
        assert len(nearest_reference(given, Reference.CATEGORY, generator()).bank) == 41

    def test_serves_every_good_embedding_better_than_a_random_choice(self) -> None:
        points = clusters(3 * BANK, 20)
        bank = nearest_reference([points.T[:, :, None]], Reference.CATEGORY, generator()).bank
        chance = points[torch.randperm(len(points), generator=generator(1))[:BANK]]
        assert farthest(points, bank) < 0.5 * farthest(points, chance)

    def test_has_what_is_rare_in_one_image(self) -> None:
        """However many cells there are, of which a draw would take one in ten."""
        rare = unit(-torch.ones(8), dim=0)
        for seed in range(5):
            cells = unit(torch.ones(8) + 0.3 * torch.randn(2, 700, 700, 8, generator=generator(seed)), dim=3)
            cells[1, 300, 20 + seed] = rare
            bank = nearest_reference(list(cells.permute(0, 3, 1, 2)), Reference.CATEGORY, generator(seed)).bank
            assert (bank @ rare).max() > 0.999 * (rare @ rare)

    def test_same_generator_same_bank(self) -> None:
        given = images(3, 20, 20)
        first, again = (nearest_reference(given, Reference.CATEGORY, generator(2)).bank for _ in range(2))
        assert torch.equal(first, again)


class TestMedoids:
    def test_of_a_location_are_real_embeddings_of_that_location(self) -> None:
        given = images(2 * MEDOIDS, 3, 4)
        medoids = nearest_reference(given, Reference.LOCATION, generator()).medoids
        for y, x in np.ndindex(3, 4):
            here = torch.stack([image[:, y, x] for image in given])
            assert torch.cdist(medoids[:, :, y, x], here).amin(dim=1).max() <= HALF * 8**0.5

    def test_of_a_location_are_all_different(self) -> None:
        medoids = nearest_reference(images(2 * MEDOIDS, 3, 4), Reference.LOCATION, generator()).medoids
        for y, x in np.ndindex(3, 4):
            assert torch.pdist(medoids[:, :, y, x]).min() > 0

    def test_know_which_image_each_comes_from(self) -> None:
        given = images(2 * MEDOIDS, 3, 4)
        reference = nearest_reference(given, Reference.LOCATION, generator())
        for number, (vector, image) in enumerate(zip(reference.vectors, reference.origins.tolist(), strict=True)):
            row, column = divmod(number % 12, 4)
            torch.testing.assert_close(vector, given[image][:, row, column], atol=HALF, rtol=0)

    def test_of_few_images_are_all_of_them(self) -> None:
        given = images(MEDOIDS - 3, 3, 4)
        reference = nearest_reference(given, Reference.LOCATION, generator())
        assert len(reference.medoids) == len(given)
        rounded = (SQUARE_FLOOR + 2 * RADIUS * HALF * 8**0.5) ** 0.5
        assert reference(torch.stack(given)).max() <= rounded

    def test_find_every_cluster(self) -> None:
        points = clusters(10 * MEDOIDS, MEDOIDS)  # (n, D)
        given = [point[:, None, None].expand(-1, 2, 3) for point in points]
        medoids = nearest_reference(given, Reference.LOCATION, generator()).medoids[:, :, 1, 2]
        assert farthest(points, medoids) < 0.6

    def test_serve_every_good_embedding_better_than_a_random_choice(self) -> None:
        points = clusters(10 * MEDOIDS, MEDOIDS)
        medoids = nearest_reference([p[:, None, None] for p in points], Reference.LOCATION, generator()).medoids
        chance = [points[torch.randperm(len(points), generator=generator(s))[:MEDOIDS]] for s in range(20)]
        assert farthest(points, medoids[:, :, 0, 0]) < 0.5 * min(farthest(points, kept) for kept in chance)


def slow_here(embeddings: torch.Tensor, medoids: torch.Tensor) -> list[float]:
    B, _, h, w = embeddings.shape
    found = []
    for b, y, x in np.ndindex(B, h, w):
        squares = [
            float((embeddings[b, :, y, x] - medoids[k, :, i, j]).square().sum())
            for k in range(len(medoids))
            for i in range(max(y - SHIFT, 0), min(y + SHIFT + 1, h))
            for j in range(max(x - SHIFT, 0), min(x + SHIFT + 1, w))
        ]
        found.append(max(min(squares), SQUARE_FLOOR) ** 0.5)
    return found


class TestToNearestHere:
    @pytest.mark.parametrize("cells", [(4, 5), (1, 1), (1, 6), (5, 2)], ids=str)
    def test_is_the_distance_to_the_nearest_medoid_nearby(self, cells: tuple[int, int]) -> None:
        medoids, embeddings = (torch.stack(images(3, *cells, seed=seed)) for seed in (0, 1))
        found = ToNearestHere(medoids)(embeddings)
        assert found.flatten().tolist() == pytest.approx(slow_here(embeddings, medoids), abs=1e-4)

    def test_a_shift_by_a_cell_is_forgiven(self) -> None:
        (good,) = images(1, 9, 11)
        reference = ToNearestHere(good[None])
        for dy, dx in [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1)]:
            moved = torch.roll(good, (dy, dx), dims=(1, 2))
            inside = reference(moved[None])[0, 1:-1, 1:-1]
            assert inside.max() < NEAREST_POSSIBLE + 1e-3

    def test_a_shift_by_two_cells_is_not(self) -> None:
        (good,) = images(1, 9, 11)
        reference = ToNearestHere(good[None])
        for dy, dx in [(SHIFT + 1, 0), (0, SHIFT + 1), (-SHIFT - 1, 0), (SHIFT + 1, SHIFT + 1)]:
            moved = torch.roll(good, (dy, dx), dims=(1, 2))
            assert reference(moved[None]).min() > 10 * NEAREST_POSSIBLE

    def test_a_medoid_more_brings_nothing_further_away(self) -> None:
        medoids, embeddings = (torch.stack(images(4, 4, 5, seed=seed)) for seed in (0, 1))
        assert (ToNearestHere(medoids)(embeddings) <= ToNearestHere(medoids[:3])(embeddings)).all()


class TestToNearest:
    def test_is_the_distance_to_the_nearest_of_the_bank(self) -> None:
        bank, embeddings = vectors(17), torch.stack(images(2, 4, 5, seed=1))
        expected = [
            max(min(float((embeddings[b, :, y, x] - kept).square().sum()) for kept in bank), SQUARE_FLOOR) ** 0.5
            for b, y, x in np.ndindex(2, 4, 5)
        ]
        assert ToNearest(bank)(embeddings).flatten().tolist() == pytest.approx(expected, abs=1e-4)

    def test_places_do_not_matter(self) -> None:
        (good,) = images(1, 4, 5)
        turned = torch.rot90(good, dims=(1, 2))
        assert ToNearest(good.flatten(1).T)(turned[None]).max() < NEAREST_POSSIBLE + 1e-3

    def test_distances_are_at_most_twice_the_length_of_embeddings(self) -> None:
        (good,) = images(1, 4, 5)
        opposite = ToNearest(-good[:, :1, 0].T)(good[None])[0, 0, 0]
        assert float(opposite) == pytest.approx(2 * RADIUS, abs=1e-4)


def noise(height: int, width: int, n: int = 1, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).random((n, height, width), dtype=np.float32)


def make_model(kind: Reference, height: int, width: int) -> DistanceModel:
    """A network that has seen some images, and what they taught it of good ones."""
    network = BoundedNetwork(generator(), NEAR if kind is Reference.LOCATION else WIDE)
    with torch.no_grad():
        network.train()(torch.from_numpy(noise(64, 64, n=8))[:, None])
    network.eval()
    good = embed(network, noise(height, width, n=4, seed=1))
    return DistanceModel(network, nearest_reference(good, kind, generator()), SMOOTHING, N_WORST).eval()


SIZES = [(64, 64), (40, 100), (132, 92)]


@pytest.mark.parametrize("kind", Reference)
@pytest.mark.parametrize("size", SIZES, ids=str)
class TestGraph:
    def test_measures_like_pytorch(self, kind: Reference, size: tuple[int, int]) -> None:
        model = make_model(kind, *size)
        assert check_graph(build_graph(model), model, noise(*size, n=2, seed=2)) <= TOLERANCE

    def test_measures_a_good_image_of_its_reference_set_like_pytorch(
        self, kind: Reference, size: tuple[int, int]
    ) -> None:
        model = make_model(kind, *size)
        assert check_graph(build_graph(model), model, noise(*size, n=4, seed=1)) <= TOLERANCE

    def test_measures_a_batch_like_its_images(self, kind: Reference, size: tuple[int, int]) -> None:
        graph = build_graph(make_model(kind, *size))
        two = noise(*size, n=2, seed=2)
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        inputs = {"pixels": two[:, None], "counted": np.ones((1, 1), dtype=np.float32)}
        maps, scores, largest, means = session.run(["distance_map", "score", "max_distance", "mean_distance"], inputs)
        for index, image in enumerate(two):
            alone = Runtime(graph).run(image)
            np.testing.assert_allclose(maps[index], alone.distance_map, atol=TOLERANCE)
            together = (scores[index], largest[index], means[index])
            assert together == pytest.approx((alone.score, alone.max_distance, alone.mean_distance), abs=TOLERANCE)

    def test_tells_which_embedding_is_nearest_at_the_worst_cell(self, kind: Reference, size: tuple[int, int]) -> None:
        model = make_model(kind, *size)
        (image,) = noise(*size, seed=2)
        found = Runtime(build_graph(model)).run(image)
        assert isinstance(model.reference, (ToNearest, ToNearestHere))
        vectors = model.reference.vectors
        i, j = np.unravel_index(found.distance_map.argmax(), found.distance_map.shape)
        (embedding,) = embed(model.network, [image])  # type: ignore[arg-type]
        allowed = torch.arange(len(vectors))
        if kind is Reference.LOCATION:
            h, w = found.distance_map.shape
            place = allowed % (h * w)
            allowed = allowed[((place // w - i).abs() <= SHIFT) & ((place % w - j).abs() <= SHIFT)]
        apart = (vectors[allowed] - embedding[:, i, j]).norm(dim=1)
        assert found.nearest in allowed
        assert float((vectors[found.nearest] - embedding[:, i, j]).norm()) == pytest.approx(
            float(apart.min()), abs=1e-5
        )

    def test_names_the_nearest_of_every_image_of_a_batch(self, kind: Reference, size: tuple[int, int]) -> None:
        graph = build_graph(make_model(kind, *size))
        two = noise(*size, n=2, seed=2)
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        inputs = {"pixels": two[:, None], "counted": np.ones((1, 1), dtype=np.float32)}
        (nearest,) = session.run(["nearest"], inputs)
        assert nearest.tolist() == [Runtime(graph).run(image).nearest for image in two]

    def test_map_has_a_value_for_every_cell(self, kind: Reference, size: tuple[int, int]) -> None:
        found = Runtime(build_graph(make_model(kind, *size))).run(noise(*size)[0])
        assert found.distance_map.shape == (size[0] // STRIDE, size[1] // STRIDE)

    def test_score_is_the_mean_of_the_worst_cells(self, kind: Reference, size: tuple[int, int]) -> None:
        found = Runtime(build_graph(make_model(kind, *size))).run(noise(*size)[0])
        cells = sorted(found.distance_map.ravel().tolist(), reverse=True)
        n_worst = max(1, min(N_WORST, len(cells) // 50))
        assert found.score == pytest.approx(sum(cells[:n_worst]) / n_worst, abs=1e-5)

    def test_maximum_and_mean_are_those_of_the_map(self, kind: Reference, size: tuple[int, int]) -> None:
        found = Runtime(build_graph(make_model(kind, *size))).run(noise(*size)[0])
        assert found.max_distance == found.distance_map.max()
        assert found.mean_distance == pytest.approx(found.distance_map.mean(), abs=1e-5)

    def test_map_is_the_smoothed_one(self, kind: Reference, size: tuple[int, int]) -> None:
        model = make_model(kind, *size)
        image = noise(*size)[0]
        with torch.inference_mode():
            rough = model.reference(model.network(torch.from_numpy(image)[None, None]))[0].numpy()
        found = Runtime(build_graph(model)).run(image).distance_map
        np.testing.assert_allclose(found, slowly_smoothed(rough, SMOOTHING), atol=TOLERANCE)


def slowly_smoothed(distances: FloatArray, side: int) -> FloatArray:
    reach = side // 2
    smoothed = np.empty_like(distances)
    for y, x in np.ndindex(distances.shape):
        around = distances[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        smoothed[y, x] = around.mean()
    return smoothed


class TestSmoothing:
    @pytest.mark.parametrize("side", [1, 3, 5])
    def test_is_the_mean_of_the_cells_around_that_exist(self, side: int) -> None:
        distances = noise(5, 7)[0]
        found = smooth(torch.from_numpy(distances)[None], side)[0].numpy()
        np.testing.assert_allclose(found, slowly_smoothed(distances, side), atol=1e-6)

    def test_leaves_even_distances_as_they_are(self) -> None:
        even = torch.full((2, 5, 7), 1.5)
        torch.testing.assert_close(smooth(even, SMOOTHING), even)


def test_a_bank_takes_images_of_any_size() -> None:
    graph = build_graph(make_model(Reference.CATEGORY, 64, 64))
    for height, width in SIZES:
        cells = (height // STRIDE, width // STRIDE)
        assert Runtime(graph).run(noise(height, width)[0]).distance_map.shape == cells


def test_images_are_embedded_one_by_one_whatever_their_size() -> None:
    network = make_model(Reference.CATEGORY, 64, 64).network
    assert isinstance(network, BoundedNetwork)
    found = embed(network, [noise(height, width)[0] for height, width in SIZES])
    assert [tuple(one.shape[1:]) for one in found] == [(h // STRIDE, w // STRIDE) for h, w in SIZES]
