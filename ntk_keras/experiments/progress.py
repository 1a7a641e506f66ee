"""The progress of a run in one line."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import keras

__all__ = ["ProgressLine", "duration", "progress_line", "shown"]

WIDTH = 100
SECONDS_BETWEEN_LINES = 0.2

# The logs that matter, the first of them that there is.
_MEASURES = {"val_relative_l2": "L2 error", "loss": "loss"}


@contextlib.contextmanager
def shown(title: str, steps: int, verbose: int | str) -> Iterator[list[keras.callbacks.Callback]]:
    """Gives the callback that shows progress, if any, and ends its line whatever happens.

    Args:
        title: name of the run.
        steps: number of its training steps.
        verbose: 0, 1, 2 or ``"auto"``, as for :func:`~ntk_keras.experiments.runs.run`.
    """
    if verbose == 0:
        yield []
        return
    renewed = sys.stdout.isatty() if verbose == "auto" else verbose == 1
    line = ProgressLine(title, steps, renewed)
    try:
        yield [line]
    finally:
        line.close()


def progress_line(title: str, step: int, steps: int, *more: str, width: int = WIDTH) -> str:
    """Returns the line, whose title is shortened before the seed if it does not fit.

    Args:
        title: name of the run.
        step: number of steps done.
        steps: number of steps in all.
        *more: what else there is to say.
        width: largest length of the line.
    """
    end = "  ".join([f"step {step:>{len(str(steps))}} of {steps}", *more]).rstrip()
    room = width - len(end) - 2
    if len(title) > room:
        head, comma, seed = title.rpartition(", ")
        title = f"{head[: max(room - len(comma + seed) - 3, 0)]}...{comma}{seed}"[: max(room, 0)]
    return f"{title}  {end}"[:width]


def duration(seconds: float) -> str:
    """Returns seconds as ``0:35``, ``12:05`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLine(keras.callbacks.Callback):
    """Prints name, steps, error and time left of a run: a line for each epoch, or one for all.

    The error is that of the last epoch; before the first has ended, the loss is shown. The time
    left is estimated from the steps after the first execution, which compiles.

    Args:
        title: name of the run.
        steps: number of its training steps.
        renewed: whether one line renews itself, as only a terminal can show.
    """

    def __init__(self, title: str, steps: int, renewed: bool):
        super().__init__()
        self.title = title
        self.steps = steps
        self.renewed = renewed
        self._length = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._began = self._shown = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._measure = ""
        if self.renewed:
            self._show(self._step(), "compiling")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = (now, self._step())
        if self.renewed and now > self._shown + SECONDS_BETWEEN_LINES:
            self._shown = now
            self._show(self._step(), self._measure or _measure(logs or {}), self._left(now))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._measure = _measure(logs or {})
        now = time.monotonic()
        done = self._step() >= self.steps
        self._show(
            self._step(),
            self._measure,
            f"took {duration(now - self._began)}" if done else self._left(now),
        )

    def close(self) -> None:
        """Ends the line that renews itself, so that other output starts on a new one."""
        if self._length:
            print(flush=True)
        self._length = 0

    def _step(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def _left(self, now: float) -> str:
        began, first = self._first or (now, self.steps)
        done = self._step() - first
        if done <= 0:
            return ""
        return f"{duration((self.steps - first - done) * (now - began) / done)} left"

    def _show(self, step: int, *more: str) -> None:
        if not self.renewed:
            print(progress_line(self.title, step, self.steps, *more), flush=True)
            return
        width = min(WIDTH, shutil.get_terminal_size().columns - 1)
        line = progress_line(self.title, step, self.steps, *more, width=width)
        sys.stdout.write(f"\r{line.ljust(min(self._length, width))}")
        sys.stdout.flush()
        self._length = len(line)


def _measure(logs: Mapping[str, Any]) -> str:
    """The error, or the loss, with three significant digits."""
    for key, name in _MEASURES.items():
        if key in logs:
            return f"{name} {float(logs[key]):<8.3g}"
    return ""
