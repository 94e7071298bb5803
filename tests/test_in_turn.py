"""Good images that are left out in turn: the sets without them, the promise by simulation, what the file says of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from blemish import Detector, accept, enroll, evaluate
from blemish.datasets import content_hash
from blemish.detection.decision import conformal_threshold, decide, least_images
from blemish.detection.verification import verify
from blemish.drawing import SURFACES, draw_surface
from blemish.errors import DatasetError, SettingError
from blemish.images import write_image
from blemish.learning import assembly
from blemish.learning.assembly import MOST_REFERENCES, GoodImages, divide_unseen, scores_in_turn
from blemish.learning.graph import DistanceModel
from blemish.learning.network import NEAR, BoundedNetwork
from blemish.learning.reference import SHARED_BANK, SHARES, Reference, reference_of_shares
from blemish.results import Verdict

RADIUS = BoundedNetwork.RADIUS
NETWORK = BoundedNetwork(torch.Generator().manual_seed(0), NEAR)  # of a model; the embeddings here are not its


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scenes(n: int, seed: int, h: int = 5, w: int = 6, dimensions: int = 4) -> list[torch.Tensor]:
    """Embeddings of exchangeable images: each its own amount of change from one scene, seldom a great deal."""
    random = generator(seed)
    scene = torch.randn(1, dimensions, h, w, generator=random)
    amount = torch.empty(n, 1, 1, 1).log_normal_(-1, 1, generator=random)
    changed = scene + amount * torch.randn(n, dimensions, h, w, generator=random)
    return list(torch.nn.functional.normalize(changed, dim=1) * RADIUS)


@pytest.mark.parametrize("kind", Reference)
class TestShares:
    def test_without_one_image_are_those_of_the_others(self, kind: Reference) -> None:
        given = scenes(6, 0)
        whole = reference_of_shares(given, kind, generator())
        for image in range(6):
            others = given[:image] + given[image + 1 :]
            rest = {tuple(vector) for vector in whole.without(image).vectors.tolist()}
            assert rest == {tuple(vector) for vector in reference_of_shares(others, kind, generator()).vectors.tolist()}

    def test_nothing_is_nearer_to_fewer_images(self, kind: Reference) -> None:
        *given, new = scenes(9, 1, 20, 30)
        whole = reference_of_shares(given, kind, generator())
        for image in range(8):
            for seen in (new, given[image]):
                assert (whole.without(image)(seen[None]) >= whole(seen[None])).all()

    def test_are_equally_large_and_know_where_they_come_from(self, kind: Reference) -> None:
        given = scenes(5, 2, 20, 30)
        reference = reference_of_shares(given, kind, generator())
        assert reference.origins is not None
        origins = reference.origins if kind is Reference.LOCATION else reference.origins[:, 0]
        share = 600 if kind is Reference.LOCATION else SHARED_BANK // 5
        assert torch.bincount(origins).tolist() == [share] * 5
        for number, vector in enumerate(reference.vectors):
            image = int(origins[number])
            row, column = divmod(number % 600, 30) if kind is Reference.LOCATION else reference.origins[number, 1:]
            torch.testing.assert_close(vector, given[image][:, row, column], atol=2e-3, rtol=0)


def limit_of(given: list[torch.Tensor], kind: Reference, alpha: float, left_out: bool) -> tuple[DistanceModel, float]:
    """Make a reference set, and the limit from the scores of its own images, left out in turn or not."""
    reference = reference_of_shares(given, kind, generator())
    model = DistanceModel(NETWORK, reference, 3, 4)
    paths = tuple(Path(str(index)) for index in range(len(given)))
    if left_out:
        found = scores_in_turn(model, GoodImages("part", paths, (), paths), given)
        scores = [score for score, _ in found.values()]
    else:
        scores = [score_of(model, each) for each in given]
    return model, conformal_threshold(scores, alpha).value


def score_of(model: DistanceModel, embedding: torch.Tensor) -> float:
    return model.of_embeddings(embedding[None], torch.ones(1, 1))[1].item()


@pytest.mark.parametrize(("n", "alpha"), [(9, 0.1), (4, 0.2), (9, 0.3)])
@pytest.mark.parametrize("kind", Reference)
def test_false_alarms_keep_the_promise(kind: Reference, n: int, alpha: float) -> None:
    """One new image for each draw of the others, so alarms are independent: at most alpha, but not far below it."""
    n_runs, alarms = 150, 0
    for run in range(n_runs):
        *given, new = scenes(n + 1, run)
        model, limit = limit_of(given, kind, alpha, left_out=True)
        alarms += score_of(model, new) > limit
    assert binom.ppf(0.001, n_runs, alpha / 3) <= alarms <= binom.ppf(0.999, n_runs, alpha)


def test_images_that_are_not_left_out_promise_nothing() -> None:
    alarms = 0
    for run in range(50):
        *given, new = scenes(10, run)
        model, limit = limit_of(given, Reference.LOCATION, 0.1, left_out=False)
        alarms += score_of(model, new) > limit
    assert alarms > 40


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files that differ, and are never looked into."""
    folder = tmp_path_factory.mktemp("many")
    paths = [folder / f"{index:03}.png" for index in range(310)]
    for index, path in enumerate(paths):
        path.write_bytes(index.to_bytes(2, "big"))
    return paths


class TestDivision:
    @pytest.mark.parametrize(
        ("n", "alpha", "held_out", "in_turn", "learned"),
        [
            (310, 0.05, 62, 0, MOST_REFERENCES),  # a fifth is enough, and more than the reference set takes
            (310, 0.01, 99, 0, MOST_REFERENCES),
            (95, 0.05, 19, 0, 76),
            (94, 0.05, 19, 0, 75),  # more than a fifth
            (35, 0.05, 19, 0, 16),
            (34, 0.05, 0, SHARES, SHARES),  # too few are left for the reference set
            (SHARES, 0.05, 0, SHARES, SHARES),
            (19, 0.05, 0, 19, 19),
            (5, 0.05, 0, 5, 5),
            (2, 0.05, 0, 2, 2),
            (130, 0.01, 99, 0, 31),
            (50, 0.01, 34, 0, 16),  # not enough for alpha, but more than could be left out in turn
            (39, 0.01, 0, SHARES, SHARES),
            (10, 0.4, 2, 0, 8),
        ],
    )
    def test_promises_what_it_can(
        self, paths: list[Path], n: int, alpha: float, held_out: int, in_turn: int, learned: int
    ) -> None:
        images = divide_unseen(paths[:n], "part", 0, alpha)
        assert (len(images.held_out), len(images.in_turn), len(images.learned)) == (held_out, in_turn, learned)
        assert not set(images.held_out) & set(images.learned)
        assert set(images.in_turn) <= set(images.learned) <= set(paths[:n])

    def test_more_images_never_promise_less(self, paths: list[Path]) -> None:
        for alpha in (0.1, 0.05, 0.01):
            able = []
            for n in range(2, 131):
                images = divide_unseen(paths[:n], "part", 0, alpha)
                able.append(min(len(images.held_out or images.in_turn), least_images(alpha)))
            assert able == sorted(able)

    def test_images_that_the_network_knows_only_make_the_reference_set(self, paths: list[Path]) -> None:
        known = frozenset(content_hash(path) for path in paths[:6])
        images = divide_unseen(paths[:20], "part", 0, 0.05, known)
        assert images.in_turn == tuple(paths[6:20])
        assert images.learned[:14] == images.in_turn
        assert set(images.learned[14:]) == set(paths[:6])

    @pytest.mark.parametrize(
        ("n_known", "held_out", "in_turn", "learned"),
        [
            (40, 20, 0, 40),  # all that are new, for the others make the reference set
            (59, 1, 0, 59),
            (30, 30, 0, 30),
            (16, 44, 0, 16),
            (10, 44, 0, 16),
            (0, 44, 0, 16),
        ],
    )
    def test_images_that_the_network_knows_are_not_left_lying(
        self, paths: list[Path], n_known: int, held_out: int, in_turn: int, learned: int
    ) -> None:
        known = frozenset(content_hash(path) for path in paths[:n_known])
        images = divide_unseen(paths[:60], "part", 0, 0.01, known)
        assert (len(images.held_out), len(images.in_turn), len(images.learned)) == (held_out, in_turn, learned)
        assert not set(images.held_out) & set(paths[:n_known])

    def test_where_too_few_are_known_the_new_ones_are_left_out_in_turn(self, paths: list[Path]) -> None:
        known = frozenset(content_hash(path) for path in paths[:15])
        images = divide_unseen(paths[:35], "part", 0, 0.01, known)
        assert (len(images.held_out), len(images.in_turn), len(images.learned)) == (0, 20, SHARES)

    def test_where_the_network_knows_all_nothing_is_won(self, paths: list[Path]) -> None:
        known = frozenset(content_hash(path) for path in paths[:10])
        images = divide_unseen(paths[:10], "part", 0, 0.05, known)
        assert (len(images.held_out), images.in_turn) == (2, ())

    def test_chance_decides_who_is_held_out(self, paths: list[Path]) -> None:
        assert len({divide_unseen(paths[:40], "part", seed, 0.05).held_out for seed in range(5)}) == 5


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("flange")
    rng = np.random.default_rng(0)
    surface = SURFACES["cast_part"](rng)
    paths = [folder / f"{index:02}.png" for index in range(9)]
    for path in paths:
        write_image(path, draw_surface(surface, rng, 64, 64))
    return paths


@pytest.fixture(scope="module", params=["location", "category"])
def enrolled(request: pytest.FixtureRequest, good: list[Path]) -> Detector:
    return enroll(good, reference=request.param, alpha=0.1)


class TestEnroll:
    def test_all_images_set_the_limit_and_make_the_reference_set(self, enrolled: Detector, good: list[Path]) -> None:
        about, contents = enrolled.description, {content_hash(path) for path in good}
        assert (about.threshold.n_images, about.threshold.promised_alpha) == (9, 0.1)
        assert set(about.good_scores) == contents == about.learned
        assert all(len(values) == 9 for values in about.good_statistics.values())
        assert any("are not divided: 9 make the reference set and set the threshold too" in n for n in about.notes)

    def test_no_image_is_farther_from_all_than_from_the_others(self, enrolled: Detector, good: list[Path]) -> None:
        about = enrolled.description
        for path in good:
            score = enrolled.inspect(path).score
            assert score == about.own_scores[content_hash(path)] < about.good_scores[content_hash(path)]

    def test_verify_knows_what_the_graph_said(self, enrolled: Detector, good: list[Path]) -> None:
        compared = verify(enrolled.model, good)
        assert all(each.stored is not None and each.agrees for each in compared)

    def test_its_limit_can_be_moved(self, enrolled: Detector) -> None:
        assert enrolled.with_alpha(0.3).threshold.value < enrolled.threshold.value

    def test_its_images_set_no_other_limit(self, enrolled: Detector, good: list[Path]) -> None:
        with pytest.raises(DatasetError, match="has learned from 9 of these"):
            enrolled.calibrate(good, alpha=0.1)
        with pytest.raises(DatasetError, match="can be made anew with the zones"):
            enrolled.with_zones(np.eye(8, dtype=bool), good, alpha=0.1)

    def test_what_is_accepted_makes_the_stored_scores_old(
        self, enrolled: Detector, good: list[Path], tmp_path: Path
    ) -> None:
        write_image(tmp_path / "other.png", np.random.default_rng(1).random((64, 64), dtype=np.float32))
        taught = accept(enrolled, [tmp_path / "other.png"])
        assert taught.description.own_scores == {}
        assert all(each.stored is None for each in verify(taught.model, good))
        back = taught.undo()
        assert back.description.own_scores == enrolled.description.own_scores
        assert all(each.stored is not None and each.agrees for each in verify(back.model, good))

    def test_loads_as_it_was_saved(self, enrolled: Detector, tmp_path: Path) -> None:
        enrolled.save(tmp_path / "m.blemish")
        assert Detector.load(tmp_path / "m.blemish").description == enrolled.description

    def test_ignored_zones_count_for_nothing(self, good: list[Path], enrolled: Detector) -> None:
        ignored = np.zeros((64, 64), dtype=bool)
        ignored[:, 20:] = True  # the map reaches a cell beyond what counts
        zoned = enroll(good, reference=enrolled.description.reference, alpha=0.1, ignored=ignored)
        image = draw_surface(SURFACES["cast_part"](np.random.default_rng(0)), np.random.default_rng(5), 64, 64)
        spoiled = image.copy()
        spoiled[20:50, 44:] = np.random.default_rng(2).random((30, 20))
        assert enrolled.inspect(spoiled).verdict is Verdict.DEFECTIVE
        assert (zoned.inspect(spoiled).anomaly_map[:, 28:] == 0).all()
        assert all(decide(score, zoned.threshold) is Verdict.GOOD for score in zoned.description.good_scores.values())

    @pytest.mark.parametrize("reference", Reference)
    def test_an_odd_image_takes_its_turn_as_all_do(self, reference: Reference, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        surface = SURFACES["cast_part"](rng)
        paths = [tmp_path / f"{index:02}.png" for index in range(20)]
        for index, path in enumerate(paths):
            image = draw_surface(surface, rng, 64, 64)
            write_image(path, rng.random((64, 64), dtype=np.float32) if index == 3 else image)
        about = enroll(paths, reference=reference, alpha=0.1).description
        assert len(about.good_scores) == 20
        assert all(about.good_scores[content] > own + 0.01 for content, own in about.own_scores.items())
        assert max(about.good_scores, key=lambda content: about.good_scores[content]) == content_hash(paths[3])
        assert any("03.png" in note for note in about.notes)

    @pytest.mark.parametrize("n", [9, 30])  # each left out in turn, and some held out
    def test_zones_are_scaled_to_images_of_any_size(self, n: int, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        surface = SURFACES["cast_part"](rng)
        paths = [tmp_path / f"{index:02}.png" for index in range(n)]
        for index, path in enumerate(paths):
            write_image(path, draw_surface(surface, rng, 64, 64 + 16 * (index % 3)))
        ignored = np.zeros((10, 10), dtype=bool)
        ignored[:, 5:] = True
        zoned = enroll(paths, alpha=0.2, ignored=ignored)
        assert zoned.description.preparation.height is None
        assert all(zoned.inspect(path).anomaly_map[:, -20:].max() == 0 for path in paths[:3])

    def test_an_image_too_large_to_be_embedded_whole_is_refused_by_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(assembly, "MOST_CELLS_OF_ONE", 400)
        rng = np.random.default_rng(0)
        surface = SURFACES["brushed_metal"](rng)
        paths = [tmp_path / f"{index}.png" for index in range(5)]
        for index, path in enumerate(paths):
            write_image(path, draw_surface(surface, rng, 64, 64 + 16 * (index % 3)))
        write_image(tmp_path / "huge.png", draw_surface(surface, rng, 100, 88))
        with pytest.raises(DatasetError, match=r"huge\.png' has 100 x 88 pixels.*expected at most 6,400 .*cut it"):
            enroll([*paths, tmp_path / "huge.png"], reference="category", alpha=0.2)
        assert enroll(paths, reference="category", alpha=0.2).threshold.n_images == 5

    def test_images_that_are_all_large_are_embedded_all_the_same(
        self, good: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(assembly, "MOST_CELLS_OF_ONE", 1)
        assert enroll(good, reference="category", alpha=0.1).threshold.n_images == len(good)

    def test_the_papers_networks_take_no_zones(self, detector: Detector, good: list[Path]) -> None:
        with pytest.raises(SettingError, match="set them afterwards"):
            enroll(good, network=detector, ignored=np.zeros((8, 8), dtype=bool))

    def test_an_odd_image_is_named(self, good: list[Path], tmp_path: Path) -> None:
        paths = [*good, tmp_path / "a.png", tmp_path / "odd.png"]
        surface, rng = SURFACES["cast_part"](np.random.default_rng(0)), np.random.default_rng(7)
        write_image(paths[-2], draw_surface(surface, rng, 64, 64))
        write_image(paths[-1], (rng.random((64, 64)) < 0.5).astype(np.float32))
        notes = enroll(paths, reference="location", alpha=0.1).description.notes
        assert any("odd.png" in note and "may have raised it" in note for note in notes)

    def test_is_judged_by_others_only(self, category_dir: Path) -> None:
        made = enroll(category_dir, alpha=0.06)
        found = evaluate(made, category_dir)
        assert (made.threshold.n_images, found.n_seen, found.n_good) == (16, 16, 8)
