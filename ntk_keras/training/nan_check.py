"""Stops training that meets NaN or infinity, before anything is lost."""

import time
import warnings
from typing import Any

import keras
import numpy as np

from ntk_keras.backend import precision

__all__ = ["NaNCheck", "TrainingDivergedError"]


class TrainingDivergedError(RuntimeError):
    """A residual or a gradient became NaN or infinite; the message names the term and the step."""


class NaNCheck(keras.callbacks.Callback):
    """Ends ``fit`` by :class:`TrainingDivergedError` once a step was not finite.

    The step itself leaves the network, the optimizer and the weighting as they were before a
    residual or gradient that is not finite, so what remains is the last good state. This callback
    only tells; every ``PINNModel.fit`` brings its own.

    Args:
        interval: seconds from one look at the model to the next. A look waits for the device.
    """

    def __init__(self, interval: float = 1.0):
        super().__init__()
        self.interval = interval
        self._warned: set[str] = set()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._last_look = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Here and not when training begins: a restored backup may hold an old failure.
        self.model.failure_steps.assign(np.full(self.model.failure_steps.shape, -1))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if time.monotonic() - self._last_look > self.interval:
            self._look()
            self._last_look = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._look()
        self._warn_of_zero_traces()

    def _look(self) -> None:
        steps = self.model.failure_steps.value.numpy()
        if np.all(steps < 0):
            return
        first = steps[steps >= 0].min()
        sources = [f"the residual of term {term.name!r}" for term in self.model.terms]
        sources.append("the gradient of the loss")
        failed = [source for source, step in zip(sources, steps, strict=True) if step == first]
        # Where a residual fails the gradient does too, and says nothing new.
        failed = failed[:-1] if len(failed) > 1 and steps[-1] == first else failed
        scaled = ""
        if precision.scales(self.model.optimizer) and failed == sources[-1:]:
            scaled = (
                "The optimizer skipped step after step while it scaled the loss down to "
                f"{precision.SMALLEST_SCALE:.0e}: the gradient is not finite at any scale. Call "
                "`compile` again to start from the first scale. "
            )
        raise TrainingDivergedError(
            f"Step {first}: {' and '.join(failed)} became NaN or infinite. "
            f"{scaled}The network, optimizer and weights are as before that step. Lower the "
            "learning rate, clip gradients, or look at the residual where it divides, takes roots "
            "or logarithms."
        )

    def _warn_of_zero_traces(self) -> None:
        traces = self.model.kernel_traces
        dead = {group for group, trace in traces.items() if trace <= 0} - self._warned
        if dead:
            self._warned |= dead
            warnings.warn(
                f"The kernel trace of {sorted(dead)} is estimated as zero or less: the residuals "
                "of this group hardly depend on the network (a dead activation, an unused output), "
                "or too few samples were averaged. Its weight is bounded by the trace floor.",
                stacklevel=2,
            )
