"""What a look at good images finds, and how they will be prepared and compared because of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blemish.detection.pose import Pose
from blemish.drawing import SURFACES, draw_surface
from blemish.errors import DatasetError, ImageError
from blemish.images import read_image, resize, write_image
from blemish.learning.network import BoundedNetwork
from blemish.learning.reference import Reference
from blemish.learning.survey import ALIGNED, AREA_PX, COARSE_AREA_PX, PLACED, SAME_SIZE, Survey, survey
from blemish.results import FloatArray

STRIDE = BoundedNetwork.STRIDE
SEEN = Survey(n_images=9, height=480, width=640, same_size=True, odd=(), darkest=0.2, brightest=0.7, explained=0.0)


def write(folder: Path, images: list[FloatArray] | list[np.ndarray]) -> list[Path]:
    paths = [folder / f"{index:02}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        write_image(path, image)
    return paths


def noise(n: int = 6, height: int = 90, width: int = 110) -> list[FloatArray]:
    rng = np.random.default_rng(0)
    return [rng.random((height, width), dtype=np.float32) for _ in range(n)]


def drawn(name: str, n: int = 6) -> list[FloatArray]:
    rng = np.random.default_rng(1)
    surface = SURFACES[name](rng)
    return [draw_surface(surface, rng, 90, 110) for _ in range(n)]


class TestTurning:
    def test_parts_turned_at_random_are_turned_back_and_compared_by_location(self, tmp_path: Path) -> None:
        images = [np.rot90(image[:, :90], turns) for turns, image in enumerate(drawn("printed_label", 8))]
        seen = survey(write(tmp_path, images))
        assert seen.turned is not None
        assert seen.turned.explained_before < ALIGNED
        assert seen.reference is Reference.LOCATION
        assert seen.explained > PLACED
        assert not seen.is_placed
        assert seen.as_they_lie().reference is Reference.CATEGORY
        assert seen.preparation(Reference.CATEGORY).turning is None

    def test_parts_that_lie_alike_are_taken_as_they_lie(self, tmp_path: Path) -> None:
        grain = noise(8)
        label = drawn("printed_label", 1)[0]
        assert survey(write(tmp_path, [label + 0.03 * each for each in grain])).turned is None

    @pytest.mark.parametrize("name", ["perforated_sheet", "wire_mesh", "knit", "ribbed", "brushed_metal", "leather"])
    def test_a_pattern_is_no_part(self, tmp_path: Path, name: str) -> None:
        assert survey(write(tmp_path, drawn(name, 8))).turned is None

    def test_long_images_show_parts_that_cannot_turn(self, tmp_path: Path) -> None:
        images = [np.rot90(image[:, :90], 2 * turns)[:50] for turns, image in enumerate(drawn("printed_label", 8))]
        assert survey(write(tmp_path, images)).turned is None

    def test_turns_are_tried_a_little_beyond_those_seen(self, tmp_path: Path) -> None:
        label = drawn("printed_label", 1)[0][:, :90]
        degrees = np.linspace(-30, 30, 7)
        images = [Pose(-angle, 0, 0).turned(label) for angle in degrees]
        turning = survey(write(tmp_path, images)).preparation(Reference.LOCATION).turning
        assert turning is not None
        assert 60 < turning.beyond < 60 + 2 * (20 + 5)

    def test_a_part_that_looks_alike_in_two_turns_is_not_turned_round(self, tmp_path: Path) -> None:
        label = drawn("printed_label", 1)[0][:, :90]
        grain = noise(16, 90, 90)
        rng = np.random.default_rng(2)
        places = [Pose(*rng.uniform((-3, -0.03, -0.03), (3, 0.03, 0.03))) for _ in grain]
        images = [
            place.turned((label + label[::-1, ::-1]) / 2 + 0.1 * each)
            for place, each in zip(places, grain, strict=True)
        ]
        seen = survey(write(tmp_path, images))
        assert seen.turned is not None
        assert seen.turned.extent < 10
        turning = seen.preparation(Reference.LOCATION).turning
        assert turning is not None
        assert turning.beyond < 30

    def test_cells_that_were_turned_in_from_outside_do_not_count(self, tmp_path: Path) -> None:
        label = drawn("printed_label", 1)[0][:, :90]
        preparation = survey(write(tmp_path, [Pose(45 * n, 0, 0).turned(label) for n in range(8)])).preparation(
            Reference.LOCATION
        )
        counted = preparation.counted(None, 90, 90, Pose(45, 0, 0))
        assert counted is not None
        assert not counted[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        assert counted[3:-3, 11].all()


class TestAlignment:
    @pytest.mark.parametrize("name", ["cast_part", "printed_label"])
    @pytest.mark.parametrize("n", [2, 8])
    def test_parts_that_lie_alike_are_compared_by_location(self, tmp_path: Path, name: str, n: int) -> None:
        assert survey(write(tmp_path, drawn(name, n))).reference is Reference.LOCATION

    @pytest.mark.parametrize("name", ["brushed_metal", "woven_fabric", "leather"])
    @pytest.mark.parametrize("n", [2, 8])
    def test_surfaces_are_compared_anywhere(self, tmp_path: Path, name: str, n: int) -> None:
        assert survey(write(tmp_path, drawn(name, n))).reference is Reference.CATEGORY

    @pytest.mark.parametrize("n", [2, 3, 12])
    def test_noise_has_nothing_in_common(self, tmp_path: Path, n: int) -> None:
        assert survey(write(tmp_path, noise(n))).explained < 0.1

    def test_what_is_in_every_image_is_explained(self, tmp_path: Path) -> None:
        common = noise(1)[0]
        images = [0.9 * common + 0.1 * image for image in noise()]
        assert survey(write(tmp_path, images)).explained > 0.9

    def test_parts_in_other_light_still_lie_alike(self, tmp_path: Path) -> None:
        images = [image * gain for image, gain in zip(drawn("cast_part"), np.linspace(0.5, 1, 6), strict=True)]
        assert survey(write(tmp_path, [image.astype(np.float32) for image in images])).reference is Reference.LOCATION

    @pytest.mark.parametrize("shape", ["slope", "dark corners"])
    def test_one_light_on_textures_is_not_taken_for_parts_that_lie_alike(self, tmp_path: Path, shape: str) -> None:
        y, x = np.mgrid[-1:1:90j, -1:1:110j].astype(np.float32)
        light = 0.25 * (x + 1) if shape == "slope" else 0.6 - 0.3 * (x**2 + y**2)
        assert survey(write(tmp_path, [0.1 * image + light for image in noise()])).reference is Reference.CATEGORY

    def test_images_of_different_sizes_are_compared_anywhere(self, tmp_path: Path) -> None:
        images = [resize(image, 60 + 8 * index, 110) for index, image in enumerate(drawn("cast_part"))]
        assert survey(write(tmp_path, images)).reference is Reference.CATEGORY

    def test_one_image_shows_no_alignment(self, tmp_path: Path) -> None:
        assert survey(write(tmp_path, noise(1))).explained == 0

    def test_order_does_not_matter(self, tmp_path: Path) -> None:
        paths = write(tmp_path, drawn("cast_part"))
        assert survey(paths[::-1]).explained == pytest.approx(survey(paths).explained, rel=1e-5)


class TestSizes:
    def test_is_that_of_the_median_image(self, tmp_path: Path) -> None:
        images = [np.resize(image, size) for image, size in zip(noise(3), [(40, 90), (60, 30), (70, 50)], strict=True)]
        seen = survey(write(tmp_path, images))
        assert (seen.height, seen.width) == (60, 50)

    def test_nearly_one_size_counts_as_one(self, tmp_path: Path) -> None:
        images = [
            image[: 90 - round(90 * SAME_SIZE * share)] for image, share in zip(noise(3), [0, 0.5, 0], strict=True)
        ]
        assert survey(write(tmp_path, images)).same_size

    def test_one_odd_image_of_few_makes_sizes_differ(self, tmp_path: Path) -> None:
        images = noise()
        images[2] = images[2][: round(90 * (1 - 2 * SAME_SIZE))]
        assert not survey(write(tmp_path, images)).same_size

    def test_one_odd_image_of_many_is_named_and_changes_nothing_else(self, tmp_path: Path) -> None:
        images = drawn("cast_part", 12)
        paths = write(tmp_path, [*images[:4], resize(images[4], 200, 110), *images[5:]])
        seen = survey(paths)
        assert seen.odd == ("04.png",)
        assert "04.png" in seen.reasons(seen.reference)
        without = survey(paths[:4] + paths[5:])
        assert seen.explained == pytest.approx(without.explained)
        assert seen.preparation(seen.reference).size(90, 110) == without.preparation(seen.reference).size(90, 110)

    def test_textures_keep_their_shapes_if_one_is_odd(self, tmp_path: Path) -> None:
        images = noise(12)
        paths = write(tmp_path, [*images[:11], images[11][:60]])
        assert survey(paths).preparation(Reference.CATEGORY).size(60, 110) == (60, 110)


@pytest.mark.parametrize("reference", Reference)
@pytest.mark.parametrize(("height", "width"), [(48, 8000), (20000, 64), (20, 9000)])
def test_strips_keep_their_width(reference: Reference, height: int, width: int) -> None:
    rows, columns = replace(SEEN, height=height, width=width).preparation(reference).size(height, width)
    assert min(rows, columns) >= min(32, height, width)


def test_a_few_levels_of_16_bits_are_not_one_colour(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(400, 560, (6, 90, 110)).astype(np.uint16)
    seen = survey(write(tmp_path, list(levels)))
    assert 399 / 65535 < seen.darkest < seen.brightest < 561 / 65535


SIZES = [(480, 640), (1024, 1024), (2000, 300), (90, 110), (33, 47), (100, 4000), (5, 9), (3000, 4001)]


@pytest.mark.parametrize(
    ("reference", "explained", "area"),
    [
        (Reference.LOCATION, PLACED + 0.01, COARSE_AREA_PX),
        (Reference.LOCATION, PLACED, AREA_PX[Reference.LOCATION]),
        (Reference.CATEGORY, PLACED + 0.01, AREA_PX[Reference.CATEGORY]),
    ],
)
def test_parts_that_are_placed_are_looked_at_coarsely(reference: Reference, explained: float, area: int) -> None:
    seen = replace(SEEN, height=2000, width=2000, explained=explained)
    rows, columns = seen.preparation(reference).size(2000, 2000)
    assert rows * columns == area


def test_aligned_parts_are_looked_at_coarsely_by_a_network_that_is_not_trained_on_them() -> None:
    seen = replace(SEEN, height=2000, width=2000, explained=PLACED - 0.1)
    rows, columns = seen.preparation(Reference.LOCATION, is_trained_on=False).size(2000, 2000)
    assert rows * columns == COARSE_AREA_PX


@pytest.mark.parametrize("reference", Reference)
@pytest.mark.parametrize(("height", "width"), SIZES)
class TestPreparation:
    def prepared_size(self, reference: Reference, height: int, width: int, same_size: bool = True) -> tuple[int, int]:
        seen = replace(SEEN, height=height, width=width, same_size=same_size)
        return seen.preparation(reference).size(height, width)

    def test_sides_are_multiples_of_the_stride(self, reference: Reference, height: int, width: int) -> None:
        rows, columns = self.prepared_size(reference, height, width)
        assert rows % STRIDE == columns % STRIDE == 0

    def test_area_is_kept_but_for_rounding(self, reference: Reference, height: int, width: int) -> None:
        rows, columns = self.prepared_size(reference, height, width)
        assert max(rows - STRIDE / 2, 1) * max(columns - STRIDE / 2, 1) <= AREA_PX[reference]

    def test_images_are_never_enlarged_but_for_rounding(self, reference: Reference, height: int, width: int) -> None:
        rows, columns = self.prepared_size(reference, height, width)
        assert rows <= max(height + STRIDE / 2, STRIDE)
        assert columns <= max(width + STRIDE / 2, STRIDE)

    def test_images_within_the_area_keep_their_size_but_for_rounding(
        self, reference: Reference, height: int, width: int
    ) -> None:
        if height * width <= AREA_PX[reference]:
            rows, columns = self.prepared_size(reference, height, width)
            assert abs(rows - height) <= STRIDE / 2
            assert abs(columns - width) <= STRIDE / 2

    def test_shape_is_kept_but_for_rounding(self, reference: Reference, height: int, width: int) -> None:
        rows, columns = self.prepared_size(reference, height, width)
        scale = min(1, (AREA_PX[reference] / (height * width)) ** 0.5)
        assert abs(rows - height * scale) <= max(STRIDE / 2, STRIDE - height * scale)
        assert abs(columns - width * scale) <= max(STRIDE / 2, STRIDE - width * scale)

    def test_aligned_parts_all_become_one_size(self, reference: Reference, height: int, width: int) -> None:
        preparation = replace(SEEN, height=height, width=width, same_size=False).preparation(Reference.LOCATION)
        assert preparation.size(height, width) == preparation.size(height + 70, width)

    def test_images_of_different_sizes_keep_their_shape(self, reference: Reference, height: int, width: int) -> None:
        seen = replace(SEEN, height=height, width=width, same_size=False)
        rows, columns = seen.preparation(Reference.CATEGORY).size(height, width)
        scale = min(1, (AREA_PX[Reference.CATEGORY] / (height * width)) ** 0.5)
        assert (rows, columns) == pytest.approx((height * scale, width * scale), abs=0.5)

    def test_cells_are_those_of_the_network(self, reference: Reference, height: int, width: int) -> None:
        made = replace(SEEN, height=height, width=width).preparation(reference)
        assert (made.stride, made.centre) == (STRIDE, STRIDE / 2)


class TestGreyRange:
    def test_leaves_room_at_both_ends(self) -> None:
        made = SEEN.preparation(Reference.CATEGORY)
        assert made.black is not None
        assert made.white is not None
        assert made.black < SEEN.darkest < SEEN.brightest < made.white

    def test_of_noise_is_all_of_it(self, tmp_path: Path) -> None:
        seen = survey(write(tmp_path, noise()))
        assert (seen.darkest, seen.brightest) == pytest.approx((0, 1), abs=0.02)

    def test_a_narrow_range_of_16_bits_is_spread(self, tmp_path: Path) -> None:
        images = [(1000 + 2000 * image).astype(np.uint16) for image in noise()]
        paths = write(tmp_path, images)
        seen = survey(paths)
        prepared = seen.preparation(seen.reference).apply(read_image(paths[0]))
        assert np.ptp(prepared) > 0.7
        assert 0 < prepared.min() < prepared.max() < 1

    def test_glare_and_dead_pixels_do_not_count(self, tmp_path: Path) -> None:
        images = [0.4 + 0.2 * image for image in noise()]
        for image in images:
            image[3, 3], image[50, 60] = 0, 1
        seen = survey(write(tmp_path, images))
        assert (seen.darkest, seen.brightest) == pytest.approx((0.4, 0.6), abs=0.02)

    def test_one_dark_image_keeps_what_it_has_to_say(self, tmp_path: Path) -> None:
        images = [0.5 + 0.2 * image for image in noise()]
        images[0] = images[0] - 0.4
        paths = write(tmp_path, images)
        preparation = survey(paths).preparation(Reference.CATEGORY)
        dark, light = (float(preparation.apply(read_image(path)).mean()) for path in paths[:2])
        assert dark < light - 0.4


class TestReasons:
    def test_say_where_locations_are_compared(self) -> None:
        assert "with the same location" in SEEN.reasons(Reference.LOCATION)
        assert "anywhere" in SEEN.reasons(Reference.CATEGORY)

    def test_say_what_the_mean_explains(self) -> None:
        assert "9 good images explains 85%" in replace(SEEN, explained=0.85).reasons(Reference.LOCATION)

    def test_say_that_sizes_differ(self) -> None:
        assert "differ in size" in replace(SEEN, same_size=False).reasons(Reference.CATEGORY)

    def test_say_how_much_images_are_shrunk(self) -> None:
        seen = replace(SEEN, height=3000, width=4000)
        (said,) = seen.remarks(seen.preparation(Reference.CATEGORY))
        assert "from 3000 x 4000 pixels to 692 x 924" in said
        assert "4 pixels" in said

    @pytest.mark.parametrize("reference", Reference)
    def test_say_nothing_of_images_that_are_not_shrunk(self, reference: Reference) -> None:
        seen = replace(SEEN, height=200, width=300)
        assert not seen.remarks(seen.preparation(reference))

    @pytest.mark.parametrize("explained", [0.0, 1.0])
    def test_say_what_was_asked_for_against_the_evidence(self, explained: float) -> None:
        seen = replace(SEEN, explained=explained)
        for reference in Reference:
            assert ("as asked for" in seen.reasons(reference)) == (reference is not seen.reference)


class TestRefusals:
    def test_copies_of_one_picture(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"All 4 good images look exactly alike.*Expected.*different"):
            survey(write(tmp_path, noise(1) * 4))

    def test_pictures_of_one_colour(self, tmp_path: Path) -> None:
        images = [np.full((60, 70), grey, dtype=np.uint16) for grey in (30_000, 30_050, 30_100)]
        with pytest.raises(
            DatasetError, match=r"of one colour \(grey values from 0\.45\d to 0\.45\d\).*check exposure"
        ):
            survey(write(tmp_path, images))

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        paths = write(tmp_path, noise(3))
        paths[1].write_bytes(b"no image")
        with pytest.raises(ImageError, match=r"1 of 3 images cannot be read.*\n.*01\.png"):
            survey(paths)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    survey(write(tmp_path, noise(3)), lambda stage, done, total, note="": told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
