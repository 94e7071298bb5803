"""A listener that ends a training run early, for tests of what a run leaves behind."""

import os
import signal


class StopAfter:
    """A progress listener that presses Ctrl-C, or dies like a killed process, after some steps."""

    def __init__(self, steps: int, error: type[BaseException] | None = None) -> None:
        self.steps, self.error = steps, error

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if done == self.steps:
            if self.error is not None:
                raise self.error
            os.kill(os.getpid(), signal.SIGINT)
