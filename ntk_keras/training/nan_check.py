"""Stops training that meets NaN or infinity, before anything is lost.

The step refuses what is not finite (:func:`apply_if_finite`), the callback ends ``fit`` and says
why.
"""

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import precision, replicas
from ntk_keras.training.term_changes import FollowTerms

__all__ = [
    "NaNCheck",
    "TrainingDivergedError",
    "add_failure_steps",
    "apply_if_finite",
    "with_own_callbacks",
]


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


def with_own_callbacks(callbacks: Any) -> Any:
    """The callbacks of ``fit``, with the check first and the one that follows terms last.

    Args:
        callbacks: as for any Keras model.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(NaNCheck())
        callbacks.append(FollowTerms())
        return callbacks
    listed = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
    return [NaNCheck(), *(c for c in listed if c is not None), FollowTerms()]


def add_failure_steps(model: Any) -> keras.Variable:
    """The step at which each term, and in the end the gradient, was not finite; -1 for none.

    Args:
        model: a :class:`~ntk_keras.PINNModel` that has its terms.
    """
    return model.add_weight(
        shape=(len(model.terms) + 1,),
        initializer=keras.initializers.Constant(-1),
        dtype="int64",
        trainable=False,
        name="failure_steps",
    )


def apply_if_finite(
    model: Any,
    gradients: Sequence[tf.Tensor],
    losses: Sequence[tf.Tensor],
    previous: Sequence[tf.Tensor],
) -> None:
    """The optimizer's step; from the first that is not finite on, none.

    Notes the culprit, and puts the weighting back to its ``previous`` state. Gradients that
    overflow are left to an optimizer that scales the loss, as long as it may find a scale.

    Args:
        model: a :class:`~ntk_keras.PINNModel`.
        gradients: of its trainable variables.
        losses: of its terms.
        previous: the weighting's state before the step.
    """
    finite = _what_is_finite(gradients, losses)
    if precision.scales(model.optimizer):
        # An overflow anywhere is one on every replica: Keras asks the first what to skip.
        gradients = [tf.where(finite[-1], g, math.nan) for g in gradients]
        skips = tf.fill([1], precision.finds_scale(model.optimizer))
        finite = tf.concat([finite[:-1], finite[-1:] | skips], axis=0)
    step = tf.cast(tf.convert_to_tensor(model.optimizer.iterations), tf.int64)
    known = model.failure_steps.value
    good = tf.reduce_all(finite & (known < 0))
    failures = tf.where(finite | tf.reduce_any(known >= 0), known, step)

    def apply() -> None:
        model.optimizer.apply(gradients, model.trainable_variables)

    def refuse() -> None:
        model.failure_steps.assign(failures)
        for variable, value in zip(model.weighting.state, previous, strict=True):
            variable.assign(value)

    if replicas.num_replicas() == 1:
        tf.cond(good, apply, refuse)
        return
    moved = [*model.trainable_variables, *model.optimizer.variables]
    with replicas.rolled_back_unless(good, moved):
        apply()
    tf.cond(good, lambda: None, refuse)


def _what_is_finite(gradients: Sequence[tf.Tensor], losses: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether each loss, and in the end the whole gradient, is finite on all replicas."""
    whole = [tf.reduce_all(tf.math.is_finite(g)) for g in gradients]
    good = tf.stack([*map(tf.math.is_finite, losses), tf.reduce_all(whole)])
    return replicas.all_reduce_sum(tf.cast(~good, tf.int32)) == 0
