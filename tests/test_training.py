"""Training is reproducible, resumes to the same result, survives interruption, and learns."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blemish.errors import SettingError, TrainingError
from blemish.images import write_image
from blemish.learning.training import FIRST_PART, TrainingSummary, train
from blemish.learning.triplets import PatchPyramid, PatchSettings, PatchTriplets, TrainingImage
from blemish.progress import Progress, silent
from stop_after import StopAfter

SETTINGS = PatchSettings(epochs=3, batch_size=8, learning_rate=1e-3)  # 3 images x 4 patches: 2 steps an epoch


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> PatchPyramid:
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    x = np.mgrid[:64, :64][1]
    for index in range(3):
        stripes = 0.5 + 0.3 * np.sin(x / 3 + rng.uniform(0, 6)) + 0.05 * rng.standard_normal((64, 64))
        write_image(folder / f"{index}.png", np.clip(stripes, 0, 1).astype(np.float32))
    return PatchPyramid([TrainingImage(path, "stripes") for path in sorted(folder.iterdir())], {64: 4})


def run(
    pyramid: PatchPyramid,
    settings: PatchSettings = SETTINGS,
    *,
    run_id: str = "",
    checkpoint_path: Path | None = None,
    progress: Progress = silent,
) -> tuple[torch.nn.Module, TrainingSummary]:
    """Train the paper's network for all its epochs."""
    learner = PatchTriplets(pyramid, settings)
    summary = train(learner, n_steps=learner.n_steps, run_id=run_id, checkpoint_path=checkpoint_path, progress=progress)
    return learner.network, summary


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return list(network.state_dict().values())


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_defaults_are_the_papers() -> None:
    paper = PatchSettings()
    assert (paper.epochs, paper.batch_size, paper.learning_rate) == (40, 256, 1e-4)
    assert paper.defect == "random_erasing"


def test_same_seed_same_weights_other_seed_other_weights(pyramid: PatchPyramid) -> None:
    first, again = (run(pyramid)[0] for _ in range(2))
    other = run(pyramid, PatchSettings(epochs=3, batch_size=8, learning_rate=1e-3, seed=1))[0]
    assert same(first, again)
    assert not same(first, other)


def test_the_generators_of_others_are_left_alone(pyramid: PatchPyramid) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    run(pyramid)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_an_interrupted_run_resumes_to_the_same_weights(pyramid: PatchPyramid, tmp_path: Path, stop_after: int) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    whole, _ = run(pyramid)
    part, summary = run(pyramid, checkpoint_path=checkpoint, progress=StopAfter(stop_after))
    assert (summary.steps, summary.interrupted) == (stop_after, True)
    assert not same(part, whole)
    resumed, summary = run(pyramid, checkpoint_path=checkpoint)
    assert (summary.steps, summary.interrupted) == (6, False)
    assert same(resumed, whole)


def test_a_killed_run_resumes_from_its_last_checkpoint(
    pyramid: PatchPyramid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blemish.learning.training._CHECKPOINT_EVERY_S", 0.0)
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(SystemExit):
        run(pyramid, checkpoint_path=checkpoint, progress=StopAfter(4, SystemExit))
    resumed, summary = run(pyramid, checkpoint_path=checkpoint)
    assert summary.n_triplets == 36
    assert same(resumed, run(pyramid)[0])


def test_a_finished_run_is_not_trained_again(pyramid: PatchPyramid, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    whole, _ = run(pyramid, checkpoint_path=checkpoint)
    steps: list[int] = []
    again, _ = run(pyramid, checkpoint_path=checkpoint, progress=lambda stage, done, total, note="": steps.append(done))
    assert same(whole, again)
    assert steps == []


def test_ctrl_c_works_as_before_afterwards(pyramid: PatchPyramid) -> None:
    before = signal.getsignal(signal.SIGINT)
    run(pyramid, progress=StopAfter(2))
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_outside_the_main_thread(pyramid: PatchPyramid) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(run(pyramid)[1].steps))
    thread.start()
    thread.join()
    assert found == [6]


def test_a_checkpoint_of_another_run_is_refused_and_kept(pyramid: PatchPyramid, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    run(pyramid, checkpoint_path=checkpoint, run_id="these images")
    before = checkpoint.read_bytes()
    with pytest.raises(TrainingError, match="other images or settings"):
        run(pyramid, checkpoint_path=checkpoint, run_id="those images")
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("spoil", [b"", b"nonsense", None])
def test_a_damaged_checkpoint_is_refused(pyramid: PatchPyramid, tmp_path: Path, spoil: bytes | None) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    run(pyramid, checkpoint_path=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5000] if spoil is None else spoil)
    with pytest.raises(TrainingError, match="cannot be read"):
        run(pyramid, checkpoint_path=checkpoint)


def test_a_checkpoint_of_another_network_is_refused_with_its_name(pyramid: PatchPyramid, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    run(pyramid, checkpoint_path=checkpoint)
    with np.load(checkpoint) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["network/one.more"] = np.zeros(3, dtype=np.float32)
    with checkpoint.open("wb") as opened:
        np.savez(opened, **arrays)
    with pytest.raises(TrainingError, match="another network") as refused:
        run(pyramid, checkpoint_path=checkpoint)
    assert f"Delete {checkpoint}" in str(refused.value)


def test_time_is_turned_into_steps_before_the_first_one_and_teaches_nothing(pyramid: PatchPyramid) -> None:
    learner, again = (PatchTriplets(pyramid, SETTINGS) for _ in range(2))
    summary = train(learner, minutes=1e-9)
    assert (summary.steps, summary.steps_planned, summary.interrupted) == (1, 1, False)
    train(again, n_steps=1)
    assert same(learner.network, again.network)


def test_the_loss_falls_below_chance(pyramid: PatchPyramid) -> None:
    summary = run(pyramid, PatchSettings(epochs=40, batch_size=12, learning_rate=1e-3))[1]
    assert summary.final_loss < 0.4


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"defect": "rust"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="expected"):
        PatchSettings(**wrong)  # type: ignore[arg-type]


class Clocked:
    """Teaches next to nothing, in steps that take 3 s and 1 s by turns on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(self.network.weight)
        torch.nn.init.zeros_(self.network.bias)
        self.key: dict[str, Any] = {}
        self.seconds = 0.0
        monkeypatch.setattr("blemish.learning.training.time.monotonic", lambda: self.seconds)

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters())

    def learning_rate(self, step: int, n_steps: int) -> float:
        return 1 - max(step - n_steps // FIRST_PART, 0) / n_steps

    def loss(self, step: int, device: torch.device) -> tuple[torch.Tensor, int]:
        self.seconds += 1.0 if step % 2 else 3.0
        return self.network(torch.full((1,), step % 7 - 3.0, device=device)).sum(), 1


@pytest.mark.parametrize("minutes", [5.0, 20.0])
def test_training_takes_the_minutes_asked_for(monkeypatch: pytest.MonkeyPatch, minutes: float) -> None:
    learner = Clocked(monkeypatch)
    summary = train(learner, minutes=minutes)
    assert learner.seconds == pytest.approx(60 * minutes, rel=0.1)
    assert summary.steps == summary.steps_planned


def test_the_steps_that_fitted_into_the_minutes_repeat_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Clocked(monkeypatch)
    summary = train(learner, minutes=1)
    again = Clocked(monkeypatch)
    train(again, n_steps=summary.steps)
    assert same(learner.network, again.network)


@pytest.mark.parametrize("most", [1, 2, 7, 40])
def test_time_that_is_left_when_the_most_steps_are_done_is_not_used(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    learner = Clocked(monkeypatch)
    summary = train(learner, minutes=20, most_steps=most)
    assert summary.steps == summary.steps_planned == most
    again = Clocked(monkeypatch)
    train(again, n_steps=most)
    assert same(learner.network, again.network)


def test_more_steps_than_fit_into_the_minutes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = train(Clocked(monkeypatch), minutes=1).steps
    assert train(Clocked(monkeypatch), minutes=1, most_steps=steps + 1).steps == steps


@pytest.mark.parametrize("stopped_after", [2, 8])  # before and after the number of steps is planned
def test_a_run_of_some_minutes_takes_no_longer_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_after: int
) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    begun = Clocked(monkeypatch)
    first = train(begun, minutes=1, checkpoint_path=checkpoint, progress=StopAfter(stopped_after))
    assert first.interrupted
    resumed = Clocked(monkeypatch)
    train(resumed, minutes=1, checkpoint_path=checkpoint)
    whole = Clocked(monkeypatch)
    train(whole, minutes=1)
    assert begun.seconds + resumed.seconds == whole.seconds
    assert same(resumed.network, whole.network)


@pytest.mark.parametrize(("asked", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_the_user_wants_otherwise(asked: str | None, expected: str) -> None:
    code = """
import os, sys
import blemish.learning
assert "torch" not in sys.modules, "PyTorch has read the policy already"
print(os.environ["OMP_WAIT_POLICY"])
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if asked is not None:
        environment["OMP_WAIT_POLICY"] = asked
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.strip() == expected
