"""Laws of the drawn surfaces and defects, over every family, every defect and several sizes."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.drawing.fields import Camera, Light, Spectrum, cells, coloured_noise, noise, photograph, shade, shadowed
from blemish.drawing.flaws import FAINTEST, VISIBLE, find_part
from blemish.drawing.sheets import flaws_sheet, surfaces_sheet
from blemish.results import FloatArray

SIZES = [(64, 64), (96, 160), (160, 96)]
# Even, striped, woven, rough, printed; a part in its fixture, a loose one, many small ones.
TYPICAL = [
    "brushed_metal",
    "woven_fabric",
    "leather",
    "cast_part",
    "printed_label",
    "rolled_metal",
    "tiles",
    "kernel",
    "pads",
]


def drawn(family: str, kind_seed: int = 0, image_seed: int = 0, height: int = 64, width: int = 64) -> FloatArray:
    kind = SURFACES[family](np.random.default_rng(kind_seed))
    return draw_surface(kind, np.random.default_rng(image_seed), height, width)


def statistics(image: FloatArray) -> FloatArray:
    """Brightness, contrast, and detail in both directions: what tells kinds apart at a glance."""
    detail = [np.abs(np.diff(image, axis=axis)).mean() for axis in (0, 1)]
    return np.array([image.mean(), image.std(), *detail], np.float32)


# Surfaces -------------------------------------------------------------------------------------------------------------


def test_the_promised_families_are_there() -> None:
    assert {"brushed_metal", "woven_fabric", "cast_part"} < set(SURFACES)
    assert len(SURFACES) >= 60


@pytest.mark.parametrize("family", SURFACES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_an_image_is_float32_of_the_size_asked_for_in_0_to_1(family: str, height: int, width: int) -> None:
    image = drawn(family, height=height, width=width)
    assert image.dtype == np.float32
    assert image.shape == (height, width)
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("family", SURFACES)
def test_a_large_image_can_be_drawn(family: str) -> None:
    assert drawn(family, height=1024, width=260).shape == (1024, 260)


@pytest.mark.parametrize("family", SURFACES)
def test_the_same_seeds_draw_the_same_image(family: str) -> None:
    np.testing.assert_array_equal(drawn(family, 3, 4), drawn(family, 3, 4))


@pytest.mark.parametrize("family", SURFACES)
def test_a_kind_can_be_handed_to_another_process(family: str) -> None:
    kind = SURFACES[family](np.random.default_rng(2))
    one, other = (
        draw_surface(copy, np.random.default_rng(3), 64, 64) for copy in (kind, pickle.loads(pickle.dumps(kind)))
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("family", SURFACES)
def test_images_of_one_kind_differ(family: str) -> None:
    assert np.abs(drawn(family, 3, 4) - drawn(family, 3, 5)).mean() > 0.005


@pytest.mark.parametrize("family", SURFACES)
def test_kinds_of_one_family_differ(family: str) -> None:
    one, other = (statistics(drawn(family, kind, 0, 96, 96)) for kind in (1, 2))
    assert np.abs(one - other).max() > 0.005


@pytest.mark.parametrize("family", SURFACES)
def test_images_of_one_kind_are_more_alike_than_kinds(family: str) -> None:
    kinds = np.array(
        [[statistics(drawn(family, kind, image, 96, 96)) for image in range(3)] for kind in range(6)]
    )  # (kind, image, statistic)
    within = kinds.std(axis=1).mean(axis=0)
    between = kinds.mean(axis=1).std(axis=0)
    assert between.sum() > 1.5 * within.sum()


@pytest.mark.parametrize("family", SURFACES)
def test_an_image_is_neither_flat_nor_burnt_out(family: str) -> None:
    for kind in range(4):
        image = drawn(family, kind, height=128, width=128)
        assert image.std() > 0.01
        assert (image > 0.995).mean() < 0.03


@pytest.mark.parametrize("family", ["cast_part", "printed_label"])
def test_parts_and_prints_stay_in_place(family: str) -> None:
    one, other = (cv2.blur(drawn(family, 1, image, 128, 128), (7, 7)).ravel() for image in range(2))
    assert np.corrcoef(one, other)[0, 1] > 0.9


# Defects --------------------------------------------------------------------------------------------------------------


def test_the_promised_defects_are_there() -> None:
    assert {"scratch", "stain", "dent", "crack"} < set(FLAWS)
    assert len(FLAWS) >= 25


@pytest.mark.parametrize("family", TYPICAL)
@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_defect_has_a_mask_outside_of_which_nothing_can_be_seen(
    flaw: str, family: str, height: int, width: int
) -> None:
    image = drawn(family, height=height, width=width)
    for seed in range(3):
        flawed, mask = FLAWS[flaw](image, np.random.default_rng(seed))
        assert flawed.dtype == np.float32
        assert mask.dtype == np.bool_
        assert flawed.shape == mask.shape == image.shape
        assert flawed.min() >= 0
        assert flawed.max() <= 1
        assert mask.any()
        assert np.abs(flawed - image)[~mask].max() <= VISIBLE


@pytest.mark.parametrize("brightness", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_defect_can_be_seen_on_an_image_of_one_colour(flaw: str, brightness: float) -> None:
    image = np.full((64, 64), brightness, np.float32)
    for seed in range(8):
        flawed, mask = FLAWS[flaw](image, np.random.default_rng(seed))
        assert np.abs(flawed - image)[mask].max() >= FAINTEST / 2


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_defect_fits_on_a_tiny_image(flaw: str) -> None:
    for seed in range(8):
        _, mask = FLAWS[flaw](np.full((8, 12), 0.5, np.float32), np.random.default_rng(seed))
        assert mask.any()


@pytest.mark.parametrize("flaw", FLAWS)
def test_most_defects_leave_most_of_the_image_as_it_is(flaw: str) -> None:
    shares = [FLAWS[flaw](drawn(family), np.random.default_rng(seed))[1].mean() for seed, family in enumerate(TYPICAL)]
    assert np.median(shares) < 0.25


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_same_seed_makes_the_same_defect(flaw: str) -> None:
    image = drawn("brushed_metal")
    for one, other in zip(*(FLAWS[flaw](image, np.random.default_rng(5)) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("flaw", FLAWS)
def test_another_seed_makes_another_defect(flaw: str) -> None:
    image = drawn("brushed_metal")
    one, other = (FLAWS[flaw](image, np.random.default_rng(seed))[1] for seed in (5, 6))
    assert (one != other).any()


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_image_itself_is_not_modified(flaw: str) -> None:
    image = drawn("woven_fabric")
    before = image.copy()
    FLAWS[flaw](image, np.random.default_rng(0))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("flaw", FLAWS)
def test_strengths_differ_from_faint_to_obvious(flaw: str) -> None:
    image = drawn("printed_label")
    peaks = [np.abs(FLAWS[flaw](image, np.random.default_rng(seed))[0] - image).max() for seed in range(24)]
    assert max(peaks) > 1.3 * min(peaks)


@pytest.mark.parametrize("flaw", FLAWS)
def test_sizes_differ_from_small_to_large(flaw: str) -> None:
    image = drawn("tiles", height=128, width=128)
    areas = [FLAWS[flaw](image, np.random.default_rng(seed))[1].sum() for seed in range(24)]
    assert max(areas) > 3 * min(areas)


@pytest.mark.parametrize("flaw", FLAWS)
def test_defects_of_a_part_fall_on_the_part(flaw: str) -> None:
    image = drawn("cast_part", kind_seed=2, height=128, width=128)
    part = find_part(image) > 0
    for seed in range(5):
        _, mask = FLAWS[flaw](image, np.random.default_rng(seed))
        assert part[mask].mean() > 0.8


# What both stand on ---------------------------------------------------------------------------------------------------


def test_a_part_on_a_background_is_found() -> None:
    image = np.full((64, 64), 0.1, np.float32)
    image[16:48, 20:44] = 0.7
    assert (find_part(image) == (image > 0.5)).mean() > 0.98


def test_a_dark_part_on_a_bright_background_is_found() -> None:
    image = np.full((64, 64), 0.9, np.float32)
    image[16:48, 20:44] = 0.3
    assert (find_part(image) == (image < 0.5)).mean() > 0.98


@pytest.mark.parametrize("family", ["brushed_metal", "woven_fabric", "leather"])
def test_a_surface_that_fills_the_image_is_all_part(family: str) -> None:
    assert all((find_part(drawn(family, kind, height=128, width=128)) == 1).all() for kind in range(4))


@pytest.mark.parametrize(("along_px", "across_px"), [(3, 3), (12, 12), (60, 2)])
def test_noise_has_mean_0_and_deviation_1(along_px: float, across_px: float) -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([noise(rng, 128, 128, along_px, across_px, angle=0.5) for _ in range(12)])
    assert abs(fields.mean()) < 0.1
    assert 0.8 < fields.std() < 1.1


def test_streaks_run_along_their_direction() -> None:
    field = noise(np.random.default_rng(0), 128, 128, along_px=60, across_px=2, angle=0)
    assert np.abs(np.diff(field, axis=1)).mean() < 0.2 * np.abs(np.diff(field, axis=0)).mean()


def test_a_flat_matt_surface_has_brightness_1() -> None:
    flat = shade(np.zeros((8, 8), np.float32), Light(azimuth=1.0, elevation=0.6), gloss=0)
    np.testing.assert_allclose(flat, 1, rtol=1e-6)


def test_a_slope_that_faces_the_light_is_brighter() -> None:
    ramp = np.tile(np.linspace(0, 8, 16, dtype=np.float32), (16, 1))  # rises to the right, so it faces left
    from_left = shade(ramp, Light(azimuth=np.pi, elevation=0.7), gloss=0)
    from_right = shade(ramp, Light(azimuth=0.0, elevation=0.7), gloss=0)
    assert from_left[8, 8] > 1 > from_right[8, 8]


def test_coloured_noise_has_mean_0_and_deviation_1() -> None:
    rng = np.random.default_rng(0)
    spectrum = Spectrum(slope=1.0, shortest_px=3, longest_px=24, stretch=2.0, angle=0.4)
    fields = np.stack([coloured_noise(rng, 96, 128, spectrum) for _ in range(12)])
    assert fields.shape == (12, 96, 128)
    assert abs(fields.mean()) < 0.1
    assert 0.85 < fields.std() < 1.15


def test_waves_stay_within_their_band() -> None:
    field = coloured_noise(np.random.default_rng(0), 128, 128, Spectrum(slope=0, shortest_px=8, longest_px=16))
    power = np.abs(np.fft.rfft2(field)) ** 2
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None])
    assert power[(frequency > 1 / 20) & (frequency < 1 / 6)].sum() > 0.85 * power.sum()


def test_cells_have_borders_where_their_numbers_change() -> None:
    number, border_px = cells(np.random.default_rng(0), 64, 64, cell_px=12)
    changes = number[:, :-1] != number[:, 1:]
    assert 10 < len(np.unique(number)) < 80
    assert (border_px[:, :-1][changes] == 0).all()
    assert border_px.max() > 3


def test_a_wall_casts_its_shadow_away_from_the_lamp() -> None:
    relief = np.zeros((32, 32), np.float32)
    relief[:, 15:17] = 6
    light = shadowed(relief, Light(azimuth=np.pi, elevation=np.pi / 4))  # from the left, at 45 degrees
    assert light[16, 19] < 0.5
    np.testing.assert_allclose(light[:, :12], 1)
    np.testing.assert_allclose(light[:, 27:], 1)


def test_a_flat_surface_has_no_shadows() -> None:
    np.testing.assert_array_equal(shadowed(np.full((8, 8), 3, np.float32), Light(1.0, 0.3)), 1)


def test_compression_changes_detail_and_keeps_brightness() -> None:
    scene = np.full((64, 64), 0.5, np.float32) + 0.1 * noise(np.random.default_rng(0), 64, 64, 2, 2)
    still = {"blur_px": 0.5, "noise": 0.0, "vignette": 0.0, "unevenness": 0.0, "exposure_spread": 0.0}
    stored, lost = (
        photograph(scene, Camera(**still, jpeg_quality=quality), np.random.default_rng(0)) for quality in (None, 20)
    )
    assert np.abs(stored - lost).max() > 0.01
    assert abs(float(stored.mean() - lost.mean())) < 0.01


# Sheets ---------------------------------------------------------------------------------------------------------------


def test_the_sheets_show_everything() -> None:
    kinds = surfaces_sheet(n_rows=2, n_columns=3, side_px=32)
    assert kinds.shape == (64, 96)
    flaws = flaws_sheet(side_px=32)
    assert flaws.shape[0] == 32 * (len(FLAWS) // 2)
    for sheet in (kinds, flaws):
        assert sheet.dtype == np.float32
        assert sheet.min() >= 0
        assert sheet.max() <= 1
