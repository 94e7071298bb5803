"""Good parts that were stopped wrongly: they pass afterwards, nothing scores higher, and the way back is open."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blemish import Detector, Verdict, accept, enroll, fit
from blemish.datasets import content_hash, read_category
from blemish.detection.former import digest, restored, with_graph
from blemish.errors import DatasetError, ImageError, ModelFileError, SettingError, TrainingError
from blemish.images import write_image
from blemish.learning import reference as reference_module
from blemish.learning.graph import DistanceModel, build_graph, read_reference
from blemish.learning.network import NEAR, WIDE, BoundedNetwork
from blemish.learning.reference import (
    BANK,
    Reference,
    ToNearest,
    ToNearestHere,
    embed,
    extended,
    nearest_reference,
)


def images_of(category_dir: Path, defect_type: str) -> list[Path]:
    return [s.path for s in read_category(category_dir) if s.split == "test" and s.defect_type == defect_type]


@pytest.fixture(scope="module", params=["category", "location"])
def strict(request: pytest.FixtureRequest, nearest_detector: Detector, category_dir: Path) -> Detector:
    """A detector of either reference whose limit is so low that it stops some good images."""
    made = nearest_detector
    if request.param == "location":
        made = fit(category_dir, steps=1, reference="location", alpha=0.2)
    scores = sorted(made.inspect(path).score for path in images_of(category_dir, "good"))
    return made.with_threshold(scores[5])


@pytest.fixture(scope="module")
def stopped(strict: Detector, category_dir: Path) -> list[Path]:
    """The good images that it stops."""
    return [path for path in images_of(category_dir, "good") if strict.inspect(path).verdict is not Verdict.GOOD]


@pytest.fixture(scope="module")
def accepted(strict: Detector, stopped: list[Path]) -> Detector:
    """The same detector, taught that they are good."""
    return accept(strict, stopped, who="anna", why="new supplier")


def test_accepted_images_pass(accepted: Detector, stopped: list[Path]) -> None:
    assert len(stopped) == 2
    assert all(accepted.inspect(path).verdict is Verdict.GOOD for path in stopped)


def test_no_image_scores_higher_than_before(strict: Detector, accepted: Detector, category_dir: Path) -> None:
    for path in sorted((category_dir / "test").rglob("*.png")):
        before, after = strict.inspect(path), accepted.inspect(path)
        assert after.score <= before.score + 1e-4
        assert (after.anomaly_map <= before.anomaly_map + 1e-4).all()


def test_the_threshold_and_its_promise_stay(strict: Detector, accepted: Detector) -> None:
    assert accepted.threshold == strict.threshold
    assert accepted.description.good_scores == strict.description.good_scores


def test_the_history_tells_of_it(accepted: Detector) -> None:
    change = accepted.description.history[-1]
    assert (change["what"], change["who"], change["why"]) == ("accept", "anna", "new supplier")


def test_accepted_images_are_learned_from_and_cannot_set_the_limit(accepted: Detector, stopped: list[Path]) -> None:
    assert {content_hash(path) for path in stopped} <= accepted.description.learned
    with pytest.raises(DatasetError, match="learned from"):
        accepted.calibrate(stopped, alpha=0.5)


def test_undo_brings_back_the_graph_without_pytorch(
    strict: Detector, accepted: Detector, category_dir: Path, tmp_path: Path
) -> None:
    accepted.with_threshold(99.0).save(tmp_path / "m.blemish")
    back = Detector.load(tmp_path / "m.blemish").undo().undo()
    assert back.model.graph == strict.model.graph
    path = images_of(category_dir, "stain")[0]
    assert back.inspect(path).score == strict.inspect(path).score


def test_what_was_undone_can_be_accepted_again(accepted: Detector, stopped: list[Path]) -> None:
    again = accept(accepted.undo(), stopped)
    assert again.model.graph == accepted.model.graph


def test_what_was_accepted_and_undone_is_not_shown(
    strict: Detector, accepted: Detector, stopped: list[Path], category_dir: Path
) -> None:
    other = images_of(category_dir, "stain")[:1]
    anew, at_once = accept(accepted.undo(), other), accept(strict, other)
    assert anew.model.graph == at_once.model.graph
    shown, expected = anew._patches, at_once._patches
    assert shown is not None
    assert expected is not None
    assert len(shown.places) == len(expected.places)
    # The pictures went through JPEG once more or less.
    assert np.abs(shown.show(-1) - expected.show(-1)).mean() < 0.05


def test_the_accepted_places_can_be_shown(accepted: Detector, stopped: list[Path]) -> None:
    strictest = accepted.with_threshold(-1.0)
    found = strictest.inspect(stopped[0]).evidence
    assert found is not None
    assert found.nearest is not None
    patches = accepted._patches
    assert patches is not None
    assert len(patches.places) == len(read_reference(accepted.model.graph).vectors)


def test_defective_images_that_would_be_missed_are_named_and_nothing_is_accepted(
    strict: Detector, category_dir: Path
) -> None:
    stained = images_of(category_dir, "stain")[:1]
    just = strict.with_threshold(0.99 * strict.inspect(stained[0]).score)
    with pytest.raises(TrainingError, match=r"1 of 1 defective images(?s:.)*000\.png"):
        accept(just, stained, defective=stained)


def test_defective_images_that_are_still_stopped_are_no_hindrance(
    strict: Detector, accepted: Detector, stopped: list[Path], category_dir: Path
) -> None:
    stained = [path for path in images_of(category_dir, "stain") if accepted.inspect(path).verdict is not Verdict.GOOD]
    assert stained
    assert accept(strict, stopped, defective=stained).model.graph == accepted.model.graph


def test_the_papers_methods_are_refused(detector: Detector, category_dir: Path) -> None:
    with pytest.raises(SettingError, match="nearest"):
        accept(detector, images_of(category_dir, "good"))


def test_nothing_to_accept_is_said(nearest_detector: Detector) -> None:
    with pytest.raises(SettingError, match="no images"):
        accept(nearest_detector, [])


def test_an_image_of_another_size_can_be_accepted(nearest_detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    write_image(path, np.random.default_rng(0).random((300, 260), dtype=np.float32))
    taught = accept(nearest_detector, [path])
    assert taught.inspect(path).score < nearest_detector.inspect(path).score


def test_an_image_too_large_to_be_embedded_whole_is_refused_by_name(
    category_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blemish.learning.accept.MOST_CELLS_OF_ONE", 2000)
    rng = np.random.default_rng(0)
    for index in range(6):
        write_image(tmp_path / f"{index}.png", rng.random((64 + 16 * (index % 3), 64), dtype=np.float32))
    made = enroll(sorted(tmp_path.iterdir()), reference="category", alpha=0.2)
    path = images_of(category_dir, "good")[0]  # of 160 x 150 pixels, which are 40 x 38 cells
    assert accept(made, [path]).inspect(path).score < made.inspect(path).score
    monkeypatch.setattr("blemish.learning.accept.MOST_CELLS_OF_ONE", 1500)
    with pytest.raises(ImageError, match=r"000\.png' has 160 x 150 pixels.*expected at most 24,000 .*cut it"):
        accept(made, [path])


def test_images_of_one_size_are_never_too_large(
    strict: Detector, stopped: list[Path], accepted: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blemish.learning.accept.MOST_CELLS_OF_ONE", 1)
    assert accept(strict, stopped).model.graph == accepted.model.graph


# --- reference sets ----------------------------------------------------------------------------------------------


def make(kind: Reference) -> tuple[DistanceModel, list[np.ndarray]]:
    network = BoundedNetwork(torch.Generator().manual_seed(0), NEAR if kind is Reference.LOCATION else WIDE)
    images = list(np.random.default_rng(0).random((6, 64, 48), dtype=np.float32))
    with torch.no_grad():
        network.train()(torch.from_numpy(np.stack(images))[:, None])
    network.eval()
    good = embed(network, images[:3])
    reference = nearest_reference(good, kind, torch.Generator().manual_seed(0))
    return DistanceModel(network, reference).eval(), images[3:]


@pytest.mark.parametrize("kind", Reference)
def test_a_reference_set_is_read_back_from_its_graph(kind: Reference) -> None:
    model, _ = make(kind)
    read = read_reference(build_graph(model))
    assert isinstance(model.reference, (ToNearest, ToNearestHere))
    assert type(read) is type(model.reference)
    assert torch.equal(read.vectors, model.reference.vectors)


@pytest.mark.parametrize("kind", Reference)
def test_an_extension_leaves_no_place_lacking(kind: Reference) -> None:
    model, images = make(kind)
    assert isinstance(model.network, BoundedNetwork)
    assert isinstance(model.reference, (ToNearest, ToNearestHere))
    embeddings = embed(model.network, images)
    everything = [np.ones((16, 12), np.float32)] * 3
    whole, added = extended(model.reference, embeddings, everything, near_enough=1.0)
    assert torch.equal(whole.vectors, torch.cat([model.reference.vectors, added.vectors]))
    assert whole(torch.stack(embeddings)).max() < 1.01


def test_where_nothing_is_lacked_nothing_is_added() -> None:
    model, images = make(Reference.CATEGORY)
    assert isinstance(model.network, BoundedNetwork)
    assert isinstance(model.reference, ToNearest)
    with pytest.raises(SettingError, match="nothing to add"):
        extended(model.reference, embed(model.network, images), [np.ones((16, 12), np.float32)] * 3, near_enough=8.0)


@pytest.mark.parametrize("kind", Reference)
def test_ignored_cells_lack_nothing(kind: Reference) -> None:
    model, images = make(kind)
    assert isinstance(model.network, BoundedNetwork)
    assert isinstance(model.reference, (ToNearest, ToNearestHere))
    nothing = [np.zeros((16, 12), np.float32)] * 3
    with pytest.raises(SettingError, match="nothing to add"):
        extended(model.reference, embed(model.network, images), nothing, near_enough=0.1)


def test_a_full_reference_set_asks_for_learning_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_module, "_MOST_MEDOIDS", 0)
    monkeypatch.setattr(reference_module, "_MOST_IN_BANK", 0)
    for kind in Reference:
        model, images = make(kind)
        assert isinstance(model.network, BoundedNetwork)
        assert isinstance(model.reference, (ToNearest, ToNearestHere))
        with pytest.raises(SettingError, match="no room"):
            extended(model.reference, embed(model.network, images), [np.ones((16, 12), np.float32)] * 3, 0.1)


def test_an_extension_is_bounded() -> None:
    vectors = (
        torch.nn.functional.normalize(torch.randn(3000, 32, generator=torch.Generator().manual_seed(0)), dim=1) * 4
    )
    bank = ToNearest(vectors[:BANK])
    image = vectors[BANK : BANK + 1800].T.reshape(32, 30, 60)
    assert len(extended(bank, [image], [np.ones((30, 60), np.float32)], 0.0)[1].vectors) == 256


def test_an_extension_has_the_one_cell_of_a_large_image_that_is_lacked() -> None:
    """However many cells there are; unless it is ignored."""
    usual = torch.ones(8) + 0.3 * torch.randn(3, 400, 400, 8, generator=torch.Generator().manual_seed(0))
    cells = torch.nn.functional.normalize(usual, dim=3) * BoundedNetwork.RADIUS
    bank = ToNearest(cells[0, :2].flatten(0, 1))
    places = [(1, 300, 20), (2, 7, 391), (2, 200, 200)]
    for number, (image, row, column) in enumerate(places):
        cells[image, row, column] = -BoundedNetwork.RADIUS * torch.eye(8)[number]
    counted = [np.ones((400, 400), np.float32) for _ in range(3)]
    counted[2][200, 200] = 0
    _, added = extended(bank, list(cells.permute(0, 3, 1, 2)), counted, near_enough=4.0)
    assert isinstance(added, ToNearest)
    assert added.origins is not None
    assert sorted(map(tuple, added.origins.tolist())) == places[:2]


# --- former graphs -----------------------------------------------------------------------------------------------


def test_former_graphs_cost_what_sets_them_apart(strict: Detector) -> None:
    rng = np.random.default_rng(0)
    shared, about = rng.bytes(200_000), strict.description
    model = strict.model
    for index in range(5):
        model = with_graph(model, about, shared + bytes([index]) * 100)
    assert model.former is not None
    assert len(model.former) < len(strict.model.graph) + 1.1 * len(shared)


def test_a_graph_that_is_not_kept_cannot_be_restored(strict: Detector) -> None:
    about = replace(strict.description, graph=digest(b"another"))
    with pytest.raises(ModelFileError, match="does not keep"):
        restored(strict.model, about)
    with pytest.raises(ModelFileError, match="cannot be read"):
        restored(replace(strict.model, former=b"no xz"), about)
