"""Every runtime gives the same distances, at any size the graph takes, on any number of threads."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from blemish.detection import runtime as runtime_module
from blemish.detection.detector import Detector
from blemish.detection.engines import ENGINES, installed_engines
from blemish.detection.runtime import Runtime, fastest_engine
from blemish.detection.verification import TOLERANCE
from blemish.errors import MissingExtraError, ModelFileError, SettingError
from blemish.parallel import in_order

ENGINE = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
    for name in ENGINES
]


@pytest.fixture(params=["detector", "nearest_detector"])
def either(request: pytest.FixtureRequest) -> Detector:
    """A detector of the paper's method, then one of ours."""
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Detector)
    return made


@pytest.fixture
def prepared(either: Detector) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [either.description.preparation.apply(rng.random((150, 160), dtype=np.float32)) for _ in range(6)]


@pytest.mark.parametrize("engine", ENGINE)
def test_every_engine_gives_the_same_distances(either: Detector, prepared: list[np.ndarray], engine: str) -> None:
    usual, other = Runtime(either.model.graph), Runtime(either.model.graph, engine)
    for image in prepared:
        expected, found = usual.run(image), other.run(image)
        assert found.score == pytest.approx(expected.score, abs=TOLERANCE, rel=TOLERANCE)
        assert found.mean_distance == pytest.approx(expected.mean_distance, abs=TOLERANCE, rel=TOLERANCE)
        np.testing.assert_allclose(found.distance_map, expected.distance_map, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("engine", ENGINE)
def test_every_engine_leaves_out_the_same_cells(either: Detector, prepared: list[np.ndarray], engine: str) -> None:
    usual, other = Runtime(either.model.graph), Runtime(either.model.graph, engine)
    counted = np.ones_like(usual.run(prepared[0]).distance_map)
    counted[1:3, :2] = 0
    expected, found = usual.run(prepared[0], counted), other.run(prepared[0], counted)
    assert (found.distance_map[1:3, :2] == 0).all()
    assert found.score == pytest.approx(expected.score, abs=TOLERANCE, rel=TOLERANCE)
    assert found.mean_distance == pytest.approx(expected.mean_distance, abs=TOLERANCE, rel=TOLERANCE)
    np.testing.assert_allclose(found.distance_map, expected.distance_map, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("engine", ENGINE)
def test_every_cell_counts_by_default_in_every_engine(
    either: Detector, prepared: list[np.ndarray], engine: str
) -> None:
    runtime = Runtime(either.model.graph, engine)
    usual = runtime.run(prepared[0])
    assert runtime.run(prepared[0], np.ones_like(usual.distance_map)).score == pytest.approx(usual.score, abs=1e-6)


@pytest.mark.parametrize("engine", ENGINE)
def test_several_threads_may_run_it_at_once(either: Detector, prepared: list[np.ndarray], engine: str) -> None:
    runtime = Runtime(either.model.graph, engine, threads=1)
    alone = [runtime.run(image).score for image in prepared]
    together = [found.score for found in in_order(runtime.run, prepared * 4, n_threads=4)]
    assert together == pytest.approx(alone * 4, abs=1e-6)


@pytest.mark.parametrize("engine", ENGINE)
def test_a_damaged_graph_is_an_error_of_ours(engine: str) -> None:
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        Runtime(b"no graph", engine)


def test_another_engine_is_refused(detector: Detector) -> None:
    with pytest.raises(SettingError, match="onnxruntime, openvino"):
        Detector(detector.model, runtime="other")


def test_an_engine_that_is_not_installed_says_how_to_install_it(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"blemish\[openvino\]"):
        Detector(detector.model, runtime="openvino")


def test_the_fastest_of_the_installed_engines_is_taken(
    detector: Detector, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pretended:
        def __init__(self, graph: bytes, engine: str = "") -> None:
            self.engine = engine

        def run(self, image: np.ndarray) -> None:
            clock.append(clock[-1] + (1 if self.engine == "quick" else 5))

    clock = [0.0]
    monkeypatch.setattr(runtime_module, "Runtime", Pretended)
    monkeypatch.setattr(runtime_module.time, "perf_counter", lambda: clock[-1])
    assert fastest_engine(b"", np.zeros((8, 8), dtype=np.float32), ["slow", "quick"]) == "quick"


def test_auto_names_what_it_took(model_path: Path) -> None:
    assert Detector.load(model_path, runtime="auto").runtime in installed_engines()


def test_a_calibrated_detector_keeps_its_runtime_and_is_another_run(either: Detector, category_dir: Path) -> None:
    calibrated = either.calibrate(sorted((category_dir / "test" / "good").iterdir()), alpha=0.2)
    assert calibrated.runtime == either.runtime == "onnxruntime"
    assert calibrated.fingerprint != either.fingerprint == either.with_threads(1).fingerprint


def test_another_size_of_pixels_is_another_run_and_is_kept(detector: Detector) -> None:
    sized = Detector(detector.model, mm_per_pixel=0.05)
    assert sized.fingerprint != detector.fingerprint
    assert sized.with_threads(1).fingerprint == sized.fingerprint
    assert sized.with_threshold(2.0).mm_per_pixel == 0.05
