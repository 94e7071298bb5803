"""From good images to a detector: what is held out, what is suspected, what the file says, what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blemish.datasets import content_hash
from blemish.detection.detector import Detector
from blemish.detection.model_file import HELD_OUT, LEARNED
from blemish.detection.preparation import Preparation
from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.errors import DatasetError, SettingError
from blemish.images import write_image
from blemish.learning import assembly, nearest
from blemish.learning.assembly import find_suspects, hold_out, provenance, run_id, within_memory
from blemish.learning.fit import DEFAULT_ALPHA, enroll, fit
from blemish.learning.nearest import PreparedImages
from blemish.learning.network import NEAR, WIDE, BoundedNetwork
from blemish.learning.reference import MEDOIDS, Reference
from blemish.results import FloatArray

RADIUS = BoundedNetwork.RADIUS
MEGABYTE = 2**20


@pytest.fixture(scope="module", autouse=True)
def full_precision() -> Iterator[None]:
    """Leave mixed precision out, which a trial of the machine's speed decides about."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nearest, "multiplies_bfloat16_fast", lambda: False)
        yield


def draw(folder: Path, name: str, n: int, side: int = 96) -> Path:
    rng = np.random.default_rng(0)
    surface = SURFACES[name](rng)
    for index in range(n):
        write_image(folder / f"{index:02}.png", draw_surface(surface, rng, side, side))
    return folder


def numbered(folder: Path, n: int) -> list[Path]:
    """Write images that differ, but are no more than that."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{index:02}.png" for index in range(n)]
    for path in paths:
        write_image(path, rng.random((32, 32), dtype=np.float32))
    return paths


def embeddings(n: int, seed: int = 0) -> list[torch.Tensor]:
    """Embeddings of exchangeable images: one scene, a little different each time."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.randn(1, 32, 12, 14, generator=generator)
    return list(of_one_length(scene + 0.3 * torch.randn(n, 32, 12, 14, generator=generator), dim=1))


def of_one_length(values: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.nn.functional.normalize(values, dim=dim) * RADIUS


def spoil(embedding: torch.Tensor, seed: int) -> torch.Tensor:
    """Put something foreign on a quarter of an image."""
    spoiled = embedding.clone()
    foreign = torch.randn(32, 6, 7, generator=torch.Generator().manual_seed(100 + seed))
    spoiled[:, 2:8, 3:10] = of_one_length(foreign, dim=0)
    return spoiled


def suspects(good: list[torch.Tensor], kind: Reference, seed: int = 0) -> list[int]:
    return find_suspects(good, kind, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", Reference)
class TestSuspects:
    @pytest.mark.parametrize("n", [20, 60])
    def test_an_outlier_is_named(self, kind: Reference, n: int) -> None:
        good = embeddings(n)
        good[7] = spoil(good[7], 7)
        assert suspects(good, kind) == [7]

    def test_several_outliers_are_named(self, kind: Reference) -> None:
        good = embeddings(60)
        for index in (3, 41):
            good[index] = spoil(good[index], index)
        assert set(suspects(good, kind)) == {3, 41}

    @pytest.mark.parametrize("n", [20, 41, 80])
    def test_nobody_is_named_among_exchangeable_images(self, kind: Reference, n: int) -> None:
        for seed in range(3):
            assert suspects(embeddings(n, seed), kind, seed) == []

    def test_at_most_one_in_twenty_is_named(self, kind: Reference) -> None:
        good = embeddings(45)
        planted = (1, 12, 23, 34)
        for index in planted:
            good[index] = spoil(good[index], index)
        named = suspects(good, kind)
        assert len(named) == 2
        assert set(named) < set(planted)

    def test_few_images_show_nothing_unusual(self, kind: Reference) -> None:
        good = embeddings(9)
        good[4] = spoil(good[4], 4)
        assert suspects(good, kind) == []

    def test_copies_of_one_image_are_no_suspects(self, kind: Reference) -> None:
        assert suspects(embeddings(1) * 30, kind) == []


def test_a_reference_set_takes_as_many_images_as_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One huge image among others costs the others nothing; where there are only huge ones, one is taken."""
    draw(tmp_path, "leather", 6)
    write_image(tmp_path / "huge.png", np.random.default_rng(0).random((400, 400), dtype=np.float32))
    preparation = Preparation(None, None, 1.0, 0.0, 1.0, 4, WIDE.view, 4, 2)
    prepared = PreparedImages(sorted(tmp_path.iterdir()), preparation)  # the huge one is the last
    monkeypatch.setattr(assembly, "_MOST_CELLS", 4 * 24**2 + 1)
    assert within_memory(prepared, [6, 2, 0, 5, 1, 3, 4]) == [2, 0, 5, 1]
    monkeypatch.setattr(assembly, "_MOST_CELLS", 10)
    assert within_memory(prepared, [6, 2, 0]) == [2]
    monkeypatch.setattr(assembly, "_MOST_CELLS", 10**6)
    assert within_memory(prepared, [6, 2, 0]) == [6, 2, 0]
    monkeypatch.setattr(assembly, "MOST_CELLS_OF_ONE", 24**2)
    assert within_memory(prepared, [6, 2, 0]) == [2, 0]


def test_few_images_are_not_learned_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.learning.fit._MOST_STEPS", 2)
    folder = draw(tmp_path, "leather", 5, side=32)
    made = fit(folder, minutes=60, alpha=0.5).description
    assert made.training["steps"] == 2 * 4  # a fifth is held out
    assert any("after 8 steps, 2 for each of the 4 images" in note for note in made.notes)
    asked = fit(folder, steps=8, alpha=0.5).description
    assert not any("after 8 steps" in note for note in asked.notes)


class TestHoldOut:
    @pytest.mark.parametrize("n", [2, 3, 5, 10, 37])
    def test_every_image_has_one_role(self, tmp_path: Path, n: int) -> None:
        paths = numbered(tmp_path, n)
        divided = hold_out(paths, "part", seed=0)
        assert sorted(divided.learned + divided.held_out) == paths

    @pytest.mark.parametrize(("n", "n_held_out"), [(2, 1), (5, 1), (10, 2), (37, 7)])
    def test_a_fifth_is_kept_out_of_training(self, tmp_path: Path, n: int, n_held_out: int) -> None:
        assert len(hold_out(numbered(tmp_path, n), "part", seed=0).held_out) == n_held_out

    def test_copies_count_once(self, tmp_path: Path) -> None:
        paths = numbered(tmp_path, 4)
        (tmp_path / "copy.png").write_bytes(paths[0].read_bytes())
        divided = hold_out([*paths, tmp_path / "copy.png"], "part", seed=0)
        assert sorted(divided.learned + divided.held_out) == paths

    def test_nothing_that_a_borrowed_network_has_learned_from_is_held_out_beside_others(self, tmp_path: Path) -> None:
        paths = numbered(tmp_path, 20)
        known = frozenset(content_hash(path) for path in paths[:18])
        assert set(hold_out(paths, "part", 0, known).held_out) == set(paths[18:])

    def test_what_a_borrowed_network_has_learned_from_is_held_out_last(self, tmp_path: Path) -> None:
        paths = numbered(tmp_path, 10)
        known = frozenset(content_hash(path) for path in paths[:8])
        for seed in range(5):
            assert set(hold_out(paths, "part", seed, known).held_out) == set(paths[8:])

    def test_other_seeds_hold_out_other_images(self, tmp_path: Path) -> None:
        paths = numbered(tmp_path, 10)
        assert len({hold_out(paths, "part", seed).held_out for seed in range(8)}) > 3

    def test_one_image_is_too_few(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="expected at least 2"):
            hold_out(numbered(tmp_path, 1), "part", seed=0)


def test_provenance_tells_the_role_of_every_file(tmp_path: Path) -> None:
    divided = hold_out(numbered(tmp_path, 5), "part", seed=0)
    roles = provenance([divided])["part"]
    assert {sha for sha, role in roles.items() if role == LEARNED} == {content_hash(path) for path in divided.learned}
    assert {sha for sha, role in roles.items() if role == HELD_OUT} == {content_hash(path) for path in divided.held_out}


class TestRunId:
    def test_depends_on_what_is_learned_from(self, tmp_path: Path) -> None:
        paths = numbered(tmp_path, 10)
        ids = {run_id(provenance([hold_out(paths, "part", seed)])) for seed in (0, 1)}
        assert len(ids) == 2

    def test_depends_on_nothing_else(self, tmp_path: Path) -> None:
        divided = hold_out(numbered(tmp_path, 10), "part", seed=0)
        hashes = provenance([divided])
        fewer = {"part": {sha: role for sha, role in hashes["part"].items() if role == LEARNED}}
        assert run_id(hashes) == run_id(fewer)


STEPS = 30
ALPHA = 0.2


@pytest.fixture(scope="module")
def texture_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data") / "metal", "brushed_metal", n=12, side=64)


@pytest.fixture(scope="module")
def part_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data") / "flange", "cast_part", n=12, side=64)


@pytest.fixture(scope="module")
def detector(part_dir: Path) -> Detector:
    return fit(part_dir, steps=STEPS, alpha=ALPHA)


class TestFit:
    def test_gives_the_reason_for_its_choice(self, detector: Detector) -> None:
        assert any("the mean of" in note for note in detector.description.notes)

    def test_says_what_it_is(self, detector: Detector) -> None:
        about = detector.description
        assert (about.category, about.method, about.reference) == ("flange", "nearest", "location")
        assert about.preparation.patch_size == NEAR.view

    def test_says_how_it_was_trained(self, detector: Detector) -> None:
        training = detector.description.training
        assert (training["steps"], training["steps_planned"], training["interrupted"]) == (STEPS, STEPS, False)
        assert training["seed"] == 0
        assert training["aligned"] is True

    def test_knows_the_role_of_every_image(self, detector: Detector, part_dir: Path) -> None:
        roles = detector.description.provenance["images"]["flange"]
        assert set(roles) == {content_hash(path) for path in part_dir.iterdir()}
        assert sorted(roles.values()) == [HELD_OUT] * 2 + [LEARNED] * 10

    def test_sets_the_threshold_with_the_held_out_images(self, detector: Detector, part_dir: Path) -> None:
        roles = detector.description.provenance["images"]["flange"]
        held_out = [path for path in part_dir.iterdir() if roles[content_hash(path)] == HELD_OUT]
        assert detector.threshold.n_images == len(held_out)
        assert detector.threshold.value == max(detector.inspect(path).score for path in held_out)

    def test_begins_without_history(self, detector: Detector) -> None:
        assert detector.description.history == []

    def test_loads_as_it_was_saved(self, detector: Detector, part_dir: Path, tmp_path: Path) -> None:
        detector.save(tmp_path / "flange.blemish")
        again = Detector.load(tmp_path / "flange.blemish")
        assert again.description == detector.description
        image = next(part_dir.iterdir())
        assert again.inspect(image).score == detector.inspect(image).score

    def test_finds_an_obvious_defect(self, detector: Detector, part_dir: Path) -> None:
        rng = np.random.default_rng(1)
        image: FloatArray = draw_surface(SURFACES["cast_part"](np.random.default_rng(0)), rng, 64, 64)
        spoiled, _ = FLAWS["stain"](image, rng)
        spoiled[20:40, 24:44] = rng.random((20, 20), dtype=np.float32)
        assert detector.inspect(spoiled).score > detector.inspect(image).score

    def test_a_surface_is_compared_anywhere(self, texture_dir: Path) -> None:
        about = fit(texture_dir, steps=1).description
        assert about.reference == "category"
        assert any("anywhere" in note for note in about.notes)

    def test_the_users_choice_is_taken_and_noted(self, texture_dir: Path) -> None:
        about = fit(texture_dir, steps=1, reference="location").description
        assert about.reference == "location"
        assert any("as asked for" in note for note in about.notes)

    @pytest.mark.parametrize("kind", Reference)
    def test_same_seed_and_steps_same_graph(self, texture_dir: Path, kind: Reference) -> None:
        first, again = (fit(texture_dir, steps=3, seed=4, reference=kind).model.graph for _ in range(2))
        assert first == again

    def test_another_seed_another_graph(self, texture_dir: Path) -> None:
        first, other = (fit(texture_dir, steps=1, seed=seed).model.graph for seed in (0, 1))
        assert first != other

    def test_an_unusual_good_image_is_named(self, tmp_path: Path) -> None:
        folder = draw(tmp_path / "metal", "brushed_metal", n=60, side=64)
        rng = np.random.default_rng(0)
        # Whether it is held out or learned from is drawn, so there are two.
        for name in ("odd.png", "odder.png"):
            write_image(folder / name, (rng.random((64, 64)) < 0.5).astype(np.float32))
        notes = fit(folder, steps=5).description.notes
        assert any("odd" in note and "are they really good" in note for note in notes)

    def test_an_unusual_image_that_sets_the_threshold_is_named(self, tmp_path: Path) -> None:
        folder = draw(tmp_path / "metal", "brushed_metal", n=55, side=32)
        odd = hold_out(sorted(folder.iterdir()), "metal", seed=0).held_out[0]
        write_image(odd, (np.random.default_rng(0).random((32, 32)) < 0.5).astype(np.float32))
        notes = fit(folder, steps=5).description.notes
        assert any(odd.name in note and "may have raised it" in note for note in notes)

    def test_keeps_the_scores_that_set_the_threshold(self, detector: Detector, part_dir: Path) -> None:
        scores = {content_hash(path): detector.inspect(path).score for path in part_dir.iterdir()}
        kept = detector.description.good_scores
        assert len(kept) == detector.threshold.n_images
        assert all(scores[content] == score for content, score in kept.items())

    def test_a_checkpoint_is_left_where_it_was_asked_for(self, texture_dir: Path, tmp_path: Path) -> None:
        fit(texture_dir, steps=1, checkpoint_path=tmp_path / "run")
        assert (tmp_path / "run").is_file()


def test_files_stay_small_at_full_size(tmp_path: Path) -> None:
    folder = draw(tmp_path / "flange", "cast_part", n=MEDOIDS + 2, side=300)
    fit(folder, steps=1, reference=Reference.LOCATION).save(tmp_path / "model.blemish")
    assert (tmp_path / "model.blemish").stat().st_size < 5 * MEGABYTE


class TestRefusals:
    @pytest.mark.parametrize("n", [2, 4])
    def test_too_few_images_say_how_many_are_needed(self, tmp_path: Path, n: int) -> None:
        with pytest.raises(DatasetError, match=f"Found {n} different good images; training needs at least 5"):
            fit(numbered(tmp_path, n), steps=1)

    def test_copies_do_not_make_more_images(self, tmp_path: Path) -> None:
        paths = numbered(tmp_path, 3)
        with pytest.raises(DatasetError, match="Found 3 different good images"):
            fit(paths * 4, steps=1)

    def test_copies_of_one_image(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="Found 1 good image; expected at least 2 different ones"):
            fit(numbered(tmp_path, 1) * 8, steps=1)

    def test_images_that_only_differ_in_their_files(self, tmp_path: Path) -> None:
        paths = [tmp_path / f"{index}.png" for index in range(8)]
        picture = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
        for index, path in enumerate(paths):
            write_image(path, picture)
            path.write_bytes(path.read_bytes() + bytes(index))  # the same picture in another file
        with pytest.raises(DatasetError, match="look exactly alike"):
            fit(paths, steps=1)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"method": "tayeh2020", "minutes": 1.0},
            {"method": "tayeh2020", "steps": 10},
            {"method": "staar2019", "minutes": 1.0},
            {"side": 256},
            {"epochs": 3},
            {"minutes": 1.0, "steps": 10},
            {"steps": 0},
            {"steps": -3},
            {"minutes": 0.0},
            {"minutes": -1.0},
            {"minutes": float("nan")},
            {"minutes": float("inf")},
            {"method": "patchcore"},
            {"reference": "somewhere"},
            {"seed": -1},
            {"seed": 2**64},
            {"method": "tayeh2020", "seed": 2**64},
            {"method": "tayeh2020", "side": 100},
            {"alpha": 0.0},
            {"alpha": 1.0},
        ],
        ids=str,
    )
    def test_settings_that_are_wrong_or_do_not_go_together(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(SettingError, match=r"Found .*(expected|Leave it out)|is .*; expected"):
            fit([Path("never read.png")], **wrong)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_wrong_seed_is_refused_before_images_are_read(seed: int) -> None:
    for make in (fit, enroll):
        with pytest.raises(SettingError, match=f"Seed is {seed}; expected 0 or more, and less than"):
            make([Path("never read.png")], seed=seed)


def test_the_largest_seed_will_do(tmp_path: Path) -> None:
    folder = draw(tmp_path, "leather", 5, side=32)
    assert fit(folder, steps=1, alpha=0.5, seed=2**64 - 1).description.training["seed"] == 2**64 - 1
    assert enroll(folder, alpha=0.5, seed=2**64 - 1).threshold.n_images > 0


def test_the_default_false_alarm_rate_is_a_rate() -> None:
    assert 0 < DEFAULT_ALPHA < 1
