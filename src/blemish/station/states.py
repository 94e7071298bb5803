"""States and events of a source, named as in OPC 40100-1, so that whoever knows a vision system knows this one.

Taken from OPC 40100-1 (OPC UA for Machine Vision, part 1, version 1.00):

- states of the ``VisionStateMachineType`` (section 8.2): Preoperational, Halted, Error, Operational
- states of its ``VisionAutomaticModeStateMachineType`` inside Operational (8.3): Initialized, Ready, SingleExecution,
  ContinuousExecution, and the transitions between them (8.3.6)
- events (8.3.8): JobStarted, AcquisitionDone, ResultReady, Ready; and StateChanged
- of the step model inside a state (8.4): Wait, which the caller ends, there by ``Sync``, here by acknowledging

Recipes are models: Initialized means that the part has none yet. This is no OPC UA server. It has the names and the
order of things alone, over HTTP.

A triggered inspection: Ready, trigger, SingleExecution with JobStarted, AcquisitionDone when the picture is taken (the
part may move on), ResultReady when the result is stored, where asked for Wait until it was acknowledged, Ready.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from enum import StrEnum
from typing import Any, Final

from blemish.errors import ConflictError
from blemish.station.clock import as_text, now

_N_KEPT: Final = 100  # events


class State(StrEnum):
    """Where a source stands."""

    PREOPERATIONAL = "Preoperational"  # begins
    HALTED = "Halted"  # ended
    ERROR = "Error"  # cannot go on; it tries again by itself
    INITIALIZED = "Initialized"  # the part has no model yet
    READY = "Ready"  # waits for a trigger
    SINGLE_EXECUTION = "SingleExecution"  # a trigger is being answered
    CONTINUOUS_EXECUTION = "ContinuousExecution"  # inspects by itself


class Event(StrEnum):
    """What happened."""

    STATE_CHANGED = "StateChanged"
    JOB_STARTED = "JobStarted"
    ACQUISITION_DONE = "AcquisitionDone"
    RESULT_READY = "ResultReady"
    READY = "Ready"


OPERATIONAL: Final = frozenset(
    {State.INITIALIZED, State.READY, State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION}
)  # what the standard sums up as Operational
_EXECUTION: Final = frozenset({State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION})
_FROM_OPERATIONAL: Final = frozenset({State.PREOPERATIONAL, State.HALTED, State.ERROR})
_MAY_FOLLOW: Final[dict[State, frozenset[State]]] = {
    State.PREOPERATIONAL: frozenset({State.HALTED, State.ERROR, State.INITIALIZED}),
    State.HALTED: frozenset({State.PREOPERATIONAL}),
    State.ERROR: frozenset({State.PREOPERATIONAL, State.HALTED}) | OPERATIONAL,
    State.INITIALIZED: frozenset({State.READY}) | _FROM_OPERATIONAL,
    State.READY: frozenset({State.INITIALIZED}) | _EXECUTION | _FROM_OPERATIONAL,
    State.SINGLE_EXECUTION: frozenset({State.READY}) | _FROM_OPERATIONAL,
    State.CONTINUOUS_EXECUTION: frozenset({State.READY}) | _FROM_OPERATIONAL,
}


class StateMachine:
    """Where one source stands, and what happened last; may be used from many threads."""

    def __init__(self) -> None:
        """Begin in Preoperational."""
        self._changed = threading.Condition()
        self._state = State.PREOPERATIONAL
        self._error = ""
        self._job_id = ""
        self._awaits = False  # to be acknowledged
        self._events: deque[dict[str, Any]] = deque(maxlen=_N_KEPT)
        # Numbers begin at the seconds of the clock and not at 1, so that whoever asks for those after the last one that
        # it knows hears on after a restart; a controller can hold them in 32 bits.
        self._before = self._newest = int(time.time())

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def awaits(self) -> bool:
        """Say whether a result waits to be acknowledged."""
        return self._awaits

    def to(self, state: State, error: str = "") -> None:
        """Go to a state; nothing happens where it is the present one, but for a new error.

        Args:
            state: to go to.
            error: why, where it is Error.

        Raises:
            ConflictError: OPC 40100-1 knows no way from here to there.
        """
        with self._changed:
            self._error = error
            if state is not self._state:
                self._go(state)

    def start(self, state: State) -> str:
        """Leave Ready for one of the Execution states.

        Returns:
            The id of the job that begins, 24 hexadecimal digits.

        Raises:
            ConflictError: it is not in Ready.
        """
        with self._changed:
            if self._state is not State.READY:
                awaits = ", and its result is not acknowledged" if self._awaits else ""
                reason = f" ({self._error})" if self._error else ""
                raise ConflictError(
                    f"This source is in state {self._state}{reason}{awaits}; expected Ready. Wait for it."
                )
            self._job_id = secrets.token_hex(12)
            self._go(state)
            self._note(Event.JOB_STARTED)
            return self._job_id

    def fire(self, event: Event, **detail: Any) -> None:
        """Tell of an event that changes no state."""
        with self._changed:
            self._note(event, **detail)

    def finish(self, *, acknowledge: bool) -> None:
        """End the job that answers a trigger: in Ready, or where asked for in Wait until it was acknowledged."""
        with self._changed:
            if acknowledge:
                self._awaits = True
                self._changed.notify_all()
            else:
                self._go(State.READY)

    def acknowledge(self, job_id: str) -> None:
        """Say that the result of a job was taken over.

        Raises:
            ConflictError: no result waits for it, or that of another job.
        """
        with self._changed:
            if not self._awaits or job_id != self._job_id:
                waiting = f"job '{self._job_id}'" if self._awaits else "none"
                raise ConflictError(
                    f"The result of job '{job_id[:80]}' does not wait to be acknowledged; {waiting} does."
                )
            self._go(State.READY)

    def snapshot(self) -> dict[str, Any]:
        """Return where it stands as plain JSON: state, step, job_id, error and the last events, oldest first."""
        with self._changed:
            return {
                "state": self._state.value,
                "step": "Wait" if self._awaits else "",
                "job_id": self._job_id,
                "error": self._error,
                "events": [dict(event) for event in self._events],
            }

    def wait_for(self, after: int, timeout: float) -> list[dict[str, Any]]:
        """Wait for events.

        Args:
            after: number of the last event that is known already; 0, or one that was never given: none.
            timeout: seconds to wait at most.

        Returns:
            Events with a higher number, oldest first; empty when none came in time.
        """
        until = time.monotonic() + timeout
        with self._changed:
            known = after if self._before < after <= self._newest else self._before
            while self._newest <= known and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return [dict(event) for event in self._events if event["number"] > known]

    def _go(self, state: State) -> None:
        before = self._state
        if state not in _MAY_FOLLOW[before]:
            raise ConflictError(f"There is no way from state {before} to {state}.")
        self._state = state
        self._awaits = False
        self._note(Event.STATE_CHANGED)
        if state is State.READY and before in _EXECUTION:
            self._note(Event.READY)

    def _note(self, event: Event, **detail: Any) -> None:
        self._newest += 1
        told = {"number": self._newest, "at": as_text(now()), "event": event.value, "state": self._state.value}
        self._events.append({**told, "job_id": self._job_id, **detail})
        self._changed.notify_all()
