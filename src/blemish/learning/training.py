"""The training loop, written out: a learner's steps in, a trained network out; safe against kill and Ctrl-C.

What a step teaches is the learner's business: `triplets.PatchTriplets` (Tayeh et al. 2020) and
`nearest.NearestTriplets` (ours) draw triplets and give their loss. Everything random in a step is derived from the
seed and the step, so the state of a run is the weights, the optimiser's moments and the number of steps: a checkpoint
of a few megabytes at most from which a run goes on to the same result, bit for bit on a CPU.
"""

from __future__ import annotations

import io
import json
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blemish.errors import ModelFileError, TrainingError
from blemish.images import write_bytes
from blemish.learning.network import weights_from_arrays, weights_to_arrays
from blemish.progress import Progress, silent

DEFAULT_MINUTES: Final = 5.0
_CHECKPOINT_EVERY_S: Final = 20.0  # what a kill may cost
_LOSSES_KEPT: Final = 50  # steps over which the loss that is told is averaged
FIRST_PART: Final = 10  # one in so many steps comes before the number of steps is known
_UNKNOWN: Final = 2**62  # number of steps until then


class Learner(Protocol):
    """Teaches a network, one step at a time."""

    key: dict[str, Any]  # JSON-ready: all that the result depends on, beside the images themselves

    @property
    def network(self) -> nn.Module:
        """The network that is taught."""

    def optimiser(self) -> torch.optim.Optimizer:
        """Make the optimiser of the network's parameters."""

    def learning_rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step; for the first step in `FIRST_PART` whatever ``n_steps`` is."""

    def loss(self, step: int, device: torch.device) -> tuple[Tensor, int]:
        """Draw the triplets of a step and return their loss, a scalar in [0, 1], and how many they were."""


@dataclass(frozen=True)
class TrainingSummary:
    """What a training run did; goes into the model file."""

    steps: int  # optimiser steps done
    steps_planned: int
    n_triplets: int  # triplets seen
    elapsed_s: float  # training time, over all sittings
    final_loss: float  # mean of the last 50 steps; 0.5 is chance
    interrupted: bool  # stopped by the user before the end


@dataclass
class _State:
    """All that a run has to remember."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    n_steps: int
    step: int = 0
    n_triplets: int = 0
    elapsed_s: float = 0.0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=_LOSSES_KEPT))  # of the last steps


def train(
    learner: Learner,
    *,
    n_steps: int | None = None,
    minutes: float = DEFAULT_MINUTES,
    most_steps: int = _UNKNOWN,
    run_id: str = "",
    checkpoint_path: Path | None = None,
    progress: Progress = silent,
) -> TrainingSummary:
    """Train a learner's network; afterwards it is on the CPU and in evaluation mode.

    Args:
        learner: what a step teaches.
        n_steps: optimiser steps. None: as many as fit into ``minutes`` on this machine, planned after the first tenth
            of the time; the number is in the summary, and with it the same result can be had anywhere.
        minutes: see ``n_steps``.
        most_steps: that are planned, if more would fit into ``minutes``.
        run_id: what else the result depends on (the images, say); a checkpoint of another run is refused.
        checkpoint_path: where the run is saved every 20 seconds and at its end, and taken up again if the file is
            there. None: nothing is saved.
        progress: told after every step, with the loss.

    Returns:
        What was done. Ctrl-C ends training after the step at hand; what has been learned stays in the network, and is
        saved. A second Ctrl-C stops at once.

    Raises:
        TrainingError: the checkpoint belongs to another run or is damaged, or the loss is not a number any more.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = learner.network.to(device).train()
    key = json.dumps({"run": run_id, "n_steps": n_steps, "minutes": None if n_steps else minutes, **learner.key})
    if checkpoint_path is not None and checkpoint_path.exists():
        state = _State(network, learner.optimiser(), n_steps=0)
        _load_checkpoint(state, checkpoint_path, key)
    else:
        state = _State(network, learner.optimiser(), n_steps or _UNKNOWN)
    losses = state.losses
    saved_at = time.monotonic()

    with _interruption() as interrupted:
        while state.step < state.n_steps and not interrupted.is_set():
            started = time.monotonic()
            for group in state.optimiser.param_groups:
                group["lr"] = learner.learning_rate(state.step, state.n_steps)
            loss, n_triplets = learner.loss(state.step, device)
            state.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            state.optimiser.step()

            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise TrainingError(
                    f"The loss became {losses[-1]} at step {state.step}: training is unstable. Try another --seed; "
                    "if that does not help, please report it with the settings."
                )
            state.step += 1
            state.n_triplets += n_triplets
            state.elapsed_s += time.monotonic() - started
            expected = state.n_steps
            if state.n_steps == _UNKNOWN:
                expected = _steps_within(minutes, most_steps, state)
                if state.elapsed_s >= 60 * minutes / FIRST_PART or FIRST_PART * state.step >= most_steps:
                    state.n_steps = expected
            progress("training", state.step, expected, f"loss {np.mean(losses):.3f}")
            if checkpoint_path is not None and time.monotonic() - saved_at > _CHECKPOINT_EVERY_S:
                _save_checkpoint(state, checkpoint_path, key)
                saved_at = time.monotonic()

    if checkpoint_path is not None:
        _save_checkpoint(state, checkpoint_path, key)
    network.cpu().eval()
    return TrainingSummary(
        steps=state.step,
        steps_planned=_steps_within(minutes, most_steps, state) if state.n_steps == _UNKNOWN else state.n_steps,
        n_triplets=state.n_triplets,
        elapsed_s=round(state.elapsed_s, 3),
        final_loss=float(np.mean(losses)) if losses else math.nan,
        interrupted=state.step < state.n_steps,
    )


def _steps_within(minutes: float, most_steps: int, state: _State) -> int:
    """Say how many steps fit into the time, judging from those that were done; at most so many.

    Never so few that a step that was done would have had another learning rate, had the number been known before.
    """
    fit = int(state.step * 60 * minutes / state.elapsed_s)
    return min(max(fit, FIRST_PART * (state.step - 1), state.step), most_steps)


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that a step is never cut in half; the second one interrupts as usual."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may watch for signals
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        flag.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def _save_checkpoint(state: _State, path: Path, key: str) -> None:
    arrays: dict[str, NDArray[Any]] = {f"network/{k}": v for k, v in weights_to_arrays(state.network).items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            arrays[f"moments/{index}/{name}"] = value.cpu().numpy()
    numbers = {
        "step": state.step,
        "n_steps": state.n_steps,
        "n_triplets": state.n_triplets,
        "elapsed_s": state.elapsed_s,
        "losses": [*state.losses],
    }
    arrays["numbers"] = np.array(json.dumps({"key": key, **numbers}))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def _load_checkpoint(state: _State, path: Path, key: str) -> None:
    remedy = f"Delete {path} to start anew, or write to another place."
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        numbers = json.loads(str(arrays.pop("numbers")))
        saved_key = numbers.pop("key")
    except Exception as error:  # whatever a damaged file makes numpy raise
        raise TrainingError(f"Checkpoint {path} cannot be read ({error}). {remedy}") from error
    if saved_key != key:
        raise TrainingError(f"Checkpoint {path} belongs to a run with other images or settings. {remedy}")
    weights = {name.removeprefix("network/"): value for name, value in arrays.items() if name.startswith("network/")}
    try:
        weights_from_arrays(state.network, weights)
    except ModelFileError as error:
        raise TrainingError(f"Checkpoint {path} is of another network ({error}). {remedy}") from error
    saved = state.optimiser.state_dict()
    for name, value in arrays.items():
        if name.startswith("moments/"):
            _, index, moment = name.split("/")
            saved["state"].setdefault(int(index), {})[moment] = torch.from_numpy(value)
    state.optimiser.load_state_dict(saved)
    state.step, state.n_steps = numbers["step"], numbers["n_steps"]
    state.n_triplets, state.elapsed_s = numbers["n_triplets"], numbers["elapsed_s"]
    state.losses.extend(numbers["losses"])
