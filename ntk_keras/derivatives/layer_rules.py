"""Rules for the Keras layers that can be differentiated forward.

A rule takes a layer, the jets of its inputs and the hook, and returns the jet of its output. Its
function ``unsupported`` says why this very layer cannot be served, or returns None. Parameters are
read when a rule is applied, as Keras shows them at that moment, so that a stateless scope is
respected.
"""

import dataclasses
import functools
import numbers
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import private_names
from ntk_keras.backend.deprecation import renamed_arguments
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.derivatives import taylor
from ntk_keras.derivatives.activations import derivatives_of, is_identity
from ntk_keras.derivatives.jets import Jet

__all__ = ["Rule", "activate", "register_layer", "rule_of", "unknown_activation"]

Apply = Callable[[Any, Sequence[Any], LayerHook | None], Any]


def _none(layer: Any) -> None:
    """Returns None: every layer of the kind is supported."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a kind of layer maps channels.

    Attributes:
        apply: function from the layer, the jets of its inputs and the hook to the output's jet.
        unsupported: function that says why a layer of this kind cannot be served, None if it can.
    """

    apply: Apply
    unsupported: Callable[[Any], str | None] = _none


_RULES: dict[type, Rule] = {}


@renamed_arguments(obstacle="unsupported")
def register_layer(
    layer_type: type, apply: Apply, unsupported: Callable[[Any], str | None] = _none
) -> None:
    """Registers a kind of layer, so that networks with it are differentiated forward.

    Args:
        layer_type: class of Keras layers. Subclasses count unless they have their own ``call``.
        apply: function ``apply(layer, inputs, hook)`` that returns the
            :class:`~ntk_keras.derivatives.taylor.Jet` of the layer's output, made from the jets of
            its inputs by the functions of :mod:`ntk_keras.derivatives.taylor`.
        unsupported: function that says why a layer of this kind cannot be served, None if it can.
    """
    _RULES[layer_type] = Rule(apply, unsupported)


def rule_of(operation: Any) -> Rule | None:
    """Returns the rule of a layer, or of an operation such as ``x + y`` on symbolic tensors.

    Args:
        operation: layer or operation that a Keras model applies.
    """
    if not isinstance(operation, keras.layers.Layer):
        return _OPERATIONS.get(_public_function(operation))
    for base in type(operation).__mro__:
        if base in _RULES:
            own_call = type(operation).call is not base.call  # type: ignore[attr-defined]
            return None if own_call else _RULES[base]
    return None


def _public_function(operation: Any) -> Callable | None:
    """Returns ``keras.ops.sin`` for the operation that calling it on a symbolic tensor makes."""
    if not type(operation).__module__.startswith("keras."):
        return None
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", type(operation).__name__).lower()
    return operator.getitem if name == "get_item" else getattr(keras.ops, name, None)


def activate(x: Jet, function: Any) -> Jet:
    """Applies an activation with known derivatives.

    Args:
        x: jet of its inputs, with stacks ``[k, n, width]``.
        function: activation as passed to layers.
    """
    derivatives = derivatives_of(function)
    return x if derivatives is None else taylor.pointwise(x, derivatives)


def _activation_rule(function: Callable) -> Rule:
    return Rule(lambda layer, inputs, hook: activate(inputs[0], function))


def unknown_activation(layer: Any) -> str | None:
    """Returns why the activation of a layer cannot be differentiated, None if it can.

    Args:
        layer: layer with an ``activation``.
    """
    function = layer.activation
    if is_identity(function) or derivatives_of(function) is not None:
        return None
    name = getattr(function, "__name__", repr(function))
    return f"its activation {name} has no derivatives registered, see register_activation"


def _dense(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    observe = None if hook is None else functools.partial(hook, layer)
    # A separate tensor: code that inspects the graph recognises this use of the bias by it.
    bias = None if layer.bias is None else tf.identity(layer.bias)
    z = taylor.linear(inputs[0], tf.convert_to_tensor(layer.kernel), bias, observe)
    return activate(z, layer.activation)


def _dense_unsupported(layer: Any) -> str | None:
    if getattr(layer, "quantization_mode", None) is not None:
        return "it is quantized"
    return unknown_activation(layer)


def _normalization(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    mean, deviation = layer.mean, tf.maximum(tf.sqrt(layer.variance), keras.config.epsilon())
    if layer.invert:
        return taylor.scale(inputs[0], deviation, offset=mean)
    return taylor.scale(inputs[0], 1 / deviation, centre=mean)


def _rescaling(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    row = functools.partial(tf.cast, dtype=layer.compute_dtype)
    return taylor.scale(inputs[0], row(layer.scale), offset=row(layer.offset))


def _subtract(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    minuend, subtrahend = _spread(layer, inputs)
    return taylor.add(minuend, taylor.scale(subtrahend, -1))


def _average(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return taylor.scale(taylor.add(*_spread(layer, inputs)), 1 / len(inputs))


def _add(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return taylor.add(*_spread(layer, inputs))


def _multiply(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return functools.reduce(taylor.multiply, _spread(layer, inputs))


def _divide(operation: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return taylor.scale(inputs[0], 1 / _second_argument(operation))


def _power(operation: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return functools.reduce(taylor.multiply, [inputs[0]] * int(_second_argument(operation)))


def _square(operation: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return taylor.multiply(inputs[0], inputs[0])


def _concatenate(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return taylor.concatenate(*inputs)


def _sum(operation: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return taylor.total(inputs[0])


def _keeps_rows(operation: Any) -> str | None:
    fits = operation.keepdims and list(np.atleast_1d(operation.axis)) in ([-1], [1])
    return None if fits else "it is no sum of columns, as in keras.ops.sum(x, -1, keepdims=True)"


def _dot(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return taylor.total(taylor.multiply(*inputs))


def _dot_unsupported(layer: Any) -> str | None:
    if layer.normalize:
        return "it normalizes"
    return _last_axis_only_of(np.atleast_1d(layer.axes).tolist()) or _fitting_widths(layer)


def _split(operation: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> list[Jet]:
    columns = np.split(np.arange(_widths(operation)[0]), operation.indices_or_sections)
    return [taylor.select(inputs[0], part.tolist()) for part in columns]


def _identity(layer: Any, inputs: Sequence[Jet], hook: LayerHook | None) -> Jet:
    return inputs[0]


def _last_axis_only(layer: Any) -> str | None:
    return _last_axis_only_of(np.atleast_1d(layer.axis).tolist())


def _last_axis_only_of(axes: list[int]) -> str | None:
    return None if {*axes} <= {-1, 1} else f"its axes are {axes}, not the last"


def _widths(layer: Any) -> list[int]:
    """Returns the widths of its inputs, of every use of the layer."""
    return [x.shape[-1] for node in private_names.nodes_of(layer) for x in node.input_tensors]


def _spread(layer: Any, inputs: Sequence[Jet]) -> list[Jet]:
    """Repeats a single column to the width of the others."""
    widths = _widths(layer)
    if len(set(widths)) == 1:
        return list(inputs)
    both = zip(inputs, widths, strict=True)
    return [x if w > 1 else taylor.select(x, [0] * max(widths)) for x, w in both]


def _fitting_widths(layer: Any) -> str | None:
    widths = sorted(set(_widths(layer)))
    once = len(widths) == 1 or len(private_names.nodes_of(layer)) == 1
    fit = once and len(set(widths) - {1}) <= 1
    return None if fit else f"its inputs have different widths: {widths}"


def _second_argument(operation: Any) -> Any:
    """Returns 2 in ``x ** 2`` and ``x / 2``; None for an operation without a fixed one."""
    nodes = private_names.nodes_of(operation)
    # Several of a graph cut out of another.
    return nodes[0].arguments.args[1] if len(nodes) == 1 else None


def _by_a_number(operation: Any) -> str | None:
    fits = isinstance(_second_argument(operation), numbers.Real)
    return None if fits else "it divides by what is no number"


def _to_a_whole_power(operation: Any) -> str | None:
    given = _second_argument(operation)
    exponent = float(given) if isinstance(given, numbers.Real) else 0.0
    return None if exponent > 0 and exponent.is_integer() else "its exponent is no positive integer"


def _columns(operation: Any) -> list[int] | None:
    """Returns the columns that ``x[:, a:b]`` takes; None for any other index."""
    key = _second_argument(operation)
    # A tuple, which becomes a list when Keras loads a model.
    if not isinstance(key, tuple | list) or len(key) != 2 or not isinstance(key[1], slice):
        return None
    whole = key[0] == slice(None) or key[0] is Ellipsis
    return list(range(_widths(operation)[0]))[key[1]] if whole else None


def _slice(operation: Any, inputs: Sequence[Any], hook: LayerHook | None) -> Jet:
    return taylor.select(inputs[0], _columns(operation) or [])


def _columns_only(operation: Any) -> str | None:
    return None if _columns(operation) else "it is no slice of columns, as in x[:, 0:1]"


register_layer(keras.layers.Dense, _dense, _dense_unsupported)
register_layer(
    keras.layers.Activation,
    lambda layer, inputs, hook: activate(inputs[0], layer.activation),
    unknown_activation,
)
register_layer(keras.layers.Normalization, _normalization, _last_axis_only)
register_layer(keras.layers.Rescaling, _rescaling)
register_layer(keras.layers.Identity, _identity)
register_layer(keras.layers.Concatenate, _concatenate, _last_axis_only)
register_layer(keras.layers.Add, _add, _fitting_widths)
register_layer(keras.layers.Subtract, _subtract, _fitting_widths)
register_layer(keras.layers.Multiply, _multiply, _fitting_widths)
register_layer(keras.layers.Dot, _dot, _dot_unsupported)
register_layer(keras.layers.Average, _average, _fitting_widths)

# Operations of x + y and the like on symbolic tensors; numbers are constant jets.
_OPERATIONS: dict[Callable | None, Rule] = {
    keras.ops.add: Rule(_add, _fitting_widths),
    keras.ops.subtract: Rule(_subtract, _fitting_widths),
    keras.ops.multiply: Rule(_multiply, _fitting_widths),
    keras.ops.divide: Rule(_divide, _by_a_number),
    keras.ops.true_divide: Rule(_divide, _by_a_number),
    keras.ops.power: Rule(_power, _to_a_whole_power),
    keras.ops.square: Rule(_square),
    keras.ops.negative: Rule(lambda layer, inputs, hook: taylor.scale(inputs[0], -1)),
    operator.getitem: Rule(_slice, _columns_only),
    keras.ops.concatenate: Rule(_concatenate, _last_axis_only),
    keras.ops.sum: Rule(_sum, _keeps_rows),
    keras.ops.split: Rule(_split, _last_axis_only),
}
for _name in ("tanh", "sigmoid", "softplus", "silu", "sin", "cos", "exp", "sqrt"):
    _OPERATIONS[getattr(keras.ops, _name)] = _activation_rule(getattr(keras.ops, _name))
