"""Finds piecewise linear parts of a network, whose second derivatives are zero where defined."""

import functools
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.private_names import sublayers
from ntk_keras.derivatives.activations import is_identity
from ntk_keras.derivatives.channels import Channel
from ntk_keras.derivatives.layer_rules import rule_of
from ntk_keras.derivatives.network_inputs import input_dtype
from ntk_keras.derivatives.propagation import why_unsupported

__all__ = ["along_a_line", "are_equal", "is_of_second_order", "piecewise_linear_part"]

_ROWS, _FINE = 64, 4097
_FOUND: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


def is_of_second_order(channel: Channel) -> bool:
    """Returns whether a channel is a derivative of second or higher order.

    Args:
        channel: derivative or operator that is carried forward.
    """
    return not isinstance(channel, tuple) or len(channel) > 1


def piecewise_linear_part(network: Any, width: int | None = None) -> str | None:
    """Describes the first layer that is piecewise linear but not linear; None if there is none.

    A layer or activation is piecewise linear, whatever its name, if its second derivatives at
    random inputs are all exactly zero and its first derivatives are not all equal. A layer or model
    without a rule also counts if its first derivatives jump along a line, which its second
    derivatives do not show.

    Args:
        network: Keras model or layer, built.
        width: width of its points, for a network that does not know it.

    Returns:
        A phrase for messages, with the layer's name.
    """
    if network not in _FOUND:
        with tf.init_scope():
            _FOUND[network] = _look(network, width)
    return _FOUND[network]


def along_a_line(function: Callable, inputs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns derivatives of a random combination of outputs along a line through each input.

    Args:
        function: function of the inputs that treats rows independently.
        inputs: floats ``[n, ...]`` each.

    Returns:
        First and second derivatives, ``[n]`` each; None if the function cannot be evaluated.
    """
    rng = np.random.default_rng(1)
    directions = _directions(inputs)

    def derivatives(steps: tf.Tensor) -> list[tf.Tensor]:
        moved = [
            x + tf.reshape(steps, [-1] + [1] * (len(x.shape) - 1)) * tf.constant(v, x.dtype)
            for x, v in zip(inputs, directions, strict=True)
        ]
        with keras.StatelessScope():  # discards what layers assign
            outputs = tf.nest.flatten(function(*moved))
        mixed = [tf.reduce_sum(y * rng.normal(size=y.shape[1:])) for y in outputs]
        # Tapes record nothing in tf.init_scope.
        (first,) = tf.gradients(mixed, steps, unconnected_gradients="zero")
        return [first, *tf.gradients(first, steps, unconnected_gradients="zero")]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = tf.zeros([inputs[0].shape[0]], inputs[0].dtype)
            graph = tf.function(derivatives, autograph=False).get_concrete_function(steps)
            first, second = graph(steps)
    except Exception:  # any error of a function called with inputs made up here
        return None
    return np.asarray(first), np.asarray(second)


def are_equal(first: np.ndarray) -> bool:
    """Returns whether first derivatives are all equal up to rounding, as for a linear function.

    Args:
        first: first derivatives ``[n]``.
    """
    return bool(np.ptp(first) <= 1e-3 * np.max(np.abs(first)))


def _look(network: Any, width_of_points: int | None) -> str | None:
    # Layers come before the layers that contain them.
    layers = sorted(sublayers(network), key=lambda layer: len(list(sublayers(layer))))
    for layer in layers:
        activation = getattr(layer, "activation", None)
        if callable(activation) and _is_bent_activation(activation):
            name = getattr(activation, "__name__", repr(activation))
            return f"layer {layer.name!r} with its activation {name}"
        # Layers with rules are smooth apart from their activations, and so are models made of them.
        known = rule_of(layer) is not None or isinstance(layer, keras.Sequential)
        if not known and hasattr(layer, "inputs"):
            known = why_unsupported(layer, input_dtype(layer)) is None
        width = None if known else _width(layer, width_of_points if layer is network else None)
        if width is not None:
            inputs = np.random.default_rng(1).normal(size=(_ROWS, width))
            name = f"layer {layer.name!r} ({type(layer).__name__})"
            if _is_bent(layer, tf.constant(inputs, layer.compute_dtype)):
                return name
            if _jumps(layer, width):
                return f"a part of {name}"
    return None


def _is_bent_activation(activation: Callable) -> bool:
    try:
        return _is_bent_known(activation)
    except TypeError:  # not hashable
        return _is_bent_known.__wrapped__(activation)


@functools.lru_cache(maxsize=256)
def _is_bent_known(activation: Callable) -> bool:
    z = tf.constant(np.linspace(-4, 4, _ROWS)[:, np.newaxis], "float32")
    return not is_identity(activation) and _is_bent(activation, z)


def _is_bent(function: Callable, inputs: tf.Tensor) -> bool:
    derivatives = along_a_line(function, [inputs])
    if derivatives is None:
        return False
    first, second = derivatives
    return not np.any(second) and not are_equal(first)


def _jumps(layer: Any, width: int) -> bool:
    """Returns whether first derivatives change by more than the integral of the second."""
    (direction,) = _directions([np.empty((1, width))])
    steps = np.linspace(-4, 4, _FINE) / np.max(np.abs(direction))
    rng = np.random.default_rng(2)
    # With zero biases all kinks would be at the origin, where a factor of x may hide them.
    variables = [v for v in layer.trainable_variables if isinstance(v, keras.Variable)]
    moved = [(v, v.value + rng.normal(0, 0.3, v.shape)) for v in variables]

    def function(x: tf.Tensor) -> Any:
        with keras.StatelessScope(state_mapping=moved):
            return layer(x)

    line = tf.constant(steps[:, np.newaxis] * direction, layer.compute_dtype)
    derivatives = along_a_line(function, [line])
    if derivatives is None:
        return False

    def left_over(every: int) -> float:
        first, second, at = (x[::every].astype("float64") for x in (*derivatives, steps))
        change = np.diff(at) * (second[1:] + second[:-1]) / 2
        return float(np.max(np.abs(np.diff(first) - change)))

    # For smooth functions the difference comes from the step length, and falls with shorter steps.
    fine = left_over(1)
    return fine > 1e-2 * np.max(np.abs(derivatives[0])) and fine > left_over(4) / 4


def _directions(inputs: Sequence[Any]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=x.shape[1:]) for x in inputs]


def _width(layer: Any, otherwise: int | None) -> int | None:
    """Returns the width of the rows that a layer takes; None if unknown."""
    shapes = [(layer.get_build_config() or {}).get("input_shape"), getattr(layer, "input_shape", 0)]
    known = [shape for shape in shapes if isinstance(shape, tuple | list)]
    if known:
        width = known[0][-1] if len(known[0]) == 2 else None
        return width if isinstance(width, int) else None
    return otherwise if layer.variables else 8  # any width will do
