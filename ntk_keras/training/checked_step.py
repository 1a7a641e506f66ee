"""The end of a training step, which is applied only if all of it is finite."""

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend import precision, replicas

__all__ = ["GRADIENT", "LAYERS", "UPDATE", "add_failure_steps", "apply_if_finite", "state_of"]

# What besides the residuals is not finite, in the order in which one causes the next.
GRADIENT, UPDATE, LAYERS = range(3)


def add_failure_steps(model: Any) -> keras.Variable:
    """Adds the step at which each term was not finite, and finally 3 step + what else; -1 for none.

    What else is :data:`GRADIENT`; :data:`UPDATE`, if the optimizer made a non-finite update of a
    finite gradient; or :data:`LAYERS`, if a layer that assigns its own variables did so.

    Args:
        model: :class:`~ntk_keras.PINNModel` with its terms.
    """
    return model.add_weight(
        shape=(len(model.terms) + 1,),
        initializer=keras.initializers.Constant(-1),
        dtype="int64",
        trainable=False,
        name="failure_steps",
    )


def state_of(model: Any) -> list[tuple[keras.Variable, tf.Tensor]]:
    """Returns all variables that a step may assign, except metrics, with their current values.

    Values are read, not copied: whatever assigns a variable then makes the copy.

    Args:
        model: compiled :class:`~ntk_keras.PINNModel`.
    """
    held = [*model.variables, *model.optimizer.variables, *model.weighting.state]
    each = {id(v): v for v in held if v is not model.failure_steps}
    return [(v, tf.identity(v.value)) for v in each.values()]


def apply_if_finite(
    model: Any,
    gradients: Sequence[tf.Tensor],
    losses: Sequence[tf.Tensor],
    before: Sequence[tuple[keras.Variable, tf.Tensor]],
) -> None:
    """Applies the optimizer's step; from the first non-finite step on, applies none.

    What an optimizer makes of finite gradients may also overflow, so the step is taken and then
    checked. If it is refused, the cause is recorded and every variable gets back its value from
    ``before`` the step. Gradients that overflow are left to an optimizer that scales the loss, as
    long as it may find a scale.

    Args:
        model: :class:`~ntk_keras.PINNModel`.
        gradients: gradients of its trainable variables, or their changes for an optimizer that
            computes these.
        losses: losses of its terms.
        before: result of :func:`state_of` when the step began.
    """
    optimizer, trained = model.optimizer, model.trainable_variables
    step = tf.cast(tf.convert_to_tensor(optimizer.iterations), tf.int64)
    scales = precision.scales(optimizer)
    skips = precision.finds_scale(optimizer) if scales else tf.constant(False)
    known = tf.identity(model.failure_steps.value)
    on_all = None
    if replicas.num_replicas() > 1:
        on_all = _what_is_finite(losses, gradients)
        if scales:
            # An overflow anywhere is one on every replica: Keras asks the first what to skip.
            gradients = [tf.where(on_all[-1], g, math.nan) for g in gradients]
    apply = getattr(optimizer, "apply_change", optimizer.apply)
    apply(gradients, trained)
    updated = [v.value for v in (*trained, *optimizer.variables)]
    in_layers = [v.value for v in model.network.non_trainable_variables]

    def settle() -> None:
        """Checks everything separately, and undoes the step unless all is finite."""
        flags = _what_is_finite(losses, gradients) if on_all is None else on_all
        others = tf.stack([flags[-1] | skips, *map(_are_finite, (updated, in_layers))])
        finite = tf.concat([flags[:-1], [tf.reduce_all(others)]], axis=0)
        culprit = tf.argmax(~others)  # the first
        now = tf.concat([tf.fill([len(losses)], step), [3 * step + culprit]], axis=0)
        failed_before = tf.reduce_any(known >= 0)
        model.failure_steps.assign(tf.where(finite | failed_before, known, now))
        replicas.put_back_unless(tf.reduce_all(finite) & ~failed_before, before)

    if replicas.may_meet():
        settle()  # replicas cannot meet inside tf.cond
        return
    total = _sum([*losses, *gradients, *updated, *in_layers])
    # A sum may overflow where no entry does: `settle` determines that.
    sound = tf.math.is_finite(total) & (tf.reduce_max(known) < 0)
    # A persistent function, as TensorFlow would visit all of a branch that is not taken.
    whole = tf.function(settle, autograph=False, experimental_attributes={"_noinline": True})
    tf.cond(sound, lambda: None, whole)


def _what_is_finite(losses: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether each loss, and finally the whole gradient, is finite on all replicas."""
    good = tf.stack([*map(tf.math.is_finite, losses), _are_finite(gradients)])
    return replicas.all_reduce_sum(tf.cast(~good, tf.int32)) == 0


def _are_finite(tensors: Iterable[Any]) -> tf.Tensor:
    floats = [tf.reduce_all(tf.math.is_finite(x)) for x in tensors if x.dtype.is_floating]
    return functools.reduce(operator.and_, floats, tf.constant(True))


def _sum(tensors: Iterable[Any]) -> tf.Tensor:
    """Returns the sum of all entries of tensors, which is finite only if all of them are.

    Tensors of one shape are added first, which takes few operations.
    """
    floats = [tf.convert_to_tensor(x) for x in tensors if x.dtype.is_floating]
    widest = max((x.dtype for x in floats), key=lambda dtype: dtype.size)
    by_shape: dict[tuple, list[tf.Tensor]] = {}
    for x in floats:
        by_shape.setdefault(tuple(x.shape), []).append(tf.cast(x, widest))
    return tf.add_n([tf.reduce_sum(tf.add_n(alike)) for alike in by_shape.values()])
