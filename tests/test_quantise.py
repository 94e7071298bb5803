"""8-bit integers: handed out only where verdicts hold and it pays, with a limit of its own and a way back."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from typer.testing import CliRunner

from blemish import Detector, accept, quantise
from blemish.cli import app
from blemish.datasets import content_hash, read_good
from blemish.detection.engines import FLOAT32, INT8
from blemish.detection.preparation import Prepared
from blemish.detection.runtime import Distances
from blemish.detection.verification import verify
from blemish.errors import DatasetError, SettingError, TrainingError
from blemish.learning import quantise as module
from blemish.learning.defects import STRUCTURAL, SURFACE, Defect, any_defect
from blemish.learning.nearest import LARGE_CROP
from blemish.learning.quantise import Comparison, quantised_graph
from blemish.results import FloatArray

Made = tuple[Detector, Comparison]


@pytest.fixture(scope="module", params=["nearest_detector", "detector"])
def usual(request: pytest.FixtureRequest) -> Detector:
    """A detector in float32, of our method and of the paper's."""
    made: Detector = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="module")
def made(usual: Detector, category_dir: Path) -> Made:
    """The same in 8 bits, whatever it costs and brings."""
    with pytest.MonkeyPatch.context() as patch:
        at_any_price(patch)
        return quantise(usual, read_good(category_dir), who="anna", why="faster line")


def at_any_price(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_MOST_CHANGED", 1.0)
    patch.setattr(module, "_LEAST_GAIN", 0.0)


def images_of(category_dir: Path) -> list[Path]:
    return sorted((category_dir / "test").rglob("*.png"))


def prepared(detector: Detector, n: int = 2) -> list[FloatArray]:
    height, width = detector.description.preparation.height, detector.description.preparation.width
    assert height is not None
    assert width is not None
    return list(np.random.default_rng(0).random((n, height, width), dtype=np.float32))


def test_scores_differ_by_no_more_than_it_says(usual: Detector, made: Made, category_dir: Path) -> None:
    unseen = [path for path in read_good(category_dir) if content_hash(path) not in usual.description.learned]
    apart = [abs(made[0].inspect(path).score - usual.inspect(path).score) for path in unseen]
    assert 0 < max(apart) <= made[1].largest_difference + 1e-6


def test_the_limit_is_set_anew_by_images_that_were_not_learned_from(
    usual: Detector, made: Made, category_dir: Path
) -> None:
    about = made[0].description
    unseen = {content_hash(path): path for path in read_good(category_dir)}.keys() - about.learned
    assert about.good_scores.keys() == unseen
    assert about.threshold.alpha == usual.threshold.alpha
    assert about.threshold.value == max(about.good_scores.values())  # 1 in 5 of 3 images
    assert made[1].n_good == len(unseen)


def test_stored_scores_are_those_it_gives(made: Made, category_dir: Path, tmp_path: Path) -> None:
    made[0].save(tmp_path / "m.blemish")
    found = verify(Detector.load(tmp_path / "m.blemish").model, read_good(category_dir))
    assert all(list(each.scores) == ["onnxruntime"] for each in found)
    assert all(each.agrees for each in found)
    assert sum(each.stored is not None for each in found) == made[1].n_good


def test_the_number_of_cores_changes_nothing(made: Made, category_dir: Path) -> None:
    for path in images_of(category_dir)[:3]:
        assert made[0].with_threads(1).inspect(path).score == made[0].with_threads(2).inspect(path).score


def test_the_file_says_so_and_undo_forgets_it(usual: Detector, made: Made, category_dir: Path) -> None:
    about = made[0].description
    assert (about.precision, usual.description.precision) == (INT8, FLOAT32)
    assert about.notes == [*usual.description.notes, made[1].sentence()]
    assert [about.history[-1][name] for name in ("what", "who", "why")] == ["quantise", "anna", "faster line"]
    back = made[0].undo()
    assert back.model.graph == usual.model.graph
    changed = {"history", "graph", "provenance"}
    before, after = asdict(usual.description), asdict(back.description)
    assert {name for name in before if before[name] != after[name]} <= changed
    path = images_of(category_dir)[0]
    assert back.inspect(path).score == usual.inspect(path).score


def test_other_runtimes_are_refused_and_auto_takes_none(made: Made, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="8-bit integers"):
        Detector(made[0].model, runtime="openvino")
    made[0].save(tmp_path / "m.blemish")
    assert Detector.load(tmp_path / "m.blemish", runtime="auto").runtime == "onnxruntime"


def test_it_is_neither_quantised_nor_taught_again(made: Made, nearest_detector: Detector, category_dir: Path) -> None:
    with pytest.raises(SettingError, match="already"):
        quantise(made[0], read_good(category_dir))
    if made[0].description.method == "nearest":
        with pytest.raises(SettingError, match="threshold --undo"):
            accept(made[0], images_of(category_dir))


@pytest.mark.parametrize("spared", module.SPARED)
def test_all_but_the_spared_and_the_last_convolutions_become_integers(usual: Detector, spared: int) -> None:
    def weights(graph: bytes, kind: int) -> list[onnx.TensorProto]:
        read = onnx.load_from_string(graph).graph
        return [each for each in read.initializer if each.data_type == kind and len(each.dims) == 4]

    n_convolutions = sum(node.op_type == "Conv" for node in onnx.load_from_string(usual.model.graph).graph.node)
    graph = quantised_graph(usual.model.graph, prepared(usual), spared)
    integers = weights(graph, TensorProto.INT8)
    assert len(integers) == n_convolutions - spared - 1
    others = {each.name for each in weights(graph, TensorProto.FLOAT)}
    assert len(others & {each.name for each in weights(usual.model.graph, TensorProto.FLOAT)}) == len(others)


def test_two_products_fit_into_16_bits(usual: Detector) -> None:
    read = onnx.load_from_string(quantised_graph(usual.model.graph, prepared(usual), 0)).graph
    integers = [onnx.numpy_helper.to_array(each) for each in read.initializer if each.data_type == TensorProto.INT8]
    largest = max(np.abs(each.astype(np.int64)).max() for each in integers)
    assert largest > 32
    assert 2 * 255 * largest < 2**15


def test_what_changes_too_many_verdicts_or_does_not_pay_is_refused(
    nearest_detector: Detector, category_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_any_price(monkeypatch)
    monkeypatch.setattr(module, "_MOST_CHANGED", -1.0)
    with pytest.raises(TrainingError, match="verdicts may change") as refused:
        quantise(nearest_detector, read_good(category_dir))
    assert str(refused.value).count("had another verdict") == len(module.SPARED)
    at_any_price(monkeypatch)
    monkeypatch.setattr(module, "_LEAST_GAIN", 1e9)
    with pytest.raises(TrainingError, match="times as fast"):
        quantise(nearest_detector, read_good(category_dir))


class OneScore(Detector):
    """A detector that gives every image the same score."""

    def measure(self, prepared: Prepared, height: int, width: int) -> Distances:
        return replace(super().measure(prepared, height, width), score=1.0)

    def with_threads(self, threads: int) -> Detector:
        return self


def test_verdicts_of_three_kinds_are_compared(nearest_detector: Detector, category_dir: Path) -> None:
    good = sorted((category_dir / "test" / "good").iterdir())
    assert len(good) == 8
    blind, itself = OneScore(nearest_detector.model), nearest_detector
    found = module.compare(nearest_detector, {0: blind, 2: itself}, good, alpha=0.2, unsure=0.5)
    assert [each.spared for each in found] == [0, 2]
    assert (found[0].n_good, found[0].n_defective) == (8, 40)
    assert found[0].changed_good == 3  # above the lower limit, which 5 of 8 are not
    assert found[0].changed_defective > 0
    assert (found[1].changed, found[1].largest_difference) == (0, 0)


def test_defects_where_nothing_counts_prove_nothing(nearest_detector: Detector, category_dir: Path) -> None:
    ignored = np.ones((160, 150), dtype=bool)
    ignored[:20, :20] = False
    zoned = nearest_detector.with_zones(ignored, read_good(category_dir), alpha=0.3)
    (found,) = module.compare(zoned, {0: zoned}, images_of(category_dir)[:8], alpha=0.3)
    assert 0 <= found.n_defective < 30
    assert found.n_good == 8


def test_defects_are_drawn_as_large_as_in_training_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_on = []

    def any_defect(*_: object) -> Defect:
        def draw(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, np.ndarray]:
            drawn_on.append(image.shape)
            return 1 - image, np.ones(image.shape, dtype=bool)

        return draw

    monkeypatch.setattr(module, "any_defect", any_defect)
    rng, n = np.random.default_rng(0), 20
    image = rng.random((40, 40_000), dtype=np.float32)
    where = []
    for _ in range(n):
        spoiled, mask = module._with_a_defect(image, rng)
        assert ((spoiled != image) == mask).all()
        where.append(int(np.flatnonzero(mask.any(axis=0))[0]))
    assert drawn_on == [(40, LARGE_CROP)] * n
    assert len(set(where)) == n
    assert max(where) - min(where) > 20_000


@pytest.mark.parametrize("shape", [(LARGE_CROP, LARGE_CROP), (64, 96)])
def test_defects_on_smaller_images_are_drawn_on_the_whole(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    for seed in range(5):
        found, expected = np.random.default_rng(seed), np.random.default_rng(seed)
        whole = any_defect(module._PHYSICAL, (*STRUCTURAL, *SURFACE), expected)(image, expected)
        for one, other in zip(module._with_a_defect(image, found), whole, strict=True):
            assert (one == other).all()
        assert found.random() == expected.random()


def test_a_strip_of_any_length_can_have_defects() -> None:
    """OpenCV would refuse more than 32,767 columns, and noise for a square as long takes gigabytes."""
    rng = np.random.default_rng(0)
    image = rng.random((40, 40_000), dtype=np.float32)
    assert all(module._with_a_defect(image, rng)[1].any() for _ in range(20))


def test_verdicts_are_counted_over_good_and_defective_images() -> None:
    one = Comparison(0, 1.5, n_good=40, n_defective=160, changed_good=1, changed_defective=1, largest_difference=0.1)
    assert one.changed == 0.01
    assert one.holds
    assert one.pays
    assert not replace(one, changed_good=2).holds
    assert not replace(one, times_as_fast=1.1).pays


def test_images_of_both_kinds_are_needed(nearest_detector: Detector, category_dir: Path) -> None:
    good = read_good(category_dir)
    learned = [path for path in good if content_hash(path) in nearest_detector.description.learned]
    for some in (learned, [path for path in good if path not in learned]):
        with pytest.raises(DatasetError, match="which show the ranges"):
            quantise(nearest_detector, some)


def test_the_rate_stays_below_that_of_the_lower_limit(nearest_detector: Detector, category_dir: Path) -> None:
    with pytest.raises(SettingError, match="threshold --alpha"):
        quantise(nearest_detector.with_alpha(0.2, unsure=0.4), read_good(category_dir), alpha=0.4)


def test_a_limit_by_hand_needs_a_rate(
    nearest_detector: Detector, category_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = nearest_detector.with_threshold(3.0)
    with pytest.raises(SettingError, match="give alpha"):
        quantise(by_hand, read_good(category_dir))
    at_any_price(monkeypatch)
    assert quantise(by_hand, read_good(category_dir), alpha=0.3)[0].threshold.alpha == 0.3


def test_zones_and_the_lower_limit_stay(
    nearest_detector: Detector, category_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_any_price(monkeypatch)
    ignored = np.zeros((160, 150), dtype=bool)
    ignored[:80] = True
    zoned = nearest_detector.with_zones(ignored, read_good(category_dir), alpha=0.3, unsure=0.6)
    smaller, _ = quantise(zoned, read_good(category_dir))
    assert smaller.description.ignored == zoned.description.ignored
    assert smaller.threshold.unsure is not None
    assert smaller.threshold.unsure.alpha == 0.6
    assert smaller.inspect(images_of(category_dir)[0]).anomaly_map[:60].max() == 0


def test_the_command_tells_what_it_found(
    nearest_detector: Detector, category_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_any_price(monkeypatch)
    model, out = tmp_path / "m.blemish", tmp_path / "m8.blemish"
    nearest_detector.save(model)
    result = CliRunner().invoke(app, ["quantise", str(model), str(category_dir), "-o", str(out)])
    assert result.exit_code == 0, result.stderr
    assert "had another verdict" in result.stderr
    assert result.stdout.startswith(str(out))
    assert Detector.load(out).description.precision == INT8
    assert Detector.load(model).description.precision == FLOAT32
    assert CliRunner().invoke(app, ["threshold", str(out), "--undo"]).exit_code == 0
    assert Detector.load(out).description.precision == FLOAT32
