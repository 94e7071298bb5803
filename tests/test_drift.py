"""A batch of images like the good ones is quiet, one behind another lamp or lens is not, and both at a known rate."""

import re
from collections.abc import Callable
from itertools import combinations

import cv2
import numpy as np
import pytest

from blemish.detection import drift
from blemish.detection.drift import RATE, _chance, find_drift, image_statistics
from blemish.results import FloatArray
from blemish.strips import GreyImage

LATER: dict[str, Callable[[FloatArray], FloatArray]] = {
    "brightness": lambda image: image * np.float32(0.6),
    "contrast": lambda image: np.float32(0.5) + (image - np.float32(0.5)) * np.float32(0.5),
    "sharpness": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), np.float32),
    "height": lambda image: image[:-4],
    "width": lambda image: image[:, :-4],
}


def photograph(rng: np.random.Generator) -> FloatArray:
    """Draw a surface of blotches under a lamp that flickers a little."""
    surface = cv2.GaussianBlur(rng.random((48, 64), dtype=np.float32), (0, 0), 1)
    image = 0.5 + 2 * (surface - 0.5) + rng.normal(0, 0.01)
    return np.clip(image, 0, 1).astype(np.float32)


def statistics(images: list[FloatArray], distances: np.ndarray) -> list[dict[str, float]]:
    return [
        image_statistics(GreyImage.of(image), float(distance))
        for image, distance in zip(images, distances, strict=True)
    ]


def as_kept(batch: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [each[name] for each in batch] for name in batch[0]}


def drawn(rng: np.random.Generator, n: int) -> list[dict[str, float]]:
    return statistics([photograph(rng) for _ in range(n)], rng.lognormal(sigma=0.1, size=n))


@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 9])
def test_sharpness_in_strips_is_that_of_the_whole_image(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photograph(np.random.default_rng(0))[:height]
    monkeypatch.setattr(drift, "STRIP", 3)
    expected = cv2.Laplacian(image, cv2.CV_32F).std() / image.std()
    assert image_statistics(GreyImage.of(image), 0.0)["sharpness"] == pytest.approx(expected, rel=1e-5)


def test_the_chance_is_that_of_all_divisions() -> None:
    first, second = np.array([1.0, 2.0, 5.0, 5.0]), np.array([5.0, 7.0, 8.0])
    ranks = {1: 1, 2: 2, 5: 4, 7: 6, 8: 7}
    values = [ranks[int(value)] for value in (*first, *second)]
    apart = abs(sum(values[:4]) - 16)
    divided = [abs(sum(values[i] for i in chosen) - 16) >= apart for chosen in combinations(range(7), 4)]
    assert _chance(first, second) == pytest.approx(np.mean(divided), abs=0.02)


@pytest.mark.parametrize(("n_good", "n_batch"), [(1, 50), (3, 12), (20, 3), (30, 30)])
def test_batches_like_the_good_images_are_warned_of_at_most_at_the_rate(n_good: int, n_batch: int) -> None:
    rng = np.random.default_rng(1)
    n_runs, names = 100, ("brightness", "contrast", "sharpness", "height", "width", "distance")
    n_warned = 0
    for _ in range(n_runs):
        values = rng.lognormal(size=(n_good + n_batch, len(names)))
        values[:, 3:5] = rng.integers(2, size=(n_good + n_batch, 1))  # sizes are nearly all ties
        records = [dict(zip(names, row, strict=True)) for row in values.tolist()]
        n_warned += bool(find_drift(as_kept(records[:n_good]), as_kept(records[n_good:])))
    assert n_warned <= RATE * n_runs + 3 * (RATE * n_runs) ** 0.5


@pytest.mark.parametrize("statistic", LATER)
def test_a_camera_fault_is_named(statistic: str) -> None:
    rng = np.random.default_rng(2)
    good = drawn(rng, 20)
    later = statistics([LATER[statistic](photograph(rng)) for _ in range(8)], rng.lognormal(sigma=0.1, size=8))
    assert statistic in {drift.statistic for drift in find_drift(as_kept(good), as_kept(later))}


def test_light_alone_does_not_look_like_lost_focus() -> None:
    rng = np.random.default_rng(3)
    image = photograph(rng)
    darker = image_statistics(GreyImage.of(image * np.float32(0.5)), 1.0)
    assert darker["sharpness"] == pytest.approx(image_statistics(GreyImage.of(image), 1.0)["sharpness"], rel=1e-4)


def test_parts_that_all_lie_elsewhere_are_noticed_by_their_distance() -> None:
    rng = np.random.default_rng(4)
    good, later = drawn(rng, 20), drawn(rng, 8)
    moved = [{**each, "distance": 1.5 * each["distance"]} for each in later]
    (drift,) = find_drift(as_kept(good), as_kept(moved))
    assert drift.statistic == "distance"
    assert drift.found > drift.high > drift.low


def test_images_nearer_to_good_than_the_good_ones_are_no_fault() -> None:
    rng = np.random.default_rng(5)
    good = drawn(rng, 20)
    nearer = [{**each, "distance": each["distance"] / 2} for each in drawn(rng, 8)]
    assert find_drift(as_kept(good), as_kept(nearer)) == ()


def test_some_defective_parts_do_not_move_a_batch() -> None:
    rng = np.random.default_rng(6)
    good, batch = drawn(rng, 20), drawn(rng, 20)
    for each in batch[:6]:
        each["distance"] *= 4
    assert find_drift(as_kept(good), as_kept(batch)) == ()


def test_a_large_batch_is_quiet_about_what_is_too_small_to_matter() -> None:
    rng = np.random.default_rng(7)
    good, batch = rng.normal(size=200), rng.normal(0.5, size=2000)
    assert _chance(good, batch[:200]) < RATE / 6
    assert find_drift({"brightness": good.tolist()}, {"brightness": batch.tolist()}) == ()


def test_nothing_is_compared_without_good_images_or_without_a_batch() -> None:
    batch = drawn(np.random.default_rng(8), 3)
    assert find_drift({}, as_kept(batch)) == find_drift(as_kept(batch), {}) == ()


def test_an_image_of_one_colour_has_statistics() -> None:
    found = image_statistics(GreyImage.of(np.full((5, 7), 0.25, np.float32)), 1.5)
    assert found == {"brightness": 0.25, "contrast": 0, "sharpness": 0, "height": 5, "width": 7, "distance": 1.5}


def test_the_warning_says_what_has_moved_how_far_and_where_to_look() -> None:
    rng = np.random.default_rng(9)
    darker = [{**each, "brightness": each["brightness"] - 0.25} for each in drawn(rng, 8)]
    (said,) = (drift.sentence() for drift in find_drift(as_kept(drawn(rng, 20)), as_kept(darker)))
    assert re.search(
        r"brightness of this batch as a whole is 0\.2\d+, but 0\.4\d+ to 0\.5\d+ in most of the good images", said
    )
    assert "check the light and the exposure" in said
