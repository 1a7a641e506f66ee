"""Checks before training whether the Jacobian of a residual can be kept in factored form.

It can if parameters reach the residual only through products of Dense layers, and if the residual
of a point depends only on products at that point.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.backend.variables import Variables, watchable
from ntk_keras.kernel.factored import MAX_ENTRIES, LayerProduct, parameters_of, products_of

__all__ = ["points_are_coupled", "why_not"]

# Number of different row weights in a pattern. Their range, 2^16, fits into that of any dtype.
_BASE = 16

Evaluate = Callable[[LayerHook], tf.Tensor]


def why_not(evaluate: Evaluate, count: int, variables: Variables) -> tuple[str | None, tf.Tensor]:
    """Returns whether the Jacobian of a residual can be factored. Call it while tracing a graph.

    Args:
        evaluate: residual ``[n]`` or ``[n, k]``, which calls a layer hook for each product.
        count: number of points n.
        variables: parameters theta.

    Returns:
        The reason why it cannot, None if the graph shows none; and the residual.
    """
    found: list[LayerProduct] = []
    read: list[tf.Tensor] = []

    def hook(layer: Any, inputs: Any, products: Any, bias: Any) -> None:
        found.extend(products_of(layer, inputs, products))
        read.extend([] if bias is None else [bias])

    residual = evaluate(hook)
    reason = _misplaced(found, count) or _unseen(residual, found, read, variables)
    return reason, residual


def points_are_coupled(evaluate: Evaluate, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns whether a row of the residual depends on products at other points.

    If none does, a reverse pass from weighted rows gives the same cotangents times these weights.
    For powers of two this is exact, because their products are not rounded. Each component has
    another weight, since components could cancel. Not detected is a dependence without derivative
    at the current parameters and points, such as a branch that is not taken, or one whose
    derivative is lost in the rounding of its row.

    Args:
        evaluate: residual ``[n]`` or ``[n, k]``, which calls a layer hook for each product.
        count: number of points n.

    Returns:
        A boolean tensor, False without a product; and the residual.
    """
    outputs: list[tf.Tensor] = []

    def hook(layer: Any, inputs: Any, products: Any, bias: Any) -> None:
        tape.watch(list(products.values()))
        outputs.extend(products.values())

    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        residual = evaluate(hook)
    components = np.random.default_rng(1).uniform(1, 2, residual.shape[1:])
    across = tf.ones_like(residual) * tf.constant(components, residual.dtype)
    plain = tape.gradient(residual, outputs, across)
    info = np.finfo(residual.dtype.as_numpy_dtype)
    # Smaller numbers are flushed to zero, except in half precision, where they are common.
    smallest = info.smallest_subnormal if residual.dtype == tf.float16 else info.tiny
    differ = [tf.constant(False)]
    for pattern in _patterns(count):
        column = tf.constant(pattern[:, np.newaxis], residual.dtype)
        weights = tf.reshape(column, [count] + [1] * (residual.shape.rank - 1))
        weighted = tape.gradient(residual, outputs, weights * across)
        for alike, found in zip(plain, weighted, strict=True):
            if alike is not None:
                expected = column * alike  # [channels, n, units]
                size = tf.reduce_max(tf.maximum(tf.abs(found), tf.abs(expected)), -1, True)
                tolerance = 16 * info.eps * size + _BASE**3 * smallest  # sums in a different order
                differ.append(tf.reduce_any(tf.abs(found - expected) > tolerance))
    return tf.reduce_any(differ), residual


def _misplaced(found: list[LayerProduct], count: int) -> str | None:
    """Returns a reason if a product is at other points, or if two layers share a parameter."""
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
    """Returns a reason if the residual depends on parameters in ways that products do not show.

    Gradients stop at products and at the biases added to them. The inputs of the products and
    computed kernels are therefore differentiated separately. Parameters with few entries count only
    if they belong to a layer: others get separate reverse passes, which cover every dependence.
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
    # Most are not even reached; to differentiate takes longer than to evaluate.
    near = _reached(made_of, passed)
    chosen = [
        (name, value)
        for name, value in chosen
        if isinstance(value, tf.Variable) or tf.convert_to_tensor(value).ref() in near
    ]
    if not chosen:
        return None
    gradients = tf.gradients(made_of, [v for _, v in chosen], stop_gradients=passed)
    reached = [name for (name, _), g in zip(chosen, gradients, strict=True) if g is not None]
    if reached:
        return f"it depends on {reached} in other ways than by products of Dense layers"
    return None


def _reached(made_of: list[tf.Tensor], passed: list[tf.Tensor]) -> set[Any]:
    """Returns references of the tensors from which some are computed, up to those passed."""
    ends, reached = {x.ref() for x in passed}, set()
    stack = [tf.convert_to_tensor(x) for x in made_of]
    while stack:
        tensor = stack.pop()
        if tensor.ref() not in reached:
            reached.add(tensor.ref())
            stack.extend(() if tensor.ref() in ends else tensor.op.inputs)
    return reached


def _patterns(count: int) -> np.ndarray:
    """Returns row weights ``[patterns, n]``, powers of two; any two rows differ in some pattern.

    They come from the digits of numbers in random order, so that no difference scheme cancels them.
    """
    places = max(1, math.ceil(math.log(count, _BASE)))
    numbers = np.random.default_rng(0).permutation(_BASE**places)[:count]
    digits = [numbers // _BASE**place % _BASE for place in range(places)]
    return 2.0 ** (np.array(digits) - _BASE // 2)
