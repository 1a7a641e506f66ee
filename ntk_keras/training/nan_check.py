"""Stops training at NaN or infinity, before anything is lost.

The step refuses what is not finite (:mod:`ntk_keras.training.checked_step`). The callback ends
``fit`` and says why.
"""

import time
from typing import Any

import keras
import numpy as np

from ntk_keras.backend import precision
from ntk_keras.training import weight_warnings
from ntk_keras.training.checked_step import LAYERS, UPDATE
from ntk_keras.training.epoch_history import EpochHistory
from ntk_keras.training.gradient_culprits import describe_bad_gradients, overflows
from ntk_keras.training.residual_errors import MEND_OF_LARGE
from ntk_keras.training.term_changes import FollowTerms

__all__ = [
    "NaNCheck",
    "TrainingDivergedError",
    "forget_failures",
    "raise_if_diverged",
    "with_own_callbacks",
]


class TrainingDivergedError(RuntimeError):
    """A step was not finite: the message names it and the term, the gradient or the optimizer."""


class NaNCheck(keras.callbacks.Callback):
    """Ends ``fit`` by :class:`TrainingDivergedError` once a step was not finite.

    The step itself keeps network, optimizer, weighting and random states unchanged if a residual, a
    gradient or an update is not finite, so the last good state remains. This callback only reports
    it. Every ``PINNModel.fit`` adds its own.

    Args:
        interval: seconds between two checks of the model, each of which waits for the device.
    """

    def __init__(self, interval: float = 1.0):
        super().__init__()
        self.interval = interval
        self._held: set[str] = set()  # groups whose weight a bound has held

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._last_look = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Here and not when training begins, as a restored backup may hold an old failure.
        forget_failures(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if time.monotonic() - self._last_look > self.interval:
            raise_if_diverged(self.model)
            self._last_look = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        raise_if_diverged(self.model)
        self._report_bounds({} if logs is None else logs)

    def _report_bounds(self, logs: dict[str, Any]) -> None:
        """Warns of weights that a bound holds, and logs them from then on."""
        losses = [f"loss/{term.name}" for term in self.model.terms]
        sizes = {name.removeprefix("loss/"): logs[name] for name in losses if name in logs}
        held = weight_warnings.warn_of_bounds(self.model.weighting, sizes)
        self._held |= set(held)
        logs.update({f"bounded/{group}": float(group in held) for group in sorted(self._held)})


def with_own_callbacks(callbacks: Any) -> Any:
    """Returns the callbacks of ``fit``, with the check first and the one that follows terms last.

    An :class:`EpochHistory` replaces the ``History`` that Keras would otherwise add.

    Args:
        callbacks: callbacks as for any Keras model.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(NaNCheck())
        callbacks.append(FollowTerms())
        return callbacks
    listed = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
    given = [c for c in listed if c is not None]
    returned = any(isinstance(c, keras.callbacks.History) for c in given)
    return [NaNCheck(), *given, *([] if returned else [EpochHistory()]), FollowTerms()]


def forget_failures(model: Any) -> None:
    """Lets steps be taken again after one was refused.

    Args:
        model: :class:`~ntk_keras.PINNModel`.
    """
    model.failure_steps.assign(np.full(model.failure_steps.shape, -1))


def raise_if_diverged(model: Any) -> None:
    """Raises :class:`TrainingDivergedError` if a step was refused, and says why.

    Args:
        model: compiled :class:`~ntk_keras.PINNModel`.
    """
    codes = model.failure_steps.value.numpy()
    if np.all(codes < 0):
        return
    steps = np.append(codes[:-1], codes[-1] // 3)
    first = steps[codes >= 0].min()
    terms = [t.name for t, step in zip(model.terms, steps, strict=False) if step == first]
    # If a residual is not finite, neither is the gradient, which says nothing new.
    what, mend = _of_terms(model, terms, first) if terms else _of_update(model, int(codes[-1] % 3))
    raise TrainingDivergedError(
        f"Step {first}: {what}. The network, optimizer and weights are as before that step. {mend}"
    )


def _of_terms(model: Any, names: list[str], step: int) -> tuple[str, str]:
    """Returns what happened to residuals, and the remedy."""
    culprits = " and ".join(f"the residual of term {name!r}" for name in names)
    # Everything is as before the step, unless a custom callback has changed it since.
    blocks = model.blocks()
    if all(name in blocks and overflows(blocks[name]) for name in names):
        grown = "If residuals grow in training, lower the learning rate. " if step else ""
        return (
            f"{culprits} is finite, but its square became infinite",
            f"{grown}{MEND_OF_LARGE}",
        )
    return f"{culprits} or its square became NaN or infinite", _MEND


def _of_update(model: Any, culprit: int) -> tuple[str, str]:
    """Returns what happened after the residuals, and the remedy."""
    optimizer = model.optimizer
    if culprit == UPDATE:
        name = type(getattr(optimizer, "inner_optimizer", optimizer)).__name__
        return (
            f"the gradient of the loss is finite, but what the optimizer, {name}, made of it "
            "became NaN or infinite",
            "Either the step was too large: lower the learning rate. Or the square of the gradient "
            f"overflows, which Adam and clipping by norm compute. {MEND_OF_LARGE}",
        )
    if culprit == LAYERS:
        return (
            "a variable that a layer assigns by itself, as the averages of a BatchNormalization, "
            "became NaN or infinite",
            "Look at the layer, and scale its inputs down.",
        )
    if precision.scales(optimizer):
        scaled = (
            ". The optimizer skipped step after step while it scaled the loss down to "
            f"{precision.SMALLEST_SCALE:.0e}: the gradient is not finite at any scale. Call "
            "`compile` again to start from the first scale"
        )
        return f"the gradient of the loss became NaN or infinite{scaled}", _MEND
    # Everything is as before the step, including the random state of its points.
    terms = describe_bad_gradients(model.blocks(), model.trainable_variables)
    what = " and ".join(terms) or "the gradient of the loss"
    return f"{what} became NaN or infinite", _MEND


_MEND = (
    "Lower the learning rate, clip gradients, or look at the residual where it divides, takes "
    f"roots or logarithms. Where values are large: {MEND_OF_LARGE}"
)
