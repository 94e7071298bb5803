"""Colour: what a detector sees beside the grey where its good images have colours."""

import base64
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blemish import Detector, Verdict, enroll
from blemish.detection.evidence import PATCH, Patches
from blemish.detection.preparation import Preparation
from blemish.detection.runtime import Runtime
from blemish.detection.tiling import measure
from blemish.drawing import SURFACES, draw_surface
from blemish.errors import ImageError, ModelFileError
from blemish.evaluation.compare import compare
from blemish.images import DIFFERENCES, as_image, colour_difference, rgb, write_image
from blemish.learning.accept import accept
from blemish.learning.assembly import SMOOTHING, coloured_network
from blemish.learning.graph import TOLERANCE, DistanceModel, build_graph, check_graph, read_reference
from blemish.learning.nearest import PreparedImages
from blemish.learning.network import (
    NEAR,
    WIDE,
    BoundedNetwork,
    ColouredNetwork,
    cell_colours,
    our_network,
    weights_to_arrays,
)
from blemish.learning.quantise import calibration_images, quantised_graph
from blemish.learning.reference import Reference, embed, nearest_reference
from blemish.learning.survey import survey, thinned
from blemish.report.batch import inspect_batch
from blemish.report.overlay import comparison, decode_picture
from blemish.results import FloatArray
from blemish.strips import GreyImage

STRIDE = BoundedNetwork.STRIDE
COLOURED = Preparation(None, None, 0.5, 0.2, 0.7, STRIDE, 42, STRIDE, STRIDE / 2, coloured=True)
N_WORST = 20
SIDE = 96


def noise(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# --- images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", DIFFERENCES)
class TestDifference:
    def test_is_what_a_colour_has_more_than_the_grey(self, channel: int) -> None:
        image = noise(7, 9, 3)
        assert colour_difference(image, channel) + as_image(image) == pytest.approx(image[:, :, channel], abs=1e-6)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_of_grey_is_nothing(self, channel: int, dtype: type) -> None:
        levels = np.linspace(0, np.iinfo(dtype).max, 999).astype(dtype)[None]
        assert not colour_difference(levels, channel).any()
        assert np.abs(colour_difference(np.stack([levels] * 3, axis=-1), channel)).max() < 1e-6

    def test_is_shown_over_black_where_an_image_is_transparent(self, channel: int) -> None:
        image, opacity = noise(7, 9, 3), noise(7, 9, 1, seed=1)
        expected = colour_difference(image * opacity, channel)
        found = colour_difference(np.concatenate([image, opacity], axis=2), channel)
        assert found == pytest.approx(expected, abs=1e-6)


def test_grey_and_differences_make_the_picture_again() -> None:
    image = noise(7, 9, 3)
    blue, red = (colour_difference(image, channel) for channel in DIFFERENCES)
    assert rgb(as_image(image), blue, red) == pytest.approx(image, abs=1e-5)


def test_a_file_and_its_pixels_have_the_same_colours(tmp_path: Path) -> None:
    image = np.rint(255 * noise(20, 30, 3)).astype(np.uint8)
    write_image(tmp_path / "image.png", image)
    ours, theirs = GreyImage.of(image).differences(), GreyImage.open(tmp_path / "image.png").differences()
    assert len(ours) == len(theirs) == 2
    for one, other, channel in zip(ours, theirs, DIFFERENCES, strict=True):
        assert (one.whole() == other.whole()).all()
        assert (one.whole() == colour_difference(image, channel)).all()


def test_a_grey_image_has_no_colours(tmp_path: Path) -> None:
    write_image(tmp_path / "image.png", noise(20, 30))
    assert GreyImage.open(tmp_path / "image.png").differences() == ()
    assert GreyImage.of(noise(20, 30)).differences() == ()


# --- preparation ---------------------------------------------------------------------------------------------------


class TestPrepared:
    def test_makes_a_picture_with_the_contrast_of_its_grey(self) -> None:
        image = noise(4, 6, 1) * 0.1 + np.float32([0.45, 0.5, 0.55])
        prepared = replace(COLOURED, scale=1.0).prepared(GreyImage.of(image))
        expected = (as_image(image)[..., None] - 0.2) / 0.5 + image - as_image(image)[..., None]
        assert prepared.picture(0, 4)[:, :6] == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize(
        "colour", [(204, 26, 26), (230, 120, 20), (30, 120, 60), (160, 90, 60), (20, 60, 160)], ids=str
    )
    def test_shows_a_scratch_on_an_even_surface_of_a_strong_colour(self, colour: tuple[int, int, int]) -> None:
        image = np.float32(colour) / 255 + 0.01 * (noise(16, 16, 1) - 0.5)
        grey = as_image(image)
        even = replace(COLOURED, black=float(grey.min()) - 0.01, white=float(grey.max()) + 0.01)
        scratched = image.copy()
        scratched[8:10] -= 0.05
        pictures = [even.prepared(GreyImage.of(np.clip(each, 0, 1))).picture(8, 10) for each in (image, scratched)]
        assert np.abs(pictures[1] - pictures[0]).max(axis=2).mean() > 0.2

    def test_the_strongest_colours_are_whole_however_even_the_grey(self) -> None:
        even = replace(COLOURED, black=0.29, white=0.3)
        image = np.zeros((8, 8, 3), dtype=np.float32)
        image[:4, :, 0] = 1  # red, and blue
        image[4:, :, 2] = 1
        found = even.prepared(GreyImage.of(image)).all_pixels()[1:]
        assert 0 < found.min() < found.max() < 1
        assert (2 * found - 1)[1, 0, 0] == pytest.approx(1 - 0.299, abs=1e-5)

    @pytest.mark.parametrize("shape", [(37, 41), (64, 64), (3, 70)], ids=str)
    def test_all_planes_lie_alike(self, shape: tuple[int, int]) -> None:
        bright = noise(*shape)  # red and blue differ from the grey by a share of it: wherever it lies, they lie
        image = bright[..., None] * np.float32([0.5, 0.4, 0.3])
        grey, blue, red = replace(COLOURED, black=0.0, white=1.0).prepared(GreyImage.of(image)).all_pixels()
        luma = float(as_image(np.float32([[[0.5, 0.4, 0.3]]]))[0, 0])
        assert 2 * blue - 1 == pytest.approx((0.3 - luma) / luma * grey, abs=1e-5)
        assert 2 * red - 1 == pytest.approx((0.5 - luma) / luma * grey, abs=1e-5)

    def test_a_grey_image_is_one_without_colour(self) -> None:
        image = noise(40, 50)
        found = COLOURED.prepared(GreyImage.of(image)).all_pixels()
        assert (found[1:] == 0.5).all()
        assert (found[0] == COLOURED.apply(image)).all()
        assert found == pytest.approx(COLOURED.prepared(GreyImage.of(np.stack([image] * 3, -1))).all_pixels(), abs=1e-6)

    def test_without_colours_asked_for_there_is_the_grey_alone(self) -> None:
        image = noise(40, 50, 3)
        found = replace(COLOURED, coloured=False).prepared(GreyImage.of(image)).all_pixels()
        assert found.shape[0] == 1
        assert (found[0] == COLOURED.prepared(GreyImage.of(image)).all_pixels()[0]).all()

    def test_another_grey_leaves_the_colours(self) -> None:
        prepared = COLOURED.prepared(GreyImage.of(noise(40, 50, 3)))
        other = noise(*prepared.shape, seed=1)
        found = prepared.with_grey(other).all_pixels()
        assert (found[0] == other).all()
        assert (found[1:] == prepared.all_pixels()[1:]).all()


# --- the network ---------------------------------------------------------------------------------------------------


def coloured(wide: bool = False, gain: float = 5.0) -> ColouredNetwork:
    network = BoundedNetwork(generator(), WIDE if wide else NEAR)
    with torch.no_grad():
        network.train()(torch.from_numpy(noise(8, 1, 64, 64)))
    return ColouredNetwork(network.eval(), torch.tensor([0.4, 0.6]), gain).eval()


def joined_to(images: list[FloatArray], kind: Reference, counted: Sequence[FloatArray] = ()) -> ColouredNetwork:
    """The network with what colours are worth on these images."""
    network = coloured().network
    colours = [cell_colours(torch.from_numpy(image[1:])) for image in images]
    return coloured_network(
        network, embed(network, [image[:1] for image in images]), colours, kind, generator(), counted
    )


def in_one_colour(blue: float, red: float, height: int = 32, width: int = 40) -> FloatArray:
    pixels = noise(3, height, width)
    pixels[1], pixels[2] = blue, red
    return pixels


class TestEmbedding:
    def test_has_the_length_of_all_others(self) -> None:
        (embedding,) = embed(coloured(), [noise(3, 32, 40)])
        assert embedding.shape == (35, 8, 10)
        assert embedding.norm(dim=0).numpy() == pytest.approx(BoundedNetwork.RADIUS, abs=1e-5)

    def test_of_another_hue_differs_in_the_colours_alone(self) -> None:
        one, other = embed(coloured(), [in_one_colour(0.4, 0.6), in_one_colour(0.5, 0.6)])
        assert torch.equal(one[:32], other[:32])
        assert ((one - other).norm(dim=0) > 0.5).all()

    @pytest.mark.parametrize("direction", [(1, 0), (0, -1), (0.6, 0.8)])
    def test_is_the_farther_the_less_usual_the_colour(self, direction: tuple[float, float]) -> None:
        steps = np.linspace(0, 0.4, 9)
        found = embed(coloured(), [in_one_colour(0.4 + s * direction[0], 0.6 + s * direction[1]) for s in steps])
        distances = [float((each - found[0]).norm(dim=0).mean()) for each in found]
        assert (np.diff(distances) > 0).all()

    def test_is_that_of_the_mean_colour_of_a_cell(self) -> None:
        pixels = noise(3, 32, 40)
        mean = pixels.copy()
        for plane in mean[1:]:
            plane[:] = np.kron(plane.reshape(8, 4, 10, 4).mean(axis=(1, 3)), np.ones((4, 4)))
        one, other = embed(coloured(), [pixels, mean])
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)

    def test_comes_back_from_the_stored_weights(self) -> None:
        network = coloured(wide=True)
        again = our_network(weights_to_arrays(network))
        assert isinstance(again, ColouredNetwork)
        assert torch.equal(embed(network, [noise(3, 48, 48)])[0], embed(again, [noise(3, 48, 48)])[0])


@pytest.mark.parametrize("kind", Reference)
def test_distances_to_what_is_kept_are_those_of_the_definition(kind: Reference) -> None:
    network = coloured()
    good, other = (embed(network, [noise(3, 32, 40, seed=seed)])[0] for seed in (0, 1))
    reference = nearest_reference([good], kind, generator())
    vectors = reference.vectors
    assert vectors.norm(dim=1).numpy() == pytest.approx(BoundedNetwork.RADIUS, abs=1e-6)
    found = reference(other[None])[0].flatten()
    apart = torch.cdist(other.flatten(1).T.double(), vectors.double())
    expected = apart.amin(dim=1) if kind is Reference.CATEGORY else apart.diagonal()
    assert (found.numpy() <= expected.numpy() + 1e-4).all()
    if kind is Reference.CATEGORY:
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    else:  # or a cell beside it
        assert (found.numpy() >= apart.amin(dim=1).numpy() - 1e-4).all()
    back = read_reference(build_graph(DistanceModel(network, reference, SMOOTHING, N_WORST).eval()))
    torch.testing.assert_close(back.vectors, vectors, atol=1e-6, rtol=0)


class TestWorth:
    """How much a difference of colours counts follows from how much those of good images differ."""

    @pytest.mark.parametrize("kind", Reference)
    def test_steadier_colours_count_more(self, kind: Reference) -> None:
        def gain(spread: float) -> float:
            images = [noise(3, 48, 48, seed=seed) for seed in range(6)]
            for image in images:
                image[1:] = 0.5 + spread * (image[1:] - 0.5)
            return float(joined_to(images, kind).gain)

        assert gain(0.1) == pytest.approx(10 * gain(1.0), rel=0.05)

    @pytest.mark.parametrize("kind", Reference)
    def test_one_odd_image_does_not_say_what_good_colours_do(self, kind: Reference) -> None:
        images = [noise(3, 48, 48, seed=seed) for seed in range(8)]
        for image in images:
            image[1:] = 0.7 + 0.02 * image[1:]
        expected = float(joined_to(images, kind).gain)
        images[3][1:] = 0.5
        found = float(joined_to(images, kind).gain)
        assert found == pytest.approx(expected, rel=0.25)

    @pytest.mark.parametrize("kind", Reference)
    def test_strong_colours_stay_where_they_can_be_told_apart(self, kind: Reference) -> None:
        images = [noise(3, 48, 48, seed=seed) for seed in range(4)]
        for image in images:
            image[1:] = 0.5 + 0.001 * image[1:]
            image[1, :, 30:] += 0.2  # another material
        network = joined_to(images, kind)
        assert float(network.gain) * 0.2 <= 2.01
        assert kind is Reference.CATEGORY or float(network.gain) * 0.2 > 1.9  # at its place each colour is steady
        fading = images[0].copy()
        fading[1, :, 30:] -= 0.03
        one, other = embed(network, [images[0], fading])
        assert float((one - other).norm(dim=0)[:, 8:].min()) > 0.1

    @pytest.mark.parametrize("kind", Reference)
    def test_what_is_ignored_says_nothing(self, kind: Reference) -> None:
        images = [noise(3, 48, 48, seed=seed) for seed in range(4)]
        counted = np.zeros((12, 12), dtype=np.float32)
        counted[:3, :3] = 1
        wild = [image.copy() for image in images]
        for image in wild:
            image[1:, 12:] = 1
            image[1:, :, 12:] = 1
        found = [joined_to(each, kind, [counted] * 4) for each in (images, wild)]
        assert torch.equal(found[0].usual, found[1].usual)
        assert float(found[0].gain) == pytest.approx(float(found[1].gain), rel=1e-5)

    @pytest.mark.parametrize("kind", Reference)
    def test_what_counts_on_one_image_alone_is_no_error(self, kind: Reference) -> None:
        images = [noise(3, 48, 48, seed=seed) for seed in range(2)]
        counted = [np.full((1, 1), counts, dtype=np.float32) for counts in (0, 1)]
        network = joined_to(images, kind, counted)
        assert np.isfinite(float(network.gain))
        assert float(network.gain) > 0

    @pytest.mark.parametrize("kind", Reference)
    @pytest.mark.parametrize("counts", [0.0, 1.0])
    def test_one_image_is_no_error_nor_is_one_that_is_ignored(self, kind: Reference, counts: float) -> None:
        everywhere = np.full((1, 1), counts, dtype=np.float32)
        network = joined_to([noise(3, 48, 48)], kind, [everywhere])
        assert np.isfinite(float(network.gain))
        assert float(network.gain) > 0

    @pytest.mark.parametrize("kind", Reference)
    def test_colours_that_never_differ_are_no_error(self, kind: Reference) -> None:
        images = [noise(3, 48, 48, seed=seed) for seed in range(2)]
        for image in images:
            image[1:] = 0.5
        network = joined_to(images, kind)
        assert np.isfinite(float(network.gain))
        assert torch.isfinite(embed(network, [noise(3, 48, 48)])[0]).all()


# --- the graph -----------------------------------------------------------------------------------------------------


def model_of(kind: Reference, size: tuple[int, int]) -> DistanceModel:
    network = coloured(wide=kind is Reference.CATEGORY)
    good = embed(network, [noise(3, *size, seed=seed) for seed in range(4)])
    return DistanceModel(network, nearest_reference(good, kind, generator()), SMOOTHING, N_WORST).eval()


@pytest.mark.parametrize("kind", Reference)
@pytest.mark.parametrize("size", [(64, 64), (40, 100), (132, 92)], ids=str)
class TestGraph:
    def test_measures_like_pytorch(self, kind: Reference, size: tuple[int, int]) -> None:
        model = model_of(kind, size)
        images = [noise(3, *size, seed=seed) for seed in (0, 7)]  # one of the reference set, and another
        assert check_graph(build_graph(model), model, images) <= TOLERANCE

    def test_sees_a_hue(self, kind: Reference, size: tuple[int, int]) -> None:
        runtime, image = Runtime(build_graph(model_of(kind, size))), noise(3, *size)
        stained = image.copy()
        stained[1, 16:32, 16:32] = 1 - stained[1, 16:32, 16:32].mean().round()
        change = runtime.run(stained).distance_map - runtime.run(image).distance_map
        assert change[5:7, 5:7].min() > 0.1
        assert np.abs(change[:, 10:]).max() < 1e-4

    def test_refuses_an_image_without_its_colours(self, kind: Reference, size: tuple[int, int]) -> None:
        with pytest.raises(ModelFileError, match="fails"):
            Runtime(build_graph(model_of(kind, size))).run(noise(*size))

    def test_goes_into_8_bits(self, kind: Reference, size: tuple[int, int]) -> None:
        graph, image = build_graph(model_of(kind, size)), noise(3, *size, seed=7)
        coarse = quantised_graph(graph, [noise(3, *size, seed=seed) for seed in range(4)], spared=0)
        usual, rounded = (Runtime(each).run(image).distance_map for each in (graph, coarse))
        assert usual != pytest.approx(rounded, abs=1e-6)
        assert usual == pytest.approx(rounded, abs=1.0)


def test_tiles_measure_what_the_whole_image_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(build_graph(model_of(Reference.CATEGORY, (64, 64))))
    preparation = replace(COLOURED, scale=1.0, patch_size=WIDE.view)
    prepared = preparation.prepared(GreyImage.of(noise(300, 420, 3)))
    expected = runtime.run(prepared.all_pixels())
    monkeypatch.setattr("blemish.detection.tiling.WHOLE", 0)
    monkeypatch.setattr("blemish.detection.tiling._CORE", 64)
    found = measure(runtime, prepared, preparation, N_WORST)
    np.testing.assert_allclose(found.distance_map, expected.distance_map, atol=1e-5, rtol=1e-5)
    assert found.nearest == expected.nearest


# --- detectors -----------------------------------------------------------------------------------------------------

Draw = Callable[[int], FloatArray]


def surface(seed: int) -> FloatArray:
    """A good image: brushed metal in a warm light, with a little colour noise as cameras have it."""
    rng = np.random.default_rng([5, seed])
    grey = draw_surface(SURFACES["brushed_metal"](np.random.default_rng(0)), rng, SIDE, SIDE)
    blue, red = (rng.normal(mean, 0.01, grey.shape).astype(np.float32) for mean in (-0.06, 0.04))
    return rgb(0.2 + 0.6 * grey, blue, red)


def stained(image: FloatArray) -> FloatArray:
    """The same with a stain of another hue, which is as bright as what it lies on."""
    blue, red = (colour_difference(image, channel) for channel in DIFFERENCES)
    blue[30:60, 40:70] += 0.1
    red[30:60, 40:70] -= 0.08
    return rgb(as_image(image), blue, red)


def written(folder: Path, images: list[FloatArray]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index:02}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        write_image(path, image)
    return paths


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(tmp_path_factory.mktemp("good"), [surface(seed) for seed in range(24)])


@pytest.fixture(scope="module")
def in_colour(good: list[Path]) -> Detector:
    return enroll(good, alpha=0.1)


class TestDetector:
    def test_finds_a_stain_of_another_hue(self, in_colour: Detector) -> None:
        for seed in range(100, 104):
            found = in_colour.inspect(stained(surface(seed)))
            assert found.verdict is Verdict.DEFECTIVE
            assert found.evidence is not None
            assert 26 <= found.evidence.row < 64
            assert 36 <= found.evidence.column < 74

    def test_and_would_not_by_the_grey_alone(self, good: list[Path], tmp_path: Path) -> None:
        greys = written(tmp_path, [as_image(surface(seed)) for seed in range(24)])
        blind = enroll(greys, alpha=0.1)
        assert not blind.description.preparation.coloured
        image = surface(100)
        assert blind.inspect(stained(image)).score == pytest.approx(blind.inspect(image).score, abs=1e-3)

    def test_finds_it_on_an_even_surface_of_a_strong_colour(self, tmp_path: Path) -> None:
        def panel(seed: int) -> FloatArray:
            draws = np.random.default_rng([9, seed])
            return np.float32([20, 60, 160]) / 255 + draws.normal(0, 0.01, (SIDE, SIDE, 3)).astype(np.float32)

        detector = enroll(written(tmp_path, [panel(seed) for seed in range(12)]), alpha=0.1)
        image = panel(50)
        greenish = image.copy()
        greenish[30:60, 40:70] += np.float32([0, 5, -25]) / 255  # as bright as before
        assert detector.inspect(greenish).score > 1.5 * detector.inspect(image).score

    def test_passes_what_has_the_usual_colour(self, in_colour: Detector) -> None:
        verdicts = [in_colour.inspect(surface(seed)).verdict for seed in range(200, 230)]
        assert verdicts.count(Verdict.DEFECTIVE) <= 9  # 1 in 10 is promised; of 30, 9 or more come once in 600 times

    def test_judges_file_and_pixels_alike(self, in_colour: Detector, tmp_path: Path) -> None:
        (path,) = written(tmp_path, [stained(surface(100))])
        pixels = np.rint(255 * stained(surface(100))).astype(np.uint8)
        opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        score = in_colour.inspect(path).score
        assert in_colour.inspect(pixels).score == score
        assert in_colour.inspect(opaque).score == pytest.approx(score, abs=1e-4)
        assert in_colour.inspect(pixels.astype(np.uint16) * 257).score == pytest.approx(score, abs=1e-4)

    def test_judges_a_grey_image_too_and_finds_its_colour_missing(self, in_colour: Detector) -> None:
        found = in_colour.inspect(as_image(surface(100)))
        assert found.verdict is Verdict.DEFECTIVE
        with pytest.raises(ImageError):
            in_colour.inspect(noise(20, 30, 2))

    def test_shows_why_in_colour(self, in_colour: Detector) -> None:
        evidence = in_colour.inspect(stained(surface(100))).evidence
        assert evidence is not None
        assert evidence.nearest is not None
        assert evidence.found.shape == evidence.nearest.shape == (PATCH, PATCH, 3)
        middle = slice(PATCH // 2 - 4, PATCH // 2 + 4)
        found, nearest = (each[middle, middle].mean(axis=(0, 1)) for each in (evidence.found, evidence.nearest))
        assert found[2] - found[0] > nearest[2] - nearest[0] + 0.1  # more blue, less red
        compared = comparison(evidence)
        assert compared is not None
        assert compared.shape == (PATCH, 2 * PATCH + 4, 3)

    def test_is_compared_in_colour(self, in_colour: Detector, tmp_path: Path) -> None:
        written(tmp_path, [surface(100), stained(surface(101))])
        found = compare(in_colour, in_colour, [tmp_path])
        assert [image.scores[0] for image in found.images] == [
            in_colour.inspect(Path(image.path)).score for image in found.images
        ]

    def test_shows_the_same_in_a_report_that_is_gone_on_with(self, in_colour: Detector, tmp_path: Path) -> None:
        images = written(tmp_path / "images", [stained(surface(100))])
        shown = []
        for _ in range(2):
            inspect_batch(in_colour, images, tmp_path / "out")
            page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
            (picture,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"[^>]*alt="the worst place', page)
            shown.append(decode_picture(base64.b64decode(picture)))
        assert (np.ptp(shown[0], axis=2) > 30).any()
        assert np.abs(shown[0].astype(int) - shown[1]).max() < 30

    def test_keeps_nothing_of_the_file(self, in_colour: Detector) -> None:
        found = in_colour.inspect(surface(100))
        assert found.grey.differences() == ()
        assert (found.image == as_image(surface(100))).all()

    def test_learns_a_good_part_of_another_colour(self, in_colour: Detector, tmp_path: Path) -> None:
        (path,) = written(tmp_path, [stained(surface(100))])
        taught = accept(in_colour, [path])
        assert taught.inspect(path).score < in_colour.inspect(path).score
        assert taught.inspect(stained(surface(101))).score < in_colour.inspect(stained(surface(101))).score
        undone = taught.undo()
        assert undone.inspect(path).score == in_colour.inspect(path).score

    def test_comes_back_from_its_file_as_format_4(self, in_colour: Detector, tmp_path: Path) -> None:
        in_colour.save(tmp_path / "part.blemish")
        again = Detector.load(tmp_path / "part.blemish", runtime="auto")
        image = stained(surface(100))
        assert again.inspect(image).score == pytest.approx(in_colour.inspect(image).score, abs=1e-4)
        with zipfile.ZipFile(tmp_path / "part.blemish") as archive:
            said = json.loads(archive.read("model.json"))
        assert said["format"] == 4
        assert said["preparation"]["coloured"] is True

    def test_lends_its_network_without_its_colours(self, in_colour: Detector, tmp_path: Path) -> None:
        greys = written(tmp_path, [as_image(surface(seed)) for seed in range(50, 62)])
        borrowed = enroll(greys, network=in_colour, alpha=0.2)
        assert not borrowed.description.preparation.coloured
        part = "network."
        for name, weights in borrowed.model.weights.items():
            assert (weights == in_colour.model.weights[part + name]).all()
        others = written(tmp_path / "others", [surface(seed) for seed in range(80, 92)])
        again = enroll(others, network=borrowed, alpha=0.2)
        assert again.description.preparation.coloured

    def test_shows_its_ranges_in_all_planes(self, in_colour: Detector, good: list[Path]) -> None:
        assert {image.shape[0] for image in calibration_images(in_colour.description, good)} == {3}


def test_images_are_kept_with_the_colours_of_their_cells(good: list[Path]) -> None:
    kept = PreparedImages(good[:3], COLOURED)
    for index, path in enumerate(good[:3]):
        expected, found = COLOURED.prepared(GreyImage.open(path)).all_pixels(), kept.pixels(index)
        assert found.shape == expected.shape
        assert found[0] == pytest.approx(expected[0], abs=1e-4)
        ours, theirs = (cell_colours(torch.from_numpy(pixels[1:])) for pixels in (found, expected))
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


class TestSurvey:
    def test_most_images_decide(self, tmp_path: Path) -> None:
        images = [surface(seed) for seed in range(6)]
        greys = [as_image(image) for image in images]
        assert survey(written(tmp_path, [*images[:4], *greys[4:]])).coloured
        assert not survey(written(tmp_path, [*images[:3], *greys[3:]])).coloured  # half of them are not most
        assert not survey(written(tmp_path, [*images[:2], *greys[2:]])).coloured

    def test_a_hot_pixel_is_no_colour(self, tmp_path: Path) -> None:
        images = [np.stack([as_image(surface(seed))] * 3, axis=-1) for seed in range(4)]
        for image in images:
            image[40, 50] = 1, 0, 0
        assert not survey(written(tmp_path, images)).coloured

    def test_grey_that_is_stored_in_three_channels_is_grey(self, tmp_path: Path) -> None:
        images = [np.stack([as_image(surface(seed))] * 3, axis=-1) for seed in range(4)]
        assert not survey(written(tmp_path, images)).coloured


def test_pictures_in_colour_come_back_from_bytes() -> None:
    rows, columns = np.indices((70, 90))
    pictures = np.stack([np.stack([100 + rows, 80 + columns, 60 + 20 * i + rows // 2], -1) for i in range(3)])
    patches = Patches(pictures.astype(np.uint8), np.array([[2, 9, 8], [0, 30, 39]], dtype=np.uint16))
    again = Patches.from_bytes(patches.to_bytes())
    assert again.pictures.shape == pictures.shape
    apart = np.abs(again.pictures.astype(int) - pictures)[:, 8:-8, 8:-8]  # JPEG blurs colours where two pictures meet
    assert apart.max() < 20
    assert again.show(0).shape == (PATCH, PATCH, 3)


@pytest.mark.parametrize("step", [1, 3, 7])
def test_planes_are_thinned_strip_by_strip(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.strips.STRIP", 5 * 30)
    plane = noise(47, 30)
    assert (thinned(GreyImage.of(plane), step) == plane[::step, ::step]).all()
