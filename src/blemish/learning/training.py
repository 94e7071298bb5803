"""The training loop, written out: triplets in, a trained network out; safe against kill and Ctrl-C.

Follows Tayeh et al. 2020, sec. IV-D: Adam with a fixed learning rate of 1e-4, batches of 256 triplets, 40 epochs.
Everything random is derived from (seed, epoch, batch), so the state of a run is the weights, Adam's moments and the
number of steps: a checkpoint of half a megabyte from which a run goes on to the same result, bit for bit on a CPU.
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.errors import SettingError, TrainingError
from blemish.images import write_bytes
from blemish.learning.defects import DEFECTS
from blemish.learning.losses import euclidean_distance, triplet_softmax_loss
from blemish.learning.network import TripletNetwork, network_to_arrays
from blemish.learning.triplets import EpochPlan, PatchPyramid, cut_triplets, epoch_size, plan_epoch
from blemish.progress import Progress, silent

_CHECKPOINT_EVERY_S: Final = 20.0  # what a kill may cost
_LOSSES_KEPT: Final = 50  # steps over which the loss that is told is averaged


@dataclass(frozen=True)
class TrainingSettings:
    """How long and with what to train; the defaults are the paper's (sec. IV-D)."""

    epochs: int = 40  # passes over the images, each at a new random scale
    batch_size: int = 256  # triplets a step
    learning_rate: float = 1e-4  # fixed
    defect: str = "random_erasing"  # what makes a negative: a name from `defects.DEFECTS`
    seed: int = 0  # of the initial weights and of every draw

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0 or self.seed < 0:
            raise SettingError(
                f"Found {self.epochs} epochs, batch size {self.batch_size}, learning rate {self.learning_rate}, "
                f"seed {self.seed}; expected at least 1, at least 1, above 0, at least 0."
            )
        if self.defect not in DEFECTS:
            raise SettingError(f"Found defect {self.defect!r}; expected one of {', '.join(DEFECTS)}.")


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

    network: TripletNetwork
    optimiser: torch.optim.Adam
    step: int = 0
    n_triplets: int = 0
    elapsed_s: float = 0.0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=_LOSSES_KEPT))  # of the last steps


def train(
    pyramid: PatchPyramid,
    settings: TrainingSettings,
    *,
    run_id: str = "",
    checkpoint_path: Path | None = None,
    progress: Progress = silent,
) -> tuple[TripletNetwork, TrainingSummary]:
    """Train the paper's network from scratch on triplets of good images.

    Args:
        pyramid: the images.
        settings: how long and with what.
        run_id: what else the result depends on (the images, say); a checkpoint of another run is refused.
        checkpoint_path: where the run is saved every 20 seconds and at its end, and taken up again if the file is
            there. None: nothing is saved.
        progress: told after every step, with the loss.

    Returns:
        The network, on the CPU and in evaluation mode, and what was done. Ctrl-C ends training after the step at
        hand; what has been learned is returned, and saved. A second Ctrl-C stops at once.

    Raises:
        TrainingError: the checkpoint belongs to another run or is damaged, or the loss is not a number any more.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n_steps = sum(_n_batches(pyramid, settings, epoch) for epoch in range(settings.epochs))
    key = json.dumps({"run": run_id, "scales": pyramid.scales, "n_images": len(pyramid), **asdict(settings)})
    state = _start(settings, device)
    if checkpoint_path is not None and checkpoint_path.exists():
        _load_checkpoint(state, checkpoint_path, key)
    losses = state.losses
    saved_at = time.monotonic()

    with _interruption() as interrupted:
        for plan, batch, rng in _batches_from(state.step, pyramid, settings):
            if interrupted.is_set():
                break
            started = time.monotonic()
            triplets = cut_triplets(pyramid, plan, batch, DEFECTS[settings.defect], rng)
            pixels = torch.from_numpy(np.concatenate(triplets)).unsqueeze(1).to(device)  # (3B, 1, 64, 64)
            anchors, positives, negatives = state.network(pixels).flatten(1).chunk(3)  # (B, 16) each
            loss = triplet_softmax_loss(euclidean_distance(anchors, positives), euclidean_distance(anchors, negatives))
            state.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            state.optimiser.step()

            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise TrainingError(f"The loss became {losses[-1]} at step {state.step}; use a smaller learning rate.")
            state.step += 1
            state.n_triplets += len(anchors)
            state.elapsed_s += time.monotonic() - started
            progress("training", state.step, n_steps, f"loss {np.mean(losses):.3f}")
            if checkpoint_path is not None and time.monotonic() - saved_at > _CHECKPOINT_EVERY_S:
                _save_checkpoint(state, checkpoint_path, key)
                saved_at = time.monotonic()

    if checkpoint_path is not None:
        _save_checkpoint(state, checkpoint_path, key)
    summary = TrainingSummary(
        steps=state.step,
        steps_planned=n_steps,
        n_triplets=state.n_triplets,
        elapsed_s=round(state.elapsed_s, 3),
        final_loss=float(np.mean(losses)) if losses else math.nan,
        interrupted=state.step < n_steps,
    )
    return state.network.cpu().eval(), summary


def _n_batches(pyramid: PatchPyramid, settings: TrainingSettings, epoch: int) -> int:
    return math.ceil(epoch_size(len(pyramid), pyramid.scales, settings.seed, epoch) / settings.batch_size)


def _batches_from(
    step: int, pyramid: PatchPyramid, settings: TrainingSettings
) -> Iterator[tuple[EpochPlan, slice, np.random.Generator]]:
    """Go through the batches of all epochs from a step on, planning one epoch at a time."""
    for epoch in range(settings.epochs):
        n_batches = _n_batches(pyramid, settings, epoch)
        if step >= n_batches:  # done in an earlier sitting
            step -= n_batches
            continue
        plan = plan_epoch(pyramid.categories, pyramid.scales, settings.seed, epoch)
        for start in range(step * settings.batch_size, len(plan), settings.batch_size):
            rng = np.random.default_rng([settings.seed, epoch, start])
            yield plan, slice(start, min(start + settings.batch_size, len(plan))), rng
        step = 0


def _start(settings: TrainingSettings, device: torch.device) -> _State:
    network = TripletNetwork(torch.Generator().manual_seed(settings.seed)).to(device).train()
    return _State(network, torch.optim.Adam(network.parameters(), lr=settings.learning_rate))


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
    arrays: dict[str, NDArray[Any]] = {f"network/{k}": v for k, v in network_to_arrays(state.network).items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            arrays[f"adam/{index}/{name}"] = value.cpu().numpy()
    numbers = {
        "step": state.step,
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
    weights = {k.removeprefix("network/"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("network/")}
    state.network.load_state_dict(weights)
    saved = state.optimiser.state_dict()
    for name, value in arrays.items():
        if name.startswith("adam/"):
            _, index, moment = name.split("/")
            saved["state"].setdefault(int(index), {})[moment] = torch.from_numpy(value)
    state.optimiser.load_state_dict(saved)
    state.step, state.n_triplets, state.elapsed_s = numbers["step"], numbers["n_triplets"], numbers["elapsed_s"]
    state.losses.extend(numbers["losses"])
