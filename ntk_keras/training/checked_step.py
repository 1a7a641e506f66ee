"""The end of a training step: made whole where all of it is finite, else not at all."""

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend import precision, replicas

__all__ = ["GRADIENT", "LAYERS", "UPDATE", "add_failure_steps", "apply_if_finite", "state_of"]

# What is not finite beside the residuals, in the order in which one brings about the next.
GRADIENT, UPDATE, LAYERS = range(3)


def add_failure_steps(model: Any) -> keras.Variable:
    """The step at which each term was not finite, and in the end 3 step + what else; -1 for none.

    What else is :data:`GRADIENT`; :data:`UPDATE`, where the optimizer made something of a finite
    gradient that is not; or :data:`LAYERS`, where a layer did that assigns variables of its own.

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


def state_of(model: Any) -> list[tuple[keras.Variable, tf.Tensor]]:
    """All variables that a training step may assign, but for metrics, each with its present value.

    Values are read, not copied: whatever assigns a variable then makes the copy.

    Args:
        model: a :class:`~ntk_keras.PINNModel`, compiled.
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
    """The optimizer's step; from the first that is not finite on, none.

    What an optimizer makes of finite gradients may overflow too, so its step is made and looked at.
    If it is refused, the culprit is noted and every variable gets back its value from ``before``
    the step. Gradients that overflow are left to an optimizer that scales the loss, as long as it
    may find a scale.

    Args:
        model: a :class:`~ntk_keras.PINNModel`.
        gradients: of its trainable variables; or their changes, of an optimizer that finds these.
        losses: of its terms.
        before: what :func:`state_of` gave when the step began.
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
        """Looks at everything by itself, and undoes the step unless all is well."""
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
    # A sum may overflow where no entry does: that is for `settle` to find out.
    sound = tf.math.is_finite(total) & (tf.reduce_max(known) < 0)
    # A function that stays one: TensorFlow would visit every operation of a branch not taken.
    whole = tf.function(settle, autograph=False, experimental_attributes={"_noinline": True})
    tf.cond(sound, lambda: None, whole)


def _what_is_finite(losses: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether each loss, and in the end the whole gradient, is finite on all replicas."""
    good = tf.stack([*map(tf.math.is_finite, losses), _are_finite(gradients)])
    return replicas.all_reduce_sum(tf.cast(~good, tf.int32)) == 0


def _are_finite(tensors: Iterable[Any]) -> tf.Tensor:
    floats = [tf.reduce_all(tf.math.is_finite(x)) for x in tensors if x.dtype.is_floating]
    return functools.reduce(operator.and_, floats, tf.constant(True))


def _sum(tensors: Iterable[Any]) -> tf.Tensor:
    """The sum of all entries of tensors, which is finite only if all of them are.

    Tensors of one shape are added up first, which makes few operations.
    """
    floats = [tf.convert_to_tensor(x) for x in tensors if x.dtype.is_floating]
    widest = max((x.dtype for x in floats), key=lambda dtype: dtype.size)
    by_shape: dict[tuple, list[tf.Tensor]] = {}
    for x in floats:
        by_shape.setdefault(tuple(x.shape), []).append(tf.cast(x, widest))
    return tf.add_n([tf.reduce_sum(tf.add_n(alike)) for alike in by_shape.values()])
