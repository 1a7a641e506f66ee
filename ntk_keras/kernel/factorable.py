"""Whether the Jacobian of a residual can be kept in factored form, found out before training.

It can where every parameter reaches the residual through products of Dense layers alone, and where
the residual of a point depends on products at that point alone.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.backend.variables import Variables, watchable
from ntk_keras.kernel.factored import MAX_ENTRIES, LayerProduct, parameters_of, products_of

__all__ = ["examine"]

# Different weights of rows in a pattern: their range, 2^16, is far from that of any dtype.
_BASE = 16


def examine(
    evaluate: Callable[[LayerHook], tf.Tensor], count: int, variables: Variables
) -> tuple[str | None, tf.Tensor]:
    """Whether the Jacobian of a residual can be factored; while a graph is built.

    Args:
        evaluate: the residual, ``[n]`` or ``[n, k]``, which tells a hook of its products.
        count: the number of points n.
        variables: the parameters theta.

    Returns:
        Why it cannot, None if it can as far as the graph shows; and whether points are coupled, a
        boolean tensor: False where there is a reason already.
    """
    found: list[LayerProduct] = []
    read: list[tf.Tensor] = []

    def hook(layer: Any, inputs: Any, products: Any, bias: Any) -> None:
        tape.watch(list(products.values()))
        found.extend(products_of(layer, inputs, products))
        read.extend([] if bias is None else [bias])

    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        residual = evaluate(hook)
    reason = _misplaced(found, count) or _unseen(residual, found, read, variables)
    if reason or not found:
        return reason, tf.constant(False)
    return None, _points_are_coupled(tape, residual, count, [product.outputs for product in found])


def _misplaced(found: list[LayerProduct], count: int) -> str | None:
    """A product at other points than the residual's, or of a parameter that two layers share."""
    owners: dict[int, tuple[Any, Any]] = {}
    for product in found:
        layer, points = product.layer, product.outputs.shape[1]
        if points != count:
            return f"layer {layer.name!r} is evaluated at {points} points for {count} rows"
        for parameter in parameters_of(layer):
            _, owner = owners.setdefault(id(parameter), (parameter, layer))
            if owner != layer:
                return f"layers {owner.name!r} and {layer.name!r} share a parameter"
    return None


def _unseen(
    residual: tf.Tensor, found: list[LayerProduct], read: list[tf.Tensor], variables: Variables
) -> str | None:
    """Parameters that the residual depends on in ways that the products do not show.

    Products and the biases added to them are where looking stops, so what they are made of, their
    inputs and kernels that are computed, is looked at by itself. Parameters of few entries count
    only if they are a layer's: others take reverse passes of their own, which see everything.
    """
    known = set(map(id, watchable(variables)))
    parameters = {id(v): v for product in found for v in parameters_of(product.layer)}
    computed = [
        v for key, v in parameters.items() if key not in known and not isinstance(v, tf.Variable)
    ]
    chosen = [
        (variable.name, value)
        for variable, value in zip(variables, watchable(variables), strict=True)
        if id(value) in parameters or value.shape.num_elements() > MAX_ENTRIES
    ]
    made_of = [residual, *(product.inputs for product in found), *computed]
    passed = [*(product.outputs for product in found), *read]
    gradients = tf.gradients(made_of, [value for _, value in chosen], stop_gradients=passed)
    reached = [name for (name, _), g in zip(chosen, gradients, strict=True) if g is not None]
    if reached:
        return f"it depends on {reached} in other ways than by products of Dense layers"
    return None


def _points_are_coupled(
    tape: tf.GradientTape, residual: tf.Tensor, count: int, outputs: list[tf.Tensor]
) -> tf.Tensor:
    """Whether a row of the residual depends on products at other points.

    Where none does, a reverse pass from rows with weights gives the same cotangents with these
    weights; exactly so with powers of two, whose products are not rounded. Components have weights
    of their own, since theirs could cancel. What stays unseen has no derivative at the present
    parameters and points, as a branch that is not taken, or one lost in the rounding of its row.
    """
    components = np.random.default_rng(1).uniform(1, 2, residual.shape[1:])
    across = tf.ones_like(residual) * tf.constant(components, residual.dtype)
    plain = tape.gradient(residual, outputs, across)
    info = np.finfo(residual.dtype.as_numpy_dtype)
    # Below it numbers are flushed to zero, but for half precision, which has few others.
    smallest = info.smallest_subnormal if residual.dtype == tf.float16 else info.tiny
    differ = []
    for pattern in _patterns(count):
        column = tf.constant(pattern[:, np.newaxis], residual.dtype)
        weights = tf.reshape(column, [count] + [1] * (residual.shape.rank - 1))
        weighted = tape.gradient(residual, outputs, weights * across)
        for alike, found in zip(plain, weighted, strict=True):
            if alike is not None:
                expected = column * alike  # [channels, n, units]
                size = tf.reduce_max(tf.maximum(tf.abs(found), tf.abs(expected)), -1, True)
                tolerance = 16 * info.eps * size + _BASE**3 * smallest  # sums in another order
                differ.append(tf.reduce_any(tf.abs(found - expected) > tolerance))
    return tf.reduce_any(differ)


def _patterns(count: int) -> np.ndarray:
    """Weights of rows, ``[patterns, n]``, powers of two; every two rows differ in a pattern.

    They are the digits of numbers in random order, so that no difference scheme cancels them.
    """
    places = max(1, math.ceil(math.log(count, _BASE)))
    numbers = np.random.default_rng(0).permutation(_BASE**places)[:count]
    digits = [numbers // _BASE**place % _BASE for place in range(places)]
    return 2.0 ** (np.array(digits) - _BASE // 2)
